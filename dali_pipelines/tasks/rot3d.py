"""3DRotNet: by how many quarter turns the clip was turned (specs/ctp.md 1.4)."""

from dataclasses import dataclass, field

import numpy as np
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

from configs.errors import require
from dali_pipelines.graph.color import color_map, normalize
from dali_pipelines.graph.device import beside
from dali_pipelines.graph.geometry import crop_resize, turn
from dali_pipelines.plan.cuts import Cuts
from dali_pipelines.plan.frames import random_clip
from dali_pipelines.plan.views import baseline_view, check_view, view_arrays, view_schema
from dali_pipelines.store.index import VideoInfo
from dali_pipelines.tasks import Notes, Schema

SHIFTS = np.array([(0, 0), (0, 1), (1, 1), (1, 0)], np.float32)
"""Class -> pixels to the right and down by which the original's turn is off."""


@dataclass(frozen=True)
class Reference:
    """What the original does and this does not, unless asked for."""

    fixed_aspect: bool = False
    """Squeeze every video to 4:3, whatever its shape."""
    shifted_rotation: bool = False
    """Turn about a point half a pixel off the center: the clip shifts by a pixel and repeats the line at its top for
    90, at its left for 270, at both for 180 degrees. The class can be read from the border alone."""


@dataclass(frozen=True)
class Config:
    """The plan of 3DRotNet; the defaults are those of CtP's baseline (specs/ctp.md 1.4)."""

    num_frames: int = 16
    """Frames of a clip, T."""
    size: int = 112
    """Side of the square crop, pixels."""
    strides: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Frame steps to draw from."""
    short_sides: tuple[int, ...] = (112, 128, 144)
    """Short sides, in pixels, that the video is scaled to before the crop."""
    flip_prob: float = 0.5
    """Probability of mirroring the clip left to right, before it is turned."""
    reference: Reference = field(default_factory=Reference)
    """The original's flaws, each off unless named."""

    def __post_init__(self) -> None:
        check_view(self)
        require(self.num_frames >= 1, "num_frames", self.num_frames, "at least 1")
        require(bool(self.strides) and min(self.strides) >= 1, "strides", list(self.strides), "numbers from 1 up")


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """The arrays of one sample, as in `plan_schema`. A video shorter than the span repeats its last frame."""
    frames = random_clip(video.num_frames, rng, length=cfg.num_frames, strides=cfg.strides, jitter=True)
    crop, colors = baseline_view(video, rng, cfg, fixed_aspect=cfg.reference.fixed_aspect)
    quarters = rng.integers(4)
    return {
        **view_arrays(frames, crop, [colors] * cfg.num_frames),
        "quarters": np.array([quarters], np.float32),
        "shift": SHIFTS[quarters],
        "labels": np.array(quarters, np.int64),
    }


def plan_schema(cfg: Config) -> Schema:
    """Shape and dtype of every array of a plan."""
    return {
        **view_schema(cfg.num_frames),
        "quarters": ((1,), "float32"),
        "shift": ((2,), "float32"),
        "labels": ((), "int64"),
    }


def cuts(cfg: Config) -> Cuts:
    """What a decoder may cut, scale, turn and recolor itself."""
    return Cuts(cfg.size, (cfg.num_frames,), recolor=True)


def graph(frames: DataNode, plan: dict[str, DataNode], cfg: Config) -> dict[str, DataNode]:
    """Executes a plan on decoded frames, uint8 (T, H, W, 3)."""
    clips = turn(crop_resize(frames, plan, size=cfg.size), plan, 0)
    if cfg.reference.shifted_rotation:
        # Without a fill value the border's pixels repeat.
        shift = fn.transforms.translation(offset=plan["shift"])
        clips = fn.warp_affine(clips, matrix=shift, inverse_map=False, interp_type=types.INTERP_NN)
    return {"clips": normalize(color_map(clips, plan), size=cfg.size), "labels": beside(plan["labels"], clips)}


def batch_schema(cfg: Config) -> Schema:
    """Per-sample shape and dtype of what the network gets: the clip, and 0 to 3 quarter turns counter-clockwise."""
    return {"clips": ((3, cfg.num_frames, cfg.size, cfg.size), "float32"), "labels": ((), "int64")}


def notes(plan: dict[str, np.ndarray], cfg: Config) -> Notes:
    """How far the clip is turned."""
    degrees = 90 * float(plan["quarters"][0])
    return Notes([f"turned {degrees:.0f} degrees" if degrees else "upright"], up=[degrees])
