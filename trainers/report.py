"""A run in one table and one picture: `python trainers/report.py --work-dir RUN --out loss.png`."""

import argparse
import json
from pathlib import Path

from configs.errors import UserError, run_cli

WINDOW = 0.1  # share of the run that "first" and "last" average over


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="report.py", description="The losses of a run, as a table and a picture.")
    parser.add_argument("--work-dir", type=Path, required=True, metavar="RUN", help="a run of pretrain.py")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the picture to write")
    parser.add_argument("--probe", type=Path, metavar="FILE.json", help="what probe.py wrote, to be in the table")
    args = parser.parse_args(argv)
    rows = read_metrics(args.work_dir / "metrics.jsonl")
    plot(rows, args.out)
    count = max(1, round(WINDOW * len(rows)))
    first, last = rows[:count], rows[-count:]
    print(f"{args.work_dir}: {rows[-1]['step']} steps")
    for name in ("loss", "zero_loss", "iou", "clips_per_s", "data_wait"):
        if name in rows[0]:
            print(f"  {name:<14}{_mean(first, name):8.2f} -> {_mean(last, name):8.2f}")
    if args.probe:
        report = json.loads(args.probe.read_text())
        for name, figures in report["probes"].items():
            low, high = (100 * share for share in figures["interval"])
            print(f"  probe {name:<8}{100 * figures['top1']:8.1f} % top-1  (95 %: {low:.1f} to {high:.1f})")
        print(f"  probe chance  {100 * report['chance']:8.1f} %")
    print(f"  curves        {args.out}\n  checkpoints   {args.work_dir / 'checkpoints'}")
    print(f"  TensorBoard   tensorboard --logdir {args.work_dir}")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a run's metrics.jsonl; UserError when there are none."""
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the --work-dir of a run of trainers/pretrain.py") from error
    if not rows:
        raise UserError(f"{path} is empty: the run has not logged a step yet")
    return rows


def plot(rows: list[dict[str, float]], out: Path) -> None:
    """Draws every loss over the steps."""
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise UserError("the curves need matplotlib: pip install 'clipfeed[plots]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    steps = [row["step"] for row in rows]
    for name in (name for name in rows[0] if "loss" in name):
        style = {"color": "grey", "linestyle": "--"} if name == "zero_loss" else {}
        label = "zero_loss (predicting no motion)" if name == "zero_loss" else name
        axes.plot(steps, [row[name] for row in rows], label=label, linewidth=1.2, **style)
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)


def _mean(rows: list[dict[str, float]], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)


if __name__ == "__main__":
    run_cli(main)
