"""Tasks of the user's own that break the rules: the error names the file and what is wrong."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError, how_to_install
from configs.load import dump, parse
from dali_pipelines.loader import ClipLoader
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.tasks import Task, task_module
from nets.tasks import net_module
from tests.helpers.docs import new_files
from tests.helpers.runs import ROOT

pytestmark = pytest.mark.slow

PAGE = new_files(ROOT / "docs" / "extending.md")
MIRROR = PAGE["dali_pipelines/tasks/mirror.py"]
FEWEST = "def min_frames(cfg):\n    2\n\n\ndef program("
OUTSIDE = "frames of plan go from -1 to 48; the video has 50 frames"
OPERATION = """CropResize(cfg.size), Own())

from dali_pipelines.pixels.color import Recolor

class Own(Recolor):
    def schema(self, *, views, frames): return KIND"""
MADE = "the program makes float32 clips of 8 frames of 3 x 64 x 64"


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
def test_a_plan_unlike_its_schema_is_refused_before_a_network_sees_it(own_pkg, old, new, message):
    """A clip with a frame less was filled with whatever the memory held; a label named order with DALI's own."""
    own = task(own_pkg, (old, new))
    video = VideoInfo(name="v", num_frames=50, width=160, height=120, fps=25.0, label=0)
    with pytest.raises(UserError, match=re.escape(f"{own_pkg / 'task' / 'data.py'}: {message}")):
        own.plan(video, np.random.default_rng(0))


def test_other_functions_without_their_return_are_named(own_pkg):
    own = task(own_pkg, ("\n    return Annotations(", "\n    Annotations("), ("def program(", FEWEST))
    calls = {"annotate": lambda: own.annotate({"labels": np.array(1)}), "min_frames": lambda: own.min_frames}
    for function, call in calls.items():
        with pytest.raises(UserError, match=f"{function} returned NoneType, not (Annotations|int): see docs"):
            call()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_runtime_error_of_a_plan_is_not_taken_for_one_of_dali(own_pkg, vp9_store, workers):
    own = task(own_pkg, ("    mirrored = int", '    raise RuntimeError("no such color")\n    mirrored = int'))
    loader = ClipLoader(vp9_store, own, batch_size=2, workers=workers)
    with pytest.raises(RuntimeError, match=r"^no such color$"):
        next(iter(loader))
    loader.close()


def test_a_task_module_that_lacks_a_function_is_named(own_pkg):
    data, net = own_pkg / "task" / "data.py", own_pkg / "task" / "net.py"
    data.parent.mkdir()
    data.write_text("class Config: ...\ndef plan(): ...\n")
    net.write_text("")
    with pytest.raises(UserError, match=rf"^{data} lacks program, batch_schema, which a task needs"):
        task_module("own_pkg.task")
    with pytest.raises(UserError, match=rf"^{net} lacks METRIC, Config, build, which a task needs"):
        net_module("own_pkg.task")


def test_a_sample_larger_than_any_memory_is_refused_before_it_is_drawn(own_pkg):
    """A slip such as num_frames = 2 * 10**9 took minutes and all memory."""
    own = task(
        own_pkg,
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
def test_frame_steps_that_are_none_are_refused_before_training(own_pkg, strides):
    """The run trained to its end; finetuning its weights ended in a traceback."""
    with pytest.raises(UserError, match=re.escape(f"STRIDES = {strides} must be a tuple of whole numbers, as in (1")):
        task(own_pkg, ("STRIDES = (2,)", f"STRIDES = {strides}"), ("strides=STRIDES", "strides=(2,)"))


@pytest.mark.parametrize("decorated", ["", "@dataclass\n"])
def test_settings_that_cannot_be_keys_of_a_cache_are_refused(own_pkg, decorated):
    """A run ended in a traceback: "unhashable type"."""
    with pytest.raises(UserError, match=r"data\.py: Config must be a frozen dataclass: put @dataclass\(frozen=True\)"):
        task(own_pkg, ("@dataclass(frozen=True)\n", decorated))


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ("size: int = 64.5", "plan.size: expected a whole number, got 64.5"),
        ("size: int = 64\n    more: Any = 1", "plan.more: expected typing.Any, which recipes do not support"),
        ("size: int = 64\n    more: dict = field(default_factory=dict)", "plan.more: expected <class 'dict'>, which"),
    ],
)
def test_defaults_that_cannot_be_read_back_are_refused(own_pkg, field, fault):
    """The run trained to its end, and then no command could read its weights."""
    imports = ("from dataclasses import dataclass", "from typing import Any\nfrom dataclasses import dataclass, field")
    task(own_pkg, imports, ("size: int = 64", field))
    (own_pkg / "task" / "net.py").write_text(PAGE["nets/tasks/mirror.py"])
    recipe = "task: own_pkg.task\nbackbone: r3d_tiny\nwork_dir: w\ndata: {root: d}\ntrain: {epochs: 1}\n"
    with pytest.raises(UserError, match=re.escape(f"a default of own_pkg.task: {fault}")):
        parse(recipe, source="x.yaml")


def test_a_field_that_a_config_computes_is_no_key_of_a_recipe(own_pkg):
    """It was written to the recipe saved with the weights, which could not be read back."""
    computed = (
        "size: int = 64\n    area: int = field(init=False)\n\n"
        "    def __post_init__(self):\n        object.__setattr__(self, 'area', self.size**2)"
    )
    task(own_pkg, ("import dataclass", "import dataclass, field"), ("size: int = 64", computed))
    (own_pkg / "task" / "net.py").write_text(PAGE["nets/tasks/mirror.py"])
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
def test_a_function_of_a_task_that_takes_other_arguments_is_named(own_pkg, old, new, called):
    """It ended in a traceback, one of plan in that of a worker process."""
    message = f"{own_pkg / 'task' / 'data.py'}: {called.partition('(')[0]} is called as {called}, and does not fit"
    with pytest.raises(UserError, match=re.escape(message)):
        task(own_pkg, (old, new))


def test_a_wrong_import_in_a_task_names_its_file(own_pkg):
    (own_pkg / "data.py").write_text("import dali_pipelines.plan.crop\n")
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module("own_pkg.data")
    message = f"No module named 'dali_pipelines.plan.crop', which {own_pkg / 'data.py'} imports"
    assert how_to_install(caught.value) == message
