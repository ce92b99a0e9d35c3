"""bench.faults media: what counts as noticed, and a full run with nine damaged videos per storage."""

from dataclasses import replace

import pytest

from bench.faults.media import dataset
from bench.faults.media.dataset import Delivered, Epoch
from bench.faults.media.storages import STORAGES

SOUND = Epoch({row: Delivered(row, bytes([row])) for row in range(4)}, {}, "pyav")
NAMES = ("zips/0", "zips/1", "zips/2", "tar/3")
DONE = {"zips/0": "emptied", "zips/1": "a bit flipped"}
DAMAGED = Epoch(
    SOUND.delivered | {0: Delivered(2, b"\2"), 1: Delivered(1, b"other")}, {"zips/0": "it ends at byte 0"}, "pyav"
)


def row(damaged=DAMAGED, again=DAMAGED):
    return dataset.row_of("zips", NAMES, DONE, SOUND, damaged, again)


def test_named_and_decoded_videos_are_counted():
    found = row()
    assert (found.injected, found.survived, found.lost_or_repeated, found.bits_equal) == (2, 2, 0, True)
    assert found.details["of"] == {"a bit flipped": {"other pixels": 1}, "emptied": {"named": 1}}


@pytest.mark.parametrize(
    "change",
    [
        {"reasons": {}},  # replaced silently
        {"reasons": DAMAGED.reasons | {"zips/1": "no reason"}},  # named but delivered anyway
        {"reasons": DAMAGED.reasons | {"zips/2": "sound"}},
        {"delivered": DAMAGED.delivered | {0: Delivered(3, b"\2")}},
        {"delivered": DAMAGED.delivered | {2: Delivered(2, b"else")}},  # a sound video changed
        {"delivered": DAMAGED.delivered | {0: Delivered(2, b"else")}},  # a replacement changed
    ],
)
def test_any_unexpected_outcome_fails_the_row(change):
    assert not row(replace(DAMAGED, **change), replace(DAMAGED, **change)).passed


def test_a_different_result_on_two_ranks_fails_the_row():
    assert not row(again=replace(DAMAGED, delivered=DAMAGED.delivered | {1: Delivered(2, b"\2")})).passed
    assert row(again=replace(DAMAGED, delivered=DAMAGED.delivered | {1: Delivered(1, b"else")})).passed  # was damaged
    assert not row(again=replace(DAMAGED, delivered=DAMAGED.delivered | {2: Delivered(2, b"else")})).passed
    assert row(again=replace(DAMAGED, delivered=DAMAGED.delivered | {3: Delivered(3, b"else")})).passed  # not in zips


@pytest.mark.slow
def test_damage_in_any_storage_affects_only_the_damaged_videos(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "WORKERS", 0)
    rows = list(dataset.inject(0.001, tmp_path))
    assert [row.fault.split(": ")[1] for row in rows] == [
        *(f"{storage}, decoded by pyav" for storage in STORAGES),
        "vp9, decoded by dali",
    ]
    assert all(row.passed and row.injected > 3 and row.details["named"] > 1 for row in rows)
    assert not any(tmp_path.iterdir())
