"""The checks of the default store, on videos that decode and on ones that do not."""

from unittest.mock import Mock

import numpy as np
import pytest

from bench import data
from bench.gpu_checks import Target, default_store, videos
from dali_pipelines import prepare
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.prepare.settings import chosen
from dali_pipelines.store.reader import read_clip
from tests.helpers.bits import bits

pytestmark = pytest.mark.slow


def test_the_default_store_is_what_prepare_makes(tmp_path, monkeypatch):
    monkeypatch.setattr(videos, "VIDEOS", 1)
    write = Mock(wraps=data.write_frames)
    monkeypatch.setattr(data, "write_frames", write)
    index = videos.dataset(videos.DEFAULT, Target("cuda", tmp_path))
    options = prepare._parse(["SRC", "--out", "OUT"])
    assert [call.kwargs["settings"] for call in write.mock_calls] == [chosen(options)]
    assert index.codec(0) == "h264"
    assert len(index.units(0).ends) == index.num_frames[0]  # every frame is a keyframe


def test_old_encoder_file_sets_constraint_set3_and_decodes_in_pyav(tmp_path, monkeypatch):
    monkeypatch.setattr(default_store, "clips", lambda index, target: {"index": index})
    index = default_store.old_encoder(Target("cuda", tmp_path))["index"]
    assert default_store.constraint_set3(index) is True
    assert set(bits(index.path(0))["constraint_set3_flag"]) == {1}
    assert decode_rgb(read_clip(index, 0, np.array([3, 100]))).shape == (2, 144, 192, 3)


def test_every_clip_is_compared_and_failures_are_reported_in_full(target, monkeypatch):
    found = default_store.default_clips(target)
    assert found["answer"] == "8/8 clips equal PyAV's within 0.0 gray levels"  # DALI and PyAV agree on a CPU
    assert videos.chosen_store(target)[0] == "h264_gop1"
    build = default_store.video_pipeline

    def failing(feed, target, *, batch_size, threads):
        if len(feed(0)[1][0]) == 6:  # the scattered clip
            raise RuntimeError("Error in decoders.video\nencountered:\nCUDA_ERROR_INVALID_VALUE here\nand there")
        return build(feed, target, batch_size=batch_size, threads=threads)

    monkeypatch.setattr(default_store, "video_pipeline", failing)
    found = default_store.default_clips(target)
    assert not found["ok"]
    assert found["answer"].startswith("7/8 clips equal PyAV's")
    assert "scattered: CUDA_ERROR_INVALID_VALUE here" in found["answer"]
    assert "and there" in found["error 1"]
    assert not (target.work_dir / videos.CHOICE).exists()


def test_fallback_store_is_read_where_the_default_does_not_decode(tmp_path, monkeypatch):
    target = Target("cpu", tmp_path)
    good = {"h264_gop8": False, "hevc_gop16": True}
    monkeypatch.setattr(default_store, "dataset", lambda name, target: name)
    monkeypatch.setattr(default_store, "clips", lambda name, target: {"ok": good[name], "answer": "no"})
    found = default_store.fallback(target)
    assert (found["ok"], found["answer"].split()[-1]) == (False, "hevc_gop16")
    monkeypatch.setattr(videos, "dataset", lambda name, target: name)
    assert [*videos.chosen_store(target)] == ["hevc_gop16", "hevc_gop16"]
