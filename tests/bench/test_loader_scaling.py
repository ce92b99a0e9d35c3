"""The scaling bench runs; no rate is judged here."""

import json

import pytest

from bench.loader_scaling import main
from configs.errors import UserError


def test_two_loaders_take_turns_with_one(vp9_store, tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    file = tmp_path / "scaling.json"
    main(["--data-dir", str(vp9_store.root), "--seconds", "0.1", "--rounds", "1", "--json", str(file)])
    report = json.loads(file.read_text())
    assert report["one_clips_per_s"] > 0
    assert report["efficiency"] == pytest.approx(report["all_clips_per_s"] / 2 / report["one_clips_per_s"], rel=0.01)
    assert report["machine"]["versions"]["torch"]


def test_more_processes_than_cores_are_refused(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with pytest.raises(UserError, match="--processes 3: from 2 to the 2 cores"):
        main(["--processes", "3"])
