"""One network of real_motion.py: pretrain it, judge its features, finetune it.

Single-threaded, so that two jobs keep two cores busy. A result says for each tested video whether it was right, since
intervals of differences need that.
"""

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.learning import real_recipes
from bench.learning.real_data import SCENES, Split, splits
from bench.machine import save_json
from configs.errors import UserError, run_cli
from configs.schema import Data, Recognition
from dali_pipelines.store.files import replacing
from dali_pipelines.tasks.recognition import Config as Clips
from nets.backbones import create
from nets.classifier import Classifier
from nets.tasks import net_module
from trainers.commands import finetune, pretrain
from trainers.engine.distributed import Ranks
from trainers.evaluation import knn, linear
from trainers.evaluation.features import Features, extract
from trainers.evaluation.predict import predict
from trainers.weights import load, read

RANDOM = "random_"
"""A job whose name begins with it is a backbone with random weights, trained from scratch."""
RANKS = Ranks(torch.device("cpu"))


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="real_job.py", description="One network of real_motion.py.")
    parser.add_argument("name", help="a task, with a switch or without, or random_<backbone>")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True, help="of finetuning, on UT-Interaction")
    parser.add_argument("--source", type=Path, required=True, help="the sets as they came")
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--until", choices=["learned"], help="leave the rest to another time")
    parser.add_argument("--core", type=int, help="that the job runs on (any)")
    args = parser.parse_args(argv)
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})  # decides on threads as well
    torch.set_num_threads(1)
    out = args.work_dir / f"{args.name}_{args.seed}"
    out.mkdir(parents=True, exist_ok=True)
    data = args.work_dir.parent / "data"
    found = splits(args.source, data)
    facts = once(out / "learned.json", lambda: learn(args.name, args.seed, args.frames, data / "mocap", out))
    if args.until == "learned":
        return
    judged = once(out / "judged.json", lambda: judge(args.name, facts, args.seed, out, found))
    tuned = once(out / "tuned.json", lambda: tune(args.name, facts, args.seed, args.epochs, data, out, found))
    correct = {name: judged["correct"][name] | tuned["correct"].get(name, {}) for name in found}
    parts = {"pretrain": facts, "judge": judged, "finetune": tuned}
    seconds = {name: part.pop("cpu_seconds") for name, part in parts.items()}
    save_json(out / "result.json", name=args.name, seed=args.seed, **facts, cpu_seconds=seconds, correct=correct)


def once(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a part of the job gives, with its CPU seconds; from its file where it was done before."""
    if not path.is_file():
        began = process_time()
        made = make()
        with replacing(path) as part:
            part.write_text(json.dumps(made | {"cpu_seconds": round(process_time() - began)}) + "\n")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def learn(name: str, seed: int, frames: int, data: Path, out: Path) -> dict[str, Any]:
    """Pretrain, unless the name says random weights; return the backbone's name, the normalization, and how it went."""
    if name.startswith(RANDOM):
        return {"backbone": name.removeprefix(RANDOM), "normalization": Clips.normalization}
    videos = len((data / "train.txt").read_text().splitlines())
    changes = real_recipes.pretraining(name, frames=frames, videos=videos) | {"seed": seed}
    task = name.partition("+")[0]
    recipe = ["--config", f"{task}/demo", "--data-dir", str(data), "--work-dir", str(out / "pretrain")]
    pretrain.main([*recipe, "--device", "cpu", *as_options(changes)])
    weights = read(out / "pretrain")
    rows = [json.loads(line) for line in (out / "pretrain/metrics.jsonl").read_text().splitlines()]
    terms = {key: round(rows[-1][key], 4) for key in ("loss", net_module(task).METRIC, "chance")}
    return {
        "backbone": weights.backbone,
        "normalization": weights.clip["normalization"],
        "steps": weights.step,
        "last": terms,
    }


def judge(name: str, facts: Mapping[str, Any], seed: int, out: Path, found: Mapping[str, Split]) -> dict[str, Any]:
    """Return for every split which tests are right by each protocol on fixed features, as text of 0 and 1."""
    torch.manual_seed(seed)
    net = create(facts["backbone"])
    if not name.startswith(RANDOM):
        read(out / "pretrain").load_backbone(net, facts["backbone"])
    net.eval()
    features: dict[int, tuple[Features, Features]] = {}
    correct = {}
    for split_name, split in found.items():
        if id(split.index) not in features:
            features[id(split.index)] = views(net, split, facts["normalization"])
        moving, still = features[id(split.index)]
        classes = len(split.index.class_names)
        protocols = {"linear": (moving, linear_right), "knn": (moving, knn_right), "retrieval": (moving, nearest_right)}
        correct[split_name] = {
            protocol: bits([test(pick(of, fold.train), pick(of, fold.test), classes) for fold in split.folds])
            for protocol, (of, test) in (protocols | {"linear_still": (still, linear_right)}).items()
        }
    return {"correct": correct}


class Still(nn.Module):
    """A backbone that sees one frame, the middle one of its clip, again and again."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone, self.out_channels = backbone, backbone.out_channels

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        middle = clips_BCTHW.shape[2] // 2
        features: Tensor = self.backbone(clips_BCTHW[:, :, middle : middle + 1].expand_as(clips_BCTHW))
        return features


def views(net: nn.Module, split: Split, normalization: str) -> tuple[Features, Features]:
    """Return the features of all videos of the split's index, and those of one middle frame repeated."""
    data = Data(root=str(split.index.root), workers=0, threads=1)
    cfg = real_recipes.clips(normalization)
    (moving,) = extract([net], split.index, cfg, RANKS, data, unit=True)
    (still,) = extract([Still(net)], split.index, replace(cfg, test=replace(cfg.test, clips=1)), RANKS, data, unit=True)
    if moving.unreadable:
        raise UserError(f"{len(moving.unreadable)} videos of {split.index.root} cannot be read: {moving.unreadable}")
    return moving, still


def pick(features: Features, rows: np.ndarray) -> Features:
    return Features([features.names[row] for row in rows], features.labels[rows], features.values[rows], {})


def linear_right(train: Features, test: Features, classes: int) -> np.ndarray:
    """Return which tests a linear classifier gets right, bool (M,)."""
    x, y, test_x = _tensors(train, test)
    right: np.ndarray = linear.fit(x, y, classes=classes)(test_x).numpy() == test.labels
    return right


def knn_right(train: Features, test: Features, classes: int) -> np.ndarray:
    """Return for which tests the votes of the `knn.K` nearest are right, bool (M,); a tie is wrong."""
    x, y, test_x = _tensors(train, test)
    return ranks_first(knn.scores(x, y, test_x, classes=classes, k=knn.K).numpy(), test.labels)


def nearest_right(train: Features, test: Features, classes: int) -> np.ndarray:
    """Return for which tests the nearest of the training videos is of their class, bool (M,)."""
    x, y, test_x = _tensors(train, test)
    return ranks_first(knn.scores(x, y, test_x, classes=classes, k=1).numpy(), test.labels)


def ranks_first(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return where no other class has a score as high as the label's, bool (M,)."""
    own = np.take_along_axis(scores, labels[:, None], 1)
    first: np.ndarray = (scores >= own).sum(1) == 1
    return first


def tune(
    name: str, facts: Mapping[str, Any], seed: int, epochs: int, data: Path, out: Path, found: Mapping[str, Split]
) -> dict[str, Any]:
    """Finetune from one scene to the other, both ways, or train from scratch; return which tests are right."""
    how = ["--mode", "scratch"]
    if not name.startswith(RANDOM):
        how = ["--mode", "full", "--pretrained", str(out / "pretrain")]
    correct = {}
    for train, test in (SCENES, SCENES[::-1]):
        split = found[f"ut_{train}_to_{test}"]
        run = out / f"{train}_to_{test}"
        changes = real_recipes.finetuning(facts["backbone"], facts["normalization"], epochs=epochs) | {
            "data.list": f"{train}.txt",
            "data.test_list": f"{test}.txt",
            "seed": seed,
        }
        recipe = ["--config", "recognition/demo", "--data-dir", str(data / "ut_interaction"), "--work-dir", str(run)]
        finetune.main([*recipe, "--device", "cpu", *how, *as_options(changes)])
        correct[f"ut_{train}_to_{test}"] = {"finetune": bits([tested(run, split)])}
    return {"correct": correct}


def tested(run: Path, split: Split) -> np.ndarray:
    """Return which of the split's tests a finetuned network gets right, bool (M,)."""
    weights = read(run)
    assert isinstance(weights.config, Recognition)
    assert weights.classes == split.index.class_names
    net = Classifier(create(weights.backbone), len(weights.classes), weights.config.net)
    load(net, weights.model, str(weights.path), weights.backbone)
    index = split.index.select(split.tested)
    found = predict(net.eval(), index, weights.config.plan, RANKS, weights.config.data, desc="test")
    return ranks_first(found.scores, found.labels)


def as_options(changes: Mapping[str, Any]) -> list[str]:
    return [word for item in real_recipes.as_words(changes) for word in ("--set", item)]


def bits(right: Sequence[np.ndarray]) -> str:
    return "".join(map(str, np.concatenate(right).astype(int).tolist()))


def _tensors(train: Features, test: Features) -> tuple[Tensor, Tensor, Tensor]:
    return torch.from_numpy(train.values), torch.from_numpy(train.labels), torch.from_numpy(test.values)


if __name__ == "__main__":
    run_cli(main)
