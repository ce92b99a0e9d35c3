"""Views of a whole video: frames (specs/ctp.md 0.2, evaluation.md 1), crops (evaluation.md 4), and parts."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from configs.errors import UserError
from dali_pipelines.loader import ClipLoader
from dali_pipelines.plan.rng import Stream, generator
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.plan.views import AspectReference
from dali_pipelines.tasks import Task
from dali_pipelines.tasks.evaluation import clips_of, clips_per_part, parts, plan
from dali_pipelines.tasks.recognition import Config, Test, TestReference
from tests.helpers.crops import smooth
from tests.helpers.dali import run_graph
from tests.helpers.plans import video

COCLR = Config(num_frames=32, stride=1, test=Test(clips="windows"))
CROPS = {"center": 1, "three": 3, "five": 5, "ten": 10}
SIZE, SHORT = 48, 64
SEED = 2  # some of five clips are jittered


def clips(frames: int, cfg: Config) -> np.ndarray:
    return clips_of(frames, np.random.default_rng(0), cfg)


# Frames.


def test_uniform_clips_start_where_the_spec_says():
    """specs/ctp.md 0.2."""
    starts = clips(180, Config())[:, 0]
    assert starts.tolist() == [7, 22, 37, 52, 67, 81, 96, 111, 126, 141]
    assert clips(20, Config())[:, 0].tolist() == [0] * 10
    assert clips(50, Config(num_frames=32, stride=1, test=Test(clips=1)))[:, 0].tolist() == [9]


def test_a_stride_longer_than_the_video_repeats_its_last_frame():
    """With one of 31 bits, frame numbers of 32 bits became negative."""
    for kind in (10, "windows", "random"):
        found = clips(20, Config(num_frames=4, stride=2**31 - 1, test=Test(clips=kind)))
        assert found[0].tolist() == [0, 19, 19, 19]


def test_clips_larger_than_any_memory_are_refused_before_they_are_counted(vp9_store):
    """`clipfeed features --frames 2147483647` took minutes and all memory."""
    with pytest.raises(UserError, match=r"^a sample of evaluation would take .* clips of shape \(1, 10, 3, 2147"):
        parts(vp9_store, Config(num_frames=2**31 - 1))


def test_windows_start_where_the_spec_says_and_the_last_ends_the_video():
    """F = 164, T = 32: nine windows from 0 to 120, plus ours at 132 for the tail that the original omits."""
    found = clips(164, COCLR)
    assert found[:, 0].tolist() == [*range(0, 121, 15), 132]
    assert found[:, -1].tolist() == [*range(31, 152, 15), 163]
    assert clips(47, COCLR)[:, 0].tolist() == [0, 15]  # nothing left over
    assert clips(48, COCLR)[:, 0].tolist() == [0, 15, 16]
    short = clips(20, COCLR)
    assert short.tolist() == [[*range(20), *[19] * 12]]


@given(st.integers(1, 400), st.integers(1, 20), st.integers(1, 4), st.integers(1, 60))
def test_windows_cover_every_frame(frames, length, stride, step):
    cfg = Config(num_frames=length, stride=stride, test=Test(clips="windows", window_step=step))
    found, span = clips(frames, cfg), length * stride
    starts = found[:, 0].tolist()
    assert starts[:-1] == [step * n for n in range(len(starts) - 1)]
    assert starts[-1] == max(frames - span, 0)
    assert len(starts) == 1 + -(-starts[-1] // step)
    assert found.tolist() == [[min(s + stride * k, frames - 1) for k in range(length)] for s in starts]


def test_random_clip_starts_are_uniform_and_reproducible():
    cfg = dataclasses.replace(COCLR, test=Test(clips="random"))
    rng = np.random.default_rng(0)
    starts = np.array([clips_of(40, rng, cfg)[0, 0] for _ in range(900)])  # 0 to 8
    counts = np.bincount(starts)
    assert len(counts) == 9
    assert ((counts - 100) ** 2 / 100).sum() < 26.1  # 99.9 % limit for 8 degrees of freedom
    assert clips_of(20, rng, cfg)[0].tolist() == [*range(20), *[19] * 12]
    drawn = [plan(video(200), generator(0, Stream.SAMPLE, 0, 5), cfg)["frames"] for _ in range(2)]
    assert drawn[0].tolist() == drawn[1].tolist()


# Parts.


@pytest.mark.parametrize("crops", CROPS)
@pytest.mark.parametrize("test_clips", [10, 37, "windows", "random"])
@settings(max_examples=25, deadline=None)  # a busy machine is not a failure
@given(lengths=st.lists(st.integers(1, 500), min_size=1, max_size=4))
def test_parts_hold_every_clip_of_a_video_once(vp9_store, lengths, test_clips, crops):
    cfg = Config(num_frames=8, size=16, test=Test(clips=test_clips, crops=crops, short_side=20))
    index = vp9_store.select(range(len(lengths))).with_columns(num_frames=np.array(lengths, np.int32))
    samples = parts(index, cfg)
    names = samples.names.texts()
    assert list(dict.fromkeys(names)) == list(index.names.texts())
    size = clips_per_part(cfg)
    assert 1 <= size * CROPS[crops] <= max(16, CROPS[crops])
    found: dict[str, list] = {name: [] for name in index.names.texts()}
    for row, name in enumerate(names):
        drawn = plan(samples.info(row), generator(0, Stream.SAMPLE, 0, row), cfg)
        known = int(drawn["clips_known"])
        frames = drawn["frames"].reshape(size, 8)
        assert 1 <= known <= size
        assert (frames[known:] == frames[known - 1]).all()
        found[name] += frames[:known].tolist()
    for length, of_video in zip(lengths, found.values(), strict=True):
        if test_clips == "random":
            assert len(of_video) == 1
        else:
            assert of_video == clips(length, cfg).tolist()


@pytest.mark.parametrize("cfg", [Config(), COCLR, Config(test=Test(crops="ten", reference=TestReference(jitter=True)))])
@given(st.integers(1, 500), st.integers(16, 900), st.integers(16, 900))
def test_a_plan_has_its_declared_arrays(cfg, frames, width, height):
    drawn = plan(video(frames, width, height), np.random.default_rng(0), cfg)
    schema = {name: (np.shape(a), np.asarray(a).dtype.name) for name, a in drawn.items()}
    assert schema == Task("evaluation", cfg).plan_schema


# Crops.


def seen(info: VideoInfo, picture: np.ndarray, cfg: Config) -> np.ndarray:
    """Return all crops of a video of a still picture, in gray levels: float (crops, M*T, size, size, 3)."""
    drawn = plan(info, np.random.default_rng(SEED), cfg)
    clip = np.tile(picture, (len(drawn["frames"]), 1, 1, 1))
    sample = {"clip": clip, **{k: v for k, v in drawn.items() if k != "frames"}}
    (out,) = run_graph(lambda n: Task("evaluation", cfg).graph(n["clip"], n)["clips"], [sample], {"clip": "FHWC"})
    levels = 255 * (out * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406])
    return levels.reshape(-1, len(clip), cfg.size, cfg.size, 3)


def slices(picture: np.ndarray, crops: str, width: int, height: int, *, cubic: bool = False) -> list[np.ndarray]:
    """Scale the picture to width x height with PIL and return plain slices of it."""
    kind = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
    whole = np.asarray(Image.fromarray(picture).resize((width, height), kind)).astype(float)
    down, right = height - SIZE, width - SIZE
    middle = (down // 2, right // 2)
    along = [(middle[0], x) for x in (0, middle[1], right)] if width >= height else None
    along = along or [(y, middle[1]) for y in (0, middle[0], down)]
    five = [middle, (0, 0), (0, right), (down, 0), (down, right)]
    places = {"center": [middle], "three": along, "five": five, "ten": five}[crops]
    cuts = [whole[y : y + SIZE, x : x + SIZE] for y, x in places]
    return cuts + [cut[:, ::-1] for cut in cuts] if crops == "ten" else cuts


@pytest.mark.parametrize("crops", CROPS)
@pytest.mark.parametrize(("width", "height", "scaled"), [(60, 48, (80, 64)), (48, 60, (64, 80)), (96, 96, (64, 64))])
def test_crops_are_slices_of_the_scaled_picture_in_the_specs_order(crops, width, height, scaled):
    """Pictures are landscape, portrait and square, enlarged and reduced; PIL rounds to whole levels twice.

    All these crops are on even pixels; tests/dali_pipelines/pixels/test_crop.py has others.
    """
    cfg = Config(num_frames=2, size=SIZE, test=Test(clips=1, crops=crops, short_side=SHORT))
    (picture,) = smooth(1, height, width)
    found = seen(video(9, width, height), picture, cfg)
    expected = slices(picture, crops, *scaled)
    assert len(found) == len(expected) == CROPS[crops]
    for views, cut in zip(found, expected, strict=True):
        for view in views:
            np.testing.assert_allclose(view, cut, atol=1.6)


def test_scaling_can_be_bicubic():
    """The result must differ clearly from bilinear scaling."""
    cfg = Config(num_frames=1, size=SIZE, scaling="bicubic", test=Test(clips=1, crops="center", short_side=SHORT))
    picture = np.random.default_rng(3).integers(64, 192, (96, 120, 3), dtype=np.uint8)  # PIL clips between passes
    ((found,),) = seen(video(9, 120, 96), picture, cfg)
    (expected,), (bilinear,) = (slices(picture, "center", 80, 64, cubic=cubic) for cubic in (True, False))
    np.testing.assert_allclose(found, expected, atol=1.6)
    assert np.abs(found - bilinear).max() > 10


def test_ten_crops_are_five_crops_and_their_mirror_images():
    cfg = Config(num_frames=1, size=SIZE, test=Test(clips=1, crops="ten", short_side=SHORT))
    found = seen(video(9, 60, 48), smooth(1, 48, 60)[0], cfg)[:, 0]
    np.testing.assert_allclose(found[5:], found[:5, :, ::-1], atol=1.1)
    assert min(np.abs(a - b).mean() for i, a in enumerate(found) for b in found[:i]) > 3


def test_a_fixed_aspect_squeezes_the_video_to_171_x_128():
    """specs/ctp.md 3: the original's test, for any shape of video; ours rounds to even pixels of the video."""
    cfg = Config(reference=AspectReference(fixed_aspect=True))
    for info, (rows, columns) in ((video(9, 4000, 2000), (128, 171)), (video(9, 2000, 4000), (171, 128))):
        drawn = plan(info, np.random.default_rng(0), cfg)
        assert drawn["crop_start"][0] * (rows / info.height, columns / info.width) == pytest.approx(
            ((rows - 112) // 2, (columns - 112) // 2), abs=1.01 * 128 / 2000
        )
        sides = drawn["crop_end"][0] - drawn["crop_start"][0]
        assert sides * (rows / info.height, columns / info.width) == pytest.approx((112, 112), abs=1.01 * 128 / 2000)


# Colors.


def test_jitter_changes_whole_clips_in_three_of_ten_and_is_off_by_default():
    jitter = Config(num_frames=2, test=Test(clips=8, reference=TestReference(jitter=True)))
    changed = []
    for seed in range(250):
        matrices = plan(video(), np.random.default_rng(seed), jitter)["color_matrix"].reshape(8, 2, 3, 3)
        assert (matrices[:, :1] == matrices).all()
        changed += [bool((clip[0] != np.eye(3)).any()) for clip in matrices]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.05)
    assert not any(name.startswith("color") for name in plan(video(), np.random.default_rng(0), Config()))


def test_jittered_clips_have_the_same_colors_in_every_crop():
    still = smooth(1, 48, 48)[0]
    test = Test(clips=5, crops="three", short_side=SIZE)
    cfg = Config(num_frames=1, size=SIZE, test=dataclasses.replace(test, reference=TestReference(jitter=True)))
    plain = seen(video(99, 48, 48), still, Config(num_frames=1, size=SIZE, test=test))
    jittered = seen(video(99, 48, 48), still, cfg)
    drawn = plan(video(99, 48, 48), np.random.default_rng(SEED), cfg)
    changed = (drawn["color_matrix"] != np.eye(3)).any((1, 2))
    assert (np.abs(jittered - plain).mean((0, 2, 3, 4)) > 1).tolist() == changed.tolist()
    assert 0 < changed.sum() < 5
    assert (jittered == jittered[:1]).all()  # three crops of a square picture are the same


def test_the_loader_orders_crops_then_clips(vp9_store):
    """The axes are (crops, M): the first of five crops equals the center crop, clip for clip."""
    batches = {}
    for crops in ("center", "five"):
        cfg = Config(num_frames=2, size=32, test=Test(clips=3, crops=crops, short_side=40))
        loader = ClipLoader(vp9_store, Task("evaluation", cfg), batch_size=2, shuffle=False)
        batches[crops] = next(iter(loader))["clips"]
    assert batches["five"].shape == (2, 5, 3, 3, 2, 32, 32)
    assert (batches["five"][:, :1] == batches["center"]).all()
    assert (batches["five"][:, 0, 0] != batches["five"][:, 0, 2]).any()
