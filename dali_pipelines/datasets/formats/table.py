"""CSV with a header: columns such as name, path, video or filename, and label, class or category; split makes lists."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence

from configs.words import counted
from dali_pipelines.datasets.formats import Lists, Reading, Source
from dali_pipelines.datasets.formats.plain import DELIMITERS

NAMES = (
    *("name", "path", "video", "filename", "file", "video_path", "video_name", "video_id", "file_name", "filepath"),
    *("file_path", "clip", "clip_path", "vid_name", "id"),
)
LABELS = ("label", "class", "category", "action", "class_name", "label_name", "label_id", "class_id", "target")
STARTS = ("start", "begin")
NEED = f"of numbers, one must be 0 or 1; in a header, the column is called {', '.join(LABELS[:3])} ..."
"""What makes a column the labels, for messages about a list that has none."""
SPLITS = ("split", "subset", "set", "partition", "fold")


def recognizes(source: Source) -> bool:
    """Tell whether the first line names the columns."""
    return not source.is_folder and bool(source.lines) and _delimiter(source.lines[0]) is not None


def read(source: Source) -> Lists:
    """Read the list, or one list for each value of the split column."""
    rows = table(source, _delimiter(source.lines[0]) or ",")
    header = [cell.lower() for cell in rows[0]]
    is_part = names_parts(header)
    name, label, split = (_place(header, words) for words in (NAMES, LABELS, SPLITS))
    if name is None:  # an unclosed quotation mark
        raise source.error(source.lines[0], f"the first line must have one of {', '.join(NAMES)}")
    parts: dict[str, list[Sequence[str]]] = defaultdict(list)
    for row in rows[1:]:
        parts[row[split] if split is not None else ""].append(row)
    if len(parts) <= 1:  # 0 below a header alone
        return Lists(entries={source.path.name: [_reading(rows[1:], name, label, is_part)]})
    for part in parts:
        if not part or "/" in part:
            raise source.error(part, f"the column {header[split or 0]} must name a split")
    return Lists(entries={f"{part}.txt": [_reading(of_part, name, label, is_part)] for part, of_part in parts.items()})


def table(source: Source, delimiter: str = ",") -> list[list[str]]:
    """Return the rows of a CSV file, header first, cells stripped; UserError if their lengths differ."""
    lines = (f"{line}\n" for line in source.lines)  # a name in quotation marks may have a line break
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    except csv.Error as error:
        raise source.unreadable(str(error)) from error
    header = delimiter.join(rows[0])
    for row in rows:
        if len(row) != len(rows[0]):
            raise source.error(delimiter.join(row), f"a line must have the {counted(len(rows[0]), 'column')} {header}")
    return rows


def _delimiter(line: str) -> str | None:
    """Return the delimiter of a header line; None if the line is not a header."""
    for delimiter in DELIMITERS:
        header = cells(line, delimiter)
        place = _place(header, NAMES)
        if len(header) > 1 and place is not None and all(map(_may_be_title, header)):
            return delimiter
    return None


def cells(header: str, delimiter: str = ",") -> list[str]:
    """Split a header line into titles: in lower case, stripped of spaces and quotation marks."""
    return [cell.strip().strip('"').lower() for cell in header.split(delimiter)]


def _may_be_title(cell: str) -> bool:
    """Return whether a cell can be the title of a column. Pandas' row numbers have "" or "Unnamed: 0"."""
    return not cell or cell.startswith("unnamed: ") or cell.isidentifier()


def names_parts(titles: Iterable[str]) -> bool:
    """Return whether columns or keys with these titles state times, such as start_frame, time_start or Begin."""
    lower = [title.lower() for title in titles]
    return any(title.startswith(STARTS) or title.endswith(STARTS) for title in lower)


def _place(header: Sequence[str], words: Sequence[str]) -> int | None:
    return next((header.index(word) for word in words if word in header), None)


def _reading(rows: Sequence[Sequence[str]], name: int, label: int | None, parts: bool) -> Reading:
    labels = None if label is None else [row[label] for row in rows]
    return Reading(names=[row[name] for row in rows], labels=labels, parts=parts)
