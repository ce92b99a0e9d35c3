"""Smoke tests of the learning benches; their figures are not checked here."""

import json
from functools import partial
from pathlib import Path

import pytest

from bench.learning import pretext_demo
from configs.errors import UserError
from trainers.commands import pretrain, probe
from trainers.evaluation import linear

pytestmark = pytest.mark.slow

PROBE = {"top1": 0.5, "interval": [0.4, 0.6]}
FIGURES = {"metric": "top1", "chance": 0.1, "first": 0.2, "last": 0.3, "held_out": 0.3}

COMMANDS = {"pretrain": pretrain, "probe": probe}


def call_in_process(*command: object, demo_set: Path, steps: int) -> None:
    """Replace `call`: run in this process, which is faster, for a few steps of four videos."""
    words = [str(word) for word in command]
    if words[:2] == ["-m", "dali_pipelines.demo_data"]:
        target = Path(words[words.index("--out") + 1])
        if not target.exists():
            target.parent.mkdir(parents=True)
            target.symlink_to(demo_set)
        return
    name = Path(words[0]).stem
    if name == "pretrain":
        words += ["--set", "train={global_batch: 4, loggers: [], log_every: 1}", "--max-steps", str(steps)]
    COMMANDS[name].main(words[1:])


def test_pretext_demo_trains_and_probes_each_task_into_one_report(demo_set, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretext_demo, "call", partial(call_in_process, demo_set=demo_set, steps=4))
    monkeypatch.setattr(pretext_demo, "DRAWS", 1)
    monkeypatch.setattr(linear, "PENALTIES", (0.1, 1.0))
    (tmp_path / "out").mkdir()
    old = {"machine": {"cpu": "old"}, "tasks": {"ctp": {"probe": PROBE, "probe_random": PROBE, **FIGURES}}}
    (tmp_path / "out" / "pretext_demo.json").write_text(json.dumps(old))
    for task, cpu in (("rot3d", "a"), ("vcop", "b"), ("rot3d", "c")):  # the last finds the first one's run finished
        monkeypatch.setattr(pretext_demo, "machine", lambda cpu=cpu: {"cpu": cpu})
        pretext_demo.main(["--tasks", task, "--work-dir", str(tmp_path / task), "--out", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out" / "pretext_demo.json").read_text())
    assert {task: row["machine"]["cpu"] for task, row in report["tasks"].items()} == {
        "ctp": "old",
        "rot3d": "a",
        "vcop": "b",
    }
    del report["tasks"]["ctp"]
    for figures, chance in zip(report["tasks"].values(), (1 / 4, 1 / 6), strict=True):
        assert figures["chance"] == pytest.approx(chance, abs=1e-4)
        assert figures["steps"] == 4
        assert all(0 <= figures[name] <= 1 for name in ("first", "last", "held_out", "probe_chance"))
        assert 0 <= figures["probe"]["top1"] <= 1
    assert (tmp_path / "out" / "pretext_demo.png").stat().st_size > 1000
    printed = capsys.readouterr().out
    assert "| `vcop` | accuracy | 16.7 |" in printed
    assert "note: the picture lacks ctp, rot3d, whose runs are not in" in printed


def test_an_unknown_task_is_refused_before_videos_are_made(monkeypatch, capsys):
    monkeypatch.setattr(pretext_demo, "call", None)
    with pytest.raises(SystemExit):
        pretext_demo.main(["--tasks", "cpt", "--out", "nowhere"])
    assert "invalid choice: 'cpt'" in capsys.readouterr().err


def test_a_failing_command_is_named_with_its_status():
    with pytest.raises(UserError, match=r"-c raise SystemExit\(3\)` ended with status 3"):
        pretext_demo.call("-c", "raise SystemExit(3)")
