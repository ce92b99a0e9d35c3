"""Judge the features of a network on sets of real motion, by several protocols on the same clips.

Results say for each test video whether it was right, as intervals of differences need that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from bench.learning import real_recipes
from bench.learning.real_data import Split
from configs.errors import UserError
from configs.schema import Data
from configs.words import counted
from nets.backbones import Backbone
from trainers.engine.distributed import Ranks
from trainers.evaluation import attentive, knn, linear
from trainers.evaluation.features import Features, extract, readable_tensors
from trainers.evaluation.predict import in_top_k
from trainers.evaluation.tokens import extract_tokens

Test = Callable[[Features, Features, int], np.ndarray]
"""Classifier: (training videos, test videos, number of classes) -> which test videos are right, bool (M,)."""

RANKS = Ranks(torch.device("cpu"))
ATTENTIVE_CLIPS = 2  # per video


def judge(net: Backbone, normalization: str, found: Mapping[str, Split]) -> dict[str, dict[str, str]]:
    """Return split -> protocol -> which tests are right with frozen features, as text of 0 and 1.

    `net` is in eval mode. `linear_still` is the linear probe on the middle frame, repeated.
    """
    seen: dict[int, dict[str, Features]] = {}
    correct = {}
    for name, split in found.items():
        if id(split.index) not in seen:
            seen[id(split.index)] = views(net, split, normalization)
        of = seen[id(split.index)]
        protocols = {
            "linear": (of["moving"], by_fit(linear.fit)),
            "knn": (of["moving"], by_votes(knn.K)),
            "retrieval": (of["moving"], by_votes(1)),
            "linear_still": (of["still"], by_fit(linear.fit)),
            "attentive": (of["tokens"], by_fit(attentive.fit)),
        }
        classes = len(split.index.class_names)
        correct[name] = {
            protocol: bits([test(pick(of, fold.train), pick(of, fold.test), classes) for fold in split.folds])
            for protocol, (of, test) in protocols.items()
        }
    return correct


class Still(nn.Module):
    """A backbone that sees only the middle frame of its clip, repeated."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone, self.out_channels = backbone, backbone.out_channels

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        middle = clips_BCTHW.shape[2] // 2
        features: Tensor = self.backbone(clips_BCTHW[:, :, middle : middle + 1].expand_as(clips_BCTHW))
        return features


def views(net: Backbone, split: Split, normalization: str) -> dict[str, Features]:
    """Return the features of all videos in the split's index: pooled ones, those of one frame, and tokens."""
    data = Data(root=str(split.index.root), workers=0, threads=1)
    cfg = real_recipes.clips(normalization)
    one, some = (replace(cfg, test=replace(cfg.test, clips=clips)) for clips in (1, ATTENTIVE_CLIPS))
    (moving,) = extract([net], split.index, cfg, RANKS, data, unit=True)
    if moving.unreadable:
        count = counted(len(moving.unreadable), "video")
        raise UserError(f"{count} of {split.index.root} cannot be read: {moving.unreadable}")
    (still,) = extract([Still(net)], split.index, one, RANKS, data, unit=True)
    tokens = extract_tokens(net, split.index, some, RANKS, data)
    return {"moving": moving, "still": still, "tokens": tokens}


def pick(features: Features, rows: np.ndarray) -> Features:
    return Features([features.names[row] for row in rows], features.labels[rows], features.values[rows], {})


def by_fit(fit: Callable[..., Callable[[Tensor], Tensor]]) -> Test:
    """Return a test with the classifier returned by `fit`."""

    def right(train: Features, test: Features, classes: int) -> np.ndarray:
        x, y, test_x = readable_tensors(train, test, RANKS.device)
        hits: np.ndarray = fit(x, y, classes=classes)(test_x).numpy() == test.labels
        return hits

    return right


def by_votes(k: int) -> Test:
    """Return a test with votes of the k nearest training videos; a tie is wrong."""

    def right(train: Features, test: Features, classes: int) -> np.ndarray:
        x, y, test_x = readable_tensors(train, test, RANKS.device)
        return in_top_k(knn.scores(x, y, test_x, classes=classes, k=k).numpy(), test.labels, 1)

    return right


def bits(right: Sequence[np.ndarray]) -> str:
    """Return which tests are right as text of 0 and 1."""
    return "".join(map(str, np.concatenate(right).astype(int).tolist()))
