"""Exports: plain PyTorch reads them, and two files are never taken for one another's."""

import hashlib
import json
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from configs.errors import UserError
from nets.backbones import create
from tests.helpers.runs import ROOT
from tests.trainers.test_weights import write_checkpoint
from trainers.commands.export import main
from trainers.weights import read
from trainers.weights.export import export


@pytest.fixture
def exported(tmp_path) -> Path:
    write_checkpoint(tmp_path / "a.pt")
    export(read(tmp_path / "a.pt"), tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


@pytest.mark.slow
def test_three_lines_of_plain_pytorch_give_the_same_features_without_dali(tmp_path, capsys):
    net = write_checkpoint(tmp_path / "a.pt")
    out = tmp_path / "new" / "a.safetensors"
    main([str(tmp_path / "a.pt"), "--out", str(out)])
    assert capsys.readouterr().out.startswith(f"{out}: r3d_tiny, 1.2 MB, step 6\n")
    script = """
        import sys
        from safetensors.torch import load_file
        from nets.backbones import create
        net = create("r3d_tiny")
        net.load_state_dict(load_file(sys.argv[1]))

        import torch
        clips = torch.randn(2, 3, 8, 64, 64, generator=torch.Generator().manual_seed(1))
        torch.save(net.eval()(clips), sys.argv[2])
        print(sorted({name.partition(".")[0] for name in sys.modules} & {"nvidia", "trainers", "dali_pipelines"}))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(out), str(tmp_path / "features.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
    assert out.stat().st_mode == out.with_suffix(".json").stat().st_mode  # readable for others, as any file
    clips = torch.randn(2, 3, 8, 64, 64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(torch.load(tmp_path / "features.pt"), net(clips))


def test_the_facts_are_those_of_the_checkpoint(exported):
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


def test_tensors_in_channels_last_order_come_out_contiguous_and_equal(tmp_path):
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


def test_it_reads_back_as_weights(exported):
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
        (lambda path: path.with_suffix(".json").write_text("{}"), r"no export \('architecture'\); export again"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:9000]),
            r"they are of two exports, or one of them has changed",
        ),
        (flip_a_bit, r"they are of two exports, or one of them has changed"),
        (other_export, r"they are of two exports, or one of them has changed"),
    ],
)
def test_a_missing_damaged_or_foreign_half_is_refused(exported, damage, message):
    damage(exported)
    with pytest.raises(UserError, match=message):
        read(exported)


def test_an_architecture_that_someone_else_wrote_into_the_json_does_not_fit(exported):
    facts = exported.with_suffix(".json")
    facts.write_text(facts.read_text().replace("r3d_tiny", "r3d18"))
    with pytest.raises(UserError, match=r"it has stem.0.weight \(16, .* has stem.0.weight \(64, "):
        read(exported).load_backbone(create("r3d18"), "r3d18")


def test_an_export_that_fails_leaves_the_pair_that_was_there_and_no_litter(exported):
    write_checkpoint(exported.with_name("b.pt"), seed=1)
    before = {path.name: path.read_bytes() for path in exported.parent.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*a.safetensors: .*File too large.*; make room"):
            export(read(exported.with_name("b.pt")), exported)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in exported.parent.iterdir()} == before


def test_a_crash_between_the_two_files_never_makes_a_pair_of_two_exports(exported, monkeypatch):
    write_checkpoint(exported.with_name("b.pt"), seed=1)
    rename, moved = os.replace, []

    def crash_at_the_second(part: Path, target: Path) -> None:
        if moved:
            raise OSError("crash")
        moved.append(target)
        rename(part, target)

    weights = read(exported.with_name("b.pt"))
    monkeypatch.setattr(os, "replace", crash_at_the_second)
    with pytest.raises(OSError, match="crash"):
        export(weights, exported)
    monkeypatch.undo()
    assert moved == [exported]
    with pytest.raises(UserError, match=r"they are of two exports"):
        read(exported)
    export(weights, exported)
    assert read(exported).step == 6


def test_what_cannot_be_exported_is_refused(exported, capsys):
    with pytest.raises(UserError, match=r"a.safetensors is an export already: copy it together with its .json"):
        main([str(exported), "--out", str(exported.with_name("b.safetensors"))])
    with pytest.raises(SystemExit, match="2"):
        main([str(exported.with_name("a.pt")), "--out", "a.pth"])
    assert "--out a.pth: its name must end in .safetensors" in capsys.readouterr().err
