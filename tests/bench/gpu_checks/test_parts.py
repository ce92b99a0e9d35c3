"""The other parts as a rehearsal: each gives its answer and notices what goes wrong."""

import json
import os
import warnings
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from bench import data
from bench.gpu_checks import (
    Target,
    compare,
    decode,
    items,
    loader,
    networks,
    nvdec,
    pipelines,
    questions,
    recovery,
    training,
    videos,
)
from bench.gpu_checks.__main__ import run_item
from tests.helpers.gpu_lint import problems
from trainers.engine.run import Run

pytestmark = pytest.mark.slow


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", [f"{part}.{names[0]}" for part, names in items.ITEMS.items() if part != "facts"])
def test_every_part_is_unavailable_without_a_gpu(name, tmp_path):
    record = run_item(name, Target("cuda", tmp_path))
    assert record["status"] == "unavailable"
    assert "no GPU" in record["error"]


def test_the_pipelines_of_the_checks_are_valid_on_a_gpu(tmp_path):
    """Of the decoders here: tests/dali_pipelines/test_gpu_lint.py checks the graphs of the tasks."""
    place, clip = Target("cuda", tmp_path), videos.encode_clip("h264", 128, 128)
    assert problems(lambda: pipelines.clip_pipeline([clip], place, batch_size=2, threads=2)) == []


@pytest.mark.parametrize(("codec", "size"), [("h264", (340, 256)), ("hevc", (128, 128)), ("vp9", (320, 240))])
def test_clips_for_a_gpu_show_their_frames_in_any_size(codec, size):
    """A rehearsal uses VP9 alone."""
    clip = videos.encode_clip(codec, *size, frames=18)
    shown = videos.decode_reference(clip, np.arange(18))
    tiled = [np.tile(frame, (2, 2, 1))[: size[1], : size[0]] for frame in islice(data.drift(0), 18)]
    assert compare.compare(shown, np.stack(tiled))["misplaced"] == 0


def test_the_stores_have_rates_by_threads(target):
    found = decode.measure("h264_gop1", target)
    assert set(found["rows"]) == {"1 threads", "2 threads"}
    assert found["decoded_frames_per_clip"] == 16  # a GOP of 1 decodes no extra frames
    assert all(row["clips_per_s"] > 0 for row in found["rows"].values())


def test_a_changing_batch_is_detected(target, monkeypatch):
    assert decode.repeat(target)["answer"].startswith("10 of 10 batches")
    build = decode.video_pipeline

    def drifting(feed, target, **how):
        other = decode.constant_feed(decode.clips_of(videos.chosen_store(target)[1], 2, stride=2))
        return build(lambda iteration: (other if iteration == 7 else feed)(iteration), target, **how)

    monkeypatch.setattr(decode, "video_pipeline", drifting)
    found = decode.repeat(target)
    assert not found["ok"]
    assert found["answer"].startswith("9 of 10 batches")


def test_the_loader_is_timed_next_to_decoding_alone(target):
    found = loader.measure("ctp", target)
    assert found["ok"]
    assert set(found["rows"]) == {"decoding alone", "loader"}
    assert found["frames_per_s"] == pytest.approx(16 * found["rows"]["loader"]["clips_per_s"], abs=1)
    assert "% of decoding alone" in found["answer"]


def test_a_task_trains_with_the_loss_of_the_cpu(target):
    found = networks.measure("moco", target)
    assert found["ok"]
    assert found["rows"]["float32"] == found["rows"]["cpu"]
    assert "float32 loss 0.00 %, float32 grad_norm 0.00 %, bfloat16 loss" in found["answer"]
    assert found["last"]["grad_norm"] > 0
    json.dumps(found)


@pytest.mark.parametrize("wrong", [1.3, float("nan")])
def test_a_wrong_gradient_is_detected(target, monkeypatch, wrong):
    """The first call runs on the CPU, so only later ones are changed."""
    plain, calls = networks._loss, []

    def other(*args):
        calls.append(args)
        row = plain(*args)
        return row if len(calls) == 1 else row | {"grad_norm": wrong * row["grad_norm"]}

    monkeypatch.setattr(networks, "_loss", other)
    assert not networks.measure("rot3d", target)["ok"]


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_synchronizing_lines_are_named_once(monkeypatch):
    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    weight = torch.nn.Parameter(torch.ones(()))

    def model(batch):
        for _ in range(2):
            warnings.warn("called a synchronizing CUDA operation", UserWarning, stacklevel=1)
        warnings.warn("another matter", UserWarning, stacklevel=1)
        return {"loss": weight * batch["clips"]}

    run = cast(Run, SimpleNamespace(model=model, optimizer=torch.optim.SGD([weight])))
    (found,) = networks.waits(run, {"clips": torch.ones(())})
    assert found.startswith("test_parts.py:")
    assert modes == ["warn", "default"]
    assert weight.grad is None


def test_augmented_batches_are_compared_with_the_cpu(target, monkeypatch):
    found = networks.measure("augment", target)
    assert found["ok"]
    assert found["answer"].startswith("3 batches: at most 0.00 gray levels")
    draws = iter(range(10))
    monkeypatch.setattr(torch, "manual_seed", lambda seed: torch.default_generator.manual_seed(next(draws)))
    assert not networks.measure("augment", target)["ok"]


def test_dropped_batches_are_compared_with_kept_ones(target, monkeypatch):
    assert loader.measure("dropped", target)["answer"].startswith("2 of 2 batches")
    make, seeds = loader.ClipLoader, iter((0, 1))
    monkeypatch.setattr(loader, "ClipLoader", lambda *args, **how: make(*args, seed=next(seeds), **how))
    assert not loader.measure("dropped", target)["ok"]


def test_training_is_timed_next_to_a_cached_batch(target):
    found = training.measure("batch_16", target)
    ours, cached = found["rows"]["training"], found["rows"]["cached batch"]
    rounded = 0.1 / cached["clips_per_s"]  # large on a busy machine
    assert ours["ratio"] == pytest.approx(ours["clips_per_s"] / cached["clips_per_s"], rel=0.01, abs=rounded)
    assert f"{100 * ours['ratio']:.0f} % of the cached-batch ceiling (published best 171 and 44 %" in found["answer"]
    assert "r3d_tiny, h264_gop1, batch 2" in found["settings"]


@pytest.mark.parametrize("item", ["size_128x128", "gop_strides", "small_hevc"])
def test_every_question_has_an_answer(item, target, monkeypatch):
    monkeypatch.setattr(data, "NUM_FRAMES", 80)  # only for the stores of these questions
    found = questions.measure(item, target)
    json.dumps(found)
    assert found["answer"]
    assert all(row.get("clips_per_s", 1) > 0 and row.get("ok", True) for row in found["rows"].values())


def test_a_bad_sample_fails_its_own_run_and_the_loader_names_its_video(target):
    found = recovery.measure("garbage_h264", target)
    assert found["ok"]
    assert "Failed to create video decoder" in found["raised"]
    found = recovery.measure("loader_h264", target)
    assert found["ok"]
    assert list(found["replaced"]) == ["video001"]
    assert "Failed to send packet" in found["replaced"]["video001"]  # DALI found it, not the reader


def test_utilization_without_a_driver_names_the_missing_library():
    if Path("/dev/nvidia0").exists():
        pytest.skip("there is a driver")
    with nvdec.utilization() as busy:
        assert os.getpid()
    assert "libnvidia-ml" in str(busy["utilization"])
