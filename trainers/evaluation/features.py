"""Pooled features of whole videos from frozen backbones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from configs.errors import UserError, shown
from configs.schema import Data
from configs.words import counted
from dali_pipelines.store.index import Index
from dali_pipelines.tasks.recognition import Config
from trainers.engine.distributed import Ranks
from trainers.evaluation.intervals import wilson
from trainers.evaluation.videos import per_video, require_finite


@dataclass(frozen=True, eq=False)
class Features:
    """Features of the N videos of an index, in its order, the same on all ranks."""

    names: list[str]
    labels: np.ndarray
    """int64 (N,), -1 where the dataset has no class."""
    values: np.ndarray
    """float32 (N, C), or tokens, float16 (N, P, C); nan for a video that could not be read."""
    unreadable: dict[str, str]
    """Name -> reason of the unreadable videos."""

    @classmethod
    def of(cls, index: Index, values: np.ndarray, unreadable: dict[str, str]) -> "Features":
        """Return the features of an index; UserError if those of a readable video are not finite."""
        names = list(index.names.texts())
        require_finite("features", names, values, np.array([name not in unreadable for name in names]))
        return cls(names, index.labels, values, unreadable)

    @property
    def readable(self) -> np.ndarray:
        """Return whether each video could be read, bool (N,)."""
        readable: np.ndarray = ~np.isnan(self.values.reshape(len(self.values), -1)[:, 0])
        return readable


def require_readable(train: Features) -> None:
    """Raise UserError if no training video could be read."""
    if not train.readable.any():
        name = train.names[0]
        raise UserError(
            f"0 of {counted(len(train.names), 'training video')} can be read, the first {shown(name)}: "
            f"{shown(train.unreadable[name])}"
        )


def readable_tensors(train: Features, test: Features, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return values and labels of the readable training videos, and values of the readable test videos.

    UserError if no training video could be read.
    """
    require_readable(train)
    values = (train.values[train.readable], train.labels[train.readable], test.values[test.readable])
    x, y, test_x = (torch.from_numpy(value).to(device) for value in values)
    return x, y, test_x


def chance(test: Features, train: Features) -> float:
    """Return the accuracy of guessing each class as often as it occurs among the training videos.

    This is the mean over the test videos of their class's share of the training videos: 1 / K if these are spread
    evenly over K classes, whatever other classes the dataset has.
    """
    sizes = np.bincount(train.labels[train.readable], minlength=int(test.labels.max()) + 1)
    return float(sizes[test.labels].mean() / sizes.sum())


def probe_by(
    fit: Callable[..., Callable[[Tensor], Tensor]],
    train: Features,
    test: Features,
    *,
    classes: int,
    device: torch.device,
) -> dict[str, Any]:
    """Fit a classifier on `train`; return `top1` on `test`, its 95 % `interval` and the `chance` level.

    `fit` takes values, labels and `classes`, and returns a function from values to predicted classes. Unreadable test
    videos count as wrong; unreadable training videos are left out. UserError if none is left.
    """
    x, y, test_x = readable_tensors(train, test, device)
    predicted = fit(x, y, classes=classes)(test_x).cpu().numpy()
    correct, total = int((predicted == test.labels[test.readable]).sum()), len(test.names)
    return {"top1": correct / total, "interval": wilson(correct, total), "chance": chance(test, train)}


def extract(
    backbones: Sequence[nn.Module], index: Index, cfg: Config, ranks: Ranks, data: Data, *, unit: bool = False
) -> list[Features]:
    """Extract the features of each backbone, decoding each video once for all of them.

    Feature maps are averaged over time and space, then over the views of `cfg.test`. With `unit`, each view's features
    are first scaled to length 1, as in CoCLR's retrieval (specs/evaluation.md 6). Call `eval()` on the backbones first.
    UserError if a backbone returns nan or infinity.
    """

    def pooled(clips: Tensor) -> Tensor:
        features = [backbone(clips).mean(dim=(2, 3, 4)).float() for backbone in backbones]
        return torch.cat([normalize(one) if unit else one for one in features], dim=1)

    views = per_video(pooled, index, cfg, ranks, data, desc=f"features of {counted(len(index), 'video')}")
    widths = [int(backbone.out_channels) for backbone in backbones]  # type: ignore[arg-type]
    tables = np.split(views.means(sum(widths)).astype(np.float32), np.cumsum(widths)[:-1], axis=1)
    return [Features.of(index, values, views.unreadable) for values in tables]
