"""Places of source videos: files, folders of numbered pictures, or parts of archives."""

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
"""Kinds of places.

file: a video file, alone or in an archive.
folder: a folder of numbered pictures.
zip, tar: pictures in such an archive.
lmdb: a value that is a list of pictures.
"""
PICTURE = re.compile(r"(?P<prefix>(?!\.).*?)(?P<number>[0-9]*)(?P<suffix>\.(?:jpg|jpeg|png))", re.IGNORECASE)
FLOW = re.compile(r"(?:flow_?.*|[xy]_)", re.IGNORECASE)
"""Prefixes of optical-flow file names, before the number: flow_x_00001.jpg, x_00001.jpg (mmaction2's rawframes)."""


def is_numbered(name: str) -> bool:
    """Tell whether a file's name is that of a numbered picture."""
    match = PICTURE.fullmatch(name)
    return match is not None and bool(match["number"])


@dataclass(frozen=True)
class Series:
    """Names of pictures numbered without gaps, from any number on; `flow` pictures of optical flow are beside them.

    The numbers have at least `width` digits: 4 in img_0001.jpg, 1 in 1.jpg to 10.jpg.
    """

    prefix: str
    width: int
    suffix: str
    first: int
    count: int
    flow: int = 0

    @classmethod
    def of(cls, names: Iterable[str]) -> "Series | None":
        """Find the series among a folder's file names; None if no picture has a number.

        Next to a color series, optical flow is only counted. ValueError if they are not one complete series.
        """
        found = {name: match for name in sorted(names) if (match := PICTURE.fullmatch(name))}
        if not any(map(is_numbered, found)):
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
        return series

    def name(self, i: int) -> str:
        """Return the file name of picture i, counted from 0."""
        return f"{self.prefix}{self.first + i:0{self.width}d}{self.suffix}"


@dataclass(frozen=True, eq=False)
class Place:
    """The place of a source video.

    Attributes:
        location: absolute path or URL of the file or folder.
        member: the video's name in an archive; empty if the whole file is the video.
        parts: int64 (N, 3): start, size in bytes and whether deflated, of each part in the archive, if known. Pictures
            in a zip start at their local header. None: everything at the location.
        series: the numbering of the pictures, if they have names.
        fault: why it cannot be read, if already known.
    """

    location: str
    kind: Kind = "file"
    member: str = ""
    parts: NDArray[np.int64] | None = field(default=None, compare=False, repr=False)
    series: Series | None = None
    fault: str = ""

    @classmethod
    def of(cls, source: "Path | str | Place") -> "Place":
        """Return the place of a local file or folder, or of a file at a URL; a `Place` is returned as it is."""
        if isinstance(source, Place):
            return source
        if is_url(source):
            return cls(str(source))
        return cls(os.path.abspath(source), "folder" if os.path.isdir(source) else "file")

    def __str__(self) -> str:
        return f"{self.location}/{self.member}" if self.member else self.location

    @property
    def is_pictures(self) -> bool:
        """Whether it holds pictures, not a video file."""
        return self.kind != "file"

    def span(self) -> tuple[int, int]:
        """Return the byte range of a video file in the file at `location`."""
        if self.parts is None:
            return 0, storage_of(self.location).size(self.location)
        begin, size, _ = self.parts[0].tolist()
        return begin, begin + size

    def holds(self, source: str) -> bool:
        """Tell whether a `Record.source` is this file, or the first picture of this folder."""
        return self.location == (os.path.dirname(source) if self.kind == "folder" else source)
