"""All that a plan may know of a video."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VideoInfo:
    """A video by its metadata: sizes in pixels as displayed, `label` a class id (-1 = none)."""

    name: str
    num_frames: int
    width: int
    height: int
    fps: float
    label: int
    chunk: int = 0
    """Number of the sample, where the clips of a video are divided among several (`Index.repeat`)."""
