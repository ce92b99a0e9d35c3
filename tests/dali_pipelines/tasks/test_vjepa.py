"""V-JEPA's samples: masks of exact size, made of uniformly placed blocks."""

import numpy as np
import pytest

from dali_pipelines.tasks import vjepa
from dali_pipelines.tasks.vjepa import Config, annotate, batch_schema, hidden_blocks
from tests.helpers.plans import plans

SMALL = Config(num_frames=4, size=64, patch=8, masks=((0.15, 0.7), (0.7, 0.9)))


@pytest.mark.parametrize(("cfg", "hidden", "cells"), [(Config(), (151, 184), 196), (SMALL, (45, 58), 64)])
def test_every_cell_is_hidden_or_visible_in_each_mask(cfg, hidden, cells):
    shapes = {name: shape for name, (shape, _) in batch_schema(cfg).items()}
    for drawn in plans("vjepa", cfg, 30):
        for number, count in enumerate(hidden):
            assert drawn[f"hidden_{number}"].shape == shapes[f"hidden_{number}"] == (count,)
            assert drawn[f"visible_{number}"].shape == shapes[f"visible_{number}"] == (cells - count,)
            both = [*drawn[f"hidden_{number}"], *drawn[f"visible_{number}"]]
            assert sorted(both) == list(range(cells))


def test_blocks_are_uniform_over_all_positions(monkeypatch):
    """A 4 x 4 square in 8 x 8 cells has 5 x 5 places; the limit is 5 standard deviations."""
    monkeypatch.setattr(vjepa, "BLOCK_ASPECT", (1.0, 1.0))
    rng, draws = np.random.default_rng(0), 4000
    found = sum(hidden_blocks(8, rng, area=0.25, count=16).reshape(8, 8).astype(int) for _ in range(draws)) / draws
    along = np.array([sum(y <= row < y + 4 for y in range(5)) / 5 for row in range(8)])
    expected = np.outer(along, along)
    assert (abs(found - expected) <= 5 * (expected * (1 - expected) / draws) ** 0.5).all()


def test_masks_are_whole_blocks_except_the_last():
    """Blocks of 15 % of 14 x 14 cells with an aspect of 0.75 to 1.5 are 5 to 7 cells high and 4 to 6 wide."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        hidden = hidden_blocks(14, rng, area=0.15, count=123).reshape(14, 14)
        most = 0
        for height, width in {
            (round((29.4 * a) ** 0.5), round((29.4 / a) ** 0.5)) for a in np.linspace(0.75, 1.5, 200)
        }:
            windows = np.lib.stride_tricks.sliding_window_view(hidden, (height, width)).all((2, 3))
            whole = np.zeros_like(hidden)
            for y, x in np.argwhere(windows):
                whole[y : y + height, x : x + width] = True
            most = max(most, whole.sum())
        assert most > 123 - 6 * 6  # all but less than one block


def test_crops_have_the_published_area_and_aspect():
    shapes = np.array([drawn["box_shape"][0] for drawn in plans("vjepa", SMALL, 500)])
    areas, aspects = shapes.prod(1) / (320 * 240), shapes[:, 0] / shapes[:, 1]
    assert areas.min() < 0.33
    assert 0.29 < areas.min() < areas.max() <= 1
    assert 0.73 < aspects.min() < 0.8
    assert 1.25 < aspects.max() < 1.37
    assert 190 < sum(drawn["box_mirror"][0] for drawn in plans("vjepa", SMALL, 400)) < 240


def test_the_preview_shades_what_the_first_mask_hides():
    (drawn,) = plans("vjepa", SMALL, 1)
    notes = annotate(drawn, SMALL)
    assert notes.captions[0].endswith("45 or 58 of 64 cells hidden")
    assert notes.shaded is not None
    assert np.flatnonzero(notes.shaded).tolist() == drawn["hidden_0"].tolist()
