"""The training loop on a fake task (tests/helpers/loop_worker.py), in this process."""

import errno
import io
import math
import os
import re
import signal
import time

import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from configs.errors import UserError
from dali_pipelines import progress
from tests.helpers import loop_worker
from tests.helpers.loop import LATE_ROW, STEPS, assert_same_weights, history, lines, run, weights, write_recipe
from tests.helpers.processes import join, start_command


def test_a_run_writes_checkpoints_config_and_a_line_per_step(whole):
    checkpoints = sorted(path.name for path in (whole / "run" / "checkpoints").iterdir())
    assert checkpoints == ["step_00000012.pt", "step_00000015.pt"]
    assert yaml.safe_load((whole / "run" / "config.yaml").read_text())["optim"]["lr"] == 0.05
    assert [line["step"] for line in lines(whole)] == list(range(1, STEPS + 1))
    assert [line["epoch"] for line in lines(whole)] == [0] * 5 + [1] * 5 + [2] * 5
    for line in lines(whole):
        assert line["clips_per_s"] > 0
        assert 0 <= line["data_wait"] <= 1
        assert line["rss_mib"] > 10
        assert (line["amplification"], line["unreadable_videos"]) == (1.5, 0)


def test_lines_have_the_time_and_the_estimated_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    run(tmp_path, "--max-steps", "3")
    times = [line["time"] for line in lines(tmp_path)]
    assert times == sorted(times)
    assert abs(times[-1] - time.time()) < 100
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    when, facts = r"\d+:\d\d elapsed, \d+:\d\d left", r"epoch 1/3, loss \S+, \S+ clips/s, wait \d+%, lr 0\.0\d+"
    shape = f"step {{}}/3, {when}, {facts}"
    assert [bool(re.fullmatch(shape.format(n), line)) for n, line in enumerate(printed, start=1)] == [True] * 3
    assert ", 00:00 left, " in printed[-1]


def test_checkpoints_have_the_networks_keys(whole):
    assert list(weights(whole)) == list(loop_worker.Net(loop_worker.NetConfig()).state_dict())


def test_the_rate_of_every_step_follows_the_schedule(whole):
    for n, line in enumerate(lines(whole)):
        warm_up = 1 - (1 - n / 3) * 0.9 if n < 3 else 1
        assert line["lr"] == pytest.approx(warm_up * 0.05 * (1 + math.cos(math.pi * n / STEPS)) / 2)


def test_the_loss_falls(whole):
    losses = [line["loss"] for line in lines(whole)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_tensorboard_has_the_same_scalars_and_the_input(whole):
    board = EventAccumulator(str(whole / "run" / "tensorboard")).Reload()
    events = board.Scalars("train/loss")
    assert [event.step for event in events] == [line["step"] for line in lines(whole)]
    assert [event.value for event in events] == pytest.approx([line["loss"] for line in lines(whole)])
    (picture,) = board.Images("input")
    assert picture.step == 1
    assert Image.open(io.BytesIO(picture.encoded_image_string)).size == (picture.width, picture.height)
    session = HParamsPluginData.FromString(board.SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.content)
    options = session.session_start_info.hparams
    assert options["optim.lr"].number_value == 0.05
    assert options["train.channels_last"].number_value == 1
    assert options["schedule.kind"].string_value == "cosine"


def test_log_every_only_thins_out_the_lines(whole, tmp_path):
    run(tmp_path, "--set", "train.log_every=4")
    assert history(tmp_path) == [line for line in history(whole) if line["step"] in (4, 8, 12, 15)]
    assert_same_weights(weights(tmp_path), weights(whole))


def test_the_loader_is_refilled_while_the_gpu_computes(tmp_path, monkeypatch):
    """Refill comes after the backward pass is launched, before the gradient norm is."""
    seen, norm, backward = [], torch.nn.utils.clip_grad_norm_, torch.Tensor.backward

    def record_call(name, function):
        def call(*args, **how):
            seen.append(name)
            return function(*args, **how)

        return call

    monkeypatch.setattr(torch.Tensor, "backward", record_call("backward", backward))
    monkeypatch.setattr(loop_worker.Loader, "refill", lambda loader: seen.append("refill"))
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", record_call("norm", norm))
    run(tmp_path, "--max-steps", "2", "--set", "train.accumulate=2")
    assert seen == 2 * [*2 * ["backward", "refill"], "norm"]


def test_a_killed_run_resumes_bit_identically(whole, tmp_path):
    """Killed in step 7 of 15, it resumes from step 4, in mid-epoch, and rewrites the lines of steps 5 and 6."""
    recipe = write_recipe(tmp_path, "run")
    options = ("--config", recipe, "--device", "cpu", "--set", "plan.kill_step=6")
    killed = start_command(loop_worker.__file__, *options, output=tmp_path / "output")
    assert join([killed]) == [-signal.SIGKILL]
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, 7))
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')  # cut off in mid-line
    run(tmp_path)
    assert history(tmp_path) == history(whole)
    assert_same_weights(weights(tmp_path), weights(whole))


@pytest.mark.parametrize(
    ("step", "number", "name", "text"),
    [
        ("term_step", signal.SIGTERM, "SIGTERM", ""),
        ("int_step", signal.SIGINT, "Ctrl-C", "stopping after this step; Ctrl-C again ends at once"),
    ],
)
def test_a_signal_saves_after_the_step_and_the_run_resumes(whole, tmp_path, capfd, step, number, name, text):
    before = signal.getsignal(number)
    run(tmp_path, "--set", f"plan.{step}=9")
    output, errors = capfd.readouterr()
    assert f"stopped by {name} after step 10 of 15; the same command goes on from" in output
    assert "step_00000010.pt" in output
    assert text in errors
    assert signal.getsignal(number) == before
    run(tmp_path)
    assert history(tmp_path) == history(whole)
    assert_same_weights(weights(tmp_path), weights(whole))


def test_max_steps_stops_early_on_the_same_schedule(whole, tmp_path, capsys):
    run(tmp_path, "--max-steps", "6")
    assert "done: 6 of 15 steps" in capsys.readouterr().out
    assert history(tmp_path) == history(whole)[:6]
    run(tmp_path, "--max-steps", "6")
    assert "nothing to do" in capsys.readouterr().out
    run(tmp_path)
    assert history(tmp_path) == history(whole)
    assert_same_weights(weights(tmp_path), weights(whole))


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_previous(whole, tmp_path, capsys):
    run(tmp_path, "--max-steps", "9")
    newest = tmp_path / "run" / "checkpoints" / "step_00000009.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    run(tmp_path)
    assert f"warning: checkpoint {newest} is damaged" in capsys.readouterr().out
    assert history(tmp_path) == history(whole)
    assert_same_weights(weights(tmp_path), weights(whole))


def test_a_full_disk_ends_the_run_in_one_line_and_it_resumes(whole, tmp_path, monkeypatch):
    real = os.fsync

    def full(handle):
        if (tmp_path / "run" / "checkpoints" / "step_00000004.pt").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"^cannot write the checkpoint of step \d+ .*No space left"):
        run(tmp_path)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_00000004.pt"]
    run(tmp_path)
    assert history(tmp_path) == history(whole)


def test_a_changed_hyperparameter_applies_after_resume(whole, tmp_path):
    run(tmp_path, "--max-steps", "4")
    run(tmp_path, "--set", "optim.weight_decay=0.5")
    assert history(tmp_path)[4]["grad_norm"] == history(whole)[4]["grad_norm"]
    norms = [sum(w.double().norm() for w in weights(folder).values()) for folder in (tmp_path, whole)]
    assert norms[0] < norms[1]


def test_a_step_is_sgd_with_clipping_and_decay_for_any_micro_steps(tmp_path):
    """One step from known weights, against the update computed with autograd and numpy."""
    options = ("--set", "net.plain=true", "--set", "optim.clip_norm=0.5", "--set", "optim.weight_decay=0.1")
    torch.manual_seed(7)
    net = loop_worker.Net(loop_worker.NetConfig(plain=True))
    rows = torch.randperm(42, generator=torch.Generator().manual_seed(7000))[:8]
    clips = torch.sin(rows.view(-1, 1, 1, 1, 1) + torch.arange(3 * 4 * 8 * 8.0).view(1, 3, 4, 8, 8))
    net({"clips": clips, "index": rows})["loss"].backward()
    norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in net.parameters() if p.grad is not None))
    assert norm > 0.5
    for accumulate in (1, 2, 8):
        name = f"run{accumulate}"
        run(tmp_path, *options, "--max-steps", "1", "--set", f"train.accumulate={accumulate}", name=name)
        (line,) = lines(tmp_path, name)
        assert line["grad_norm"] == pytest.approx(norm, rel=1e-5)
        after = weights(tmp_path, 1, name)
        for key, p in net.named_parameters():
            assert p.grad is not None
            update = line["lr"] * (p.grad * 0.5 / norm + 0.1 * p)
            assert after[key] == pytest.approx((p - update).detach().numpy(), rel=1e-5, abs=1e-6), key


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_nonfinite_loss_names_the_micro_steps_videos(tmp_path, accumulate):
    with pytest.raises(UserError) as caught:
        run(tmp_path, "--set", f"net.nan_row={LATE_ROW}", "--set", f"train.accumulate={accumulate}")
    assert str(caught.value).startswith("step 5: the loss is not finite")
    assert f"{LATE_ROW} class/video_{LATE_ROW}" in str(caught.value)
    assert str(caught.value).count("class/video_") == 8 // accumulate  # only the failing micro-step


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_nonfinite_gradient_stops_before_the_update_and_names_videos(tmp_path, accumulate):
    options = ("--set", f"train.accumulate={accumulate}", "--set", "train.checkpoint_every=1")
    with pytest.raises(UserError) as caught:
        run(tmp_path, "--set", f"plan.nan_row={LATE_ROW}", *options)
    assert str(caught.value).startswith("step 5: some samples have nan or infinity in clips")
    assert f"{LATE_ROW} class/video_{LATE_ROW}" in str(caught.value)
    assert str(caught.value).count("class/video_") == 1
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]
    assert all(value.isfinite().all() for value in weights(tmp_path, 4).values())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--set", "seed=8"), "seed = 7, this run has 8"),
        (("--set", "train.global_batch=4"), "train.global_batch = 8, this run has 4"),
        (("--set", "optim.name=adamw"), "optim.name = 'sgd', this run has 'adamw'"),
        (("--set", "plan.frames=51"), "of the same names, some with another number of frames: from data.root nowhere"),
        (("--resume", "none"), "already holds checkpoints up to step 15"),
        (("--set", "net.width=4"), "of another network: net.width: 8 -> 4"),
    ],
)
def test_a_work_dir_of_another_run_is_refused(whole, args, message):
    before = {path: path.stat().st_mtime_ns for path in (whole / "run").rglob("*") if path.name != ".lock"}
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        run(whole, *args)
    assert "\n" not in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in before if path.is_file()} == {
        path: time for path, time in before.items() if path.is_file()
    }


@pytest.mark.parametrize("work_dir", ["file", "file/run", "holds_file"])
def test_an_unwritable_work_dir_is_refused_before_training(tmp_path, work_dir):
    (tmp_path / "file").write_text("")
    (tmp_path / "holds_file").mkdir()
    (tmp_path / "holds_file" / "checkpoints").write_text("")
    with pytest.raises(UserError, match=rf"^cannot write to {tmp_path / work_dir}.*; choose another --work-dir$"):
        run(tmp_path, "--work-dir", str(tmp_path / work_dir))


def test_dry_run_describes_the_batch_and_writes_nothing(tmp_path, capsys):
    run(tmp_path, "--dry-run")
    output = capsys.readouterr().out
    assert "(8, 3, 4, 8, 8)" in output
    assert "3 epochs x 5 batches = 15 steps" in output
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


def test_print_config_shows_the_final_values(tmp_path, capsys):
    run(tmp_path, "--print-config", "--set", "optim.lr=3e-4", "--data-dir", "some: where")
    tree = yaml.safe_load(capsys.readouterr().out)
    assert (tree["optim"]["lr"], tree["data"]["root"], tree["train"]["keep"]) == (3e-4, "some: where", 2)
