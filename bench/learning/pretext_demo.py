"""Does every task learn? `python bench/learning/pretext_demo.py --out bench/results/<machine>_<date>`.

Trains each task's `configs/<task>/demo.yaml` on the demo videos, fits a linear probe on its backbone and on the same
one with random weights, and writes one JSON, one picture and one table. Finished runs are not repeated: an interrupted
bench resumes where it was.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from bench.machine import machine
from bench.picture import panels, save
from bench.report import markdown, percent_interval
from configs.errors import UserError, run_cli
from configs.load import load
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.files import write_json
from dali_pipelines.tasks import Task
from nets.tasks import build_task, net_module, pretext_tasks
from trainers.commands.report import WINDOW, read_metrics
from trainers.engine import checkpoint

ROOT = Path(__file__).parents[2]
DRAWS = 4  # samples of every test video
METRICS = "metrics.jsonl"


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="pretext_demo.py", description="Does every task learn?")
    tasks = pretext_tasks()
    parser.add_argument("--tasks", nargs="+", metavar="TASK", choices=tasks, default=tasks, help="some tasks (all)")
    parser.add_argument("--work-dir", type=Path, default=Path("runs/pretext_demo"), help="data and runs are kept here")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the JSON and the picture")
    args = parser.parse_args(argv)
    data = args.work_dir / "data"
    call("-m", "dali_pipelines.demo_data", "--out", data)
    target = args.out / "pretext_demo.json"
    report = json.loads(target.read_text()) if target.is_file() else {"tasks": {}}
    of_all = {key: report[key] for key in ("machine",) if key in report}  # one for all, as it once was
    rows = {task: of_all | row for task, row in report["tasks"].items()}
    for task in args.tasks:
        before, learned = rows.get(task, {}), learn(task, data, args.work_dir / task)
        if before | learned != before:  # else the run was finished earlier, maybe by another commit
            rows = dict(sorted({**rows, task: {"machine": machine()} | learned}.items()))
        write_json(target, {"tasks": rows})
    drawn = {task: row for task, row in rows.items() if (args.work_dir / task / METRICS).exists()}
    plot(drawn, args.work_dir, args.out / "pretext_demo.png")
    if others := rows.keys() - drawn:
        print(f"note: the picture lacks {', '.join(sorted(others))}, whose runs are not in {args.work_dir}")
    print(table(rows))


def call(*command: object) -> None:
    """Run python with these arguments; UserError with the command if it fails."""
    words = [sys.executable, *map(str, command)]
    if status := subprocess.run(words).returncode:
        raise UserError(f"`{' '.join(words)}` ended with status {status}; what is done so far is kept")


def learn(task: str, data: Path, run: Path) -> dict[str, Any]:
    """Train and probe one task; return its metric and the probes' accuracy."""
    recipe = ("--config", f"{task}/demo")
    call(ROOT / "trainers/pretrain.py", *recipe, "--data-dir", data, "--work-dir", run, "--device", "cpu")
    probe = run / "probe.json"
    if not probe.is_file():
        lists = ("--train", "train.txt", "--test", "test.txt")
        call(ROOT / "trainers/probe.py", "--work-dir", run, "--data-dir", data, *lists, "--json", probe)
    probes = json.loads(probe.read_text())
    return (
        summary(task, read_metrics(run / METRICS))
        | held_out(task, data, run)
        | {
            "probe": probes["probes"][task],
            "probe_random": probes["probes"]["random"],
            "probe_chance": probes["chance"],
        }
    )


def summary(task: str, rows: list[dict[str, float]]) -> dict[str, Any]:
    """Return the metric's mean over the first and the last tenth of logged steps, and its value by chance."""
    metric = net_module(task).METRIC
    count = max(1, round(WINDOW * len(rows)))
    first, last = ([row[metric] for row in part] for part in (rows[:count], rows[-count:]))
    chance = statistics.fmean(row["chance"] for row in rows[-count:])
    return {
        "metric": metric,
        "chance": round(chance, 4),
        "first": round(statistics.fmean(first), 4),
        "last": round(statistics.fmean(last), 4),
        "steps": int(rows[-1]["step"]),
    }


def held_out(task: str, data: Path, run: Path) -> dict[str, float]:
    """Return the metric on the test videos, which the run has not seen, with the network in eval mode."""
    config = load(run / "config.yaml")
    plan = Task(task, config.plan)
    net = build_task(task, config.backbone, plan.batch_schema, config.net).eval()
    content = checkpoint.find(run / "checkpoints", "auto")
    assert content is not None
    net.load_state_dict(content["model"])
    index = open_dataset(data, data / "test.txt").index
    with torch.no_grad(), closing(ClipLoader(index, plan, batch_size=config.train.global_batch, seed=1)) as loader:
        values = [float(net(batch)[net_module(task).METRIC]) for _ in range(DRAWS) for batch in loader]
    return {"held_out": round(statistics.fmean(values), 4)}


def plot(tasks: Mapping[str, Mapping[str, Any]], runs: Path, out: Path) -> None:
    """Plot the metric of every task over its steps, with the chance level."""
    columns = min(4, len(tasks))
    size = 3.2 * columns, 2.5 * math.ceil(len(tasks) / columns)
    axes = panels(len(tasks), columns, size=size, title="pretext metric on the demo videos; dashed: chance")
    for name, axis in zip(tasks, axes, strict=True):
        metric, rows = tasks[name]["metric"], read_metrics(runs / name / METRICS)
        steps = [row["step"] for row in rows]
        axis.plot(steps, [row[metric] for row in rows], linewidth=1)
        axis.plot(steps, [row["chance"] for row in rows], color="gray", linestyle="--", linewidth=1)
        axis.set(title=name, ylim=(0, None), xlabel="step", ylabel=metric)
        axis.grid(alpha=0.3)
    save(axes, out)


def table(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures as a Markdown table of percentages."""
    head = ("task", "metric", "chance", "first tenth", "last tenth", "held out", "probe", "random weights")
    rows = []
    for name, figures in tasks.items():
        shares = (f"{100 * figures[key]:.1f}" for key in ("chance", "first", "last", "held_out"))
        probes = (percent_interval(figures[key]["top1"], figures[key]["interval"]) for key in ("probe", "probe_random"))
        rows.append((f"`{name}`", figures["metric"], *shares, *probes))
    return "\n".join(markdown(head, rows))


if __name__ == "__main__":
    run_cli(main)
