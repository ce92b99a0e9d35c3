"""A classifier's scores of whole videos, and their accuracy."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from configs.schema import Data
from dali_pipelines.store.index import Index
from dali_pipelines.tasks.recognition import Config
from nets.classifier import Classifier
from trainers.engine.distributed import Ranks
from trainers.evaluation.videos import per_video


@dataclass(frozen=True, eq=False)
class Predictions:
    """Scores of the N videos of an index, in its order, the same on all ranks."""

    names: list[str]
    labels: np.ndarray
    """int64 (N,)."""
    scores: np.ndarray
    """float64 (N, K), logits or probabilities, means over the views of a video; nan if it could not be read."""
    unreadable: dict[str, str]
    """Name -> reason of the unreadable videos. Every accuracy counts them as wrong."""
    views: np.ndarray
    """int64 (N,), the number of views averaged; 0 if the video could not be read."""


def predict(net: Classifier, index: Index, cfg: Config, ranks: Ranks, data: Data, *, desc: str) -> Predictions:
    """Score all videos with a classifier in eval mode, averaged over the views of `cfg.test`."""
    averages_logits = cfg.test.average == "logits"

    def score(clips: Tensor) -> Tensor:
        logits = net.logits(clips).double()
        return (logits if averages_logits else logits.softmax(1)).float()

    views = per_video(score, index, cfg, ranks, data, desc=desc)
    scores = views.means(net.linear.out_features)
    counts = np.array([0 if out is None else len(out) for out in views.outputs])
    return Predictions(list(index.names.texts()), index.labels, scores, views.unreadable, counts)


def top_k(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Return the share of videos that `in_top_k` finds."""
    return float(in_top_k(scores, labels, k).mean())


def in_top_k(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Return for each video whether its class is among the k highest scores, bool (N,); a tie counts as a miss."""
    own = np.take_along_axis(scores, labels[:, None], 1)
    better = (scores >= own).sum(1) - 1  # comparisons with nan are false, so such a row has -1
    hits: np.ndarray = (better >= 0) & (better < k)
    return hits


def cross_entropy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean cross-entropy of the readable videos' logits; nan if there are none."""
    read = ~np.isnan(scores[:, 0])
    if not read.any():
        return float("nan")
    return float(torch.nn.functional.cross_entropy(torch.from_numpy(scores[read]), torch.from_numpy(labels[read])))
