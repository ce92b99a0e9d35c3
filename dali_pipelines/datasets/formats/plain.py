"""Plain text with a video a line, `name[.suffix] [label]`, as in UCF101's trainlist01.txt ("Class/video.avi 1")."""

from pathlib import Path

from dali_pipelines.datasets.formats import Entry, Lists, Reading, text_lines


def recognizes(path: Path) -> bool:
    """Return True: every file that no other format recognizes is read as plain text."""
    return True


def read(path: Path) -> Lists:
    """Return the one list of a text file."""
    return Lists(entries={path.name: [_entry(line) for line in text_lines(path)]})


def _entry(line: str) -> Entry:
    """Return the readings of a line: all of it is the name, which may hold spaces, or its last word is a label."""
    words = line.rsplit(maxsplit=1)
    return (Reading(line), *([Reading(*words)] if len(words) == 2 else []))
