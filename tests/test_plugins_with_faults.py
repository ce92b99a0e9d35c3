"""Parts of a package of the user's that break the rules: the error names the file and what is wrong."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from configs.errors import UserError, how_to_install
from configs.load import dump, load, parse
from configs.optim import Optim
from configs.plugins import look_up
from dali_pipelines.loader import ClipLoader
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.tasks import Task, task_module
from nets import backbones
from nets.tasks import build_task, net_module
from tests.helpers.docs import new_files
from tests.helpers.runs import ROOT
from trainers.engine.build import check_recipe
from trainers.engine.loggers import open_loggers
from trainers.engine.optimizers import make_optimizer

pytestmark = pytest.mark.slow

MIRROR = new_files(ROOT / "docs" / "extending.md")["dali_pipelines/tasks/mirror.py"]
FEWEST = "def min_frames(cfg):\n    2\n\n\ndef program("
OUTSIDE = "frames of plan go from -1 to 48; the video has 50 frames"
OPERATION = """CropResize(cfg.size), Own())

from dali_pipelines.pixels.color import Recolor

class Own(Recolor):
    def schema(self, *, views, frames): return KIND"""
MADE = "the program makes float32 clips of 8 frames of 3 x 64 x 64"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `own_pkg`, forgotten after the test."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "own_pkg"
    folder.mkdir()
    yield folder
    task_module.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "own_pkg"]:
        del sys.modules[name]


def task(package: Path, *changes: tuple[str, str]) -> Task:
    """Write the page's task with changes as `own_pkg.task`."""
    text = MIRROR
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (package / "task").mkdir()
    (package / "task" / "data.py").write_text(text)
    return Task("own_pkg.task", task_module("own_pkg.task").Config())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("np.array(mirrored, np.int64)", "np.array(0.5)", "labels of plan is float64 (); the"),
        (
            '"labels": np.array(mirrored, np.int64)',
            '"labels": np.zeros(3, np.int64)',
            "labels of plan is int64 (3,); the",
        ),
        ('"labels": np.array(mirrored, np.int64),', "", "labels of plan is missing; the task's schema says int64 ()"),
        ("length=cfg.num_frames", "length=cfg.num_frames - 1", "frames of plan is int32 (7,); the"),
        ('"labels"', '"order"', "the loader has arrays named order: choose another name"),
        ('"labels"', '"crop_end"', "the program has arrays named crop_end: choose another name"),
        ("strides=STRIDES, jitter=False)", "strides=(99,), jitter=False) - 1", OUTSIDE),
        ("    return {\n", "    drawn = {\n", "plan returned NoneType, not dict: see docs/extending.md"),
        ("    return consecutive", "    consecutive", "program returned NoneType, not Program: see docs/extending.md"),
        ('    return {"clips"', '    {"clips"', "batch_schema returned NoneType, not dict: see docs/extending.md"),
        ('((), "int64")', '"int64"', "batch_schema says 'int64' of labels: give its shape and dtype, such as ((3,), "),
        ('((), "int64")', '(1.5, "int64")', "batch_schema says (1.5, 'int64') of labels: give its shape and dtype"),
        ('((), "int64")', '((), "integer64")', "batch_schema says ((), 'integer64') of labels: give its shape and"),
        ('((), "int64")', '((-1,), "int64")', "batch_schema says ((-1,), 'int64') of labels: give its shape and"),
        ('((), "int64")', '((), "complex64")', "batch_schema says ((), 'complex64') of labels: give its shape and"),
        ('"clips": (', '"videos": (', MADE + ", batch_schema says nothing"),
        (
            "CropResize(cfg.size))",
            "CropResize(cfg.size), outputs={'videos': 1})",
            "outputs of the program are videos: name one of them clips, which",
        ),
        (
            "CropResize(cfg.size))",
            OPERATION.replace("KIND", "{'gray': ((views), 'int64')}"),
            "schema of an operation says (1, 'int64') of gray: give its shape and dtype, such as ((3,), ",
        ),
        (
            "CropResize(cfg.size))",
            OPERATION.replace("KIND", "{'order': ((views,), 'int64')}"),
            "the loader has arrays named order: choose another name",
        ),
        ('"float32"', '"uint8"', MADE + ", batch_schema says uint8 (3, 8, 64, 64)"),
        (
            "(3, cfg.num_frames, cfg.size, cfg.size)",
            "(3, cfg.size, cfg.size)",
            MADE,
        ),
        (
            "(3, cfg.num_frames, cfg.size,",
            "(3, 2 * cfg.num_frames, cfg.size,",
            MADE,
        ),
    ],
)
def test_a_plan_unlike_its_schema_is_refused_before_a_network_sees_it(package, old, new, message):
    """A clip with a frame less was filled with whatever the memory held; a label named order with DALI's own."""
    own = task(package, (old, new))
    video = VideoInfo(name="v", num_frames=50, width=160, height=120, fps=25.0, label=0)
    with pytest.raises(UserError, match=re.escape(f"{package / 'task' / 'data.py'}: {message}")):
        own.plan(video, np.random.default_rng(0))


def test_other_functions_without_their_return_are_named(package):
    own = task(package, ("\n    return Annotations(", "\n    Annotations("), ("def program(", FEWEST))
    calls = {"annotate": lambda: own.annotate({"labels": np.array(1)}), "min_frames": lambda: own.min_frames}
    for function, call in calls.items():
        with pytest.raises(UserError, match=f"{function} returned NoneType, not (Annotations|int): see docs"):
            call()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_runtime_error_of_a_plan_is_not_taken_for_one_of_dali(package, vp9_store, workers):
    own = task(package, ("    mirrored = int", '    raise RuntimeError("no such color")\n    mirrored = int'))
    loader = ClipLoader(vp9_store, own, batch_size=2, workers=workers)
    with pytest.raises(RuntimeError, match=r"^no such color$"):
        next(iter(loader))
    loader.close()


def test_a_task_module_that_lacks_a_function_is_named(package):
    data, net = package / "task" / "data.py", package / "task" / "net.py"
    data.parent.mkdir()
    data.write_text("class Config: ...\ndef plan(): ...\n")
    net.write_text("")
    with pytest.raises(UserError, match=rf"^{data} lacks program, batch_schema, which a task needs"):
        task_module("own_pkg.task")
    with pytest.raises(UserError, match=rf"^{net} lacks METRIC, Config, build, which a task needs"):
        net_module("own_pkg.task")


def write_net(package: Path, net: str) -> Path:
    """Write the network side of `own_pkg.task`, which builds `net`."""
    (package / "task").mkdir(exist_ok=True)
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
def test_a_network_that_is_no_pretext_or_has_no_backbone_is_refused(package, net, kind):
    """Without `self.backbone`, a run trained to its end, and nothing could load its weights."""
    file = write_net(package, net)
    with pytest.raises(UserError, match=rf"^{file}: build returned {kind}; subclass nets\.tasks\.Pretext, with the"):
        build_task("own_pkg.task", "r3d_tiny", {}, None)


def test_a_network_around_another_backbone_than_the_recipe_names_is_refused(package):
    """It trained to its end; its weights, saved under the name in the recipe, could not be loaded."""
    file = write_net(package, "type('Own', (Pretext,), {'backbone': create('r3d_tiny')})()")
    with pytest.raises(UserError, match=rf"^{file}: build made a ResNet3d with other weights than vit_tiny, a ViT, so"):
        build_task("own_pkg.task", "vit_tiny", {}, None)
    torch.manual_seed(3)
    backbones.create("r3d_tiny")
    expected = torch.rand(1)
    torch.manual_seed(3)
    build_task("own_pkg.task", "r3d_tiny", {}, None)
    assert torch.rand(1) == expected  # the comparison draws nothing


def test_a_sample_larger_than_any_memory_is_refused_before_it_is_drawn(package):
    """A slip such as num_frames = 2 * 10**9 took minutes and all memory."""
    own = task(
        package,
        ("size: int = 64", "size: int = 100_000"),
        ("    mirrored = int", "    raise AssertionError\n    mirrored = int"),
    )
    video = VideoInfo(name="v", num_frames=50, width=160, height=120, fps=25.0, label=0)
    message = (
        "a sample of own_pkg.task would take 894 GiB, most of it clips of shape (3, 8, 100000, 100000), and at most"
    )
    with pytest.raises(UserError, match=re.escape(message)):
        own.plan(video, np.random.default_rng(0))


@pytest.mark.parametrize("strides", ["2", "(2.0,)", "()", "'12'"])
def test_frame_steps_that_are_none_are_refused_before_training(package, strides):
    """The run trained to its end; finetuning its weights ended in a traceback."""
    with pytest.raises(UserError, match=re.escape(f"STRIDES = {strides} must be a tuple of whole numbers, as in (1")):
        task(package, ("STRIDES = (2,)", f"STRIDES = {strides}"), ("strides=STRIDES", "strides=(2,)"))


@pytest.mark.parametrize("decorated", ["", "@dataclass\n"])
def test_settings_that_cannot_be_keys_of_a_cache_are_refused(package, decorated):
    """A run ended in a traceback: "unhashable type"."""
    with pytest.raises(UserError, match=r"data\.py: Config must be a frozen dataclass: put @dataclass\(frozen=True\)"):
        task(package, ("@dataclass(frozen=True)\n", decorated))


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ("size: int = 64.5", "plan.size: expected a whole number, got 64.5"),
        ("size: int = 64\n    more: Any = 1", "plan.more: expected typing.Any, which recipes do not support"),
        ("size: int = 64\n    more: dict = field(default_factory=dict)", "plan.more: expected <class 'dict'>, which"),
    ],
)
def test_defaults_that_cannot_be_read_back_are_refused(package, field, fault):
    """The run trained to its end, and then no command could read its weights."""
    imports = ("from dataclasses import dataclass", "from typing import Any\nfrom dataclasses import dataclass, field")
    task(package, imports, ("size: int = 64", field))
    write_net(package, "None")
    recipe = "task: own_pkg.task\nbackbone: r3d_tiny\nwork_dir: w\ndata: {root: d}\ntrain: {epochs: 1}\n"
    with pytest.raises(UserError, match=re.escape(f"a default of own_pkg.task: {fault}")):
        parse(recipe, source="x.yaml")


def test_a_field_that_a_config_computes_is_no_key_of_a_recipe(package):
    """It was written to the recipe saved with the weights, which could not be read back."""
    computed = (
        "size: int = 64\n    area: int = field(init=False)\n\n"
        "    def __post_init__(self):\n        object.__setattr__(self, 'area', self.size**2)"
    )
    task(package, ("import dataclass", "import dataclass, field"), ("size: int = 64", computed))
    write_net(package, "None")
    recipe = "task: own_pkg.task\nbackbone: r3d_tiny\nwork_dir: w\ndata: {root: d}\ntrain: {epochs: 1}\n"
    config = parse(recipe + "plan: {size: 32}", source="x.yaml")
    assert config.plan.area == 32**2
    assert parse(dump(config), source="again.yaml") == config
    with pytest.raises(UserError, match=r"plan\.area: no such key; plan has num_frames, size$"):
        parse(recipe + "plan: {area: 9}", source="x.yaml")


@pytest.mark.parametrize(
    ("old", "new", "called"),
    [
        ("def plan(video: VideoInfo, rng: np.random.Generator, cfg", "def plan(video, cfg", "plan(video, rng, cfg)"),
        ("def program(cfg: Config)", "def program()", "program(cfg)"),
        ("def annotate(", "def annotate(video, ", "annotate(plan, cfg)"),
    ],
)
def test_a_function_of_a_task_that_takes_other_arguments_is_named(package, old, new, called):
    """It ended in a traceback, one of plan in that of a worker process."""
    message = f"{package / 'task' / 'data.py'}: {called.partition('(')[0]} is called as {called}, and does not fit"
    with pytest.raises(UserError, match=re.escape(message)):
        task(package, (old, new))


def test_a_network_side_that_takes_other_arguments_is_named(package):
    file = write_net(package, "None")
    file.write_text(file.read_text().replace("build(backbone, schema, cfg)", "build(backbone, cfg)"))
    message = f"{file}: build is called as build(backbone, schema, cfg), and does not fit that: too many positional"
    with pytest.raises(UserError, match=re.escape(message)):
        net_module("own_pkg.task")


def test_a_wrong_import_in_a_task_names_its_file(package):
    (package / "data.py").write_text("import dali_pipelines.plan.crop\n")
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module("own_pkg.data")
    message = f"No module named 'dali_pipelines.plan.crop', which {package / 'data.py'} imports"
    assert how_to_install(caught.value) == message


def test_a_name_that_is_not_callable_is_refused():
    with pytest.raises(UserError, match=r"backbone: os\.path is of type module; give a function or class"):
        look_up("os.path", {}, key="backbone")


def test_a_module_that_nobody_has_imported_is_refused_as_one(package):
    """The message said that there is no such name."""
    (package / "parts.py").write_text("")
    with pytest.raises(UserError, match=r"^backbone: own_pkg\.parts is of type module; give a function or class"):
        look_up("own_pkg.parts", {}, key="backbone")


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
def test_a_backbone_that_returns_no_feature_maps_is_refused(package, features, fault):
    """Pooled features ended in an IndexError, another number of channels in one of matrices."""
    (package / "parts.py").write_text(
        "from nets.backbones import Backbone\nclass Own(Backbone):\n    out_channels, stride = 3, (1, 1, 1)\n"
        f"    def forward(self, x): return {features}\n"
    )
    net = backbones.create("own_pkg.parts.Own")
    message = re.escape(f"backbone: own_pkg.parts.Own returned {fault}; (B, C, T', H', W') is needed")
    with pytest.raises(UserError, match=f"^{message}, without pooling, where C is out_channels = 3$"):
        net(torch.zeros(2, 3, 4, 8, 8))


def test_a_backbone_whose_features_contradict_its_stride_is_refused(package):
    """CtP looked at other places of the map than those of its boxes, and trained to its end."""
    (package / "parts.py").write_text(
        "from nets.backbones import Backbone\nclass Right(Backbone):\n    out_channels, stride = 3, (1, 2, 2)\n"
        "    def forward(self, x): return x[:, :, :, ::2, ::2]\n"
        "class Wrong(Right):\n    def forward(self, x): return x[:, :, :, ::2, ::4]\n"
    )
    right, wrong = (backbones.create(f"own_pkg.parts.{name}") for name in ("Right", "Wrong"))
    assert right(torch.zeros(2, 3, 4, 9, 8)).shape == (2, 3, 4, 5, 4)
    message = "own_pkg.parts.Wrong returned a feature map of (4, 5, 2) for clips of (4, 9, 8), which its stride = (1, 2"
    with pytest.raises(UserError, match=re.escape(message)):
        wrong(torch.zeros(2, 3, 4, 9, 8))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("backbone=own_pkg.parts.own", "backbone: own_pkg.parts.own is called as own(), and does not fit that"),
        ("optim.name=own_pkg.parts.own", "optim.name: own_pkg.parts.own is called as own(groups, optim), and does not"),
        ("train.loggers=[own_pkg.parts.own]", "train.loggers: own_pkg.parts.own is called as own(config, first_step)"),
    ],
)
def test_a_part_that_takes_other_arguments_is_refused_before_the_dataset_is_opened(package, setting, message):
    """It ended in a traceback, a logger's after minutes of start-up."""
    (package / "parts.py").write_text("def own(one): ...\n")
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        check_recipe(load("ctp/demo", [setting]))


@pytest.mark.parametrize("stride", ["16", "(16, 16)", "None"])
def test_a_backbone_whose_stride_is_not_of_three_axes_is_refused(package, stride):
    """Tasks that look at places of the feature map ended in a traceback."""
    (package / "parts.py").write_text(
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
def test_an_optimizer_without_the_given_groups_is_refused(package, body):
    """The loop failed at its first step, after minutes of start-up, with a KeyError, or trained only some groups."""
    (package / "parts.py").write_text(f"import torch\ndef own(groups, optim):\n    {body}\n")
    with pytest.raises(UserError, match=r"own_pkg\.parts\.own returned (SGD|int); a torch\.optim\.Optimizer of all"):
        make_optimizer(torch.nn.Linear(2, 2), Optim(name="own_pkg.parts.own", decay_norms_and_biases=False))


def test_an_optimizer_whose_step_needs_a_closure_is_refused(package):
    """It ended in a traceback at the first step."""
    (package / "parts.py").write_text(
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


def test_a_logger_that_lacks_a_method_is_refused(package, tmp_path):
    """It failed at the first line of the log, or only when the run had ended."""
    (package / "parts.py").write_text(
        "class Mute:\n    def __init__(self, config, first_step): ...\n    def add_scalars(self, *_): ...\n"
    )
    config = load("ctp/demo", [f"work_dir={tmp_path}", "train.loggers=[csv, own_pkg.parts.Mute]"])
    message = r"^train\.loggers: own_pkg\.parts\.Mute returned Mute without add_image and close; docs"
    with pytest.raises(UserError, match=message):
        open_loggers(config, first_step=0)


def test_a_logger_whose_method_takes_other_arguments_is_refused_before_the_first_step(package, tmp_path):
    """The run ended in a traceback at the first line of its log."""
    (package / "parts.py").write_text(
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
