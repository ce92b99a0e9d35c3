"""Operations on pixels: the plan's arrays that they take, and how the host and DALI execute them.

An operation decides nothing: the plan says what it does to a view. `host` and `dali` make the same pixels, up to a
rounding that the tests state. `pixels.program` alone decides, from the backend, which of them runs.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from nvidia.dali.data_node import DataNode

from dali_pipelines.decode.cut import Region

Schema = dict[str, tuple[tuple[int, ...], str]]
"""Name -> per-sample shape and dtype."""

Plan = Mapping[str, np.ndarray]
"""The arrays of one sample."""

Nodes = Mapping[str, DataNode]
"""The same arrays in a DALI graph, on the CPU."""


@dataclass(frozen=True)
class View:
    """One clip of a sample.

    Attributes:
        length: frames, T.
        operations: what happens to its pixels, in order; a crop comes first.
        first: index of its first frame among all frames of the sample.
        index: its index among the views; plans have one row per view.
        whole: whether it has all frames of the sample.
    """

    length: int
    operations: tuple["Operation", ...]
    first: int = 0
    index: int = 0
    whole: bool = True

    @property
    def crop(self) -> "Crop":
        """The first operation."""
        crop = self.operations[0]
        assert isinstance(crop, Crop), f"a view begins with a crop and not with {crop}"
        return crop

    @property
    def places(self) -> slice:
        """The slice of its frames among all frames of the sample."""
        return slice(self.first, self.first + self.length)

    def frames(self, node: DataNode) -> DataNode:
        """Select this view's rows of an array that has one row per frame of the sample."""
        return node if self.whole else node[self.places]


def to_device_of(node: DataNode, other: DataNode) -> DataNode:
    """Move `node` to the device of `other`, as required for inputs of an operator and tensors of a batch.

    Arithmetic moves its operands itself; named arguments stay on the CPU.
    """
    return node.gpu() if other.device == "gpu" and node.device == "cpu" else node


class Operation(ABC):
    """One step of a view. Subclass `Crop` or `ClipOperation`, or this for steps that only DALI does."""

    geometric = False
    """Whether it only moves pixels. The host then does it for a GPU too, so fewer bytes are copied."""
    host_only: frozenset[str] = frozenset()
    """Arrays of its `schema` that `host` takes and `dali` does not."""

    @property
    def on_host(self) -> bool:
        """Whether `host` can execute it."""
        return isinstance(self, Crop | ClipOperation)

    @abstractmethod
    def schema(self, *, views: int, frames: int) -> Schema:
        """Return the schema of the plan's arrays for a sample with this many views and frames."""

    @abstractmethod
    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        """Apply the operation to a view in a DALI graph, uint8 (T, H, W, 3) before and after."""


class Crop(Operation):
    """Crop and scale a region of each frame; the host cuts it out before it converts a frame to RGB."""

    size: int
    """Side of the square, pixels."""
    geometric = True

    @abstractmethod
    def host(self, plan: Plan, view: View) -> Region:
        """Return the region for the decoder to cut out."""


class ClipOperation(Operation):
    """Change pixels; the host can do it too."""

    @abstractmethod
    def host(self, clip: NDArray[np.uint8], plan: Plan, view: View) -> None:
        """Change the view, uint8 (T, size, size, 3), in place."""
