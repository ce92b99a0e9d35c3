"""bench.faults.row: rows in a file that several runs write to."""

import json
from dataclasses import replace

import pytest

from bench.faults.__main__ import parse_args
from bench.faults.row import Row, save
from configs.errors import UserError

KILLS = Row("kills", injected=200, survived=200, lost_or_repeated=0, bits_equal=True, details={"task": "moco"})


def test_saving_a_row_keeps_the_other_faults(tmp_path):
    path = tmp_path / "results" / "faults.json"
    save(path, KILLS, command="first")
    save(path, Row("disk", 3, 3, 0, True), command="first")
    save(path, replace(KILLS, survived=199), command="second")
    rows = json.loads(path.read_text())["faults"]
    assert {fault: (row["survived"], row["command"]) for fault, row in rows.items()} == {
        "kills": (199, "second"),
        "disk": (3, "first"),
    }
    assert rows["kills"]["machine"]["cores"]


@pytest.mark.parametrize("change", [{"survived": 199}, {"lost_or_repeated": 1}, {"bits_equal": False}])
def test_any_loss_fails_a_row(change):
    assert KILLS.passed
    assert not replace(KILLS, **change).passed


def test_a_difference_stands_out_in_the_table():
    assert "| kills | 200 | 200 | 0 | NO |" in replace(KILLS, bits_equal=False).table()


def test_unknown_fault_lists_the_known_ones():
    with pytest.raises(UserError, match=r"no fault 'earthquake'; there are .*workers"):
        parse_args(["earthquake"])
