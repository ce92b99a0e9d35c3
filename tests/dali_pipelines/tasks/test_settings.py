"""Impossible settings are refused by key and value when a recipe is read."""

import pytest

from configs.errors import UserError
from configs.load import parse

RECIPE = "task: {task}\nbackbone: r3d_tiny\nwork_dir: w\ndata: {{root: d}}\ntrain: {{epochs: 1}}\nplan: {{{setting}}}"

REFUSED = [
    ("concepts", "num_frames: 1", "num_frames = 1 must be"),
    ("concepts", "size: 8", "size = 8 must be"),
    ("concepts", "max_speed: 0.5", "max_speed = 0.5 must be"),
    ("concepts", "flip_prob: 1.5", "flip_prob = 1.5 must be"),
    ("cpc_transformer", "num_frames: 1", "num_frames = 1 must be at least 2"),
    ("cpc_transformer", "stride: 0", "stride = 0 must be at least 1"),
    ("cpc_transformer", "crop_size: 8", "crop_size = 8 must be at least 16"),
    ("cstp", "num_frames: 5", "num_frames = 5 must be at least 6"),
    ("cstp", "size: 8", "size = 8 must be at least 16"),
    ("ctp", "strides: []", "strides = [] must be one whole number or more, each at least 1"),
    ("ctp", "short_sides: [0]", "short_sides = [0] must be one whole number or more, each at least 1"),
    ("ctp", "num_frames: 1", "num_frames = 1 must be at least 2"),
    ("ctp", "size: 0", "size = 0 must be at least 16"),
    ("ctp", "patches: 0", "patches = 0 must be from 1 to 100"),
    ("ctp", "patches: 101", "patches = 101 must be from 1 to 100: each is an operation of DALI's graph"),
    ("ctp", "flip_prob: 2", "flip_prob = 2.0 must be from 0 to 1"),
    ("ctp", "visible_prob: 1.5", "visible_prob = 1.5 must be from 0 to 1"),
    ("ctp", "velocity: -1", "velocity = -1.0 must be from 0 to 112"),
    ("ctp", "growth: -1", "growth = -1.0 must be from 0 to 1"),
    ("dpc", "area: [0.5, 1.5]", "area = [0.5, 1.5] "),
    ("dpc", "num_blocks: 1", "num_blocks = 1 "),
    ("dpc", "stride: 0", "stride = 0 "),
    ("dpc", "num_frames: 0", "num_frames = 0 "),
    ("dpc", "crop_size: 8", "crop_size = 8 "),
    ("memdpc", "num_blocks: 1", "num_blocks = 1 must be at least 2"),
    ("memdpc", "num_frames: 0", "num_frames = 0 must be at least 1"),
    ("moco", "num_frames: 0", "num_frames = 0 must be at least 1"),
    ("recognition", "area: [0.6, 0.5]", "area = [0.6, 0.5] must be two shares, rising, above 0"),
    ("recognition", "area: [0, 0.5]", "area = [0.0, 0.5] must be"),
    ("recognition", "jitter_prob: 1.5", "jitter_prob = 1.5 must be from 0 to 1"),
    ("recognition", "flip_prob: -1", "flip_prob = -1.0 must be from 0 to 1"),
    ("recognition", "stride: 0", "stride = 0 must be at least 1"),
    ("recognition", "repeats: 0", "repeats = 0 must be at least 1"),
    ("recognition", "repeats: 101", "repeats = 101 must be at most 100: each is a view of DALI's graph"),
    ("recognition", "num_frames: 0", "num_frames = 0 must be at least 1"),
    ("recognition", "normalization: none", "normalization = 'none' must be imagenet or half or kinetics"),
    ("rot3d", "size: 8", "size = 8 must be at least 16"),
    ("rot3d", "short_sides: []", "short_sides = [] must be one whole number"),
    ("rot3d", "flip_prob: 2", "flip_prob = 2.0 must be from 0 to 1"),
    ("rot3d", "strides: [0]", "strides = [0] must be"),
    ("rot3d", "num_frames: 0", "num_frames = 0 must be at least 1"),
    ("speednet", "num_frames: 1", "num_frames = 1 must be at least 2"),
    ("vcop", "num_frames: 0", "num_frames = 0 must be at least 1"),
    ("vcop", "interval: 0", "interval = 0 must be at least 1"),
    ("vcop", "size: 8", "size = 8 must be at least 16"),
    ("videomae", "patch: 15", "size = 224 must be a multiple of patch = 15"),
    ("videomae", "patch: 0", "patch = 0"),
    ("videomae", "mask_ratio: 1", "mask_ratio = 1.0 must be a share that hides some of 196 cells and shows others"),
    ("videomae", "mask_ratio: 1e+9", "mask_ratio = 1000000000.0 must be a share"),
    ("videomae", "mask_ratio: 0.004", "mask_ratio = 0.004"),
    ("videomae", "scales: []", "scales"),
    ("videomae", "scales: [1.1]", "scales"),
    ("videomae", "num_frames: 0", "num_frames = 0"),
    ("vjepa", "patch: 15", "size = 224 must be a multiple of patch = 15"),
    ("vjepa", "masks: []", "masks = [] must be pairs of shares"),
    ("vjepa", "masks: [[0, 0.5]]", "masks"),
    ("vjepa", "masks: [[0.5, 1]]", "some of 196 cells are hidden and others shown"),
    ("vjepa", "stride: 0", "stride = 0"),
]


@pytest.mark.parametrize(("task", "setting", "message"), REFUSED)
def test_impossible_settings_are_refused_by_name(task, setting, message):
    with pytest.raises(UserError) as caught:
        parse(RECIPE.format(task=task, setting=setting), source="x.yaml")
    assert str(caught.value).startswith("x.yaml: plan.")
    assert message in str(caught.value)
