"""The metadata of a video."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VideoInfo:
    """Metadata of a video, which is all that a plan may know about it."""

    name: str
    """As in the dataset."""
    num_frames: int
    """Frames, of which the first is number 0."""
    width: int
    """Pixels, as displayed."""
    height: int
    """Pixels, as displayed."""
    fps: float
    """Frames per second."""
    label: int
    """Class id, -1 for none."""
    chunk: int = 0
    """Number of the sample, if the clips of a video are divided among several (`Index.repeat`)."""
