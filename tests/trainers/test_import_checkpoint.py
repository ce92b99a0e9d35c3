"""The command that imports published checkpoints, with torchvision's networks as originals."""

import hashlib

import pytest
import torch
import torchvision.models.video as zoo
from safetensors.torch import save_file

from configs.errors import UserError
from dali_pipelines.pixels.normalize import NORMALIZATIONS
from nets import backbones
from nets.classifier import Classifier
from trainers.commands import import_checkpoint
from trainers.commands.import_checkpoint import read_classes
from trainers.weights import classifier_weights, read
from trainers.weights.imports import Imported, network, torchvision

pytestmark = pytest.mark.slow


def torchvision_network(make):
    """Make a torchvision network in eval mode with nontrivial batch norms."""
    torch.manual_seed(0)
    net = make(weights=None).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            for tensor in (module.running_mean, module.bias.data):
                assert tensor is not None
                tensor.normal_(0, 0.1)
            for tensor in (module.running_var, module.weight.data):
                assert tensor is not None
                tensor.uniform_(0.5, 1.5)
    return net


@pytest.fixture(scope="module")
def r3d18():
    return torchvision_network(zoo.r3d_18)


@pytest.fixture(scope="module")
def done(r3d18, tmp_path_factory):
    """Run the command; return what it printed, its input path and its output path."""
    folder = tmp_path_factory.mktemp("import")
    theirs, ours, names = folder / "r3d_18.pth", folder / "r3d_18.pt", folder / "classes.txt"
    torch.save(r3d18.state_dict(), theirs)
    names.write_text("".join(f"{name}\n" for name in zoo.R3D_18_Weights.DEFAULT.meta["categories"]))
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr("builtins.print", lambda *args, **_: lines.append(" ".join(map(str, args))))
        import_checkpoint.main([str(theirs), "--from", "torchvision", "--out", str(ours), "--classes", str(names)])
    return "\n".join(lines), theirs, ours


@torch.no_grad()
def test_an_imported_network_matches_torchvision(r3d18, done):
    weights = read(done[2])
    recipe = classifier_weights(weights)
    net = Classifier(backbones.create(recipe.backbone), len(weights.classes), recipe.net).eval()
    net.load_state_dict(weights.model)
    clips = torch.randn(2, 3, 16, 48, 32, generator=torch.Generator().manual_seed(1))
    expected = r3d18(clips)
    assert expected.std() > 0.01
    torch.testing.assert_close(net.logits(clips), expected, rtol=1e-4, atol=1e-5)


def test_an_imported_file_names_classes_origin_and_preprocessing(done):
    weights = read(done[2])
    about = zoo.R3D_18_Weights.DEFAULT
    theirs = about.transforms()
    assert list(weights.classes) == about.meta["categories"]
    assert (weights.step, weights.backbone) == (0, "torchvision_r3d18")
    assert weights.clip == {"num_frames": 16, "strides": [2], "size": 112, "normalization": "kinetics"}
    mean, std = NORMALIZATIONS["kinetics"]
    assert (list(mean), list(std)) == (theirs.mean, theirs.std)
    assert weights.config is not None
    plan = weights.config.plan
    assert ([plan.size] * 2, plan.test.short_side, plan.test.clips) == (theirs.crop_size, theirs.resize_size[0], 5)
    imported = torch.load(done[2], weights_only=True)["imported"]
    assert imported == {"from": "torchvision", "sha256": hashlib.sha256(done[1].read_bytes()).hexdigest()}


def test_the_command_accounts_for_every_key(done, r3d18):
    lines = done[0].splitlines()
    counts = [int(line.split()[0]) for line in lines if " of " in line]
    assert sum(counts) == len(r3d18.state_dict())
    assert "     2 keys of fc -> linear" in lines
    assert lines[-2:] == [
        "recipe: configs/recognition/torchvision_r3d18_kinetics.yaml",
        f"wrote {done[2]}: recognition with 400 classes, torchvision_r3d18",
    ]


def test_unused_keys_are_counted_with_their_reason():
    left = {"twin.a": "second name of one.a", "twin.b": "second name of one.b", "fc.bias": "never used"}
    lines = import_checkpoint.table(Imported("x/y.yaml", {}, {"one.a": "ours.a"}, left, ["net.queue=3"])).splitlines()
    assert lines == [
        "     1 key of one -> ours",
        "     2 keys of twin left out: second name of one.a, and so on",
        "     1 key of fc left out: never used",
        "recipe: configs/x/y.yaml with net.queue=3",
    ]


@torch.no_grad()
def test_imported_r2plus1d_matches_torchvision():
    theirs = torchvision_network(zoo.r2plus1d_18)
    imported = torchvision.convert(theirs.state_dict())
    assert imported.config.backbone == "torchvision_r2plus1d18"
    clips = torch.randn(1, 3, 8, 32, 32, generator=torch.Generator().manual_seed(1))
    net = network(imported)
    assert isinstance(net, Classifier)
    torch.testing.assert_close(net.logits(clips), theirs(clips), rtol=1e-4, atol=1e-5)


def test_torchvision_networks_without_counterpart_are_refused():
    with torch.device("meta"):
        mc3, s3d = zoo.mc3_18(weights=None), zoo.s3d(weights=None)
    message = r"layer2.0.conv1.0.weight is of shape \(128, 64, 1, 3, 3\); \(128, 64, 3, 3, 3\) was expected"
    with pytest.raises(UserError, match=message):
        network(torchvision.convert(mc3.state_dict()))
    with pytest.raises(UserError, match=r"no counterpart here for .* keys: features.0.0.0.weight, "):
        torchvision.convert(s3d.state_dict())


def test_a_network_without_classifier_is_imported_as_a_backbone(r3d18, done, tmp_path, capsys, recwarn):
    """The input is a safetensors file."""
    theirs, ours = tmp_path / "backbone.safetensors", tmp_path / "ours.pt"
    save_file({key: value for key, value in r3d18.state_dict().items() if not key.startswith("fc.")}, theirs)
    import_checkpoint.main([str(theirs), "--from", "torchvision", "--out", str(ours)])
    assert capsys.readouterr().out.endswith(f"wrote {ours}: a backbone without a classifier, torchvision_r3d18\n")
    assert not recwarn.list
    weights, whole = read(ours), read(done[2])
    backbone = backbones.create("torchvision_r3d18")
    weights.load_backbone(backbone, "torchvision_r3d18")
    for key, value in backbone.state_dict().items():
        assert value.equal(whole.model[f"backbone.{key}"]), key
    with pytest.raises(UserError, match=r"is a backbone alone: finetune it with clipfeed finetune first"):
        classifier_weights(weights)


def test_refused_imports_leave_no_file(tmp_path, done, refused, capsys):
    out = tmp_path / "out.pt"

    def import_refused(path, *options):
        return refused(import_checkpoint.main, path, "--from", "torchvision", "--out", out, *options)

    assert import_refused(tmp_path / "gone.pth") == f"error: no such file: {tmp_path / 'gone.pth'}"
    torch.save({"encoder.weight": torch.rand(3)}, tmp_path / "other.pth")
    line = import_refused(tmp_path / "other.pth")
    assert line.startswith(
        f"error: {tmp_path / 'other.pth'}: no counterpart here for 1 key: encoder.weight; is --from "
    )
    assert "is a checkpoint of clipfeed already: use it as it is" in import_refused(done[2])
    torch.save(torch.load(done[1]) | {"layer1.0.conv1.1.bias": torch.full((64,), torch.nan)}, tmp_path / "nan.pth")
    line = import_refused(tmp_path / "nan.pth")
    assert "nan.pth: the state dict holds nan or infinity in 1 of 122 tensors (layer1.0.conv1.1.bias): " in line
    (tmp_path / "names.txt").write_text("a\nb\n")
    line = import_refused(done[1], "--classes", tmp_path / "names.txt")
    assert line.endswith("names.txt has 2 names, the classifier has 400 classes")
    line = refused(import_checkpoint.main, done[2], "--from", "ctp", "--out", done[2])
    assert line.endswith("is the original itself: choose another name")
    with pytest.raises(SystemExit, match="2"):
        import_checkpoint.main([str(done[1]), "--from", "ctp", "--out", "out.pth"])
    assert capsys.readouterr().err.endswith("--out out.pth: must end in .pt\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["names.txt", "nan.pth", "other.pth"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1 ApplyEyeMakeup\n2 ApplyLipstick\n\n", ["ApplyEyeMakeup", "ApplyLipstick"]),
        ("0,brush hair\r\n1,cartwheel\r\n", ["brush hair", "cartwheel"]),
        ("brush hair\ncartwheel", ["brush hair", "cartwheel"]),
        ("3 pointer\n2 pointer", ["3 pointer", "2 pointer"]),
        ("\ufeff1 run\n2 walk", ["run", "walk"]),
    ],
)
def test_class_names_are_read_with_or_without_numbers(tmp_path, text, names):
    (tmp_path / "names.txt").write_text(text)
    assert read_classes(tmp_path / "names.txt", 2) == names


def test_class_names_for_a_backbone_are_refused(tmp_path):
    with pytest.raises(UserError, match="the checkpoint is no classifier and has no classes to name"):
        read_classes(tmp_path / "names.txt", 0)


@pytest.mark.parametrize(
    "make",
    [lambda t: (100 * t).to(torch.int8), lambda t: t.to_sparse(), lambda t: t.to("meta"), lambda t: t.to(torch.cfloat)],
)
def test_only_dense_floats_are_imported(r3d18, make):
    state = r3d18.state_dict()
    changed = state | {"fc.weight": make(state["fc.weight"])}
    with pytest.raises(UserError, match=r"^fc.weight holds no dense floats \(torch\.\w+, torch.*\): save it as such"):
        network(torchvision.convert(changed))
    halves = {key: value.half() for key, value in state.items()}  # the counts of batches, too
    for key, value in network(torchvision.convert(halves)).backbone.state_dict().items():
        assert value.equal(state[key].half().to(state[key].dtype)), key
