"""
Stage `collect`: what a source lists becomes documents, and the ledger says what became of each.

The ledger decides who is asked again, and when: a temporary cause never becomes a permanent mark,
a hopeless one is not asked twice, and a block rests the whole channel.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from understudy.channel.ledger import Ledger, Row
from understudy.errors import Refused, Transient
from understudy.interfaces import Source
from understudy.records import Document, Entry

VERSION = 1
MOST_ATTEMPTS = 6
ATTEMPTS = {"po_token": 4}
FIXED_WAITS = {"no_captions", "po_token", "private", "members_only"}  # the source says how long, by the talk's age
NETWORK_SECONDS = 300
BLOCK_HOURS, BLOCK_HOURS_AT_MOST = 6, 24
BLOCKED_UNTIL, BLOCKED_HOURS = "blocked_until", "blocked_hours"
WORDS_PER_END = 100
"""With fewer ends of sentences a talk has no punctuation: long Victorian sentences have 25 words."""
_ENDS = re.compile(r"[.!?。！？…؟।]")


def fetch(source: Source, entry: Entry, known: Row | None, now: datetime) -> tuple[Document | None, Row]:
    """The document, or None when it is refused, with its ledger row. Raises Transient, Blocked."""
    return outcome(lambda: source.fetch(entry), entry, known, now)


def outcome(
    fetched: Callable[[], Document], entry: Entry, known: Row | None, now: datetime
) -> tuple[Document | None, Row]:
    """What `fetched` gives, or None when it is refused, with its ledger row."""
    try:
        document = fetched()
    except Refused as refusal:
        return None, refused(entry, refusal, known, now)
    return document, here(entry, document)


def here(entry: Entry, document: Document) -> Row:
    """The ledger row of a talk that came, with a remark where it is not one person's, or its sentences are lost."""
    remarks = []
    if document.several_speakers:
        changes = document.speaker_changes
        remarks.append(f"several speakers: {changes} changes; forget it when it is not the teacher's own talk")
    if document.words >= 100 and len(_ENDS.findall(document.text)) * WORDS_PER_END < document.words:
        remarks.append("hardly any punctuation: a model as teacher can read it, 'extractive' quotes broken sentences")
    return row(entry, "ok", "; ".join(remarks) or None)._replace(
        how=document.how,
        language=document.language,
        published=document.published,
        duration_seconds=document.duration_seconds,
        words=document.words,
    )


def row(entry: Entry, status: str, reason: str | None = None) -> Row:
    """The ledger row of an entry."""
    return Row(entry.document_id, entry.title, entry.locator, entry.revision, status, reason, published=entry.published)


def refused(entry: Entry, refusal: Refused, known: Row | None, now: datetime) -> Row:
    """The row of a document that did not come: the wait doubles, and ends after MOST_ATTEMPTS."""
    attempts = known.attempts if known and known.revision == entry.revision and known.status != "ok" else 0
    again = None
    if refusal.retry_seconds is not None and attempts + 1 < ATTEMPTS.get(refusal.status, MOST_ATTEMPTS):
        wait = refusal.retry_seconds * (1 if refusal.status in FIXED_WAITS else 2**attempts)
        again = (now + timedelta(seconds=wait)).isoformat(timespec="seconds")
    return row(entry, refusal.status, str(refusal))._replace(attempts=attempts + 1, next_try=again)


def early(entry: Entry, refusal: Refused, known: Row | None, now: datetime) -> Row:
    """The row of a talk whose listing tells why it cannot be had; as it was while its wait lasts."""
    if known and known.status == refusal.status and known.rests(now, entry.revision):
        return known
    return refused(entry, refusal, known, now)


def unreachable(entry: Entry, error: Transient, known: Row | None, now: datetime) -> Row:
    """The row of a document that a retry within the run did not bring."""
    status = getattr(error, "status", "network")
    seconds = getattr(error, "retry_seconds", NETWORK_SECONDS)
    return refused(entry, Refused(str(error), status, seconds), known, now)


def block(ledger: Ledger, now: datetime) -> datetime:
    """Note that the source refuses this machine; returns until when it rests: 6 h, then 12, then 24."""
    hours = min(BLOCK_HOURS_AT_MOST, 2 * int(ledger.note(BLOCKED_HOURS) or BLOCK_HOURS // 2))
    until = now + timedelta(hours=hours)
    ledger.set_note(BLOCKED_HOURS, str(hours))
    ledger.set_note(BLOCKED_UNTIL, until.isoformat(timespec="seconds"))
    return until


def unblock(ledger: Ledger) -> None:
    """Note that the source answers again."""
    ledger.set_note(BLOCKED_HOURS, None)
    ledger.set_note(BLOCKED_UNTIL, None)


def rests_until(ledger: Ledger, now: datetime) -> datetime | None:
    """Until when nothing is asked of the source; None when it may be asked."""
    noted = ledger.note(BLOCKED_UNTIL)
    until = datetime.fromisoformat(noted) if noted else None
    return until if until and until > now else None


def without_doubles(entries: Iterable[Entry]) -> tuple[list[Entry], list[Row]]:
    """The entries of different content, and rows for those that say the same as an earlier one.

    Only a revision that is a digest tells content: sources that do not know it yet say '1'.
    """
    first: dict[str, Entry] = {}
    kept, doubles = [], []
    for entry in entries:
        twin = first.setdefault(entry.revision, entry) if len(entry.revision) == 64 else entry
        if twin is entry:
            kept.append(entry)
        else:
            doubles.append(row(entry, "duplicate", f"same content as {twin.locator}"))
    return kept, doubles


def removed(known: Iterable[Row], listed: Iterable[str]) -> list[Row]:
    """Rows for documents that a complete source no longer lists."""
    still = set(listed)
    return [
        r._replace(status="removed", reason="no longer in the source")
        for r in known
        if r.document_id not in still and r.status not in ("removed", "excluded")
    ]


def remembered(known: Iterable[Row], listed: Iterable[str]) -> list[Entry]:
    """Entries of documents that an incomplete listing did not reach again, from the ledger."""
    already = set(listed)
    return [
        Entry(document_id=r.document_id, title=r.title, locator=r.locator, revision=r.revision, published=r.published)
        for r in known
        if r.document_id not in already and r.status not in ("removed", "duplicate")
    ]


def wanted(entries: Sequence[Entry], known: dict[str, Row], now: datetime) -> list[Entry]:
    """The entries that are here or may be asked for now."""
    return [e for e in entries if e.document_id not in known or not known[e.document_id].rests(now, e.revision)]
