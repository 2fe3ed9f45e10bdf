"""Stage `cut_passages`: every document of the channel in passages."""

from understudy.graph import Node
from understudy.records import AssetRef
from understudy.retrieval.passages import cut

VERSION = 1


def materialize(node: Node) -> AssetRef:
    """The passages of all documents, in the order of the documents."""
    documents = [node.workspace.read(ref) for ref in node.group("document").values()]
    return node.save(cut(documents, node.config.plugin("recipe").options.passages))
