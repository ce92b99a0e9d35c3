"""Networks, backbones, optimizers and loggers of the user's own that break the rules: the error says what is wrong."""

import re
from pathlib import Path

import pytest
import torch

from configs.errors import UserError
from configs.load import load
from configs.optim import Optim
from configs.plugins import look_up
from nets import backbones
from nets.tasks import build_task
from trainers.engine.build import check_recipe
from trainers.engine.loggers import open_loggers
from trainers.engine.optimizers import make_optimizer

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


def test_a_name_that_is_not_callable_is_refused():
    with pytest.raises(UserError, match=r"backbone: os\.path is of type module; give a function or class"):
        look_up("os.path", {}, key="backbone")


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


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("backbone=own_pkg.parts.own", "backbone: own_pkg.parts.own is called as own(), and does not fit that"),
        ("optim.name=own_pkg.parts.own", "optim.name: own_pkg.parts.own is called as own(groups, optim), and does not"),
        ("train.loggers=[own_pkg.parts.own]", "train.loggers: own_pkg.parts.own is called as own(config, first_step)"),
    ],
)
def test_a_part_that_takes_other_arguments_is_refused_before_the_dataset_is_opened(own_pkg, setting, message):
    """It ended in a traceback, a logger's after minutes of start-up."""
    (own_pkg / "parts.py").write_text("def own(one): ...\n")
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        check_recipe(load("ctp/demo", [setting]))


@pytest.mark.parametrize("stride", ["16", "(16, 16)", "None"])
def test_a_backbone_whose_stride_is_not_of_three_axes_is_refused(own_pkg, stride):
    """Tasks that look at places of the feature map ended in a traceback."""
    (own_pkg / "parts.py").write_text(
        f"from nets.backbones import Backbone\nclass Own(Backbone):\n    out_channels, stride = 8, {stride}\n"
    )
    with pytest.raises(UserError, match=rf"^backbone: own_pkg\.parts\.Own has stride = {re.escape(stride)}; three are"):
        backbones.create("own_pkg.parts.Own")


@pytest.mark.parametrize(
    "body",
    [
        "return torch.optim.SGD([p for g in groups for p in g['params']])",
        "return torch.optim.SGD(groups[:1])",
        "return torch.optim.SGD([*groups, {'params': [torch.nn.Parameter(torch.zeros(1))]}])",
        "return 5",
    ],
)
def test_an_optimizer_without_the_given_groups_is_refused(own_pkg, body):
    """The loop failed at its first step, after minutes of start-up, with a KeyError, or trained only some groups."""
    (own_pkg / "parts.py").write_text(f"import torch\ndef own(groups, optim):\n    {body}\n")
    with pytest.raises(UserError, match=r"own_pkg\.parts\.own returned (SGD|int); a torch\.optim\.Optimizer of all"):
        make_optimizer(torch.nn.Linear(2, 2), Optim(name="own_pkg.parts.own", decay_norms_and_biases=False))


def test_a_network_without_parameters_is_refused():
    with pytest.raises(UserError, match=r"^the network has no parameters to train"):
        make_optimizer(torch.nn.Linear(2, 2).requires_grad_(False), Optim())


def test_a_logger_that_lacks_a_method_is_refused(own_pkg, tmp_path):
    """It failed at the first line of the log, or only when the run had ended."""
    (own_pkg / "parts.py").write_text(
        "class Mute:\n    def __init__(self, config, first_step): ...\n    def add_scalars(self, *_): ...\n"
    )
    config = load("ctp/demo", [f"work_dir={tmp_path}", "train.loggers=[csv, own_pkg.parts.Mute]"])
    message = r"^train\.loggers: own_pkg\.parts\.Mute returned Mute without add_image and close; docs"
    with pytest.raises(UserError, match=message):
        open_loggers(config, first_step=0)


def test_a_logger_that_is_named_twice_logs_once(tmp_path):
    """Each row of its table was there twice."""
    config = load("ctp/demo", [f"work_dir={tmp_path}", "train.loggers=[csv, csv]"])
    (logger,) = open_loggers(config, first_step=0)
    logger.close()
