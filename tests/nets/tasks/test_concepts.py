"""Concepts' network: figures of the original, routing of scores, and which parameters get gradients."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from nets import backbones
from nets.concept_parts import alignment, negative_entropy, six_views
from nets.tasks.concepts import KINDS, METRIC, Concepts, Config, Reference, build
from tests.helpers.concepts import tiny, tiny_batch
from tests.helpers.originals import shapes_of


class Wide(backbones.Backbone):
    """Placeholder backbone for tests that supply their own features."""

    out_channels = 512


# Figures of the original.


def test_parameter_counts_match_the_original():
    with torch.device("meta"):
        net = build("r2plus1d10", {}, Config())
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()}
    assert count["backbone"] == 12_487_005
    assert count["instance"] == 5 * 328_320
    assert count["to_concepts"] == 3 * 526_336
    assert count["attention"] == 1_052_416
    assert sum(count.values()) == 18_269_805 - 205_200  # minus an unused classifier


def test_state_dict_has_the_originals_shapes_in_order():
    with torch.device("meta"):
        net = build("r2plus1d10", {}, Config())
    original = {
        name: shape for name, shape in shapes_of("concepts__pretrain_k100").items() if "backbone.fc" not in name
    }
    assert [list(value.shape) for value in net.state_dict().values()] == list(original.values())


def test_initial_terms_match_the_original():
    net = Concepts(Wide(), Config(concepts=50))
    with torch.no_grad():
        terms, metrics = net.terms(torch.randn(6, 8, 512, 2, 8, 8).relu())
    ln_n = math.log(8)
    for name, expected, off in [
        ("instance_rgb", ln_n, 0.1),
        ("instance_static", 2 * ln_n, 0.2),
        ("instance_difference", 2 * ln_n, 0.2),
        ("align_static", 4.0, 0.1),
        ("align_dynamic", 4.0, 0.1),
        ("entropy_static", -3.81, 0.03),
        ("entropy_dynamic", -3.81, 0.03),
        *((f"rebuild_{kind}", 0.0, 0.05) for kind in KINDS),
        *((f"local_{kind}", 1.05, 0.1) for kind in KINDS),
    ]:
        assert terms[name].item() == pytest.approx(expected, abs=off), name
    assert metrics["chance"].item() == pytest.approx(1 / 8)


# The views.


@pytest.mark.parametrize("wrapped", [False, True])
def test_six_views_are_clips_repeated_stills_and_differences(wrapped):
    clips, stills = (values.numpy() for values in tiny_batch(samples=3).values())
    views = six_views(torch.tensor(clips), torch.tensor(stills), wrapped=wrapped).unflatten(0, (6, 3)).numpy()
    for view in range(2):
        differences = clips[:, view, :, 1:] - clips[:, view, :, :-1]
        first = clips[:, view, :, 0] - clips[:, view, :, -1] if wrapped else differences[:, :, 0]
        np.testing.assert_array_equal(views[view], clips[:, view])
        np.testing.assert_array_equal(views[2 + view], np.repeat(stills[:, view], 4, axis=2))
        np.testing.assert_array_equal(views[4 + view], np.concatenate([first[:, :, None], differences], 2))


def test_wrapped_difference_reaches_the_views():
    before = tiny()(tiny_batch())["loss"].item()
    torch.manual_seed(0)
    assert tiny(reference=Reference(wrapped_difference=True))(tiny_batch())["loss"].item() != before


def test_stills_of_one_frame_equal_repeated_stills():
    net, batch = tiny(), tiny_batch()
    repeated = batch | {"stills": batch["stills"].repeat(1, 1, 1, 4, 1, 1)}
    assert net(batch)["loss"] == net(repeated)["loss"]


# Routing of scores.

ROWS = {"static": slice(0, 12), "dynamic": slice(12, 24), "all": slice(None)}


def scores_of(net, maps):
    """Return the cosines of the six views, which the forward pass leaves in the queue, and the loss terms."""
    with torch.no_grad():
        terms, _ = net.terms(maps)
    return net.queue[-maps.shape[1] :].movedim(1, 0).clone(), terms


def test_alignment_and_entropy_use_the_scores_of_their_own_views():
    net = Concepts(Wide(), Config(concepts=12, queue_size=8))
    scores, terms = scores_of(net, torch.randn(6, 8, 512, 1, 2, 2))
    static, dynamic = scores[[0, 1, 2, 3], :, :12], scores[[0, 1, 4, 5], :, 12:]
    torch.testing.assert_close(terms["align_static"], alignment(static, static))
    torch.testing.assert_close(terms["align_dynamic"], alignment(dynamic, dynamic))
    torch.testing.assert_close(terms["entropy_static"], negative_entropy(scores[4:, :, :12]))
    torch.testing.assert_close(terms["entropy_dynamic"], negative_entropy(scores[2:4, :, 12:]))


def test_batch_norm_of_concepts_sees_one_view_at_a_time():
    net = Concepts(Wide(), Config(concepts=12, queue_size=8))
    maps = torch.randn(6, 8, 512, 1, 2, 2)
    before, _ = scores_of(net, maps)
    maps[1] += 5 * torch.randn(8, 512, 1, 2, 2)
    after, _ = scores_of(net, maps)
    assert torch.equal(after[[0, 2, 3, 4, 5]], before[[0, 2, 3, 4, 5]])
    assert not torch.equal(after[1], before[1])


def test_batch_norm_of_reconstruction_sees_both_views_together():
    net = Concepts(Wide(), Config(concepts=12, queue_size=8))
    maps = torch.randn(6, 8, 512, 1, 2, 2)
    scores, terms = scores_of(net, maps)
    features = maps.mean((-3, -2, -1))
    for kind, views, half in (("rgb", (0, 1), "all"), ("static", (2, 3), "static"), ("difference", (4, 5), "dynamic")):
        layers: Any = net.rebuild[kind]
        first, norm, _, last = layers
        hidden = torch.cat([scores[view][:, ROWS[half]] for view in views]).double() @ first.weight.T.double()
        hidden = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + norm.eps).sqrt()
        rebuilt = hidden.clamp(min=0) @ last.weight.T.double() + last.bias
        cosines = [
            a @ b / (a.norm() * b.norm())
            for a, b in zip(rebuilt, features[[*views]].flatten(0, 1).double(), strict=True)
        ]
        assert terms[f"rebuild_{kind}"].item() == pytest.approx(-sum(cosines).item() / 16, rel=1e-4)


# Gradients.

# Term -> views whose features get gradients, modules, and rows of the banks.
GRADIENTS = {
    "instance_rgb": ("rgb", {"instance.rgb"}, {}),
    "instance_static": ("rgb static", {"instance.rgb_static", "instance.static"}, {}),
    "instance_difference": ("rgb difference", {"instance.rgb_difference", "instance.difference"}, {}),
    "align_static": (
        "rgb static",
        {"to_concepts.rgb", "to_concepts.static"},
        {"rgb": "static", "static": "static"},
    ),
    "align_dynamic": (
        "rgb difference",
        {"to_concepts.rgb", "to_concepts.difference"},
        {"rgb": "dynamic", "difference": "dynamic"},
    ),
    "entropy_static": ("difference", {"to_concepts.difference"}, {"difference": "static"}),
    "entropy_dynamic": ("static", {"to_concepts.static"}, {"static": "dynamic"}),
    "rebuild_rgb": ("rgb", {"to_concepts.rgb", "rebuild.rgb"}, {"rgb": "all"}),
    "rebuild_static": ("static", {"to_concepts.static", "rebuild.static"}, {"static": "static"}),
    "rebuild_difference": ("difference", {"to_concepts.difference", "rebuild.difference"}, {"difference": "dynamic"}),
    "local_rgb": ("rgb", {"attention"}, {"rgb": "all"}),
    "local_static": ("static", {"attention"}, {"static": "static"}),
    "local_difference": ("difference", {"attention"}, {"difference": "dynamic"}),
}


@pytest.mark.parametrize("term", GRADIENTS)
def test_each_term_has_gradients_only_in_its_part_of_the_network(term):
    net = Concepts(Wide(), Config(concepts=12, queue_size=8))
    maps = torch.randn(6, 8, 512, 1, 2, 2, requires_grad=True)
    net.terms(maps)[0][term].backward()
    views, modules, banks = GRADIENTS[term]

    assert maps.grad is not None
    taught = {kind for kind, grad in zip(KINDS, maps.grad.split(2), strict=True) if grad.any()}
    assert taught == set(views.split())
    learning = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert {n for n in learning if not n.startswith("banks")} <= {
        n for n, _ in net.named_parameters() if any(n.startswith(f"{module}.") for module in modules)
    }
    assert all(any(name.startswith(f"{module}.") for name in learning) for module in modules)
    for kind in KINDS:
        grad = net.banks[kind].grad
        rows = set() if grad is None else set(grad.any(1).nonzero().flatten().tolist())
        allowed = set(range(24)[ROWS[banks[kind]]]) if kind in banks else set()
        assert rows <= allowed
        assert bool(rows) == bool(allowed)


def test_every_parameter_has_a_gradient_for_ddp():
    net = tiny()
    net(tiny_batch())["loss"].backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_the_loss_is_the_weighted_sum_of_the_terms():
    net = tiny(local_from=1)
    for epoch in range(2):
        net.before_step(epoch)
        result = net(tiny_batch())
        terms = {name: value.item() for name, value in result.items() if name not in ("loss", METRIC, "chance")}
        assert len(terms) == 13
        weights = {"instance": 1, "align": 1, "entropy": 0.1, "rebuild": 1, "local": epoch}
        total = sum(weights[name.split("_")[0]] * value for name, value in terms.items())
        assert result["loss"].item() == pytest.approx(total, rel=1e-5)
