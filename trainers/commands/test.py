"""What a trained network is worth: `torchrun trainers/test.py --checkpoint CKPT --protocol video|retrieval|linear`.

Heavy imports stand inside functions, as in pretrain.py.
"""

import argparse
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import UserError
from configs.load import dump, load, parse
from configs.schema import Recognition
from trainers.engine import fit as command

if TYPE_CHECKING:
    import numpy as np

    from dali_pipelines.store.index import Index
    from trainers.engine.distributed import Ranks
    from trainers.weights import Weights

WANTED = "say what to test it on with --config, a recipe of configs/recognition/"

PROTOCOLS = {
    "video": "accuracy of a classifier on whole videos",
    "retrieval": "how often the nearest training videos are of a test video's class",
    "linear": "a linear classifier on fixed features",
}


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="test.py", description="Testing a network on the test videos of a recipe.")
    parser.add_argument(
        "--config", metavar="YAML", help="a recipe of configs/recognition/, instead of the checkpoint's"
    )
    parser.add_argument(
        "--checkpoint", required=True, metavar="CKPT", help="a run, a checkpoint's .pt, or a .safetensors export"
    )
    about = "; ".join(f"{name}: {what}" for name, what in PROTOCOLS.items())
    parser.add_argument("--protocol", required=True, choices=PROTOCOLS, help=about)
    parser.add_argument("--clips", metavar="N|windows", help="clips of a video, instead of plan.test.clips")
    parser.add_argument("--crops", metavar="center|three|five|ten", help="crops of a clip, instead of plan.test.crops")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the results go (CKPT's folder/test_<protocol>)")
    command.add_overrides(parser)
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's threads, if they spin, starve DALI's
    from trainers.engine.distributed import start

    with start(args.device) as ranks:
        text = work(ranks, args)
        if ranks.rank == 0:
            print(text, flush=True)


def work(ranks: "Ranks", args: argparse.Namespace) -> str:
    """The test; returns what to print. A function of its own for the reason of `pretrain.work`."""
    weights = ranks.on_rank0(lambda: read_weights(Path(args.checkpoint), args.protocol))
    if ranks.rank == 0:
        print(f"checkpoint  {weights.path} ({weights.backbone}, step {weights.step})", flush=True)
    config = recipe(weights, args)
    ranks.require_same(config=dump(config))
    where = Path(args.checkpoint)
    out: Path = args.out or (where if where.is_dir() else where.parent) / f"test_{args.protocol}"
    ranks.on_rank0(lambda: command.require_writable(out, option="--out"))
    if args.protocol == "video":
        return on_videos(weights, config, ranks, out)
    from trainers.evaluation.retrieval import linear, retrieve

    return (retrieve if args.protocol == "retrieval" else linear)(weights, config, ranks, out)


def read_weights(where: Path, protocol: str) -> "Weights":
    """As `weights.read`; of a run's folder, the best classifier in validation rather than the newest one."""
    from trainers.evaluation.validation import BEST
    from trainers.weights import classifier_weights, read

    best = where / "checkpoints" / BEST
    if protocol != "video" or not best.is_file():
        weights = read(where)
    else:
        try:
            weights = read(best)
        except UserError as error:
            raise UserError(f"{error}; choose another one of {best.parent} with --checkpoint FILE.pt") from None
    if protocol == "video":
        classifier_weights(weights)
    return weights


def recipe(weights: "Weights", args: argparse.Namespace) -> Recognition:
    """The recipe of the test: that of --config or else the checkpoint's, with the checkpoint's own backbone."""
    named = {"plan.test.clips": args.clips, "plan.test.crops": args.crops}
    changes = command.overrides(args) + [f"{key}={value}" for key, value in named.items() if value]
    if args.config:
        config = load(args.config, changes)
        what = f"{args.config} is a recipe for trainers/pretrain.py"
    elif weights.config is not None:
        config = parse(dump(weights.config), source=f"{weights.path}'s config", overrides=changes)
        what = f"{weights.path} is of the task {config.task}"
    else:
        raise UserError(f"{weights.path} has no recipe: {WANTED}")
    if not isinstance(config, Recognition):
        raise UserError(f"{what}: {WANTED}")
    return replace(config, backbone=weights.backbone)


def on_videos(weights: "Weights", config: Recognition, ranks: "Ranks", out: Path) -> str:
    """Tests a classifier on the recipe's test videos and writes the results to `out`."""
    from nets import backbones
    from nets.classifier import Classifier
    from trainers.evaluation import scores
    from trainers.evaluation.labeled import open_labeled
    from trainers.evaluation.predict import predict
    from trainers.weights import classifier_weights
    from trainers.weights import load as load_weights

    trained = classifier_weights(weights)
    index = open_labeled(config.data, "test")
    ranks.require_same(videos=len(index), classes=index.class_names)
    outputs, classes = same_classes(weights, index)
    net = Classifier(backbones.create(weights.backbone), len(classes), trained.net)
    load_weights(net, weights.model, f"the classifier of {weights.path}", f"a {weights.backbone} with its recipe's net")
    net.to(ranks.device).eval()
    remarks = notes(weights, config)
    for note in remarks if ranks.rank == 0 else []:
        print(f"note: {note}", flush=True)
    found = predict(net, index, config.plan, ranks, config.data, desc=f"test of {len(index)} videos")
    found = replace(found, labels=outputs[found.labels])
    data = config.data
    facts = {
        "checkpoint": str(weights.path),
        "backbone": weights.backbone,
        "step": weights.step,
        "data": {"root": data.root, "test_list": str(data.list_of("test")), "split": data.split},
        "plan": asdict(config.plan),
        "notes": remarks,
    }
    return ranks.on_rank0(lambda: scores.write(out, found, classes, {**facts, "sha256": weights.sha256}))


def same_classes(weights: "Weights", index: "Index") -> "tuple[np.ndarray, tuple[str, ...]]":
    """The network's output for each class of the dataset, int64, and the classes in the order of the outputs.

    Classes of one name are the same, whatever their order; without names in the checkpoint the order decides.
    UserError when network and dataset do not have the same classes.
    """
    import numpy as np

    ours, theirs, outputs = index.class_names, weights.classes, len(weights.model["linear.bias"])
    if sorted(ours) != sorted(theirs) if theirs else len(ours) != outputs:
        only = {
            "the classifier": [name for name in theirs if name not in ours],
            "the dataset": [name for name in ours if name not in theirs] if theirs else [],
        }
        named = [
            f"only {who} has {', '.join(names[:3])}{' ...' * (len(names) > 3)}" for who, names in only.items() if names
        ]
        raise UserError(
            f"{weights.path} has {outputs} classes, {index.root} has {len(ours)}, and they are not the same"
            f"{': ' * bool(named)}{'; '.join(named)}. Choose a dataset of the classes that it learned with --data-dir"
        )
    if not theirs:
        return np.arange(outputs), ours
    return np.array([theirs.index(name) for name in ours]), theirs


def notes(weights: "Weights", config: Recognition) -> list[str]:
    """What there is to know of the accuracy before one believes it."""
    from dali_pipelines.listed import left_off
    from trainers.commands.finetune import differences
    from trainers.weights import classifier_weights

    trained = classifier_weights(weights)
    found = differences(config, weights.clip) + left_off(config.data.root, config.data.list_of("test"))
    if not weights.classes:
        found.append("the checkpoint does not name its classes; they are taken to be in the dataset's order")
    if trained.validation.reference.select_on_test and weights.path.name == "best.pt":
        found.append("this checkpoint was chosen by the test videos, so that its accuracy is too high")
    if trained.data.split != config.data.split:
        found.append(
            f"it was trained on split {trained.data.split} and is tested on split {config.data.split}, which may hold "
            "videos that it was trained on"
        )
    return found
