"""Datasets with classes: opened, checked, and split for validation."""

import re
from collections.abc import Iterable
from typing import Literal

import numpy as np

from configs.errors import UserError
from configs.schema import LabeledData
from dali_pipelines.listed import open_listed
from dali_pipelines.store.index import Index

SAME_FILM = re.compile(r"_c\d+$|_[a-z]_(?:cm|nm)_np\d+_[a-z]{2}_(?:goo|med|bad)_\d+$")
"""What tells the clips of one film apart, which look alike: in UCF101 v_<Class>_g<film>_c<clip>, in HMDB51
<film>_<class>_<body>_<camera>_np<people>_<side>_<quality>_<clip>."""


def open_labeled(data: LabeledData, part: Literal["train", "test"]) -> Index:
    """Open the videos of one part, "train" or "test", all with a class; quarantined ones are left off.

    UserError for a missing list, videos without a class, and a list whose own labels tell of other classes.
    """
    list_file = data.list_of(part)
    if part == "test" and list_file is None:
        raise UserError("data.test_list: missing; name the file that lists the test videos, such as testlist01.txt")
    found = open_listed(data.root, list_file)
    index = found.index
    unlabeled = np.flatnonzero(index.labels < 0)
    if len(unlabeled):
        raise UserError(
            f"{data.root} has {len(unlabeled)} videos without a class, the first {index.names.text(unlabeled[0])}; "
            "prepare it again with --labels folders or a CSV, or run dali_pipelines.lists for Something-Something v1"
        )
    if list_file is not None:
        tokens = _own_labels(found.lines, index.names.texts())
        listed, present = len(set(tokens)), len(np.unique(index.labels))
        if len(tokens) == len(index) and all(token.isdecimal() for token in tokens) and listed != present:
            raise UserError(
                f"{list_file} tells {listed} classes apart, {data.root} has {present} for its videos: they are of "
                "different datasets, or the dataset was prepared with other labels"
            )
    return index


def _own_labels(lines: Iterable[str], names: Iterable[str]) -> list[str]:
    """Return what follows the names in a list, such as the class ids in UCF101's training lists."""
    return [
        line[1]
        for line, name in zip((line.rsplit(maxsplit=1) for line in lines), names, strict=True)
        if len(line) == 2 and name in (line[0], line[0].rpartition(".")[0])  # not the end of a name with a blank
    ]


def hold_out(index: Index, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows at random to train on and validate on, about `share` of each class; int64, ascending.

    Videos of one film are not torn apart (`SAME_FILM`); every class keeps at least one film to train on.
    """
    rng = np.random.default_rng(seed)
    films = np.array([SAME_FILM.sub("", index.names.text(row)) for row in range(len(index))])
    held: list[int] = []
    for label in np.unique(index.labels):
        rows = np.flatnonzero(index.labels == label)
        wanted, taken = round(share * len(rows)), 0
        for film in rng.permutation(np.unique(films[rows]))[1:]:
            if taken >= wanted:
                break
            of_film = rows[films[rows] == film].tolist()
            held += of_film
            taken += len(of_film)
    validation = np.sort(np.array(held, np.int64))
    return np.setdiff1d(np.arange(len(index)), validation), validation
