"""Catch-the-Patch's network: figures of CtP's head, slow references, and learning."""

import math

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from configs.errors import UserError
from nets.tasks import build_task
from nets.tasks.ctp import Config, build, decode, encode, paired_iou
from tests.helpers.originals import shapes_of
from tests.helpers.training import count, train_on

STD = torch.tensor(Config().std)


def schema(num_frames=16, size=112, patches=3):
    return {
        "clips": ((3, num_frames, size, size), "float32"),
        "boxes": ((patches, num_frames, 4), "float32"),
        "index": ((), "int64"),
    }


def paper_model(backbone):
    with torch.device("meta"):
        return build(backbone, schema(), Config())


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build("r3d_tiny", schema(num_frames=8, size=64, patches=2), Config(hidden=64))


@pytest.fixture
def batch():
    """Make four clips of 8 frames, each with two uniformly moving boxes that the border may clip."""
    rng = torch.Generator().manual_seed(0)
    side = torch.randint(10, 30, (4, 2, 1, 2), generator=rng)
    speed = torch.randint(-3, 4, (4, 2, 1, 2), generator=rng)
    top_left = torch.randint(10, 30, (4, 2, 1, 2), generator=rng) + speed * torch.arange(8)[:, None]
    boxes = torch.cat([top_left, top_left + side], dim=-1).clamp(0, 64).float()
    return {"clips": torch.randn(4, 3, 8, 64, 64, generator=rng), "boxes": boxes, "index": torch.arange(4)}


# Figures of the original.


def test_parameter_counts_match_the_original():
    model = paper_model("r3d18")
    assert count(model.head.temporal_conv) == 524_800
    assert count(model.head.fc) == 6_554_112
    assert count(model.head.predict) == 32_832
    assert count(model.head) == 7_111_744
    assert count(model) == 40_278_016


@pytest.mark.parametrize("backbone", ["r3d18", "r2plus1d18"])
def test_state_dict_has_the_originals_shapes_in_order(backbone):
    original = shapes_of(f"ctp__ctp_{backbone}")
    ours = [list(value.shape) for value in paper_model(backbone).state_dict().values()]
    assert ours == list(original.values())


def test_initial_head_matches_the_original():
    torch.manual_seed(0)
    head = build("r3d_tiny", schema(), Config()).head
    assert head.temporal_conv.weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 2)), rel=0.05)
    assert head.fc.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert head.predict.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert not any(value.any() for name, value in head.state_dict().items() if name.endswith("bias"))


@pytest.mark.parametrize(("num_frames", "size", "patches"), [(16, 112, 3), (8, 64, 1), (24, 96, 5)])
def test_sizes_come_from_the_schema(num_frames, size, patches):
    with torch.device("meta"):
        model = build("r3d_tiny", schema(num_frames, size, patches), Config())
        clips, queries = torch.empty(2, 3, num_frames, size, size), torch.empty(2, patches, 4)
        features = model.backbone(clips)
        assert features.shape[2:] == (num_frames // 8, size // 8, size // 8)
        assert model.head(features, queries).shape == (2, patches, num_frames, 4)


# Boxes and loss.

sides = st.integers(1, 112)
box = st.tuples(st.integers(-50, 112), st.integers(-50, 112), sides, sides).map(
    lambda b: (*b[:2], b[0] + b[2], b[1] + b[3])
)


@settings(deadline=None)
@given(st.lists(box, min_size=2, max_size=16))
def test_decode_inverts_encode(boxes):
    boxes = torch.tensor(boxes, dtype=torch.float32)
    offsets = encode(boxes, STD)
    assert torch.equal(offsets[0], torch.zeros(4))
    torch.testing.assert_close(decode(offsets, boxes[0], STD), boxes, rtol=0, atol=2e-3)


def test_encode_measures_pixels_and_log_ratios_in_units_of_std():
    boxes = torch.tensor([[10.0, 20, 30, 40], [18, 20, 58, 50]])  # center 20,30 -> 38,35 and sides 20,20 -> 40,30
    expected = torch.tensor([18 / 0.8, 5 / 0.8, math.log(2) / 0.04, math.log(1.5) / 0.04])
    torch.testing.assert_close(encode(boxes, STD)[1], expected)


def test_a_box_without_area_counts_as_one_pixel():
    boxes = torch.tensor([[10.0, 10, 12, 12], [10, 10, 10, 10]])
    torch.testing.assert_close(encode(boxes, STD)[1, 2:], torch.full((2,), -math.log(2) / 0.04))


def slow_losses(prediction, boxes):
    """Return the two loss terms from their definition, one coordinate at a time."""
    terms = [0.0, 0.0]
    for b, r, t in np.ndindex(boxes.shape[:3]):
        (qx1, qy1, qx2, qy2), (x1, y1, x2, y2) = boxes[b, r, 0].tolist(), boxes[b, r, t].tolist()
        motion = [
            (x1 + x2 - qx1 - qx2) / 2,
            (y1 + y2 - qy1 - qy2) / 2,
            math.log((x2 - x1) / (qx2 - qx1)),
            math.log((y2 - y1) / (qy2 - qy1)),
        ]
        for axis, std in enumerate((0.8, 0.8, 0.04, 0.04)):
            error = abs(prediction[b, r, t, axis].item() - motion[axis] / std)
            terms[axis // 2] += 0.5 * error**2 if error < 1 else error - 0.5
    return [term / math.prod(boxes.shape[:3]) for term in terms]


def test_loss_matches_a_slow_reference(model, batch):
    nn.init.normal_(model.head.predict.bias)  # errors in both regimes of the smooth L1 loss
    seen = []
    model.head.register_forward_hook(lambda *call: seen.append(call[-1]))
    result = model(batch)
    center, size = slow_losses(seen[0], batch["boxes"])
    assert result["loss_center"].item() == pytest.approx(center, rel=1e-4)
    assert result["loss_size"].item() == pytest.approx(size, rel=1e-4)
    assert result["loss"].item() == pytest.approx(center + size, rel=1e-4)


def test_zero_loss_of_a_shift_has_its_closed_form(model, batch):
    still = batch["boxes"][:, :, :1]
    batch["boxes"] = torch.cat([still, still.expand(-1, -1, 7, -1) + torch.tensor([4.0, 0, 4, 0])], dim=2)
    assert model(batch)["zero_loss"].item() == pytest.approx(7 / 8 * (4 / 0.8 - 0.5), rel=1e-5)


def test_zero_loss_equals_the_loss_of_a_zero_last_layer(model, batch):
    before = model(batch)["zero_loss"].item()
    nn.init.zeros_(model.head.predict.weight)
    result = model(batch)
    assert result["loss"].item() == pytest.approx(before, rel=1e-6)
    assert result["zero_loss"].item() == before
    assert result["iou"].item() == pytest.approx(result["chance"].item())


class PerfectHead(nn.Module):
    def __init__(self, boxes):
        super().__init__()
        self.boxes = boxes

    def forward(self, features, queries):
        return encode(self.boxes, STD)


def test_perfect_prediction_has_zero_loss_and_full_iou(model, batch):
    model.head = PerfectHead(batch["boxes"])
    result = model(batch)
    assert result["loss"] == 0
    assert result["iou"].item() == pytest.approx(1, abs=1e-4)


def test_paired_iou_matches_torchvisions_box_iou():
    corners = torch.rand(50, 2, 2, 2, generator=torch.Generator().manual_seed(0)).mul(40).sort(dim=-2).values
    boxes_a, boxes_b = corners.flatten(2).unbind(dim=1)
    expected = torchvision.ops.box_iou(boxes_a, boxes_b).diagonal()
    assert (expected == 0).any()  # some pairs do not overlap
    torch.testing.assert_close(paired_iou(boxes_a, boxes_b), expected)


# The head.


def slow_roi_align(feature_map, box, scale):
    """Pool a box into 5x5 cells, each the mean of 2x2 bilinear samples: (C, H, W) and (4,) -> (C, 5, 5)."""
    channels, height, width = feature_map.shape
    x1, y1, x2, y2 = box * scale - 0.5  # pixel centers at integers
    cells = np.zeros((channels, 5, 5))
    for row, col, i, j in np.ndindex(5, 5, 2, 2):
        y = np.clip(y1 + (row + (i + 0.5) / 2) * (y2 - y1) / 5, 0, height - 1)
        x = np.clip(x1 + (col + (j + 0.5) / 2) * (x2 - x1) / 5, 0, width - 1)
        top, left = min(int(y), height - 2), min(int(x), width - 2)
        dy, dx = y - top, x - left
        upper = feature_map[:, top, left] * (1 - dx) + feature_map[:, top, left + 1] * dx
        lower = feature_map[:, top + 1, left] * (1 - dx) + feature_map[:, top + 1, left + 1] * dx
        cells[:, row, col] += (upper * (1 - dy) + lower * dy) / 4
    return cells


def test_head_pools_boxes_as_a_slow_reference():
    torch.manual_seed(0)
    head = build("r3d_tiny", schema(num_frames=16, size=64), Config()).head
    features = torch.randn(2, 64, 2, 8, 8)
    queries = torch.tensor([[[0.0, 0, 20, 30], [40, 33, 64, 64]], [[3, 5, 9, 11], [0, 0, 64, 64]]])
    seen = []
    head.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    head(features, queries)

    state = head.temporal_conv.state_dict()
    weight, bias = state["weight"][..., 0, 0], state["bias"]
    maps = np.einsum("bcthw,oct->bohw", features, weight) + bias.numpy()[:, None, None]
    maps = np.maximum(maps, 0)
    expected = [slow_roi_align(maps[b], queries[b, r].numpy(), 1 / 8).ravel() for b in range(2) for r in range(2)]
    np.testing.assert_allclose(seen[0].detach().numpy(), np.stack(expected), rtol=1e-3, atol=1e-4)


# Training.


@pytest.mark.slow
def test_a_few_steps_beat_the_zero_prediction(model, batch):
    result = train_on(batch, model, steps=70)
    assert result["loss"].item() < 0.25 * result["zero_loss"].item()
    assert result["iou"].item() > 0.8


# Names.


@pytest.mark.parametrize("name", ["CTP", "../ctp", "__init__"])
def test_unknown_task_lists_the_known_ones(name):
    with pytest.raises(UserError, match=rf"no task '{name}'.*ctp"):
        build_task(name, "r3d_tiny", schema(), Config())
