"""Pooled features of whole videos from a frozen backbone."""

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task
from dali_pipelines.tasks.recognition import Config

BATCH = 8  # videos


@torch.no_grad()
def extract(backbone: nn.Module, index: Index, clips: Config) -> tuple[Tensor, Tensor]:
    """Features and labels of the videos that can be read.

    The backbone is used as it is: call `eval()` first. Its feature map is averaged over time and space, then over
    the clips of a video.

    Returns:
        float32 (N, C) and int64 (N,), on the CPU, in the order of the index.
    """
    device = next(backbone.parameters()).device
    loader = ClipLoader(index, Task("recognition", clips), batch_size=BATCH, device=str(device), shuffle=False)
    features, labels = [], []
    for batch in tqdm(loader, desc=f"features of {len(index)} videos", unit="batch", leave=False):
        clips_BMCTHW = batch["clips"]
        maps = backbone(clips_BMCTHW.flatten(0, 1))  # (B*M, C, T', H', W')
        pooled = maps.mean(dim=(2, 3, 4)).unflatten(0, clips_BMCTHW.shape[:2]).mean(dim=1)
        known = batch["index"] >= 0
        features.append(pooled.cpu()[known])
        labels.append(batch["labels"].cpu()[known])
    loader.close()
    return torch.cat(features).float(), torch.cat(labels)
