"""
Stage `collect`: what a source lists becomes documents, and the ledger says what became of each.

The ledger decides what is requested again, and when: a temporary cause never becomes a permanent mark,
a hopeless one is not requested twice, and a block rests the whole channel.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from understudy import readers
from understudy.channel import imported, same_talk
from understudy.channel.ledger import ASKED_UNDER, SOURCE, Ledger, Row, key_of
from understudy.channel.talks import ReadTalk
from understudy.errors import Blocked, Refused, SourceError, Transient
from understudy.interfaces import Source
from understudy.readers import sound
from understudy.records import Document, Entry, sha256_of

VERSION = 1
MOST_ATTEMPTS = 6
ATTEMPTS = {"po_token": 4}
FIXED_WAITS = {"no_captions", "po_token", "private", "members_only"}  # the source says how long, by the talk's age
NETWORK_SECONDS = 300
BLOCK_HOURS, BLOCK_HOURS_AT_MOST = 6, 24
BLOCKED_UNTIL, BLOCKED_HOURS = "blocked_until", "blocked_hours"
WORDS_PER_END = 100
"""With fewer ends of sentences a talk has no punctuation: long Victorian sentences have 25 words."""
LOST_AT_MOST = 0.02
ENDS_WITH_ITS_CAUSE = {"refused", "no_language"}
SHARED_BY_MISTAKE = {"videos", "streams", "shorts", "featured", "playlists", "about", "channel"}
"""Names that older versions gave the folders of all channels whose address ends so, or has no Latin letter."""
MOST_UNLISTED = 0.2  # of a channel's own talks: deleted, private, or unlisted since
NOTICE_SHOWN = "notice_shown"
log = logging.getLogger("understudy.talks")
_ENDS = re.compile(r"[.!?。！？…؟।]")


def list_talks(sources: Mapping[str, Source], ledger: Ledger, files: Mapping[str, Path], now: datetime) -> list[Entry]:
    """Every talk that is here or may be requested now; the ledger knows the others, and why.

    `sources` are all there are, by key. `files` are the captions that were imported, by the id of their document.
    Raises SourceError, Transient where no source can be listed.
    """
    listed, failures = dict[str, list[tuple[Entry, Refused | None]]](), list[Exception]()
    for key, source in sources.items():
        part = ledger.of(key)
        known = part.rows()
        try:
            listed[key] = _listed_by(source, part, files, now)
        except (SourceError, Transient) as error:
            if len(failures) + 1 == len(sources):
                raise
            log.warning("one of %d sources gives no new talks in this run: %s", len(sources), error)
            failures.append(error)
        else:
            _claim(source, part, known, {entry.document_id for entry, _ in listed[key]})
    everything = [one for talks in listed.values() for one in talks]
    rows_by_id = {row.document_id: row for row in ledger.rows()}
    entries, doubles = without_doubles(entry for entry, refusal in everything if refusal is None)
    early_rows = [
        early(entry, refusal, rows_by_id.get(entry.document_id), now)
        for entry, refusal in everything
        if refusal is not None
    ]
    rows = [*(row(entry, "pending") for entry in entries), *doubles, *early_rows]
    ids = [row.document_id for row in rows]
    gone = [known for known in rows_by_id.values() if key_of(known.revision) not in sources]
    for key, source in sources.items():
        gone += ledger.of(key).rows() if key in listed and source.complete else []
    ledger.record_new(rows)
    for changed in (*doubles, *early_rows, *removed(gone, ids)):
        ledger.record(changed)
    for key, source in sources.items():
        if key not in listed or not source.complete:
            entries += remembered(ledger.of(key).rows(), ids)
    rows_now = {row.document_id: row for row in ledger.rows()}
    entries = [entry for entry in entries if not same_talk.is_known(entry, rows_now)]
    due = due_entries(entries, rows_now, now)
    if not due and rows_now:
        why = Counter(row.status for row in rows_now.values())
        log.warning(
            "no talk may be asked now: %s; see `understudy status`", ", ".join(f"{n} {s}" for s, n in why.items())
        )
    return due


def _listed_by(
    source: Source, ledger: Ledger, files: Mapping[str, Path], now: datetime
) -> list[tuple[Entry, Refused | None]]:
    """What one source lists, its own rows of the ledger in order."""
    if source.notice and not ledger.note(NOTICE_SHOWN):
        log.warning("%s.", source.notice)
        ledger.set_note(NOTICE_SHOWN, now.isoformat(timespec="seconds"))
    _ask_again(source, ledger)
    known = ledger.rows()
    if _is_claimed(source, ledger):  # else its whole listing shows whether the talks here are its own
        source.is_known = {row.document_id for row in known}.__contains__
    return [
        (imported.revised(entry, files[entry.document_id]), None) if entry.document_id in files else (entry, refusal)
        for entry, refusal in _listed(source, ledger, now)
    ]


def _ask_again(source: Source, ledger: Ledger) -> None:
    """What was refused under other settings, or by other readers, may be asked again."""
    options: Any = getattr(source, "options", None)
    names = sorted(set(getattr(type(options), "model_fields", ())) - set(getattr(source, "INDIFFERENT", ())))
    settings = {name: str(getattr(options, name)) for name in names}
    heard = getattr(getattr(options, "transcribe", None), "use", "none") != "none"
    settings |= {"transcribe": str(options.transcribe)} if heard else {}
    under = sha256_of(json.dumps([readers.VERSION, settings]).encode())
    if ledger.note(ASKED_UNDER) == under:
        return
    for row in ledger.rows():
        if row.status in ENDS_WITH_ITS_CAUSE or (heard and row.status in sound.IN_PLACE_OF_CAPTIONS):
            ledger.record(row._replace(status="pending", reason=None, attempts=0, next_try=None))
    ledger.set_note(ASKED_UNDER, under)


def _is_claimed(source: Source, ledger: Ledger) -> bool:
    owner = ledger.note(SOURCE)
    return owner == getattr(source, "identity", None) or (
        owner is None and ledger.file.parent.name not in SHARED_BY_MISTAKE
    )


def _claim(source: Source, ledger: Ledger, known: Sequence[Row], listed: set[str]) -> None:
    """Note whose talks the folder holds. Raises SourceError where they are another's, or of two."""
    identity: str | None = getattr(source, "identity", None)
    owner = ledger.note(SOURCE)
    if identity is None or owner == identity or not listed:
        return
    fetched = [row.document_id for row in known if row.status == "ok"]
    foreign = [document_id for document_id in fetched if document_id not in listed]
    folder = ledger.file.parent.name
    if fetched and len(foreign) == len(fetched):
        whose = owner or "another channel"
        raise SourceError(
            f"data/{folder} holds the talks of {whose}, none of which {identity} lists; give this channel a folder of "
            f"its own: --set name=ANOTHER-NAME"
        )
    if owner is None and folder in SHARED_BY_MISTAKE and len(foreign) > MOST_UNLISTED * len(fetched):
        raise SourceError(
            f"data/{folder} holds talks of another channel than {identity} too ({len(foreign)} of {len(fetched)}); "
            f"take them out, and run the other channel by itself: understudy forget --channel {folder} "
            + " ".join(foreign)
        )
    ledger.set_note(SOURCE, identity)


def _listed(source: Source, ledger: Ledger, now: datetime) -> list[tuple[Entry, Refused | None]]:
    """What the source lists; nothing while it refuses this machine."""
    if until := rests_until(ledger, now):
        log.warning("the source blocked this machine; no requests until %s", until)
        return []
    try:
        return list(source.list_talks())
    except Blocked as error:
        _blocked(ledger, error, now)
        return []


def collect(talk: ReadTalk, source: Source, ledger: Ledger, now: datetime, last_attempt: bool) -> ReadTalk:
    """The talk with its document, or with a row that says why there is none; as it was when the source rests.

    Raises Transient, unless this is the `last_attempt`.
    """
    entry = talk.entry
    if rests_until(ledger, now):
        return talk
    try:
        document, row = fetch(source, entry, talk.row, now)
    except Blocked as error:
        _blocked(ledger, error, now)
        return talk
    except Transient as error:
        if not last_attempt:
            raise
        document, row = None, unreachable(entry, error, talk.row, now)
    except SourceError as error:  # enough for this run: the others stay as they are
        log.info("%s waits: %s", entry.locator, error)
        return talk
    if document is not None:
        unblock(ledger)
    return collected(talk, document, row)


def collect_imported(talk: ReadTalk, file: Path, now: datetime) -> ReadTalk:
    """The talk with the document that is read from an imported caption file."""
    return collected(talk, *outcome(lambda: imported.document(file, talk.entry), talk.entry, None, now))


def collected(talk: ReadTalk, document: Document | None, row: Row) -> ReadTalk:
    """The talk with what came of it, which is logged where it needs attention."""
    if document is None:
        again = f"asked again after {row.next_try}" if row.next_try else "not asked again"
        log.warning("%s is %s: %s (%s)", talk.entry.locator, row.status, row.reason, again)
    elif row.reason:
        log.warning("%s has %s", talk.entry.locator, row.reason)
    return talk._replace(document=document, row=row)


def fetch(source: Source, entry: Entry, row: Row | None, now: datetime) -> tuple[Document | None, Row]:
    """The document, or None when it is refused, with its ledger row. Raises Transient, Blocked."""
    return outcome(lambda: source.fetch(entry), entry, row, now)


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
        remarks.append(f"several speakers: {changes} changes; name the teacher (source.speaker), or forget it")
    if document.words >= 100 and len(_ENDS.findall(document.text)) * WORDS_PER_END < document.words:
        remarks.append("hardly any punctuation: a model as teacher can read it, 'extractive' cannot")
    if document.others_share:
        remarks.append(f"{document.others_share:.0%} of its words are others' than {document.speaker}'s: context only")
    if document.lost_share > LOST_AT_MOST:
        remarks.append(f"{document.lost_share:.0%} of the different words of its captions were left out; look at it")
    if _shouts(document.text):
        remarks.append("all capitals: the model would shout; use captions with small letters where there are some")
    return row(entry, "ok", "; ".join(remarks) or None)._replace(
        how=_how(document),
        language=document.language,
        published=document.published,
        duration_seconds=document.duration_seconds,
        words=document.words,
    )


def _how(document: Document) -> str:
    """How the words were read, and how much of the captions is not among them, and why."""
    if document.captions is None:
        return document.how
    left_out = ", ".join(f"{lines} {why}" for why, lines in sorted(document.left_out.items()))
    return f"{document.how}, {document.captions} captions" + (f"; left out: {left_out}" if left_out else "")


def _shouts(text: str) -> bool:
    capitals, small = sum(map(str.isupper, text)), sum(map(str.islower, text))
    return capitals > 200 and capitals > 9 * small


def row(entry: Entry, status: str, reason: str | None = None) -> Row:
    """The ledger row of an entry."""
    known = Row(entry.document_id, entry.title, entry.locator, entry.revision, status, reason)
    return known._replace(published=entry.published, duration_seconds=entry.duration_seconds)


def refused(entry: Entry, refusal: Refused, known: Row | None, now: datetime) -> Row:
    """The row of a document that did not come: the wait doubles, and ends after MOST_ATTEMPTS."""
    attempts = known.attempts if known and known.revision == entry.revision and known.status != "ok" else 0
    again = None
    if refusal.retry_seconds is not None and attempts + 1 < ATTEMPTS.get(refusal.status, MOST_ATTEMPTS):
        wait = refusal.retry_seconds * (1 if refusal.status in FIXED_WAITS else 2**attempts)
        again = (now + timedelta(seconds=wait)).isoformat(timespec="seconds")
    return row(entry, refusal.status, str(refusal))._replace(attempts=attempts + 1, next_try=again)


def early(entry: Entry, refusal: Refused, known: Row | None, now: datetime) -> Row:
    """The row of a talk whose listing shows why it cannot be fetched; unchanged while its wait lasts."""
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


def _blocked(ledger: Ledger, error: Blocked, now: datetime) -> None:
    until = block(ledger, now)
    log.warning("the source blocks this machine (%s); no more requests until %s", error, until)


def unblock(ledger: Ledger) -> None:
    """Note that the source answers again."""
    ledger.set_note(BLOCKED_HOURS, None)
    ledger.set_note(BLOCKED_UNTIL, None)


def rests_until(ledger: Ledger, now: datetime) -> datetime | None:
    """Until when nothing is requested from the source; None when it may be."""
    note = ledger.note(BLOCKED_UNTIL)
    until = datetime.fromisoformat(note) if note else None
    return until if until and until > now else None


def without_doubles(entries: Iterable[Entry]) -> tuple[list[Entry], list[Row]]:
    """The entries of different content, and rows for those that say the same as an earlier one.

    Only a revision that is a digest identifies content: sources that do not know it yet say '1'.
    """
    first: dict[str, Entry] = {}
    originals, doubles = [], []
    for entry in entries:
        content = entry.revision.partition("@")[0]
        twin = first.setdefault(content, entry) if len(content) == 64 else entry
        if twin is entry:
            originals.append(entry)
        else:
            doubles.append(row(entry, "duplicate", f"same content as {twin.locator}"))
    return originals, doubles


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
        Entry(
            document_id=r.document_id,
            title=r.title,
            locator=r.locator,
            revision=r.revision,
            published=r.published,
            duration_seconds=r.duration_seconds,
        )
        for r in known
        if r.document_id not in already and r.status not in ("removed", "duplicate")
    ]


def due_entries(entries: Sequence[Entry], known: dict[str, Row], now: datetime) -> list[Entry]:
    """The entries that are here or may be requested now."""
    return [e for e in entries if e.document_id not in known or not known[e.document_id].rests(now, e.revision)]
