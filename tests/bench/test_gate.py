"""The gate's exact counts hold here, on every machine; its ratios are judged by `make bench-gate` alone."""

import json
import threading
import time

import pytest

from bench import data, gate, gate_history
from dali_pipelines.store.index import Index

pytestmark = pytest.mark.slow


def test_frames_that_are_decoded_and_bytes_that_are_read_for_a_clip_are_those_that_are_committed(tmp_path):
    observed = json.loads(gate.OBSERVED.read_text())
    index = Index.load(data.bench_store(tmp_path, videos=gate.VIDEOS))
    assert gate.count_faults({task: gate.counts(index, task) for task in gate.TASKS}, observed) == []


def test_each_turn_of_a_round_takes_cpu_time(h264_store):
    found = gate.times(h264_store, "rot3d", rounds=2)
    assert set(found) == {"ours", "decode", "torchcodec", "first"}
    assert all(len(of_rounds) == 2 and min(of_rounds) > 0 for of_rounds in found.values())


def test_rounds_in_which_others_were_at_work_do_not_change_a_ratio():
    quiet = {"ours": [2.0] * 8, "decode": [1.0] * 8, "torchcodec": [6.0] * 8, "first": [20.0] * 8}
    expected = {"lead_over_torchcodec": 3.0, "share_of_decode_only": 0.5, "first_batch": 0.3}
    assert gate.ratios(quiet) == expected
    assert gate.ratios({**quiet, "ours": [2.0] * 3 + [5.0] * 5, "torchcodec": [9.0] * 5 + [6.0] * 3}) == expected


def test_a_count_that_changes_and_a_ratio_that_falls_fail():
    observed = {
        "machine": {"cpu": "a processor"},
        "counts": {"ctp": {"decoded": 16.0, "kib": 166.7}},
        "ratios": {"ctp": {"lead_over_torchcodec": 2.0, "first_batch": 0.5}},
    }
    assert gate.count_faults({"ctp": {"decoded": 16.0, "kib": 166.7}}, observed) == []
    (fault,) = gate.count_faults({"ctp": {"decoded": 16.5, "kib": 166.7}}, observed)
    assert fault == "ctp: decoded is 16.5 a clip and was 16.0; if that is meant: --update"
    assert gate.ratio_faults({"ctp": {"lead_over_torchcodec": 1.8, "first_batch": 0.45}}, observed) == []
    (fault,) = gate.ratio_faults({"ctp": {"lead_over_torchcodec": 1.79, "first_batch": 5}}, observed)
    assert fault == "ctp: lead_over_torchcodec is 1.79, below 0.9 x 2.0, which a processor had"


def test_the_exit_status_says_whether_the_gate_holds_and_update_moves_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gate, "OBSERVED", tmp_path / "gate.json")
    monkeypatch.setattr(gate, "DATA", tmp_path)
    monkeypatch.setattr(gate, "bench_store", lambda root, videos: tmp_path)
    monkeypatch.setattr(gate.Index, "load", lambda root: None)
    monkeypatch.setattr(gate, "TASKS", ("ctp",))
    monkeypatch.setattr(gate, "counts", lambda index, task: {"decoded": 16.0})
    lead = {"lead_over_torchcodec": 2.0}
    monkeypatch.setattr(gate, "times", lambda index, task: {})
    monkeypatch.setattr(gate, "ratios", lambda of_task: dict(lead))
    history = tmp_path / "history.jsonl"
    monkeypatch.setattr(gate, "record", lambda ratios, machine: gate_history.record(ratios, machine, history))
    assert gate.main(["--update"]) == 0
    assert json.loads(gate.OBSERVED.read_text())["ratios"] == {"ctp": {"lead_over_torchcodec": 2.0}}
    lead["lead_over_torchcodec"] = 1.7
    assert gate.main(["--record"]) == 1
    assert "below 0.9 x 2.0" in capsys.readouterr().out
    gate_history.record({"ctp": {"lead_over_torchcodec": 2.1}}, json.loads(history.read_text()), history)
    assert [json.loads(line)["ratios"] for line in history.read_text().splitlines()] == [
        {"ctp": {"lead_over_torchcodec": 1.7}},
        {"ctp": {"lead_over_torchcodec": 2.1}},
    ]
    gate_history.plot(tmp_path / "history.png", history)
    assert (tmp_path / "history.png").stat().st_size > 1000


def test_cpu_time_holds_what_other_threads_do_after_the_call():
    began = threading.Event()

    def work():
        began.set()
        until = time.thread_time() + 0.2
        while time.thread_time() < until:
            pass

    def start():
        threading.Thread(target=work).start()
        began.wait()

    assert gate.cpu_seconds(start) >= 0.2
