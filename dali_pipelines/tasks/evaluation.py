"""Labeled views spread over a whole video, for tests and features (specs/evaluation.md 1, 4; specs/ctp.md 3).

A video with more views than fit into one sample has several samples, its `parts`.
"""

from functools import partial

import numpy as np

from dali_pipelines.pixels.color import Recolor
from dali_pipelines.pixels.crop import CropResize
from dali_pipelines.pixels.operation import Operation, Schema
from dali_pipelines.pixels.program import Program, views_of_same_frames
from dali_pipelines.plan.color_map import IDENTITY, ColorMap
from dali_pipelines.plan.crops import CENTER, scaled_crop
from dali_pipelines.plan.frames import uniform_clips, window_starts
from dali_pipelines.plan.jitter import jitter
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Annotations, Task, caption
from dali_pipelines.tasks.recognition import Config

MAX_VIEWS = 16  # in one sample: bounds its memory
WINDOWS = 8  # clips of one sample if their number depends on the video
END = np.nextafter(1.0, 0.0)
CROPS = {  # (y, x) between the first and the last position of a crop, and whether it is mirrored
    "center": [(CENTER, CENTER, False)],
    "five": [(CENTER, CENTER, False), *((y, x, False) for y in (0, END) for x in (0, END))],
}
CROPS["ten"] = CROPS["five"] + [(y, x, True) for y, x, _ in CROPS["five"]]
CROPS["three"] = [(CENTER, x, False) for x in (0, CENTER, END)]  # of a video that is not higher than wide


def clips_of(num_frames: int, rng: np.random.Generator, cfg: Config) -> np.ndarray:
    """Return the frame numbers of all clips of a video, int32 (clips, T); short videos repeat their last frame."""
    clips, span = cfg.test.clips, cfg.num_frames * cfg.stride
    if isinstance(clips, int):
        return uniform_clips(num_frames, clips=clips, length=cfg.num_frames, stride=cfg.stride)
    if clips == "windows":
        starts = window_starts(num_frames, span=span, step=cfg.test.window_step or max(span // 2 - 1, 1))
    else:
        starts = rng.integers(max(num_frames - span, 0), endpoint=True, size=1)
    frames = starts[:, None] + cfg.stride * np.arange(cfg.num_frames)
    return np.minimum(frames, num_frames - 1).astype(np.int32)


def crops_of(video: VideoInfo, cfg: Config) -> np.ndarray:
    """Return the crops, float32 (crops, 2, 2) as in `plan.crops`."""
    places = CROPS[cfg.test.crops]
    if cfg.test.crops == "three" and video.width < video.height:
        places = [(x, y, flip) for y, x, flip in places]
    crop = partial(scaled_crop, short_side=cfg.test.short_side, size=cfg.size, aspect=cfg.reference.aspect)
    return np.stack([crop(video, y=y, x=x, flip=flip) for y, x, flip in places])


def crops_count(cfg: Config) -> int:
    """Return how many crops each clip has."""
    return len(CROPS[cfg.test.crops])


def clips_per_part(cfg: Config) -> int:
    """Return how many clips a sample has, M."""
    clips = cfg.test.clips
    wanted = clips if isinstance(clips, int) else WINDOWS if clips == "windows" else 1
    return min(wanted, max(MAX_VIEWS // crops_count(cfg), 1))


def parts(index: Index, cfg: Config) -> Index:
    """Repeat each row of the dataset once per sample of its video, consecutively. UserError for too large a sample."""
    _, size, *_ = Task("evaluation", cfg).batch_schema["clips"][0]
    rng = np.random.default_rng(0)
    counts = [-(-len(clips_of(count, rng, cfg)) // size) for count in index.num_frames.tolist()]
    return index.repeat(counts)


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """Draw the arrays of one sample, as in `Task.plan_schema`: a video's clips from number `chunk` * M on.

    The last part is padded to M with its last clip; `clips_known` is the number of clips that count.
    """
    size = clips_per_part(cfg)
    clips = clips_of(video.num_frames, rng, cfg)[video.chunk * size :][:size]
    frames = clips[np.minimum(np.arange(size), len(clips) - 1)]
    crops = crops_of(video, cfg)
    arrays = {
        "frames": frames.ravel(),
        **CropResize.arrays(list(crops)),
        "labels": np.array(video.label, np.int64),
        "clips_known": np.array(len(clips), np.int64),
    }
    if cfg.test.reference.jitter:
        colors: list[ColorMap] = []
        for _ in range(size):
            change = jitter(rng, brightness=0.2, contrast_=0.2, saturation_=0.2, hue_turn=0.1)
            colors += [change if rng.random() < 0.3 else IDENTITY] * cfg.num_frames
        arrays |= Recolor.arrays(colors)
    return arrays


def program(cfg: Config) -> Program:
    """Return the operations on the frames; every crop shows all frames."""
    operations: list[Operation] = [CropResize(cfg.size, cubic=cfg.scaling == "bicubic")]
    if cfg.test.reference.jitter:
        operations.append(Recolor())
    frames = clips_per_part(cfg) * cfg.num_frames
    return views_of_same_frames(crops_count(cfg), frames, *operations, normalization=cfg.normalization)


def batch_schema(cfg: Config) -> Schema:
    """Return the batch schema, shape and dtype per sample: (crops, M) clips, their class, how many of M count."""
    clips = (crops_count(cfg), clips_per_part(cfg), 3, cfg.num_frames, cfg.size, cfg.size)
    return {"clips": (clips, "float32"), "labels": ((), "int64"), "clips_known": ((), "int64")}


def annotate(plan: dict[str, np.ndarray], cfg: Config) -> Annotations:
    """Say which frames each view has."""
    clips = plan["frames"].reshape(-1, cfg.num_frames)
    return Annotations([caption(clip) for clip in clips] * crops_count(cfg))
