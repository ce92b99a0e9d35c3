"""Pretext tasks, one module each.

To add a task `x`, write three files and change nothing else:

* `dali_pipelines/tasks/x.py`: a frozen dataclass `Config`; `plan(video, rng, cfg)` draws the arrays of one sample,
  `frames` (int32, the frame numbers) among them; `plan_schema(cfg)` and `batch_schema(cfg)` declare shapes and dtypes;
  `graph(frames, plan, cfg)` executes a plan with DALI operators. The clips are the output `clips`; those of several
  views stand one after the other in one sequence. What else there may be, each with a default:
  `min_frames(cfg)`, the fewest frames that a video needs (1): shorter ones are left out and named;
  `NORMALIZATION`, a name in `graph.color.NORMALIZATIONS` ("imagenet"); a `cfg.normalization` comes first;
  `cuts(cfg)`, the `plan.cuts.Cuts` that are made before RGB where PyAV decodes (None: `graph` gets whole frames);
  `notes(plan, cfg)`, a `Notes` of what `preview` writes and draws on the clips (nothing).
* `nets/tasks/x.py`: a frozen dataclass `Config` and `build(backbone, schema, cfg)`, a `nets.tasks.Pretext`: the network
  with its loss.
* `configs/x/*.yaml`: the recipes.

The first line of the module's docstring is what `pretrain.py --list-tasks` says of it.

A task may also be a package of yours: `task: my_pkg.my_task` in a recipe takes `my_pkg/my_task/data.py` and
`my_pkg/my_task/net.py` for the first two files. The package is installed, or its folder named in PYTHONPATH.
"""

import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from nvidia.dali.data_node import DataNode

from configs.plugins import import_task
from dali_pipelines.plan.cuts import Cuts
from dali_pipelines.store.index import VideoInfo

Schema = dict[str, tuple[tuple[int, ...], str]]
"""Name -> per-sample shape and dtype."""


def task_names() -> list[str]:
    """The tasks that have a module here."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@cache  # looked up for every sample
def task_module(name: str) -> ModuleType:
    """Import the data side of a task: the module of that name here, or `my_pkg.my_task.data`."""
    return import_task(name, package=__name__, part="data")


@dataclass(frozen=True)
class Notes:
    """What there is to say about the views of a sample: those in `clips`, then those of its other pictures, if any."""

    captions: Sequence[str]
    """One line a view."""
    boxes: np.ndarray | None = None
    """float (views, R, T, 4): x1, y1, x2, y2 in pixels of the clip."""
    up: Sequence[float] | None = None
    """For each view the counter-clockwise degrees by which its upward direction was turned."""


@dataclass(frozen=True)
class Task:
    """A task with its settings. It pickles by name, so that worker processes can have it."""

    name: str
    cfg: Any

    def plan(self, video: VideoInfo, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return task_module(self.name).plan(video, rng, self.cfg)

    def graph(self, frames: DataNode, plan: dict[str, DataNode]) -> dict[str, DataNode]:
        return task_module(self.name).graph(frames, plan, self.cfg)

    @property
    def plan_schema(self) -> Schema:
        return task_module(self.name).plan_schema(self.cfg)

    @property
    def batch_schema(self) -> Schema:
        return task_module(self.name).batch_schema(self.cfg)

    @property
    def cuts(self) -> Cuts | None:
        """What a decoder may cut and scale itself; its `graph` then gets frames of that size, without the regions."""
        cuts = getattr(task_module(self.name), "cuts", None)
        return cuts(self.cfg) if cuts else None

    @property
    def min_frames(self) -> int:
        """The fewest frames that a video needs."""
        least = getattr(task_module(self.name), "min_frames", None)
        return least(self.cfg) if least else 1

    @property
    def normalization(self) -> str:
        """How the clips are normalized: a name in `graph.color.NORMALIZATIONS`."""
        of_task = getattr(task_module(self.name), "NORMALIZATION", "imagenet")
        return getattr(self.cfg, "normalization", of_task)

    def notes(self, plan: dict[str, np.ndarray]) -> Notes:
        """What is known about the views of a plan's sample."""
        notes = getattr(task_module(self.name), "notes", None)
        return notes(plan, self.cfg) if notes else Notes([])
