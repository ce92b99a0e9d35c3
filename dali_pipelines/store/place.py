"""Where the bytes of a source video lie: a file, a folder of pictures, or a part of an archive."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dali_pipelines.store.series import Series
from dali_pipelines.store.storage import is_url, storage_of

Kind = Literal["file", "folder", "zip", "tar", "lmdb"]
"""What a place is.

file: a video file, or the part of an archive that is one.
folder: a folder of numbered pictures.
zip, tar: pictures in such an archive.
lmdb: a value that is a list of pictures.
"""


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
