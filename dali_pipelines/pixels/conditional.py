"""Apply operators to some samples of a batch."""

from collections.abc import Callable

from nvidia.dali import fn
from nvidia.dali.data_node import DataNode

_conditional = fn._conditional  # type: ignore[attr-defined]  # missing in the stubs


def apply_where(mask: DataNode, clips: DataNode, operation: Callable[..., DataNode], *arguments: DataNode) -> DataNode:
    """Apply `operation(clips, *arguments)` where `mask` is true; other clips bypass the operators at no cost.

    Uses the operators that DALI makes from an `if`. DALI's own `enable_conditionals` rewrites the source of every
    function called, and fails on unrelated ones (`zip(..., strict=True)`).

    The mask is a bool scalar on the CPU. `operation` keeps the dtype and the number of axes; `arguments` are all nodes
    that it needs besides the clips.
    """
    chosen, others = _conditional.split(clips, predicate=mask)
    theirs = (_conditional.split(argument, predicate=mask)[0] for argument in arguments)
    merged: DataNode = _conditional.merge(operation(chosen, *theirs), others, predicate=mask)
    return merged
