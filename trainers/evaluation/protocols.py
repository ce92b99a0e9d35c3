"""Evaluation protocols by name. To add one, write a function and enter it in `PROTOCOLS`.

A protocol evaluates weights on a recipe's videos, writes files to a folder, and returns what to print. All ranks call
it. The first line of its docstring is its help text.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError, first_names
from configs.schema import Recognition
from configs.words import counted
from dali_pipelines.datasets.dataset import Dataset
from dali_pipelines.datasets.open import open_data
from dali_pipelines.store.files import write_json
from dali_pipelines.store.index import Index
from nets import backbones
from nets.classifier import Classifier
from trainers.engine.distributed import Ranks
from trainers.engine.work_dir import BEST
from trainers.evaluation import scores
from trainers.evaluation.attentive import probe as attentive_probe
from trainers.evaluation.intervals import in_words
from trainers.evaluation.knn import probe as knn_probe
from trainers.evaluation.linear import probe as linear_probe
from trainers.evaluation.notes import clip_differences, notes_on
from trainers.evaluation.predict import predict
from trainers.evaluation.retrieval import count_lines, write_retrieval
from trainers.evaluation.saved_features import features_of_both
from trainers.weights import Weights, classifier_weights, load

Probe = Callable[..., dict[str, Any]]
"""See `features.probe_by`; its figures are shares."""


def video(weights: Weights, config: Recognition, ranks: Ranks, out: Path) -> str:
    """Accuracy of a classifier on whole videos."""
    trained = classifier_weights(weights)
    dataset = open_data(config.data, "test")
    index = dataset.index
    outputs, classes = same_classes(weights, index)
    net = Classifier(backbones.create(weights.backbone), len(classes), trained.net)
    load(net, weights.model, f"the classifier of {weights.path}", f"a {weights.backbone} with its recipe's net")
    net.to(ranks.device).eval()
    caveats = find_caveats(weights, trained, config, dataset)
    ranks.note(caveats)
    found = predict(net, index, config.plan, ranks, config.data, desc=f"test of {counted(len(index), 'video')}")
    found = replace(found, labels=outputs[found.labels])
    data = {"root": config.data.root, "test_list": str(config.data.list_of("test")), "split": config.data.split}
    facts = {"data": data, "plan": asdict(config.plan), "notes": caveats}
    return ranks.on_rank0(lambda: scores.write(out, found, classes, weights.facts | facts))


def same_classes(weights: Weights, index: Index) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the output index of each class of the dataset, int64 (K,), and the class names in output order.

    Classes are matched by name, or by order if the checkpoint has no names. UserError unless they are the same.
    """
    ours, theirs, outputs = index.class_names, weights.classes, len(weights.model["linear.bias"])
    if sorted(ours) != sorted(theirs) if theirs else len(ours) != outputs:
        only = {
            "the classifier": [name for name in theirs if name not in ours],
            "the dataset": [name for name in ours if name not in theirs] if theirs else [],
        }
        named = [f"only {who} has {first_names(names)}" for who, names in only.items() if names]
        count = counted(outputs, "class", "classes")
        raise UserError(
            f"{weights.path} has {count}, {index.root} has {len(ours)}, and they are not "
            f"the same{': ' * bool(named)}{'; '.join(named)}. Choose a dataset of the classifier's classes: --data-dir"
        )
    if not theirs:
        return np.arange(outputs), ours
    return np.array([theirs.index(name) for name in ours]), theirs


def find_caveats(weights: Weights, trained: Recognition, config: Recognition, dataset: Dataset) -> list[str]:
    """List caveats about the accuracy, one sentence each; `trained` is the recipe of the weights."""
    found = clip_differences(config, weights.clip) + dataset.notes
    if not weights.classes:
        found.append("the checkpoint does not name its classes; they are taken to be in the dataset's order")
    if trained.validation.reference.select_on_test and weights.path.name == BEST:
        found.append("this checkpoint was chosen by the test videos, so that its accuracy is too high")
    if trained.data.split != config.data.split:
        found.append(
            f"it was trained on split {trained.data.split} and is tested on split {config.data.split}, which may hold "
            "videos that it was trained on"
        )
    root = config.data.root
    if trained.data.list is None and Path(trained.data.root).resolve() != Path(root).resolve():
        return found  # trained on all videos of another dataset
    try:
        return found + notes_on(open_data(replace(trained.data, root=root), "train").index, dataset.index)
    except (UserError, OSError):  # its list cannot be read here
        return found


def retrieval(weights: Weights, config: Recognition, ranks: Ranks, out: Path) -> str:
    """How often the nearest training videos are of a test video's class.

    R@k of the recipe's test videos among its training videos; see `retrieval.search`. Unreadable queries count as
    misses, unreadable gallery videos are left out; both are named.
    """
    sets = features_of_both(weights, config, ranks)
    ranks.end_group()
    return "" if ranks.rank else write_retrieval(sets, out)


def linear(weights: Weights, config: Recognition, ranks: Ranks, out: Path) -> str:
    """A linear classifier on fixed features.

    On those of `retrieval`. Unlike the original (specs/evaluation.md 5B, 9.6), it chooses nothing on the test videos.
    """
    return _probe("linear", linear_probe, weights, config, ranks, out)


def knn(weights: Weights, config: Recognition, ranks: Ranks, out: Path) -> str:
    """A weighted vote of the nearest training videos.

    On the features of `retrieval`, scaled to length 1 but not centered. Nothing is trained or tuned.
    """
    return _probe("knn", knn_probe, weights, config, ranks, out)


def attentive(weights: Weights, config: Recognition, ranks: Ranks, out: Path) -> str:
    """A classifier on fixed feature maps that learns where to look.

    On at most 4 x 4 x 4 positions per video. Hyperparameters are chosen on training videos.
    """
    return _probe("attentive", attentive_probe, weights, config, ranks, out)


def _probe(name: str, probe: Probe, weights: Weights, config: Recognition, ranks: Ranks, out: Path) -> str:
    """Extract the features, fit and test the probe on rank 0, and write `name`.json. Return the results as text."""
    sets = features_of_both(weights, config, ranks, tokens=probe is attentive_probe)
    ranks.end_group()  # a fit takes longer than the ranks' timeout
    if ranks.rank:
        return ""
    measured = probe(sets.gallery, sets.queries, classes=len(sets.gallery_index.class_names), device=ranks.device)
    write_json(out / f"{name}.json", sets.facts | measured)
    details = in_words(measured["interval"], measured["chance"])
    lines = [f"top-1       {100 * measured['top1']:6.2f} %   {details}"]
    lines += [f"top-5       {100 * measured['top5']:6.2f} %"] if "top5" in measured else []
    return "\n".join([*lines, *count_lines(sets, "as wrong"), f"files       {out}"])


PROTOCOLS: dict[str, Callable[[Weights, Recognition, Ranks, Path], str]] = {
    "video": video,
    "retrieval": retrieval,
    "linear": linear,
    "knn": knn,
    "attentive": attentive,
}
OF_CLASSIFIERS = ("video",)
"""Protocols that need a classifier; the others take any backbone."""
