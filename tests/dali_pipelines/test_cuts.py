"""Every task with its views cut and colored beside the decoder, against the same samples cut and colored by DALI."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from dali_pipelines.graph.color import NORMALIZATIONS
from dali_pipelines.pipeline import build_pipeline
from dali_pipelines.plan.boxes import box_arrays
from dali_pipelines.plan.color_map import color_arrays, shift
from dali_pipelines.plan.crops import scaled_crop
from dali_pipelines.plan.cuts import COLORS, PATCHES, REGIONS, Cut, Cuts
from dali_pipelines.plan.order import Order
from dali_pipelines.samples import FIXED, SampleSource
from dali_pipelines.store.blur import blur
from dali_pipelines.store.encode import Encoding, write_frames
from dali_pipelines.store.files import video_path
from dali_pipelines.store.index import Index, VideoInfo
from dali_pipelines.store.reader import decode_clip, read_clip
from dali_pipelines.tasks import Task, task_module
from nets.tasks import pretext_tasks

Batch = dict[str, list[np.ndarray]]
CODECS = ("h264", "mjpeg", "rawvideo", "vp9")
TASKS = {name: Task(name, task_module(name).Config()) for name in (*pretext_tasks(), "recognition")}
TASKS["recognition by area"] = Task("recognition", task_module("recognition").Config(area=(0.2, 1.0)))

MOST = 0.4
"""Mean absolute difference of the means of 4 x 4 pixels, gray levels."""


def picture(seed: int, height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3): smooth as photos are, in strong colors."""
    rng = torch.Generator().manual_seed(seed)
    octaves = [torch.rand((1, 3, n * 3 // 4 + 1, n + 1), generator=rng) - 0.5 for n in (4, 8, 16, 32)]
    total = sum(interpolate(o, (height, width), mode="bicubic") / o.shape[3] for o in octaves)
    return (128 + 120 * total / total.abs().max())[0].permute(1, 2, 0).round().to(torch.uint8).numpy()


@pytest.fixture(scope="module", params=CODECS)
def store(request, tmp_path_factory) -> Index:
    """Two videos that are long enough for every task, one upright, that slide to the right."""
    root: Path = tmp_path_factory.mktemp(request.param)
    records = {}
    for number, size in enumerate([(208, 160), (176, 240)]):
        path = video_path(root, f"v{number}")
        path.parent.mkdir(parents=True, exist_ok=True)
        shown = (np.roll(picture(number, *size), t, axis=1) for t in range(130 + number))
        records[f"v{number}"] = write_frames(path, shown, fps=25, settings=Encoding(codec=request.param))
    return Index.build(root, records, labels={"v0": 0, "v1": 1}, class_names=("a", "b"))


def source(index: Index, task: Task, *, cut: bool) -> SampleSource:
    return SampleSource(index, task, Order(len(index), 2, 0, 1, 0, shuffle=True), media="frames", cut=cut)


def batch(index: Index, task: Task, *, cut: bool) -> Batch:
    pipeline, names = build_pipeline(source(index, task, cut=cut), task.graph, batch_size=2, device_id=None, threads=1)
    return {
        name: [np.array(output.at(place)) for place in range(2)]
        for name, output in zip(names, pipeline.run(), strict=True)
    }


def blocks(levels: np.ndarray) -> np.ndarray:
    """Means of 4 x 4 pixels."""
    frames, height, width, _ = levels.shape
    return levels.reshape(frames, height // 4, 4, width // 4, 4, 3).mean((2, 4))


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_a_batch_that_the_decoder_cuts_is_the_one_of_dali_but_for_the_filter(store, name):
    task = TASKS[name]
    ours, theirs = (batch(store, task, cut=cut) for cut in (True, False))
    assert ours.keys() == theirs.keys()
    mean, deviation = (np.array(values) for values in NORMALIZATIONS[task.normalization])
    pictures = {key for key, (shape, _) in task.batch_schema.items() if len(shape) >= 4}
    assert "clips" in pictures
    for key in ours:
        for a, b in zip(ours[key], theirs[key], strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            if key not in pictures:
                np.testing.assert_array_equal(a, b)
                continue
            a, b = (255 * (levels * deviation + mean) for levels in (a, b))
            assert np.abs(blocks(a) - blocks(b)).mean() < MOST
            # Mirrored, or two pixels aside, it is outside of the bound.
            for wrong in (a[:, :, ::-1], np.roll(a, 2, axis=1), np.roll(a, 2, axis=2)):
                assert np.abs(blocks(wrong) - blocks(b)).mean() > 1.2 * MOST


@pytest.mark.parametrize("name", TASKS)
def test_a_sample_has_frames_of_the_tasks_size_and_nothing_of_what_was_done_to_them(store, name):
    task = TASKS[name]
    cut, whole = (source(store, task, cut=cut) for cut in (True, False))
    used = (REGIONS | COLORS | PATCHES) & set(task.plan_schema)
    assert set(whole.names) - set(cut.names) == used != set()
    sample, other = (dict(zip(s.names, s.read(0, 1), strict=True)) for s in (cut, whole))
    size = task.batch_schema["clips"][0][-1]
    assert sample["media"].shape == (task.plan_schema["frames"][0][0], size, size, 3)
    assert other["media"].shape[1:3] == (176, 240)
    for key in set(cut.names) - set(FIXED):
        np.testing.assert_array_equal(sample[key], other[key])


@pytest.mark.parametrize(("name", "left"), [("moco", COLORS), ("cstp", COLORS), ("ctp", COLORS | PATCHES)])
def test_a_gpu_gets_frames_that_are_cut_and_does_the_rest_itself(store, name, left):
    cpu = source(store, TASKS[name], cut=True)
    gpu = dataclasses.replace(cpu, finish=False)
    assert set(gpu.names) - set(cpu.names) == left & set(TASKS[name].plan_schema)
    pairs = [
        tuple(dict(zip(s.names, s.read(epoch, 1), strict=True))["media"] for s in (cpu, gpu)) for epoch in range(6)
    ]
    assert all(here.shape == there.shape for here, there in pairs)
    assert any((here != there).any() for here, there in pairs)


def test_a_view_is_blurred_after_its_colors_are_changed_and_no_other_is(store):
    task = TASKS["cstp"]
    plans = (task.plan(store.info(0), np.random.default_rng(seed)) for seed in range(100))
    plan = next(p for p in plans if (p["sigma"] > 0.5).sum() == 1 and p["color_kind"].any())
    cuts, blurred = task.cuts.of(plan), int(plan["sigma"].argmax())
    clip = read_clip(store, 0, plan["frames"])
    got, sharp = (decode_clip(clip, each) for each in (cuts, [dataclasses.replace(cut, sigma=0) for cut in cuts]))
    for v, cut in enumerate(cuts):
        view, before = got[cut.first : cut.last], sharp[cut.first : cut.last].copy()
        if v == blurred:
            for picture in before:
                blur(picture, plan["sigma"][v])
        np.testing.assert_array_equal(view, before)


def test_dali_gets_bytes_whatever_a_task_says_of_cuts(store):
    task = TASKS["moco"]
    dali = SampleSource(store, task, Order(2, 2, 0, 1, 0, shuffle=True), media="encoded")
    assert {"crop_start", "crop_end", "frames", "order"} <= set(dali.names)
    assert dict(zip(dali.names, dali.read(0, 1), strict=True))["media"].ndim == 1


def test_boxes_that_hang_out_of_the_picture_are_not_cut_by_the_decoder():
    cstp = task_module("cstp")
    assert Task("cstp", cstp.Config(reference=cstp.Reference(rotated_boxes=True))).cuts is None


def test_cuts_are_said_of_crops_and_of_boxes():
    info = VideoInfo("v", 30, 240, 160, 25.0, 0)
    crops = [scaled_crop(info, short_side=128, size=112, y=0, x=0.5, flip=flip) for flip in (False, True)]
    (top, left), (bottom, right) = crops[0].astype(int)
    box = (top, left, bottom - top, right - left)
    plan = dict(zip(("crop_start", "crop_end"), np.stack(crops, axis=1), strict=True))
    assert Cuts(112, (3, 2)).of(plan) == [Cut(0, 3, box, 112, False, False), Cut(3, 5, box, 112, True, False)]
    alone = {"crop_start": crops[1][0], "crop_end": crops[1][1]}
    assert Cuts(112, (4,)).of(alone) == [Cut(0, 4, box, 112, True, False)]
    boxes = box_arrays([(1, 2, 50, 60), (3, 4, 70, 80)], np.array([False, True]))
    assert Cuts(32, (1, 2), cubic=True).of(boxes) == [
        Cut(0, 1, (1, 2, 50, 60), 32, False, True),
        Cut(1, 3, (3, 4, 70, 80), 32, True, True),
    ]


def test_a_cut_has_the_colors_of_its_frames_unless_the_task_makes_them_elsewhere():
    plan = box_arrays([(0, 0, 9, 9)] * 2, np.zeros(2)) | color_arrays([shift(n) for n in range(3)])
    first, second = Cuts(8, (1, 2), recolor=True).of(plan)
    assert first.colors == [None]  # a shift by 0
    assert [color.offset.tolist() for color in second.colors] == [[1] * 3, [2] * 3]
    for cuts in (Cuts(8, (1, 2)).of(plan), Cuts(8, (1, 2), recolor=True).of(plan, finish=False)):
        assert [list(cut.colors) for cut in cuts] == [[], []]
