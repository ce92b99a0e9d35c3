"""Damage a thousand videos of every storage in one dataset: is damage noticed, and are sound videos unaffected?

They are damaged after the dataset is opened and before it is read, so only a worker's decoder meets the damage. Each
is then named with a reason and replaced, or it decodes; damage that no decoder notices shows as other pixels.
"""

import hashlib
import os
import random
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from bench.faults.media.storages import STORAGES, WHOLE_FILES, write_storages
from bench.faults.row import Row
from dali_pipelines.loader import ClipLoader
from dali_pipelines.progress import bar
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import picture_file
from dali_pipelines.tasks import Task, ctp

DAMAGED, SOUND = 1000, 250
"""Videos per storage."""
BATCH, WORKERS, TIMEOUT_S = 50, 2, 60
TEXT = b"<html><body>404 Not Found</body></html>\n"
IN_BYTES = ("a bit flipped", "64 bytes overwritten", "a block zeroed", "replaced by text")
IN_FILES = ("cut off", "emptied", "deleted", "a folder in its place", "a pipe in its place")
"""Damage to any bytes, and damage to files that hold a single video or picture."""

PLAN = ctp.Config(num_frames=4, size=32, short_sides=(32,), strides=(1,), patches=1)


class Delivered(NamedTuple):
    """The sample that a row of the dataset got: the row that was read, and a hash of its pixels."""

    row: int
    pixels: bytes


@dataclass(frozen=True)
class Epoch:
    """The results of loading all videos once."""

    delivered: dict[int, Delivered]
    reasons: dict[str, str]
    decoder: str


def inject(scale: float, folder: Path) -> Iterator[Row]:
    """Damage videos of every storage, load all of them in several ways, and yield a row for each storage."""
    count = max(round(DAMAGED * scale), len(IN_BYTES + IN_FILES))
    root = folder / "data"
    shutil.rmtree(root, ignore_errors=True)
    index = write_storages(root, videos=count + max(round(SOUND * scale), count // 4))
    by_dali = [name.startswith("vp9/") for name in index.names.texts()]
    for part in (index, index.select(np.flatnonzero(by_dali))):  # DALI decodes a dataset of VP9 alone on a CPU
        sound = load(part)
        if part is index:
            done = damage(index, count)
        damaged = load(part)
        half = dict(list(damaged.reasons.items())[::2])
        again = load(part, ranks=2, known=half)
        for storage in STORAGES if part is index else ("vp9",):
            yield row_of(storage, part.names.texts(), done, sound, damaged, again)
    shutil.rmtree(root)


def load(index: Index, *, ranks: int = 1, known: Mapping[str, str] | None = None) -> Epoch:
    """Load one epoch with workers, one rank after the other; `known` videos are remembered as unreadable."""
    delivered: dict[int, Delivered] = {}
    reasons: dict[str, str] = {}
    batch_size = min(BATCH, len(index) // 2 * 2) // ranks
    for rank in range(ranks):
        loader = ClipLoader(
            index,
            Task("ctp", PLAN),
            batch_size=batch_size,
            rank=rank,
            world_size=ranks,
            workers=WORKERS,
            threads=1,
            timeout_s=TIMEOUT_S,
            most_unreadable=1.0,
        )
        loader.remember(known or {})
        with closing(loader):
            batches: tqdm[object] = bar(desc=f"epoch of rank {rank} of {ranks}", total=len(loader))
            for step, batch in enumerate(loader):
                wanted = loader.order.rows(0, step).tolist()
                for row, came, pixels in zip(wanted, batch["index"].tolist(), batch["clips"].numpy(), strict=True):
                    delivered[row] = Delivered(came, hashlib.sha256(pixels.tobytes()).digest())
                batches.update()
            batches.close()
            reasons |= loader.unreadable
    return Epoch(delivered, reasons, loader.decoder)


def damage(index: Index, count: int, *, sparing: Collection[str] = ()) -> dict[str, str]:
    """Damage the first `count` videos of each storage except `sparing`; return name -> kind of damage."""
    done = {}
    for row, name in enumerate(index.names.texts()):
        storage, _, number = name.partition("/")
        if int(number) < count and name not in sparing:
            kinds = IN_BYTES + IN_FILES * (storage in WHOLE_FILES)
            done[name] = kinds[int(number) % len(kinds)]
            _damage(index, row, done[name], random.Random(name))
    return done


def _damage(index: Index, row: int, kind: str, rng: random.Random) -> None:
    path, units = index.path(row), index.units(row)
    begin, end = units.init[0], int(units.ends.max())
    if index.container(row) == "picture_files":
        path = Path(picture_file(str(path), rng.randrange(len(units.ends))))
        begin, end = 0, path.stat().st_size
    if kind in IN_FILES:
        data = path.read_bytes()
        path.unlink()  # sound videos are hard links to the same file
        if kind == "cut off":
            path.write_bytes(data[: rng.randrange(1, len(data))])
        elif kind == "emptied":
            path.touch()
        elif kind == "a folder in its place":
            path.mkdir()
        elif kind == "a pipe in its place":
            os.mkfifo(path)
        return
    size = {"a bit flipped": 1, "64 bytes overwritten": 64, "a block zeroed": 512}.get(kind, end - begin)
    at = rng.randrange(begin, max(end - size, begin) + 1)
    size = min(size, end - at)
    if path.stat().st_nlink > 1:
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(size)
        new = {
            "a bit flipped": bytes(byte ^ 1 << rng.randrange(8) for byte in old),
            "64 bytes overwritten": rng.randbytes(size),
            "a block zeroed": bytes(size),
            "replaced by text": (TEXT * (size // len(TEXT) + 1))[:size],
        }[kind]
        file.seek(at)
        file.write(new)


def row_of(
    storage: str, names: tuple[str, ...], done: Mapping[str, str], sound: Epoch, damaged: Epoch, again: Epoch
) -> Row:
    """Return the row for the videos of one storage.

    Args:
        again: of two ranks that know half of the damaged videos, as after a restart.
    """
    rows = [row for row in damaged.delivered if names[row].startswith(f"{storage}/")]
    fates: dict[str, Counter[str]] = {}
    wrong = unstable = 0
    for row in rows:
        first, second = damaged.delivered[row], again.delivered[row]
        if kind := done.get(names[row]):
            fates.setdefault(kind, Counter())[fate(row, names[row], sound, damaged)] += 1
        else:
            wrong += first != sound.delivered[row] or names[row] in damaged.reasons
        wrong += first.row != second.row
        if names[first.row] in done:
            unstable += first != second
        else:  # a sound one, in its own place or as a stand-in
            wrong += len({first, second, sound.delivered.get(first.row, first)}) > 1
    total = sum(fates.values(), Counter())
    return Row(
        f"damaged videos: {storage}, decoded by {damaged.decoder}",
        injected=total.total(),
        survived=total.total() - total["lost"],
        lost_or_repeated=total["lost"],
        bits_equal=not wrong,  # of sound videos; damaged ones that decode may give any pixels
        details={
            "sound": len(rows) - total.total(),
            **total,
            "other_pixels_each_time": unstable,
            "of": {kind: dict(fates[kind]) for kind in sorted(fates)},
        },
    )


def fate(row: int, name: str, sound: Epoch, damaged: Epoch) -> str:
    """Return the fate of a damaged video: "named" if it was replaced, "lost", or which pixels it still gives."""
    came = damaged.delivered[row]
    if came.row != row:
        return "named" if damaged.reasons.get(name) else "lost"
    if name in damaged.reasons:
        return "lost"
    return "same pixels" if came == sound.delivered[row] else "other pixels"
