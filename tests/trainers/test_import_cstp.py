"""Import of CSTP's checkpoints: every key is used, and our networks compute what the originals do."""

import re
from dataclasses import asdict

import pytest
import torch

from configs.errors import UserError
from nets.classifier import Classifier
from tests.helpers import cstp_original
from tests.helpers.cstp_original import canonical_name, checkpoint
from tests.helpers.originals import empty_state, shapes_of
from trainers.weights.imports import network
from trainers.weights.imports.cstp import convert

pytestmark = pytest.mark.slow

# Original model -> our backbone, and a clip size that all pools halve evenly.
PRETRAINING = {
    "r21d": ("r2plus1d10_cstp", (8, 32, 48)),
    "c3d": ("c3d", (8, 32, 48)),
    "r3d18": ("resnet3d18", (8, 32, 48)),
    "s3dg": ("s3dg", (16, 64, 96)),
    "i3d": ("i3d", (16, 64, 96)),
}


def classifier_shapes(system):
    """Return key -> shape of a classifier of 51 classes, from its table or the pretraining's and specs/cstp.md 2.6."""
    if system in ("r21d", "s3dg"):
        shapes = shapes_of(f"cstp__{system}_classifier")
        return shapes | {"classify.weight": [51, shapes["classify.weight"][1]], "classify.bias": [51]}
    bn, width = "cls_bn" if system == "c3d" else "classify_bn", [512]
    shapes = {
        key: shape for key, shape in shapes_of(f"cstp__{system}_pretrain").items() if key.startswith("online_net.")
    }
    shapes |= {f"{bn}.{key}": width for key in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {f"{bn}.num_batches_tracked": [], "classify.weight": [51, 512], "classify.bias": [51]}


def assert_every_key_is_in_place(state, imported, net):
    assert imported.used.keys() | imported.left.keys() == state.keys()
    assert not imported.used.keys() & imported.left.keys()
    assert {key for key in state if canonical_name(key) != key} == imported.left.keys()
    assert all(canonical_name(key) in reason for key, reason in imported.left.items())
    loaded = net.state_dict()
    assert set(imported.used.values()) == loaded.keys() - {"seen"}
    assert len(set(imported.used.values())) == len(imported.used)
    assert all(torch.equal(loaded[ours], state[theirs]) for theirs, ours in imported.used.items())


@torch.inference_mode()
def outputs(net, clips):
    """Compute the outputs of `cstp_original.pretraining` with our network."""
    first, second = (net.pool(net.backbone(clip)) for clip in clips)
    pair = torch.cat([first, second], 1)
    return {
        "map": net.backbone(clips[0]),
        "query": net.predictor(net.projector(first)),
        "target": net.target_projector(net.pool(net.target_backbone(clips[0]))),
        "spatial": net.spatial(pair),
        "temporal": net.temporal(pair),
        "playback": net.playback(first),
        "rotation": net.rotation(first),
    }


def clip(size, seed):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("system", PRETRAINING)
def test_imported_pretraining_matches_the_original(system):
    backbone, size = PRETRAINING[system]
    state = checkpoint(shapes_of(f"cstp__{system}_pretrain"))
    imported = convert(state)
    assert (imported.config.task, imported.config.backbone) == ("cstp", backbone)
    assert imported.config.net.reference.spare_class == (system in ("r21d", "s3dg"))
    on = {name for name, value in asdict(imported.config.plan.reference).items() if value}
    assert on == {"truncate_offset", "rotated_boxes", "flip_last", "gray_per_frame"}  # specs/cstp.md 8.2
    net = network(imported)
    assert_every_key_is_in_place(state, imported, net)
    clips = [clip(size, 1), clip(size, 2)]
    expected = cstp_original.pretraining(state, system, clips)
    torch.testing.assert_close(outputs(net, clips), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("system", "recipe"),
    [("r21d", "r2plus1d10_hmdb51"), ("s3dg", "s3dg_ucf101"), ("c3d", "c3d_ucf101"), ("r3d18", "resnet3d18_ucf101")],
)
def test_imported_classifier_matches_the_original(system, recipe):
    backbone, size = PRETRAINING[system]
    state = checkpoint(classifier_shapes(system))
    imported = convert(state)
    assert imported.recipe == f"recognition/cstp_{recipe}.yaml"
    assert (imported.config.task, imported.config.backbone) == ("recognition", backbone)
    net = network(imported)
    assert_every_key_is_in_place(state, imported, net)
    assert isinstance(net, Classifier)
    with torch.inference_mode():
        logits = net.logits(clip(size, 1))
    assert logits.shape == (2, 51)
    torch.testing.assert_close(logits, cstp_original.logits(state, system, clip(size, 1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("depth", "blocks"), [(10, (1, 1, 1, 1)), (34, (3, 4, 6, 3))])
def test_depth_of_a_3d_resnet_follows_from_its_blocks(depth, blocks):
    shapes: dict[str, list[int]] = {}
    for key, shape in shapes_of("cstp__r3d18_pretrain").items():
        match = re.fullmatch(r"(\w+\.layer(\d))\.1\.(.+)", key)
        more = range(1, blocks[int(match[2]) - 1]) if match else ()
        shapes |= {f"{match[1]}.{n}.{match[3]}": shape for n in more} if match else {key: shape}
    with torch.device("meta"):
        imported = convert({key: torch.empty(shape) for key, shape in shapes.items()})
        assert imported.config.backbone == f"resnet3d{depth}"
        network(imported)


def test_number_of_classes_comes_from_the_linear_layer():
    imported = convert(empty_state("cstp__r21d_classifier"))
    assert imported.recipe == "recognition/cstp_r2plus1d10_ucf101.yaml"
    net = network(imported)
    assert isinstance(net, Classifier)
    assert net.linear.out_features == 101


@pytest.mark.parametrize("blocks", [0, 23])
def test_a_3d_resnet_of_unknown_depth_is_refused(blocks):
    state = {key: torch.empty(()) for key in ("predictor.net.0.weight", "online_net.layer1.0.conv1.weight")}
    state |= {f"online_net.layer3.{n}.conv1.weight": torch.empty(()) for n in range(blocks)}
    with pytest.raises(UserError, match=f"{blocks} blocks in its layer3; there are resnet3d10"):
        convert(state)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("online_net.block4.2.branch1.1.bn2.running_var", "differs from"),
        ("online_net.Mixed_4c.branch1.1.bn2.running_var", "differs from"),
        ("online_net.Conv_2b.bn.weight", "stands without"),
    ],
)
def test_tied_tensors_with_different_values_are_refused(key, message):
    state = {key: torch.zeros(shape) for key, shape in shapes_of("cstp__s3dg_classifier").items()}
    if message == "differs from":
        state[key] = state[key] + 1e-7
    else:
        del state[key]
    with pytest.raises(UserError, match=rf"second name of {re.escape(canonical_name(key))} and {message} it"):
        convert(state)
