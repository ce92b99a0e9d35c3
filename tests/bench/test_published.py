"""The arithmetic of docs/published.md against counts by hand, and the committed result against rows and recipes."""

from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import nn

from bench import published
from bench.published import (
    Assumptions,
    clips_seen,
    cost,
    decoding,
    gpu_hours,
    published_rows,
    recipes_of,
    training_flops,
)
from bench.report import committed
from configs.load import load
from configs.recipes import names
from nets.backbones import create

RESULT = committed("published")


def loaders(**ms_of_tasks: float) -> dict[str, Any]:
    """Return a result of the loader bench for videos with a short side of 144."""
    tasks = {
        task: {"contenders": {"h264": {"this_loader": {"cpu_s_per_1000_clips": ms}}}}
        for task, ms in ms_of_tasks.items()
    }
    return {"data": {"h264": {"stored_size": [192, 144]}}, "tasks": tasks}


@pytest.mark.parametrize(
    ("recipe", "clips"),
    [
        ("ctp/r3d18_ucf101", 300 * 9537),
        ("ctp/r3d18_kinetics", 90 * 240_000),
        ("videomae/vit_b16_hmdb51", 4800 * 3570),
        ("recognition/ctp_r3d18_hmdb51", 150 * 3570),
        ("recognition/cpc_transformer_ucf101", 300 * 8583),  # a tenth is held out
    ],
)
def test_clips_seen_are_epochs_times_videos_of_the_split(recipe, clips):
    assert clips_seen(load(recipe)) == pytest.approx(clips, rel=1e-4)


def test_convnet_flops_are_the_sum_over_its_layers():
    counted = []

    def count(layer: Any, _: Any, out: torch.Tensor) -> None:
        counted.append(2 * out[0].numel() * layer.weight[0].numel())  # outputs times weights per output

    net = nn.Sequential(create("r3d_tiny"), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.LazyLinear(101))
    clip_BCTHW = torch.zeros(2, 3, 8, 64, 64)
    net(clip_BCTHW)
    for layer in net.modules():
        if isinstance(layer, nn.Conv3d | nn.Linear):
            layer.register_forward_hook(count)
    net(clip_BCTHW)
    recipe = load("recognition/demo", ["data.root=data/ucf101"])
    assert (recipe.plan.num_frames, recipe.plan.size) == (8, 64)
    # Backward costs twice the forward pass, except in the first layer, whose input has no gradient.
    assert training_flops(recipe) == pytest.approx(3 * sum(counted) - counted[0])


def test_videomae_flops_count_visible_tokens_and_all_tokens():
    tokens, visible, hidden, cube = 4 * 8 * 8, 4 * 16, 4 * 48, 3 * 2 * 8 * 8

    def blocks(number: int, tokens: int, width: int) -> int:
        """Return the FLOPs of q, k, v and output, an MLP four times as wide, and the two attention products."""
        return number * (2 * tokens * width * width * (4 + 8) + 2 * 2 * tokens * tokens * width)

    embedding = 2 * tokens * cube * 96
    decoder = 2 * visible * 96 * 64 + blocks(2, tokens, 64) + 2 * hidden * 64 * cube
    expected = 3 * (blocks(4, visible, 96) + decoder) + 2 * embedding
    assert training_flops(load("videomae/demo")) == pytest.approx(expected)


@pytest.mark.slow
def test_flops_of_dense_contrast_grow_with_the_batch():
    """Each prediction is compared with all samples' targets, so a sample's products grow with the batch."""
    few, more, most = (
        training_flops(load("cpc_transformer/demo", [f"train.global_batch={batch}"])) for batch in (2, 4, 8)
    )
    assert 0 < more - few == pytest.approx((most - more) / 2)


def test_gpu_hours_are_flops_over_the_used_share_of_the_peak():
    assert gpu_hours(9000, 2e12, utilization=0.5, peak_tflops=10) == pytest.approx(1.0)  # 2.5 clips/s for 3,600 s


def test_decoding_time_scales_with_frames_and_pixels():
    assumed = Assumptions(large_side=288)
    unscaled = decoding(load("ctp/r3d18_ucf101"), loaders(ctp=14.2, recognition=1), assumed)
    assert (unscaled["measured_as"], unscaled["ms_per_clip"]) == ("ctp", 14.2)
    eight_frames = load("cpc_transformer/resnet18_8pred3_ucf101")
    scaled = decoding(eight_frames, loaders(cpc_transformer=10), assumed)
    assert scaled["ms_per_clip"] == pytest.approx(10 * 8 / 5 * 4)  # twice the side is four times the pixels
    unmeasured = decoding(load("videomae/vit_b16_ucf101"), loaders(recognition=10), assumed)
    assert (unmeasured["measured_as"], unmeasured["ms_per_clip"]) == ("recognition", 40)


def test_each_published_row_has_a_recipe_or_says_what_differs():
    recipes = {*names()}
    for row in published_rows():
        assert row["recipe"] or row["differs"]
        assert {*row["finetune"], *filter(None, [row["recipe"]])} <= recipes
        if row["recipe"]:
            backbone = load(row["recipe"]).backbone
            assert all(load(name).backbone.startswith(backbone) for name in row["finetune"])


@pytest.mark.slow
def test_the_committed_result_matches_rows_and_recipes():
    assert RESULT["assumed"] == asdict(Assumptions())
    assert RESULT["rows"] == published_rows()
    assert [*RESULT["costs"]] == recipes_of(RESULT["rows"])
    assert all(RESULT["costs"][name]["clips"] == clips_seen(load(name)) for name in RESULT["costs"])
    for name in ("cpc_transformer/resnet18_8pred3_ucf101", "videomae/vit_b16_ucf101"):
        assert RESULT["costs"][name] == cost(load(name), committed("loader_peers"), Assumptions())


def test_help_leaves_the_result_as_it_is(monkeypatch):
    monkeypatch.setattr(published, "save_json", lambda *_, **__: pytest.fail("the result was rewritten"))
    with pytest.raises(SystemExit):
        published.main(["--help"])
