"""Labelled clips spread evenly over a video, for probes and tests (specs/ctp.md 0.2, 3)."""

from dataclasses import dataclass

import numpy as np
from nvidia.dali.data_node import DataNode

from configs.errors import require
from dali_pipelines.graph.colour import NORMALISATIONS, normalise
from dali_pipelines.graph.device import beside
from dali_pipelines.graph.geometry import crop_resize
from dali_pipelines.plan.crops import centre_crop
from dali_pipelines.plan.frames import uniform_clips
from dali_pipelines.store.index import VideoInfo
from dali_pipelines.tasks import Notes, Schema


@dataclass(frozen=True)
class Config:
    """The plan of recognition at test time; the defaults are CtP's for UCF101 (specs/ctp.md 3)."""

    num_clips: int = 10
    """Clips of a video, M."""
    num_frames: int = 16
    """Frames of a clip, T."""
    stride: int = 2
    """Frame step within a clip."""
    short_side: int = 128
    """Short side, in pixels, that the video is scaled to before the crop."""
    size: int = 112
    """Side of the square crop in the middle, pixels."""
    normalisation: str = "imagenet"
    """A name in graph.colour.NORMALISATIONS: that of the task that the network was pretrained with."""

    def __post_init__(self) -> None:
        for key in ("num_clips", "num_frames", "stride", "short_side", "size"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")
        require(self.normalisation in NORMALISATIONS, "normalisation", self.normalisation, " or ".join(NORMALISATIONS))


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """The arrays of one sample, as in `plan_schema`; nothing is random. Short videos repeat their last frame."""
    frames = uniform_clips(video.num_frames, clips=cfg.num_clips, length=cfg.num_frames, stride=cfg.stride)
    crop = centre_crop(video, short_side=cfg.short_side, size=cfg.size)
    return {
        "frames": frames.ravel(),
        "crop_start": crop[0],
        "crop_end": crop[1],
        "labels": np.array(video.label, np.int64),
    }


def plan_schema(cfg: Config) -> Schema:
    """Shape and dtype of every array of a plan."""
    return {
        "frames": ((cfg.num_clips * cfg.num_frames,), "int32"),
        "crop_start": ((2,), "float32"),
        "crop_end": ((2,), "float32"),
        "labels": ((), "int64"),
    }


def graph(frames: DataNode, plan: dict[str, DataNode], cfg: Config) -> dict[str, DataNode]:
    """Executes a plan on decoded frames, uint8 (M*T, H, W, 3)."""
    clips = crop_resize(frames, plan["crop_start"], plan["crop_end"], size=cfg.size)
    return {"clips": normalise(clips, kind=cfg.normalisation), "labels": beside(plan["labels"], clips)}


def batch_schema(cfg: Config) -> Schema:
    """Per-sample shape and dtype of what the network gets."""
    return {"clips": ((cfg.num_clips, 3, cfg.num_frames, cfg.size, cfg.size), "float32"), "labels": ((), "int64")}


def notes(plan: dict[str, np.ndarray], cfg: Config) -> Notes:
    """The class of the video, with every clip."""
    return Notes([f"class {plan['labels']}"] * cfg.num_clips)
