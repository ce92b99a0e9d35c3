"""MemDPC: the blocks of a long clip, and both directions of prediction against a slow reference."""

import math

import numpy as np
import pytest
import torch

from configs.errors import UserError
from dali_pipelines.loader import ClipLoader
from dali_pipelines.tasks import Task
from dali_pipelines.tasks import memdpc as data
from nets.dense_cpc import Config, predict_last
from nets.tasks.memdpc import MemDPC, build
from tests.helpers.plans import video
from tests.helpers.training import count, train_on

# The plan.


def test_40_frames_three_apart_start_uniformly():
    rng = np.random.default_rng(0)
    frames = np.array([data.plan(video(130), rng, data.Config())["frames"] for _ in range(2000)])
    assert (np.diff(frames, axis=1) == 3).all()
    assert frames.shape[1] == 40
    starts = np.bincount(frames[:, 0], minlength=10) / len(frames)
    assert starts == pytest.approx(np.full(10, 0.1), abs=0.025)  # 0 to N - 121


def test_a_video_of_121_frames_has_one_start():
    for seed in range(20):
        assert data.plan(video(121), np.random.default_rng(seed), data.Config())["frames"][0] == 0


def test_too_short_videos_are_named(vp9_store):
    cfg = data.Config(num_blocks=4, num_frames=3, stride=4, size=32, short_sides=(32,))  # 49 frames
    loader = ClipLoader(vp9_store, Task("memdpc", cfg), batch_size=1)
    long_enough = vp9_store.num_frames >= 49
    assert 0 < long_enough.sum() < len(vp9_store)
    assert list(loader.too_short) == [vp9_store.names.text(row) for row in np.flatnonzero(~long_enough)]


def test_all_blocks_share_one_color_jitter():
    rng = np.random.default_rng(0)
    plans = [data.plan(video(300), rng, data.Config()) for _ in range(1000)]
    offsets = np.array([plan["color_offset"] for plan in plans])
    assert (offsets == offsets[:, :1]).all()
    assert all((plan["color_matrix"] == plan["color_matrix"][0]).all() for plan in plans)
    assert (offsets[:, 0, 0] != 0).mean() == pytest.approx(0.2, abs=0.04)  # brightness


def test_a_batch_has_the_blocks_in_order(vp9_store):
    def frames_of(num_blocks: int, num_frames: int) -> torch.Tensor:
        cfg = data.Config(num_blocks=num_blocks, num_frames=num_frames, stride=2, size=32, short_sides=(32,))
        clips_BNCTHW = next(iter(ClipLoader(vp9_store, Task("memdpc", cfg), batch_size=3)))["clips"]
        assert clips_BNCTHW.shape == (3, num_blocks, 3, num_frames, 32, 32)
        return clips_BNCTHW.movedim(3, 2).flatten(1, 2)

    # The frames do not depend on how they are cut into blocks.
    assert torch.equal(frames_of(2, 6), frames_of(6, 2))


def test_notes_name_the_frames_of_every_block():
    cfg = data.Config(num_blocks=2, num_frames=3)
    plan = {"frames": np.arange(7, 25, 3)}
    assert data.annotate(plan, cfg).captions == ["block 1, frames 7 to 13", "block 2, frames 16 to 22"]


# The network.


def make(blocks: int = 5, pred_steps: int = 2) -> MemDPC:
    torch.manual_seed(0)
    return build("r3d_tiny", {"clips": ((blocks, 3, 4, 32, 32), "float32")}, Config(pred_steps=pred_steps))


@torch.no_grad()
def make_with_large_weights() -> MemDPC:
    """Make a network without dropout, with weights large enough for predictions to differ by position."""
    net = make().eval()
    for part, gain in ((net.project, 30), (net.forward_gru, 10), (net.backward_gru, 10), (net.memory.choose, 100)):
        for parameter in part.parameters():
            parameter.mul_(gain)
    return net


@pytest.fixture
def batch():
    return {"clips": torch.randn(2, 5, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))}


def test_parameter_counts_and_features_match_the_original():
    with torch.device("meta"):
        net = build("r3d18", {"clips": ((8, 3, 5, 112, 112), "float32")}, Config())
        features = net.backbone(torch.empty(2, 3, 5, 112, 112))
    assert features.shape == (2, 512, 2, 7, 7)
    assert count(net.project) == 131_328
    assert net.memory.slots.shape == (1024, 256)
    assert count(net.forward_gru) == count(net.backward_gru) == 393_984
    assert count(net.memory.choose) == 328_960
    assert count(net.backbone) == 33_166_272


def test_initial_weights_are_orthogonal_with_gain_0_1():
    net = make()
    parts = (net.project, net.forward_gru, net.backward_gru, net.memory.choose)
    parameters = [item for part in parts for item in part.named_parameters()]
    assert len(parameters) == 2 * (1 + 3 + 3 + 2)
    for name, parameter in parameters:
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            rows = parameter.flatten(1)
            rows = rows if len(rows) <= rows.shape[1] else rows.T
            torch.testing.assert_close(rows @ rows.T, 0.01 * torch.eye(len(rows)), atol=1e-5, rtol=0)
    assert net.memory.slots.mean().item() == pytest.approx(0, abs=0.01)
    assert net.memory.slots.std().item() == pytest.approx(1, abs=0.01)


def slow_gru(gru, x, h):
    """Compute one position of the recurrent unit by the formula in specs/ctp.md 1.2."""

    def linear(conv, values):
        return conv.weight[:, :, 0, 0] @ torch.cat(values) + conv.bias

    u, r = torch.sigmoid(linear(gru.update, (x, h))), torch.sigmoid(linear(gru.reset, (x, h)))
    return (1 - u) * h + u * torch.tanh(linear(gru.out, (x, r * h)))


def slow_direction(net, blocks, gru):
    """Return loss and top-1 of predicting the last two of the blocks (B, 5, C, H, W), one position at a time."""
    predicted, target = [], []
    for b, y, x in np.ndindex(len(blocks), *blocks.shape[-2:]):
        position = blocks[b, :, :, y, x]
        state = torch.zeros(256)
        for block in position[:3]:
            state = slow_gru(gru, block.clamp(min=0), state)
        for step in range(2):
            first, _, last = net.memory.choose
            hidden = (first.weight[:, :, 0, 0] @ state + first.bias).clamp(min=0)
            scores = last.weight[:, :, 0, 0] @ hidden + last.bias
            predicted.append((scores.exp() / scores.exp().sum()) @ net.memory.slots)
            target.append(position[3 + step])
            state = slow_gru(gru, predicted[-1].clamp(min=0), state)
    losses, right = [], 0
    for number, prediction in enumerate(predicted):
        scores = [float(prediction @ other) for other in target]
        losses.append(math.log(sum(map(math.exp, scores))) - scores[number])
        right += scores[number] == max(scores)
    return np.mean(losses), right / len(predicted)


@torch.no_grad()
def test_loss_and_top1_match_a_slow_reference(batch):
    net = make_with_large_weights()
    batch["clips"] = batch["clips"].repeat_interleave(2, -1)  # 2 x 4 positions
    features = net.backbone(batch["clips"].flatten(0, 1))
    weight, bias = net.project.weight[:, :, 0, 0, 0], net.project.bias
    assert bias is not None
    blocks = torch.einsum("oc,bchw->bohw", weight, features.mean(2)) + bias[:, None, None]
    blocks = blocks.unflatten(0, (2, 5))
    ahead, back = slow_direction(net, blocks, net.forward_gru), slow_direction(net, blocks.flip(1), net.backward_gru)
    result = net(batch)
    assert abs(ahead[0] - back[0]) > 0.01
    assert result["loss"].item() == pytest.approx(ahead[0] + back[0], rel=1e-3)
    assert result["top1"].item() == pytest.approx((ahead[1] + back[1]) / 2, abs=0.02)
    positions = 2 * 2 * blocks.shape[-2] * blocks.shape[-1]
    assert result["chance"].item() == pytest.approx(1 / positions)


@torch.no_grad()
def test_initial_loss_is_at_chance():
    torch.manual_seed(0)
    net = build("r3d_tiny", {"clips": ((8, 3, 5, 112, 112), "float32")}, Config())
    result = net({"clips": torch.randn(4, 8, 3, 5, 112, 112)})
    assert result["chance_loss"].item() == pytest.approx(2 * 6.377, abs=1e-3)
    assert result["loss"].item() == pytest.approx(2 * 6.377, rel=0.02)
    assert result["chance"].item() == pytest.approx(1 / 588)


@torch.no_grad()
def test_backward_direction_reverses_blocks_but_not_frames(batch):
    net = make_with_large_weights()
    loss = net(batch)["loss"].item()
    assert net({"clips": batch["clips"].flip(1)})["loss"].item() != pytest.approx(loss, rel=1e-3)
    net.forward_gru, net.backward_gru = net.backward_gru, net.forward_gru
    assert net({"clips": batch["clips"].flip(1)})["loss"].item() == pytest.approx(loss, rel=1e-5)


def test_targets_carry_a_gradient():
    net = make()
    blocks = torch.randn(2, 5, 256, 2, 2, requires_grad=True)
    predict_last(net.forward_gru, net.memory, blocks, net.cfg)["loss"].backward()
    assert blocks.grad is not None
    assert blocks.grad.flatten(2).any(-1).all()


@pytest.mark.parametrize("pred_steps", [5, 6])
def test_predicting_all_blocks_is_refused(pred_steps):
    with pytest.raises(UserError, match=rf"net\.pred_steps = {pred_steps} .*plan\.num_blocks = 5"):
        make(blocks=5, pred_steps=pred_steps)


@pytest.mark.slow
def test_a_few_steps_fit_one_batch(batch):
    net = make()
    colors = 2 * torch.randn(2, 1, 3, 1, 2, 2, generator=torch.Generator().manual_seed(1))  # one per position
    batch["clips"] = 0.2 * batch["clips"] + colors.repeat_interleave(16, -1).repeat_interleave(16, -2)
    result = train_on(batch, net, steps=60)  # at 40 the outcome depends on rounding
    # The two predicted blocks of a position look alike, so the loss quickly gets no lower than ln 2 per direction.
    assert result["chance_loss"].item() == pytest.approx(2 * math.log(2 * 2 * 4))
    assert result["loss"] < 2 * math.log(4)
    assert result["top1"] > 3 * result["chance"]
