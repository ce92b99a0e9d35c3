"""The gate's exact counts, which hold on every machine; only `make bench-gate` checks its ratios."""

import json
import threading
import time

import pytest

from bench import data, gate
from dali_pipelines.store.index import Index
from tests.helpers.peers import skip_unless_installed

pytestmark = pytest.mark.slow


def test_frames_and_bytes_per_clip_match_the_committed_counts(tmp_path):
    observed = json.loads(gate.OBSERVED.read_text())
    index = Index.load(data.bench_store(tmp_path, videos=gate.VIDEOS))
    assert gate.count_faults({task: gate.counts(index, task) for task in gate.TASKS}, observed) == []


def test_each_part_of_a_round_takes_cpu_time(h264_store):
    skip_unless_installed("torchcodec")
    found = gate.times(h264_store, "rot3d", rounds=2)
    assert set(found) == {"ours", "decode", "torchcodec", "first"}
    assert all(len(of_rounds) == 2 and min(of_rounds) > 0 for of_rounds in found.values())


def test_disturbed_rounds_do_not_change_the_ratios():
    quiet = {"ours": [2.0] * 8, "decode": [1.0] * 8, "torchcodec": [6.0] * 8, "first": [20.0] * 8}
    expected = {"lead_over_torchcodec": 3.0, "share_of_decode_only": 0.5, "first_batch": 0.3}
    assert gate.ratios(quiet) == expected
    assert gate.ratios({**quiet, "ours": [2.0] + [5.0] * 7, "torchcodec": [9.0] * 7 + [6.0]}) == expected


def test_changed_counts_and_fallen_ratios_fail():
    observed = {"counts": {"ctp": {"decoded": 16.0, "kib": 166.7}}}
    assert gate.count_faults({"ctp": {"decoded": 16.0, "kib": 166.7}}, observed) == []
    (fault,) = gate.count_faults({"ctp": {"decoded": 16.5, "kib": 166.7}}, observed)
    assert fault == "ctp: decoded is 16.5 a clip and was 16.0; if that is meant: --update"
    before = {"ctp": {"lead_over_torchcodec": 2.0, "first_batch": 0.4}}
    assert gate.ratio_faults({"ctp": {"lead_over_torchcodec": 1.71, "first_batch": 0.35}}, before, cpu="X") == []
    (fault,) = gate.ratio_faults({"ctp": {"lead_over_torchcodec": 1.69, "first_batch": 5}}, before, cpu="X")
    assert fault == "ctp: lead_over_torchcodec is 1.69, below 0.85 x 2.0, which X had"


def test_exit_status_is_1_where_the_gate_fails_and_update_moves_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gate, "OBSERVED", tmp_path / "gate.json")
    monkeypatch.setattr(gate, "DATA", tmp_path)
    monkeypatch.setattr(gate, "bench_store", lambda root, videos: tmp_path)
    monkeypatch.setattr(gate.Index, "load", lambda root: None)
    monkeypatch.setattr(gate, "TASKS", ("ctp",))
    monkeypatch.setattr(gate, "counts", lambda index, task: {"decoded": 16.0})
    taken = {"ours": [2.0], "decode": [1.0], "torchcodec": [4.0], "first": [8.0]}
    monkeypatch.setattr(gate, "times", lambda index, task: dict(taken))
    assert gate.main(["--update"]) == 0
    assert json.loads(gate.OBSERVED.read_text())["cpu_ms"] == {"ctp": taken}
    taken["torchcodec"] = [3.0]
    assert gate.main([]) == 1
    assert "lead_over_torchcodec is 1.5, below 0.85 x 2.0" in capsys.readouterr().out


def test_cpu_time_includes_threads_that_outlive_the_call():
    began = threading.Event()

    def work():
        began.set()
        deadline = time.thread_time() + 0.2
        while time.thread_time() < deadline:
            pass

    def start():
        threading.Thread(target=work).start()
        began.wait()

    assert gate.cpu_seconds(start) >= 0.2
