"""Train on damaged videos of every storage with two ranks under torchrun: which are named, and what is learned?

FFmpeg's command line decides which videos do not decode. One process that knows these from the start gives the
expected samples. The run is compared with one that resumes after its first epoch, when all named videos are sound
again: it must remember them, and end with the same bits.

Damage may end a picture early without an error of FFmpeg. The rest of the picture is then stale memory, so such videos
cannot be compared. They are found first, listed in the row, and left sound.
"""

import csv
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from bench.faults.logged.runs import read_log, samples_of, write_recipe
from bench.faults.media.dataset import IN_BYTES, IN_FILES, damage
from bench.faults.media.decodable import decodes, steady
from bench.faults.media.storages import NUM_FRAMES, STORAGES, write_storages
from bench.faults.restarts import train
from bench.faults.row import Row
from bench.faults.same import compare
from dali_pipelines.datasets.fates import UNREADABLE_FILE
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task, ctp
from trainers.engine import checkpoint
from trainers.engine.work_dir import CHECKPOINTS

DAMAGED, SOUND = 40, 10
"""Videos per storage; DAMAGED at full scale."""
GLOBAL_BATCH, EPOCHS, SEED = 2 * len(STORAGES), 2, 0
PLAN = ctp.Config(num_frames=NUM_FRAMES, size=32, short_sides=(32,), strides=(1,), patches=1)
"""A clip takes all frames of its video, so no damage is missed."""
Samples = Sequence[str]
"""Samples in order, as returned by `logged.runs.samples_of`."""


def inject(scale: float, folder: Path) -> Iterator[Row]:
    """Train on damaged videos, and yield a row."""
    began, folder = time.monotonic(), folder.resolve()
    root, spare, whole, again, log = (folder / name for name in ("data", "spare", "whole", "again", "samples.txt"))
    for path in (root, spare, whole, again):
        shutil.rmtree(path, ignore_errors=True)
    log.unlink(missing_ok=True)
    count = max(round(DAMAGED * scale), len(IN_BYTES + IN_FILES))
    index = write_storages(root, videos=(count + SOUND) // 2 * 2)  # each is in a batch
    names, steps = index.names.texts(), EPOCHS * len(index) // GLOBAL_BATCH
    shutil.copytree(root, spare)
    sound = one_process(index)
    damage(index, count)
    others = {
        storage: [row for row, name in enumerate(names) if name.startswith(f"{storage}/")] for storage in STORAGES
    }
    unsteady = {name for row, name in enumerate(names) if not steady(index, row, others[name.partition("/")[0]][-3:])}

    def damaged(sparing: Collection[str]) -> dict[str, str]:
        shutil.rmtree(root)
        shutil.copytree(spare, root)
        return damage(index, count, sparing=sparing)

    done = damaged(unsteady)
    broken = {name for row, name in enumerate(names) if name in done and not decodes(index, row)}

    recipe = folder / "recipe.yaml"
    settings = {"epochs": EPOCHS, "global_batch": GLOBAL_BATCH, "checkpoint_every": len(index) // GLOBAL_BATCH}
    data = {"root": str(root), "workers": 1, "most_unreadable": 1.0}
    write_recipe(recipe, log, plan=PLAN, data=data, train=settings, seed=SEED, work_dir="whole")
    _, status = train(recipe, whole, [])
    assert not status, f"see {folder / 'output.txt'}"
    with (whole / UNREADABLE_FILE).open(newline="") as file:
        named = {row["name"] for row in csv.DictReader(file)}
    came = [sample for *_, samples in sorted(read_log(log)) for sample in samples]  # by step and rank
    wanted = one_process(index, unreadable=named)

    last = checkpoint.path_of(whole / CHECKPOINTS, steps)
    weights = checkpoint.read(last)["model"].values()
    shutil.copytree(whole, again)
    (again / CHECKPOINTS / last.name).unlink()
    damaged(named | unsteady)
    _, status = train(recipe, again, [])
    assert not status, f"see {folder / 'output.txt'}"
    differences, lost = compare(again, whole)
    shutil.rmtree(root)
    shutil.rmtree(spare)

    wrong, harmless, apart = judge(names, done, broken, named, sound=sound, came=came, wanted=wanted)
    yield Row(
        "a run of two ranks with damaged videos of every storage",
        injected=len(done),
        survived=len(done) - len(wrong),
        lost_or_repeated=apart + lost,
        bits_equal=not differences and all(bool(tensor.isfinite().all()) for tensor in weights),
        details={
            "survived": "named in unreadable.csv where FFmpeg's command line does not decode it, and only there",
            "lost_or_repeated": "samples unlike those of one process or of a sound video, and lines of tables",
            "bits_equal": "of a run that goes on after the first epoch, when all that were named are sound again",
            "named": len(named),
            "sound": len(names) - len(done),
            "steps": steps,
            "wrong": sorted(wrong),
            "other_pixels_each_time": sorted(unsteady),
            "same_pixels_though_ffmpeg_fails": sorted(harmless),
            "differences": differences[:5],
            "seconds": round(time.monotonic() - began),
        },
    )


def judge(
    names: Sequence[str],
    done: Mapping[str, str],
    broken: Collection[str],
    named: Collection[str],
    *,
    sound: Samples,
    came: Samples,
    wanted: Samples,
) -> tuple[set[str], set[str], int]:
    """Return wrongly named or unnamed videos, those with harmless damage, and the number of wrong samples.

    Args:
        broken: videos that FFmpeg does not decode; `named`: those that the run named.
        sound: the samples before the damage; `came`: of the run; `wanted`: of one process on the damaged dataset.
    """
    before = {*sound}
    same, changed = (
        [names[int(sample.partition(":")[0])] for sample in came if (sample in before) == as_before]
        for as_before in (True, False)
    )
    apart = sum(ours != theirs for ours, theirs in zip(came, wanted, strict=True))
    apart += sum(name not in done for name in changed)
    harmless = ({*broken} - {*named} - {*changed}) & {*same}
    return ({*broken} ^ {*named}) - harmless, harmless, apart


def one_process(index: Index, *, unreadable: Collection[str] = ()) -> Samples:
    """Load all epochs in this process, which knows the unreadable videos from the start."""
    with closing(
        ClipLoader(index, Task("ctp", PLAN), batch_size=GLOBAL_BATCH, seed=SEED, threads=1, most_unreadable=1)
    ) as loader:
        loader.remember(dict.fromkeys(unreadable, ""))
        return [sample for _ in range(EPOCHS) for batch in loader for sample in samples_of(batch)]
