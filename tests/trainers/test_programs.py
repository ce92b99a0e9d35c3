"""Backbones exported by torch.export and to ONNX compute what the network does, or are refused."""

import io
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from configs.errors import UserError
from nets.backbones import create
from nets.backbones.base import Backbone
from tests.helpers.checkpoints import write_checkpoint
from trainers.weights import programs, read
from trainers.weights.export import export

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("backbone", "frames"), [("r3d_tiny", 8), ("resnet_tiny_transformer", 4), ("vit_tiny", 4)])
def test_torch_export_programs_take_any_batch_size(backbone, frames):
    torch.manual_seed(0)
    net, clips = create(backbone).eval(), torch.randn(5, 3, frames, 32, 32)
    content = programs.program(net, backbone, clips[0], ".pt2")
    loaded = torch.export.load(io.BytesIO(content)).module()
    with torch.no_grad():
        for batch in (1, 5):
            torch.testing.assert_close(loaded(clips[:batch]), net(clips[:batch]), rtol=1e-4, atol=1e-4)


def test_an_onnx_file_computes_the_checkpoints_features(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    net = write_checkpoint(tmp_path / "a.pt")
    export(read(tmp_path / "a.pt"), tmp_path / "a.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.md", "a.onnx", "a.pt"]
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    clips = torch.randn(4, 3, 8, 64, 64)
    (features,) = session.run(["features"], {"clips": clips.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(features), net(clips), rtol=1e-4, atol=1e-4)


class Branching(nn.Module):
    """Module that branches on input values, which cannot be exported."""

    def forward(self, clips: Tensor) -> Tensor:
        return clips if clips.sum() > 0 else -clips


def test_an_untraceable_network_says_why_and_leaves_no_file(tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"my_net cannot be written as \.pt2: .+"):
        programs.program(cast(Backbone, Branching().eval()), "my_net", torch.ones(3, 2, 4, 4), ".pt2")
    fails = {".pt2": lambda net, clip: programs.compare(net, clip, lambda clips: net(clips) + 1)}
    monkeypatch.setattr(programs, "FORMATS", fails)
    with pytest.raises(UserError, match=r"r3d_tiny cannot be written as \.pt2: its output differs"):
        export(read(tmp_path / "a.pt"), tmp_path / "a.pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
