"""Kinetics-400, 600 and 700: CSV files with label,youtube_id,time_start,time_end,split, one or a folder of them."""

from collections import defaultdict

from configs.errors import UserError
from dali_pipelines.datasets.formats import Lists, Reading, Source
from dali_pipelines.datasets.formats.table import cells, table

COLUMNS = {"youtube_id", "time_start", "time_end"}
LIST_OF = {"train": "train.txt", "val": "val.txt", "validate": "val.txt", "validation": "val.txt", "test": "test.txt"}


def recognizes(source: Source) -> bool:
    """Tell whether a file, or one in a folder, has Kinetics' columns."""
    return any(_is_kinetics(file) for file in _files(source))


def read(source: Source) -> Lists:
    """Read the lists as train.txt, val.txt and test.txt; class ids follow the sorted class names.

    A video is named CLASS/ID_000010_000020, with its start and end in seconds, or CLASS/ID. The test lists of
    Kinetics-400 and 600 have no classes.
    """
    rows: dict[str, list[tuple[str, str, str | None]]] = defaultdict(list)
    files = [file for file in _files(source) if _is_kinetics(file)]
    for file in files:
        header, *lines = table(file)
        for line in lines:
            row = dict(zip(header, line, strict=True))
            label = row.get("label") or None
            folder = f"{label}/" if label else ""
            try:
                start, end = (round(float(row[key])) for key in ("time_start", "time_end"))
            except (ValueError, OverflowError):
                raise file.error(",".join(line), "time_start and time_end must be seconds") from None
            subset = LIST_OF.get(row.get("split", ""), f"{file.path.stem}.txt")
            rows[subset].append(
                (f"{folder}{row['youtube_id']}_{start:06d}_{end:06d}", folder + row["youtube_id"], label)
            )
    if not rows and files:
        raise UserError(f"{source.location} has the header of Kinetics and names no videos: give the complete CSVs")
    if not rows:
        raise source.error(source.path.name, "it must hold CSV files with " + ", ".join(sorted(COLUMNS)))
    entries = {}
    for subset, of_subset in rows.items():
        timed, plain, labels = zip(*of_subset, strict=True)
        known = None if None in labels else labels
        entries[subset] = [Reading(names=timed, labels=known), Reading(names=plain, labels=known)]
    classes = {label for of_subset in rows.values() for *_, label in of_subset if label}
    return Lists(entries=entries, class_names=tuple(sorted(classes)))


def _files(source: Source) -> list[Source]:
    return [Source(path) for path in sorted(source.path.glob("*.csv"))] if source.is_folder else [source]


def _is_kinetics(source: Source) -> bool:
    return bool(source.lines) and set(cells(source.lines[0])) >= COLUMNS
