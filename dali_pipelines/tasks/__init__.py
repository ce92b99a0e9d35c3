"""Pretext tasks, one module each.

To add a task `x`, write three files and change nothing else; docs/extending.md has an example.

`dali_pipelines/tasks/x.py`, the data side, holds

* `Config`, a frozen dataclass: what recipes set under `plan`;
* `plan(video, rng, cfg)`, which draws the arrays of one sample: `frames` (int32, the frame numbers), the arrays for the
  program's operations, and the labels;
* `program(cfg)`, the `pixels.program.Program` of its views;
* `batch_schema(cfg)`, shape and dtype of the network's inputs: the program's outputs, and the labels;
* `min_frames(cfg)`, if a video needs more than one frame: shorter ones are too short, and left out;
* `STRIDES`, if clips have a frame step other than 1 and `Config` has neither `strides` nor `stride`;
* `annotate(plan, cfg)`, if `preview` should write or draw something: the `Annotations` of a sample.

`nets/tasks/x.py`, the network side, holds

* `Config`, a frozen dataclass: what recipes set under `net`;
* `build(backbone, schema, cfg)`, which returns a `nets.tasks.Pretext`: the network with its loss.

`configs/x/*.yaml` are its recipes. The first line of the data side's docstring is "Its name: what the network
predicts", as in "VCOP: in which order three clips were shuffled": `clipfeed recipes` and `preview` print it.

A task may also be a package of your own: `task: my_pkg.my_task` in a recipe uses `my_pkg/my_task/data.py` and
`my_pkg/my_task/net.py` as the first two files. Install the package, or add the folder that holds it to PYTHONPATH.
"""

import math
import operator
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from nvidia.dali.data_node import DataNode

from configs.errors import UserError
from configs.plugins import import_task
from configs.words import counted
from dali_pipelines.pixels.operation import Nodes, Schema, to_device_of
from dali_pipelines.pixels.program import Program
from dali_pipelines.plan.video import VideoInfo

T = TypeVar("T")

LARGEST_SAMPLE = 2**34
"""Bytes of a sample's arrays above which some setting is a slip."""
RESERVED = frozenset({"row", "decoded", "media", "frames", "chroma", "matrix", "order", "index"})
"""Names of what a sample or a batch has besides a task's own arrays."""


def task_names() -> list[str]:
    """List the tasks of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@cache  # looked up for every sample
def task_module(name: str) -> ModuleType:
    """Import the data side of a task: the module of that name here, or `my_pkg.my_task.data`. UserError for STRIDES."""
    module = import_task(name, package=__name__, part="data")
    strides = getattr(module, "STRIDES", (1,))
    if not (isinstance(strides, tuple) and strides and all(isinstance(step, int) and step >= 1 for step in strides)):
        raise UserError(f"{module.__file__}: STRIDES = {strides!r} must be a tuple of whole numbers, as in (1, 2)")
    return module


def about(name: str) -> str:
    """Return the first line of a task's docstring: "Its name: what the network predicts"."""
    return (task_module(name).__doc__ or "").partition("\n")[0].partition(" (specs/")[0].removesuffix(".")


@dataclass(frozen=True, eq=False)
class Annotations:
    """What `preview` shows of the views of a sample: those in `clips`, then those of its other pictures, if any."""

    captions: Sequence[str] = ()
    """One line per view."""
    boxes: np.ndarray | None = None
    """float (views, R, T, 4): x1, y1, x2, y2 in pixels of the clip."""
    up: Sequence[float] | None = None
    """Counter-clockwise degrees by which the upward direction of each view was rotated."""
    shaded: np.ndarray | None = None
    """bool (views, rows, columns): cells of each view that are hidden from the network."""


def caption(frames: np.ndarray, *, mirrored: bool = False) -> str:
    """Say which frames a view shows, and whether it is mirrored: "frames 3 to 18, mirrored"."""
    which = f"frame {frames[0]}" if frames[0] == frames[-1] else f"frames {frames[0]} to {frames[-1]}"
    return f"{which}, mirrored" if mirrored else which


@dataclass(frozen=True)
class Task:
    """A task with its settings. It pickles by name, so it can be sent to worker processes."""

    name: str
    cfg: Any

    def plan(self, video: VideoInfo, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw the arrays of one sample, as in `plan_schema`; UserError if the task's own `plan` draws others."""
        module, schema = task_module(self.name), _plan_schema(self.name, self.cfg)
        drawn = _returned(self.name, "plan", module.plan(video, rng, self.cfg), dict)
        for name, (shape, dtype) in schema.items():
            array = np.asarray(drawn.get(name))
            if array.shape != shape or array.dtype != dtype:
                found = f"{array.dtype} {array.shape}" if name in drawn else "missing"
                raise UserError(f"{module.__file__}: {name} of plan is {found}; the task's schema says {dtype} {shape}")
        first, last = drawn["frames"].min(), drawn["frames"].max()
        if first < 0 or last >= video.num_frames:
            has = counted(video.num_frames, "frame")
            raise UserError(f"{module.__file__}: frames of plan go from {first} to {last}; the video has {has}")
        return drawn

    @property
    def program(self) -> Program:
        """The operations on the pixels."""
        return _program(self.name, self.cfg)

    @property
    def labels(self) -> Schema:
        """The arrays of a plan that go into a batch unchanged."""
        return {name: kind for name, kind in self.batch_schema.items() if name not in self.program.outputs}

    @property
    def plan_schema(self) -> Schema:
        """Shape and dtype of every array of a plan."""
        return {name: (shape, dtype.name) for name, (shape, dtype) in _plan_schema(self.name, self.cfg).items()}

    @property
    def batch_schema(self) -> Schema:
        """Per-sample shape and dtype of the network's inputs."""
        return _batch_schema(self.name, self.cfg)

    def graph(self, frames: DataNode, plan: Nodes, *, steps: int = 0) -> dict[str, DataNode]:
        """Build the DALI graph of a batch from the host's output; arguments as in `Program.dali`."""
        pictures = self.program.dali(frames, plan, steps=steps)
        return pictures | {name: to_device_of(plan[name], frames) for name in self.labels}

    @property
    def min_frames(self) -> int:
        """The minimum number of frames that a video needs."""
        least = getattr(task_module(self.name), "min_frames", None)
        return _returned(self.name, "min_frames", least(self.cfg), int) if least else 1

    def annotate(self, plan: dict[str, np.ndarray]) -> Annotations:
        """Return the annotations of a plan's sample."""
        annotate = getattr(task_module(self.name), "annotate", None)
        return _returned(self.name, "annotate", annotate(plan, self.cfg), Annotations) if annotate else Annotations()


def _returned(task: str, function: str, found: object, kind: type[T]) -> T:
    """Return what a task's function returned; UserError if it is no `kind`, as without its `return`."""
    if not isinstance(found, kind):
        where, got = task_module(task).__file__, type(found).__name__
        raise UserError(f"{where}: {function} returned {got}, not {kind.__name__}: see docs/extending.md")
    return found


@lru_cache(maxsize=16)
def _program(name: str, cfg: Any) -> Program:
    _batch_schema(name, cfg)  # before a number that is a slip makes as many views
    return _returned(name, "program", task_module(name).program(cfg), Program)


@lru_cache(maxsize=16)
def _batch_schema(name: str, cfg: Any) -> Schema:
    module = task_module(name)
    schema: Schema = _returned(name, "batch_schema", module.batch_schema(cfg), dict)
    sizes = dict[str, int]()
    for array, kind in schema.items():
        shape, dtype = _checked(array, kind, f"{module.__file__}: batch_schema")
        sizes[array] = math.prod(shape) * dtype.itemsize
    if sum(sizes.values()) > LARGEST_SAMPLE:
        most = max(sizes, key=sizes.__getitem__)
        raise UserError(
            f"a sample of {name} would take {sum(sizes.values()) / 2**30:,.0f} GiB, most of it {most} of shape "
            f"{tuple(schema[most][0])}, and at most {LARGEST_SAMPLE >> 30} are possible: take fewer or smaller frames"
        )
    return schema


def _checked(array: str, kind: Any, who: str) -> tuple[tuple[int, ...], np.dtype]:
    """Check that `kind` is an array's shape and dtype, and return them; else UserError, which begins with `who`."""
    try:
        shape, dtype = kind
        sides, number = tuple(map(operator.index, shape)), np.dtype(dtype)
    except (TypeError, ValueError):
        sides, number = (-1,), np.dtype(object)  # refused below
    if min(sides, default=0) < 0 or number.kind not in "biuf":
        raise UserError(f'{who} says {kind!r} of {array}: give its shape and dtype, such as ((3,), "int64")')
    return sides, number


@lru_cache(maxsize=16)
def _plan_schema(name: str, cfg: Any) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    program, labels, where = _program(name, cfg), Task(name, cfg).labels, task_module(name).__file__
    own = program.schema()
    schema = {
        key: _checked(key, kind, f"{where}: schema of an operation" if key in own else where or "")
        for key, kind in {"frames": ((program.frames,), "int32"), **own, **labels}.items()
    }
    of_operations = {key for key in own.keys() & labels.keys() if tuple(own[key]) != tuple(labels[key])}
    for who, taken in (("loader", RESERVED & {*own, *labels}), ("program", of_operations)):
        if taken:
            raise UserError(f"{where}: the {who} has arrays named {', '.join(sorted(taken))}: choose another name")
    inputs, views, side = Task(name, cfg).batch_schema, iter(program.views), program.size
    if "clips" not in program.outputs:
        raise UserError(
            f"{where}: outputs of the program are {', '.join(program.outputs)}: name one of them clips, which the "
            "backbone is used on after training"
        )
    for output, count in program.outputs.items():
        frames, (shape, dtype) = sum(next(views).length for _ in range(count)), inputs.get(output, ((), "nothing"))
        laid_out = len(shape) >= 4 and (math.prod(shape[:-4]) * shape[-3], shape[-4], *shape[-2:])
        if laid_out != (frames, 3, side, side) or np.dtype(dtype) != np.float32:
            made = f"float32 {output} of {frames} frames of 3 x {side} x {side}"
            raise UserError(
                f"{where}: the program makes {made}, batch_schema says {dtype} {tuple(shape) or ''}".rstrip()
            )
    return schema
