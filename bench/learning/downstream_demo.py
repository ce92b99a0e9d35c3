"""What is pretraining worth on the demo videos? `python bench/learning/downstream_demo.py`.

For each task: top-1 on the test videos of a network trained from scratch, of one finetuned from the task's weights, of
a linear classifier on those weights and on random ones, and R@1 of nearest neighbors. Every figure comes from the
commands that users type. Finished parts are not repeated: an interrupted bench resumes where it was.
"""

import argparse
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.learning.pretext_demo import ROOT, call
from bench.machine import machine
from bench.options import as_options
from bench.report import markdown, percent_interval
from configs.errors import run_cli
from configs.options import whole_number
from dali_pipelines.store.files import write_json
from nets.tasks import pretext_tasks
from trainers.evaluation.intervals import wilson
from trainers.weights import read

TASKS = ("ctp", "cstp", "concepts", "cpc_transformer", "moco")
FIGURES = ("scratch", "finetune", "linear", "retrieval", "random_linear")
RECIPE = "recognition/demo"
STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
"""Standard errors from the mean to the ends of the 95 % interval, for 2 to 10 seeds."""
CLASSES = 8  # directions of motion


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="downstream_demo.py", description="What is pretraining worth?")
    tasks = pretext_tasks()
    parser.add_argument("--tasks", nargs="+", metavar="TASK", choices=tasks, default=TASKS, help=f"({' '.join(TASKS)})")
    seeds = whole_number(1, len(STUDENT) + 1)
    parser.add_argument("--seeds", type=seeds, default=3, help="runs of scratch and finetune, and random networks (3)")
    parser.add_argument("--pretext", type=Path, default=Path("runs/pretext_demo"), help="data and runs of pretext_demo")
    parser.add_argument("--work-dir", type=Path, default=Path("runs/downstream_demo"), help="runs are kept here")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results", help="folder of the JSON")
    args = parser.parse_args(argv)
    data = args.pretext / "data"
    call("-m", "dali_pipelines.demo_data", "--out", data)
    target = args.out / "downstream_demo.json"
    report = json.loads(target.read_text()) if target.is_file() else {}
    for task in args.tasks:
        weights = args.pretext / task
        recipe = ("--config", f"{task}/demo")
        call(ROOT / "trainers/pretrain.py", *recipe, "--data-dir", data, "--work-dir", weights, "--device", "cpu")
        report[task] = measure(weights, data, args.work_dir / task, args.seeds) | {"machine": machine()}
        write_json(target, dict(sorted(report.items())))
    print(table(dict(sorted(report.items()))))


def measure(weights: Path, data: Path, work_dir: Path, runs: int) -> dict[str, Any]:
    """Return all figures of one task."""
    network = read(weights)
    assert network.config is not None
    changes = {
        "backbone": network.backbone,
        "plan.num_frames": network.clip["num_frames"],
        "plan.normalization": network.clip["normalization"],
    }
    words = ["--config", RECIPE, "--data-dir", data, "--device", "cpu", *as_options(changes)]

    def test(protocol: str, checkpoint: Path, out: Path) -> tuple[float, int]:
        """Return top-1 or R@1, and the number of test videos."""
        file = out / ("result.json" if protocol == "video" else f"{protocol}.json")
        if not file.is_file():
            how = ("--checkpoint", checkpoint, "--protocol", protocol, "--out", out)
            call(ROOT / "trainers/test.py", *words, *how)
        result = json.loads(file.read_text())
        share = result["recall"]["1"] if protocol == "retrieval" else result["top1"]
        return share, result["videos" if protocol == "video" else "queries"]

    def trained(name: str, seed: int, *how: object, protocol: str = "video") -> tuple[float, int]:
        run = work_dir / f"{name}_{seed}"
        call(ROOT / "trainers/finetune.py", *words, *how, "--set", f"seed={seed}", "--work-dir", run)
        return test(protocol, run, run / "test")

    def random(seed: int) -> tuple[float, int]:
        """Test the backbone's initial weights, which a linear run does not change."""
        how = ("--mode", "linear", "--pretrained", "none", "--max-steps", 1, "--set", "validation.share=0")
        return trained("random", seed, *how, protocol="linear")

    seeds, own = list(range(runs)), [network.config.seed]
    pretrained = ("--mode", "full", "--pretrained", weights)
    return {
        "scratch": figure([trained("scratch", seed, "--mode", "scratch") for seed in seeds], seeds),
        "finetune": figure([trained("finetune", seed, *pretrained) for seed in seeds], seeds),
        "linear": figure([test("linear", weights, work_dir / "linear")], own),
        "retrieval": figure([test("retrieval", weights, work_dir / "retrieval")], own),
        "random_linear": figure([random(seed) for seed in seeds], seeds),
        "chance": 1 / CLASSES,
        "backbone": network.backbone,
        "num_frames": network.clip["num_frames"],
    }


def figure(results: Sequence[tuple[float, int]], seeds: Sequence[int]) -> dict[str, Any]:
    """Return the mean over the seeds with its 95 % interval.

    The interval is the wider of Student's, from the spread between the seeds, and Wilson's, from the number of test
    videos; for one seed, it is Wilson's.
    """
    values, videos = [value for value, _ in results], results[0][1]
    mean = statistics.fmean(values)
    low, high = wilson(mean * videos, videos)
    if len(values) > 1:
        reach = STUDENT[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))
        low, high = min(low, max(mean - reach, 0.0)), max(high, min(mean + reach, 1.0))
    return {
        "mean": round(mean, 4),
        "interval": [round(low, 4), round(high, 4)],
        "seeds": list(seeds),
        "values": [round(value, 4) for value in values],
    }


def table(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures as a Markdown table of percentages."""
    rows = [
        (f"`{task}`", *(percent_interval(figures[name]["mean"], figures[name]["interval"]) for name in FIGURES))
        for task, figures in tasks.items()
    ]
    return "\n".join(markdown(["task", *(name.replace("_", " ") for name in FIGURES)], rows))


if __name__ == "__main__":
    run_cli(main)
