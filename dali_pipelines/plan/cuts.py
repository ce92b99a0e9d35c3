"""Which part of its frame each view shows, said so that a decoder can cut and scale before it makes RGB of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dali_pipelines.plan.boxes import Box

ARRAYS = frozenset({"crop_start", "crop_end", "box_start", "box_shape"})
"""The arrays of a plan that are used up by cutting."""


@dataclass(frozen=True)
class Cut:
    """The frames `first` to `last` (excluded) of a plan show `box`, scaled to `size` x `size` pixels."""

    first: int
    last: int
    box: Box
    size: int
    mirror: bool
    cubic: bool


@dataclass(frozen=True)
class Cuts:
    """The cuts of a task: its views stand one after the other in the plan's `frames`, `lengths` of them each.

    cubic: bicubic instead of bilinear. Both are antialiased, as in `graph.geometry`.
    """

    size: int
    lengths: Sequence[int]
    cubic: bool = False

    def of(self, plan: Mapping[str, np.ndarray]) -> list[Cut]:
        """The cuts of one plan, from its regions (`plan.crops`) or its boxes (`plan.boxes`)."""
        if "crop_start" in plan:
            starts, ends = (plan[name].reshape(-1, 2).astype(int) for name in ("crop_start", "crop_end"))
            mirrors = starts[:, 1] > ends[:, 1]
            corners, shapes = np.minimum(starts, ends), np.abs(ends - starts)
        else:
            corners, shapes = plan["box_start"], plan["box_shape"]
            mirrors = np.zeros(len(corners), bool)
        lasts = np.cumsum(self.lengths).tolist()
        return [
            Cut(last - length, last, (y, x, height, width), self.size, mirror, self.cubic)
            for last, length, (y, x), (height, width), mirror in zip(
                lasts, self.lengths, corners.tolist(), shapes.tolist(), mirrors.tolist(), strict=True
            )
        ]
