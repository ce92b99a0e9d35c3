"""Hold videos out for validation, keeping the clips of a film together."""

import re

import numpy as np
from numpy.typing import NDArray

from dali_pipelines.store.index import Index

SAME_FILM = re.compile(r"_c\d+$|_[a-z]_(?:cm|nm)_np\d+_[a-z]{2}_(?:goo|med|bad)_\d+$")
"""The part of a name that differs between clips of one film, which look alike: in UCF101 v_<Class>_g<film>_c<clip>, in
HMDB51 <film>_<class>_<body>_<camera>_np<people>_<side>_<quality>_<clip>."""


def hold_out(index: Index, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split the rows at random into training and validation rows: int64, ascending.

    About `share` of each class is held out. All clips of one film (`SAME_FILM`) go to the same side; every class keeps
    at least one film for training.
    """
    rng = np.random.default_rng(seed)
    _, films = np.unique([SAME_FILM.sub("", name) for name in index.names.texts()], return_inverse=True)
    held: list[int] = []
    labels = index.labels
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        wanted, taken = round(share * len(rows)), 0
        for film in rng.permutation(np.unique(films[rows]))[1:]:
            if taken >= wanted:
                break
            of_film = rows[films[rows] == film].tolist()
            held += of_film
            taken += len(of_film)
    validation = np.sort(np.array(held, np.int64))
    return np.setdiff1d(np.arange(len(index)), validation), validation
