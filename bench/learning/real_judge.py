"""How good the features of a network are on sets of real motion, by several protocols on the same clips.

Results say for each tested video whether it was right, since intervals of differences need that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from bench.learning import real_recipes
from bench.learning.real_data import Split
from configs.errors import UserError
from configs.schema import Data
from nets.backbones import Backbone
from trainers.engine.distributed import Ranks
from trainers.evaluation import attentive, knn, linear
from trainers.evaluation.features import Features, extract
from trainers.evaluation.tokens import extract_tokens

RANKS = Ranks(torch.device("cpu"))
ATTENTIVE_CLIPS = 2  # of a video; as many folds as UT-Interaction has sequences would take an hour


def judge(net: Backbone, normalization: str, found: Mapping[str, Split]) -> dict[str, dict[str, str]]:
    """Return for every split which tests are right by each protocol on fixed features, as text of 0 and 1.

    `net` is in eval mode. `linear_still` is the linear probe on one middle frame, repeated. The attentive probe is left
    out where there are several folds.
    """
    seen: dict[int, dict[str, Features]] = {}
    correct = {}
    for name, split in found.items():
        if id(split.index) not in seen:
            seen[id(split.index)] = views(net, split, normalization)
        of = seen[id(split.index)]
        protocols = {
            "linear": (of["moving"], linear_right),
            "knn": (of["moving"], knn_right),
            "retrieval": (of["moving"], nearest_right),
            "linear_still": (of["still"], linear_right),
        }
        if len(split.folds) == 1:
            protocols["attentive"] = (of["tokens"], attentive_right)
        classes = len(split.index.class_names)
        correct[name] = {
            protocol: bits([test(pick(of, fold.train), pick(of, fold.test), classes) for fold in split.folds])
            for protocol, (of, test) in protocols.items()
        }
    return correct


class Still(nn.Module):
    """A backbone that sees one frame, the middle one of its clip, again and again."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone, self.out_channels = backbone, backbone.out_channels

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        middle = clips_BCTHW.shape[2] // 2
        features: Tensor = self.backbone(clips_BCTHW[:, :, middle : middle + 1].expand_as(clips_BCTHW))
        return features


def views(net: Backbone, split: Split, normalization: str) -> dict[str, Features]:
    """Return features of all videos of the split's index: pooled ones, those of one frame, and tokens."""
    data = Data(root=str(split.index.root), workers=0, threads=1)
    cfg = real_recipes.clips(normalization)
    one, some = (replace(cfg, test=replace(cfg.test, clips=clips)) for clips in (1, ATTENTIVE_CLIPS))
    (moving,) = extract([net], split.index, cfg, RANKS, data, unit=True)
    if moving.unreadable:
        raise UserError(f"{len(moving.unreadable)} videos of {split.index.root} cannot be read: {moving.unreadable}")
    (still,) = extract([Still(net)], split.index, one, RANKS, data, unit=True)
    tokens = extract_tokens(net, split.index, some, RANKS, data)
    return {"moving": moving, "still": still, "tokens": tokens}


def pick(features: Features, rows: np.ndarray) -> Features:
    return Features([features.names[row] for row in rows], features.labels[rows], features.values[rows], {})


def linear_right(train: Features, test: Features, classes: int) -> np.ndarray:
    """Return which tests a linear classifier gets right, bool (M,)."""
    x, y, test_x = _tensors(train, test)
    right: np.ndarray = linear.fit(x, y, classes=classes)(test_x).numpy() == test.labels
    return right


def attentive_right(train: Features, test: Features, classes: int) -> np.ndarray:
    """Return which tests an attentive classifier gets right, bool (M,); `values` are tokens."""
    x, y, test_x = _tensors(train, test)
    right: np.ndarray = attentive.fit(x, y, classes=classes)(test_x).numpy() == test.labels
    return right


def knn_right(train: Features, test: Features, classes: int) -> np.ndarray:
    """Return for which tests the votes of the `knn.K` nearest are right, bool (M,); a tie is wrong."""
    x, y, test_x = _tensors(train, test)
    return ranks_first(knn.scores(x, y, test_x, classes=classes, k=knn.K).numpy(), test.labels)


def nearest_right(train: Features, test: Features, classes: int) -> np.ndarray:
    """Return for which tests the nearest of the training videos is of their class, bool (M,)."""
    x, y, test_x = _tensors(train, test)
    return ranks_first(knn.scores(x, y, test_x, classes=classes, k=1).numpy(), test.labels)


def ranks_first(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return where no other class has a score as high as the label's, bool (M,)."""
    own = np.take_along_axis(scores, labels[:, None], 1)
    first: np.ndarray = (scores >= own).sum(1) == 1
    return first


def bits(right: Sequence[np.ndarray]) -> str:
    return "".join(map(str, np.concatenate(right).astype(int).tolist()))


def _tensors(train: Features, test: Features) -> tuple[Tensor, Tensor, Tensor]:
    return torch.from_numpy(train.values), torch.from_numpy(train.labels), torch.from_numpy(test.values)
