"""CSTP: how much two clips overlap in space and time, how fast they play, how they are rotated (specs/cstp.md 1)."""

from dataclasses import dataclass, field

import numpy as np

from configs.errors import require
from dali_pipelines.pixels.blur import GaussianBlur
from dali_pipelines.pixels.color import Recolor
from dali_pipelines.pixels.crop import CropBox
from dali_pipelines.pixels.operation import Schema
from dali_pipelines.pixels.program import Program, consecutive_views
from dali_pipelines.pixels.rotate import Rot90, Rotate
from dali_pipelines.plan.boxes import Box, random_box
from dali_pipelines.plan.color_map import IDENTITY, ColorMap
from dali_pipelines.plan.jitter import jitter, random_gray
from dali_pipelines.plan.overlap import (
    RATES,
    STRIDES,
    looped_clip,
    overlapping_box,
    overlapping_starts,
    random_stride,
    unrotated,
)
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.tasks import Annotations

AREA = (0.2, 1.0)  # of a box, as a share of the picture
FLIP_PROB = 0.5
STRONG_PROB = 0.3  # of a clip with more changes than mirroring
MAX_DEGREES = 10  # of a small rotation
JITTER_PROB, GRAY_PROB, BLUR_PROB = 0.8, 0.2, 0.5  # in such a clip
SIGMAS = (0.1, 2.0)  # pixels
PACES = ("every frame", "every 2nd frame", "every 4th frame", "every 8th frame")

LABELS: Schema = {
    "spatial": ((), "int64"),
    "temporal": ((), "int64"),
    "playback": ((), "int64"),
    "rotation": ((2,), "int64"),
}


@dataclass(frozen=True)
class Reference:
    """Opt-in behavior of the original (specs/cstp.md 8.2)."""

    same_start: bool = False
    """Show the first clip's frames in both, as with the original's LMDBs: the temporal label is then noise."""
    truncate_offset: bool = False
    """Start clips that share four fifths one frame too close together."""
    rotated_boxes: bool = False
    """Draw and compare the boxes in the two rotated pictures: the spatial label is right only for equally rotated
    clips, and a quarter of the second boxes extend beyond the picture, which is black there."""
    flip_last: bool = False
    """Mirror after rotating: half of the time, a clip rotated by 90 degrees then looks like one rotated by 270."""
    gray_per_frame: bool = False
    """Draw the channel of a gray clip anew for each frame: it flickers."""


@dataclass(frozen=True)
class Config:
    """The plan of CSTP; the defaults are the original's (specs/cstp.md 1.1)."""

    num_frames: int = 16
    """Frames of a clip, T."""
    size: int = 112
    """Side of the square crop, pixels."""
    reference: Reference = field(default_factory=Reference)
    """The original's flaws, each off by default."""

    def __post_init__(self) -> None:
        require(self.num_frames >= 6, "num_frames", self.num_frames, "at least 6, to share fifths of it")
        require(self.size >= 16, "size", self.size, "at least 16 pixels")


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """Draw the arrays of one sample, as in `Task.plan_schema`.

    A video too short for a clip is looped.
    """
    playback = random_stride(video.num_frames, rng, length=cfg.num_frames)
    steps = {"length": cfg.num_frames, "stride": STRIDES[playback]}
    first, second, temporal = overlapping_starts(video.num_frames, rng, **steps, truncate=cfg.reference.truncate_offset)
    starts = (first, first if cfg.reference.same_start else second)
    turns = rng.integers(4, size=2)
    boxes, spatial = draw_boxes(video, turns, rng, rotated=cfg.reference.rotated_boxes)
    angles, colors, sigmas = zip(*(draw_appearance(rng, cfg) for _ in range(2)), strict=True)
    mirror = rng.random(2) < FLIP_PROB
    # Clips are mirrored first; rotating the other way then equals mirroring last.
    way = np.where(mirror & cfg.reference.flip_last, -1, 1)
    return {
        "frames": np.concatenate([looped_clip(start, num_frames=video.num_frames, **steps) for start in starts]),
        **CropBox.arrays(boxes, mirror),
        "rot90": (way * turns % 4).astype(np.float32),
        "degrees": (way * angles).astype(np.float32),
        **Recolor.arrays([one for clip in colors for one in clip]),
        "sigma": np.array(sigmas, np.float32),
        "spatial": np.array(spatial, np.int64),
        "temporal": np.array(temporal, np.int64),
        "playback": np.array(playback, np.int64),
        "rotation": turns,
    }


def draw_boxes(
    video: VideoInfo, turns: np.ndarray, rng: np.random.Generator, *, rotated: bool
) -> tuple[list[Box], int]:
    """Draw a box for each clip in the unrotated picture, and the class of what they share.

    With `rotated`, each box is drawn in its clip's own rotated picture, and the class compares them there.
    """
    height, width = video.height, video.width
    sideways = turns % 2 if rotated else np.zeros(2, int)
    (height_1, width_1), (height_2, width_2) = ((width, height) if odd else (height, width) for odd in sideways)
    first = random_box(height_1, width_1, rng, area=AREA, tries=100)
    second, spatial = overlapping_box(first, height_2, width_2, rng)
    if not rotated:
        return [first, second], spatial
    pairs = zip((first, second), turns.tolist(), strict=True)
    return [unrotated(box, turn, height, width) for box, turn in pairs], spatial


def draw_appearance(rng: np.random.Generator, cfg: Config) -> tuple[float, list[ColorMap], float]:
    """Draw a small rotation in degrees, a color map per frame and the sigma of a blur, 0 for none."""
    same = [IDENTITY] * cfg.num_frames
    if rng.random() >= STRONG_PROB:
        return 0.0, same, 0.0
    angle, sigma = rng.uniform(-MAX_DEGREES, MAX_DEGREES), rng.uniform(*SIGMAS)
    jittered, gray, blurred = rng.random(3) < (JITTER_PROB, GRAY_PROB, BLUR_PROB)
    colors = same
    if jittered:
        colors = [jitter(rng, brightness=0.4, contrast_=0.4, saturation_=0.4, hue_turn=0.1)] * cfg.num_frames
    if gray:
        grays = [random_gray(rng) for _ in colors] if cfg.reference.gray_per_frame else [random_gray(rng)] * len(same)
        colors = [color.then(to_gray) for color, to_gray in zip(colors, grays, strict=True)]
    return angle, colors, sigma * blurred


def program(cfg: Config) -> Program:
    """Return the operations on the two clips."""
    crop = CropBox(cfg.size, cubic=True, inside=not cfg.reference.rotated_boxes)
    operations = (crop, Rot90(), Rotate(), Recolor(), GaussianBlur())
    return consecutive_views([cfg.num_frames] * 2, *operations, normalization="half")


def batch_schema(cfg: Config) -> Schema:
    """Return the batch schema, shape and dtype per sample: two clips and their classes.

    The classes are the shares of picture and time in common, the common stride, and the quarter turns of each.
    """
    return {"clips": ((2, 3, cfg.num_frames, cfg.size, cfg.size), "float32"), **LABELS}


def annotate(plan: dict[str, np.ndarray], cfg: Config) -> Annotations:
    """Show the labels, the upward direction, and a box of the part in both clips, which ignores the small rotation."""
    pace, temporal, spatial = PACES[plan["playback"]], RATES[plan["temporal"]], RATES[plan["spatial"]]
    start, end = plan["box_start"], plan["box_start"] + plan["box_shape"]
    common = np.array([start.max(0), np.maximum(end.min(0), start.max(0))])  # (corner, yx)
    captions, boxes = [], []
    for v in range(2):
        captions.append(
            f"{pace} from {plan['frames'][v * cfg.num_frames]}, rotated by {90 * plan['rotation'][v]} "
            f"degrees; shares {temporal:.0%} of the time, {spatial:.0%} of the picture"
        )
        corners = (common - start[v]) / plan["box_shape"][v] - 0.5
        corners *= (1, -1 if plan["box_mirror"][v] else 1)
        for _ in range(int(plan["rot90"][v])):
            corners = corners[:, ::-1] * (-1, 1)  # (y, x) counter-clockwise about the center: (-x, y)
        boxes.append(cfg.size * (np.array([corners.min(0), corners.max(0)])[:, ::-1].ravel() + 0.5))
    shape, up = (2, 1, cfg.num_frames, 4), 90 * plan["rot90"] + plan["degrees"]
    return Annotations(captions, np.broadcast_to(np.array(boxes)[:, None, None], shape), up.tolist())
