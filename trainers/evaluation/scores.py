"""Metrics, tables and a picture of a classifier's predictions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import how_to_install
from configs.words import counted
from dali_pipelines.store.files import replacing, write_csv, write_json
from trainers.evaluation import confusion
from trainers.evaluation.intervals import in_words, wilson
from trainers.evaluation.predict import Predictions, top_k
from trainers.evaluation.retrieval import unreadable_line
from trainers.evaluation.videos import require_finite

UNREADABLE = "unreadable"


def predicted_classes(found: Predictions) -> np.ndarray:
    """Return the class with each video's highest score, int64 (N,); K if it has no scores.

    As in `top_k`, a tie counts against the true class: a network with constant scores is never right.
    """
    own = np.take_along_axis(found.scores, found.labels[:, None], 1)[:, 0]
    others = found.scores.copy()
    np.put_along_axis(others, found.labels[:, None], -np.inf, 1)
    predicted = np.where(own > others.max(1), found.labels, others.argmax(1))
    return np.where(found.views > 0, predicted, found.scores.shape[1])


def confusion_table(found: Predictions) -> np.ndarray:
    """Count videos by true class (row) and predicted class, int64 (K, K + 1); the last column has the unreadable."""
    classes = found.scores.shape[1]
    table = np.zeros((classes, classes + 1), np.int64)
    np.add.at(table, (found.labels, predicted_classes(found)), 1)
    return table


def mean_class_accuracy(table: np.ndarray) -> float:
    """Return the mean accuracy over the classes that have videos (specs/ctp.md 3)."""
    videos = table.sum(1)
    return float((np.diagonal(table)[videos > 0] / videos[videos > 0]).mean())


def figures(found: Predictions) -> dict[str, Any]:
    """Compute the metrics of a test, as shares in [0, 1]. Unreadable videos count as wrong.

    UserError if a readable video's score is not finite.
    """
    require_finite("scores", found.names, found.scores, found.views > 0)
    table, videos = confusion_table(found), len(found.names)
    correct = int(np.trace(table))
    return {
        "top1": correct / videos,
        "top1_interval": wilson(correct, videos),
        "top5": top_k(found.scores, found.labels, 5) if len(table) > 5 else None,  # always 1 with five classes
        "mean_class_accuracy": mean_class_accuracy(table),
        "videos": videos,
        "views": int(found.views.sum()),
        "classes": len(table),
        "classes_present": int((table.sum(1) > 0).sum()),
        "unreadable": found.unreadable,
    }


def as_text(measured: Mapping[str, Any]) -> str:
    """Format the metrics as text."""
    present = f"videos of {measured['classes_present']} of {counted(measured['classes'], 'class', 'classes')}"
    lines = [
        f"top-1       {100 * measured['top1']:6.2f} %   {in_words(measured['top1_interval'])}",
        *([] if measured["top5"] is None else [f"top-5       {100 * measured['top5']:6.2f} %"]),
        f"mean class  {100 * measured['mean_class_accuracy']:6.2f} %   ({present})",
        f"videos      {measured['videos']:6}     ({counted(measured['views'], 'view')})",
    ]
    if names := list(measured["unreadable"]):
        lines.append(unreadable_line(names, "counted as wrong"))
    return "\n".join(lines)


def write(out: Path, found: Predictions, classes: Sequence[str], facts: Mapping[str, Any]) -> str:
    """Write the files of a test into `out`; return what to print. `facts` say what was tested and how.

    result.json is written last: if it exists, all other files belong to it.
    """
    measured, table, predicted = figures(found), confusion_table(found), predicted_classes(found)
    columns = [*classes, UNREADABLE]
    (out / "result.json").unlink(missing_ok=True)
    _write_predictions(out, found, predicted, columns)
    rows = ((name, *counts) for name, counts in zip(classes, table.tolist(), strict=True))
    write_csv(out / "confusion.csv", [("class", *columns), *rows])
    header = ("class", "videos", "correct", "accuracy", "most_frequent_wrong_class")
    write_csv(out / "per_class.csv", [header, *(_of_class(row, counts, classes) for row, counts in enumerate(table))])
    lines = [as_text(measured), f"files       {out}"]
    drawn = len(columns) if found.unreadable else len(classes)
    try:
        title = f"{100 * measured['top1']:.1f} % of {counted(measured['videos'], 'video')} right"
        confusion.draw(table[:, :drawn], columns[:drawn], out / "confusion.png", title=title)
    except ModuleNotFoundError as error:  # of matplotlib: the picture is optional
        lines.append(f"note: no confusion.png: {how_to_install(error)}")
    write_json(out / "result.json", {**facts, **measured})
    return "\n".join(lines)


def _write_predictions(out: Path, found: Predictions, predicted: np.ndarray, columns: Sequence[str]) -> None:
    rows = [("video", "class", "predicted", "correct", "class_score", "predicted_score")]
    for name, label, guess, scores in zip(found.names, found.labels, predicted.tolist(), found.scores, strict=True):
        both = [f"{scores[k]:.6f}" if guess < len(scores) else "" for k in (label, guess)]
        rows.append((name, columns[label], columns[guess], int(label == guess), *both))
    write_csv(out / "predictions.csv", rows)
    arrays = {"names": np.array(found.names), "labels": found.labels, "scores": found.scores}
    with replacing(out / "predictions.npz") as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, classes=np.array(columns[:-1]), **arrays)


def _of_class(row: int, counts: np.ndarray, classes: Sequence[str]) -> tuple[object, ...]:
    """Return a row of per_class.csv. The accuracy is empty without videos, the wrong class without mistakes."""
    videos, correct = int(counts.sum()), int(counts[row])
    wrong = counts[:-1].copy()
    wrong[row] = 0
    worst = classes[int(wrong.argmax())] if wrong.any() else ""
    return classes[row], videos, correct, f"{correct / videos:.4f}" if videos else "", worst
