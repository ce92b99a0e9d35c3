"""Static and Dynamic Concepts: what a clip shares with a still of it and with its motion (specs/concepts.md 1 to 4)."""

from dataclasses import dataclass, field

import numpy as np

from configs.errors import require
from dali_pipelines.pixels.color import Recolor
from dali_pipelines.pixels.crop import CropBox
from dali_pipelines.pixels.operation import Schema
from dali_pipelines.pixels.program import Program, consecutive_views
from dali_pipelines.plan.boxes import random_box
from dali_pipelines.plan.color_map import IDENTITY, ColorMap
from dali_pipelines.plan.jitter import jitter, random_gray
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.tasks import Annotations, caption

VIEWS = ("clip 1", "clip 2", "still 1", "still 2")
AREA = (0.5, 1.0)  # share of the picture that a crop takes
GRAY_PROB = 0.5


@dataclass(frozen=True)
class Reference:
    """Opt-in behavior of the original."""

    gray_per_frame: bool = False
    """Draw the channel used as gray anew for every frame: gray clips flicker, which shows in frame differences, and
    the copies of a gray still differ. Stills then have num_frames frames instead of one."""


@dataclass(frozen=True)
class Config:
    """The plan of Concepts; the defaults are the original's (specs/concepts.md 1, 2)."""

    num_frames: int = 16
    """Frames of a clip, T. A sample has two consecutive clips, and a still of each."""
    size: int = 128
    """Side of the square crop, pixels."""
    max_speed: float = 3.0
    """Largest frame step. Steps are drawn from 1 to this or to what the video's length allows, fractions included."""
    flip_prob: float = 0.5
    """Probability of mirroring left to right, for each clip and each still."""
    reference: Reference = field(default_factory=Reference)
    """The original's flaws, each off by default."""

    def __post_init__(self) -> None:
        require(self.num_frames >= 2, "num_frames", self.num_frames, "at least 2, for a difference of frames")
        require(self.size >= 16, "size", self.size, "at least 16 pixels")
        require(self.max_speed >= 1, "max_speed", self.max_speed, "at least 1")
        require(0 <= self.flip_prob <= 1, "flip_prob", self.flip_prob, "from 0 to 1")

    @property
    def strides(self) -> tuple[int, ...]:
        """The whole numbers among the frame steps."""
        return tuple(range(1, int(self.max_speed) + 1))

    @property
    def lengths(self) -> list[int]:
        """Frames of each view in VIEWS."""
        still = self.num_frames if self.reference.gray_per_frame else 1
        return [self.num_frames, self.num_frames, still, still]


def min_frames(cfg: Config) -> int:
    """Return one frame more than both clips take at speed 1, as in the original."""
    return 2 * cfg.num_frames + 1


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """Draw the arrays of one sample, as in `Task.plan_schema`: every view has its own crop, flip and colors."""
    boxes = [random_box(video.height, video.width, rng, area=AREA) for _ in VIEWS]
    return {
        "frames": draw_frames(video.num_frames, rng, cfg),
        **CropBox.arrays(boxes, rng.random(len(VIEWS)) < cfg.flip_prob),
        **Recolor.arrays([frame for length in cfg.lengths for frame in draw_colors(length, rng, cfg)]),
    }


def draw_frames(num_frames: int, rng: np.random.Generator, cfg: Config) -> np.ndarray:
    """Draw the frame numbers of the four views, int32; both stills are at the same place in their clips.

    A video shorter than `min_frames` repeats its last frame.
    """
    span = 2 * cfg.num_frames
    speed = rng.uniform(1, max(min(cfg.max_speed, num_frames / span), 1))
    start = rng.integers(max(int(num_frames - speed * span), 0), endpoint=True)
    frames = np.minimum(np.rint(start + speed * np.arange(span)), num_frames - 1).astype(np.int32)
    anchor = int(rng.integers(cfg.num_frames))
    return np.concatenate([frames, np.repeat(frames[anchor :: cfg.num_frames], cfg.lengths[-1])])


def draw_colors(length: int, rng: np.random.Generator, cfg: Config) -> list[ColorMap]:
    """Draw the colors of each frame of a view: gray or not, then one jitter for all."""
    gray = rng.random() < GRAY_PROB
    change = jitter(rng, brightness=0.5, contrast_=0.5, saturation_=0.5, hue_turn=0.25)
    draws = length if cfg.reference.gray_per_frame else 1
    maps = [(random_gray(rng) if gray else IDENTITY).then(change) for _ in range(draws)]
    return maps * (length // draws)


def program(cfg: Config) -> Program:
    """Return the operations on the four views."""
    outputs = {"clips": 2, "stills": 2}
    return consecutive_views(cfg.lengths, CropBox(cfg.size), Recolor(), outputs=outputs)


def batch_schema(cfg: Config) -> Schema:
    """Return the batch schema, shape and dtype per sample: two clips, and a still of each with its own draws.

    The network makes the other views from these: stills repeated to clips, and frame differences.
    """
    return {
        "clips": ((2, 3, cfg.num_frames, cfg.size, cfg.size), "float32"),
        "stills": ((2, 3, cfg.lengths[-1], cfg.size, cfg.size), "float32"),
    }


def annotate(plan: dict[str, np.ndarray], cfg: Config) -> Annotations:
    """Say which frames each view shows, and whether it is mirrored."""
    views = zip(VIEWS, np.split(plan["frames"], np.cumsum(cfg.lengths)[:-1]), plan["box_mirror"], strict=True)
    return Annotations([f"{name}: {caption(frames, mirrored=flip > 0)}" for name, frames, flip in views])
