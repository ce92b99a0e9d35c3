"""Catch-the-Patch: patches move over a clip, and the network says where each one goes (specs/ctp.md 1.1)."""

from dataclasses import dataclass, field

import numpy as np
from nvidia.dali.data_node import DataNode

from configs.errors import require
from dali_pipelines.graph.color import brightness_contrast, color_map, normalize
from dali_pipelines.graph.device import beside
from dali_pipelines.graph.geometry import crop_resize
from dali_pipelines.graph.paste import paste_patches
from dali_pipelines.plan import color
from dali_pipelines.plan.color_map import ColorMap, color_arrays, color_schema
from dali_pipelines.plan.crops import random_crop
from dali_pipelines.plan.cuts import Cuts
from dali_pipelines.plan.frames import random_clip
from dali_pipelines.plan.patches import Patches, draw_patches, paste_arrays, paste_schema
from dali_pipelines.store.index import VideoInfo
from dali_pipelines.tasks import Notes, Schema


@dataclass(frozen=True)
class Reference:
    """What the original does and this does not, unless asked for."""

    truncate_paste: bool = False
    """Drop the fraction of a gray level at every paste: identical content then shows as one level darker."""


@dataclass(frozen=True)
class Config:
    """The plan of CtP; the defaults are the original's (specs/ctp.md 1.1)."""

    num_frames: int = 16
    """Frames of a clip, T."""
    size: int = 112
    """Side of the square crop, pixels."""
    strides: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Frame steps to draw from."""
    short_sides: tuple[int, ...] = (112, 128, 144)
    """Short sides, in pixels, that the video is scaled to before the crop."""
    flip_prob: float = 0.5
    """Probability of mirroring the clip left to right."""
    patches: int = 3
    """Patches in a clip, R."""
    velocity: float = 3.0
    """Largest speed of a patch's center, pixels a frame along each axis."""
    growth: float = 0.025
    """Largest change of the log of a patch's side, per frame."""
    visible_prob: float = 0.8
    """Probability that a patch is there in a frame; the loss covers the others too."""
    reference: Reference = field(default_factory=Reference)
    """The original's flaws, each off unless named."""

    def __post_init__(self) -> None:
        require(self.num_frames >= 2, "num_frames", self.num_frames, "at least 2, for something to move")
        require(self.size >= 16, "size", self.size, "at least 16 pixels")
        for key in ("strides", "short_sides"):
            values = getattr(self, key)
            require(bool(values) and min(values) >= 1, key, list(values), "one whole number or more, each at least 1")
        require(self.patches >= 1, "patches", self.patches, "at least 1")
        for key, most in {"flip_prob": 1, "visible_prob": 1, "velocity": self.size, "growth": 1}.items():
            require(0 <= getattr(self, key) <= most, key, getattr(self, key), f"from 0 to {most}")


@dataclass(frozen=True)
class Sample:
    """Everything that is drawn for one clip, before it becomes arrays."""

    frames: np.ndarray
    crop: np.ndarray
    patches: Patches
    tint: ColorMap
    brightness: np.ndarray
    contrast: np.ndarray


def draw(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> Sample:
    """Draws a clip. A video shorter than the span repeats its last frame."""
    frames = random_clip(video.num_frames, rng, length=cfg.num_frames, strides=cfg.strides, jitter=True)
    crop = random_crop(video, rng, short_sides=cfg.short_sides, size=cfg.size, flip_prob=cfg.flip_prob)
    patches = draw_patches(
        rng,
        patches=cfg.patches,
        length=cfg.num_frames,
        size=cfg.size,
        velocity=cfg.velocity,
        growth=cfg.growth,
        visible_prob=cfg.visible_prob,
    )
    # 12 units of OpenCV's 8-bit hue, each two degrees.
    tint = color.hue_saturation(rng, prob=0.25, hue=24, saturation=0.1)
    brightness = color.moving(rng, length=cfg.num_frames, prob=0.5, reach=30, factor=False)
    contrast = color.moving(rng, length=cfg.num_frames, prob=0.5, reach=0.12, factor=True)
    return Sample(frames, crop, patches, tint, brightness, contrast)


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """The arrays of one sample, as in `plan_schema`."""
    sample = draw(video, rng, cfg)
    return {
        "frames": sample.frames,
        "crop_start": sample.crop[0],
        "crop_end": sample.crop[1],
        **color_arrays([sample.tint] * cfg.num_frames),
        "brightness": sample.brightness.astype(np.float32),
        "contrast": sample.contrast.astype(np.float32),
        "boxes": sample.patches.boxes.astype(np.float32),
        **paste_arrays(sample.patches),
    }


def plan_schema(cfg: Config) -> Schema:
    """Shape and dtype of every array of a plan."""
    return {
        "frames": ((cfg.num_frames,), "int32"),
        "crop_start": ((2,), "float32"),
        "crop_end": ((2,), "float32"),
        **color_schema(cfg.num_frames),
        "brightness": ((cfg.num_frames,), "float32"),
        "contrast": ((cfg.num_frames,), "float32"),
        "boxes": ((cfg.patches, cfg.num_frames, 4), "float32"),
        **paste_schema(cfg.patches, cfg.num_frames, cfg.size),
    }


def cuts(cfg: Config) -> Cuts:
    """What may be cut, scaled, recolored and pasted beside the decoder."""
    return Cuts(cfg.size, (cfg.num_frames,), recolor=True, paste=not cfg.reference.truncate_paste)


def graph(frames: DataNode, plan: dict[str, DataNode], cfg: Config) -> dict[str, DataNode]:
    """Executes a plan on decoded frames, uint8 (T, H, W, 3).

    The original turns the hue after pasting: that is linear and the same in all frames, so it may come first.
    """
    clips = color_map(crop_resize(frames, plan, size=cfg.size), plan)
    truncate = cfg.reference.truncate_paste
    clips = paste_patches(clips, plan, patches=cfg.patches, size=cfg.size, truncate=truncate)
    clips = brightness_contrast(clips, plan["brightness"], plan["contrast"])
    return {"clips": normalize(clips, size=cfg.size), "boxes": beside(plan["boxes"], clips)}


def batch_schema(cfg: Config) -> Schema:
    """Per-sample shape and dtype of what the network gets: the clip, and x1 y1 x2 y2 of every patch and frame."""
    return {
        "clips": ((3, cfg.num_frames, cfg.size, cfg.size), "float32"),
        "boxes": ((cfg.patches, cfg.num_frames, 4), "float32"),
    }


def notes(plan: dict[str, np.ndarray], cfg: Config) -> Notes:
    """The patches' boxes, and which frames these are."""
    frames, flipped = plan["frames"], plan["crop_start"][1] > plan["crop_end"][1]
    return Notes([f"frames {frames[0]} to {frames[-1]}{', mirrored' if flipped else ''}"], boxes=plan["boxes"][None])
