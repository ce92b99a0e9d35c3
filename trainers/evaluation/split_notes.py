"""Notes on how the lists of training and test videos affect a result."""

import numpy as np

from configs.errors import first_names, shown
from dali_pipelines.store.index import Index


def notes_on(train: Index, test: Index | None) -> list[str]:
    """Return what the videos to train and to test on, if they are known, mean for the result, one sentence each.

    Classes without training videos; a test of one class, in which a constant answer is always right; test videos that
    are training videos too.
    """
    names, notes = train.class_names, []
    unseen = np.setdiff1d(np.arange(len(names)), train.labels)
    if len(unseen):
        tested = "" if test is None else f"; the test has {np.isin(test.labels, unseen).sum()} videos of them"
        listed = first_names([names[label] for label in unseen])
        notes.append(f"{len(unseen)} of {len(names)} classes have no training video ({listed}){tested}")
    if test is None:
        return notes
    if len(set(test.labels.tolist())) == 1:
        notes.append("all test videos are of one class: a constant answer may be right for all of them")
    if shared := set(train.names.texts()).intersection(test.names.texts()):
        notes.append(
            f"{len(shared)} of {len(test)} test videos are training videos too, such as {shown(min(shared))}: "
            "the test's accuracy will be too high"
        )
    return notes
