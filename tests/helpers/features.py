"""Features of videos that do not exist."""

from collections.abc import Sequence

import numpy as np

from trainers.evaluation.features import Features


def features(values: np.ndarray, labels: Sequence[int], prefix: str = "v") -> Features:
    names = [f"{prefix}{row:03d}" for row in range(len(values))]
    return Features(names, np.array(labels, np.int64), np.asarray(values, np.float32), {})


def shuffled(one: Features, seed: int) -> Features:
    order = np.random.default_rng(seed).permutation(len(one.names))
    return Features([one.names[row] for row in order], one.labels[order], one.values[order], {})


def random_sets(seed: int = 0, queries: int = 300, gallery: int = 90) -> tuple[Features, Features]:
    """Return queries of six classes and a gallery without the last, 5; three videos of each are unreadable."""
    rng = np.random.default_rng(seed)
    sets = []
    for count, classes in ((queries, 6), (gallery, 5)):
        labels = rng.integers(classes, size=count)
        values = rng.normal(size=(count, 7)) + 0.5 * np.eye(7)[labels] + 3 * rng.normal(size=7)
        values[[1, 5, 20]] = np.nan
        sets.append(features(values, labels.tolist()))
    return sets[0], sets[1]
