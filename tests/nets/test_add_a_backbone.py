"""A new backbone is one file and its entry in the registry."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers.runs import ROOT

pytestmark = pytest.mark.slow

BACKBONE = '''\
"""A single convolution."""

from torch import nn

from nets.backbones.base import Backbone


class Toy(Backbone):
    out_channels, stride = 8, (4, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, self.out_channels, kernel_size=self.stride, stride=self.stride)
'''

TRAIN = """\
import torch
from nets.tasks import build_task, net_module
import nets
schema = {"clips": ((3, 8, 16, 16), "float32"), "labels": ((), "int64")}
net = build_task("rot3d", "toy", schema, net_module("rot3d").Config())
loss = net({"clips": torch.randn(2, 3, 8, 16, 16), "labels": torch.tensor([0, 3])})["loss"]
loss.backward()
print(nets.__path__[0], net.backbone.conv.weight.grad.shape)
"""


def test_one_file_and_its_entry_in_the_registry_are_a_backbone_that_trains(tmp_path):
    for package in ("configs", "nets"):  # all that a network needs
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "nets" / "backbones" / "toy.py").write_text(BACKBONE)
    registry = tmp_path / "nets" / "backbones" / "__init__.py"
    text = registry.read_text()
    for old, new in {
        "from nets.backbones import ": "from nets.backbones import toy, ",
        '    "c3d": c3d.C3D,\n': '    "c3d": c3d.C3D,\n    "toy": toy.Toy,\n',
    }.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    registry.write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", TRAIN],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
    )
    assert done.stdout == f"{tmp_path / 'nets'} torch.Size([8, 3, 4, 8, 8])\n"
