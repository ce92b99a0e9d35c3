"""A disk that is full at every page and at every file of what each command writes.

Each command runs on a file system (tmpfs) without any room, then again and again with a little more, on what was left
the time before, until it has come to its end: so it fails at each of its writes in turn, and goes on from each failure.
Once more with room for all bytes, but for few files; and on one that is read-only.
"""

import json
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver, get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torchvision.models.video import r3d_18

from bench.data import drift
from bench.faults.row import Row
from bench.faults.same import compare
from bench.faults.small_disk import Files, SmallDisk, damage
from configs import command
from configs.errors import run_command
from dali_pipelines import worker
from dali_pipelines.store.encode import Encoding, write_frames
from trainers.weights import export

SIZES = 24
"""Sizes of a disk that are tried for each command at full scale, if it writes so many pages; and numbers of files."""
TIMEOUT_S = 300
FRAMES, SIDE = 16, 64
VIDEOS = 6
"""Of each of two classes."""
SCRIPTS = {"report": "trainers.commands.report", "probe": "trainers.commands.probe"}
"""Commands that `clipfeed` does not have."""
PRELOAD = [
    __name__,
    *(f"dali_pipelines.{name}" for name in ("inspect", "lists", "loader", "prepare", "preview")),
    *(f"trainers.commands.{name}" for name in ("export", "extract_features", "finetune", "import_checkpoint")),
    *(f"trainers.commands.{name}" for name in ("pretrain", "probe", "report", "test")),
    "matplotlib.pyplot",
    "nvidia.dali.fn",
    "torchvision.transforms.v2",
]

PLAN = {"num_frames": 8, "size": 32, "short_sides": [32, 40]}
RECIPE: dict[str, Any] = {
    "backbone": "r3d_tiny",
    "data": {"root": "data", "list": "train.txt", "workers": 0, "threads": 1},
    "optim": {"name": "adamw", "lr": 1e-3},
    "train": {"epochs": 2, "global_batch": 4, "checkpoint_every": 1, "log_every": 1, "loggers": ["tensorboard", "csv"]},
}
RECIPES: dict[str, dict[str, Any]] = {
    "ctp": RECIPE | {"task": "ctp", "work_dir": "runs/ctp", "plan": PLAN | {"strides": [1]}, "net": {"hidden": 16}},
    "classes": RECIPE
    | {
        "task": "recognition",
        "work_dir": "runs/classes",
        "data": RECIPE["data"] | {"test_list": "test.txt"},
        "plan": PLAN,
        "validation": {"every": 1, "share": 0.4},
    },
}
PRETRAIN = "pretrain --config ctp.yaml --device cpu --work-dir disk/run"
FINETUNE = "finetune --config classes.yaml --device cpu --mode scratch --work-dir disk/run"
PREPARE = "prepare videos --out disk/data --short-side 48 --workers 1"
TEST = "test --checkpoint runs/classes --device cpu --out disk/test --protocol"
ON = "--config classes.yaml --checkpoint disk/ctp --device cpu --out disk/test --protocol"


@dataclass(frozen=True)
class Case:
    """A command, run in a folder in which `disk` is the small one."""

    command: str
    before: Sequence[str] = ()
    """What ran before, with room: a command each, or a folder to be copied."""
    work_dir: bool = False
    """It leaves a run in disk/run: what it measures and how often it was started differs from run to run."""
    timed: bool = False
    """It writes how long something took."""


CASES = {
    "recipe": Case("recipe ctp/demo --out disk/mine.yaml"),
    "prepare": Case(PREPARE, [PREPARE.replace("videos", "videos/left")]),
    "prepare, without re-encoding": Case(f"{PREPARE[: PREPARE.index(' --short')]} --codec copy --workers 1"),
    "prepare, into shards": Case(f"{PREPARE} --shards 100kB"),
    "prepare, in parts": Case(f"{PREPARE} --shard 1/2", [f"{PREPARE} --shard 0/2"]),
    "prepare, merge of parts": Case(
        "prepare --out disk/data --merge", [f"{PREPARE} --shard 0/2", f"{PREPARE} --shard 1/2"]
    ),
    "lists": Case("lists auto lists/train.txt lists/test.txt --data-dir disk/data", [PREPARE]),
    "inspect, page": Case("inspect data --out disk/page.html", timed=True),
    "inspect, JSON": Case("inspect data --out disk/facts.json", timed=True),
    **{
        f"preview, .{kind}": Case(f"preview --config ctp.yaml --out disk/preview.{kind}")
        for kind in ("png", "html", "mp4", "gif", "webp")
    },
    "pretrain": Case(PRETRAIN, [f"{PRETRAIN} --max-steps 1"], work_dir=True),
    "finetune": Case(FINETUNE, [f"{FINETUNE} --max-steps 1"], work_dir=True),
    "test, video": Case(f"{TEST} video"),
    "test, retrieval": Case(f"test {ON} retrieval", ["runs/ctp"]),
    "test, linear": Case(f"test {ON} linear", ["runs/ctp"]),
    "features": Case("features data --checkpoint runs/ctp --out disk/features.npz --device cpu --workers 0"),
    **{f"export, .{kind}": Case(f"export runs/ctp --out disk/net.{kind}") for kind in ("safetensors", "pt2", "onnx")},
    "export, folder": Case("export runs/ctp --out disk/net"),
    "import": Case("import r3d_18.pt --from torchvision --out disk/imported.pt"),
    "report": Case("report --work-dir runs/ctp --out disk/loss.png"),
    "probe": Case("probe --work-dir runs/ctp --train train.txt --test test.txt --json disk/probe.json --device cpu"),
}


def inject(scale: float, folder: Path, *, names: Sequence[str] = tuple(CASES)) -> Iterator[Row]:
    """Yield a row for each command."""
    sizes, folder = max(2, round(SIZES * scale)), folder.resolve()
    with SmallDisk(folder / "disk") as disk:
        prepare(folder)
        for name in names:
            yield Filler(CASES[name], folder, disk, sizes).row(f"full disk: {name}")


def prepare(folder: Path) -> None:
    """Make all that the commands read: videos, a dataset with lists, two runs and a checkpoint of others."""
    for number in range(2 * VIDEOS):
        frames = (frame[:SIDE, : SIDE + 16] for _, frame in zip(range(FRAMES), drift(number), strict=False))
        path = folder / "videos" / ("left", "right")[number % 2] / f"{number:02d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_frames(path, (np.ascontiguousarray(frame) for frame in frames), fps=25, settings=Encoding(gop=8))
    (folder / "lists").mkdir(exist_ok=True)
    names = [f"{('left', 'right')[number % 2]}/{number:02d}" for number in range(2 * VIDEOS)]
    for split, some in {"train": names[: VIDEOS + 2], "test": names[VIDEOS + 2 :]}.items():
        (folder / "lists" / f"{split}.txt").write_text("".join(f"{name}\n" for name in some))
    for name, recipe in RECIPES.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    torch.manual_seed(0)
    torch.save(r3d_18().state_dict(), folder / "r3d_18.pt")
    in_place = [command.replace("disk/", "") for command in (PREPARE, CASES["lists"].command)]
    for words in (*in_place, PRETRAIN.replace("disk/run", "runs/ctp"), FINETUNE.replace("disk/run", "runs/classes")):
        status, said = run(words, folder)
        assert status == 0, said


@dataclass
class Filler:
    """Runs one command on disks of many sizes, and keeps count."""

    case: Case
    folder: Path
    disk: SmallDisk
    sizes: int
    """That are tried, about."""
    injected: int = 0
    survived: int = 0
    lost: int = 0
    wrong: list[str] = field(default_factory=list)
    """What did not go as it should, in words."""
    same: bool = True

    def row(self, name: str) -> Row:
        """Try all and return what came of it."""
        before, need = self.begin()
        tried = {kind: self.grow(kind, before, need[kind]) for kind in need}
        self.disk.begin(before)
        self.disk.limit(read_only=True)
        self.fail("read-only", "Read-only file system", before)
        self.disk.limit()
        self.finish()
        details = {"command": self.case.command, "written": need, "starts": tried, "wrong": self.wrong[:20]}
        return Row(name, self.injected, self.survived, self.lost, self.same, details)

    def begin(self) -> tuple[Files, dict[str, int]]:
        """Make what is there before, and what the undisturbed command leaves; return the former and the room it took."""
        self.disk.begin({})
        for step in self.case.before:
            if (self.folder / step).is_dir():
                source = self.folder / step
                files = (path for path in source.rglob("*") if path.is_file())
                self.disk.begin({f"{source.name}/{path.relative_to(source)}": path.read_bytes() for path in files})
            else:
                status, said = run(step, self.folder)
                assert status == 0, said
        before = self.disk.files()
        self.disk.begin(before)
        used = self.disk.used()
        status, said = run(self.case.command, self.folder)
        assert status == 0, said
        self.whole = self.disk.files()
        return before, {kind: taken - used[kind] for kind, taken in self.disk.used().items()}

    def grow(self, kind: str, before: Files, need: int) -> int:
        """Start with no room of a kind, and again with some more, until the command succeeds; return how often."""
        self.disk.begin(before)
        room, step, starts = self.disk.used()[kind], max(1, round(need / self.sizes)), 0
        while starts < 4 * self.sizes + need:
            self.disk.limit(**{kind: room + starts * step})
            starts += 1
            if self.fail(f"{kind} + {(starts - 1) * step}", "No space left on device", before):
                break
        self.disk.limit()
        self.finish()
        return starts

    def fail(self, what: str, why: str, before: Files) -> bool:
        """Run the command where it should fail; return whether it succeeded."""
        status, said = run(self.case.command, self.folder)
        if status == 0:
            return True
        self.injected += 1
        lines = [line for line in said.splitlines() if line.startswith("error: ")]
        wrong = [f"status {status}"] * (status != 2) + damage(self.disk.files(), before, self.whole)
        if len(lines) != 1 or "Traceback" in said or why not in lines[0] or "disk/" not in lines[0]:
            wrong.append(f"it says {said[-2000:]}")
        self.lost += sum("gone" in each or "half" in each for each in wrong)
        self.survived += not wrong
        self.wrong += [f"{what}: {each}" for each in wrong]
        return False

    def finish(self) -> None:
        """Run the command with room for all, and compare what it leaves with the undisturbed one's."""
        status, said = run(self.case.command, self.folder)
        files = self.disk.files()
        if self.case.command.startswith("recipe") or self.case.command.startswith("export"):
            status = 0  # they write over no file
        differing = [] if status == 0 else [f"with room it says {said[-2000:]}"]
        if self.case.work_dir:
            theirs = self.folder / "whole"
            for name, data in self.whole.items():
                (theirs / name).parent.mkdir(parents=True, exist_ok=True)
                (theirs / name).write_bytes(data)
            found, lines = compare(self.disk.folder / "run", theirs / "run")
            differing += found
            self.lost += lines
        else:
            ours, theirs_too = (self.comparable(each) for each in (files, self.whole))
            names = sorted(ours.keys() | theirs_too.keys())
            differing += [f"{name} differs" for name in names if ours.get(name) != theirs_too.get(name)]
        self.same = self.same and not differing
        self.wrong += differing

    def comparable(self, files: Files) -> dict[str, object]:
        """Return files without what differs from run to run: times, and how often the journal was written to."""
        found: dict[str, object] = dict(files)
        for name, data in files.items():
            if name.endswith("prepare.jsonl"):
                entries = (json.loads(line) for line in data.splitlines())
                found[name] = {entry.get("name", entry.get("shard")): entry for entry in entries}
                found[name].pop(None, None)  # type: ignore[attr-defined]
            elif self.case.timed:
                found[name] = re.sub(rb"[-+.e\d]+", b"#", data)
        return found


def run(words: str, folder: Path) -> tuple[int | None, str]:
    """Run a command in the folder; return its exit status, None where it hangs, and what it printed."""
    forkserver.set_forkserver_preload(PRELOAD)
    output = folder / "output.txt"
    process = get_context("forkserver").Process(target=_be, args=(words.split(), folder, output))
    process.start()
    process.join(TIMEOUT_S)
    hangs = process.exitcode is None
    process.kill()
    process.join()
    return None if hangs else process.exitcode, output.read_text(errors="replace")


def _be(argv: list[str], folder: Path, output: Path) -> None:
    """Be a command, in a process in which all is imported."""
    with output.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    os.chdir(folder)
    multiprocessing.process._parent_process = None  # type: ignore[attr-defined]  # workers have a parent, commands none
    worker.CONTEXT = get_context("fork")  # type: ignore[assignment]  # no thread and no GPU was used before it
    export.program = _traced_once(export.program, folder)
    sys.argv = ["clipfeed", *argv]
    if argv[0] in SCRIPTS:
        del sys.argv[1]
        run_command(SCRIPTS[argv[0]])
    command.main()


def _traced_once(program: Callable[..., bytes], folder: Path) -> Callable[..., bytes]:
    """Keep what the first call made for those in later processes: it takes ten seconds, and writes nothing."""

    def traced(net: Any, name: str, clip: Any, suffix: str) -> bytes:
        path = folder / f"traced{suffix}"
        with suppress(FileNotFoundError):
            return path.read_bytes()
        path.write_bytes(program(net, name, clip, suffix))
        return path.read_bytes()

    return traced
