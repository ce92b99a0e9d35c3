"""The lists that commands write into a dataset, and how to distinguish them from the user's."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from dali_pipelines.store.files import write_file, write_json

RECORD = "lists.json"
"""The lists of a dataset that commands wrote: name -> `Written`."""


class Written(TypedDict):
    """A list that a command wrote: number of videos, SHA-256, and whether it has all videos of a split folder."""

    videos: int
    sha256: str
    split: bool


def is_users(path: Path, names: Sequence[str]) -> bool:
    """Tell whether the file exists, differs from `names`, and was not written by a command."""
    if not path.exists():
        return False
    old, record = path.read_bytes(), read_record(path.parent)
    ours = record[path.name]["sha256"] if path.name in record else None
    return old != _content(names) and _sha256(old) != ours


def write_list(path: Path, names: Sequence[str], *, split: bool = False) -> bool:
    """Write names to a list; if the file is the user's, leave it alone and return False."""
    if is_users(path, names):
        return False
    data = _content(names)
    write_file(path, data)
    of_this = Written(videos=len(names), sha256=_sha256(data), split=split)
    record = {**read_record(path.parent), path.name: of_this}
    write_json(path.with_name(RECORD), record)
    return True


def read_record(root: Path | str) -> dict[str, Written]:
    """Return the lists of a dataset that commands wrote; empty without a valid record."""
    try:
        found = json.loads(Path(root, RECORD).read_bytes())
        return {
            str(name): Written(videos=int(of["videos"]), sha256=str(of["sha256"]), split=bool(of["split"]))
            for name, of in found.items()
        }
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return {}


def splits_note(root: Path | str) -> list[str]:
    """Return a note for a command that takes all videos, if commands wrote several lists into the dataset."""
    splits = {name: of for name, of in read_record(root).items() if Path(root, name).exists()}
    if len(splits) < 2:
        return []
    counts = ", ".join(f"{of['videos']} of {name}" for name, of in splits.items())
    first = next((name for name in splits if "train" in name.lower()), next(iter(splits)))
    of_one = f"--set data.list={first} takes that list alone"
    return [f"all videos of {root} are taken, whatever their list ({counts}); {of_one}"]


def _content(names: Sequence[str]) -> bytes:
    """Return one name per line, or JSON if a name would not be read from its line as it is."""
    if any(name != name.strip() or "\n" in name or "\r" in name for name in names):
        return (json.dumps(names, indent=0) + "\n").encode()
    return "".join(f"{name}\n" for name in names).encode(errors="surrogateescape")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
