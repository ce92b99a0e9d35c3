"""The comparisons of pictures and samples see every kind of difference."""

import numpy as np
import pytest
import torch

from bench.gpu_checks import compare, parity

pytestmark = pytest.mark.slow


def test_compare_finds_swapped_frames_and_wrong_pixels():
    frames = np.random.default_rng(0).integers(0, 200, (4, 8, 8, 3), dtype=np.uint8)
    assert compare.compare(frames, frames)["ok"]
    assert compare.compare(frames[[1, 0, 2, 3]], frames)["misplaced"] == 2
    off = compare.compare(frames + np.uint8(9), frames)
    assert (off["ok"], off["max"], off["mean"]) == (False, 9, 9)
    assert not compare.compare(frames[:3], frames)["ok"]


def test_parity_compares_every_tensor_of_a_task(target):
    found = parity.measure("ctp", target)
    assert found["ok"]
    assert {"graph clips", "graph boxes", "cut clips", "whole clips", "whole index"} <= set(found["rows"])
    assert (found["graph_decoder"], found["whole_decoder"]) == ("pyav", "dali")
    assert "whole clips" in found["answer"]
    assert "all else equal" in found["answer"]


def test_parity_finds_wrong_pixels_and_labels():
    clips = torch.zeros(2, 3, 4, 10, 10)
    assert parity.difference([clips + 0.05], [clips])["ok"]
    assert not parity.difference([clips + 0.07], [clips])["ok"]
    patch = clips.clone()
    patch[..., :1, :2] = 1.0  # 2 % of the pixels are far off
    row = parity.difference([patch], [clips])
    assert (row["ok"], row["mean"], row["far"]) == (False, 0.02, 0.02)
    assert not parity.difference([torch.tensor([1, 2])], [torch.tensor([1, 3])])["ok"]
    assert "not equal: labels" in parity.answer({"labels": {"ok": False}})
