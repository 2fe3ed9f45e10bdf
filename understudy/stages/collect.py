"""Stage `collect`: what a source lists becomes documents, and the ledger says what became of each."""

from collections.abc import Iterable

from understudy.errors import Refused
from understudy.interfaces import Source
from understudy.ledger import Row, Status
from understudy.records import Document, Entry

VERSION = 1


def fetch(source: Source, entry: Entry) -> tuple[Document | None, Row]:
    """The document, or None when it is refused, with its ledger row. Raises Transient."""
    try:
        document = source.fetch(entry)
    except Refused as reason:
        return None, row(entry, "refused", str(reason))
    return document, row(entry, "ok")


def row(entry: Entry, status: Status, reason: str | None = None) -> Row:
    """The ledger row of an entry."""
    return Row(entry.document_id, entry.title, entry.locator, entry.revision, status, reason)


def without_doubles(entries: Iterable[Entry]) -> tuple[list[Entry], list[Row]]:
    """The entries of different content, and rows for those that say the same as an earlier one."""
    first: dict[str, Entry] = {}
    doubles = []
    for entry in entries:
        twin = first.setdefault(entry.revision, entry)
        if twin is not entry:
            doubles.append(row(entry, "duplicate", f"same content as {twin.locator}"))
    return list(first.values()), doubles


def removed(known: Iterable[Row], listed: Iterable[str]) -> list[Row]:
    """Rows for documents that a complete source no longer lists."""
    still = set(listed)
    return [
        r._replace(status="removed", reason="no longer in the source")
        for r in known
        if r.document_id not in still and r.status != "removed"
    ]
