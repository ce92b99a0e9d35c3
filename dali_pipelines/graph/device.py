"""The one place that knows where a node lives."""

from nvidia.dali.data_node import DataNode


def beside(node: DataNode, other: DataNode) -> DataNode:
    """`node` on the backend of `other`, so that arithmetic may combine them."""
    return node.gpu() if other.device == "gpu" and node.device == "cpu" else node
