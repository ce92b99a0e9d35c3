"""Networks and backbones of the user's own that break the rules: the error says what is wrong."""

import re
from pathlib import Path

import pytest
import torch

from configs.errors import UserError
from nets import backbones
from nets.tasks import build_task, net_module

pytestmark = pytest.mark.slow


def write_net(package: Path, net: str) -> Path:
    """Write the network side of `own_pkg.task`, which builds `net`."""
    (package / "task").mkdir()
    file = package / "task" / "net.py"
    file.write_text(
        "import torch\nfrom configs.optim import Optim as Config\nfrom nets.backbones import create\n"
        "from nets.tasks import Pretext\nMETRIC = 'accuracy'\n"
        f"def build(backbone, schema, cfg): return {net}\n"
    )
    return file


@pytest.mark.parametrize(
    ("net", "kind"),
    [
        ("torch.nn.Linear(2, 2)", "Linear"),
        ("Pretext()", "Pretext"),
        ("create(backbone)", "ResNet3d"),
        ("type('Own', (Pretext,), {'backbone': [create(backbone)]})()", "Own"),
        ("type('Own', (Pretext,), {'backbone': torch.nn.Sequential(create(backbone))})()", "Own"),
    ],
)
def test_a_network_that_is_no_pretext_or_has_no_backbone_is_refused(own_pkg, net, kind):
    """Without `self.backbone`, a run trained to its end, and nothing could load its weights."""
    file = write_net(own_pkg, net)
    with pytest.raises(UserError, match=rf"^{file}: build returned {kind}; subclass nets\.tasks\.Pretext, with the"):
        build_task("own_pkg.task", "r3d_tiny", {}, None)


def test_a_network_around_another_backbone_than_the_recipe_names_is_refused(own_pkg):
    """It trained to its end; its weights, saved under the name in the recipe, could not be loaded."""
    file = write_net(own_pkg, "type('Own', (Pretext,), {'backbone': create('r3d_tiny')})()")
    with pytest.raises(UserError, match=rf"^{file}: build made a ResNet3d with other weights than vit_tiny, a ViT, so"):
        build_task("own_pkg.task", "vit_tiny", {}, None)
    torch.manual_seed(3)
    backbones.create("r3d_tiny")
    expected = torch.rand(1)
    torch.manual_seed(3)
    build_task("own_pkg.task", "r3d_tiny", {}, None)
    assert torch.rand(1) == expected  # the comparison draws nothing


def test_a_network_side_that_takes_other_arguments_is_named(own_pkg):
    file = write_net(own_pkg, "None")
    file.write_text(file.read_text().replace("build(backbone, schema, cfg)", "build(backbone, cfg)"))
    message = f"{file}: build is called as build(backbone, schema, cfg), and does not fit that: too many positional"
    with pytest.raises(UserError, match=re.escape(message)):
        net_module("own_pkg.task")


def test_a_backbone_without_a_size_is_refused():
    with pytest.raises(UserError, match=r"torch\.nn\.Identity returned Identity without out_channels and stride"):
        backbones.create("torch.nn.Identity")


@pytest.mark.parametrize(
    ("features", "fault"),
    [
        ("x.mean((2, 3, 4))", "features of shape (2, 3)"),
        ("x[:, :2]", "features of shape (2, 2, 4, 8, 8)"),
        ("(x, x)", "tuple"),
    ],
)
def test_a_backbone_that_returns_no_feature_maps_is_refused(own_pkg, features, fault):
    """Pooled features ended in an IndexError, another number of channels in one of matrices."""
    (own_pkg / "parts.py").write_text(
        "from nets.backbones import Backbone\nclass Own(Backbone):\n    out_channels, stride = 3, (1, 1, 1)\n"
        f"    def forward(self, x): return {features}\n"
    )
    net = backbones.create("own_pkg.parts.Own")
    message = re.escape(f"backbone: own_pkg.parts.Own returned {fault}; (B, C, T', H', W') is needed")
    with pytest.raises(UserError, match=f"^{message}, without pooling, where C is out_channels = 3$"):
        net(torch.zeros(2, 3, 4, 8, 8))


def test_a_backbone_whose_features_contradict_its_stride_is_refused(own_pkg):
    """CtP looked at other places of the map than those of its boxes, and trained to its end."""
    (own_pkg / "parts.py").write_text(
        "from nets.backbones import Backbone\nclass Right(Backbone):\n    out_channels, stride = 3, (1, 2, 2)\n"
        "    def forward(self, x): return x[:, :, :, ::2, ::2]\n"
        "class Wrong(Right):\n    def forward(self, x): return x[:, :, :, ::2, ::4]\n"
    )
    right, wrong = (backbones.create(f"own_pkg.parts.{name}") for name in ("Right", "Wrong"))
    assert right(torch.zeros(2, 3, 4, 9, 8)).shape == (2, 3, 4, 5, 4)
    message = "own_pkg.parts.Wrong returned a feature map of (4, 5, 2) for clips of (4, 9, 8), which its stride = (1, 2"
    with pytest.raises(UserError, match=re.escape(message)):
        wrong(torch.zeros(2, 3, 4, 9, 8))


@pytest.mark.parametrize("stride", ["16", "(16, 16)", "None"])
def test_a_backbone_whose_stride_is_not_of_three_axes_is_refused(own_pkg, stride):
    """Tasks that look at places of the feature map ended in a traceback."""
    (own_pkg / "parts.py").write_text(
        f"from nets.backbones import Backbone\nclass Own(Backbone):\n    out_channels, stride = 8, {stride}\n"
    )
    with pytest.raises(UserError, match=rf"^backbone: own_pkg\.parts\.Own has stride = {re.escape(stride)}; three are"):
        backbones.create("own_pkg.parts.Own")
