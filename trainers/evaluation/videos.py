"""Run a frozen network on all views of whole videos, on any number of ranks."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from configs.errors import UserError, shown
from configs.schema import Data
from configs.words import counted
from dali_pipelines.loader import ClipLoader
from dali_pipelines.progress import bar
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task
from dali_pipelines.tasks.evaluation import clips_per_part, crops_count, parts
from dali_pipelines.tasks.recognition import Config
from trainers.engine.distributed import Ranks
from trainers.engine.identity import dataset_facts

CHUNK = 16  # clips per forward pass, all of one video, so that its outputs do not depend on other videos
BATCH_AND_WAY_OUT = (f"up to {CHUNK} clips at once", "take fewer --clips, or --device cpu")
"""For `enough_memory`."""


@dataclass(frozen=True, eq=False)
class Views:
    """Outputs for all views of the videos of an index, in its order, the same on all ranks."""

    outputs: list[np.ndarray | None]
    """(clips x crops, K) for each video, of the function's dtype; None if any part of it could not be read."""
    unreadable: dict[str, str]
    """Name -> reason of the unreadable videos."""

    def means(self, width: int) -> np.ndarray:
        """Return the means over the views, float64 (N, K = width); nan for a video that could not be read."""
        missing = np.full(width, np.nan)
        return np.stack([missing if out is None else out.mean(0, dtype=np.float64) for out in self.outputs])


def require_finite(what: str, names: Sequence[str], values: np.ndarray, read: np.ndarray) -> None:
    """Raise UserError if values (N, ...) of a video that was `read`, bool (N,), are not finite: metrics hide that."""
    broken = np.flatnonzero(read & ~np.isfinite(values.reshape(len(values), -1)).all(1))
    if len(broken):
        raise UserError(
            f"the {what} of {len(broken)} of {counted(len(names), 'video')} are not finite, the first "
            f"{shown(names[broken[0]])}: the network's weights are finite, but too large for these videos; "
            "take an earlier checkpoint"
        )


@torch.inference_mode()
def per_video(
    function: Callable[[Tensor], Tensor], index: Index, cfg: Config, ranks: Ranks, data: Data, *, desc: str
) -> Views:
    """Apply `function`, from clips (N, 3, T, H, W) to (N, K), to every view of every video.

    Its networks must be in eval mode. Each video is processed exactly once on any number of ranks, which all call this.
    """
    ranks.require_same(lambda: dataset_facts(index))
    samples_of = parts(index, cfg)
    loader = ClipLoader(
        samples_of,
        Task("evaluation", cfg),
        batch_size=max(CHUNK // (clips_per_part(cfg) * crops_count(cfg)), 1),
        rank=ranks.rank,
        world_size=ranks.world_size,
        device=str(ranks.device),
        workers=data.workers,
        threads=data.threads,
        decoder=data.decoder,
        timeout_s=data.timeout_s,
        shuffle=False,
    )
    mine: dict[int, np.ndarray] = {}
    with closing(loader):
        for batch in bar(loader, desc=f"{desc}: batch", leave=False, quiet=ranks.rank > 0):
            for views, known, sample in zip(batch["clips"], batch["clips_known"], batch["index"].tolist(), strict=True):
                if sample >= 0:
                    clips = views[:, :known].flatten(0, 1)  # (crops * clips, 3, T, H, W)
                    mine[sample] = torch.cat([function(part) for part in clips.split(CHUNK)]).cpu().numpy()
    gathered = {sample: out for of_rank in ranks.gather_objects(mine) for sample, out in of_rank.items()}
    unreadable = dict(pair for of_rank in ranks.gather_objects(loader.unreadable) for pair in of_rank.items())
    outputs: list[np.ndarray | None] = []
    first = [*np.flatnonzero(samples_of.chunks == 0).tolist(), len(samples_of)]
    for video in range(len(index)):
        samples = [gathered.get(sample) for sample in range(first[video], first[video + 1])]
        read = [sample for sample in samples if sample is not None]
        outputs.append(np.concatenate(read) if len(read) == len(samples) else None)
    return Views(outputs, unreadable)
