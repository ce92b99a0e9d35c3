"""The videos that an official list names, without those that `prepare` could not use."""

from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError
from dali_pipelines.lists import quarantined, some
from dali_pipelines.prepare import QUARANTINE_FILE
from dali_pipelines.store.index import Index, listed_name, open_dataset

NAMED = 10


@dataclass(frozen=True)
class Listed:
    """What a list means in a dataset."""

    index: Index
    """Its videos, in its order; all of the dataset without a list."""
    lines: list[str]
    """The lines that name them."""
    left_off: list[str]
    """The names of the others, which are in the quarantine, as they stand in the list."""


def open_listed(root: str | Path, list_file: Path | None) -> Listed:
    """As `open_dataset`, but videos in the quarantine are left off: one damaged file must not make a list useless.

    UserError for names that are neither in the dataset nor in its quarantine.
    """
    try:
        return Listed(open_dataset(root, list_file), _lines(list_file), [])
    except UserError:
        if list_file is None or not list_file.is_file():
            raise
        away = dict.fromkeys(quarantined(Path(root)), -1)
        index = Index.load(root)
        row_of = {name: row for row, name in enumerate(index.names.texts())}
        lines = _lines(list_file)
        rows = [row_of.get(listed_name(line, row_of)) for line in lines]
        others = [listed_name(line, away) for line, row in zip(lines, rows, strict=True) if row is None]
        off = [name for name in others if name in away]
        if not off or len(off) == len(lines):
            raise
    if gone := [name for name in others if name not in away]:
        raise UserError(
            f"{list_file} names {len(gone)} videos that neither {index.root} nor its {QUARANTINE_FILE} holds "
            f"({some(gone)}): prepare them or take them off it"
        )
    kept = [(line, row) for line, row in zip(lines, rows, strict=True) if row is not None]
    return Listed(index.select([row for _, row in kept]), [line for line, _ in kept], off)


def left_off(root: str | Path, *list_files: Path | None) -> list[str]:
    """A sentence for each list of which videos are left off, that names them."""
    notes = []
    for list_file in list_files:
        listed = open_listed(root, list_file)
        if names := listed.left_off:
            more = f" and {len(names) - NAMED} more" * (len(names) > NAMED)
            notes.append(
                f"{len(names)} of {len(names) + len(listed.index)} videos of {list_file} are left off, as "
                f"{Path(root, QUARANTINE_FILE)} says why: {', '.join(names[:NAMED])}{more}"
            )
    return notes


def _lines(list_file: Path | None) -> list[str]:
    """The lines of a list that are not empty."""
    if list_file is None:
        return []
    return [line for line in list_file.read_text(errors="surrogateescape").splitlines() if line.strip()]
