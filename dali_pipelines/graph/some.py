"""Operators for some samples of a batch."""

from collections.abc import Callable

from nvidia.dali import fn
from nvidia.dali.data_node import DataNode

_conditional = fn._conditional  # type: ignore[attr-defined]  # the stubs do not know it


def change_some(which: DataNode, clips: DataNode, change: Callable[..., DataNode], *arguments: DataNode) -> DataNode:
    """`change(clips, *arguments)` where `which` is true; the other clips go past the operators and cost nothing.

    These are the operators that DALI makes of an `if`. Its own way to them, `enable_conditionals`, rewrites the source
    of every function that is called, and fails on some that are none of its concern (`zip(..., strict=True)`).

    Args:
        which: bool scalar on the CPU.
        clips: any shape; `change` must keep the dtype and the number of axes.
        arguments: all nodes that `change` needs beside the clips.
    """
    chosen, others = _conditional.split(clips, predicate=which)
    theirs = (_conditional.split(argument, predicate=which)[0] for argument in arguments)
    merged: DataNode = _conditional.merge(change(chosen, *theirs), others, predicate=which)
    return merged
