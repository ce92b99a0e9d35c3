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
    """A box on even pixels of a picture of that size, as the RandomSizedCrop of specs/concepts.md 2 draws it on any.

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


def box_arrays(boxes: list[Box], mirror: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays that `graph.geometry.crop_box` takes, one box a view; mirror: bool (views,), left to right."""
    table = np.array(boxes, np.int32)
    return {"box_start": table[:, :2], "box_shape": table[:, 2:], "box_mirror": mirror.astype(np.float32)}


def box_schema(views: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of `box_arrays`."""
    return {
        "box_start": ((views, 2), "int32"),
        "box_shape": ((views, 2), "int32"),
        "box_mirror": ((views,), "float32"),
    }
