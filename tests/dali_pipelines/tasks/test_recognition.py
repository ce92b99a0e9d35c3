"""Training clips of recognition: pixels against PIL and numpy, draws against specs/ctp.md 3 and evaluation.md 3."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dali_pipelines.pixels.color import Recolor
from dali_pipelines.plan.color_map import IDENTITY
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.plan.views import AspectReference
from dali_pipelines.tasks import Task, recognition
from dali_pipelines.tasks.recognition import Config, plan
from tests.helpers.crops import scaled_part, smooth
from tests.helpers.dali import run_graph

pytestmark = pytest.mark.slow

IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
COCLR: dict[str, Any] = {"area": (0.2, 1.0), "jitter": (0.4, 0.4, 0.4, 0.1), "flip_prob": 0.5}
"""specs/evaluation.md 3."""


def video(width: int, height: int, frames: int = 90) -> VideoInfo:
    return VideoInfo("v", frames, width, height, 25.0, 4)


def draw(count: int, info: VideoInfo, cfg: Config) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(5)
    return [plan(info, rng, cfg) for _ in range(count)]


def shown(plans: list[dict[str, np.ndarray]], clip: np.ndarray, cfg: Config) -> list[np.ndarray]:
    """Run the graph on the frames with each plan; return gray levels, float (T, size, size, 3)."""
    samples = [{"clip": clip, **{k: v for k, v in p.items() if k not in ("frames", "labels")}} for p in plans]
    results = run_graph(
        lambda n: Task("recognition", cfg).graph(n["clip"], n | {"labels": n["clip"]})["clips"],
        samples,
        {"clip": "FHWC"},
    )
    mean, std = IMAGENET if cfg.normalization == "imagenet" else (0.5, 0.5)
    return [255 * (result * std + mean) for result in results]


def plain(drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return drawn | Recolor.arrays([IDENTITY] * len(drawn["frames"]))


@pytest.mark.parametrize("normalization", ["imagenet", "half"])
@pytest.mark.parametrize(("width", "height"), [(100, 80), (72, 90)])
def test_crops_match_pil_at_every_scale(width, height, normalization):
    """Every crop equals that part of the picture scaled by PIL, in whole gray levels, mirrored or not."""
    cfg = Config(num_frames=2, size=48, short_sides=(48, 64), flip_prob=0.5, normalization=normalization)
    clip = smooth(2, height, width)
    plans = [plain(drawn) for drawn in draw(16, video(width, height), cfg)]
    lengths = {side: 48 * min(width, height) / side for side in cfg.short_sides}
    seen = set()
    for drawn, result in zip(plans, shown(plans, clip, cfg), strict=True):
        (y0, xa), (y1, xb) = drawn["crop_start"][0], drawn["crop_end"][0]
        side = min(lengths, key=lambda s: abs(lengths[s] - (y1 - y0)))
        assert max(abs(y1 - y0 - lengths[side]), abs(abs(xb - xa) - lengths[side])) <= 1.2  # 1 for even pixels
        np.testing.assert_allclose(result, scaled_part(clip, (y0, y1), (xa, xb), 48), rtol=0, atol=0.7)
        seen.add((side, bool(xa > xb)))
    assert len(seen) == 4  # both scales, mirrored and not


def test_a_fixed_aspect_squeezes_the_video_to_the_originals_sizes():
    """specs/ctp.md 3: (149, 112), (171, 128), (192, 144), whatever the video's shape.

    In a large video, rounding to even pixels is a tenth of a pixel of these sizes.
    """
    cfg = Config(reference=AspectReference(fixed_aspect=True), flip_prob=0.0)
    sizes = set()
    for drawn in draw(200, video(4000, 2000), cfg):
        height, width = drawn["crop_end"][0] - drawn["crop_start"][0]
        sizes.add((round(4000 * 112 / float(width)), round(2000 * 112 / float(height))))
    assert sizes == {(149, 112), (171, 128), (192, 144)}


def test_crops_by_area_match_pils_bicubic_then_mirror():
    cfg = Config(num_frames=2, size=40, scaling="bicubic", **COCLR)
    clip = smooth(2, 80, 100)
    plans = [plain(drawn) for drawn in draw(12, video(100, 80), cfg)]
    for drawn, result in zip(plans, shown(plans, clip, cfg), strict=True):
        (y, x), (h, w) = drawn["box_start"][0], drawn["box_shape"][0]
        for frame, picture in zip(result, clip, strict=True):
            box = Image.fromarray(picture[y : y + h, x : x + w])
            expected = np.asarray(box.resize((40, 40), Image.Resampling.BICUBIC))
            np.testing.assert_allclose(frame, expected[:, ::-1] if drawn["box_mirror"] else expected, atol=2.6)
    assert {int(drawn["box_mirror"][0]) for drawn in plans} == {0, 1}


@pytest.mark.parametrize("more", [{}, COCLR], ids=["ctp", "coclr"])
def test_colors_change_all_frames_alike_before_normalization(more):
    cfg = Config(num_frames=3, size=32, short_sides=(32,), **more)
    clip = np.tile(smooth(1, 64, 64), (3, 1, 1, 1))
    plans = [drawn for drawn in draw(60, video(64, 64), cfg) if (drawn["color_matrix"] != np.eye(3)).any()][:6]
    assert len(plans) == 6
    results, without_colors = shown(plans, clip, cfg), shown([plain(drawn) for drawn in plans], clip, cfg)
    for drawn, result, base in zip(plans, results, without_colors, strict=True):
        assert (result == result[:1]).all()
        matrix, pivot, offset = (drawn[f"color_{name}"][0].astype(float) for name in ("matrix", "pivot", "offset"))
        mean = base[0].mean((0, 1))
        expected = np.clip(base[0] @ matrix.T + pivot @ mean + offset, 0, 255)
        np.testing.assert_allclose(result[0], expected, rtol=0, atol=0.55)  # rounding to whole levels


def test_flips_and_color_changes_have_the_specs_shares():
    """In 4000 draws, 5 standard deviations are at most 0.04. CtP changes no color with probability 0.8^3."""
    for cfg, flips, colored in ((Config(), 0.35, 1 - 0.8**3), (Config(**COCLR), 0.5, 0.3)):
        plans = draw(4000, video(128, 96), cfg)
        mirrored = [
            p["box_mirror"][0] if "box_mirror" in p else p["crop_start"][0][1] > p["crop_end"][0][1] for p in plans
        ]
        assert np.mean(mirrored) == pytest.approx(flips, abs=0.04)
        changed = [(p["color_matrix"][0] != np.eye(3)).any() or p["color_offset"].any() for p in plans]
        assert np.mean(changed) == pytest.approx(colored, abs=0.04)


def test_areas_are_uniform_and_aspects_from_3_4_to_4_3():
    """Small boxes always fit. Chi-squared of 4000 draws in 10 bins, 99.9 % limit 27.9."""
    plans = draw(4000, video(400, 400), Config(area=(0.2, 0.5)))
    boxes = np.stack([p["box_shape"][0] for p in plans]).astype(float)
    counts = np.histogram(boxes.prod(1) / 400**2, bins=10, range=(0.2, 0.5))[0]
    assert counts.sum() > 3980  # rounding to whole pixels moves some out of range
    assert ((counts - 400) ** 2 / 400).sum() < 27.9
    aspects = boxes[:, 1] / boxes[:, 0]
    assert 0.74 < aspects.min() < 0.76
    assert 1.32 < aspects.max() < 1.35
    assert (aspects > 1).mean() == pytest.approx(0.5, abs=0.04)


@given(st.integers(1, 120), st.integers(0, 2**32))
def test_a_short_video_repeats_its_last_frame(frames, seed):
    drawn = plan(video(64, 48, frames), np.random.default_rng(seed), Config())["frames"]
    start = int(drawn[0])
    assert 0 <= start <= max(frames - 31, 0)
    assert drawn.tolist() == [min(start + 2 * k, frames - 1) for k in range(16)]


def test_starts_are_uniform():
    """60 starts of a video of 90 frames: chi-squared over 6000 draws, 99.9 % limit for 59 degrees of freedom 98.3."""
    starts = [int(drawn["frames"][0]) for drawn in draw(6000, video(64, 48, 90), Config())]
    counts = np.bincount(starts, minlength=60)
    assert len(counts) == 60
    assert ((counts - 100) ** 2 / 100).sum() < 98.3


@pytest.mark.parametrize("more", [{"short_sides": (48, 64)}, COCLR])
def test_repeats_are_independent_views_of_the_same_frames(more):
    """Plans of one view, cut from the whole plan, give the same pixels bit for bit."""
    cfg = Config(num_frames=2, size=48, repeats=3, **more)
    (drawn,) = draw(1, video(100, 80), cfg)
    frames = drawn["frames"].reshape(3, 2)
    assert (frames == frames[0]).all()
    boxes = [name for name in drawn if name.startswith(("box", "crop"))]
    assert len({b"".join(drawn[name][view].tobytes() for name in boxes) for view in range(3)}) == 3
    plain_drawn, clip = plain(drawn), smooth(2, 80, 100)
    parts = [
        plain_drawn | {name: drawn[name][view : view + 1] for name in boxes} | Recolor.arrays([IDENTITY] * 2)
        for view in range(3)
    ]
    (together,) = shown([plain_drawn], np.tile(clip, (3, 1, 1, 1)), cfg)
    alone = shown(parts, clip, Config(num_frames=2, size=48, **more))
    np.testing.assert_array_equal(together, np.concatenate(alone))
    assert Task("recognition", cfg).batch_schema["clips"] == ((3, 3, 2, 48, 48), "float32")


def test_repeats_have_their_own_colors():
    cfg = Config(num_frames=2, repeats=2, jitter=(0.4, 0.4, 0.4, 0.1), jitter_prob=1.0)
    (drawn,), (identity,) = draw(1, video(100, 80), cfg), [Recolor.arrays([IDENTITY])]
    changed = [name for name in identity if len(drawn[name]) == 4 and not (drawn[name][0] == drawn[name][2]).all()]
    assert changed
    assert all((drawn[name][0] == drawn[name][1]).all() for name in changed)


CONFIGS = [
    Config(),
    Config(**COCLR),
    Config(num_frames=1, stride=5, size=16, short_sides=(20,), area=(0.5, 1.0)),
    Config(repeats=3),
]


@pytest.mark.parametrize("cfg", CONFIGS, ids=["ctp", "coclr", "small", "repeated"])
@given(st.integers(1, 300), st.integers(16, 900), st.integers(16, 900), st.integers(0, 2**32))
def test_a_plan_has_its_declared_arrays_and_is_reproducible(cfg, frames, width, height, seed):
    info = video(width, height, frames)
    drawn, again = (plan(info, np.random.default_rng(seed), cfg) for _ in range(2))
    schema = {name: (np.shape(array), np.asarray(array).dtype.name) for name, array in drawn.items()}
    assert schema == Task("recognition", cfg).plan_schema
    assert all(drawn[name].tobytes() == again[name].tobytes() for name in schema)
    assert drawn["labels"] == 4


@pytest.mark.parametrize(
    ("views", "wrong"),
    [
        ({"clips": "all"}, "clips = 'all' must be from 1 to 1000, windows or random"),
        ({"clips": 2.5}, "clips = 2.5 must be from 1 to 1000, windows or random"),
        ({"crops": "two"}, "crops = 'two' must be center, three, five or ten"),
    ],
)
def test_views_that_are_not_known_are_not_taken_for_a_random_clip(views, wrong):
    with pytest.raises(ValueError, match=f"^{wrong}$"):
        recognition.Test(**views)
