"""The demo set: deterministic, with classes that differ only in motion, and stored as a prepared dataset."""

import shutil
from dataclasses import dataclass
from math import comb
from unittest import mock

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from configs.errors import UserError
from dali_pipelines import demo_data
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.demo_data import CLASS_NAMES, MIDDLE, NUM_FRAMES, SIZE, main, paste, render, sample_rng
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import read_clip

pytestmark = pytest.mark.slow

NUM_CLASSES = len(CLASS_NAMES)
NUM_TRAIN, NUM_TEST = 200, 160
NUM_MOVING = 24  # of each split, to measure motion; the others have sprites only in their stills
STILLS = [0, NUM_FRAMES - 1]  # a middle frame is the same in all classes


@dataclass
class Part:
    """The classifiers' inputs from some videos."""

    labels: np.ndarray  # (N,)
    stills: np.ndarray  # uint8 (N,2,H,W,3): the frames STILLS
    directions: np.ndarray  # (NUM_MOVING,): classes of the first videos, from their motion


def paste_in_stills(frames, sprite, corners):
    part = frames[STILLS]
    paste(part, sprite, corners[STILLS])
    frames[STILLS] = part


def render_part(split, count):
    labels = np.arange(count) % NUM_CLASSES
    stills, directions = [], []
    for i, label in enumerate(labels):
        with mock.patch.object(demo_data, "paste", paste if i < NUM_MOVING else paste_in_stills):
            video = render(label, sample_rng(0, split, i))
        stills.append(video[STILLS])
        if i < NUM_MOVING:
            directions.append(direction(video))
    return Part(labels, np.stack(stills), np.stack(directions))


@pytest.fixture(scope="module")
def parts():
    return render_part("train", NUM_TRAIN), render_part("test", NUM_TEST)


# --- Rendering ---


def test_pixels_follow_from_seed_split_and_index():
    video = render(1, sample_rng(7, "train", 3))
    assert video.shape == (NUM_FRAMES, SIZE, SIZE, 3)
    assert video.dtype == np.uint8
    assert np.array_equal(video, render(1, sample_rng(7, "train", 3)))
    for other in (sample_rng(8, "train", 3), sample_rng(7, "test", 3), sample_rng(7, "train", 4)):
        assert not np.array_equal(video[MIDDLE], render(1, other)[MIDDLE])


def test_classes_differ_only_in_motion_around_the_middle_frame():
    by_class = [render(label, sample_rng(0, "train", 0)) for label in range(NUM_CLASSES)]
    for video in by_class[1:]:
        assert np.array_equal(video[MIDDLE], by_class[0][MIDDLE])
        assert not np.array_equal(video[MIDDLE + 1], by_class[0][MIDDLE + 1])


def test_without_dusk_a_video_played_backwards_is_the_opposite_class(monkeypatch):
    monkeypatch.setattr(demo_data, "DUSK", (0, 0))
    video, opposite = (render(label, sample_rng(0, "train", 0)) for label in (1, 5))
    # Frame 0 has no counterpart: 24 frames precede the middle and 23 follow it.
    assert np.abs(video[1:].astype(int) - opposite[:0:-1]).max() <= 1


def test_every_video_darkens_downwards_and_over_time_at_its_own_rate():
    videos = [render(i % NUM_CLASSES, sample_rng(0, "train", i)).astype(float) for i in range(24)]
    assert np.mean([video[:, :20].mean() - video[:, -20:].mean() for video in videos]) > 30  # sprites and texture vary
    losses = [1 - video[-1].mean() / video[0].mean() for video in videos]
    assert 0.05 < min(losses) < 0.18
    assert 0.25 < max(losses) < 0.36  # from 1.2 to 0.8 at most: a third


def test_a_sprite_wraps_around_the_borders():
    sprite = np.random.default_rng(0).uniform(0, 1, (9, 9, 4)).astype(np.float32) * [200, 200, 200, 1]
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    paste(frames, sprite.astype(np.float32), np.array([[10.25, 11.5], [10.25 + 20, 11.5 - 64 - 18]]))
    assert frames[0].any()
    assert np.array_equal(frames[1], np.roll(frames[0], (-18, 20), axis=(0, 1)))


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.5, 0.25), (3.75, -2.125)])
def test_a_sprite_moves_by_fractions_of_a_pixel(shift):
    sprite = np.full((8, 8, 4), [240, 240, 240, 1], np.float32)
    frame = np.zeros((1, 32, 32, 3), np.uint8)
    paste(frame, sprite, np.array([[10, 10]]) + shift)
    light = frame[0, :, :, 0].astype(float)
    y, x = np.mgrid[:32, :32]
    centroid = np.array([(x * light).sum(), (y * light).sum()]) / light.sum()
    assert np.allclose(centroid, np.add(13.5, shift), atol=0.01)


# --- What tells the classes apart ---


def pixels(frames):
    """Average colors on a 16 x 16 grid, which show differences in position or color."""
    return F.avg_pool2d(torch.from_numpy(frames).permute(0, 3, 1, 2).float(), 8).flatten(1).numpy()


def random_convolutions(frames):
    """Pool two layers of random filters, which show shapes, edges and textures at any position."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(48, 3, 7, 7, generator=generator)
    second = torch.randn(128, 48, 3, 3, generator=generator)
    first, second = (w - w.mean((2, 3), keepdim=True) for w in (first, second))
    hidden = F.relu(F.conv2d(torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255, first, stride=4))
    deep = F.relu(F.conv2d(hidden, second, stride=2))
    return torch.cat([hidden.mean((2, 3)), deep.mean((2, 3)), deep.amax((2, 3))], dim=1).numpy()


def count_correct(features, train_frames, test_frames):
    """Fit a ridge classifier to the train frames and count the correct test frames."""
    train, test = features(train_frames), features(test_frames)
    mean, scale = train.mean(0), train.std(0) + 1e-6
    train, test = (train - mean) / scale, (test - mean) / scale
    targets = np.eye(NUM_CLASSES)[np.arange(NUM_TRAIN) % NUM_CLASSES] - 1 / NUM_CLASSES
    weights = np.linalg.solve(train @ train.T + 0.1 * train.shape[1] * np.eye(NUM_TRAIN), targets)
    return int(((test @ train.T @ weights).argmax(1) == np.arange(NUM_TEST) % NUM_CLASSES).sum())


def max_by_chance():
    """Return the largest count by guessing: the upper end of the central 99% of Binomial(160, 1/8)."""
    p = 1 / NUM_CLASSES
    chances = [comb(NUM_TEST, k) * p**k * (1 - p) ** (NUM_TEST - k) for k in range(NUM_TEST + 1)]
    return int(np.searchsorted(np.cumsum(chances), 0.995))


@pytest.mark.parametrize("features", [pixels, random_convolutions])
@pytest.mark.parametrize("still", range(len(STILLS)))
def test_a_single_frame_does_not_reveal_the_class(parts, features, still):
    assert count_correct(features, *(part.stills[:, still] for part in parts)) <= max_by_chance()


@pytest.mark.parametrize("features", [pixels, random_convolutions])
def test_the_same_classifier_finds_a_planted_cue(parts, features):
    y, x = np.mgrid[:SIZE, :SIZE]
    angles = np.arange(NUM_CLASSES)[:, None, None] * np.pi / NUM_CLASSES
    waves = 20 * np.sin(2 * np.pi * (x * np.cos(angles) + y * np.sin(angles)) / 16)  # gray levels of 255
    planted = (np.clip(part.stills[:, 0] + waves[part.labels][..., None], 0, 255) for part in parts)
    assert count_correct(features, *(frames.astype(np.uint8) for frames in planted)) > 0.5 * NUM_TEST


def direction(video):
    """Return the class by the strongest cross-correlation of moving pixels in frames 4 apart."""
    colors = video[::4].astype(np.float32)
    colors *= colors.mean() / colors.mean(axis=(1, 2, 3), keepdims=True)  # cancel dusk, which is not motion
    moves = np.abs(colors - np.median(colors, axis=0)).max(axis=-1) > 20
    spectra = np.fft.rfft2(moves)
    matches = np.fft.irfft2((spectra[1:] * spectra[:-1].conj()).sum(axis=0))
    y, x = np.unravel_index(matches.argmax(), matches.shape)
    y, x = ((step + SIZE // 2) % SIZE - SIZE // 2 for step in (y, x))
    return np.array(round(np.arctan2(-y, x) / (np.pi / 4)) % NUM_CLASSES)


def test_motion_reveals_the_class(parts):
    for part in parts:
        assert (part.directions == part.labels[:NUM_MOVING]).mean() > 0.9


# --- The stored set ---

ARGUMENTS = ["--train", "16", "--test", "8", "--seed", "0", "--workers", "2"]


@pytest.fixture(scope="module")
def demo(demo_set, tmp_path_factory):
    return shutil.copytree(demo_set, tmp_path_factory.mktemp("demo"), dirs_exist_ok=True)


def test_the_set_is_labeled_and_balanced(demo):
    index = Index.load(demo)
    assert len(index) == 24
    assert np.bincount(index.labels).tolist() == [3] * NUM_CLASSES
    for i in range(len(index)):
        info = index.info(i)
        assert info.name.split("/")[0] == CLASS_NAMES[info.label] == index.class_names[info.label]
        assert (info.num_frames, info.width, info.height, info.fps) == (NUM_FRAMES, SIZE, SIZE, 25)
        assert index.codec(i) == "vp9"


def test_the_lists_are_balanced_and_share_no_video(demo):
    train, test = (open_dataset(demo, demo / f"{split}.txt").index for split in ("train", "test"))
    assert np.bincount(train.labels).tolist() == [2] * NUM_CLASSES
    assert np.bincount(test.labels).tolist() == [1] * NUM_CLASSES
    names = [index.info(i).name for index in (train, test) for i in range(len(index))]
    assert len(set(names)) == 24


def test_stored_videos_look_as_rendered(demo):
    index = open_dataset(demo, demo / "test.txt").index
    for i in range(len(index)):
        stored = decode_rgb(read_clip(index, i, np.arange(NUM_FRAMES))).astype(float)
        rendered = render(int(index.labels[i]), sample_rng(0, "test", i))
        psnr = 10 * np.log10(255**2 / np.square(stored - rendered).mean(axis=(1, 2, 3)))
        assert psnr.min() > 30


def test_key_frames_are_eight_apart(demo):
    clip = read_clip(Index.load(demo), 0, np.array([3, 43]))
    assert clip.frames.tolist() == [3, 8 + 3]


def test_a_second_run_does_nothing(demo, capsys):
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*")}
    main(["--out", str(demo), *ARGUMENTS])
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in demo.rglob("*")} == before


def test_other_arguments_are_refused(demo):
    with pytest.raises(UserError, match=r'"seed": 0.*"seed": 4.*choose another --out'):
        main(["--out", str(demo), *ARGUMENTS, "--seed", "4"])


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not empty"):
        main(["--out", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_killed_run_restarts_and_makes_the_same_set(demo):
    expected = {path: path.read_bytes() for path in demo.rglob("*.mp4")}
    (demo / "index.npz").unlink()
    (demo / "videos" / "east" / "train_0000.mp4").unlink()
    (demo / "videos" / "east" / ".clipfeed-0123.part").write_bytes(b"half")
    main(["--out", str(demo), *ARGUMENTS, "--workers", "1"])
    assert len(Index.load(demo)) == 24
    assert {path: path.read_bytes() for path in (demo / "videos").rglob("*.*")} == expected
