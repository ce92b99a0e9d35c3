"""Import of CPC with a Transformer, against the arithmetic of specs/cpc_transformer.md 3 on the original keys."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from configs.load import load
from configs.recipes import CONFIGS
from dali_pipelines.tasks.evaluation import clips_of
from nets import backbones
from nets.classifier import Classifier
from tests.helpers.dpc_original import contrast, last_state, with_second_names
from tests.helpers.originals import linear, normed, state_like
from trainers.engine.optimizers import make_optimizer
from trainers.weights import Weights
from trainers.weights.imports import cpc_transformer, network

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pretraining():
    return with_second_names(state_like("cpc_transformer__pretrain_r18_224_5pred3"))


@pytest.fixture(scope="module")
def classifier():
    return with_second_names(state_like("cpc_transformer__classifier_r18_224_ucf101"))


@pytest.fixture(scope="module")
def clips():
    return torch.randn(2, 3, 5, 64, 96, generator=torch.Generator().manual_seed(1))


# The original, step by step.


def frame_maps(state, clips):
    """Apply the ResNet of 3.1 to each frame: (B, 3, N, H, W) -> (B, N, 256, H/32, W/32)."""
    x = clips.transpose(1, 2).flatten(0, 1)
    x = F.relu(normed(state, "backbone.bn1", F.conv2d(x, state["backbone.conv1.weight"], stride=2, padding=3)))
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            key, stride = f"backbone.layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = F.conv2d(x, state[f"{key}.conv1.weight"], stride=stride, padding=1)
            y = F.relu(normed(state, f"{key}.bn1", y))
            y = normed(state, f"{key}.bn2", F.conv2d(y, state[f"{key}.conv2.weight"], padding=1))
            if stride == 2:
                x = F.conv2d(x, state[f"{key}.downsample.0.weight"], stride=2)
                x = normed(state, f"{key}.downsample.1", x)
            x = x + y if (stage, block) == (4, 1) else F.relu(x + y)
    return x.unflatten(0, (len(clips), -1))


def layer_norm(state, key, x):
    """Normalize as in 3.3, with the unbiased standard deviation."""
    scaled = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True, unbiased=True) + 1e-6)
    return state[f"{key}.a_2"] * scaled + state[f"{key}.b_2"]


def transformed(state, maps):
    """Apply the Transformer of 3.2 and 3.3 to maps (B, N, 256, h, w), head by head, without a mask."""
    batch, _, _, height, width = maps.shape
    x = maps.permute(0, 1, 3, 4, 2).reshape(batch, -1, 256)
    for layer in (0, 1):
        key = f"transEnc.transEncoder.layers.{layer}"
        y = layer_norm(state, f"{key}.sublayer.0.norm", x)
        q, k, v = (linear(state, f"{key}.self_attn.linears.{number}", y) for number in range(3))
        heads = [slice(64 * head, 64 * (head + 1)) for head in range(4)]
        weights = [torch.softmax(q[..., head] @ k[..., head].transpose(1, 2) / 64**0.5, dim=-1) for head in heads]
        mixed = torch.cat([weight @ v[..., head] for weight, head in zip(weights, heads, strict=True)], dim=-1)
        x = x + linear(state, f"{key}.self_attn.linears.3", mixed)
        y = layer_norm(state, f"{key}.sublayer.1.norm", x)
        y = F.relu(linear(state, f"{key}.feed_forward.w_1", y))
        x = x + linear(state, f"{key}.feed_forward.w_2", y)
    x = layer_norm(state, "transEnc.transEncoder.norm", x)
    return x.reshape(batch, -1, height, width, 256).permute(0, 1, 4, 2, 3)


def original_logits(state, clips):
    """Return the logits of 3.7, without dropout."""
    z = transformed(state, F.relu(frame_maps(state, clips)))
    pooled = last_state(state, F.relu(z)).mean((-2, -1))
    return linear(state, "final_fc.1", normed(state, "final_bn", pooled))


@torch.no_grad()
def test_imported_pretraining_matches_the_original(pretraining, clips):
    net = network(cpc_transformer.convert(pretraining))
    features = last_state(pretraining, F.relu(transformed(pretraining, frame_maps(pretraining, clips))))
    torch.testing.assert_close(net.backbone(clips), features.unsqueeze(2), rtol=1e-4, atol=2e-5)
    loss, top1 = contrast(pretraining, transformed(pretraining, frame_maps(pretraining, clips)), pred_steps=3)
    found = net({"clips": clips})
    assert found["loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert found["top1"].item() == pytest.approx(top1.item())


@torch.no_grad()
def test_imported_classifier_matches_the_original(classifier, clips):
    net = network(cpc_transformer.convert(classifier))
    logits = original_logits(classifier, clips)
    assert logits.shape == (2, 101)
    assert isinstance(net, Classifier)
    torch.testing.assert_close(net.logits(clips), logits, rtol=1e-4, atol=1e-4)


# The tables.


@pytest.mark.parametrize("name", ["pretraining", "classifier"])
def test_every_tensor_is_copied_except_merged_attention_and_norms(name, request):
    state = request.getfixturevalue(name)
    imported = cpc_transformer.convert(state)
    ours = network(imported).state_dict()
    assert set(imported.used) | set(imported.left) == set(state)
    assert set(imported.used.values()) == set(ours)
    for theirs, key in imported.used.items():
        place = int(theirs.split("linears.")[1][0]) if "in_proj" in key else None
        found = ours[key] if place is None else ours[key].chunk(3)[place]
        expected = state[theirs] * (255 / 256) ** 0.5 if theirs.endswith("a_2") else state[theirs]
        torch.testing.assert_close(found, expected, rtol=1e-6 if theirs.endswith("a_2") else 0, atol=0)


def test_unused_weights_have_the_published_number(pretraining):
    """specs/cpc_transformer.md 3: an unused classifier, the layer template, the recurrent unit's second name."""
    sizes: dict[str, int] = {}
    for key, reason in cpc_transformer.convert(pretraining).left.items():
        kind = reason.split(" of agg")[0]
        sizes[kind] = sizes.get(kind, 0) + pretraining[key].numel()
    assert sorted(sizes.values()) == sorted([262_656, 1_314_048, 393_984, 500 * 256])


def test_the_recipe_has_the_originals_training_settings(pretraining):
    """specs/cpc_transformer.md 1, 3.4, 8: the future leaks, and training uses the list of split 3."""
    config = cpc_transformer.convert(pretraining).config
    assert (config.net.reference.leak, config.data.list) == (True, "trainlist03.txt")
    assert (config.plan.num_frames, config.plan.size, config.net.pred_steps) == (5, 224, 3)


@pytest.mark.parametrize(("classes", "dataset"), [(101, "ucf101"), (51, "hmdb51")])
def test_the_number_of_classes_chooses_the_dataset(classifier, classes, dataset):
    imported = cpc_transformer.convert(
        classifier | {"final_fc.1.weight": torch.randn(classes, 256), "final_fc.1.bias": torch.randn(classes)}
    )
    assert imported.config.data.root == f"data/{dataset}"
    net = network(imported)
    assert isinstance(net, Classifier)
    assert net.linear.out_features == classes


def test_an_imported_backbone_loads_into_the_finetuning_recipe(pretraining):
    model = cpc_transformer.convert(pretraining).model
    weights = Weights(Path("imported.pt"), "resnet18_transformer", model, config=None)
    recipe = load(CONFIGS / "recognition/cpc_transformer_ucf101.yaml")
    backbone = backbones.create(recipe.backbone)
    weights.load_backbone(backbone, recipe.backbone)
    assert backbone.get_parameter("gru.out.weight").equal(pretraining["agg.cell_list.0.out_gate.weight"])


# The recipes.


@pytest.mark.parametrize("name", ["ucf101", "hmdb51"])
def test_finetuning_recipes_train_the_backbone_at_a_tenth_of_the_rate(name):
    config = load(CONFIGS / f"recognition/cpc_transformer_{name}.yaml")
    net = Classifier(backbones.create(config.backbone), 101, config.net)
    sizes = {
        group["lr_factor"]: sum(p.numel() for p in group["params"])
        for group in make_optimizer(net, config.optim).param_groups
    }
    head = 2 * 256 + 256 * 101 + 101
    assert sizes == {0.1: 5_210_176 + 2_630_656, 1.0: 393_984 + head}


def test_windows_of_a_test_do_not_overlap():
    """specs/cpc_transformer.md 1; if frames are left over, one more window ends with the video."""
    plan = load(CONFIGS / "recognition/cpc_transformer_ucf101.yaml").plan
    clips = clips_of(63, np.random.default_rng(0), plan)
    np.testing.assert_array_equal(clips, np.arange(0, 63, 3).reshape(3, 7))
    assert clips_of(70, np.random.default_rng(0), plan)[:, 0].tolist() == [0, 21, 42, 49]
