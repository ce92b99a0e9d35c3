"""Optimizers and loggers of the user's own that break the rules: the error says what is wrong."""

import re

import pytest
import torch

from configs.errors import UserError
from configs.load import load
from configs.optim import Optim
from configs.plugins import look_up
from trainers.engine.build import check_recipe
from trainers.engine.loggers import open_loggers
from trainers.engine.optimizers import make_optimizer

pytestmark = pytest.mark.slow


def test_a_name_that_is_not_callable_is_refused():
    with pytest.raises(UserError, match=r"backbone: os\.path is of type module; give a function or class"):
        look_up("os.path", {}, key="backbone")


def test_a_module_that_nobody_has_imported_is_refused_as_one(own_pkg):
    """The message said that there is no such name."""
    (own_pkg / "parts.py").write_text("")
    with pytest.raises(UserError, match=r"^backbone: own_pkg\.parts is of type module; give a function or class"):
        look_up("own_pkg.parts", {}, key="backbone")


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


def test_an_optimizer_whose_step_needs_a_closure_is_refused(own_pkg):
    """It ended in a traceback at the first step."""
    (own_pkg / "parts.py").write_text(
        "import torch\nclass Lbfgs(torch.optim.SGD):\n    def step(self, closure): ...\n"
        "def own(groups, optim): return Lbfgs(groups, lr=1.0)\n"
    )
    with pytest.raises(
        UserError, match=r"^optim\.name: step of own_pkg\.parts\.own is called as step\(\), and does not"
    ):
        make_optimizer(torch.nn.Linear(2, 2), Optim(name="own_pkg.parts.own"))


def test_an_optimizer_of_torch_itself_is_refused_before_the_dataset_is_opened():
    """It took the recipe's section for its learning rate, and ended in a traceback."""
    with pytest.raises(UserError, match=r"^optim\.name: torch\.optim\.AdamW does not read a recipe's optim section"):
        check_recipe(load("ctp/demo", ["optim.name=torch.optim.AdamW"]))


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


def test_a_logger_whose_method_takes_other_arguments_is_refused_before_the_first_step(own_pkg, tmp_path):
    """The run ended in a traceback at the first line of its log."""
    (own_pkg / "parts.py").write_text(
        "class Own:\n    def __init__(self, config, first_step): ...\n    def add_scalars(self, values, step): ...\n"
        "    def add_image(self, name, image, step): ...\n    def close(self): ...\n"
    )
    config = load("ctp/demo", [f"work_dir={tmp_path}", "train.loggers=[own_pkg.parts.Own]"])
    message = "train.loggers: add_scalars of own_pkg.parts.Own is called as add_scalars(group, values, step), and does"
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        open_loggers(config, first_step=0)


def test_a_logger_that_is_named_twice_logs_once(tmp_path):
    """Each row of its table was there twice."""
    config = load("ctp/demo", [f"work_dir={tmp_path}", "train.loggers=[csv, csv]"])
    (logger,) = open_loggers(config, first_step=0)
    logger.close()
