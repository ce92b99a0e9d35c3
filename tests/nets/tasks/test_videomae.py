"""VideoMAE's network: targets by loops over pixels, the whole loss in numpy, and the meaning of its figures."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from configs.errors import UserError
from configs.optim import Optim
from dali_pipelines.pixels.normalize import NORMALIZATIONS
from dali_pipelines.tasks.videomae import Config as PlanConfig
from dali_pipelines.tasks.videomae import batch_schema
from nets.backbones.vit import ViT
from nets.tasks import Pretext
from nets.tasks.videomae import MEAN, STD, Config, VideoMAE, build, from_cubes, to_cubes
from tests.helpers.training import train_on
from tests.helpers.transformer import block, embed, normed, positions
from trainers.engine.optimizers import make_optimizer

PLAN = PlanConfig(num_frames=4, size=32, patch=8, mask_ratio=0.75)
GRID = (2, 4, 4)


@pytest.fixture
def net() -> VideoMAE:
    encoder = ViT(width=24, depth=2, heads=3, patch=8)
    return VideoMAE(encoder, Config(decoder_width=16, decoder_depth=1, decoder_heads=2))


def batch(count: int = 2) -> dict[str, Tensor]:
    cells = torch.stack([torch.randperm(16) for _ in range(count)])
    hidden, visible = cells[:, :12].sort(1).values, cells[:, 12:].sort(1).values
    return {"clips": torch.randn(count, 3, 4, 32, 32), "visible": visible, "hidden": hidden}


def targets_by_loops(clip_3THW: Tensor, hidden: list[int]) -> np.ndarray:
    """Return targets (tokens, 2 * 8 * 8 * 3), ordered by frame, row, column and color, in float64."""
    rows = []
    for t in range(2):
        for cell in hidden:
            y, x = 8 * (cell // 4), 8 * (cell % 4)
            channels = []
            for color in range(3):
                cube = clip_3THW[color, 2 * t : 2 * t + 2, y : y + 8, x : x + 8].double().numpy()
                values = (cube * STD[color] + MEAN[color]).ravel()
                mean = sum(values) / 128
                variance = sum((value - mean) ** 2 for value in values) / 127
                channels.append([(value - mean) / (math.sqrt(variance) + 1e-6) for value in values])
            rows.append([channels[color][pixel] for pixel in range(128) for color in range(3)])
    return np.array(rows)


def test_normalization_is_that_of_the_loader():
    assert NORMALIZATIONS["imagenet"] == (MEAN, STD)


def test_targets_are_hidden_cubes_normalized_per_channel(net):
    drawn = batch()
    _, hidden = net.tokens(drawn)
    targets, mean, divisor = net.targets(drawn["clips"], hidden)
    for sample in range(2):
        expected = targets_by_loops(drawn["clips"][sample], drawn["hidden"][sample].tolist())
        np.testing.assert_allclose(targets[sample].flatten(1).numpy(), expected, atol=2e-4)
    pixels = to_cubes(net.pixels(drawn["clips"]), (2, 8, 8))
    kept = pixels.take_along_dim(hidden[..., None, None], dim=1)
    torch.testing.assert_close(targets * divisor + mean, kept)


def test_unnormalized_targets_are_pixel_values():
    net = VideoMAE(ViT(width=24, depth=0, heads=3, patch=8), Config(normalize_target=False))
    drawn = batch()
    visible, hidden = net.tokens(drawn)
    targets, mean, divisor = net.targets(drawn["clips"], hidden)
    pixels = drawn["clips"] * torch.tensor(STD).view(3, 1, 1, 1) + torch.tensor(MEAN).view(3, 1, 1, 1)
    torch.testing.assert_close(targets, to_cubes(pixels, (2, 8, 8)).take_along_dim(hidden[..., None, None], dim=1))
    assert torch.equal(targets * divisor + mean, targets)
    color = targets.double().mean((0, 1, 2))
    error = (net.reconstruct(drawn["clips"], visible, hidden) - targets).double().square().mean()
    explained = 1 - error / (targets - color).square().mean()
    assert net(drawn)["explained"].item() == pytest.approx(explained.item(), rel=1e-4)


def test_a_flat_cube_has_a_zero_target(net):
    drawn = batch() | {"clips": torch.full((2, 3, 4, 32, 32), 0.25)}
    result = net(drawn)
    assert result["loss"].isfinite()
    assert net.targets(drawn["clips"], net.tokens(drawn)[1])[0].abs().max() < 0.2  # rounding divided by eps


def loss_by_numpy(state: dict[str, np.ndarray], clip: Tensor, visible: list[int], hidden: list[int]) -> float:
    """Return the loss of one clip by the paper's equations (sections 3.1 and 3.3), in float64."""
    seen, unseen = ([16 * t + cell for t in range(2) for cell in cells] for cells in (visible, hidden))
    encoded = embed(state, clip, seen) + positions(seen, 24)
    for number in range(2):
        encoded = block(encoded, state, f"backbone.blocks.{number}", 3)
    encoded = normed(encoded, state["norm.weight"], state["norm.bias"]) @ state["project.weight"].T
    decoded = np.concatenate([encoded + positions(seen, 16), state["mask_token"] + positions(unseen, 16)])
    decoded = normed(block(decoded, state, "decoder.0", 2), state["decoder_norm.weight"], state["decoder_norm.bias"])
    predicted = decoded[len(seen) :] @ state["predict.weight"].T + state["predict.bias"]
    return float(((predicted - targets_by_loops(clip, hidden)) ** 2).mean())


def test_loss_matches_a_numpy_reference(net):
    for parameter in net.parameters():  # at their initial 0 and 1, wrong biases and norms would not show
        torch.nn.init.normal_(parameter, std=0.3)
    drawn = batch()
    state = {key: value.double().numpy() for key, value in net.state_dict().items()}
    each = [
        loss_by_numpy(state, drawn["clips"][n], drawn["visible"][n].tolist(), drawn["hidden"][n].tolist())
        for n in range(2)
    ]
    assert net(drawn)["loss"].item() == pytest.approx(sum(each) / 2, rel=1e-4)


def test_the_mask_is_the_same_in_all_frames(net):
    visible, hidden = net.tokens(batch())
    assert torch.equal(visible[:, 4:], visible[:, :4] + 16)
    assert torch.equal(hidden[:, 12:], hidden[:, :12] + 16)
    assert torch.equal(torch.cat([visible, hidden], 1).sort(1).values, torch.arange(32).expand(2, -1))


def test_hidden_pixels_affect_the_target_but_not_the_prediction(net):
    drawn = batch(1)
    visible, hidden = net.tokens(drawn)
    cubes = to_cubes(drawn["clips"], (2, 8, 8))
    changed = cubes.clone()
    changed[0, hidden[0]] = torch.randn_like(changed[0, hidden[0]])
    before = net.reconstruct(drawn["clips"], visible, hidden)
    assert torch.equal(net.reconstruct(from_cubes(changed, GRID, (2, 8, 8)), visible, hidden), before)


def test_explained_is_0_for_gray_1_for_the_clip_chance_for_a_constant(net, monkeypatch):
    drawn = batch(3)
    _, hidden = net.tokens(drawn)
    target, _, _ = net.targets(drawn["clips"], hidden)
    # The best constant, by least squares on a column of ones.
    flat = target.flatten(2).flatten(0, 1).double()
    best = (
        torch.linalg.lstsq(torch.ones(len(flat), 1, dtype=torch.float64), flat).solution.float().unflatten(1, (-1, 3))
    )
    for prediction, explained in ((torch.zeros_like(target), 0.0), (target, 1.0), (best.expand_as(target), None)):
        monkeypatch.setattr(net, "reconstruct", lambda *_, prediction=prediction: prediction)
        result = net(drawn)
        expected = result["chance"].item() if explained is None else explained
        assert result["explained"].item() == pytest.approx(expected, abs=1e-5)
    assert 0 < result["chance"] < 0.05


@pytest.mark.slow
def test_a_few_steps_fit_one_batch(net):
    drawn = batch() | {"clips": torch.randn(2, 3, 1, 1, 32).expand(-1, -1, 4, 32, -1)}  # vertical stripes
    assert train_on(drawn, net, steps=150)["explained"] > 0.5


def test_norms_biases_and_the_mask_token_do_not_decay(net):
    optimizer = make_optimizer(net, Optim(name="adamw", decay_norms_and_biases=False))
    undecayed = {id(p) for group in optimizer.param_groups if group.get("weight_decay") == 0 for p in group["params"]}
    names = {name for name, parameter in net.named_parameters() if id(parameter) in undecayed}
    assert names == {
        name
        for name, _ in net.named_parameters()
        if name.endswith("bias") or name == "mask_token" or "norm" in name or ".ln_" in name
    }


def test_decoder_size_matches_the_paper():
    """4 blocks of 384 channels, each with 12 C^2 weights and 13 C norms and biases, including those of the keys."""
    with torch.device("meta"):
        schema = batch_schema(PlanConfig())
        net = build("vit_b16", schema, Config())
    encoder, c = sum(p.numel() for p in net.backbone.parameters()), 384
    decoder = 4 * (12 * c**2 + 13 * c) + 2 * c + 1536 * c + 1536
    assert sum(p.numel() for p in net.parameters()) == encoder + 2 * 768 + 768 * c + c + decoder


def test_pictures_show_visible_cubes_and_predictions_in_place(net, monkeypatch):
    drawn = batch()
    visible, hidden = net.tokens(drawn)
    target, _, _ = net.targets(drawn["clips"], hidden)
    monkeypatch.setattr(net, "reconstruct", lambda *_: target)
    shown = net.picture(drawn)
    assert list(shown) == ["clip", "what the encoder sees", "prediction"]
    torch.testing.assert_close(shown["prediction"], shown["clip"])
    cubes = {name: to_cubes(clips, (2, 8, 8)) for name, clips in shown.items()}
    for sample in range(2):
        assert (cubes["what the encoder sees"][sample, hidden[sample]] == 0.5).all()
        seen = cubes["clip"][sample, visible[sample]]
        assert torch.equal(cubes["what the encoder sees"][sample, visible[sample]], seen)


def test_other_tasks_have_no_picture():
    assert Pretext().picture(batch()) == {}


@pytest.mark.parametrize(
    ("backbone", "plan", "message"),
    [
        ("r3d_tiny", PlanConfig(), "r3d_tiny has none: choose vit_s16"),
        ("vit_tiny", PlanConfig(), "plan.patch = 16 pixels, the tubelets of vit_tiny are of 8: set plan.patch=8"),
        ("vit_b16", PlanConfig(patch=8), "plan.patch = 8 pixels, .* vit_b16 are of 16"),
        ("vit_b16", PlanConfig(num_frames=15), "15 frames .* plan.num_frames to a multiple of 2, such as 14"),
        ("vit_s17", PlanConfig(), "vit_s17"),
    ],
)
def test_mismatched_backbone_and_plan_are_refused(backbone, plan, message):
    with torch.device("meta"), pytest.raises(UserError, match=message):
        build(backbone, batch_schema(plan), Config())


@pytest.mark.parametrize(
    "changes", [{"decoder_width": 25}, {"decoder_heads": 5}, {"decoder_depth": 0}, {"decoder_depth": 1001}]
)
def test_impossible_decoders_are_refused(changes):
    with pytest.raises(ValueError, match="decoder_"):
        Config(**changes)
