"""Notes on how the lists of training and test videos affect a result."""

import numpy as np

from configs.errors import first_names, shown
from dali_pipelines.store.index import Index


def untrained_classes(train: Index, test: Index | None) -> list[str]:
    """Return a sentence on classes without training videos, and how many test videos they have; or none.

    And one on a test whose videos are all of one class, in which a constant answer is always right.
    """
    names, notes = train.class_names, []
    unseen = np.setdiff1d(np.arange(len(names)), train.labels)
    if len(unseen):
        tested = "" if test is None else f"; the test has {np.isin(test.labels, unseen).sum()} videos of them"
        listed = first_names([names[label] for label in unseen])
        notes.append(f"{len(unseen)} of {len(names)} classes have no training video ({listed}){tested}")
    if test is not None and len(set(test.labels.tolist())) == 1:
        notes.append("all test videos are of one class: a constant answer may be right for all of them")
    return notes


def trained_on(train: Index, test: Index) -> list[str]:
    """Return a sentence on test videos that are training videos too; or none."""
    shared = set(train.names.texts()).intersection(test.names.texts())
    if not shared:
        return []
    return [
        f"{len(shared)} of {len(test)} test videos are training videos too, such as {shown(min(shared))}: "
        "the test's accuracy will be too high"
    ]
