"""Make a labeled video set whose classes differ in motion alone: `python -m dali_pipelines.demo_data`.

The class is the direction in which textured sprites move over a still, textured background; nothing else depends on it.
Sprites live on a torus (what leaves on one side enters on the other). Their positions are uniform on it at the middle
frame, and hence at every frame: single frames have the same distribution in all classes, so a network that beats chance
has learned motion. A mirrored video shows another class: classify without horizontal flips.

Every class has two cues of natural videos, for the tasks that need them: light falls from above, so that a rotated
video differs from an upright one, and each video gets darker at its own rate, so that time has a direction.
"""

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import UserError, run_cli
from configs.options import whole_number
from configs.schema import MOST_WORKERS
from dali_pipelines import limits
from dali_pipelines.progress import bar
from dali_pipelines.store.encode import Encoding, write_frames
from dali_pipelines.store.files import INDEX_FILE, video_path, write_file
from dali_pipelines.store.index import Index
from dali_pipelines.store.record import Record
from dali_pipelines.workers import Crashed, run_jobs

Floats = NDArray[np.float64]
Video = tuple[str, int]
"""Split, and number within it."""

SIZE = 128  # pixels, width and height
NUM_FRAMES = 48
MIDDLE = NUM_FRAMES // 2  # the frame at which sprites have their drawn positions
FPS = 25
DUSK = (0.1, 0.4)  # share of brightness that a video loses from its first frame to its last
LIGHT = 30  # gray levels by which the top row is brighter than the middle row
ENCODING = Encoding(codec="vp9", gop=8)
SPLITS = ("train", "test")
SETTINGS_FILE = "demo.json"
VERSION = 3  # of the pictures
# Class k moves k * 45 degrees counter-clockwise from east, as seen on the screen.
CLASS_NAMES = ("east", "north-east", "north", "north-west", "west", "south-west", "south", "south-east")
# Unit steps (x, y), y pointing down; written out, so that opposite classes are exact opposites.
_D = 0.5**0.5
DIRECTIONS_K2 = np.array([(1, 0), (_D, -_D), (0, -1), (-_D, -_D), (-1, 0), (-_D, _D), (0, 1), (_D, _D)])


def sample_rng(seed: int, split: str, i: int) -> np.random.Generator:
    """Create the random generator of video `i` of a split; it depends only on the arguments."""
    return np.random.Generator(np.random.Philox(key=[seed, SPLITS.index(split)], counter=[0, 0, 0, i]))


def render(label: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Render one video of class `label`: uint8 (T=48, H=128, W=128, 3), RGB.

    With the same state of `rng`, another label gives the same scene and middle frame, moving in another direction.
    """
    base_3 = rng.uniform(90, 165, 3)
    # Rough enough for a patch of it to stand out when pasted elsewhere: pretext tasks need texture.
    background_HW3 = _colored_texture(rng, SIZE, base_3, contrast=rng.uniform(40, 60), slope=rng.uniform(0.8, 1.2))
    background_HW3 = np.clip(background_HW3 + np.linspace(LIGHT, -LIGHT, SIZE)[:, None, None], 0, 255)
    frames_THW3 = np.repeat(background_HW3.astype(np.uint8)[None], NUM_FRAMES, axis=0)
    for _ in range(rng.integers(3, 6)):
        sprite = _sprite(rng, base_3)
        traveled_T = rng.uniform(1, 3) * (np.arange(NUM_FRAMES) - MIDDLE)  # pixels
        paste(frames_THW3, sprite, rng.uniform(0, SIZE, 2) + traveled_T[:, None] * DIRECTIONS_K2[label])
    light_T = 1 + rng.uniform(*DUSK) * np.linspace(0.5, -0.5, NUM_FRAMES)
    lit_T256 = (light_T[:, None] * np.arange(256)).clip(0, 255).astype(np.uint8)  # each level in each frame
    return np.stack([lit_256.take(frame) for lit_256, frame in zip(lit_T256, frames_THW3, strict=True)])


def paste(frames_THW3: NDArray[np.uint8], sprite_SS4: NDArray[np.float32], corners_T2: Floats) -> None:
    """Blend a sprite into uint8 frames in place, at sub-pixel positions (bilinear), wrapped at the borders.

    Args:
        sprite_SS4: float32, color times alpha (0..255) and alpha (0..1).
        corners_T2: x and y, in pixels, of the center of the sprite's top left pixel in each frame.
    """
    num_frames, height, width, _ = frames_THW3.shape
    whole_T2 = np.floor(corners_T2).astype(int)
    x, y = (corners_T2 - whole_T2).astype(np.float32).T[:, :, None, None, None]
    padded = np.pad(sprite_SS4, ((1, 1), (1, 1), (0, 0)))
    rows = padded[1:] + y * (padded[:-1] - padded[1:])
    shifted = rows[:, :, 1:] + x * (rows[:, :, :-1] - rows[:, :, 1:])
    reach = np.arange(len(sprite_SS4) + 1)
    where = (
        np.arange(num_frames)[:, None, None],
        ((whole_T2[:, 1:] + reach) % height)[:, :, None],
        ((whole_T2[:, :1] + reach) % width)[:, None, :],
    )
    frames_THW3[where] = frames_THW3[where] * (1 - shifted[..., 3:]) + shifted[..., :3] + 0.5


def _colored_texture(rng: np.random.Generator, size: int, base_3: Floats, *, contrast: float, slope: float) -> Floats:
    """Draw 1/f^slope noise around the color `base_3`, standard deviation <= `contrast`; (size, size, 3)."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    frequency[0, 0] = np.inf  # no mean: base_3 is the mean
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * frequency**-slope
    noise = np.fft.irfft2(spectrum, (size, size))
    texture_HW3: Floats = np.clip(base_3 + (contrast / noise.std() * noise)[..., None] * rng.uniform(0.5, 1, 3), 0, 255)
    return texture_HW3


def _sprite(rng: np.random.Generator, background_3: Floats) -> NDArray[np.float32]:
    """Draw a textured, rotated superellipse (diamond, disc or box) that stands out from the background."""
    size = int(rng.integers(22, 45))
    away_3 = rng.standard_normal(3)
    base_3 = background_3 + rng.uniform(75, 130) * away_3 / np.linalg.norm(away_3)
    color = _colored_texture(rng, size, base_3, contrast=rng.uniform(12, 36), slope=rng.uniform(1.2, 2.0))
    angle, power, aspect = rng.uniform(0, 2 * np.pi), rng.uniform(1, 4), rng.uniform(0.6, 1)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    u, v = np.cos(angle) * x + np.sin(angle) * y, (np.cos(angle) * y - np.sin(angle) * x) / aspect
    radius = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)
    # 0.42: boxes fit at any angle. The edge is one pixel wide.
    alpha = np.clip(0.42 * size - radius, 0, 1)[..., None]
    return np.concatenate([color * alpha, alpha], axis=-1).astype(np.float32)


def make_demo(root: Path, *, train: int, test: int, seed: int, workers: int) -> bool:
    """Write a prepared dataset to `root`, with train.txt and test.txt; return False if it already exists.

    UserError if `root` holds something else, or a demo set made with other arguments.
    """
    settings = json.dumps({"version": VERSION, "train": train, "test": test, "seed": seed})
    settings_file = root / SETTINGS_FILE
    if settings_file.is_file():
        if settings_file.read_text() != settings:
            raise UserError(
                f"{settings_file} says {settings_file.read_text()}, this run wants {settings}; "
                f"remove {root} or choose another --out"
            )
        if (root / INDEX_FILE).is_file():  # written last
            return False
        shutil.rmtree(root / "videos", ignore_errors=True)
    elif root.exists() and any(root.iterdir()):
        raise UserError(f"{root} is not empty and not a demo set; choose another --out")
    write_file(settings_file, settings)

    videos = [(split, i) for split, count in zip(SPLITS, (train, test), strict=True) for i in range(count)]
    written = run_jobs(partial(_write_video, root, seed), videos, workers=workers)
    stored = dict(bar(written, total=len(videos), desc="demo video"))
    _write_index(root, videos, stored)
    return True


def _name(split: str, i: int) -> str:
    return f"{CLASS_NAMES[_label(i)]}/{split}_{i:04d}"


def _label(i: int) -> int:
    return i % len(CLASS_NAMES)


def _write_video(root: Path, seed: int, video: Video) -> Record:
    split, i = video
    frames = render(_label(i), sample_rng(seed, split, i))
    return write_frames(video_path(root, _name(split, i)), frames, fps=FPS, settings=ENCODING)


def _write_index(root: Path, videos: Sequence[Video], stored: Mapping[Video, Record | Crashed]) -> None:
    for split in SPLITS:
        lines = [f"{_name(*video)}\n" for video in videos if video[0] == split]
        write_file(root / f"{split}.txt", "".join(lines))
    records = {}
    for video in videos:
        record = stored[video]
        if isinstance(record, Crashed):
            raise UserError(f"{_name(*video)} cannot be written, {record}: free some memory and start again")
        records[_name(*video)] = record
    labels = {_name(*video): _label(video[1]) for video in videos}
    Index.build(root, records, labels=labels, class_names=CLASS_NAMES).save()


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dali_pipelines.demo_data", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--train", type=whole_number(8), default=320, help="training videos (320)")
    parser.add_argument("--test", type=whole_number(8), default=160, help="test videos (160)")
    parser.add_argument(
        "--seed", type=whole_number(0, 2**63 - 1), default=0, help="another seed makes other videos (0)"
    )
    workers = whole_number(1, MOST_WORKERS)
    parser.add_argument("--workers", type=workers, default=limits.cores(), help="processes (one per core)")
    return parser


def main(argv: list[str]) -> None:
    args = make_parser().parse_args(argv)
    made = make_demo(args.out, train=args.train, test=args.test, seed=args.seed, workers=args.workers)
    done = f"{args.train} + {args.test} videos written" if made else "complete already, nothing to do"
    print(f"{args.out}: {done}")


if __name__ == "__main__":
    run_cli(main)
