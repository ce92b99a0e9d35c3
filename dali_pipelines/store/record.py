"""The record of one stored video."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dali_pipelines.store.fmp4 import Fragment

Container = Literal["mp4", "file", "pictures", "picture_files"]
"""What the fragments of a video are.

mp4: consecutive fragments of an MP4, after its init segment.
file: a single one, a whole video file of any kind.
pictures: JPEGs or PNGs, each a range of one file.
picture_files: JPEGs or PNGs, each a file with a numbered name.
"""


class ClipError(Exception):
    """The bytes of a clip are missing, or do not decode to the frames of the index."""


@dataclass(frozen=True)
class Record:
    """One stored video.

    Attributes:
        init_size: bytes of an MP4's init segment, else 0.
        container: how `fragments` are stored.
        source: path or URL of a file left in place (the first one, for picture files), or path of a shard below the
            root; else empty.
        notes: messages to the user, printed after "N videos".
        software_only: why DALI on a GPU would show other frames than FFmpeg, such as "interlaced frames"; else empty.
    """

    num_frames: int
    width: int
    height: int
    fps: float
    codec: str
    pix_fmt: str
    init_size: int
    fragments: Sequence[Fragment]
    container: Container = "mp4"
    source: str = ""
    notes: tuple[str, ...] = ()
    software_only: str = ""

    @property
    def size(self) -> int:
        """Return how many bytes are read to decode it all."""
        return self.init_size + sum(fragment.size for fragment in self.fragments)
