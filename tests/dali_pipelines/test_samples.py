"""Frames that a sample requests from the decoder."""

from typing import ClassVar, cast

import numpy as np
import pytest

from dali_pipelines import kernels
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.pipeline import build_pipeline
from dali_pipelines.pixels.crop import CropResize
from dali_pipelines.pixels.program import consecutive_views
from dali_pipelines.plan.order import Order
from dali_pipelines.samples import FIXED, SampleSource, decoded_media
from dali_pipelines.store.reader import read_clip
from dali_pipelines.tasks import Task, moco

FRAMES = np.array([9, 3, 3, 30, 9], np.int32)


class Repeats:
    """A task whose clip shows some frames twice, and out of order."""

    labels: ClassVar[dict[str, tuple]] = {}
    program = consecutive_views([len(FRAMES)], CropResize(16))

    def plan(self, video, rng):
        return {"frames": FRAMES.copy(), **CropResize.arrays([np.zeros((2, 2), np.float32)])}


@pytest.mark.parametrize("media", ["encoded", "planes", "frames"])
def test_a_repeated_frame_is_decoded_once_and_shown_twice(vp9_store, media):
    source = SampleSource(vp9_store, cast(Task, Repeats()), Order(len(vp9_store), 2, 0, 1, 0, shuffle=False), media)
    sample = dict(zip(source.names, source.read(0, 4), strict=True))
    if media == "encoded":
        assert source.names == (*FIXED, "frames", "order", "crop_start", "crop_end")
        assert len(sample["frames"]) == 3
        assert (np.diff(sample["frames"]) > 0).all()
    else:
        assert sample["media"].shape == {"planes": (3, 192, 160, 1), "frames": (5, 192, 160, 3)}[media]
    pipeline, names = build_pipeline(
        source, graph=lambda frames, plan: {"clips": frames}, batch_size=2, device_id=None, threads=1
    )
    clip = np.array(pipeline.run()[names.index("clips")].at(0))
    expected = decode_rgb(read_clip(vp9_store, 0, FRAMES))
    assert np.abs(clip.astype(int) - expected).max() <= (2 if media == "planes" else 0)


@pytest.mark.parametrize(("media", "steps"), [("encoded", 0), ("planes", 0), ("frames", 0), ("frames", 2)])
def test_placeholders_have_the_arrays_of_samples(vp9_store, media, steps):
    task = Task("moco", moco.Config(num_frames=4, size=32, short_sides=(40,)))
    source = SampleSource(vp9_store, task, Order(len(vp9_store), 2, 0, 1, 0, shuffle=False), media, steps=steps)
    made = source.read(0, 4), source.placeholder()
    sample, placeholder = (dict(zip(source.names, arrays, strict=True)) for arrays in made)
    assert {name: (a.dtype, a.ndim) for name, a in sample.items()} == {
        name: (a.dtype, a.ndim) for name, a in placeholder.items()
    }
    assert int(placeholder["row"]) == -1
    assert ("crop_start" in source.names) == ("crop_end" in source.names) == (steps == 0)
    if steps:
        assert sample["media"].shape == placeholder["media"].shape == (8, 32, 32, 3)


def test_uncompiled_pixel_operations_are_warned_about(vp9_store, monkeypatch, caplog):
    task = Task("moco", moco.Config(num_frames=4, size=32, short_sides=(40,)))
    assert decoded_media(vp9_store, task, gpu=False) == "frames"
    monkeypatch.setattr(kernels, "NATIVE", None)
    caplog.clear()
    assert decoded_media(vp9_store, task, gpu=True) == "planes"
    assert not caplog.messages
    assert decoded_media(vp9_store, task, gpu=False) == "frames"
    assert ["not compiled" in message for message in caplog.messages] == [True]
