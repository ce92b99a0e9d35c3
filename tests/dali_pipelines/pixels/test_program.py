"""Programs: every task with its operations on the host, against the same samples made by DALI alone."""

import numpy as np
import pytest
from nvidia.dali import fn, types

from dali_pipelines.pipeline import build_pipeline
from dali_pipelines.pixels.blur import GaussianBlur
from dali_pipelines.pixels.color import Recolor
from dali_pipelines.pixels.crop import CropBox, CropResize
from dali_pipelines.pixels.normalize import NORMALIZATIONS
from dali_pipelines.pixels.operation import ClipOperation, View
from dali_pipelines.pixels.program import Program, consecutive_views, views_of_same_frames
from dali_pipelines.pixels.rotate import Rot90, Translate
from dali_pipelines.plan.order import Order
from dali_pipelines.samples import FIXED, SampleSource
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import read_clip
from dali_pipelines.tasks import Task, task_module
from nets.tasks import pretext_tasks
from tests.helpers.dali import run_graph
from tests.helpers.photos import blocks

Batch = dict[str, list[np.ndarray]]
TASKS = {name: Task(name, task_module(name).Config()) for name in (*pretext_tasks(), "recognition")}
TASKS["recognition by area"] = Task("recognition", task_module("recognition").Config(area=(0.2, 1.0)))

MAX_DIFFERENCE = 0.4
"""Limit of the mean absolute difference between means of 4 x 4 pixels, in gray levels."""


def source(index: Index, task: Task, *, host: bool, gpu: bool = False) -> SampleSource:
    steps = task.program.host_steps(gpu=gpu) if host else 0
    return SampleSource(index, task, Order(len(index), 2, 0, 1, 0, shuffle=True), media="frames", steps=steps)


def batch(index: Index, task: Task, *, host: bool) -> Batch:
    pipeline, names = build_pipeline(source(index, task, host=host), batch_size=2, device_id=None, threads=1, ahead=1)
    return {
        name: [np.array(output.at(place)) for place in range(2)]
        for name, output in zip(names, pipeline.run(), strict=True)
    }


@pytest.mark.parametrize(
    ("store", "name"),
    [
        *(("h264", name) for name in TASKS),
        *(pytest.param("mjpeg", name, marks=pytest.mark.slow) for name in ("moco", "cstp", "recognition by area")),
    ],
    indirect=["store"],
)
def test_host_and_dali_batches_differ_only_by_the_filter(store, name):
    task = TASKS[name]
    ours, theirs = (batch(store, task, host=host) for host in (True, False))
    assert ours.keys() == theirs.keys()
    mean, deviation = (np.array(values) for values in NORMALIZATIONS[task.program.normalization])
    pictures = {key for key, (shape, _) in task.batch_schema.items() if len(shape) >= 4}
    assert "clips" in pictures
    for key in ours:
        for a, b in zip(ours[key], theirs[key], strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            if key not in pictures:
                np.testing.assert_array_equal(a, b)
                continue
            a, b = (255 * (levels * deviation + mean) for levels in (a, b))
            assert np.abs(blocks(a) - blocks(b)).mean() < MAX_DIFFERENCE
            # Mirrored, or shifted by two pixels, it exceeds the bound.
            for wrong in (a[:, :, ::-1], np.roll(a, 2, axis=1), np.roll(a, 2, axis=2)):
                assert np.abs(blocks(wrong) - blocks(b)).mean() > 1.2 * MAX_DIFFERENCE


@pytest.mark.parametrize("name", TASKS)
def test_host_samples_have_cut_frames_and_no_operation_arrays(store, name):
    task = TASKS[name]
    host, whole = (source(store, task, host=host) for host in (True, False))
    assert {"crop_start", "box_start"} & set(whole.names) - set(host.names)
    assert set(host.names) == {*FIXED, *task.labels}
    sample, other = (dict(zip(s.names, s.read(0, 1), strict=True)) for s in (host, whole))
    size = task.batch_schema["clips"][0][-1]
    assert sample["media"].shape == (task.program.frames, size, size, 3)
    assert other["media"].shape[1:3] == (176, 240)
    for key in set(host.names) - set(FIXED):
        np.testing.assert_array_equal(sample[key], other[key])


@pytest.mark.parametrize(
    ("name", "arrays"), [("moco", ["color_kind"]), ("cstp", ["color_kind", "sigma"]), ("ctp", ["patch_mask"])]
)
def test_a_gpu_gets_cut_frames_and_does_the_rest(store, name, arrays):
    cpu, gpu = (source(store, TASKS[name], host=True, gpu=gpu) for gpu in (False, True))
    assert set(arrays) <= set(gpu.names) - set(cpu.names)
    assert not {"crop_start", "box_start", "rot90", "degrees", "patch_box"} & set(gpu.names)
    pairs = [
        tuple(dict(zip(s.names, s.read(epoch, 1), strict=True))["media"] for s in (cpu, gpu)) for epoch in range(6)
    ]
    assert all(here.shape == there.shape for here, there in pairs)
    assert any((here != there).any() for here, there in pairs)


def test_dali_gets_encoded_bytes(store):
    dali = SampleSource(store, TASKS["moco"], Order(2, 2, 0, 1, 0, shuffle=True), media="encoded")
    assert {"crop_start", "crop_end", "frames", "order"} <= set(dali.names)
    assert dict(zip(dali.names, dali.read(0, 1), strict=True))["media"].ndim == 1


def test_the_host_stops_at_the_first_operation_it_lacks():
    full = (CropResize(32), Rot90(), Recolor(), GaussianBlur())
    assert consecutive_views([4], *full).host_steps(gpu=False) == 4
    assert consecutive_views([4], *full).host_steps(gpu=True) == 2
    assert consecutive_views([4], full[0], Translate(), Recolor()).host_steps(gpu=False) == 1
    assert consecutive_views([4], CropBox(32, inside=False), Recolor()).host_steps(gpu=False) == 0
    assert views_of_same_frames(2, 4, *full).host_steps(gpu=False) == 0


def test_a_view_must_begin_with_a_crop():
    with pytest.raises(AssertionError, match="begins with a crop"):
        consecutive_views([4], Recolor(), CropResize(32)).size  # noqa: B018


# DALI's frames.


class Number(CropResize):
    """A crop that keeps the frames' size and adds the view's index to each pixel."""

    def dali(self, clip, plan, view):
        return clip + np.uint8(view.index)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_outputs_hold_their_own_views_in_order(size):
    clip = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1) * np.ones((1, size, size, 3), np.uint8)
    program = consecutive_views([2, 3, 1], Number(size), outputs={"clips": 2, "stills": 1}, normalization="half")
    for name, levels in {"clips": [0, 1, 3, 4, 5], "stills": [7]}.items():

        def graph(n, name=name):
            return program.dali(n["clip"], {})[name]

        (got,) = run_graph(graph, [{"clip": clip}], {"clip": "FHWC"})
        np.testing.assert_allclose(got[:, 0, 0, 0], np.array(levels) / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("size", [3, 4, 5])
def test_finished_outputs_are_slices_of_the_hosts_frames(size, device):
    clip = np.random.default_rng(0).integers(0, 256, (6, size, size, 3), dtype=np.uint8)
    program = consecutive_views([2, 3, 1], CropBox(size), outputs={"clips": 2, "stills": 1}, normalization="half")
    for name, part in {"clips": clip[:5], "stills": clip[5:]}.items():

        def graph(n, name=name):
            return program.dali(n["clip"], {}, steps=1)[name]

        (got,) = run_graph(graph, [{"clip": clip}], {"clip": "FHWC"}, device)
        np.testing.assert_allclose(got, part / 127.5 - 1, atol=1e-5)


def test_views_of_the_same_frames_each_have_all_frames():
    clip = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8)
    program = views_of_same_frames(2, 3, Number(2), normalization="half")
    (got,) = run_graph(lambda n: program.dali(n["clip"], {})["clips"], [{"clip": clip}], {"clip": "FHWC"})
    np.testing.assert_allclose(got[:, 0, 0, 0], np.array([0, 1, 2, 1, 2, 3]) / 127.5 - 1, atol=1e-6)


# An operation is one class.


class Solarize(ClipOperation):
    """Invert a view's pixels at or above a level. Plan: `threshold`, float32 (views,)."""

    def schema(self, *, views, frames):
        return {"threshold": ((views,), "float32")}

    def host(self, clip, plan, view):
        np.subtract(255, clip, out=clip, where=clip >= plan["threshold"][view.index])

    def dali(self, clip, plan, view):
        above = fn.cast(clip >= plan["threshold"][view.index], dtype=types.UINT8)
        return clip + above * (np.uint8(255) - clip - clip)


def test_a_user_operation_runs_on_host_and_dali(store, device):
    program = consecutive_views([2, 2], CropBox(48), Solarize(), normalization="half")
    assert program.schema()["threshold"] == ((2,), "float32")
    assert program.host_steps(gpu=False) == 2
    assert program.host_steps(gpu=True) == 1
    plan = {**CropBox.arrays([(0, 0, 96, 96)] * 2, np.zeros(2, bool)), "threshold": np.array([90, 256], np.float32)}
    clip = read_clip(store, 0, np.arange(4))
    cut, made = (program.host(clip, plan, steps=steps) for steps in (1, 2))
    inverted = np.where(cut[:2] >= 90, 255 - cut[:2], cut[:2])
    np.testing.assert_array_equal(made, np.concatenate([inverted, cut[2:]]))
    samples = [{"clip": cut, "threshold": plan["threshold"]}]
    (got,) = run_graph(lambda n: program.dali(n["clip"], n, steps=1)["clips"], samples, {"clip": "FHWC"}, device)
    np.testing.assert_allclose(got, made / 127.5 - 1, atol=1e-5)


def test_views_of_several_sizes_or_of_no_output_are_refused():
    """The smaller view was written into the array of the larger one, and came out with whatever the memory held."""
    views = tuple(View(2, (CropBox(size),), first=2 * i, index=i, whole=False) for i, size in enumerate((64, 48)))
    with pytest.raises(ValueError, match=r"^sizes of the views = \[48, 64\] must be one: "):
        Program(4, views, {"clips": 1, "small": 1})
    with pytest.raises(ValueError, match=r"^outputs = {'clips': 1} must be 2 views in all$"):
        consecutive_views([2, 2], CropBox(48), outputs={"clips": 1})
