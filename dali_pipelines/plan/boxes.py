"""Boxes of random size and shape in whole pixels, (y, x, height, width).

Those on even pixels can be cut out of 4:2:0 pictures before these become RGB, without scaling their chroma apart.
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
    """Draw a box on even pixels of a picture, as RandomSizedCrop of specs/concepts.md 2 draws it on any.

    Its share of the picture is uniform in `area`, its aspect uniform in `ratio` and turned over with probability
    1/2, its place uniform. When no try fits, the largest square in the middle.
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
"""Places of a `multi_scale_box` as (y, x), in quarters of the room that it leaves."""


def multi_scale_box(height: int, width: int, rng: np.random.Generator, *, size: int, scales: Sequence[float]) -> Box:
    """Draw a box on even pixels of a picture, as MultiScaleCrop of TSN does on any (arXiv 1608.00859, section 3.3).

    Its height and its width are each the shorter side of the picture times one of `scales`, the same one or neighbors
    in that list, all pairs alike. A side less than 3 pixels from `size` becomes `size`. It lies at one of 13 places:
    corners, middles of the edges, the center, and the centers of the quarters.
    """
    sides = [int(min(height, width) * scale) for scale in scales]
    sides = [max(size if abs(side - size) < 3 and size <= min(height, width) else side, 2) // 2 * 2 for side in sides]
    pairs = [(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
    h, w = pairs[rng.integers(len(pairs))]
    down, right = QUARTERS[rng.integers(len(QUARTERS))]
    return (height - h) // 4 * down // 2 * 2, (width - w) // 4 * right // 2 * 2, h, w
