"""What the lists of training and test videos do to a result."""

import numpy as np

from configs.errors import first_names, shown
from dali_pipelines.store.index import Index


def untrained_classes(train: Index, test: Index | None) -> list[str]:
    """Return a sentence on the classes that no training video has, with how many test videos are of them; or none."""
    names = train.class_names
    unseen = np.setdiff1d(np.arange(len(names)), train.labels)
    if not len(unseen):
        return []
    tested = "" if test is None else f"; the test has {np.isin(test.labels, unseen).sum()} videos of them"
    listed = first_names([names[label] for label in unseen])
    return [f"{len(unseen)} of {len(names)} classes have no training video ({listed}){tested}"]


def trained_on(train: Index, test: Index) -> list[str]:
    """Return a sentence on the test videos that are training videos too; or none."""
    shared = set(train.names.texts()).intersection(test.names.texts())
    if not shared:
        return []
    return [
        f"{len(shared)} of {len(test)} test videos are training videos too, such as {shown(min(shared))}: "
        "the test's accuracy will be too high"
    ]
