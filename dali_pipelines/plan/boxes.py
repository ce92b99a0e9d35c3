"""Boxes of random size and shape in whole pixels, (y, x, height, width).

Those on even pixels can be cut out of 4:2:0 pictures before these become RGB, without scaling their chroma apart.
"""

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
