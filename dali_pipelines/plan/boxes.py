"""Boxes of random size and shape in whole pixels, (y, x, height, width).

Boxes on even pixels can be cut out of 4:2:0 pictures before RGB conversion, without scaling the chroma separately.
"""

from collections.abc import Sequence

import numpy as np

Box = tuple[int, int, int, int]  # y, x, height, width


def random_box(
    height: int,
    width: int,
    rng: np.random.Generator,
    *,
    area: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    tries: int = 10,
) -> Box:
    """Draw a box on even pixels, like RandomSizedCrop of specs/concepts.md 2, which uses any pixels.

    Its share of the picture is uniform in `area`, its aspect uniform in `ratio` and inverted with probability 1/2,
    its position uniform. If no try fits, it is the largest square in the center.
    """
    for _ in range(tries):
        pixels, aspect, turned = height * width * rng.uniform(*area), rng.uniform(*ratio), rng.random() < 0.5
        w, h = 2 * round(np.sqrt(pixels * aspect) / 2), 2 * round(np.sqrt(pixels / aspect) / 2)
        w, h = (h, w) if turned else (w, h)
        if 2 <= w <= width and 2 <= h <= height:
            y, x = (
                2 * int(rng.integers((most - side) // 2, endpoint=True)) for most, side in ((height, h), (width, w))
            )
            return y, x, h, w
    side = min(height, width) // 2 * 2
    return (height - side) // 4 * 2, (width - side) // 4 * 2, side, side


QUARTERS = ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3))
"""Positions of a `multi_scale_box` as (y, x), in quarters of the space around it."""


def multi_scale_box(height: int, width: int, rng: np.random.Generator, *, size: int, scales: Sequence[float]) -> Box:
    """Draw a box on even pixels, like TSN's MultiScaleCrop, which uses any pixels (arXiv 1608.00859, section 3.3).

    Its height and width are the shorter side of the picture times one of `scales` each: equal ones or neighbors in the
    list, all pairs equally likely. A side less than 3 pixels from `size` becomes `size`. The box is at one of 13
    positions: the corners, the edge centers, the center, and the centers of the quadrants.
    """
    sides = [int(min(height, width) * scale) for scale in scales]
    sides = [max(size if abs(side - size) < 3 and size <= min(height, width) else side, 2) // 2 * 2 for side in sides]
    pairs = [(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
    h, w = pairs[rng.integers(len(pairs))]
    down, right = QUARTERS[rng.integers(len(QUARTERS))]
    return (height - h) // 4 * down // 2 * 2, (width - w) // 4 * right // 2 * 2, h, w
