"""CSTP, pixels: the graph against PIL and numpy, and annotations against the pixels."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from dali_pipelines.loader import ClipLoader
from dali_pipelines.pixels.color import Recolor
from dali_pipelines.pixels.operation import Plan
from dali_pipelines.plan.color_map import IDENTITY, gain
from dali_pipelines.plan.overlap import RATES
from dali_pipelines.plan.rng import Stream, generator
from dali_pipelines.tasks import Task
from dali_pipelines.tasks.cstp import Config, Reference, annotate, plan
from tests.helpers.crops import smooth
from tests.helpers.dali import run_graph
from tests.helpers.plans import video


def execute(plans, clips, cfg):
    samples = [
        {"clip": clip, **{k: v for k, v in p.items() if k != "frames"}} for p, clip in zip(plans, clips, strict=True)
    ]
    return run_graph(lambda n: Task("cstp", cfg).graph(n["clip"], n)["clips"], samples, {"clip": "FHWC"})


def find_plans(count, cfg, size: tuple[int, int], *, plain):
    """Return plans with both clips from the strong branch or, if `plain`, neither."""
    rng = np.random.default_rng(7)
    found: list[Plan] = []
    while len(found) < count:
        drawn = plan(video(60, *size), rng, cfg)
        small = drawn["degrees"] != 0
        if (not small.any()) if plain else small.all():
            found.append(drawn)
    return found


@pytest.mark.parametrize("flip_last", [False, True])
def test_plain_clips_match_pil(flip_last):
    cfg = Config(num_frames=6, size=48, reference=Reference(flip_last=flip_last))
    plans = find_plans(12, cfg, (100, 80), plain=True)
    clip = smooth(12, 80, 100)
    results = execute(plans, [clip] * len(plans), cfg)
    seen = set()
    for drawn, result in zip(plans, results, strict=True):
        assert result.shape == (12, 48, 48, 3)
        for frame in (0, 11):
            v = frame // 6
            (y, x), (h, w) = drawn["box_start"][v], drawn["box_shape"][v]
            box = clip[frame, y : y + h, x : x + w]
            expected = np.asarray(Image.fromarray(box).resize((48, 48), Image.Resampling.BICUBIC))
            mirror, quarter_turns = bool(drawn["box_mirror"][v]), int(drawn["rotation"][v])
            if mirror and not flip_last:
                expected = expected[:, ::-1]
            expected = np.rot90(expected, quarter_turns)
            if mirror and flip_last:
                expected = expected[:, ::-1]
            np.testing.assert_allclose(result[frame] * 127.5 + 127.5, expected, atol=2.6)
            seen.add((mirror, quarter_turns % 2))
    assert len(seen) == 4  # mirrored and not, sideways and not


def test_each_clip_has_its_own_blur_colors_and_small_rotation():
    cfg = Config(num_frames=6, size=48)
    plans = find_plans(4, cfg, (100, 80), plain=False)
    for drawn in plans:
        drawn["box_start"][:], drawn["box_shape"][:], drawn["box_mirror"][:] = 10, 60, 0
        drawn["rot90"][:], drawn["degrees"][:], drawn["sigma"][:] = 0, (5.0, 0.0), (0.0, 2.0)
        drawn |= Recolor.arrays([IDENTITY] * 6 + [gain(0.5)] * 6)
    clip = np.tile(smooth(1, 80, 100), (12, 1, 1, 1))
    for result in execute(plans, [clip] * 4, cfg):
        levels = result * 127.5 + 127.5
        plain = np.asarray(Image.fromarray(clip[0, 10:70, 10:70]).resize((48, 48), Image.Resampling.BICUBIC))
        turned = np.asarray(Image.fromarray(plain).rotate(5))
        assert (np.abs(levels[0] - turned).max(-1) < 3).mean() > 0.95
        blurred = np.asarray(Image.fromarray(plain).filter(ImageFilter.GaussianBlur(2)))
        np.testing.assert_allclose(levels[6:][:, 4:-4, 4:-4], np.tile(blurred[4:-4, 4:-4] / 2, (6, 1, 1, 1)), atol=2)


# Annotations.


def test_annotations_mark_the_shared_area_and_the_up_direction():
    cfg = Config(num_frames=6, size=64)
    rows, columns = np.mgrid[:80, :100].astype(np.float32) * (255 / 100)
    ramp = np.tile(np.stack([rows, columns, 0 * rows], -1).astype(np.uint8), (12, 1, 1, 1))
    plans = find_plans(16, cfg, (100, 80), plain=True)
    for drawn, result in zip(plans, execute(plans, [ramp] * 16, cfg), strict=True):
        notes = annotate(drawn, cfg)
        assert notes.boxes is not None
        assert notes.up is not None
        means, sizes = [], []
        for v in range(2):
            assert f"rotated by {90 * drawn['rotation'][v]} degrees" in notes.captions[v]
            x1, y1, x2, y2 = np.rint(notes.boxes[v, 0, 0]).astype(int)
            assert 0 <= x1 < x2 <= 64
            assert 0 <= y1 < y2 <= 64
            sizes.append((x2 - x1) * (y2 - y1) / 64**2)
            inside = result[6 * v, y1:y2, x1:x2] * 127.5 + 127.5
            means.append(inside.mean((0, 1)) * 100 / 255)
            up = np.radians(notes.up[v])  # counterclockwise; 0 is up in the clip
            down, right = np.gradient(result[6 * v, 8:56, 8:56, 0])
            climb = np.array([-right.mean(), down.mean()])  # direction (right, up) of falling row numbers
            np.testing.assert_allclose(climb / np.hypot(*climb), [-np.sin(up), np.cos(up)], atol=0.05)
        np.testing.assert_allclose(means[0], means[1], atol=1.5)
        np.testing.assert_allclose(sizes, RATES[drawn["spatial"]], atol=0.06)


def test_labels_stay_with_their_clips(vp9_store):
    task = Task("cstp", Config(num_frames=6, size=32))
    loader = ClipLoader(vp9_store, task, batch_size=4, seed=3, shuffle=False)
    batch = next(iter(loader))
    for slot, row in enumerate(batch["index"].tolist()):
        drawn = task.plan(vp9_store.info(row), generator(3, Stream.SAMPLE, 0, row))
        for name in ("spatial", "temporal", "playback", "rotation"):
            assert batch[name][slot].tolist() == drawn[name].tolist()
    assert batch["clips"].abs().max() <= 1
    assert set(task.plan_schema) >= set(batch) - {"clips", "index"}
