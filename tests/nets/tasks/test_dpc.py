"""DPC: blocks and crops of its plan, figures of its network, and its predictions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.models import resnet18

from configs.errors import UserError
from dali_pipelines.loader import ClipLoader
from dali_pipelines.tasks import Task
from dali_pipelines.tasks.dpc import Config as Plan
from nets import backbones
from nets.dense_cpc import Config
from nets.tasks.dpc import build
from tests.helpers.plans import plans
from tests.helpers.training import count, train_on


def schema(num_blocks=8, num_frames=5, size=128):
    return {"clips": ((num_blocks, 3, num_frames, size, size), "float32")}


def small(backbone="r3d_tiny", *, num_blocks=4, pred_steps=2):
    torch.manual_seed(0)
    return build(backbone, schema(num_blocks=num_blocks), Config(pred_steps=pred_steps))


def clips(batch_size=2, num_blocks=4, num_frames=4, size=32, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(batch_size, num_blocks, 3, num_frames, size, size, generator=rng)


# The plan.


def test_blocks_are_adjacent_and_span_118_frames():
    frames = np.array([plan["frames"] for plan in plans("dpc", Plan(), 60, num_frames=124)])
    assert frames.shape == (60, 40)
    assert (np.diff(frames) == 3).all()
    assert set(frames[:, 0]) == set(range(124 - 120))


def test_crops_by_area_take_half_of_the_picture_or_more():
    drawn = plans("dpc", Plan(area=(0.5, 1.0)), 600)
    top, left, bottom, right = np.array([(*plan["crop_start"][0], *plan["crop_end"][0]) for plan in drawn]).T
    height, width = bottom - top, np.abs(right - left)
    share = height * width / (240 * 320)
    assert share.min() > 0.49
    assert share.max() > 0.8
    assert (width / height).min() < 0.8
    assert (width / height).max() > 1.25
    assert ((top >= 0) & (bottom <= 240) & (np.minimum(left, right) >= 0) & (np.maximum(left, right) <= 320)).all()
    assert abs((left > right).mean() - 0.5) < 0.08


def test_the_loader_orders_blocks_in_time(vp9_store):
    """Three short blocks have the frames of two long ones; the store's videos move, so blocks differ."""
    blocks = Plan(num_blocks=3, num_frames=4, stride=2, size=48, crop_size=96, short_sides=(160,))
    whole = Plan(num_blocks=2, num_frames=6, stride=2, size=48, crop_size=96, short_sides=(160,))
    cut, uncut = (next(iter(ClipLoader(vp9_store, Task("dpc", cfg), batch_size=3)))["clips"] for cfg in (blocks, whole))
    assert cut.shape == (3, 3, 3, 4, 48, 48)
    assert torch.equal(cut.movedim(1, 2).flatten(2, 3), uncut.movedim(1, 2).flatten(2, 3))
    assert not torch.equal(cut[:, 0], cut[:, 1])


# Figures of the original.


def test_feature_maps_have_the_published_grid():
    with torch.device("meta"):
        backbone = backbones.create("r2d3d18")
        for size, grid in ((128, 4), (224, 7)):
            assert backbone(torch.empty(2, 3, 5, size, size)).shape == (2, 256, 2, grid, grid)


def test_first_two_stages_do_not_mix_frames():
    backbone = backbones.create("r2d3d18").eval()
    x = torch.randn(1, 3, 5, 32, 32, generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[:, :, 0] = 0
    before_3d = torch.nn.Sequential(*[*backbone.children()][:3])
    with torch.no_grad():
        one, two = before_3d(x), before_3d(other)
    assert one.shape[2] == 5
    assert torch.equal(one[:, :, 1:], two[:, :, 1:])
    assert not torch.equal(one[:, :, 0], two[:, :, 0])


def test_on_one_frame_the_network_is_torchvisions_2d_resnet():
    """On a single frame, padded in time, a 3D convolution is the 2D convolution of its middle slice."""
    torch.manual_seed(0)
    ours, theirs = backbones.create("r2d3d18").eval(), resnet18().eval()
    theirs.conv1.weight.data = ours.state_dict()["stem.0.weight"][:, :, 0]
    for number in (1, 2, 3):
        our_layer, their_layer = getattr(ours, f"layer{number}"), getattr(theirs, f"layer{number}")
        for block, their_block in zip(our_layer, their_layer, strict=True):
            middle = block.conv1[0].weight.shape[2] // 2
            their_block.conv1.weight.data = block.conv1[0].weight.data[:, :, middle]
            their_block.conv2.weight.data = block.conv2[0].weight.data[:, :, middle]
            if block.downsample is not None:
                their_block.downsample[0].weight.data = block.downsample[0].weight.data[:, :, 0]
    picture = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        got = torch.nn.Sequential(*[*ours.children()][:4])(picture[:, :, None])
        expected = theirs.maxpool(F.relu(theirs.bn1(theirs.conv1(picture))))
        expected = theirs.layer3(theirs.layer2(theirs.layer1(expected)))
        features = ours(picture[:, :, None])
    torch.testing.assert_close(got[:, :, 0], expected, rtol=1e-4, atol=1e-4)
    assert features.min() < 0  # the last block has no final ReLU
    assert got.min() == 0


def test_parameter_count_is_the_sum_of_its_stages():
    with torch.device("meta"):
        model = build("r2d3d18", schema(), Config())
    # Convolutions of 9 or 27 times input times output channels, batch norms, and three 1x1 shortcuts.
    stem = 3 * 64 * 49 + 128
    layer1 = 4 * (9 * 64 * 64 + 128)
    layer2 = 9 * 128 * (64 + 3 * 128) + 4 * 256 + 64 * 128 + 256
    layer3 = 27 * 256 * (128 + 3 * 256) + 4 * 512 + 128 * 256 + 512
    layer4 = 27 * 256 * (4 * 256) + 4 * 512 + 256 * 256 + 512
    assert count(model.backbone) == stem + layer1 + layer2 + layer3 + layer4 == 14_057_536
    assert count(model.gru) == 393_984
    assert count(model.predictor) == 131_584


# Predictions.


def test_loss_matches_an_unrolled_reference():
    model = small().eval()
    x = clips()
    with torch.no_grad():
        maps = torch.stack([model.backbone(x[:, n]).mean(dim=2) for n in range(4)], dim=1)
        start = model.gru(F.relu(maps[:, 0]), torch.zeros_like(maps[:, 0]))
        state = model.gru(F.relu(maps[:, 1]), start)
        first = model.predictor(state)
        second = model.predictor(model.gru(F.relu(first), state))
        rows, keys = (
            torch.stack(x, 1).movedim(2, -1).flatten(0, 3) for x in ((first, second), (maps[:, 2], maps[:, 3]))
        )
        expected = F.cross_entropy(rows @ keys.T, torch.arange(len(rows)))
        got = model({"clips": x})
    assert got["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert got["chance"].item() == pytest.approx(1 / len(rows))


def test_context_is_rectified_and_targets_are_not():
    model = small("r2d3d18")
    seen = []
    model.gru.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    found = []
    model.backbone.register_forward_hook(lambda *call: found.append(call[-1]))
    model({"clips": clips(size=64)})
    assert found[0].min() < 0
    assert all(x.min() == 0 for x in seen[:2])


def test_a_few_steps_fit_one_batch():
    model = small()
    result = train_on({"clips": clips()}, model, steps=40)
    assert result["chance"].item() == pytest.approx(1 / 16)
    assert result["top1"].item() > 0.7


def test_predicting_all_blocks_is_refused():
    with pytest.raises(UserError, match=r"pred_steps = 8.*plan.num_blocks = 8"):
        build("r3d_tiny", schema(), Config(pred_steps=8))
