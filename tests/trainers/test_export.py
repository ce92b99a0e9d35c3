"""Exports are readable by plain PyTorch, and files of two exports are never mixed up."""

import hashlib
import json
import os
import resource
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from configs.errors import UserError
from nets.backbones import create
from tests.helpers.checkpoints import write_checkpoint
from tests.helpers.processes import join, start
from trainers.commands.export import main
from trainers.weights import read
from trainers.weights.export import export


@pytest.fixture
def exported(tmp_path) -> Path:
    write_checkpoint(tmp_path / "a.pt")
    export(read(tmp_path / "a.pt"), tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


OTHERS = ("dali_pipelines", "nvidia", "trainers")


def clips() -> torch.Tensor:
    return torch.randn(2, 3, 8, 64, 64, generator=torch.Generator().manual_seed(1))


def use_export(exported: Path, features: Path) -> None:
    """Write the features of `clips` in this process, which then cannot import DALI and our other packages."""
    for name in [name for name in sys.modules if name.split(".")[0] in (*OTHERS, "configs", "nets")]:
        del sys.modules[name]
    vars(sys)["modules"].update(dict.fromkeys(OTHERS))  # an import of None fails
    from nets.backbones import create

    net = create("r3d_tiny")
    net.load_state_dict(load_file(exported))
    torch.save(net.eval()(clips()), features)


@pytest.mark.slow
def test_three_lines_of_plain_pytorch_give_the_same_features_without_dali(tmp_path, capsys):
    net = write_checkpoint(tmp_path / "a.pt")
    out = tmp_path / "new" / "a.safetensors"
    main([str(tmp_path / "a.pt"), "--out", str(out)])
    assert capsys.readouterr().out.startswith(f"{out}: r3d_tiny, 1.2 MB, step 6\n")
    assert sorted(path.name for path in out.parent.iterdir()) == ["a.json", "a.md", "a.safetensors"]
    assert out.stat().st_mode == out.with_suffix(".json").stat().st_mode  # readable for others, like any file
    assert join([start(use_export, out, tmp_path / "features.pt")]) == [0]
    torch.testing.assert_close(torch.load(tmp_path / "features.pt"), net(clips()))


def test_facts_match_the_checkpoint(exported):
    facts = json.loads(exported.with_suffix(".json").read_text())
    assert facts == {
        "architecture": "r3d_tiny",
        "out_channels": 64,
        "num_frames": 8,
        "strides": [1, 2],
        "size": 64,
        "normalization": "imagenet",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "task": "ctp",
        "step": 6,
        "sha256": hashlib.sha256(exported.with_name("a.pt").read_bytes()).hexdigest(),
        "clipfeed": facts["clipfeed"],
        "tensors_sha256": hashlib.sha256(exported.read_bytes()).hexdigest(),
    }


def test_channels_last_tensors_are_exported_contiguous_and_equal(tmp_path):
    net = write_checkpoint(tmp_path / "a.pt")
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    for key, value in content["model"].items():
        if value.ndim == 5:
            content["model"][key] = value.contiguous(memory_format=torch.channels_last_3d)
    assert not content["model"]["backbone.stem.0.weight"].is_contiguous()
    torch.save(content, tmp_path / "a.pt")
    export(read(tmp_path / "a.pt"), tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors")
    assert tensors.keys() == net.state_dict().keys()
    for key, value in net.state_dict().items():
        assert torch.equal(tensors[key], value)
        assert tensors[key].dtype == value.dtype


def test_an_export_reads_back_as_weights(exported):
    original, weights = read(exported.with_name("a.pt")), read(exported)
    assert (weights.backbone, weights.step, weights.config, weights.classes) == ("r3d_tiny", 6, None, ())
    assert weights.clip == original.clip
    assert weights.views() == original.views()
    assert weights.model.keys() == original.model.keys() - {"head"}
    assert all(torch.equal(value, original.model[key]) for key, value in weights.model.items())
    assert weights.sha256 == hashlib.sha256(exported.read_bytes()).hexdigest()


def other_export(path: Path) -> None:
    write_checkpoint(path.with_name("b.pt"), seed=1)
    export(read(path.with_name("b.pt")), path.with_name("b.safetensors"))
    path.with_suffix(".json").write_text(path.with_name("b.json").read_text())


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"no such file: .*a.safetensors; an export is a .safetensors with a .json"),
        (lambda path: path.with_suffix(".json").unlink(), r"no such file: .*a.json; an export is"),
        (
            lambda path: path.with_suffix(".json").write_text("[1]"),
            r"a.safetensors and a.json are damaged or no export",
        ),
        (lambda path: path.with_suffix(".json").write_text('{"size": '), r"damaged or no export"),
        (  # of transformers
            lambda path: path.with_suffix(".json").write_text('{"architectures": ["VideoMAEModel"]}'),
            r"no export \('architecture'\); export again; `clipfeed import` takes those of other programs$",
        ),
        (
            lambda path: path.write_bytes(path.read_bytes()[:9000]),
            r"they are of two exports, or one of them has changed",
        ),
        (flip_a_bit, r"they are of two exports, or one of them has changed"),
        (other_export, r"they are of two exports, or one of them has changed"),
    ],
)
def test_a_missing_damaged_or_foreign_half_of_an_export_is_refused(exported, damage, message):
    damage(exported)
    with pytest.raises(UserError, match=message):
        read(exported)


def test_a_wrong_architecture_in_the_json_is_refused(exported):
    facts = exported.with_suffix(".json")
    facts.write_text(facts.read_text().replace("r3d_tiny", "r3d18"))
    with pytest.raises(UserError, match=r"it has stem.0.weight \(16, .* has stem.0.weight \(64, "):
        read(exported).load_backbone(create("r3d18"), "r3d18")


def test_a_failed_export_keeps_the_old_pair_and_leaves_no_temporary_file(exported):
    write_checkpoint(exported.with_name("b.pt"), seed=1)
    exported.with_suffix(".md").unlink()
    before = {path.name: path.read_bytes() for path in exported.parent.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*a.safetensors: .*File too large.*; make room"):
            export(read(exported.with_name("b.pt")), exported)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in exported.parent.iterdir()} == before


def test_a_crash_between_the_two_files_never_mixes_two_exports(exported, monkeypatch):
    write_checkpoint(exported.with_name("b.pt"), seed=1)
    exported.with_suffix(".md").unlink()
    rename = os.replace
    moved: list[Path] = []

    def crash_at_second_rename(part: Path, target: Path) -> None:
        if moved:
            raise OSError("crash")
        moved.append(target)
        rename(part, target)

    weights = read(exported.with_name("b.pt"))
    monkeypatch.setattr(os, "replace", crash_at_second_rename)
    with pytest.raises(OSError, match="crash"):
        export(weights, exported)
    monkeypatch.undo()
    assert moved == [exported]
    with pytest.raises(UserError, match=r"they are of two exports"):
        read(exported)
    export(weights, exported)
    assert read(exported).step == 6


def test_inputs_and_outputs_that_cannot_be_exported_are_refused(exported, capsys):
    with pytest.raises(UserError, match=r"a.safetensors is an export already: copy it together with its .json"):
        main([str(exported), "--out", str(exported.with_name("b.safetensors"))])
    with pytest.raises(UserError, match=r"--out a.pth: give a name that ends in .safetensors, .pt2, .onnx, or"):
        main([str(exported.with_name("a.pt")), "--out", "a.pth"])


def test_an_edited_card_is_never_overwritten(exported):
    card = exported.with_suffix(".md")
    card.write_text("my own words")
    with pytest.raises(UserError, match=r"a.md exists and may have been edited: move it away"):
        export(read(exported.with_name("a.pt")), exported)
    assert card.read_text() == "my own words"


def test_a_hub_folder_reads_back_as_weights(exported):
    folder = exported.parent / "hub"
    original = read(exported.with_name("a.pt"))
    facts = export(original, folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    assert json.loads((folder / "config.json").read_text()) == json.loads(json.dumps(facts))
    assert (folder / "model.safetensors").read_bytes() == exported.read_bytes()
    for where in (folder, folder / "model.safetensors"):
        weights = read(where)
        assert (weights.backbone, weights.clip, weights.views()) == ("r3d_tiny", original.clip, original.views())
        assert all(torch.equal(value, original.model[key]) for key, value in weights.model.items())


def test_preprocessor_config_matches_our_preprocessing(exported):
    folder = exported.parent / "hub"
    export(read(exported.with_name("a.pt")), folder)
    steps, views = json.loads((folder / "preprocessor_config.json").read_text()), read(folder).views()
    assert (steps["size"], steps["crop_size"]) == ({"shortest_edge": 73}, {"height": 64, "width": 64})
    assert (steps["num_frames"], steps["stride"]) == (8, views.stride)
    assert steps["image_mean"] == [0.485, 0.456, 0.406]
    assert steps["rescale_factor"] * 255 == 1


def test_exporting_into_a_work_dir_is_refused(exported):
    run = exported.parent / "run"
    (run / "checkpoints").mkdir(parents=True)
    write_checkpoint(run / "checkpoints" / "step_00000006.pt", seed=3)
    with pytest.raises(UserError, match=r"--out .*run is the work dir of a run: choose a folder of its own"):
        export(read(run), run)
    (run / "model.safetensors").write_bytes(exported.read_bytes())
    assert read(run).path.name == "step_00000006.pt"
