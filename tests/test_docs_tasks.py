"""The task pages match the code, the recipes and the bench results."""

import json
import re
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from bench.learning import pretext_demo, real_table
from bench.report import committed
from configs.load import load
from configs.schema import Config
from dali_pipelines.tasks import Task
from nets.tasks import build_task, net_module, pretext_tasks
from tests.helpers.plans import video
from tests.helpers.runs import ROOT

PAGES = ROOT / "docs" / "tasks"
[PRETEXT_DEMO] = (ROOT / "bench/results").rglob("pretext_demo.json")
PRETEXT = json.loads(PRETEXT_DEMO.read_text())["tasks"]
REAL_MOTION = {frames: committed(f"real_motion_{frames}")["figures"] for frames in (320_000, 1_280_000)}
each_task = pytest.mark.parametrize("task", pretext_tasks())


@cache
def recipes(task: str) -> dict[str, Config]:
    return {path.stem: load(path) for path in sorted((ROOT / "configs" / task).glob("*.yaml"))}


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text()


def recipe_table(task: str) -> str:
    """Return a Markdown table of a task's recipes: backbone, epochs, batch and optimizer."""
    lines = ["| recipe | backbone | epochs | batch | optimizer |", "|---|---|---|---|---|"]
    for name, config in recipes(task).items():
        optim, schedule = config.optim, config.schedule
        when = f" at {', '.join(map(str, schedule.milestones))}" if schedule.milestones else ""
        how = f"{optim.name}, {optim.lr:g}, {schedule.kind}{when}; weight decay {optim.weight_decay:g}"
        train = config.train
        lines.append(f"| `{task}/{name}` | `{config.backbone}` | {train.epochs} | {train.global_batch} | {how} |")
    return "\n".join(lines)


@each_task
def test_task_pages_list_recipes_and_settings(task):
    assert recipe_table(task) in page(task)


@each_task
def test_task_pages_have_the_figures_of_the_demo_run(task):
    assert pretext_demo.table({task: PRETEXT[task]}) in page(task)


@each_task
def test_task_pages_have_the_figures_of_real_motion(task):
    frames = max(frames for frames, figures in REAL_MOTION.items() if task in figures["mocap"]["linear"])
    assert f"after {frames:,} frames" in " ".join(page(task).split())
    assert real_table.task_table(REAL_MOTION[frames], task) in page(task)


def test_the_table_of_all_tasks_matches_the_bench():
    assert pretext_demo.table(PRETEXT) in page("index")


def test_percentages_in_sentences_match_the_bench():
    probe, random = (100 * PRETEXT["ctp"][name]["top1"] for name in ("probe", "probe_random"))
    assert f"{probe:.1f} % of a linear probe, against {random:.1f} % with random weights" in page("ctp")
    words = " ".join((ROOT / "README.md").read_text().split())
    assert f"CtP learns motion ({probe:.1f} %, against {random:.1f} % with random weights)" in words
    probe, random = (100 * PRETEXT["speednet"][name]["top1"] for name in ("probe", "probe_random"))
    assert f"SpeedNet a little ({probe:.1f} %, against {random:.1f} %)" in words


@each_task
def test_the_index_states_frames_needed_and_decoded(task):
    (row,) = [line for line in page("index").splitlines() if line.startswith(f"| [`{task}`]({task}.md) |")]
    *_, needs, decodes, recipe = (cell.strip(" `") for cell in row.strip("|").split("|"))
    config = load(recipe)
    plans = Task(config.task, config.plan)
    rng = np.random.default_rng(0)
    counts = [len(np.unique(plans.plan(video(1000), rng)["frames"])) for _ in range(60)]
    stated = [int(number) for number in decodes.split(" to ")]
    assert (int(needs), stated[-1]) == (plans.min_frames, max(counts))
    assert stated[0] <= min(counts)


@each_task
def test_task_pages_explain_every_metric(task):
    config = recipes(task)["demo"]
    schema = Task(task, config.plan).batch_schema
    torch.manual_seed(0)
    net = build_task(task, config.backbone, schema, config.net)
    net.before_step(0)
    terms = net({name: random_batch(name, shape, kind) for name, (shape, kind) in schema.items()})
    assert {name for name in terms if f"`{name}`" not in page(task)} == set()
    assert re.search(rf"^\| `{net_module(task).METRIC}` \|.*; the metric \|$", page(task), re.MULTILINE)


def random_batch(name: str, shape: tuple[int, ...], kind: str) -> torch.Tensor:
    """Return two samples of one output: noise, boxes over half the clip, or class 0."""
    if kind == "int64":
        return torch.zeros(2, *shape, dtype=torch.int64)
    if name == "boxes":
        return torch.tensor([8.0, 8.0, 40.0, 40.0]).expand(2, *shape)
    return torch.randn(2, *shape)


@each_task
def test_task_pages_show_every_option(task):
    """MkDocs renders the classes that a page names; this checks that none is missing."""
    config = recipes(task)["demo"]
    shown = set(re.findall(r"^::: (.+)$|\.md#(nets\.[\w.]+)\)", page(task), re.MULTILINE))
    shown = {here or in_other_page for here, in_other_page in shown}
    assert shown == {dotted(part) for part in options(config.plan) + options(config.net)}


def options(section: Any) -> list[Any]:
    """Return a section of a recipe and its reference switches, if any."""
    return [section, *([section.reference] if hasattr(section, "reference") else [])]


def dotted(section: Any) -> str:
    return f"{type(section).__module__}.{type(section).__qualname__}"
