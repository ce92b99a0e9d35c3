"""Datasets that several tests read and none may change."""

import os

import pytest

from dali_pipelines.store.index import Index
from tests.stores import make_store

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in trainers/pretrain.py; torch is not imported yet


@pytest.fixture(scope="session")
def vp9_store(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_store(tmp_path_factory.mktemp("vp9"))


@pytest.fixture(scope="session")
def long_store(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Two videos that are long enough for every task."""
    return make_store(tmp_path_factory.mktemp("long"), videos=2, frames=130)


@pytest.fixture(scope="session")
def h264_store(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_store(tmp_path_factory.mktemp("h264"), codec="h264")
