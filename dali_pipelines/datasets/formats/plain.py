"""text: `name`, `name label`, `name label frames`, `name frames label`, or the same with commas, semicolons or tabs.

UCF101's trainlist01.txt, the lists of CtP, CSTP and mmaction2, and the CSVs of CPC and Concepts are such lists.
"""

import csv
import re
from collections.abc import Sequence

from configs.errors import UserError
from dali_pipelines.datasets.formats import Lists, Reading, Source, describe_formats, is_number
from dali_pipelines.datasets.names import without_suffix

DELIMITERS = ("\t", ";", ",")
MAX_COLUMNS = 4
MEASURE = re.compile(r"-?[\d:]*[.:]\d*|-?\d*")
"""Seconds, a clock time, a coordinate, or nothing: of more columns than one, these are no classes."""


def recognizes(source: Source) -> bool:
    """Return True: a list that no other format recognizes is plain text."""
    return True


def read(source: Source) -> Lists:
    """Read the only list of a text file."""
    if source.is_folder:
        known = "; ".join(f"{name}: {about}" for name, about in describe_formats().items())
        raise UserError(f"{source.path} is a folder that holds no known lists. Known are {known}")
    lines = source.lines
    labeled = _after_suffixes(lines)
    readings = [*labeled, Reading(names=lines)]
    if not lines:
        return Lists(entries={source.path.name: readings})
    quoted = [" "] * any('"' in line for line in lines)  # as pandas writes names with spaces
    for delimiter in (*DELIMITERS, *quoted):
        if all(delimiter in line for line in lines):
            readings += _delimited(lines, delimiter)
    if not labeled:
        readings += _spaced(lines)
    return Lists(entries={source.path.name: readings})


def _delimited(lines: Sequence[str], delimiter: str) -> list[Reading]:
    """Return the readings of lines that all have the delimiter: two if names or labels may contain it."""
    try:
        rows = list(csv.reader(lines, delimiter=delimiter))
    except csv.Error:  # an unterminated field
        rows = []
    if len(rows) != len(lines):  # a quotation mark in a name
        rows = [line.split(delimiter) for line in lines]
    ways = [rows]
    alike = len({len(row) for row in rows}) == 1
    if not alike or (len(rows[0]) > MAX_COLUMNS and not any(map(_is_measured, zip(*rows, strict=True)))):
        ways = [[split(line, delimiter, 1) for line in lines] for split in (str.split, str.rsplit)]
    return [_of_columns([[cell.strip() for cell in column] for column in zip(*way, strict=True)]) for way in ways]


def _of_columns(columns: Sequence[Sequence[str]]) -> Reading:
    """Return the reading of a name and more columns: labels are a column of text, or one of the numbers.

    With so many columns that any could be the labels, only a single column of text is.
    """
    names, *others = columns
    numbers = tuple(column for column in others if all(is_number(text) or not text for text in column))
    measured = [column for column in others if len(others) > 1 and _is_measured(column)]
    texts = [column for column in others if column not in numbers and column not in measured]
    is_clear = len(columns) <= MAX_COLUMNS
    return Reading(
        names=names,
        labels=texts[0] if len(texts) == 1 or (texts and is_clear) else None,
        columns=numbers if is_clear and not texts else (),
        parts=len(measured) > 1,
    )


def _is_measured(column: Sequence[str]) -> bool:
    """Return whether a column has seconds, clock times or coordinates: numbers, and not only integers."""
    cells = [cell.strip() for cell in column]
    return all(map(MEASURE.fullmatch, cells)) and not all(is_number(cell) or not cell for cell in cells)


def _after_suffixes(lines: Sequence[str]) -> list[Reading]:
    """Return the reading in which a label follows the name's suffix, on at least some lines."""
    pairs: list[tuple[str, str | None]] = []
    for line in lines:
        words = line.rsplit(maxsplit=1)
        if len(words) == 2 and _has_suffix(words[0]) and not _has_suffix(line):
            pairs.append((words[0], words[1]))
        elif len(words) == 1 or _has_suffix(line):
            pairs.append((line, None))
        else:
            return []
    return _of_pairs(pairs) if any(label for _, label in pairs) else []


def _spaced(lines: Sequence[str]) -> list[Reading]:
    """Return the readings with one label or two numbers after a name without suffix, which may contain spaces.

    The last word may belong to the name, as in "take 2". It is a label if every line has one, no name has two, and if
    labels are numbers, or recur after names without spaces.
    """
    readings = []
    cut = [line.rsplit(maxsplit=1) for line in lines]
    if all(len(words) == 2 and not _has_suffix(words[1]) for words in cut):
        pairs = [(words[0], words[1]) for words in cut]
        labels = [label for _, label in pairs]
        single = not any(" " in name for name, _ in pairs) and 2 * len(set(labels)) <= len(labels)
        if len({*pairs}) == len({*dict(pairs)}) and (single or all(map(is_number, labels))):
            readings += _of_pairs(pairs)
    triples = [line.rsplit(maxsplit=2) for line in lines]
    if all(len(row) == 3 and is_number(row[1]) and is_number(row[2]) for row in triples):
        names, *columns = zip(*triples, strict=True)
        readings.append(Reading(names=names, columns=tuple(columns)))
    return readings


def _of_pairs(pairs: Sequence[tuple[str, str | None]]) -> list[Reading]:
    return [Reading(names=[name for name, _ in pairs], labels=[label for _, label in pairs])]


def _has_suffix(text: str) -> bool:
    return without_suffix(text) != text
