"""What is known of one stored video."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dali_pipelines.store.fmp4 import Fragment

Container = Literal["mp4", "file", "pictures", "picture_files"]
"""What the fragments of a video are.

mp4: the fragments of an MP4, one after the other, behind its init segment.
file: a single one, which is a whole video file of any kind.
pictures: each is a JPEG or PNG, at a range of one file.
picture_files: each is a file of its own; their names are numbered.
"""


class ClipError(Exception):
    """The bytes of a clip are missing, or do not decode to the frames of the index."""


@dataclass(frozen=True)
class Record:
    """One stored video.

    Attributes:
        init_size: bytes of the init segment with which an MP4 begins, else 0.
        container: how `fragments` lie in the file.
        source: path or URL of a file left in place, or of a shard from the root on; of picture files, that of the first
            one; else empty.
        notes: what to tell the user, to be printed behind "N videos".
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
        """Return the bytes that are read to decode all of it."""
        return self.init_size + sum(fragment.size for fragment in self.fragments)
