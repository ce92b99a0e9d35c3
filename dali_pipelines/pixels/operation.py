"""What an operation on pixels is: the plan's arrays that it takes, and how the host and DALI execute it.

An operation decides nothing: what it does to a view stands in the plan. `host` and `dali` make the same pixels, within
a rounding that the tests state. Where each runs follows from the backend, in `pixels.program` alone.
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
"""The same in a DALI graph, on the CPU."""


@dataclass(frozen=True)
class View:
    """A clip among those of a sample.

    Attributes:
        length: frames, T.
        operations: what happens to its pixels, in order; a crop comes first.
        first: place of its first frame among all frames of the sample.
        index: its number among the views; a plan has one row a view.
        whole: it has all frames of the sample.
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
        """Where its frames stand among all frames of the sample."""
        return slice(self.first, self.first + self.length)

    def frames(self, node: DataNode) -> DataNode:
        """Return the rows of an array with a row for each frame of the sample that belong to this view."""
        return node if self.whole else node[self.places]


class Operation(ABC):
    """One step of a view. Subclass `Crop` or `ClipOperation`, or this for what only DALI does."""

    geometric = False
    """Whether it only moves pixels, so that the host does it for a GPU too: fewer bytes travel."""

    @property
    def on_host(self) -> bool:
        """Whether `host` can execute it."""
        return isinstance(self, Crop | ClipOperation)

    @abstractmethod
    def schema(self, *, views: int, frames: int) -> Schema:
        """Return the plan's arrays for a sample of that many views and frames."""

    @abstractmethod
    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        """Return the view after this operation, uint8 (T, H, W, 3) before and after."""


class Crop(Operation):
    """A region of each frame, scaled: the host cuts it out before a frame becomes RGB."""

    size: int
    """Side of the square, pixels."""
    geometric = True

    @abstractmethod
    def host(self, plan: Plan, view: View) -> Region:
        """Return what the decoder is to cut out."""


class ClipOperation(Operation):
    """A change of pixels that the host can make too."""

    @abstractmethod
    def host(self, clip: NDArray[np.uint8], plan: Plan, view: View) -> None:
        """Change the view, uint8 (T, size, size, 3), in place."""
