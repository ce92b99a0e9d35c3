"""Choice of decoder: a GPU decoder's faults are predicted, and a failing device is not a broken dataset."""

import logging
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from configs.errors import UserError
from dali_pipelines import delivery, prepare, recovery
from dali_pipelines.decode import choose as decoders
from dali_pipelines.decode import driver as nvdec
from dali_pipelines.loader import ClipLoader
from dali_pipelines.pipeline import build_pipeline
from dali_pipelines.plan.order import Order
from dali_pipelines.samples import SampleSource
from dali_pipelines.store.in_place import leave_in_place
from dali_pipelines.store.index import Index
from dali_pipelines.store.remux import copy_video
from dali_pipelines.tasks import Task, ctp, moco, recognition
from tests.helpers.media import make_video

CLIPS = Task("evaluation", recognition.Config(num_frames=8, test=recognition.Test(clips=2)))
INTERLACED = ["-vf", "interlace", "-x264-params", "interlaced=1"]


@pytest.fixture
def _nvdec(monkeypatch):
    """Pretend that the driver's library is present."""
    monkeypatch.setattr(decoders, "has_nvdec", lambda: True)


def index_of(tmp_path, source, store=leave_in_place) -> Index:
    record = store(source) if store is leave_in_place else store(tmp_path / "stored.mp4", source)
    return Index.build(tmp_path, {"a": record})


@pytest.mark.parametrize(
    ("reason", "video"),
    [
        ("", {"size": (160, 128), "extra": ["-bf", "2"]}),
        ("", {"codec": "hevc", "size": (160, 160)}),
        ("interlaced frames", {"size": (160, 128), "extra": INTERLACED}),
        ("hidden frames (VP9)", {"codec": "vp9", "size": (160, 128)}),
        ("hidden frames (VP8)", {"codec": "vp8", "size": (160, 128), "suffix": ".webm"}),
        ("sides that are no multiples of 16 (160x120)", {"size": (160, 120)}),
        ("32x32 is too small for a GPU's h264 decoder, 48x16", {"size": (32, 32)}),
        ("144x144 is too small for a GPU's hevc decoder, 160x160", {"codec": "hevc", "size": (144, 144)}),
        ("GPU decoders take no yuv444p", {"size": (160, 128), "extra": ["-pix_fmt", "yuv444p"]}),
        ("no decoder for av1 on a GPU", {"codec": "av1", "size": (160, 128)}),
        ("time stamps out of order", {"size": (160, 128), "extra": ["-bf", "2"], "suffix": ".avi"}),
        ("time stamps past 32 bits", {"size": (160, 128), "fps": 1, "extra": ["-video_track_timescale", "100000000"]}),
    ],
)
def test_videos_unfit_for_a_gpu_are_known_from_the_index(tmp_path, reason, video):
    source = make_video(tmp_path / f"a{video.pop('suffix', '.mp4')}", **{"frames": 30, **video})
    found = decoders.obstacles(index_of(tmp_path, source), gpu=True)
    assert list(found.values()) == [1] * bool(reason)
    assert reason in "".join(found)


def test_copies_are_checked_for_gpus_and_encoded_videos_pass(tmp_path):
    source = make_video(tmp_path / "a.mp4", size=(160, 128), extra=INTERLACED)
    assert "interlaced frames" in "".join(decoders.obstacles(index_of(tmp_path, source, copy_video), gpu=True))
    for codec in ("h264", "vp9", "hevc"):
        command = [str(source), "--out", str(tmp_path / codec), "--codec", codec, "--size", "176x160"]
        assert prepare.main(command) == 0
        assert decoders.obstacles(Index.load(tmp_path / codec), gpu=True) == {}


def test_a_missing_driver_library_is_reported_once(h264_store, monkeypatch):
    monkeypatch.setattr(decoders, "has_nvdec", lambda: False)
    dali, why_not = decoders.choose(h264_store, "auto", device_id=0)
    assert not dali
    assert why_not.startswith("12 of 12 videos: the driver's libnvcuvid.so.1 is missing")
    assert "NVIDIA_DRIVER_CAPABILITIES" in why_not


def test_the_probe_passes_or_quotes_the_decoders_error(vp9_store, h264_store):
    assert decoders.probe(vp9_store, device_id=None) == ""
    fault = decoders.probe(h264_store, device_id=None)  # DALI's CPU backend cannot decode H.264
    assert fault.startswith("class0/video00 (h264 yuv420p, 160x192): ")
    assert "decoder" in fault


def test_the_probe_detects_wrong_pixels(vp9_store, monkeypatch):
    original = decoders._decoded
    monkeypatch.setattr(decoders, "_decoded", lambda clip, device: np.roll(original(clip, device), 24, axis=2))
    assert "gray levels from what PyAV decodes" in decoders.probe(vp9_store, device_id=None)


def test_a_damaged_video_does_not_fail_the_probe(vp9_store, tmp_path, monkeypatch):
    files = {row: vp9_store.path(row) for row in range(len(vp9_store))}
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(files[0].read_bytes()[:900])
    monkeypatch.setattr(Index, "path", lambda index, row: cut if row == 0 else files[row])
    assert decoders.probe(vp9_store, device_id=None) == ""


@pytest.mark.usefixtures("_nvdec")
def test_a_dataset_is_probed_until_it_passes_once(h264_store, monkeypatch):
    faults, devices = iter(["no", "", "never asked"]), []

    def probe(index, device_id):
        devices.append(device_id)
        return next(faults)

    monkeypatch.setattr(decoders, "_PASSED", set())
    monkeypatch.setattr(decoders, "probe", probe)
    found = [decoders.choose(h264_store, "auto", device_id=0) for _ in range(3)]
    assert found == [(False, "no"), (True, ""), (True, "")]
    assert devices == [0, 0]


@pytest.mark.usefixtures("_nvdec")
def test_pyav_replaces_a_gpu_that_fails_its_probe(h264_store, monkeypatch, caplog):
    monkeypatch.setattr(decoders, "probe", lambda index, device_id: "clip x: CUDA_ERROR_INVALID_VALUE")
    with caplog.at_level(logging.WARNING):
        made = ClipLoader(h264_store, CLIPS, batch_size=4, device="cuda:1", workers=2, threads=3)
    assert (made.decoder, made.media) == ("pyav", "planes")
    (line,) = caplog.messages
    assert line == "PyAV decodes, in 2 worker processes, instead of cuda:1: clip x: CUDA_ERROR_INVALID_VALUE"
    with pytest.raises(UserError, match=r"data\.decoder=dali.*CUDA_ERROR_INVALID_VALUE.*auto takes PyAV"):
        ClipLoader(h264_store, CLIPS, batch_size=4, device="cuda", decoder="dali", threads=3)


def test_cuda_without_a_number_is_torchs_current_gpu(h264_store, monkeypatch):
    assert ClipLoader(h264_store, CLIPS, batch_size=4, device="cuda", decoder="pyav").device_id == 0
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert ClipLoader(h264_store, CLIPS, batch_size=4, device="cuda", decoder="pyav").device_id == 1
    assert ClipLoader(h264_store, CLIPS, batch_size=4, device="cuda:0", decoder="pyav").device_id == 0


def test_decoder_dali_is_refused_if_it_cannot_decode(h264_store):
    with pytest.raises(UserError, match=r"12 of 12 videos: DALI has no decoder for h264 on a CPU.*auto takes PyAV"):
        ClipLoader(h264_store, CLIPS, batch_size=4, decoder="dali")


def failing(text: str) -> Iterator[Any]:
    """Raise in place of DALI's iterator."""
    raise RuntimeError(text)
    yield


@pytest.mark.parametrize("text", ["CUDA error: an illegal memory access", "something odd"])
def test_a_video_that_pyav_decodes_is_never_marked_unreadable(vp9_store, monkeypatch, text):
    made = ClipLoader(vp9_store, CLIPS, batch_size=4)
    monkeypatch.setattr(made._delivery, "_build", lambda source: failing(text))
    monkeypatch.setattr(recovery, "undecodable", lambda source, samples, device_id: {0: text, 3: text})
    with pytest.raises(UserError, match=f"though PyAV decodes the same bytes of class.*{text}.*data.decoder=pyav"):
        next(iter(made))
    assert made.unreadable == {}


@pytest.mark.parametrize("text", ["CUDA driver error", "nvcuvid error 999", "cuvidCreateDecoder: out of memory"])
def test_a_device_failure_stops_the_run_with_its_message(vp9_store, monkeypatch, text):
    made = ClipLoader(vp9_store, CLIPS, batch_size=4)
    whole = f"Critical error in pipeline:\nError in x encountered:\n{text}\nmore"
    monkeypatch.setattr(made._delivery, "_build", lambda source: failing(whole))
    with pytest.raises(UserError, match=f"no video is at fault: {text}"):
        next(iter(made))
    assert made.unreadable == {}


def test_a_device_that_cannot_be_reopened_stops_the_run(vp9_store, monkeypatch):
    made = ClipLoader(vp9_store, CLIPS, batch_size=4)
    next(iter(made))
    made.close()

    lost = "CUDA error: device lost"
    monkeypatch.setattr(delivery, "build_pipeline", lambda *args, **kwargs: (object(), []))
    monkeypatch.setattr(delivery, "Batches", lambda *args, **kwargs: failing(lost))
    monkeypatch.setattr(recovery, "build_pipeline", lambda *args, **kwargs: next(failing(lost)))
    with pytest.raises(UserError, match="DALI fails on the CPU: CUDA error: device lost"):
        next(iter(made))


@pytest.mark.parametrize(
    ("cores", "ranks", "engines", "threads"),
    [(16, 1, 7, 14), (96, 8, 7, 12), (32, 8, 7, 7), (2, 1, 1, 2), (64, 1, 1, 2), (128, 1, 7, 14)],
)
def test_decoding_threads_follow_engines_and_cores(monkeypatch, cores, ranks, engines, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    monkeypatch.setattr(decoders, "engines", lambda: engines)
    assert decoders.decoding_threads("auto", nvdec=True) == threads
    assert decoders.decoding_threads(5, nvdec=True) == 5
    assert decoders.decoding_threads("auto", nvdec=False) == max(1, min(4, cores // ranks))


def test_without_a_driver_few_engines_are_assumed():
    nvdec.engines.cache_clear()
    try:
        import torch

        if torch.cuda.is_available():
            assert nvdec.engines() >= 1
        else:
            assert nvdec.engines() == nvdec.FEW_ENGINES
    finally:
        nvdec.engines.cache_clear()


def test_a_gpu_gets_planes_of_small_videos_and_cut_frames_of_large_ones(tmp_path, h264_store):
    made = ClipLoader(h264_store, CLIPS, batch_size=4, device="cuda", decoder="pyav")
    assert made.media == "planes"
    assert ClipLoader(h264_store, CLIPS, batch_size=4, decoder="pyav").media == "frames"
    large = h264_store.with_columns(sizes_WH=h264_store.sizes_WH * 8)
    assert ClipLoader(large, CLIPS, batch_size=4, device="cuda", decoder="pyav").media == "frames"
    odd = index_of(tmp_path, make_video(tmp_path / "a.mp4", size=(160, 128), extra=["-pix_fmt", "yuv444p"]))
    assert ClipLoader(odd, CLIPS, batch_size=1, device="cuda", decoder="pyav").media == "frames"


@pytest.mark.parametrize("task", [Task("ctp", ctp.Config(strides=(1,))), Task("moco", moco.Config(num_frames=4))])
@pytest.mark.parametrize("codec", ["rawvideo", "mjpeg"])
def test_planes_and_frames_give_the_same_batch(tmp_path, task, codec):
    """For limited and full range. The graph converts planes to RGB as FFmpeg does, then crops both."""
    make_video(tmp_path / "in" / "a.mp4", size=(192, 144), frames=60)
    prepare.main([str(tmp_path / "in"), "--out", str(tmp_path), "--codec", codec])
    index = Index.load(tmp_path)
    planes, frames = (
        one_batch(SampleSource(index, task, Order(1, 1, 0, 1, 0, True), media), task) for media in ("planes", "frames")
    )
    assert planes.keys() == frames.keys()
    for name in planes.keys() - {"clips"}:
        assert (planes[name] == frames[name]).all()
    difference = np.abs(planes["clips"] - frames["clips"]) * 0.226 * 255
    assert difference.mean() < 0.6
    assert difference.max() < 6


def one_batch(source, task):
    pipeline, names = build_pipeline(source, batch_size=1, device_id=None, threads=1)
    return {name: np.array(output.as_cpu().as_array()) for name, output in zip(names, pipeline.run(), strict=True)}


ONE_SURFACE = ["-preset", "veryfast", "-g", "1", "-bf", "0"]  # makes x264 set constraint_set3_flag


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_one_surface_headers_are_fixed_in_copies_and_bar_originals_from_gpus(tmp_path, suffix):
    source = make_video(tmp_path / f"a{suffix}", size=(176, 144), extra=ONE_SURFACE)
    assert "a single decode surface" in "".join(decoders.obstacles(index_of(tmp_path, source), gpu=True))
    assert decoders.obstacles(index_of(tmp_path, source, copy_video), gpu=True) == {}
