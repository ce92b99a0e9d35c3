"""torch.hub, with this repository as the local source."""

import pytest
import torch

import hubconf
from nets.backbones import BACKBONES
from tests.helpers.checkpoints import write_checkpoint
from tests.helpers.runs import ROOT
from trainers.weights import read
from trainers.weights.export import export


def test_exactly_the_backbones_are_listed_with_help():
    entries = {name: entry for name, entry in vars(hubconf).items() if callable(entry) and not name.startswith("_")}
    assert entries.keys() == BACKBONES.keys()  # what torch.hub.list lists
    assert all("random weights without it" in entry.__doc__ for entry in entries.values())


@pytest.mark.parametrize("out", ["hub", "a.safetensors", "file://"])
def test_exports_load_from_folders_files_and_urls(tmp_path, monkeypatch, out):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "cache"))
    net = write_checkpoint(tmp_path / "a.pt")
    path = tmp_path / ("a.safetensors" if out == "file://" else out)
    export(read(tmp_path / "a.pt"), path)
    pretrained = path.as_uri() if out == "file://" else str(path)
    loaded = torch.hub.load(str(ROOT), "r3d_tiny", source="local", pretrained=pretrained, trust_repo=True)
    for key, value in net.state_dict().items():
        assert loaded.state_dict()[key].equal(value)
