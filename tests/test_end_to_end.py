"""From videos to a probed network with the real commands: killed and resumed, on one process and on two ranks."""

import csv
import json
import math
import signal
import subprocess
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil
import pytest
import torch

from dali_pipelines import prepare
from dali_pipelines.store.index import Index
from tests.helpers.digest import samples_digest
from tests.helpers.loop import history, lines
from tests.helpers.media import SHARED_MEDIA
from tests.helpers.processes import join, run_command
from tests.helpers.ranks import start_ranks, two_ranks
from tests.helpers.runs import PRETRAIN, ROOT, write_recipe
from trainers.commands import pretrain, probe

pytestmark = pytest.mark.slow

STEPS = 12  # 4 epochs of 12 videos // 4


def train_in_process(recipe: Path, *args: str) -> None:
    pretrain.main(["--config", str(recipe), "--device", "cpu", *args])


def content(folder: Path, name: str, step: int = STEPS) -> dict:
    return torch.load(folder / name / "checkpoints" / f"step_{step:08d}.pt", weights_only=True)


def assert_same_end(folder: Path, name: str, other: str) -> None:
    """Check that two runs in `folder` logged the same figures and have bit-identical weights and moments."""
    assert history(folder, name) == history(folder, other)
    assert [line["step"] for line in lines(folder, name)] == list(range(1, STEPS + 1))
    ours, theirs = content(folder, name), content(folder, other)
    assert ours["loader"] == theirs["loader"]
    assert ours["model"].keys() == theirs["model"].keys()
    assert all(torch.equal(ours["model"][key], theirs["model"][key]) for key in ours["model"])
    moments, others = (c["optimizer"]["state"] for c in (ours, theirs))
    assert moments.keys() == others.keys()
    assert all(torch.equal(moments[key]["momentum_buffer"], others[key]["momentum_buffer"]) for key in moments)


def kill_at_step(metrics: Path, step: int, *commands: ForkServerProcess) -> None:
    """Kill commands and their child processes as soon as metrics.jsonl has `step` lines."""
    end = time.monotonic() + 100
    while not metrics.exists() or metrics.read_text().count("\n") < step:
        assert all(command.is_alive() for command in commands), "ended before it could be killed"
        assert time.monotonic() < end, "too slow to be killed"
        time.sleep(0.02)
    for process in [psutil.Process(command.pid) for command in commands]:
        for each in [*process.children(recursive=True), process]:
            each.kill()


def test_two_killed_ranks_resume_bit_identically(vp9_store, tmp_path):
    whole = write_recipe(tmp_path, vp9_store.root, name="whole")
    assert two_ranks(PRETRAIN, tmp_path, "--config", whole, "--device", "cpu")[0] == [0, 0]
    recipe = write_recipe(tmp_path, vp9_store.root, name="killed")
    arguments = ("--config", recipe, "--device", "cpu")
    argv, output = [str(argument) for argument in (PRETRAIN, *arguments)], tmp_path / "output"
    ranks = start_ranks(run_command, [(argv, output)] * 2)
    kill_at_step(tmp_path / "killed" / "metrics.jsonl", 5, *ranks)
    assert join(ranks) == [-signal.SIGKILL] * 2
    assert 5 <= len(lines(tmp_path, "killed")) < STEPS
    assert two_ranks(PRETRAIN, tmp_path, *arguments)[0] == [0, 0]
    assert_same_end(tmp_path, "killed", "whole")


def test_samples_do_not_depend_on_interpreter_or_world_size(vp9_store):
    here = [samples_digest(str(vp9_store.root), world_size) for world_size in (1, 2, 4)]
    code = f"from tests.helpers.digest import samples_digest; print(samples_digest({str(vp9_store.root)!r}, 4))"
    there = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {*here, there.strip()} == {here[0]}


@pytest.mark.skipif(not SHARED_MEDIA.is_dir(), reason="no real clips here")
@pytest.mark.parametrize("codec", ["original", "vp9"])
def test_real_clips_train_and_damaged_ones_are_named(tmp_path, capsys, codec):
    names = ("kinetics_arm_wrestling.mp4", "ucf101_xvid_320x240.avi", "hevc_small.mp4", "unordered_pts.mov")
    sources = [str(SHARED_MEDIA / name) for name in (*names, "corrupted.mp4")]
    data = tmp_path / "data"
    assert prepare.main([*sources, "--out", str(data), "--codec", codec, "--workers", "2", "--labels", "none"]) == 3
    with (data / "quarantine.csv").open() as file:
        assert [Path(row["path"]).name for row in csv.DictReader(file)] == ["corrupted.mp4"]
    index = Index.load(data)
    kinds = {"h264", "mpeg4", "hevc"} if codec == "original" else {"vp9"}
    assert {index.codec(row) for row in range(len(index))} == kinds
    train_in_process(write_recipe(tmp_path, data), "--max-steps", "2")
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]
    for line in lines(tmp_path):
        assert math.isfinite(line["loss"])
        assert line["unreadable_videos"] == 0


def test_a_probe_of_a_short_run_is_finite_for_all_test_videos(vp9_store, tmp_path):
    train_in_process(write_recipe(tmp_path, vp9_store.root), "--max-steps", "3")
    names = list(vp9_store.names.texts())
    for part, chosen in {"train": names[:3] + names[6:9], "test": names[3:6] + names[9:]}.items():
        (tmp_path / f"{part}.txt").write_text("\n".join(chosen))
    lists = ["--train", str(tmp_path / "train.txt"), "--test", str(tmp_path / "test.txt")]
    report_file = tmp_path / "new" / "probe.json"
    probe.main(["--work-dir", str(tmp_path / "run"), *lists, "--device", "cpu", "--json", str(report_file)])
    report = json.loads(report_file.read_text())
    assert (report["step"], report["chance"], report["videos"]) == (3, 0.5, [6, 6])
    assert set(report["probes"]) == {"random", "ctp"}
    for figures in report["probes"].values():
        low, high = figures["interval"]
        assert 0 <= low <= figures["top1"] <= high <= 1
