"""The benches run, so that none rots; their figures are not judged here."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.learning import downstream_demo, pretext_demo
from configs.errors import UserError
from dali_pipelines import demo_data
from trainers.commands import finetune, pretrain, probe
from trainers.commands import test as test_command

pytestmark = pytest.mark.slow

COMMANDS = {"pretrain": pretrain, "probe": probe, "finetune": finetune, "test": test_command}


def call_here(*command: object, videos: tuple[str, str], steps: int) -> None:
    """Stand in for `call`: in this process, as starting one takes longer, on a few videos and for a few steps."""
    words = [str(word) for word in command]
    if words[0] == "-m":
        demo_data.main([*words[2:], "--train", videos[0], "--test", videos[1]])
        return
    name = Path(words[0]).stem
    is_short = name in ("probe", "test") or "--max-steps" in words
    COMMANDS[name].main([*words[1:], *([] if is_short else ["--max-steps", str(steps)])])


def test_the_task_bench_trains_probes_and_reports_each_task_and_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretext_demo, "call", partial(call_here, videos=("32", "32"), steps=8))
    for task in ("rot3d", "vcop"):
        pretext_demo.main(["--tasks", task, "--work-dir", str(tmp_path / "work"), "--out", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out" / "pretext_demo.json").read_text())
    assert report["machine"]["cpu"]
    assert list(report["tasks"]) == ["rot3d", "vcop"]
    for figures, chance in zip(report["tasks"].values(), (1 / 4, 1 / 6), strict=True):
        assert figures["chance"] == pytest.approx(chance, abs=1e-4)
        assert figures["steps"] == 8
        assert all(0 <= figures[name] <= 1 for name in ("first", "last", "held_out", "probe_chance"))
        assert 0 <= figures["probe"]["top1"] <= 1
    assert (tmp_path / "out" / "pretext_demo.png").stat().st_size > 1000
    assert "| `vcop` | accuracy | 16.7 |" in capsys.readouterr().out


def test_the_task_bench_names_an_unknown_task_and_those_that_there_are():
    with pytest.raises(UserError, match=r"no task named cpt; there are: .*ctp"):
        pretext_demo.main(["--tasks", "cpt", "--out", "nowhere"])


def test_the_downstream_bench_has_five_figures_and_two_pictures_a_task(tmp_path, monkeypatch, capsys):
    calls = []

    def recorded(*command: object) -> None:
        calls.append(command)
        call_here(*command, videos=("48", "16"), steps=4)

    monkeypatch.setattr(downstream_demo, "call", recorded)
    folders = ["--pretext", tmp_path / "pretext", "--work-dir", tmp_path / "work", "--out", tmp_path / "out"]
    arguments = ["--tasks", "cpc_transformer", "--seeds", "2", *map(str, folders)]
    downstream_demo.main(arguments)
    report = json.loads((tmp_path / "out" / "downstream_demo.json").read_text())
    figures = report["cpc_transformer"]
    assert figures["machine"]["cpu"]
    for name, seeds in {"scratch": 2, "finetune": 2, "linear": 1, "retrieval": 1, "random_linear": 2}.items():
        low, high = figures[name]["interval"]
        assert 0 <= low <= figures[name]["mean"] <= high <= 1
        assert figures[name]["mean"] == pytest.approx(np.mean(figures[name]["values"]), abs=1e-4)
        assert len(figures[name]["seeds"]) == len(figures[name]["values"]) == seeds
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "downstream_demo.json",
        "downstream_demo_cpc_transformer_confusion.png",
        "downstream_demo_cpc_transformer_neighbors.png",
    }
    assert "| `cpc_transformer` | " in capsys.readouterr().out
    downstream_demo.main(arguments)  # nothing is tested again
    assert len([command for command in calls if "--protocol" in command]) == 2 + 2 + 1 + 1 + 2


def test_a_command_that_fails_is_named_with_its_status():
    with pytest.raises(UserError, match=r"-c raise SystemExit\(3\)` ended with status 3"):
        pretext_demo.call("-c", "raise SystemExit(3)")
