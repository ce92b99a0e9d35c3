"""Prepare a dataset in parts, one per task, for example of a Slurm array.

A task takes the videos whose names hash to its number. Its journal, index and quarantine are in `parts/I-of-N/`; all
tasks write videos into the common folders. `parts/run.json` pins what all tasks must agree on.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from configs.environment import from_environment
from configs.errors import UserError
from dali_pipelines.prepare.shards import name_hash
from dali_pipelines.store.files import JOURNAL_FILE, PART_FOLDER, sync, write_file
from dali_pipelines.store.journal import in_words

RUN_FILE = "run.json"
DONE_FILE = "done.json"


@dataclass(frozen=True)
class Part:
    """Part `number` of `count`, counted from 0; `first` is the Slurm array's number for part 0."""

    number: int
    count: int
    first: int = 0

    def takes(self, name: str) -> bool:
        """Tell whether a video is in this part."""
        return name_hash(name) % self.count == self.number

    def folder(self, root: Path) -> Path:
        """Return the folder of the part's journal, index and quarantine."""
        return root / PART_FOLDER / f"{self.number}-of-{self.count}"

    def begin(self, root: Path) -> None:
        """Mark the part unfinished."""
        (self.folder(root) / DONE_FILE).unlink(missing_ok=True)

    def end(self, root: Path, labels: Mapping[str, int], class_names: Iterable[str], *, stored: int) -> None:
        """Mark the part finished, with `stored` videos in its index.

        `labels`, of all videos of the dataset, and `class_names` must be the same in all parts.
        """
        seen = hashlib.sha256(repr((sorted(labels.items()), *class_names)).encode()).hexdigest()
        done = {"stored": stored, "of": len(labels), "seen": seen}
        write_file(self.folder(root) / DONE_FILE, json.dumps(done))

    def done(self, root: Path) -> dict[str, Any]:
        """Return what `end` wrote; empty if the part is unfinished or the file is damaged."""
        try:
            done = json.loads((self.folder(root) / DONE_FILE).read_text())
            return {key: done[key] for key in ("stored", "of", "seen")}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}


def choose_part(option: str | None, root: Path, environment: Mapping[str, str]) -> Part | None:
    """Return the part of `--shard I/N`, else that of the Slurm array task; None to prepare all videos.

    UserError if it is no part, the dataset has another number of parts, or was not made in parts.
    """
    pinned = _pinned(root)
    if option is not None:
        part = _parse(option)
    elif "SLURM_ARRAY_TASK_ID" in environment:
        part = _of_slurm(environment, pinned)
    elif pinned:
        raise UserError(f"{root} is prepared in {pinned['parts']} parts: give --shard I/{pinned['parts']}, or --merge")
    else:
        return None
    if not pinned and part.count == 1:
        return None
    if pinned and part.count != pinned["parts"]:
        raise UserError(
            f"{root} is prepared in {pinned['parts']} parts, not {part.count}: give --shard I/{pinned['parts']}, or "
            "another --out"
        )
    if not pinned and (root / JOURNAL_FILE).exists():
        raise UserError(f"{root} was not prepared in parts: leave --shard out (--shard 0/1), or give another --out")
    return part


def _parse(option: str) -> Part:
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", option)
    if not match or int(match[1]) >= int(match[2]):
        raise UserError(f"--shard {option!r} must be I/N with I from 0 to N-1, as 0/8 to 7/8")
    return Part(int(match[1]), int(match[2]))


def _of_slurm(environment: Mapping[str, str], pinned: Mapping[str, Any]) -> Part:
    """Return the part of an array task. Once the run is pinned, an array may hold just the missing parts."""
    keys = ("ID", "COUNT", "MIN", "MAX")
    words = {key: from_environment(f"SLURM_ARRAY_TASK_{key}", 0, environment=environment) for key in keys}
    if not pinned:
        if words["MAX"] - words["MIN"] != words["COUNT"] - 1:
            raise UserError("the numbers of the Slurm array have gaps: give --shard I/N, or --shard 0/1 for all videos")
        return Part(words["ID"] - words["MIN"], words["COUNT"], words["MIN"])
    count, first = pinned["parts"], pinned["first"]
    if words["COUNT"] > count or not 0 <= words["ID"] - first < count:
        raise UserError(
            f"task {words['ID']} of a Slurm array of {words['COUNT']}: the dataset is prepared in {count} parts, by "
            f"--array={first}-{first + count - 1}; give another --out for another number, or --shard I/{count}"
        )
    return Part(words["ID"] - first, count, first)


def pin(root: Path, part: Part, settings: Mapping[str, Any]) -> None:
    """Record the number of parts and their common settings; UserError if another task has recorded others.

    The file is written in a temporary folder, which is then renamed: of many tasks on many machines, one wins.
    """
    mine = {"parts": part.count, "first": part.first, "settings": json.loads(json.dumps(settings))}
    temporary = root / f".{PART_FOLDER}-{uuid.uuid4().hex}"
    try:
        temporary.mkdir(parents=True)
        (temporary / RUN_FILE).write_text(json.dumps(mine))
        sync(temporary / RUN_FILE)
        os.rename(temporary, root / PART_FOLDER)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise UserError(f"cannot write the dataset to {root}: {error.strerror}; give another --out") from error
    pinned = _pinned(root)
    if pinned.get("settings") != mine["settings"] or pinned.get("parts") != part.count:
        made, now = (f"{run.get('parts')} parts and {in_words(run.get('settings', {}))}" for run in (pinned, mine))
        raise UserError(f"{root} is prepared with {made}, not {now}: give those options, or another --out")


def _pinned(root: Path) -> dict[str, Any]:
    """Read what the tasks agreed on; empty for a dataset that is not prepared in parts."""
    path = root / PART_FOLDER / RUN_FILE
    try:
        pinned = json.loads(path.read_text())
        return {key: pinned[key] for key in ("parts", "first", "settings")}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): give another --out") from error


def all_parts(root: Path) -> list[Part]:
    """Return the parts of a dataset; UserError if it is not prepared in parts."""
    pinned = _pinned(root)
    if not pinned:
        raise UserError(f"{root} is not prepared in parts: there is no {root / PART_FOLDER / RUN_FILE}")
    return [Part(number, pinned["parts"], pinned["first"]) for number in range(pinned["parts"])]


def missing(root: Path) -> str:
    """Return the unfinished parts in the format of `sbatch --array`, such as "1-2,5,99"; empty if there are none."""
    return ranges(part.first + part.number for part in all_parts(root) if not part.done(root))


def ranges(numbers: Iterable[int]) -> str:
    """Abbreviate increasing numbers: 1, 2, 5 to "1-2,5"."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0]}-{run[-1]}" if run[1:] else str(run[0]) for run in runs)
