"""Feature maps of whole videos as tokens, for classifiers that choose where to look."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool3d

from configs.errors import UserError
from configs.schema import Data
from configs.words import counted
from dali_pipelines import limits
from dali_pipelines.store.index import Index
from dali_pipelines.tasks.evaluation import clips_per_part, crops_count, parts
from dali_pipelines.tasks.recognition import Config
from nets.backbones.base import Backbone
from trainers.engine.distributed import Ranks
from trainers.evaluation.features import Features
from trainers.evaluation.videos import per_video

GRID = (4, 4, 4)  # maximum number of positions of a video in time, height and width
MEMORY_SHARE = 0.25  # of memory, for the tokens of all views of one set


def extract_tokens(backbone: Backbone, index: Index, cfg: Config, ranks: Ranks, data: Data) -> Features:
    """Extract the videos' feature maps, averaged to at most 4 x 4 x 4 positions each.

    A video's clips are joined in time, and its crops are averaged. Call `eval()` on the backbone first. The values are
    float16 (N, P, C), positions in the order of time, height and width. UserError if they would take more than a
    quarter of the memory, or if the backbone returns nan or infinity.
    """
    size = (cfg.num_frames, cfg.size, cfg.size)
    _, height, width = (min(most, math.ceil(n / s)) for most, n, s in zip(GRID, size, backbone.stride, strict=True))
    clips = {"windows": GRID[0], "random": 1}.get(str(cfg.test.clips)) or int(cfg.test.clips)
    times = min(max(GRID[0] // clips, 1), math.ceil(cfg.num_frames / backbone.stride[0]))  # per clip
    grid = (times, height, width)
    _require_memory(len(parts(index, cfg)) * clips_per_part(cfg) * crops_count(cfg), grid, backbone, ranks, index)

    def pooled(clips_BCTHW: Tensor) -> Tensor:
        positions_BCTHW = adaptive_avg_pool3d(backbone(clips_BCTHW).float(), grid)
        return positions_BCTHW.movedim(1, -1).flatten(1).half()

    views = per_video(pooled, index, cfg, ranks, data, desc=f"feature maps of {counted(len(index), 'video')}")
    shape = (min(GRID[0], clips * times) * height * width, backbone.out_channels)
    table = np.full((len(index), *shape), np.nan, np.float16)
    for row, out in enumerate(views.outputs):
        if out is not None:
            table[row] = _over_time(out, cfg, times, min(GRID[0], clips * times)).reshape(shape)
    return Features.of(index, table, views.unreadable)


def _over_time(views: np.ndarray, cfg: Config, times: int, wanted: int) -> np.ndarray:
    """Average a video's views from `per_video`, (clips x crops, times x K), over crops and down to (wanted, K)."""
    crops, size = crops_count(cfg), clips_per_part(cfg)
    clips = len(views) // crops
    # A part of a video has all crops of its clips, one crop after the other.
    starts = range(0, clips, size)
    clip_of_view = np.concatenate([np.tile(np.arange(at, min(at + size, clips)), crops) for at in starts])
    by_clip = views[np.argsort(clip_of_view, kind="stable")].reshape(clips, crops, times, -1)
    frames_TK = by_clip.mean(1, dtype=np.float32).reshape(clips * times, -1)
    averaged: np.ndarray = adaptive_avg_pool1d(torch.from_numpy(frames_TK).T[None], wanted)[0].T.numpy()
    return averaged


def _require_memory(views: int, grid: tuple[int, ...], backbone: Backbone, ranks: Ranks, index: Index) -> None:
    """Raise UserError if the tokens would not fit in memory: every rank holds those of all videos."""
    needed = views * math.prod(grid) * backbone.out_channels * 2 * ranks.world_size
    most = MEMORY_SHARE * limits.memory()
    if needed > most:
        videos, of = counted(len(index), "video"), counted(views, "view")
        raise UserError(
            f"the tokens of {videos}, {of} of {' x '.join(map(str, grid))} positions, would take "
            f"{needed / 2**30:.1f} GiB on {counted(ranks.world_size, 'rank')}, more than {most / 2**30:.1f} GiB, a "
            "quarter of the memory: take fewer views with --clips and --crops, fewer ranks, or shorter lists"
        )
