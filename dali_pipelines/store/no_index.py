"""Explain why a place has no index, to a user who expected a dataset there."""

from itertools import islice
from pathlib import Path

from dali_pipelines.store.files import INDEX_FILE, JOURNAL_FILE, PART_FOLDER, is_video_name
from dali_pipelines.store.place import is_numbered
from dali_pipelines.store.storage import is_url

PREPARE = "clipfeed prepare"
MAX_FILES = 10_000
"""Most files of a folder that are looked at: frames of a dataset are millions."""


def why_no_index(root: Path | str) -> str:
    """Explain what a root without an index is, and how to get a dataset."""
    if is_url(root):
        return f"{root} is no prepared dataset (it has no {INDEX_FILE}); make one with `{PREPARE} SRC --out DIR`"
    root = Path(root)
    if not root.is_dir():
        what = "is a file and not the folder of a dataset" if root.exists() else "does not exist"
        return f"{root} {what}; make a dataset with `{PREPARE} SRC --out DIR` and give DIR, to a recipe with --data-dir"
    if (root / PART_FOLDER).is_dir():
        return f"{root} is prepared in parts; when all are finished, run `{PREPARE} --out {root} --merge`"
    if (root / JOURNAL_FILE).is_file():
        return (
            f"{root} has no {INDEX_FILE}: `{PREPARE}` was interrupted, or the file was not copied; run the same "
            f"`{PREPARE}` again, or copy the file"
        )
    names = (path.name for path in islice(root.rglob("*"), MAX_FILES))
    if any(is_video_name(name) or is_numbered(name) for name in names):
        return (
            f"{root} holds videos that are not prepared; run `{PREPARE} {root} --out DIR` and give DIR "
            "(`--codec original` only indexes them where they are)"
        )
    return f"{root} is no prepared dataset (it has no {INDEX_FILE}); make one with `{PREPARE} SRC --out {root}`"
