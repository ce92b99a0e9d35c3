"""CPC with a Transformer: figures of the original, other implementations, and which frames see which."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.models import resnet18
from torchvision.models.resnet import BasicBlock

from configs.errors import UserError
from nets.backbones.frame_transformer import FrameTransformer, frame_resnet
from nets.dense_cpc import predict_next, predictor
from nets.losses import dense_infonce
from nets.tasks.cpc_transformer import Config, Reference, build
from tests.helpers.training import count, train_on


def schema(num_frames=5, size=224):
    return {"clips": ((3, num_frames, size, size), "float32")}


def on_meta(backbone="resnet18_transformer", **options):
    with torch.device("meta"):
        return build(backbone, schema(), Config(**options))


def small(*, leak=False, pred_steps=2):
    torch.manual_seed(0)
    cfg = Config(pred_steps=pred_steps, reference=Reference(leak=leak))
    return build("resnet_tiny_transformer", schema(size=32), cfg)


def clips(batch_size=2, num_frames=5, size=32, seed=0):
    return torch.randn(batch_size, 3, num_frames, size, size, generator=torch.Generator().manual_seed(seed))


# Figures of the original.


def test_parameter_counts_match_those_the_original_uses():
    model = on_meta()
    assert count(model.backbone.resnet) == 5_210_176
    assert count(model.backbone.transformer) == 2_630_656
    assert count(model.backbone.gru) == 393_984
    assert count(model.predictor) == 131_584
    unused = 262_656 + 1_314_048  # a classifier and the template of the Transformer's layers
    assert count(model) + unused == 9_943_104


@pytest.mark.parametrize(("size", "grid"), [(128, 4), (196, 7), (224, 7)])
def test_maps_have_the_published_grid(size, grid):
    backbone = on_meta().backbone
    x = torch.empty(2, 3, 5, size, size, device="meta")
    assert backbone.encode(x).shape == (2, 5, 256, grid, grid)
    assert backbone.attend(backbone.encode(x)).shape == (2, 5, 256, grid, grid)
    assert backbone(x).shape == (2, 256, 1, grid, grid)
    assert [math.ceil(side / stride) for side, stride in zip((5, size, size), backbone.stride, strict=True)] == [
        *backbone(x).shape[2:]
    ]


def test_initial_loss_matches_the_original():
    """specs/cpc_transformer.md 4: dot products have a deviation of about 2.5, so the loss is well above ln 96."""
    torch.manual_seed(0)
    model = build("resnet18_transformer", schema(), Config())
    result = model({"clips": clips(size=128)})
    assert result["chance"].item() == pytest.approx(1 / 96)
    assert math.log(96) + 1 < result["loss"].item() < 10
    assert result["top1"] < 0.1


def test_initial_attention_matrices_are_orthogonal_and_norms_one():
    layer = small().backbone.transformer.layers[1]
    for matrix in (*layer.self_attn.in_proj_weight.chunk(3), layer.self_attn.out_proj.weight):
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(64), atol=1e-5, rtol=0)
    assert (layer.norm1.weight == 1).all()
    assert not any(p.any() for name, p in layer.named_parameters() if name.endswith("bias"))


def test_layers_have_different_initial_weights():
    one, two = small().backbone.transformer.layers
    assert not torch.equal(one.linear1.weight, two.linear1.weight)


# Other implementations.


def test_resnet_matches_torchvisions_except_the_last_stage():
    torch.manual_seed(0)
    ours, theirs = frame_resnet((64, 128, 256, 256), blocks=2), resnet18()
    stages = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
    for name in stages:
        getattr(theirs, name).load_state_dict(getattr(ours, name).state_dict())
    x = torch.randn(2, 3, 64, 64)
    expected = x
    for name in stages:
        expected = getattr(theirs, name)(expected)
    first, last = ours[-1].children()
    assert isinstance(last, BasicBlock)
    expected = first(expected)
    residual = expected
    expected = last.bn2(last.conv2(F.relu(last.bn1(last.conv1(expected))))) + residual
    got = ours(x)
    torch.testing.assert_close(got, expected)
    assert (got < 0).any()
    assert first(torch.randn(2, 256, 4, 4)).min() == 0  # only the last block lacks the ReLU


def slow_attention(layer, x_NC):
    """Apply one layer to the tokens of one clip (N, C), head by head."""
    channels, heads = x_NC.shape[1], 4
    width = channels // heads
    q, k, v = F.linear(layer.norm1(x_NC), layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias).chunk(3, dim=1)
    mixed = torch.empty_like(x_NC)
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        weights = (q[:, part] @ k[:, part].T / math.sqrt(width)).softmax(dim=1)
        mixed[:, part] = weights @ v[:, part]
    x_NC = x_NC + F.linear(mixed, layer.self_attn.out_proj.weight, layer.self_attn.out_proj.bias)
    return x_NC + layer.linear2(F.relu(layer.linear1(layer.norm2(x_NC))))


@torch.no_grad()
def test_attend_matches_the_specs_transformer():
    backbone = small().backbone.eval()
    maps = torch.randn(2, 3, 64, 2, 4, generator=torch.Generator().manual_seed(1))
    got = backbone.attend(maps)
    for b in range(2):
        tokens = torch.stack([maps[b, t, :, y, x] for t in range(3) for y in range(2) for x in range(4)])
        for layer in backbone.transformer.layers:
            tokens = slow_attention(layer, tokens)
        mean, std = tokens.mean(1, keepdim=True), tokens.std(1, keepdim=True, unbiased=False)
        for n, token in enumerate((tokens - mean) / std):
            torch.testing.assert_close(got[b, n // 8, :, n // 4 % 2, n % 4], token, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_predictions_match_an_unrolled_reference():
    torch.manual_seed(0)
    gru, head = small().backbone.gru.eval(), predictor(64)
    context = torch.rand(2, 3, 64, 2, 2)
    state = gru(context[:, 2], gru(context[:, 1], gru(context[:, 0], torch.zeros(2, 64, 2, 2))))
    first = head(state)
    state = gru(F.relu(first), state)
    second = head(state)
    third = head(gru(F.relu(second), state))
    torch.testing.assert_close(predict_next(gru, head, context, 3), torch.stack([first, second, third], dim=1))


def test_dense_infonce_matches_a_slow_reference():
    rng = torch.Generator().manual_seed(0)
    predicted, target = torch.randn(2, 2, 2, 3, 2, 2, generator=rng).unbind(0)
    keys = [target[b, n, :, y, x] for b, n, y, x in np.ndindex(2, 2, 2, 2)]
    losses, hits = [], []
    for row, (b, n, y, x) in enumerate(np.ndindex(2, 2, 2, 2)):
        scores = torch.stack([predicted[b, n, :, y, x] @ key for key in keys])
        losses.append(scores.logsumexp(0) - scores[row])
        hits.append(float(scores.argmax() == row))
    result = dense_infonce(predicted, target)
    assert result["loss"].item() == pytest.approx(np.mean(losses), rel=1e-5)
    assert result["top1"].item() == pytest.approx(np.mean(hits))
    assert result["chance"].item() == pytest.approx(1 / 16)


# Which frames see which.


def changed(x, frames):
    x = x.clone()
    x[:, :, frames] = clips(seed=1)[:, :, frames]
    return x


@torch.no_grad()
@pytest.mark.parametrize("leak", [False, True])
@pytest.mark.parametrize("frames", [slice(0, 3), slice(3, 5)], ids=["observed", "future"])
def test_only_the_leak_lets_observed_and_future_frames_interact(leak, frames):
    model = small(leak=leak).eval()
    context, target = model.context_and_target(clips())
    other_context, other_target = model.context_and_target(changed(clips(), frames))
    assert context.shape[1] == 3
    assert target.shape[1] == 2
    touched = frames.start == 0
    assert torch.equal(context, other_context) == (not touched and not leak)
    assert torch.equal(target, other_target) == (touched and not leak)


@torch.no_grad()
def test_frames_of_the_same_side_attend_to_each_other():
    model = small().eval()
    context, target = model.context_and_target(clips())
    other_context, _ = model.context_and_target(changed(clips(), slice(0, 1)))
    _, other_target = model.context_and_target(changed(clips(), slice(4, 5)))
    assert not torch.equal(context[:, 2], other_context[:, 2])
    assert not torch.equal(target[:, 0], other_target[:, 0])


@torch.no_grad()
def test_features_depend_on_frame_order_and_attention_does_not():
    backbone = small().backbone.eval()
    maps = backbone.encode(clips())
    torch.testing.assert_close(backbone.attend(maps.flip(1)), backbone.attend(maps).flip(1), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(backbone(clips()), backbone(clips().flip(2)), atol=1e-3)


def test_context_is_rectified_and_targets_are_not():
    context, target = small().context_and_target(clips())
    assert context.min() == 0
    assert target.min() < 0


# Training.


@pytest.mark.parametrize("leak", [False, True])
def test_targets_carry_a_gradient(leak):
    assert small(leak=leak).context_and_target(clips())[1].requires_grad


@pytest.mark.slow
def test_a_few_steps_fit_one_batch():
    model = small()
    result = train_on({"clips": clips()}, model, steps=40)
    assert result["chance"].item() == pytest.approx(1 / 16)
    assert result["top1"].item() > 0.7


# Other inputs and backbones.


def test_any_number_of_frames_gives_one_feature_map():
    backbone = small().backbone
    assert isinstance(backbone, FrameTransformer)
    for num_frames in (1, 7):
        assert backbone(clips(num_frames=num_frames)).shape == (2, backbone.out_channels, 1, 2, 2)


def test_a_backbone_without_a_transformer_is_refused():
    with pytest.raises(UserError, match=r"'r3d_tiny'.*resnet18_transformer"):
        build("r3d_tiny", schema(), Config())


def test_predicting_all_frames_is_refused():
    with pytest.raises(UserError, match=r"pred_steps = 5.*plan.num_frames = 5"):
        build("resnet_tiny_transformer", schema(), Config(pred_steps=5))
