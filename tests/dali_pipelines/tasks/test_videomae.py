"""VideoMAE's samples: the mask is exact and uniform, the frames are the original's."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from dali_pipelines.draw import View, tile
from dali_pipelines.tasks.videomae import Config, annotate, batch_schema
from tests.helpers.plans import plans

SMALL = Config(num_frames=4, size=32, patch=8, mask_ratio=0.75)


@pytest.mark.parametrize(
    ("cfg", "hidden", "cells"),
    [
        (Config(), 176, 196),
        (Config(mask_ratio=0.75), 147, 196),
        (SMALL, 12, 16),
        (Config(size=112, mask_ratio=0.9), 44, 49),
    ],
)
def test_the_number_of_hidden_cells_is_rounded_down(cfg, hidden, cells):
    """14 x 14 x 0.9 is 176.4, 7 x 7 x 0.9 is 44.1."""
    assert (cfg.hidden, cfg.cells) == (hidden, cells)
    shapes = {name: shape for name, (shape, _) in batch_schema(cfg).items()}
    assert (shapes["hidden"], shapes["visible"]) == ((hidden,), (cells - hidden,))


def test_every_cell_is_hidden_or_visible():
    for drawn in plans("videomae", SMALL, 50):
        assert sorted([*drawn["hidden"], *drawn["visible"]]) == list(range(16))
        assert (np.diff(drawn["hidden"]) > 0).all()
        assert (np.diff(drawn["visible"]) > 0).all()


def test_cells_and_pairs_are_hidden_as_often_as_by_a_shuffle():
    """Within 5 standard deviations, a cell is hidden 12 in 16 times and a pair 12 x 11 in 16 x 15 times."""
    draws = 4000
    masks = np.zeros((draws, 16))
    for mask, drawn in zip(masks, plans("videomae", SMALL, draws), strict=True):
        mask[drawn["hidden"]] = 1
    together = masks.T @ masks / draws
    expected = np.where(np.eye(16), 12 / 16, 12 * 11 / (16 * 15))
    assert (abs(together - expected) < 5 * (expected * (1 - expected) / draws) ** 0.5).all()


@pytest.mark.parametrize(("num_frames", "starts"), [(300, 237), (64, 1), (65, 2), (40, 1)])
def test_clips_start_wherever_64_frames_are_left(num_frames, starts):
    """The original reserves clip length times stride; the clip does not use the last 3 of these frames."""
    frames = [drawn["frames"] for drawn in plans("videomae", Config(), 4000, num_frames=num_frames)]
    assert {int(clip[0]) for clip in frames} == set(range(starts))
    counts = Counter(int(clip[0]) for clip in frames)
    assert all(abs(count - 4000 / starts) <= 5 * (4000 / starts) ** 0.5 for count in counts.values())
    for clip in frames:
        assert clip.tolist() == [min(clip[0] + 4 * step, num_frames - 1) for step in range(16)]


def test_half_of_the_clips_are_mirrored_unless_flip_prob_is_0():
    assert 430 < sum(drawn["box_mirror"][0] for drawn in plans("videomae", SMALL, 1000)) < 570
    still = Config(size=32, patch=8, flip_prob=0.0)
    assert not any(drawn["box_mirror"][0] for drawn in plans("videomae", still, 100))


def test_the_preview_shades_exactly_the_hidden_cells():
    (drawn,) = plans("videomae", SMALL, 1)
    notes = annotate(drawn, SMALL)
    assert notes.captions[0].endswith("12 of 16 cells hidden")
    assert notes.shaded is not None
    white = View(np.full((4, 32, 32, 3), 255, np.uint8), shaded_RC=notes.shaded[0])
    shown = np.array(tile(white, 0).resize((4, 4), Image.Resampling.NEAREST))[..., 0]
    assert np.flatnonzero(shown == 255).tolist() == drawn["visible"].tolist()
    assert len(np.unique(shown)) == 2
