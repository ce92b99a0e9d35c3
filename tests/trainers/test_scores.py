"""The tables of a test against a slow loop, and its picture pixel by pixel."""

import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from tests.helpers.results import result, rows
from trainers.evaluation import confusion, scores
from trainers.evaluation.predict import Predictions, top_k

pytestmark = pytest.mark.slow


def random_predictions(classes: int = 6, videos: int = 80) -> Predictions:
    """Make random predictions: class 0 mostly right, class 4 without videos, some videos unreadable, some ties."""
    rng = np.random.default_rng(0)
    labels = rng.choice([k for k in range(classes) if k != 4], videos)
    values = rng.integers(0, 4, (videos, classes)).astype(float)
    values[labels == 0, 0] += 2
    views = rng.integers(0, 5, videos)
    values[views == 0] = np.nan
    names = [f"video{number}" for number in range(videos)]
    return Predictions(names, labels, values, {names[row]: "gone" for row in np.flatnonzero(views == 0)}, views)


def slow_guess(values: np.ndarray, label: int) -> str:
    """Return the name of the top class; ties go to a wrong class."""
    if np.isnan(values).any():
        return "unreadable"
    best = [k for k in range(len(values)) if values[k] == max(values)]
    return f"class{min([k for k in best if k != label] or [label])}"


def test_tables_and_mean_class_accuracy_match_a_slow_loop(tmp_path):
    found = random_predictions()
    classes = [f"class{k}" for k in range(6)]
    counts: Counter[tuple[str, str]] = Counter()
    wrong: dict[str, Counter[str]] = {name: Counter() for name in classes}
    for values, label in zip(found.scores, found.labels.tolist(), strict=True):
        guess = slow_guess(values, label)
        counts[classes[label], guess] += 1
        if guess not in ("unreadable", classes[label]):
            wrong[classes[label]][guess] += 1
    scores.write(tmp_path, found, classes, {})
    table = rows(tmp_path / "confusion.csv")
    assert [row["class"] for row in table] == classes
    assert {
        (row["class"], k): int(row[k]) for row in table for k in [*classes, "unreadable"] if row[k] != "0"
    } == counts
    assert counts["class0", "class0"] > max(wrong["class0"].values()) > 0
    assert sum(counts[name, "unreadable"] for name in classes) == len(found.unreadable) > 3
    accuracies = []
    for row in rows(tmp_path / "per_class.csv"):
        name = row["class"]
        videos = sum(counts[name, k] for k in [*classes, "unreadable"])
        assert (int(row["videos"]), int(row["correct"])) == (videos, counts[name, name])
        if videos:
            accuracies.append(counts[name, name] / videos)
            assert float(row["accuracy"]) == pytest.approx(accuracies[-1], abs=1e-4)
            assert wrong[name][row["most_frequent_wrong_class"]] == max(wrong[name].values())
        else:
            assert (name, row["accuracy"], row["most_frequent_wrong_class"]) == ("class4", "", "")
    figures = result(tmp_path)
    assert figures["mean_class_accuracy"] == pytest.approx(np.mean(accuracies))
    assert len(accuracies) == figures["classes_present"] == 5
    assert figures["top1"] == sum(counts[name, name] for name in classes) / 80
    assert figures["top1"] == top_k(found.scores, found.labels, 1)


def test_nonfinite_scores_are_an_error():
    found = random_predictions()
    found.scores[np.flatnonzero(found.views)[[2, 5]], 1] = np.inf, np.nan
    first = found.names[np.flatnonzero(found.views)[2]]
    with pytest.raises(UserError, match=rf"2 of 80 videos are not finite, the first {first}: .*too large"):
        scores.figures(found)


@pytest.mark.parametrize("classes", [3, 21])
def test_the_confusion_picture_is_dark_at_its_counts(tmp_path, classes):
    """Correct answers lie on the falling diagonal, mirrored ones on the rising diagonal."""
    names = [f"class {k} " + "with a long name " * (k % 3) for k in range(classes)]
    for table, slope in ((np.eye(classes), 1), (np.eye(classes)[::-1], -1)):
        confusion.draw(7 * table.astype(np.int64), names, tmp_path / "c.png", title="all right")
        pixels = np.asarray(Image.open(tmp_path / "c.png").convert("RGB")).astype(int)
        pixels = pixels[:, : int(0.75 * pixels.shape[1])]  # drop the color bar
        y, x = np.nonzero(np.abs(pixels - (8, 48, 107)).max(-1) < 3)  # the darkest color
        assert len(y) > 0.5 * classes * 18**2
        assert np.corrcoef(x, y)[0, 1] * slope > 0.6


def test_names_may_be_no_utf_8_or_look_like_formulas(tmp_path):
    found = random_predictions()
    found.names[0] = "caf\udce9/v"  # as Python reads the bytes of Latin-1
    classes = ["caf\udce9", "$\\frac{$", "$5 and $6", "line\nbreak", "\u8dd1", "b"]
    scores.write(tmp_path, found, classes, {})
    assert b"\ncaf\xe9," in (tmp_path / "per_class.csv").read_bytes()
    assert b"\ncaf\xe9/v," in (tmp_path / "predictions.csv").read_bytes()
    assert [row["class"] for row in rows(tmp_path / "confusion.csv", errors="surrogateescape")] == classes
    assert Image.open(tmp_path / "confusion.png").size > (300, 300)
    assert result(tmp_path)["classes"] == 6


def test_without_matplotlib_all_but_the_picture_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text = scores.write(tmp_path, random_predictions(), [f"class{k}" for k in range(6)], {})
    assert "\nnote: no confusion.png: import of matplotlib.figure halted" in text
    assert result(tmp_path)["classes"] == 6
    assert not (tmp_path / "confusion.png").exists()


def test_a_picture_of_many_classes_stays_small(tmp_path):
    many = confusion.MAX_NAMED + 1
    confusion.draw(np.eye(many, dtype=np.int64), ["class"] * many, tmp_path / "c.png", title="all right")
    with Image.open(tmp_path / "c.png") as image:
        assert max(image.size) < 3000
        middle = np.asarray(image.convert("RGB"))[image.height // 2]
    assert (middle == (8, 48, 107)).all(-1).any()
