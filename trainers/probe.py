"""How much a frozen backbone knows: `python trainers/probe.py --work-dir RUN --train LIST --test LIST`.

A linear classifier on pooled features, for the backbone of the newest checkpoint of a run and, beside it, for the
same backbone with random weights.
"""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import UserError, run_cli
from configs.load import load

if TYPE_CHECKING:
    from torch import nn

    from dali_pipelines.store.index import Index
    from dali_pipelines.tasks.recognition import Config as ClipsConfig


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="probe.py", description="Linear probe of a pretrained and a random backbone.")
    parser.add_argument("--work-dir", type=Path, required=True, metavar="RUN", help="a run of pretrain.py")
    parser.add_argument("--data-dir", metavar="DIR", help="a labelled dataset, instead of the run's own")
    parser.add_argument("--train", required=True, metavar="LIST", help="videos to learn from; relative to the dataset")
    parser.add_argument("--test", required=True, metavar="LIST", help="videos to be tested on; relative to the dataset")
    parser.add_argument("--clips", type=int, default=2, help="clips a video, features averaged (2)")
    parser.add_argument("--frames", type=int, metavar="T", help="frames of a clip (as in pretraining)")
    parser.add_argument("--stride", type=int, default=2, help="frame step of a clip (2)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args(argv)
    for option in ("clips", "frames", "stride"):
        if getattr(args, option) is not None and getattr(args, option) < 1:
            parser.error(f"--{option} {getattr(args, option)}: at least 1")
    return args


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    if not args.work_dir.is_dir():
        raise UserError(f"no run at {args.work_dir}; make one with trainers/pretrain.py --work-dir")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's threads, if they spin, starve DALI's
    config = load(args.work_dir / "config.yaml")
    import torch

    from dali_pipelines.store.index import open_dataset
    from dali_pipelines.tasks import Task
    from dali_pipelines.tasks.recognition import Config as ClipsConfig
    from nets.backbones import create
    from trainers import checkpoint

    content = checkpoint.find(args.work_dir / "checkpoints", "auto")
    if content is None:
        raise UserError(f"{args.work_dir} holds no checkpoint; run trainers/pretrain.py with that --work-dir first")
    root = args.data_dir or config.data.root
    train, test = (open_dataset(root, Path(root, name)) for name in (args.train, args.test))
    if min(train.labels.min(), test.labels.min()) < 0:
        raise UserError(f"{root} has videos without a label; prepare it again with --labels folders or a CSV")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no GPU is visible; pass --device cpu")
    device = torch.device("cuda" if args.device != "cpu" and torch.cuda.is_available() else "cpu")
    task = Task(config.task, config.plan)
    *_, num_frames, _, size = task.batch_schema["clips"][0]
    clips = ClipsConfig(
        num_clips=args.clips,
        num_frames=args.frames or num_frames,
        stride=args.stride,
        size=size,
        short_side=round(size * 8 / 7),  # 128 for 112
        normalisation=task.normalisation,
    )
    torch.manual_seed(config.seed)
    random, learned = (create(config.backbone).to(device).eval() for _ in range(2))
    prefix = "backbone."
    weights = {key.removeprefix(prefix): v for key, v in content["model"].items() if key.startswith(prefix)}
    learned.load_state_dict(weights)
    result = probe({"random": random, config.task: learned}, train, test, clips)

    chance = 1 / len(train.class_names)
    print(f"linear probe, {len(train)} + {len(test)} videos, {args.clips} clips each; chance {100 * chance:.1f} %")
    for name, figures in result.items():
        low, high = figures["interval"]
        print(f"  {name:<10} top-1 {100 * figures['top1']:5.1f} %   (95 %: {100 * low:.1f} to {100 * high:.1f})")
    if args.json:
        report = {"step": content["step"], "chance": chance, "videos": [len(train), len(test)], "probes": result}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=1) + "\n")


def probe(
    backbones: "Mapping[str, nn.Module]", train: "Index", test: "Index", clips: "ClipsConfig"
) -> dict[str, dict[str, Any]]:
    """Top-1 on `test`, with its 95 % interval, of a linear classifier fitted on each backbone's features of `train`.

    A test video that cannot be read counts as wrong.
    """
    from trainers.features import extract
    from trainers.linear import fit, wilson

    networks = list(backbones.values())
    train_features, train_labels = extract(networks, train, clips)
    test_features, test_labels = extract(networks, test, clips)
    result = {}
    for name, train_x, test_x in zip(backbones, train_features, test_features, strict=True):
        classify = fit(train_x, train_labels, classes=len(train.class_names))
        correct = int((classify(test_x) == test_labels).sum())
        result[name] = {"top1": correct / len(test), "interval": wilson(correct, len(test))}
    return result


if __name__ == "__main__":
    run_cli(main)
