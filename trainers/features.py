"""Pooled features of whole videos from frozen backbones."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task
from dali_pipelines.tasks.recognition import Config

BATCH = 8  # videos


@torch.no_grad()
def extract(backbones: Sequence[nn.Module], index: Index, clips: Config) -> tuple[list[Tensor], Tensor]:
    """Features of each backbone, and the labels, of the videos that can be read.

    Backbones are used as they are: call `eval()` first. A feature map is averaged over time and space, then over the
    clips of a video. A clip is decoded once for all backbones.

    Returns:
        For each backbone float32 (N, C); and int64 (N,). Both on the CPU, in the order of the index.
    """
    device = next(backbones[0].parameters()).device
    loader = ClipLoader(index, Task("recognition", clips), batch_size=BATCH, device=str(device), shuffle=False)
    features: list[list[Tensor]] = [[] for _ in backbones]
    labels = []
    for batch in tqdm(loader, desc=f"features of {len(index)} videos", unit="batch", leave=False, disable=None):
        clips_BMCTHW, known = batch["clips"], batch["index"] >= 0
        labels.append(batch["labels"].cpu()[known])
        for backbone, rows in zip(backbones, features, strict=True):
            maps = backbone(clips_BMCTHW.flatten(0, 1))  # (B*M, C, T', H', W')
            pooled = maps.mean(dim=(2, 3, 4)).unflatten(0, clips_BMCTHW.shape[:2]).mean(dim=1)
            rows.append(pooled.cpu()[known])
    loader.close()
    return [torch.cat(rows).float() for rows in features], torch.cat(labels)
