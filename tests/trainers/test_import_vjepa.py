"""Import of V-JEPA's checkpoints, against its arithmetic (arXiv 2404.08471) on the original keys.

A small encoder replaces ViT-L; it has the same modules, only fewer of them.
"""

import math
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from configs.errors import UserError
from nets.backbones import create
from nets.backbones.vit import ViT
from nets.tasks.vjepa import VJepa
from tests.helpers.original_vit import block, block_shapes, norm_shapes, normed
from tests.helpers.originals import linear, random_state
from trainers.commands import import_checkpoint
from trainers.weights import read
from trainers.weights.imports import network, vjepa

C, DEPTH, HEADS = 36, 2, 3
D, D_DEPTH, D_HEADS = 384, 1, 16  # the predictor
GRID = (8, 4, 4)  # tokens of a clip of 16 x 64 x 64
TINY = f"{__name__}.tiny"


def tiny() -> ViT:
    return ViT(width=C, depth=DEPTH, heads=HEADS, grid_positions=True)


@pytest.fixture(autouse=True)
def replace_vit_l_by_tiny(monkeypatch):
    monkeypatch.setattr(vjepa, "SIZES", {C: TINY})
    monkeypatch.setenv("CLIPFEED_TRUST", "tests")


def positions(width: int) -> Tensor:
    """Return position embeddings: time, row and column, each as sines then cosines, cut to `width` channels."""
    each = 2 * math.ceil(width / 6)

    def of(number: int) -> list[float]:
        angles = [number / 10000 ** (2 * place / each) for place in range(each // 2)]
        return [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]

    rows = [of(t) + of(h) + of(w) for t in range(GRID[0]) for h in range(GRID[1]) for w in range(GRID[2])]
    return torch.tensor(rows)[:, :width]


def checkpoint() -> dict[str, dict[str, Tensor]]:
    """Return the three state dicts, with the key prefixes of DDP and the multi-mask wrapper."""

    def named(seed: int, shapes: Mapping[str, list[int]], key: str, width: int) -> dict[str, Tensor]:
        state = random_state(shapes, seed) | {key: positions(width)[None]}
        return {f"module.backbone.{name}": value for name, value in state.items()}

    encoder = {"patch_embed.proj.weight": [C, 3, 2, 16, 16], "patch_embed.proj.bias": [C], **norm_shapes("norm", C)}
    for number in range(DEPTH):
        encoder |= block_shapes(f"blocks.{number}", C, biases=["qkv.bias"])
    predictor = {"predictor_embed.weight": [D, C], "predictor_embed.bias": [D]}
    predictor |= {f"mask_tokens.{number}": [1, 1, D] for number in range(2)} | norm_shapes("predictor_norm", D)
    predictor |= {"predictor_proj.weight": [C, D], "predictor_proj.bias": [C]}
    for number in range(D_DEPTH):
        predictor |= block_shapes(f"predictor_blocks.{number}", D, biases=["qkv.bias"])
    return {
        "encoder": named(1, encoder, "pos_embed", C),
        "target_encoder": named(2, encoder, "pos_embed", C),
        "predictor": named(3, predictor, "predictor_pos_embed", D),
    }


def flat() -> dict[str, Tensor]:
    parts = checkpoint().items()
    return {f"{name}.{key.removeprefix('module.')}": value for name, part in parts for key, value in part.items()}


def encoded(state: Mapping[str, Tensor], name: str, clips: Tensor, kept: Tensor) -> Tensor:
    of = f"{name}.backbone"
    kernel, bias = state[f"{of}.patch_embed.proj.weight"], state[f"{of}.patch_embed.proj.bias"]
    tokens = F.conv3d(clips, kernel, bias, stride=(2, 16, 16)).flatten(2).transpose(1, 2)
    x = (tokens + positions(C))[:, kept]
    for number in range(DEPTH):
        x = block(state, f"{of}.blocks.{number}", x, heads=HEADS)
    return normed(state, f"{of}.norm", x)


def predicted(state: Mapping[str, Tensor], seen: Tensor, visible: Tensor, hidden: Tensor, mask: int) -> Tensor:
    of = "predictor.backbone"
    x = linear(state, f"{of}.predictor_embed", seen) + positions(D)[visible]
    queries = (state[f"{of}.mask_tokens.{mask}"] + positions(D)[hidden]).expand(len(x), -1, -1)
    x = torch.cat([x, queries], 1)
    for number in range(D_DEPTH):
        x = block(state, f"{of}.predictor_blocks.{number}", x, heads=D_HEADS)
    return linear(state, f"{of}.predictor_proj", normed(state, f"{of}.predictor_norm", x)[:, len(visible) :])


@torch.no_grad()
def test_imported_loss_matches_the_original_and_the_target_is_the_backbone():
    state, clips = flat(), torch.randn(2, 3, 16, 64, 64, generator=torch.Generator().manual_seed(4))
    imported = vjepa.convert(state)
    net = network(imported)
    assert isinstance(net, VJepa)
    targets = encoded(state, "target_encoder", clips, torch.arange(128))
    torch.testing.assert_close(net.norm(net.backbone.encode(clips)), targets, rtol=1e-3, atol=1e-4)
    targets = F.layer_norm(targets, (C,))
    batch, losses = {"clips": clips}, []
    for mask, cells in enumerate(([1, 2, 7], [0, *range(4, 16)])):  # hidden cells
        shown = [cell for cell in range(16) if cell not in cells]
        batch[f"visible_{mask}"], batch[f"hidden_{mask}"] = (torch.tensor([ids, ids]) for ids in (shown, cells))
        visible, hidden = ((16 * torch.arange(8)[:, None] + torch.tensor(ids)).flatten() for ids in (shown, cells))
        seen = encoded(state, "encoder", clips, visible)
        losses.append((predicted(state, seen, visible, hidden, mask) - targets[:, hidden]).abs().mean())
    assert net(batch)["loss"].item() == pytest.approx(float(sum(losses)) / 2, rel=1e-3)


def test_an_imported_file_can_start_a_run(tmp_path, capsys):
    others = {"opt": {"state": {}, "param_groups": [{"lr": 1e-6}]}, "scaler": None, "epoch": 300}
    torch.save(checkpoint() | others, tmp_path / "original.pth.tar")
    options = ["--from", "vjepa", "--out", str(tmp_path / "ours.pt")]
    import_checkpoint.main([str(tmp_path / "original.pth.tar"), *options])
    assert f"with backbone={TINY}, plan.size=64, net.predictor_depth=1\n" in capsys.readouterr().out
    weights = read(tmp_path / "ours.pt")
    assert (weights.backbone, weights.origin, weights.clip["size"]) == (TINY, "vjepa", 64)
    backbone = tiny()
    weights.load_backbone(backbone, TINY)
    theirs = checkpoint()["target_encoder"]["module.backbone.blocks.1.attn.proj.weight"]
    assert torch.equal(backbone.state_dict()["blocks.1.self_attention.out_proj.weight"], theirs)


@pytest.mark.parametrize("shape", [(), (128, C), (0, 128, C)])
@pytest.mark.parametrize("key", ["pos_embed", "patch_embed.proj.bias"])
def test_tensors_with_other_axes_are_refused_in_one_line(tmp_path, key, shape):
    parts = checkpoint()
    parts["target_encoder"][f"module.backbone.{key}"] = torch.zeros(shape)
    torch.save(parts, tmp_path / "original.pth.tar")
    with pytest.raises(UserError, match=r"original\.pth\.tar: .*shape"):
        import_checkpoint.main([str(tmp_path / "original.pth.tar"), "--from", "vjepa", "--out", str(tmp_path / "o.pt")])


def test_sizes_match_the_published_encoders(monkeypatch):
    """A block has 12 C^2 weights and 13 C norms and biases."""
    monkeypatch.undo()
    for (width, name), depth, millions in zip(vjepa.SIZES.items(), (24, 32), (304, 632), strict=True):
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in create(name).parameters())
        assert count == 3 * 2 * 16 * 16 * width + width + depth * (12 * width**2 + 13 * width)
        assert round(count / 1e6) == millions


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder.backbone.pos_embed": None}, "not a checkpoint of V-JEPA's code: it has no encoder"),
        (
            {"target_encoder.backbone.cls_token": torch.zeros(1, 1, C)},
            "no counterpart here for 1 key: target_encoder",
        ),
        ({"predictor.backbone.predictor_pos_embed": torch.zeros(1, 128, D)}, "predictor_pos_embed differs from"),
        ({"target_encoder.backbone.pos_embed": torch.zeros(1, 1568, 64)}, "its tokens have 64 channels; there are"),
        ({"predictor.backbone.mask_tokens.2": torch.zeros(1, 1, D)}, r"mask_tokens\S* is of shape \(3, 384\)"),
    ],
)
def test_mismatched_checkpoints_are_refused(change, message):
    state = {key: value for key, value in (flat() | change).items() if value is not None}
    with pytest.raises(UserError, match=message):
        network(vjepa.convert(state))
