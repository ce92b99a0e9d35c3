"""What a task does to the pixels of a sample, and where: on the host or in DALI.

A task defines its views as lists of operations. This module alone decides, from the backend, which the host executes.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

from configs.errors import UserError, require
from dali_pipelines.decode.cut import Cutter, Region
from dali_pipelines.decode.frames import decode_each, decode_rgb
from dali_pipelines.pixels.normalize import normalize
from dali_pipelines.pixels.operation import ClipOperation, Nodes, Operation, Plan, Schema, View
from dali_pipelines.store.reader import EncodedClip

WORDS = {1: types.UINT8, 2: types.UINT16, 4: types.UINT32, 8: types.UINT64}
"""Bytes -> DALI's integer type of that width."""


@dataclass(frozen=True)
class Program:
    """The views of a sample.

    Attributes:
        frames: length of the plan's `frames`.
        views: each with its operations, in order, a crop first; all of one size.
        outputs: names of the pictures in a batch and how many views each has, in the order of `views`.
        normalization: a name in `pixels.normalize.NORMALIZATIONS`, applied last.
        dali_alone: the host executes nothing, so pixels are bit-identical with any decoder.
    """

    frames: int
    views: tuple[View, ...]
    outputs: Mapping[str, int]
    normalization: str = "imagenet"
    dali_alone: bool = False

    def __post_init__(self) -> None:
        sizes = sorted({view.crop.size for view in self.views})
        require(len(sizes) == 1, "sizes of the views", sizes, "one: the host cuts all views into one array")
        require(
            sum(self.outputs.values()) == len(self.views), "outputs", self.outputs, f"{len(self.views)} views in all"
        )

    @property
    def size(self) -> int:
        """Side of every view, pixels."""
        return self.views[0].crop.size

    def host_steps(self, *, gpu: bool) -> int:
        """Return how many operations of each view the host executes if it decodes for DALI.

        On a CPU, as many as possible: the host is faster than DALI's CPU operators. For a GPU, only those that leave
        fewer bytes to copy.
        """
        if self.dali_alone:
            return 0
        return min(_leading(view.operations, gpu=gpu) for view in self.views)

    def schema(self) -> Schema:
        """Return the schema of the plan's arrays that operations take."""
        schema: Schema = {}
        for operation in self._operations(0):
            schema |= operation.schema(views=len(self.views), frames=self.frames)
        return schema

    def dali_arrays(self, *, steps: int) -> list[str]:
        """Name the plan's arrays that `dali` takes after the host's `steps`."""
        schemas = {op: op.schema(views=len(self.views), frames=self.frames) for op in self._operations(steps)}
        taken = (name for operation, schema in schemas.items() for name in schema if name not in operation.host_only)
        return list(dict.fromkeys(taken))

    def _operations(self, steps: int) -> list[Operation]:
        """Return the distinct operations after the first `steps` of each view."""
        return list(dict.fromkeys(operation for view in self.views for operation in view.operations[steps:]))

    def regions(self, plan: Plan) -> list[Region]:
        """Return the region of its frames that each view shows."""
        return [view.crop.host(plan, view) for view in self.views]

    def host(self, clip: EncodedClip, plan: Plan, *, steps: int) -> NDArray[np.uint8]:
        """Decode the clip of a sample and execute the first `steps` operations of each view.

        Return uint8 (frames, size, size, 3), the views concatenated; without steps, whole frames (frames, H, W, 3).
        ClipError if a frame does not decode, or a crop does not fit into it.
        """
        if not steps:
            return decode_rgb(clip)
        pixels = np.empty((self.frames, self.size, self.size, 3), np.uint8)
        shown = defaultdict[int, list[tuple[Cutter, NDArray[np.uint8]]]](list)  # frame of the clip -> its pictures
        for view, cutter in zip(self.views, map(Cutter, self.regions(plan)), strict=True):
            for number, picture in zip(clip.frames[view.places].tolist(), pixels[view.places], strict=True):
                shown[number].append((cutter, picture))

        def show(number: int, frame: VideoFrame) -> None:
            for cutter, picture in shown[number]:
                cutter(frame, picture)

        decode_each(clip, shown, show)
        for view in self.views:
            for operation in view.operations[1:steps]:
                assert isinstance(operation, ClipOperation)
                made: object = operation.host(pixels[view.places], plan, view)
                if made is not None:  # a new clip, which would be lost
                    what = f"host of {type(operation).__name__} in {type(operation).__module__}"
                    raise UserError(f"{what} returned {type(made).__name__}: it must change its clip in place")
        return pixels

    def dali(self, frames: DataNode, plan: Nodes, *, steps: int = 0) -> dict[str, DataNode]:
        """Build the DALI graph of what follows the first `steps` operations of each view.

        It takes what `host` returns, and makes float32 (T, size, size, 3) for each name in `outputs`, with its views
        concatenated.
        """
        views, pictures = iter(self.views), {}
        for name, count in self.outputs.items():
            group = [next(views) for _ in range(count)]
            if any(view.operations[steps:] for view in group):
                made = [self._view(frames, plan, view, steps) for view in group]
                clips = made[0] if count == 1 else fn.cat(*made, axis=0)
            else:
                first, last = group[0].places.start, group[-1].places.stop
                clips = frames if last - first == self.frames else self._part(frames, first, last)
            pictures[name] = normalize(clips, size=self.size, kind=self.normalization)
        return pictures

    def _part(self, frames: DataNode, first: int, last: int) -> DataNode:
        """Slice frames. On a CPU, DALI slices number by number, so use the widest numbers that fit."""
        wide = WORDS[math.gcd(3 * self.size**2, max(WORDS))]
        words = fn.reinterpret(frames, shape=[self.frames, -1], dtype=wide)
        shape = [last - first, self.size, self.size, 3]
        return fn.reinterpret(words[first:last], shape=shape, dtype=types.UINT8, layout="FHWC")

    def _view(self, frames: DataNode, plan: Nodes, view: View, steps: int) -> DataNode:
        clip = view.frames(frames)
        for operation in view.operations[steps:]:
            clip = operation.dali(clip, plan, view)
        return clip


def consecutive_views(
    lengths: Sequence[int],
    *operations: Operation,
    outputs: Mapping[str, int] | None = None,
    normalization: str = "imagenet",
) -> Program:
    """Create a program of views of these lengths, consecutive in the plan's `frames`, all with the same operations.

    `outputs` are as in `Program`; None puts all views into `clips`.
    """
    starts, frames = np.cumsum([0, *lengths]).tolist(), sum(lengths)
    views = tuple(
        View(length, operations, first=first, index=index, whole=length == frames)
        for index, (first, length) in enumerate(zip(starts, lengths, strict=False))
    )
    return Program(frames, views, outputs or {"clips": len(views)}, normalization)


def views_of_same_frames(count: int, length: int, *operations: Operation, normalization: str = "imagenet") -> Program:
    """Create a program of `count` views of the same `length` frames, for DALI alone: a frame becomes RGB once."""
    views = tuple(View(length, operations, index=index) for index in range(count))
    return Program(length, views, {"clips": count}, normalization, dali_alone=True)


def _leading(operations: Sequence[Operation], *, gpu: bool) -> int:
    """Count the leading operations of a view that the host can and should execute."""
    for count, operation in enumerate(operations):
        if not operation.on_host or (gpu and not operation.geometric):
            return count
    return len(operations)
