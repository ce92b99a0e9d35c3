"""Import of checkpoints of VideoMAE's code, against its arithmetic (arXiv 2203.12602) on the original keys."""

import math
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from configs.errors import UserError
from nets.classifier import Classifier
from nets.tasks.videomae import VideoMAE
from tests.helpers.original_vit import block, block_shapes, norm_shapes, normed
from tests.helpers.originals import linear, random_state
from trainers.commands import import_checkpoint
from trainers.weights import read
from trainers.weights.imports import network, videomae

pytestmark = pytest.mark.slow

WIDTHS = {"s": (384, 192), "b": (768, 384)}
TOKENS = 8  # in a clip of 4 x 32 x 32
BIASES = ("q_bias", "v_bias")


def encoder_shapes(prefix: str, c: int) -> dict[str, list[int]]:
    shapes = {f"{prefix}patch_embed.proj.weight": [c, 3, 2, 16, 16], f"{prefix}patch_embed.proj.bias": [c]}
    for number in range(12):
        shapes |= block_shapes(f"{prefix}blocks.{number}", c, biases=BIASES)
    return shapes


def pretraining(size: str, depth: int = 4) -> dict[str, Tensor]:
    c, d = WIDTHS[size]
    shapes = {"mask_token": [1, 1, d]} | encoder_shapes("encoder.", c) | norm_shapes("encoder.norm", c)
    for number in range(depth):
        shapes |= block_shapes(f"decoder.blocks.{number}", d, biases=BIASES)
    shapes |= norm_shapes("decoder.norm", d) | {"decoder.head.weight": [1536, d], "decoder.head.bias": [1536]}
    return random_state(shapes | {"encoder_to_decoder.weight": [d, c]})


def classifier_shapes(size: str, classes: int) -> dict[str, list[int]]:
    c, _ = WIDTHS[size]
    shapes = encoder_shapes("", c) | norm_shapes("fc_norm", c)
    return shapes | {"head.weight": [classes, c], "head.bias": [classes]}


def positions(tokens: int, width: int) -> Tensor:
    angles = [[token / 10000 ** (2 * (c // 2) / width) for c in range(width)] for token in range(tokens)]
    return torch.tensor([[math.cos(a) if c % 2 else math.sin(a) for c, a in enumerate(row)] for row in angles])


def embedded(state: Mapping[str, Tensor], prefix: str, clips: Tensor) -> Tensor:
    weight, bias = (state[f"{prefix}patch_embed.proj.{name}"] for name in ("weight", "bias"))
    tokens = F.conv3d(clips, weight, bias, stride=(2, 16, 16)).flatten(2).transpose(1, 2)
    return tokens + positions(TOKENS, tokens.shape[2])


def predicted(state: Mapping[str, Tensor], clips: Tensor, mask: Tensor) -> Tensor:
    """Encode the visible tokens, append mask tokens, decode, and predict the masked cubes; all clips share a mask."""
    x = embedded(state, "encoder.", clips)[:, ~mask]
    for number in range(12):
        x = block(state, f"encoder.blocks.{number}", x, heads=x.shape[2] // 64)
    x = normed(state, "encoder.norm", x) @ state["encoder_to_decoder.weight"].T
    places = positions(TOKENS, x.shape[2])
    masked = (state["mask_token"] + places[mask]).expand(len(x), -1, -1)
    x = torch.cat([x + places[~mask], masked], 1)
    for number in range(4):
        x = block(state, f"decoder.blocks.{number}", x, heads=x.shape[2] // 64)
    return linear(state, "decoder.head", normed(state, "decoder.norm", x[:, -int(mask.sum()) :]))


def random_clips() -> Tensor:
    return torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("size", WIDTHS)
def test_imported_pretraining_matches_the_original(size):
    state, clips = pretraining(size), random_clips()
    imported = videomae.convert(state)
    assert imported.config.backbone == f"vit_{size}16"
    assert imported.used.keys() == state.keys()
    assert not imported.left
    net = network(imported)
    assert isinstance(net, VideoMAE)
    mask = torch.tensor([True, False, True, True] * 2)
    batch = {"clips": clips, "visible": torch.tensor([[1]] * 2), "hidden": torch.tensor([[0, 2, 3]] * 2)}
    ours, theirs = net.reconstruct(clips, *net.tokens(batch)).flatten(2), predicted(state, clips, mask)
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_an_imported_file_can_start_a_run(tmp_path, capsys):
    torch.save({"model": pretraining("s"), "epoch": 1600}, tmp_path / "original.pth")
    import_checkpoint.main([str(tmp_path / "original.pth"), "--from", "videomae", "--out", str(tmp_path / "ours.pt")])
    out = capsys.readouterr().out
    assert "left" not in out
    assert "recipe: configs/videomae/vit_s16_kinetics.yaml\n" in out
    weights = read(tmp_path / "ours.pt")
    assert (weights.backbone, weights.origin, weights.clip["num_frames"]) == ("vit_s16", "videomae", 16)


def test_another_decoder_depth_changes_the_recipe():
    assert videomae.convert(pretraining("s", depth=2)).changes == ("net.decoder_depth=2",)


@torch.no_grad()
@pytest.mark.parametrize("size", WIDTHS)
def test_imported_classifier_matches_the_original(size):
    state, clips = random_state(classifier_shapes(size, 400)), random_clips()
    imported = videomae.convert(state)
    assert imported.recipe == f"recognition/videomae_vit_{size}16_kinetics.yaml"
    assert imported.used.keys() == state.keys()
    x = embedded(state, "", clips)
    for number in range(12):
        x = block(state, f"blocks.{number}", x, heads=x.shape[2] // 64)
    theirs = linear(state, "head", normed(state, "fc_norm", x.mean(1)))
    net = network(imported)
    assert isinstance(net, Classifier)
    torch.testing.assert_close(net.logits(clips), theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("classes", "recipe"), [(101, "ucf101"), (51, "hmdb51")])
def test_the_number_of_classes_chooses_the_recipe(classes, recipe):
    state = {key: torch.zeros(()).expand(shape) for key, shape in classifier_shapes("b", classes).items()}
    assert videomae.convert(state).recipe == f"recognition/videomae_vit_b16_{recipe}.yaml"


def test_other_checkpoints_are_refused():
    for state in ({"stem.0.weight": torch.zeros(1)}, encoder_only()):
        with pytest.raises(UserError, match="not a checkpoint of VideoMAE's code"):
            videomae.convert(state)
    with pytest.raises(UserError, match=r"no counterpart here for 1 key: encoder\.cls_token"):
        videomae.convert(pretraining("s") | {"encoder.cls_token": torch.zeros(1)})
    large = {"patch_embed.proj.weight": torch.zeros(1024, 3, 2, 16, 16), "head.weight": torch.zeros(400, 1024)}
    with pytest.raises(UserError, match="1024 channels; there are ViT-S with 384 and ViT-B with 768"):
        videomae.convert(large)


def encoder_only() -> dict[str, Tensor]:
    return {key: value for key, value in pretraining("s").items() if key.startswith("encoder.")}
