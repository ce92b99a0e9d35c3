"""V-JEPA's network: the whole loss in numpy, the averaged target, and the meaning of its figures."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from configs.errors import UserError
from dali_pipelines.tasks.vjepa import Config as PlanConfig
from dali_pipelines.tasks.vjepa import batch_schema
from nets.backbones.vit import ViT
from nets.tasks.videomae import from_cubes, to_cubes
from nets.tasks.vjepa import Config, VJepa, build
from tests.helpers.training import train_on
from tests.helpers.transformer import State, block, embed, normed, positions

PLAN = PlanConfig(num_frames=4, size=32, patch=8, masks=((0.15, 0.5), (0.7, 0.75)))
CUBE = (2, 8, 8)


@pytest.fixture
def net() -> VJepa:
    encoder = ViT(width=24, depth=2, heads=3, patch=8)
    return VJepa(encoder, 2, Config(predictor_width=16, predictor_depth=1, predictor_heads=2, momentum=0.75))


def batch(count: int = 2) -> dict[str, Tensor]:
    drawn = {"clips": torch.randn(count, 3, 4, 32, 32)}
    for number, hidden in enumerate((8, 12)):
        cells = torch.stack([torch.randperm(16) for _ in range(count)])
        drawn[f"hidden_{number}"] = cells[:, :hidden].sort(1).values
        drawn[f"visible_{number}"] = cells[:, hidden:].sort(1).values
    return drawn


def encode(state: State, prefix: str, clip: Tensor, tokens: list[int]) -> np.ndarray:
    of = {f"backbone.{key.removeprefix(prefix)}": value for key, value in state.items() if key.startswith(prefix)}
    encoded = embed(of, clip, tokens) + positions(tokens, 24)
    for number in range(2):
        encoded = block(encoded, of, f"backbone.blocks.{number}", 3)
    return encoded


def features(state: State, clip: Tensor) -> np.ndarray:
    found = normed(
        encode(state, "backbone.", clip, list(range(32))),
        state["norm.weight"],
        state["norm.bias"],
    )
    return (found - found.mean(1, keepdims=True)) / np.sqrt(found.var(1, keepdims=True) + 1e-5)


def prediction(state: State, clip: Tensor, visible: list[int], hidden: list[int], number: int) -> np.ndarray:
    seen, unseen = ([16 * t + cell for t in range(2) for cell in cells] for cells in (visible, hidden))
    encoded = normed(encode(state, "encoder.", clip, seen), state["encoder_norm.weight"], state["encoder_norm.bias"])
    shown = encoded @ state["embed.weight"].T + state["embed.bias"] + positions(seen, 16)
    tokens = np.concatenate([shown, state["mask_tokens"][number] + positions(unseen, 16)])
    made = block(tokens, state, "predictor.0", 2)
    made = normed(made, state["predictor_norm.weight"], state["predictor_norm.bias"])[len(seen) :]
    return made @ state["project.weight"].T + state["project.bias"]


def test_loss_and_metrics_match_a_numpy_reference(net):
    for parameter in net.parameters():  # at their initial 0 and 1, wrong norms, biases and mask tokens do not show
        torch.nn.init.normal_(parameter, std=0.3)
    drawn = batch(3)
    state = {key: value.double().numpy() for key, value in net.state_dict().items()}
    targets = np.stack([features(state, clip) for clip in drawn["clips"]])
    variance = ((targets - targets.mean((0, 1))) ** 2).mean()
    losses, errors, others = [], [], []
    for number in range(2):
        differences = []
        for sample, clip in enumerate(drawn["clips"]):
            seen, unseen = (drawn[f"{name}_{number}"][sample].tolist() for name in ("visible", "hidden"))
            hidden = [16 * t + cell for t in range(2) for cell in unseen]
            differences.append(prediction(state, clip, seen, unseen, number) - targets[sample, hidden])
        losses.append(np.abs(differences).mean())
        errors.append(np.square(differences).mean())
    for sample in range(3):
        rest = targets[[other for other in range(3) if other != sample]].mean(0)
        others.append(((targets[sample] - rest) ** 2).mean())
    result = net(drawn)
    assert result["loss"].item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert result["explained"].item() == pytest.approx(1 - np.mean(errors) / variance, rel=1e-3)
    assert result["chance"].item() == pytest.approx(1 - np.mean(others) / variance, rel=1e-3)


def test_chance_is_what_the_mean_of_other_clips_explains(net):
    drawn = batch() | {"clips": torch.randn(1, 3, 4, 32, 32).expand(2, -1, -1, -1, -1)}
    assert net(drawn)["chance"].item() == pytest.approx(1, abs=1e-4)
    assert net(batch(1))["chance"].item() == 0  # a batch of one has no other clip


def test_the_backbone_is_an_ema_of_the_encoder_without_gradient(net):
    pairs = [*zip(net.backbone.parameters(), net.encoder.parameters(), strict=True)]
    pairs += zip(net.norm.parameters(), net.encoder_norm.parameters(), strict=True)
    first = [average.clone() for average, _ in pairs]
    for _, current in pairs:
        torch.nn.init.normal_(current)
    for _ in range(2):
        net.before_step(0)
    share = 0.75**2
    for before, (average, current) in zip(first, pairs, strict=True):
        torch.testing.assert_close(average.data, share * before + (1 - share) * current.data)
    without = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert without == {name for name, _ in net.named_parameters() if name.startswith(("backbone.", "norm."))}


def test_hidden_pixels_affect_the_target_but_not_the_prediction(net):
    drawn = batch(1)
    torch.nn.init.normal_(net.mask_tokens)
    clips = drawn["clips"]
    visible, hidden = (net.backbone.tokens(clips, drawn[name]) for name in ("visible_1", "hidden_1"))
    cubes = to_cubes(clips, CUBE)
    cubes[0, hidden[0]] = torch.randn_like(cubes[0, hidden[0]])
    changed = from_cubes(cubes, (2, 4, 4), CUBE)
    assert torch.equal(net.predict(changed, visible, hidden, 1), net.predict(clips, visible, hidden, 1))
    assert not torch.allclose(net.targets(changed), net.targets(clips))


@pytest.mark.slow
def test_a_few_steps_fit_one_batch(net):
    drawn = batch() | {"clips": torch.randn(2, 3, 1, 1, 32).expand(-1, -1, 4, 32, -1)}  # vertical stripes
    result = train_on(drawn, net, steps=200)
    assert result["explained"] > result["chance"] + 0.4


def test_initial_std_of_branches_shrinks_with_depth():
    """Std is 0.02, or 0.02 / sqrt(2 n) in the last layer of a branch of block n, within 5 standard errors."""
    encoder = ViT(width=96, depth=3, heads=3, patch=8)
    net = VJepa(encoder, 2, Config(predictor_width=64, predictor_depth=2, predictor_heads=2))
    for name, parameter in net.named_parameters():
        if parameter.ndim > 1 and name != "mask_tokens":
            depth = re.search(r"(?:blocks|predictor)\.(\d)\..*(?:out_proj|mlp\.3)", name)
            expected = 0.02 / (2 * (int(depth[1]) + 1)) ** 0.5 if depth else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=5 / (2 * parameter.numel()) ** 0.5)
    assert not net.mask_tokens.any()


def test_predictor_size_matches_the_paper():
    """12 blocks of 384 channels, each with 12 C^2 weights and 13 C norms and biases, including those of the keys."""
    with torch.device("meta"):
        net = build("vit_l16", batch_schema(PlanConfig()), Config())
    encoder, c = sum(p.numel() for p in net.backbone.parameters()), 384
    assert round(encoder / 1e6) == 304
    predictor = 12 * (12 * c**2 + 13 * c) + 2 * c + 1024 * c + c + c * 1024 + 1024 + 2 * c
    assert sum(p.numel() for p in net.parameters()) == 2 * (encoder + 2 * 1024) + predictor


@pytest.mark.parametrize(
    ("backbone", "plan", "message"),
    [
        ("r3d_tiny", PlanConfig(), "vjepa hides tokens, and r3d_tiny has none"),
        ("vit_tiny", PlanConfig(), "plan.patch = 16 pixels, the tubelets of vit_tiny are of 8: set plan.patch=8"),
    ],
)
def test_mismatched_backbone_and_plan_are_refused(backbone, plan, message):
    with torch.device("meta"), pytest.raises(UserError, match=message):
        build(backbone, batch_schema(plan), Config())


@pytest.mark.parametrize(
    "changes", [{"predictor_width": 25}, {"predictor_heads": 5}, {"predictor_depth": 0}, {"momentum": 1.0}]
)
def test_impossible_settings_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes)).partition("_")[0]):
        Config(**changes)
