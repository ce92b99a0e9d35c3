"""CSTP's network: figures of its heads, slow references, the target network, and learning."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from configs.errors import UserError
from configs.load import load
from nets.losses import byol_loss
from nets.tasks.cstp import Config, Reference, build
from tests.helpers.runs import ROOT

LABELS = {"spatial": 5, "temporal": 5, "playback": 4, "rotation": 4}


def schema(num_frames=16, size=112):
    return {
        "clips": ((2, 3, num_frames, size, size), "float32"),
        "spatial": ((), "int64"),
        "temporal": ((), "int64"),
        "playback": ((), "int64"),
        "rotation": ((2,), "int64"),
    }


def small(**options):
    torch.manual_seed(0)
    return build("r3d_tiny", schema(8, 32), Config(**({"projector": 32, "predictor": 32} | options)))


@pytest.fixture
def batch():
    rng = torch.Generator().manual_seed(0)
    labels = {
        name: torch.randint(classes, (6, 2) if name == "rotation" else (6,), generator=rng)
        for name, classes in LABELS.items()
    }
    return {"clips": torch.randn(6, 2, 3, 8, 32, 32, generator=rng), **labels}


def trainable(net):
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def paper_model(recipe):
    config = load(ROOT / "configs" / "cstp" / f"{recipe}.yaml")
    with torch.device("meta"):
        return build(config.backbone, schema(), config.net)


# Figures of the original.


def test_parameter_counts_match_the_original():
    with torch.device("meta"):
        net = build("r2plus1d10_cstp", schema(), Config(reference=Reference(spare_class=True)))
    parts = {name: trainable(part) for name, part in net.named_children()}
    assert parts == {
        "backbone": 14_365_303,
        "projector": 4_207_104,
        "predictor": 4_207_104,
        "spatial": 1_056_773,
        "temporal": 1_056_773,
        "playback": 266_245,
        "rotation": 266_245,
        "target_backbone": 0,
        "target_projector": 0,
    }
    assert trainable(net) == 25_425_547
    assert trainable(paper_model("r2plus1d10_cstp_ucf101")) == 25_425_547 - 2 * 513


def widths(part):
    return [(layer.in_features, layer.out_features) for layer in part.modules() if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize(
    ("recipe", "width", "projector", "mlp"),
    [
        ("r2plus1d10_cstp_ucf101", 512, 4096, True),
        ("r2plus1d10_cstp_kinetics", 512, 4096, True),
        ("s3dg_ucf101", 1024, 1024, True),
        ("c3d_ucf101", 512, None, False),
        ("resnet3d18_ucf101", 512, None, False),
        ("i3d_ucf101", 1024, None, False),
    ],
)
def test_every_recipe_has_the_heads_of_its_backbone(recipe, width, projector, mlp):
    net = paper_model(recipe)
    assert widths(net.projector) == ([(width, projector), (projector, width)] if projector else [])
    assert widths(net.target_projector) == widths(net.projector)
    assert widths(net.predictor) == [(width, 4096), (4096, width)]
    for name, classes in LABELS.items():
        wide = 2 * width if name in ("spatial", "temporal") else width
        assert widths(getattr(net, name)) == ([(wide, wide), (wide, classes)] if mlp else [(wide, classes)])
    assert net.cfg.unit_features == recipe.startswith("i3d")


def test_initial_weights_match_the_original_except_batch_norm():
    net = small()
    assert all((m.weight == 1).all() for m in net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm3d))
    reach = math.sqrt(6 / (64 + 32))
    assert 0.95 * reach < net.projector[0].weight.abs().max() <= reach
    conv = net.backbone.stem[0].weight
    reach = math.sqrt(6 / (conv[0].numel() + conv[:, 0].numel()))
    assert 0.95 * reach < conv.abs().max() <= reach


def test_random_bn_starts_small_with_either_sign():
    factors = small(projector=512, reference=Reference(random_bn=True)).projector[1].weight
    assert 0.95 * 0.108 < factors.abs().max() <= 0.1083
    assert 0.4 < (factors < 0).float().mean() < 0.6


# Losses.


def test_byol_loss_has_its_closed_form():
    a, b = torch.tensor([[3.0, 4]]), torch.tensor([[1.0, 0]])
    assert byol_loss(a, 5 * a) == pytest.approx(0, abs=1e-6)
    assert byol_loss(a, -a) == pytest.approx(4)
    assert byol_loss(a, b) == pytest.approx(2 - 2 * 0.6)


def outputs(net, batch):
    """Return features, predictions and targets of each clip, wired as in specs/cstp.md 2.3."""
    f, q, z = [], [], []
    for clip in (batch["clips"][:, 0], batch["clips"][:, 1]):
        f.append(net.backbone(clip).mean((2, 3, 4)))
        q.append(net.predictor(net.projector(f[-1])))
        z.append(net.target_projector(net.target_backbone(clip).mean((2, 3, 4))))
    return f, q, z


def test_loss_matches_the_spec(batch):
    net = small()
    nn.init.normal_(net.target_projector[3].weight)
    (f1, f2), (q1, q2), (z1, z2) = outputs(net, batch)
    byol = (4 - 2 * F.cosine_similarity(q1, z2) - 2 * F.cosine_similarity(q2, z1)).mean()
    both = torch.cat([f1, f2], 1)
    spatial = F.cross_entropy(net.spatial(both), batch["spatial"])
    temporal = F.cross_entropy(net.temporal(both), batch["temporal"])
    playback = sum(F.cross_entropy(net.playback(f), batch["playback"]) for f in (f1, f2))
    one, other = (F.cross_entropy(net.rotation(f), batch["rotation"][:, i]) for i, f in enumerate((f1, f2)))
    rotation = one + other
    result = net(batch)
    assert result["loss"].item() == pytest.approx((0.1 * byol + spatial + temporal + playback + rotation).item())
    assert result["loss_byol"].item() == pytest.approx(byol.item())
    assert result["loss_rotation"].item() == pytest.approx(rotation.item() / 2)
    names = [net.rotation(f).argmax(1) == batch["rotation"][:, i] for i, f in enumerate((f1, f2))]
    assert result["accuracy_rotation"].item() == pytest.approx(torch.cat(names).float().mean().item())


def test_each_loss_weight_scales_its_own_term(batch):
    for place, name in enumerate(("byol", "spatial", "temporal", "playback", "rotation")):
        weights = tuple(2.0 * (i == place) for i in range(5))
        result = small(loss_weight=weights)(batch)
        both_clips = 2 if name in ("playback", "rotation") else 1
        assert result["loss"].item() == pytest.approx(2 * both_clips * result[f"loss_{name}"].item())


def test_a_constant_network_is_at_chance(batch):
    net = small(mlp_heads=False)
    for name in LABELS:
        nn.init.zeros_(getattr(net, name).weight)
        nn.init.zeros_(getattr(net, name).bias)
    result = net(batch)
    for name, classes in LABELS.items():
        assert result[f"loss_{name}"].item() == pytest.approx(math.log(classes))


def test_chance_is_the_running_share_of_the_most_frequent_classes(batch):
    batch |= {name: torch.tensor([1, 1, 1, 0, 2, 3]) for name in ("spatial", "temporal", "playback")}
    batch["rotation"] = torch.tensor([[0, 1], [0, 1], [0, 2], [0, 3], [0, 1], [0, 2]])
    net = small()
    assert net(batch)["chance"].item() == pytest.approx(0.5)
    batch["spatial"] = torch.tensor([1, 0, 0, 0, 0, 0])
    assert net(batch)["chance"].item() == pytest.approx((6 / 12 + 0.5 + 0.5 + 0.5) / 4)
    batch["spatial"] = torch.tensor([1, 1, 1, 1, 1, 1])
    assert net(batch)["chance"].item() == pytest.approx((10 / 18 + 0.5 + 0.5 + 0.5) / 4)


def test_pooled_features_can_have_unit_length(batch):
    seen = []
    net = small(unit_features=True)
    net.rotation.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(batch)
    assert len(seen) == 2
    torch.testing.assert_close(seen[0].norm(dim=1), torch.ones(6))


# The target network.


def test_target_starts_as_a_copy_and_follows_only_weights(batch):
    net = small()
    start = net.projector[0].weight.clone()
    assert torch.equal(net.target_projector[0].weight, start)
    with torch.no_grad():
        net.projector[0].weight += 1
        net.backbone.stem[0].weight += 1
    conv = net.target_backbone.stem[0].weight.clone()
    net.before_step(0)
    torch.testing.assert_close(net.target_projector[0].weight, start + 0.004)
    torch.testing.assert_close(net.target_backbone.stem[0].weight, conv + 0.004)
    statistics = net.target_backbone.stem[1].running_mean.clone()
    net.backbone.stem[1].running_mean += 1
    net.before_step(0)
    assert torch.equal(net.target_backbone.stem[1].running_mean, statistics)
    net(batch)
    assert not torch.equal(net.target_backbone.stem[1].running_mean, statistics)


def test_random_target_starts_with_other_weights():
    net = small(reference=Reference(random_target=True))
    assert not torch.equal(net.target_projector[0].weight, net.projector[0].weight)
    assert not torch.equal(net.target_backbone.stem[0].weight, net.backbone.stem[0].weight)


# Training.


def test_one_sample_is_too_few_for_batch_norm():
    with pytest.raises(UserError, match="2 samples"):
        small().check_batch(1, 4)
    small().check_batch(2, 1)


@pytest.mark.slow
def test_a_few_steps_fit_labels_visible_in_the_clips(batch):
    net = small()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    byol = []
    for _ in range(25):
        net.before_step(0)
        result = net(batch)
        byol.append(result["loss_byol"].item())
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()
    assert result["accuracy"] == 1
    assert byol[-1] < 0.5 * byol[0]
