"""Scores of whole videos by plain torch."""

import numpy as np
import torch

from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task
from dali_pipelines.tasks.recognition import Config
from nets.classifier import Classifier


@torch.no_grad()
def slow_scores(net: Classifier, index: Index, cfg: Config) -> np.ndarray:
    """Score one video and one view at a time; return float64 (N, K)."""
    loader = ClipLoader(index, Task("evaluation", cfg), batch_size=1, shuffle=False, threads=1)
    rows = []
    for batch in loader:
        views = batch["clips"][0].flatten(0, 1)
        logits = torch.cat([net.linear(net.backbone(view[None]).mean((2, 3, 4))) for view in views]).double()
        rows.append((logits if cfg.test.average == "logits" else logits.softmax(1)).mean(0))
    loader.close()
    return torch.stack(rows).numpy()
