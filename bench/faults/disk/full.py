"""Fill the disk at every page and at every file that each command writes.

Each command runs on a file system (tmpfs) without free space, then repeatedly with a little more, on what the previous
try left, until it succeeds: so it fails at each of its writes in turn, and resumes from each failure. The same with
space for all bytes but few files, and on a read-only file system. For training runs, the disk is also filled and
emptied at random moments.
"""

import json
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.faults.disk.cases import CASES, PRETRAIN, Case, prepare
from bench.faults.disk.forked import OUTPUT, run, start
from bench.faults.disk.small import Files, SmallDisk, damage, read_files, write_files
from bench.faults.row import Row
from bench.faults.same import compare

SIZES = 24
"""Number of disk sizes, and of file counts, to try per command at full scale, if it writes that much."""
FLOODED = {"stop": "ends and is started again", "go_on": "goes on"}
"""train.full_disk -> what a training run then does."""
FLOODS, FLOOD_S = {"stop": 20, "go_on": 100}, 0.4
"""How often the disk is filled under a run at full scale, and for how many seconds, at most."""
EPOCHS = 8
"""Epochs of such a run."""
GROUPS: dict[str, list[str]] = {
    group: [name for name in CASES if name.startswith(firsts)]
    for group, firsts in {
        "data": ("recipe", "prepare", "lists", "inspect", "preview"),
        "pretrain": ("pretrain",),
        "finetune": ("finetune",),
        "test": ("test",),
        "weights": ("features", "export", "import"),
        "report": ("report", "probe"),
    }.items()
} | {name: [name] for name in FLOODED}
"""Group -> its commands."""


def inject(scale: float, folder: Path, *, group: str) -> Iterator[Row]:
    """Yield a row for each command of a group."""
    folder = folder.resolve()
    with SmallDisk(folder / "disk") as disk:
        prepare(folder)
        for name in GROUPS[group]:
            if name in FLOODED:
                long = f"{PRETRAIN} --set train.epochs={EPOCHS} --set train.full_disk={name}"
                case = Case(long, [f"{long} --max-steps 1"], work_dir=True)
                filler = Filler(case, folder, disk, max(2, round(FLOODS[name] * scale)))
                yield filler.flood(f"disk filled at random moments: pretrain {FLOODED[name]}")
            else:
                yield Filler(CASES[name], folder, disk, max(2, round(SIZES * scale))).row(f"full disk: {name}")


@dataclass
class Filler:
    """Run one command on disks of many sizes, and count the outcomes."""

    case: Case
    folder: Path
    disk: SmallDisk
    most: int
    """Approximate number of disk sizes to try, or number of times to fill the disk."""
    injected: int = 0
    survived: int = 0
    lost: int = 0
    wrong: list[str] = field(default_factory=list)
    """Failures, in words."""
    same: bool = True

    def row(self, name: str) -> Row:
        """Try all sizes and return the row."""
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
        """Prepare the files before the command, and record those after it, undisturbed.

        Return the former, and the pages and inodes that the command took.
        """
        self.disk.begin({})
        for step in self.case.before:
            if (self.folder / step).is_dir():
                source = self.folder / step
                self.disk.begin({f"{source.name}/{name}": data for name, data in read_files(source).items()})
            else:
                status, said = run(step, self.folder)
                assert status == 0, said
        before = read_files(self.disk.folder)
        self.disk.begin(before)
        used = self.disk.used()
        status, said = run(self.case.command, self.folder)
        assert status == 0, said
        self.whole = read_files(self.disk.folder)
        return before, {kind: taken - used[kind] for kind, taken in self.disk.used().items()}

    def grow(self, kind: str, before: Files, need: int) -> int:
        """Run with none of a kind free, then with more each time, until the command succeeds; return the starts."""
        self.disk.begin(before)
        step, starts = max(1, round(need / self.most)), 0
        while starts < 4 * self.most + need:
            self.disk.limit({kind: self.disk.used()[kind] + starts * step})
            starts += 1
            if self.fail(f"{kind} + {(starts - 1) * step}", "No space left on device", before):
                break
        self.disk.limit()
        self.finish()
        return starts

    def flood(self, name: str) -> Row:
        """Fill and empty the disk under a run until it succeeds, and return the row."""
        before, _ = self.begin()
        self.disk.begin(before)
        chance, starts, status = random.Random(0), 0, None
        while status != 0 and starts < 10 * self.most:
            process, starts = start(self.case.command, self.folder), starts + 1
            while process.exitcode is None:
                process.join(chance.uniform(0, FLOOD_S))
                if process.exitcode is None and self.injected < self.most:
                    with self.disk.filled():
                        process.join(chance.uniform(0, FLOOD_S))
                    self.injected += 1
            status = process.exitcode
            self.judge("flood", status, "No space left on device", before)
        self.survived = self.injected - len(self.wrong)
        said = (self.folder / OUTPUT).read_text()
        self.finish()
        details = {"command": self.case.command, "starts": starts, "said": said[-1000:], "wrong": self.wrong[:20]}
        return Row(name, self.injected, self.survived, self.lost, self.same, details)

    def fail(self, what: str, why: str, before: Files) -> bool:
        """Run the command where it should fail; return whether it succeeded."""
        status, _ = run(self.case.command, self.folder)
        if status == 0:
            return True
        self.injected += 1
        self.survived += self.judge(what, status, why, before)
        return False

    def judge(self, what: str, status: int | None, why: str, before: Files) -> bool:
        """Tell whether a command ended as expected and left all files intact."""
        said = (self.folder / OUTPUT).read_text(errors="replace")
        lines = [line for line in said.splitlines() if line.startswith("error: ")]
        wrong = damage(read_files(self.disk.folder), before, self.whole)
        names_it = len(lines) == 1 and why in lines[0] and re.search(r"\bdisk\b", lines[0])
        if status != 0 and (status != 2 or "Traceback" in said or not names_it):
            wrong.append(f"status {status}: {said[-2000:]}")
        self.lost += sum("gone" in each or "half" in each for each in wrong)
        self.wrong += [f"{what}: {each}" for each in wrong]
        return not wrong

    def finish(self) -> None:
        """Run the command with enough room, and compare its files with those of the undisturbed command."""
        status, said = run(self.case.command, self.folder)
        if self.case.command.startswith(("recipe", "export")):
            status = 0  # they fail because they never overwrite a file
        differing = [] if status == 0 else [f"with room it says {said[-2000:]}"]
        if self.case.work_dir:
            undisturbed = self.folder / "whole"
            shutil.rmtree(undisturbed, ignore_errors=True)
            write_files(undisturbed, self.whole)
            found, lines = compare(self.disk.folder / "run", undisturbed / "run")
            differing += found
            self.lost += lines
        else:
            ours, wanted = (self.comparable(files) for files in (read_files(self.disk.folder), self.whole))
            names = sorted(ours.keys() | wanted.keys())
            differing += [f"{name} differs" for name in names if ours.get(name) != wanted.get(name)]
        self.same = self.same and not differing
        self.wrong += differing

    def comparable(self, files: Files) -> dict[str, object]:
        """Return files without what varies between runs: times, and repeated lines of the journal."""
        found: dict[str, object] = dict(files)
        for name, data in files.items():
            if name.endswith("prepare.jsonl"):
                entries = (json.loads(line) for line in data.splitlines())
                found[name] = {entry.get("name", entry.get("shard")): entry for entry in entries}
                found[name].pop(None, None)  # type: ignore[attr-defined]
            elif self.case.timed:
                found[name] = re.sub(rb"[-+.e\d]+", b"#", data)
        return found
