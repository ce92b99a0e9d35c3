"""Where a source video lies: a file, a folder of numbered pictures, or a part of an archive."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dali_pipelines.store.storage import is_url, storage_of

Kind = Literal["file", "folder", "zip", "tar", "lmdb"]
"""What a place is.

file: a video file, or the part of an archive that is one.
folder: a folder of numbered pictures.
zip, tar: pictures in such an archive.
lmdb: a value that is a list of pictures.
"""
PICTURE = re.compile(r"(?P<prefix>(?!\.).*?)(?P<number>[0-9]*)(?P<suffix>\.(?:jpg|jpeg|png))", re.IGNORECASE)
FLOW = re.compile(r"(?:flow_?.*|[xy]_)", re.IGNORECASE)
"""What names of optical flow begin with, before the number: flow_x_00001.jpg, x_00001.jpg (mmaction2's rawframes)."""


@dataclass(frozen=True)
class Series:
    """Names of pictures that are numbered without a gap, from any number on.

    The numbers have at least `width` digits: 4 in img_0001.jpg, 1 in 1.jpg to 10.jpg.

    Attributes:
        flow: how many pictures of optical flow lie beside them.
    """

    prefix: str
    width: int
    suffix: str
    first: int
    count: int
    flow: int = 0

    @classmethod
    def of(cls, names: Iterable[str]) -> "Series | None":
        """Return the series of the files of a folder, None when no picture among them has a number.

        Of a series in color and optical flow beside it, the one in color.

        Raises:
            ValueError: they are not one whole series of two pictures or more.
        """
        found = {name: match for name in sorted(names) if (match := PICTURE.fullmatch(name))}
        if not any(match["number"] for match in found.values()):
            return None
        color = {name: match for name, match in found.items() if not FLOW.fullmatch(match["prefix"])} or found
        kinds = {(m["prefix"], m["suffix"], bool(m["number"])): name for name, m in reversed(color.items())}
        if len(kinds) > 1:
            raise ValueError(f"its pictures are not one numbered series: {', '.join(sorted(kinds.values())[:3])}")
        (prefix, suffix, _), numbers = next(iter(kinds)), [match["number"] for match in color.values()]
        width, first = min(map(len, numbers)), min(map(int, numbers))
        series = cls(prefix, width, suffix, first, len(color), len(found) - len(color))
        missing = next((name for name in map(series.name, range(len(color))) if name not in color), None)
        if missing is not None:
            raise ValueError(f"its picture {missing} is missing")
        if len(color) == 1:
            raise ValueError("has only one picture, a clip needs motion")
        return series

    def name(self, i: int) -> str:
        """Return the file name of picture i, counted from 0."""
        return f"{self.prefix}{self.first + i:0{self.width}d}{self.suffix}"


@dataclass(frozen=True)
class Place:
    """Where a source video lies.

    Attributes:
        location: absolute path or URL of the file or folder.
        member: the video's name in an archive; empty where the file is all its own.
        parts: int64 (N, 3), begin, bytes and whether they are deflated of each part of it in the archive, where they
            are known; a part of a zip begins with its local header. None: all that the location holds.
        series: how its pictures are numbered, where `parts` are pictures that have names.
        fault: why it cannot be read, if that is known already.
    """

    location: str
    kind: Kind = "file"
    member: str = ""
    parts: NDArray[np.int64] | None = field(default=None, compare=False, repr=False)
    series: Series | None = None
    fault: str = ""

    @classmethod
    def of(cls, source: "Path | str | Place") -> "Place":
        """Return the place of a file or folder on this machine, or of a file at a URL; a place stands for itself."""
        if isinstance(source, Place):
            return source
        if is_url(source):
            return cls(str(source))
        return cls(os.path.abspath(source), "folder" if os.path.isdir(source) else "file")

    def __str__(self) -> str:
        return f"{self.location}/{self.member}" if self.member else self.location

    @property
    def is_pictures(self) -> bool:
        """Tell whether it is pictures and no video file."""
        return self.kind != "file"

    def span(self) -> tuple[int, int]:
        """Return begin and end of a video file in the file at `location`."""
        if self.parts is None:
            return 0, storage_of(self.location).size(self.location)
        begin, size, _ = self.parts[0].tolist()
        return begin, begin + size

    def holds(self, source: str) -> bool:
        """Tell whether a `Record.source` is this place, or the first picture of this folder."""
        return self.location == (os.path.dirname(source) if self.kind == "folder" else source)
