"""Report a run in one table and one picture: `python trainers/report.py --work-dir RUN --out loss.png`."""

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from configs.errors import UserError
from configs.load import parse
from configs.words import counted
from dali_pipelines.store.files import replacing
from nets.tasks import net_module
from trainers.engine.metrics import whole_lines
from trainers.engine.work_dir import RECONSTRUCTION
from trainers.evaluation.intervals import in_words

WINDOW = 0.1  # share of the run that "first" and "last" average over


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="report.py", description="Show the losses of a run in a table and a picture.")
    parser.add_argument("--work-dir", type=Path, required=True, metavar="RUN", help="a run of pretrain.py")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the picture to write")
    parser.add_argument("--probe", type=Path, metavar="FILE.json", help="what probe.py wrote, to be in the table")
    args = parser.parse_args(argv)
    rows = read_metrics(args.work_dir / "metrics.jsonl")
    config = args.work_dir / "config.yaml"
    task = parse(config.read_text(encoding="utf-8"), source=str(config), own=False).task
    metric = "accuracy" if task == "recognition" else str(net_module(task).METRIC)
    probed = read_probes(args.probe) if args.probe else {}
    plot(rows, metric, args.out)
    count = max(1, round(WINDOW * len(rows)))
    first, last = rows[:count], rows[-count:]
    print(f"{args.work_dir}: {counted(int(rows[-1]['step']), 'step')}")
    for name in ("loss", "zero_loss", metric, "chance", "clips_per_s", "data_wait"):
        if all(name in row for row in (*first, *last)):
            before, after = (fmean(row[name] for row in part) for part in (first, last))
            print(f"  {name:<14}{before:8.2f} -> {after:8.2f}")
    if probed:
        for name, figures in probed["probes"].items():
            print(f"  probe {name:<8}{100 * figures['top1']:8.1f} % top-1  {in_words(figures['interval'])}")
        print(f"  probe chance  {100 * probed['chance']:8.1f} %")
    print(f"  curves        {args.out}\n  checkpoints   {args.work_dir / 'checkpoints'}")
    if (picture := args.work_dir / RECONSTRUCTION).is_file():
        print(f"  clips         {picture}")
    if (args.work_dir / "tensorboard").is_dir():
        print(f"  TensorBoard   tensorboard --logdir {args.work_dir}")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read a run's metrics.jsonl; UserError if it is missing or empty."""
    try:
        rows = [row for row, _ in whole_lines(path)]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the --work-dir of a run of clipfeed pretrain") from error
    if not rows:
        raise UserError(f"{path} is empty: the run has not logged a step yet")
    return rows


def read_probes(path: Path) -> dict[str, Any]:
    """Read what probe.py wrote; UserError for another file."""
    try:
        probed: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {key: probed[key] for key in ("probes", "chance")}
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"--probe {path} is no file that probe.py --json wrote ({error})") from None


def plot(rows: list[dict[str, float]], metric: str, out: Path) -> None:
    """Plot every loss over the steps, with the metric and its chance level below."""
    from matplotlib.figure import Figure

    figure = Figure((8, 6.5), layout="constrained")
    kind = out.suffix.removeprefix(".") or "png"
    if kind not in (kinds := figure.canvas.get_supported_filetypes()):
        raise UserError(f"--out {out}: no picture is a .{kind}; there are {', '.join(kinds)}")
    axes, below = figure.subplots(2, height_ratios=(2, 1), sharex=True)

    def curve(axis: Any, name: str, **style: Any) -> None:
        having = [row for row in rows if name in row]  # what a network returns may change in a resumed run
        axis.plot([row["step"] for row in having], [row[name] for row in having], linewidth=1.2, **style)

    for name in (name for name in rows[0] if "loss" in name):
        style = {"color": "gray", "linestyle": "--"} if name == "zero_loss" else {}
        label = "zero_loss (predicting no motion)" if name == "zero_loss" else name
        curve(axes, name, label=label, **style)
    for name, style in {metric: {"color": "black"}, "chance": {"color": "gray", "linestyle": "--"}}.items():
        curve(below, name, label=name, **style)
    axes.set(ylabel="loss")
    below.set(xlabel="step", ylabel=metric, ylim=(0, None))
    for axis in (axes, below):
        axis.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4)
    with replacing(out) as part:
        figure.savefig(part, dpi=120, format=kind)
