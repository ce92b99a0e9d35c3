"""The two labeled sets of real motion for judging pretraining, and their splits.

`mocap`: people in motion, ten classes, 2706 videos; `train.txt` and `test.txt` differ in the styles of moving.
`ut_interaction`: two people who meet, six classes, 120 videos in 20 sequences; `clips.csv` says which.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.learning.pretext_demo import call
from configs.errors import UserError
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.store.files import INDEX_FILE
from dali_pipelines.store.index import Index

SETS = ("mocap", "ut_interaction")
SHORT_SIDE = 80  # of the stores: the largest one in the recipes
SCENES = ("set1", "set2")  # of UT-Interaction: a parking lot and a lawn
FINETUNED = {
    "mocap": ("mocap", "train", "test"),
    "ut_set1_to_set2": ("ut_interaction", "set1", "set2"),
    "ut_set2_to_set1": ("ut_interaction", "set2", "set1"),
}
"""The splits for finetuning: name -> set, list of training videos, list of test videos.

`ut_sequences` is not among them: it would take 20 runs.
"""


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows of an index for training, and rows for testing."""

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class Split:
    """A way to test on a set: its folds, which test a video at most once."""

    index: Index
    folds: tuple[Fold, ...]
    clusters: np.ndarray
    """Cluster of each test, int64 (tests,), in the order of the folds; tests of one cluster are not independent."""

    @property
    def tested(self) -> np.ndarray:
        """Return the rows of all tests, in the order of the folds."""
        return np.concatenate([fold.test for fold in self.folds])


def prepare(source: Path, out: Path) -> None:
    """Store both sets as small raw video, as they are decoded hundreds of times. UserError if one is missing."""
    for name in SETS:
        if not (source / name).is_dir():
            raise UserError(f"no {name} in {source}: give the folder that holds {' and '.join(SETS)} with --source")
        if not (out / name / INDEX_FILE).is_file():
            words = ["prepare", source / name, "--out", out / name, "--codec", "rawvideo", "--short-side", SHORT_SIDE]
            call("-m", "clipfeed", *words)
    (out / "mocap/train.txt").write_bytes((source / "mocap/train.txt").read_bytes())
    (out / "mocap/test.txt").write_bytes((source / "mocap/test.txt").read_bytes())
    scenes = _sequences(source)
    for number, scene in enumerate(SCENES, 1):
        names = [f"{name} {label}\n" for name, (label, of_scene, _) in scenes.items() if of_scene == number]
        (out / "ut_interaction" / f"{scene}.txt").write_text("".join(names))


def splits(source: Path, out: Path) -> dict[str, Split]:
    """Return the splits by name: mocap, UT-Interaction by sequence, and from each of its scenes to the other."""
    lists = [out / "mocap" / name for name in ("train.txt", "test.txt")]
    index = Index.load(out / "mocap")
    train, test = (open_dataset(out / "mocap", path, labeled=True).index.names.texts() for path in lists)
    row = {name: number for number, name in enumerate(index.names.texts())}
    train_rows, test_rows = (np.array([row[name] for name in names]) for names in (train, test))
    found = {"mocap": Split(index, (Fold(train_rows, test_rows),), np.arange(len(test_rows)))}

    index = open_dataset(out / "ut_interaction", labeled=True).index
    facts = {Path(name).with_suffix("").as_posix(): value for name, value in _sequences(source).items()}
    of = [facts[Path(name).with_suffix("").as_posix()] for name in index.names.texts()]
    scene, sequence = np.array([scene for _, scene, _ in of]), np.array([number for *_, number in of])
    by_sequence = [_held_out(sequence == number) for number in np.unique(sequence)]
    found["ut_sequences"] = Split(index, tuple(by_sequence), np.sort(sequence))
    for number, (first, second) in enumerate([SCENES, SCENES[::-1]], 1):
        fold = _held_out(scene != number)
        found[f"ut_{first}_to_{second}"] = Split(index, (fold,), sequence[fold.test])
    return found


def _held_out(test: np.ndarray) -> Fold:
    return Fold(np.flatnonzero(~test), np.flatnonzero(test))


def _sequences(source: Path) -> dict[str, tuple[str, int, int]]:
    """Return label, scene and sequence of each clip of UT-Interaction."""
    with (source / "ut_interaction/clips.csv").open(newline="") as file:
        return {row["name"]: (row["label"], int(row["set"]), int(row["sequence"])) for row in csv.DictReader(file)}
