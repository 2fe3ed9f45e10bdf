"""Stage `cut_passages`: every document of the channel in passages."""

import logging

from understudy.graph import Node
from understudy.records import AssetRef
from understudy.retrieval.passages import cut

VERSION = 1
log = logging.getLogger("understudy.dataset")


def materialize(node: Node) -> AssetRef:
    """The passages of all documents, in the order of the documents."""
    cutting = node.config.plugin("recipe").options.passages
    documents = [node.workspace.read(ref) for ref in node.group("document").values()]
    if cutting.by == "heading" and not any(document.headings or document.section for document in documents):
        log.warning("no document has headings, so that passages are cut by their size alone")
    return node.save(cut(documents, cutting))
