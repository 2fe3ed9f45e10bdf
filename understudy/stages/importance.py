"""Stage `importance`: the importance of each column of the matrices of the model, measured on train rows."""

from understudy.graph import Node
from understudy.records import AssetRef

VERSION = 1


def materialize(node: Node) -> AssetRef:
    """The importance matrix (imatrix) that quantizations round by; nothing held out is read."""
    exporter = node.config.exporter()
    return node.build(lambda out, progress: exporter.importance(node.file("fused"), node.file("train"), out, progress))
