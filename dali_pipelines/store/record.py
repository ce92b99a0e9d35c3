"""What is known of one stored video."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dali_pipelines.store.fmp4 import Fragment

Container = Literal["mp4", "file", "pictures", "picture_files"]
"""What the fragments of a video are.

mp4: fragments of an MP4, one after the other, before them the init segment.
file: the only one is a whole video file of any kind.
pictures: each is a JPEG or PNG, at a range of one file.
picture_files: each is a file of its own, numbered from the first on.
"""


class ClipError(Exception):
    """The bytes of a clip are missing, or do not decode to the frames of the index."""


@dataclass(frozen=True)
class Record:
    """One stored video.

    Attributes:
        init_size: bytes before the first fragment that an MP4 begins with (its init segment), else 0.
        container: how `fragments` lie in the file.
        source: path or URL of a file left in place, or of a shard from the root on; of picture files, that of the first
            one; else empty.
        notes: sentences for the user, with "N videos" before them.
        software_only: why DALI shows other frames on a GPU than FFmpeg, as in "interlaced frames"; else empty.
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
        """Return the bytes that are read to decode all of it."""
        return self.init_size + sum(fragment.size for fragment in self.fragments)
