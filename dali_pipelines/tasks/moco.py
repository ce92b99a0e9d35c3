"""MoCo: which key, among those of many videos, is another view of the same one (specs/ctp.md 1.3)."""

from dataclasses import dataclass, field

import numpy as np
from nvidia.dali.data_node import DataNode

from configs.errors import require
from dali_pipelines.graph.color import color_map, colors_of_view, normalize
from dali_pipelines.graph.geometry import crop_resize, each_view
from dali_pipelines.plan.color_map import color_arrays, color_schema
from dali_pipelines.plan.cuts import Cuts
from dali_pipelines.plan.frames import random_clip
from dali_pipelines.plan.views import baseline_view, check_view
from dali_pipelines.store.index import VideoInfo
from dali_pipelines.tasks import Notes, Schema

VIEWS = ("query", "key")


@dataclass(frozen=True)
class Reference:
    """What the original does and this does not, unless asked for."""

    fixed_aspect: bool = False
    """Squeeze every video to 4:3 before the crop, whatever its shape."""


@dataclass(frozen=True)
class Config:
    """The plan of MoCo; the defaults are the original's (specs/ctp.md 1.3)."""

    num_frames: int = 16
    """Frames of a clip, T."""
    size: int = 112
    """Side of the square crop, pixels."""
    strides: tuple[int, ...] = (1, 2, 3, 4)
    """Frame steps to draw from, one for each clip."""
    short_sides: tuple[int, ...] = (112, 128, 144)
    """Short sides, in pixels, that the video is scaled to before the crop."""
    flip_prob: float = 0.5
    """Probability of mirroring a clip left to right."""
    reference: Reference = field(default_factory=Reference)
    """The original's flaws, each off unless named."""

    def __post_init__(self) -> None:
        check_view(self)
        require(self.num_frames >= 1, "num_frames", self.num_frames, "at least 1")
        require(bool(self.strides) and min(self.strides) >= 1, "strides", list(self.strides), "numbers from 1 up")


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """The arrays of one sample, as in `plan_schema`: two views that share nothing but the video.

    A video shorter than a clip's span repeats its last frame.
    """
    clips = [random_clip(video.num_frames, rng, length=cfg.num_frames, strides=cfg.strides, jitter=True) for _ in VIEWS]
    views = [baseline_view(video, rng, cfg, fixed_aspect=cfg.reference.fixed_aspect) for _ in VIEWS]
    return {
        "frames": np.concatenate(clips),
        "crop_start": np.array([crop[0] for crop, _ in views]),
        "crop_end": np.array([crop[1] for crop, _ in views]),
        **color_arrays([colors for _, colors in views for _ in range(cfg.num_frames)]),
    }


def plan_schema(cfg: Config) -> Schema:
    """Shape and dtype of every array of a plan."""
    return {
        "frames": ((len(VIEWS) * cfg.num_frames,), "int32"),
        "crop_start": ((len(VIEWS), 2), "float32"),
        "crop_end": ((len(VIEWS), 2), "float32"),
        **color_schema(len(VIEWS) * cfg.num_frames),
    }


def cuts(cfg: Config) -> Cuts:
    """What a decoder may cut, scale and recolor itself."""
    return Cuts(cfg.size, (cfg.num_frames,) * len(VIEWS), recolor=True)


def graph(frames: DataNode, plan: dict[str, DataNode], cfg: Config) -> dict[str, DataNode]:
    """Executes a plan on decoded frames, uint8 (2*T, H, W, 3)."""
    length = cfg.num_frames

    def view(clip: DataNode, v: int) -> DataNode:
        return color_map(crop_resize(clip, plan, v, size=cfg.size), colors_of_view(plan, v, length))

    return {"clips": normalize(each_view(frames, (length,) * len(VIEWS), view), size=cfg.size)}


def batch_schema(cfg: Config) -> Schema:
    """Per-sample shape and dtype of what the network gets: the query's clip and the key's."""
    return {"clips": ((len(VIEWS), 3, cfg.num_frames, cfg.size, cfg.size), "float32")}


def notes(plan: dict[str, np.ndarray], cfg: Config) -> Notes:
    """Which frames each view shows, and whether it is mirrored."""
    clips = plan["frames"].reshape(len(VIEWS), cfg.num_frames)
    mirrored = plan["crop_start"][:, 1] > plan["crop_end"][:, 1]
    return Notes(
        [
            f"{name}: frames {clip[0]} to {clip[-1]}{', mirrored' * bool(flip)}"
            for name, clip, flip in zip(VIEWS, clips, mirrored, strict=True)
        ]
    )
