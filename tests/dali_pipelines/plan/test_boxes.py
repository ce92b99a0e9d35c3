"""MultiScaleCrop boxes against a list of all possible ones."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dali_pipelines.plan.boxes import multi_scale_box

SCALES = (1.0, 0.875, 0.75, 0.66)


def every_box(height: int, width: int, size: int) -> Counter:
    """Count TSN's choices, 10 pairs of sides x 13 places in quarter steps, rounded down to even pixels."""
    sides = []
    for scale in SCALES:
        side = int(min(height, width) * scale)
        sides.append(size if abs(side - size) < 3 else side)
    even = [side - side % 2 for side in sides]
    boxes: Counter = Counter()
    for i in range(4):
        for j in range(4):
            if abs(i - j) > 1:
                continue
            h, w = even[i], even[j]
            down, right = (height - h) // 4, (width - w) // 4
            for y in range(5):
                for x in range(5):
                    edges = y % 2 == 0 and x % 2 == 0
                    quarter_points = y in (1, 3) and x in (1, 3)
                    if edges or quarter_points:
                        boxes[y * down - y * down % 2, x * right - x * right % 2, h, w] += 1
    assert sum(boxes.values()) == 10 * 13
    return boxes


@pytest.mark.parametrize(
    ("height", "width", "size"), [(240, 320, 224), (320, 240, 64), (256, 341, 224), (225, 400, 224)]
)
def test_boxes_have_the_distribution_of_multi_scale_crop(height, width, size):
    """The limit of chi-squared is 5 standard deviations above its mean."""
    rng, draws, expected = np.random.default_rng(0), 13_000, every_box(height, width, size)
    seen = Counter(multi_scale_box(height, width, rng, size=size, scales=SCALES) for _ in range(draws))
    assert seen.keys() == expected.keys()
    shares = {box: draws * count / 130 for box, count in expected.items()}
    freedom = len(expected) - 1
    assert sum((seen[box] - shares[box]) ** 2 / shares[box] for box in expected) < freedom + 5 * (2 * freedom) ** 0.5


@given(st.integers(2, 600), st.integers(2, 600), st.integers(0, 2**32))
def test_boxes_are_even_and_inside_any_picture(height, width, seed):
    y, x, h, w = multi_scale_box(height, width, np.random.default_rng(seed), size=224, scales=SCALES)
    assert y >= 0
    assert x >= 0
    assert 2 <= h <= height - y
    assert 2 <= w <= width - x
    assert not any(number % 2 for number in (y, x, h, w))
