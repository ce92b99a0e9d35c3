"""Shared folders that no test may change: a labeled dataset, a short pretraining and a run of the fake task."""

from pathlib import Path

import pytest

from dali_pipelines.store.index import Index
from tests.helpers.finetuning import labeled, pretrain_one_step
from tests.helpers.loop import run
from tests.helpers.stores import MakeOnce


@pytest.fixture(scope="session")
def root(vp9_store: Index, made_once: MakeOnce) -> Path:
    return made_once("labeled", lambda folder: labeled(vp9_store, folder)) / "store"


@pytest.fixture(scope="session")
def pretrained(root: Path, made_once: MakeOnce) -> Path:
    """Return the work dir of a one-step pretraining."""
    return made_once("pretrained", lambda folder: pretrain_one_step(root, folder)) / "run"


@pytest.fixture(scope="session")
def whole(made_once: MakeOnce) -> Path:
    """Return a folder with an uninterrupted run of the fake task, which no test may change."""

    def train(folder: Path) -> None:
        folder.mkdir()
        run(folder)

    return made_once("whole", train)
