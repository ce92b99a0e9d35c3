"""Plans of videos that do not exist."""

from typing import Any

import numpy as np

from dali_pipelines.plan.rng import Stream, generator
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.tasks import Task

Plan = dict[str, np.ndarray]


def video(num_frames: int = 200, width: int = 320, height: int = 240, *, label: int = -1, part: int = 0) -> VideoInfo:
    return VideoInfo("v", num_frames, width, height, 25.0, label, part)


def plans(task: str, cfg: Any, count: int, *, seed: int = 0, **of_video: int) -> list[Plan]:
    """Draw a task's plans for one video, as if it were in `count` rows."""
    one, info = Task(task, cfg), video(**of_video)
    return [one.plan(info, generator(seed, Stream.SAMPLE, 0, row)) for row in range(count)]
