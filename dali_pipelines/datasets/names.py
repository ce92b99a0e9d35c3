"""Find videos by the names that people write: absolute paths, basenames, suffixes, backslashes, other Unicode forms.

A written name matches a video if the two names are equal or one ends in the other, folder by folder.
It never matches a video in another folder; if two videos match, it is `AMBIGUOUS`.
"""

import bisect
import difflib
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from unicodedata import normalize

from configs.errors import UserError, first_names, printable
from dali_pipelines.store.files import VIDEO_SUFFIXES

AMBIGUOUS = -1
SUFFIXES = frozenset({*VIDEO_SUFFIXES, ".dat", ".ogg", ".tar", ".zip"})
"""Suffixes of videos. Any other ".x" is part of the name: "take.2" is not the video "take"."""

Fold = Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True)
class Names:
    """The videos of a dataset by name, and those of its quarantine by path.

    The rows of the quarantine start at `len(names)`.
    """

    names: Sequence[str]
    quarantined: Sequence[str] = ()

    def find(self, written: str) -> int | None:
        """Return the row of the matching video, AMBIGUOUS if several match, None if none does."""
        stem = without_suffix(written)
        row = self._rows.get(written, self._rows.get(stem))
        if row is not None:
            return row
        if not (parts := parts_of(written)):
            return None
        stems = [*parts[:-1], without_suffix(parts[-1])]
        forms = [parts] if stems == parts else [parts, stems]
        row = self._exact.find(forms)
        return self._loose.find(forms) if row is None else row

    def candidates(self, written: str) -> list[str]:
        """Return the names that an ambiguous name matches, for an error message."""
        written = written.strip()
        return [name for name in (*self.names, *self.quarantined) if _one_ends_in_the_other(written, name)]

    def nearest(self, written: str) -> str | None:
        """Return the name most similar to a written one, None if none is similar."""
        base = parts_of(without_suffix(written))[-1:]
        of_base = [name for name in self.names if parts_of(name)[-1:] == base][:200]
        by_base = sorted((name.rpartition("/")[2], name) for name in self.names)
        place = bisect.bisect(by_base, ("".join(base), ""))
        around = [name for _, name in by_base[max(place - 100, 0) : place + 100]]
        cutoff = 0.0 if of_base else 0.75
        near = difflib.get_close_matches(without_suffix(written), of_base or around, n=1, cutoff=cutoff)
        return near[0] if near else None

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.names)}

    @cached_property
    def _exact(self) -> "_Keys":
        return _Keys(self.names, self.quarantined, list)

    @cached_property
    def _loose(self) -> "_Keys":
        return _Keys(self.names, self.quarantined, _loose)


class _Keys:
    """Rows by folded full name and by its folded ends: "run/a" and "a" of "UCF/run/a"."""

    def __init__(self, names: Sequence[str], quarantined: Sequence[str], fold: Fold) -> None:
        self.fold = fold
        self.names = names
        self.full: dict[str, int] = {}
        depths = set()
        for row, name in enumerate(names):
            parts = fold(parts_of(name))
            depths.add(len(parts))
            key = "/".join(parts)
            self.full[key] = AMBIGUOUS if key in self.full else row
        self.flat = depths == {1}
        # The ends of a path that are as deep as the dataset's names may be names, too.
        self.paths = {}
        for row, path in enumerate(quarantined, start=len(names)):
            parts = fold(parts_of(without_suffix(path)))
            ends = ["/".join(parts[-depth:]) for depth in depths]
            if any(self.full.get(end, row) < len(names) for end in ends):
                continue  # prepared since, or another video of that name
            self.paths[row] = parts
            self.full |= {end: row for end in ends if end not in self.full}

    def find(self, forms: Sequence[Sequence[str]]) -> int | None:
        folded = [self.fold(form) for form in forms]
        for start in range(len(folded[0])):  # the rest of the written name must be a full name
            if start and start == len(folded[0]) - 1 and not self.flat:
                break  # without folders, it may be a video of any folder
            for parts in folded:
                if (row := self.full.get("/".join(parts[start:]))) is not None:
                    return row
        return next((self._ends[key] for key in map("/".join, folded) if key in self._ends), None)

    @cached_property
    def _ends(self) -> dict[str, int]:
        ends: dict[str, int] = {}
        for row, name in enumerate(self.names):
            parts = self.fold(parts_of(name))
            for start in range(1, len(parts)):
                key = "/".join(parts[start:])
                ends[key] = AMBIGUOUS if key in ends else row
        for row, parts in self.paths.items():
            for start in range(len(parts)):
                key = "/".join(parts[start:])
                ends[key] = AMBIGUOUS if ends.get(key, row) < len(self.names) else ends.get(key, row)
        return ends


def match(names: Names, ways: Sequence[Sequence[str]], path: Path | str) -> tuple[int, list[int | None]]:
    """Return the index of the reading that finds the most videos, the first on ties, and its rows (`Names.find`).

    If no reading finds any video, take the one with the shortest names: they contain no labels. UserError, about the
    list `path`, if it has no names, a name matches several videos, or two names the same one, as "x/a" and "y/a" would
    match "a".
    """
    if not ways or not ways[0]:
        raise UserError(f"{path} names no videos; a line is a name, or a name and a label")
    best, found = min(range(len(ways)), key=lambda way: sum(map(len, ways[way]))), list[int | None]()
    lost = len(ways[0])
    for way, written in enumerate(ways):
        rows = [names.find(name) for name in written]
        if (without := rows.count(None)) < lost:
            best, found, lost = way, rows, without
        if not without:
            break
    found = found or [None] * len(ways[best])
    _require_distinct(names, ways[best], found, path)
    return best, found


def _require_distinct(names: Names, written: Sequence[str], rows: Sequence[int | None], path: Path | str) -> None:
    first: dict[int, str] = {}
    for row, name in zip(rows, written, strict=True):
        if row is None:
            continue
        if row == AMBIGUOUS:
            candidates = first_names(sorted(names.candidates(name)))
            raise UserError(f"{path}: {printable(name)} may be any of {candidates}; write the name with its folders")
        other = first.setdefault(row, name)
        if other != name and not _one_ends_in_the_other(name, other):
            held = (*names.names, *names.quarantined)[row]
            raise UserError(
                f"{path}: {printable(other)} and {printable(name)} would both be the video {printable(held)}; write "
                "the names that the dataset has"
            )


def parts_of(written: str) -> list[str]:
    """Split a name into its folders and file, in Unicode's composed form."""
    text = written if written.isascii() else normalize("NFC", written.lstrip("\ufeff"))
    text = text.strip().replace("\\", "/")
    if "." in text or "//" in text:
        text = posixpath.normpath(text) if text else ""
    return [part for part in text.split("/") if part not in ("", ".", "..")]


def encoding_hint(written: Iterable[str]) -> str:
    """Return a hint for names that are not UTF-8 (read with `surrogateescape`); "" if all are."""
    foreign = any("\udc80" <= letter <= "\udcff" for name in written for letter in name)
    return "; the list is not UTF-8: convert it, as by `iconv -f LATIN1 -t UTF-8`" if foreign else ""


def without_suffix(name: str) -> str:
    """Drop a video suffix, in upper or lower case, and the spaces after it."""
    stem, dot, suffix = name.rstrip().rpartition(".")
    return stem if dot and stem and not stem.endswith("/") and f".{suffix.lower()}" in SUFFIXES else name


def _one_ends_in_the_other(a: str, b: str) -> bool:
    shorter, longer = sorted((_loose(parts_of(without_suffix(name))) for name in (a, b)), key=len)
    return longer[len(longer) - len(shorter) :] == shorter


def _loose(parts: Sequence[str]) -> list[str]:
    """Fold case, spaces and punctuation of the folders: the spelling of Kinetics' classes varies."""
    return [*map(_loose_folder, parts[:-1]), *parts[-1:]]


@lru_cache(maxsize=10_000)
def _loose_folder(name: str) -> str:
    return re.sub(r"\W+|_+", "_", name.replace("'", "")).strip("_").casefold() or name
