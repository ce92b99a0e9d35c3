"""Cost of a task's clips: bytes read, and frames decoded per frame delivered."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from dali_pipelines.samples import plan_of_row
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import locate_clip
from dali_pipelines.tasks import Task


class ClipCosts(NamedTuple):
    """Means over some clips.

    amplification: frames decoded / frames delivered.
    bytes: read from storage per clip.
    """

    amplification: float
    bytes: float


def clip_costs(index: Index, task: Task, *, rows: Iterable[int], draws: int = 1, seed: int = 0) -> ClipCosts:
    """Average the costs of the clips of `rows` over `draws` epochs by reading them; ClipError if one is unreadable."""
    decoded, delivered, read = 0, 0, []
    for epoch in range(draws):
        for row in rows:
            frames = plan_of_row(index, task, seed=seed, epoch=epoch, row=row)["frames"]
            clip = locate_clip(index, row, np.unique(frames))
            decoded += clip.read().decoded
            delivered += len(frames)
            read.append(clip.nbytes)
    return ClipCosts(decoded / delivered, sum(read) / len(read))
