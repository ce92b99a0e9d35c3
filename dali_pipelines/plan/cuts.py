"""What each view shows of its frames and in which colors, said so that a decoder can cut before it makes RGB."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dali_pipelines.plan.boxes import Box, box_schema
from dali_pipelines.plan.color_map import ColorMap, color_maps, color_schema
from dali_pipelines.plan.patches import paste_schema

REGIONS = frozenset({"crop_start", "crop_end", *box_schema(0), "quarters", "degrees"})
"""The arrays of a plan that are used up by cutting."""

COLORS = frozenset(color_schema(0)) | {"sigma"}
"""Those that are used up by changing colors and by the blur that follows."""

PATCHES = frozenset(paste_schema(0, 0, 0))
"""And those by pasting patches."""


@dataclass(frozen=True)
class Cut:
    """The frames `first` to `last` (excluded) of a plan show `box`, scaled to `size` x `size` pixels.

    quarters, degrees: of a turn counter-clockwise after mirroring, as `graph.geometry.turn` makes it.
    colors: a change of color for each of them, None where there is nothing to change; empty for none at all.
    sigma: of the blur that follows, as `graph.blur` makes it; 0 for none.
    """

    first: int
    last: int
    box: Box
    size: int
    mirror: bool
    cubic: bool
    quarters: int = 0
    degrees: float = 0.0
    colors: Sequence[ColorMap | None] = ()
    sigma: float = 0.0


@dataclass(frozen=True)
class Cuts:
    """The cuts of a task: its views stand one after the other in the plan's `frames`, `lengths` of them each.

    cubic: bicubic instead of bilinear. Both are antialiased, as in `graph.geometry`.
    recolor: between what a `Cut` says and `graph.color.color_map`, `graph` at most moves pixels; `graph.blur` may
        follow.
    paste: then `graph.paste` follows, for one view with all frames of the plan.
    """

    size: int
    lengths: Sequence[int]
    cubic: bool = False
    recolor: bool = False
    paste: bool = False

    def used(self, *, finish: bool) -> frozenset[str]:
        """The arrays of a plan that cutting uses up, and with `finish` all that can be done beside the decoder."""
        colors = COLORS if finish and self.recolor else frozenset()
        return REGIONS | colors | (PATCHES if finish and self.paste else frozenset())

    def of(self, plan: Mapping[str, np.ndarray], *, finish: bool = True) -> list[Cut]:
        """The cuts of one plan, from its regions (`plan.crops`) or its boxes (`plan.boxes`).

        finish: with the changes of color and the blur, where the plan has some and the task lets them be made here.
        """
        if "crop_start" in plan:
            starts, ends = (plan[name].reshape(-1, 2).astype(int) for name in ("crop_start", "crop_end"))
            mirrors = starts[:, 1] > ends[:, 1]
            corners, shapes = np.minimum(starts, ends), np.abs(ends - starts)
        else:
            corners, shapes = plan["box_start"], plan["box_shape"]
            mirrors = plan["box_mirror"] > 0
        boxes = [tuple(box) for box in np.hstack([corners, shapes]).tolist()]
        none = np.zeros(len(boxes))
        quarters, degrees = (plan.get(name, none).tolist() for name in ("quarters", "degrees"))
        recolor = finish and self.recolor
        sigmas = (plan.get("sigma", none) if recolor else none).tolist()
        colors: Sequence[ColorMap | None] = color_maps(plan) if recolor and "color_kind" in plan else ()
        lasts = np.cumsum(self.lengths).tolist()
        firsts = [0, *lasts[:-1]]
        return [
            Cut(first, last, box, self.size, mirror, self.cubic, int(turns), angle, colors[first:last], sigma)
            for first, last, box, mirror, turns, angle, sigma in zip(
                firsts, lasts, boxes, mirrors.tolist(), quarters, degrees, sigmas, strict=True
            )
        ]
