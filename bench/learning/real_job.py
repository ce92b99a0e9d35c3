"""Pretrain, judge and finetune one network of real_motion.py.

Single-threaded: one job per core keeps all cores busy.
"""

import argparse
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

from bench.learning import real_recipes
from bench.learning.real_data import FINETUNED, Split, splits
from bench.learning.real_judge import RANKS, bits, judge
from bench.machine import save_json
from bench.options import as_options
from configs.errors import UserError, run_cli
from configs.options import whole_number
from configs.schema import Recognition
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.store.files import write_file
from dali_pipelines.tasks.recognition import Config as Clips
from nets.backbones import Backbone, create
from nets.classifier import Classifier
from nets.tasks import net_module
from trainers.commands import finetune, pretrain
from trainers.commands.report import read_metrics
from trainers.evaluation.predict import in_top_k, predict
from trainers.weights import load, read

RANDOM = "random_"
"""Prefix of jobs for a backbone with random weights, trained from scratch."""


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="real_job.py", description="One network of real_motion.py.")
    parser.add_argument("name", help="a task, with a switch or without, or random_<backbone>")
    parser.add_argument("--seed", type=whole_number(0), required=True)
    parser.add_argument("--frames", type=whole_number(1), required=True)
    parser.add_argument("--epochs", type=whole_number(1), required=True, help="of finetuning on UT-Interaction")
    parser.add_argument("--source", type=Path, required=True, help="the sets as they came")
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--no-finetune", dest="finetune", action="store_false", help="only pretrain and judge features")
    parser.add_argument("--core", type=whole_number(0), help="that the job runs on (any)")
    args = parser.parse_args(argv)
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})  # also limits threads
    torch.set_num_threads(1)
    out = args.work_dir / f"{args.name}_{args.seed}"
    out.mkdir(parents=True, exist_ok=True)
    data = args.work_dir.parent / "data"
    found = splits(args.source, data)
    facts = once(out / "learned.json", lambda: learn(args.name, args.seed, args.frames, data / "mocap", out))
    judged = once(out / "judged.json", lambda: judge(network(facts, args.seed, out), facts["normalization"], found))
    parts = {"pretrain": facts, "judge": judged}
    if args.finetune:
        how = (args.name, facts, args.seed, args.epochs, data, out, found)
        parts["finetune"] = once(out / "tuned.json", lambda: tune(*how))
    seconds = {name: part.pop("cpu_seconds") for name, part in parts.items()}
    tuned = parts.get("finetune", {})
    correct = {name: judged[name] | tuned.get(name, {}) for name in found}
    save_json(out / "result.json", name=args.name, seed=args.seed, **facts, cpu_seconds=seconds, correct=correct)


def once(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the result of a part of the job with its CPU seconds, from its file if it was done before."""
    if not path.is_file():
        began = process_time()
        made = make()
        write_file(path, json.dumps(made | {"cpu_seconds": round(process_time() - began)}) + "\n")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def learn(name: str, seed: int, frames: int, data: Path, out: Path) -> dict[str, Any]:
    """Pretrain unless the name says random weights; return backbone and normalization, and the steps and last terms."""
    if name.startswith(RANDOM):
        return {"backbone": name.removeprefix(RANDOM), "normalization": Clips.normalization}
    lengths = open_dataset(data, data / "train.txt").index.num_frames
    changes = real_recipes.pretraining(name, frames=frames, lengths=lengths) | {"seed": seed}
    task = name.partition("+")[0]
    recipe = ["--config", f"{task}/demo", "--data-dir", str(data), "--work-dir", str(out / "pretrain")]
    if pretrain.main([*recipe, "--device", "cpu", *as_options(changes)]):
        raise UserError(f"pretraining in {out} was interrupted; give the same command again")
    weights = read(out / "pretrain")
    last = read_metrics(out / "pretrain/metrics.jsonl")[-1]
    terms = {key: round(last[key], 4) for key in ("loss", net_module(task).METRIC, "chance")}
    return {
        "backbone": weights.backbone,
        "normalization": weights.clip["normalization"],
        "steps": weights.step,
        "last": terms,
    }


def network(facts: Mapping[str, Any], seed: int, out: Path) -> Backbone:
    """Return the pretrained or random backbone in eval mode."""
    torch.manual_seed(seed)
    net = create(facts["backbone"])
    if (out / "pretrain").is_dir():
        read(out / "pretrain").load_backbone(net, facts["backbone"])
    return net.eval()


def tune(
    name: str, facts: Mapping[str, Any], seed: int, epochs: int, data: Path, out: Path, found: Mapping[str, Split]
) -> dict[str, dict[str, str]]:
    """Finetune a network, or train it from scratch, on each split of FINETUNED; return which tests are right."""
    how = ["--mode", "scratch"]
    if not name.startswith(RANDOM):
        how = ["--mode", "full", "--pretrained", str(out / "pretrain")]
    correct = {}
    for split, (folder, train, test) in FINETUNED.items():
        run = out / f"{train}_to_{test}"
        rounds = real_recipes.MOCAP_EPOCHS if folder == "mocap" else epochs
        changes = real_recipes.finetuning(facts["backbone"], facts["normalization"], epochs=rounds) | {
            "data.list": f"{train}.txt",
            "data.test_list": f"{test}.txt",
            "seed": seed,
        }
        recipe = ["--config", "recognition/demo", "--data-dir", str(data / folder), "--work-dir", str(run)]
        if finetune.main([*recipe, "--device", "cpu", *how, *as_options(changes)]):
            raise UserError(f"finetuning in {run} was interrupted; give the same command again")
        correct[split] = {"finetune": bits([tested(run, found[split])])}
    return correct


def tested(run: Path, split: Split) -> np.ndarray:
    """Return which of the split's tests a finetuned network gets right, bool (M,)."""
    weights = read(run)
    assert isinstance(weights.config, Recognition)
    assert weights.classes == split.index.class_names
    net = Classifier(create(weights.backbone), len(weights.classes), weights.config.net)
    load(net, weights.model, str(weights.path), weights.backbone)
    index = split.index.select(split.tested)
    found = predict(net.eval(), index, weights.config.plan, RANKS, weights.config.data, desc="test")
    return in_top_k(found.scores, found.labels, 1)


if __name__ == "__main__":
    run_cli(main)
