"""Import of Concepts' checkpoints, against the arithmetic of specs/concepts.md 3 and 4 on the original keys."""

import pytest
import torch
import torch.nn.functional as F

from configs.load import load
from configs.recipes import CONFIGS
from nets import backbones
from nets.classifier import Classifier
from nets.concept_parts import alignment, local_contrast, six_views
from tests.helpers.originals import linear, normed, state_like
from trainers.engine.optimizers import make_optimizer
from trainers.weights.imports import concepts, network

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def state():
    return state_like("concepts__pretrain_k100")


@pytest.fixture(scope="module")
def imported(state):
    return concepts.convert(state)


@pytest.fixture(scope="module")
def net(imported):
    return network(imported)


# The original, step by step.


def factorised(state, key, x, stride):
    x = F.conv3d(x, state[f"{key}.0.weight"], stride=(1, stride, stride), padding=(0, 1, 1))
    x = F.relu(normed(state, f"{key}.1", x))
    return F.conv3d(x, state[f"{key}.3.weight"], stride=(stride, 1, 1), padding=(1, 0, 0))


def feature_map(state, x):
    """Apply the backbone of 3.1: (N, 3, T, H, W) -> (N, 512, T/8, H/16, W/16)."""
    x = F.conv3d(x, state["backbone.stem.0.weight"], stride=(1, 2, 2), padding=(0, 3, 3))
    x = F.relu(normed(state, "backbone.stem.1", x))
    x = F.conv3d(x, state["backbone.stem.3.weight"], padding=(1, 0, 0))
    x = F.relu(normed(state, "backbone.stem.4", x))
    for stage in (1, 2, 3, 4):
        key, stride = f"backbone.layer{stage}.0", 1 if stage == 1 else 2
        y = F.relu(normed(state, f"{key}.conv1.1", factorised(state, f"{key}.conv1.0", x, stride)))
        y = normed(state, f"{key}.conv2.1", factorised(state, f"{key}.conv2.0", y, 1))
        if stage > 1:
            x = F.conv3d(x, state[f"{key}.downsample.0.weight"], stride=stride)
            x = normed(state, f"{key}.downsample.1", x)
        x = F.relu(x + y)
    return x


def with_norm(state, key, x):
    """Apply a concept or reconstruction MLP of 3.2."""
    return linear(state, f"{key}.3", F.relu(normed(state, f"{key}.1", linear(state, f"{key}.0", x))))


def attention(state, maps, templates):
    """Apply the attention of 3.4: (N, 512, T, H, W) and (n, 512) -> (N, n, 512)."""

    def layer_norm(name, x):
        return F.layer_norm(x, (512,), state[f"lit.{name}.weight"], state[f"lit.{name}.bias"])

    x = layer_norm("norm_inputs", maps.flatten(2).transpose(1, 2))
    k, v = x @ state["lit.project_k.weight"].T, x @ state["lit.project_v.weight"].T
    q = layer_norm("norm_templates", templates) @ state["lit.project_q.weight"].T * 512**-0.5
    a = torch.softmax(k @ q.T, dim=-1) + 1e-8
    a = a / a.sum(dim=1, keepdim=True)
    t = a.transpose(1, 2) @ v + templates
    return t + linear(state, "lit.mlp.2", F.relu(linear(state, "lit.mlp.0", layer_norm("norm_mlp", t))))


def original_terms(state, views):
    """Return the terms of 4.1 to 4.5 for views (6, b, 3, T, H, W), in eval mode and with the queue in use."""
    maps = feature_map(state, views.flatten(0, 1)).unflatten(0, (6, -1))
    f = maps.mean((-3, -2, -1))
    kinds = {"v": slice(0, 2), "s": slice(2, 4), "d": slice(4, 6)}

    def embedded(key, kind):
        return linear(state, f"{key}.2", F.relu(linear(state, f"{key}.0", f[kinds[kind]])))

    def c(q, k):
        return F.cross_entropy(F.normalize(q) @ F.normalize(k).T / 0.07, torch.arange(len(q)))

    (v1, v2), (s1, s2), (d1, d2) = (embedded(key, "v") for key in ("fvv", "fvs", "fvd"))
    (still1, still2), (moving1, moving2) = embedded("fsv", "s"), embedded("fdv", "d")
    terms = {
        "instance_rgb": (c(v1, v2) + c(v2, v1)) / 2,
        "instance_static": (c(s1, still2) + c(s2, still1) + c(still1, s2) + c(still2, s1)) / 2,
        "instance_difference": (c(d1, moving2) + c(d2, moving1) + c(moving1, d2) + c(moving2, d1)) / 2,
    }
    names = {"v": "prototype", "s": "prototype_s", "d": "prototype_d"}
    banks = {kind: F.normalize(state[f"{name}.weight"], dim=1) for kind, name in names.items()}
    count = len(banks["v"]) // 2
    halves = {"v": slice(None), "s": slice(0, count), "d": slice(count, None)}
    scores = torch.stack(
        [
            F.normalize(with_norm(state, f"f{kind}", f[view]), dim=1) @ banks[kind].T
            for view, kind in enumerate("vvssdd")
        ]
    )
    with_queue = torch.cat([scores, state["queue"].movedim(1, 0)], dim=1)
    for name, half, views_of in (("static", "s", [0, 1, 2, 3]), ("dynamic", "d", [0, 1, 4, 5])):
        part = halves[half]
        terms[f"align_{name}"] = alignment(scores[views_of][..., part], with_queue[views_of][..., part])
        p = torch.softmax(scores[kinds["d" if half == "s" else "s"]][..., part] / 0.1, dim=-1)
        terms[f"entropy_{name}"] = (p * p.log()).sum(-1).mean()
    for kind, name in {"v": "rgb", "s": "static", "d": "difference"}.items():
        own = scores[kinds[kind]][..., halves[kind]]
        rebuilt = torch.stack([with_norm(state, f"g{kind}", view) for view in own])
        terms[f"rebuild_{name}"] = -F.cosine_similarity(f[kinds[kind]], rebuilt, dim=-1).mean()
        parts = torch.stack([attention(state, view, banks[kind][halves[kind]]) for view in maps[kinds[kind]]])
        terms[f"local_{name}"] = local_contrast(parts, own)
    return terms


def test_imported_backbone_matches_the_original(state, net):
    clips = torch.randn(2, 3, 9, 32, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = feature_map(state, clips), net.backbone(clips)
    assert found.shape == (2, 512, 2, 2, 3)
    assert expected.std() > 0.1  # not constant
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.std().item())


def test_every_loss_term_matches_the_original(state, imported):
    net = network(imported)
    rng = torch.Generator().manual_seed(2)
    clips, stills = (torch.randn(3, 2, 3, frames, 32, 32, generator=rng) for frames in (8, 1))
    net.before_step(10)  # with the queue and the local terms
    with torch.no_grad():
        expected = original_terms(state, six_views(clips, stills, wrapped=True).unflatten(0, (6, -1)))
        found = net({"clips": clips, "stills": stills})
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-4, abs=1e-5), name
    weighted = {name: (0.1 if "entropy" in name else 1) * value for name, value in expected.items()}
    assert found["loss"].item() == pytest.approx(sum(weighted.values()).item(), rel=1e-4)


# The tables.


def test_every_tensor_is_copied_except_an_unused_classifier(state, imported, net):
    ours = net.state_dict()
    assert set(imported.used) | set(imported.left) == set(state)
    assert set(imported.left) == {"backbone.fc.weight", "backbone.fc.bias"}
    assert sorted(imported.used.values()) == sorted(ours)
    for theirs, key in imported.used.items():
        torch.testing.assert_close(ours[key], state[theirs], rtol=0, atol=0)


def test_concepts_and_queue_size_come_from_the_checkpoint(state):
    fewer = dict(state)
    for key in ("prototype", "prototype_s", "prototype_d"):
        fewer[f"{key}.weight"] = torch.randn(100, 512)
    fewer |= {"gv.0.weight": torch.randn(512, 100), "queue": torch.randn(256, 6, 100)}
    fewer |= {f"{key}.0.weight": torch.randn(512, 50) for key in ("gs", "gd")}
    imported = concepts.convert(fewer)
    assert imported.recipe == "concepts/r2plus1d10_ucf101.yaml"
    assert imported.config.plan.reference.gray_per_frame
    assert (imported.config.net.concepts, imported.config.net.queue_size) == (50, 256)
    torch.testing.assert_close(network(imported).queue, fewer["queue"], rtol=0, atol=0)


# The recipes.


@pytest.mark.parametrize("name", ["ucf101", "hmdb51"])
def test_finetuning_recipes_train_the_backbone_at_a_tenth_of_the_rate(name):
    config = load(CONFIGS / f"recognition/concepts_r2plus1d10_{name}.yaml")
    net = Classifier(backbones.create(config.backbone), 101, config.net)
    optimizer = make_optimizer(net, config.optim)
    sizes = {group["lr_factor"]: sum(p.numel() for p in group["params"]) for group in optimizer.param_groups}
    assert sizes == {0.1: 12_487_005, 1.0: 512 * 101 + 101}
