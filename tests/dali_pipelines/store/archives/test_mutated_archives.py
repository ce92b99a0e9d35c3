"""Damaged archives, pictures and labels are read or refused with a reason."""

import json
import zlib

import lmdb
import msgpack
import numpy as np
import pytest

from dali_pipelines.store.archives import kind_of, read_archive
from dali_pipelines.store.archives.tars import read_label
from dali_pipelines.store.pictures import PictureSource, open_source
from dali_pipelines.store.place import Place
from dali_pipelines.store.source import VideoError
from tests.helpers.archives import jpeg, memory_storage, write_tar, write_zip
from tests.helpers.mutations import INPUTS, mutations


def small_lmdb(path) -> bytes:
    """Write an LMDB whose long keys need a branch page and several leaves, with a value in overflow pages."""
    with lmdb.open(str(path), subdir=False) as env, env.begin(write=True) as transaction:
        for i in range(16):
            transaction.put(f"{i}/{'k' * 400}".encode(), msgpack.dumps([bytes(20 * i)] * 3))
        transaction.put(b"000000001", msgpack.dumps([bytes(3000)] * 2))
        transaction.put(b"__order__", msgpack.dumps(["run/a", "run/b"]))
    return path.read_bytes()


SEEDS = {
    "zip": lambda path: write_zip(path, {f"a/{i}.jpg": zlib.compress(bytes(9))[2:-4] for i in (1, 2)}).read_bytes(),
    "tar": lambda path: write_tar(path, {"a/1.jpg": b"x", "a/2.jpg": b"y", "b.cls": b"3", "b.mp4": b"z"}).read_bytes()[
        : 10 * 512
    ],
    "LMDB": small_lmdb,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SEEDS)
def test_damaged_archives_are_read_or_refused(tmp_path, monkeypatch, kind):
    seed, memory = SEEDS[kind](tmp_path / "seed"), memory_storage(monkeypatch)
    reasons = []
    for data in mutations(seed, INPUTS, seed=0):
        memory.files["memory://a"] = data
        memory.read_bytes = 0
        try:
            for place in read_archive("memory://a", kind).videos.values():
                if place.is_pictures:
                    PictureSource(place)
        except VideoError as error:
            reasons.append(str(error))
        assert memory.read_bytes < 50 * len(seed) + 2**20
    assert len(reasons) > INPUTS // 10
    assert all(reasons)
    assert not any("\n" in reason for reason in reasons)
    assert kind_of("memory://a") in ("", kind, "zip")


@pytest.mark.slow
def test_damaged_pictures_are_read_or_refused(monkeypatch):
    memory = memory_storage(monkeypatch)
    seeds = [jpeg(size=(64, 48), quality=95), jpeg(progressive=True), jpeg(format="PNG")]
    reasons = []
    for whole, data in [(seed, data) for seed in seeds for data in mutations(seed, 200, seed=0)]:
        memory.files["memory://a"] = whole + data
        place = Place("memory://a", "tar", "", np.array([[0, len(whole), 0], [len(whole), len(data), 0]]))
        try:
            with open_source(place) as source:
                sum(1 for _ in source.frames())
        except VideoError as error:
            reasons.append(str(error))
    assert all(reason.startswith("its picture number 2 ") for reason in reasons)
    assert 100 < len(reasons) < 600


def test_damaged_labels_are_read_or_ignored():
    text = json.dumps({"label": 3, "text": "a caption", "boxes": [[1, 2], {"a": None}]}).encode()
    damaged = [*mutations(text, INPUTS // 2, seed=0)]
    labels = {read_label(data, suffix) for suffix in ("json", "cls") for data in damaged}
    assert {None, "3"} < labels
    assert read_label(b"[" * 60_000, "json") is None
