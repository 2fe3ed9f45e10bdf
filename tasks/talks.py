"""Tasks that read talks: list, collect, extract questions, generate answers."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from prefect import task
from understudy.tasks import policies

from understudy.channel import imported
from understudy.channel.ledger import Ledger, Row
from understudy.errors import Blocked, SourceError, TeacherError, Transient
from understudy.interfaces import Source
from understudy.progress import track
from understudy.records import Document, Entry, Talk
from understudy.stages import collect as collecting
from understudy.stages import extract_questions as extracting
from understudy.stages import generate_answers as generating
from understudy.workspace import Workspace

log = logging.getLogger("understudy.talks")
TOLD = "told_notice"
Pass = Literal["document", "questions", "answers"]
PASSES: tuple[Pass, ...] = get_args(Pass)


@task(name="list-talks", **policies.DOCUMENTS)
def list_talks(workspace: Workspace) -> list[Entry]:
    """Every talk that is here or may be asked for now; the ledger knows the others, and why."""
    source, ledger, now = workspace.plugin("source"), workspace.ledger, datetime.now(UTC)
    if source.notice and not ledger.note(TOLD):
        log.warning("%s.", source.notice)
        ledger.set_note(TOLD, now.isoformat(timespec="seconds"))
    known = ledger.rows()
    source.known = {row.document_id for row in known}.__contains__
    listed, fresh_rows, changed_rows = _listing(source, ledger, workspace.imported(), now)
    ledger.record_new(fresh_rows)
    names = [row.document_id for row in fresh_rows]
    for row in [*changed_rows, *(collecting.removed(known, names) if source.complete else [])]:
        ledger.record(row)
    if not source.complete:
        listed += collecting.remembered(ledger.rows(), [entry.document_id for entry in listed])
    return collecting.wanted(listed, {row.document_id: row for row in ledger.rows()}, now)


def due(workspace: Workspace, entries: Sequence[Entry]) -> list[Entry]:
    """The talks whose document, questions or answers are not fresh."""
    return [entry for entry in entries if len(workspace.chain(entry)) < 3]


def ready(workspace: Workspace, entries: Sequence[Entry]) -> list[Talk]:
    """The talks that can go to the gates."""
    chains = (workspace.chain(entry) for entry in entries)
    return [Talk(**chain) for chain in chains if len(chain) == 3]


@task(name="collect", **policies.DOCUMENTS)
def collect(workspace: Workspace, entry: Entry) -> Entry | None:
    """Fetch a talk that is not here yet; what the source cannot give is in the ledger, with the reason."""
    return entry if _collected(workspace, entry) else None


@task(name="extract-questions", **policies.DOCUMENTS)
def extract_questions(workspace: Workspace, entry: Entry | None) -> Entry | None:
    """Pass 1 over a talk that is here."""
    return entry if entry is not None and _asked(workspace, entry) else None


@task(name="generate-answers", **policies.DOCUMENTS)
def generate_answers(workspace: Workspace, entry: Entry | None) -> bool:
    """Pass 2 over a talk with questions: all of them in one request."""
    return entry is not None and _answered(workspace, entry)


@task(name="read-talks", **policies.DOCUMENTS)
def read_talks(workspace: Workspace, entries: list[Entry], until: Pass = "answers") -> int:
    """Many talks, one after another, each as far as `until` before the next is begun. Returns how many came so far."""
    steps = [_collected, _asked, _answered][: PASSES.index(until) + 1]
    return sum(all(step(workspace, entry) for step in steps) for entry in entries)


@task(name="submit-batch", **policies.DOCUMENTS)
def submit_batch(workspace: Workspace, entries: list[Entry], until: Pass) -> int:
    """Have a teacher that works in batches answer one pass over all talks at once. Returns how many replies came."""
    teacher, wanted = policies.shared_teacher(workspace), []
    for chain in map(workspace.chain, entries):
        if until == "questions" and set(chain) == {"document"}:
            wanted += extracting.requests(workspace.read(chain["document"]), teacher, workspace.config.questions)
        if until == "answers" and set(chain) == {"document", "questions"}:
            document, questions = workspace.read(chain["document"]), workspace.read(chain["questions"])
            wanted += generating.requests(document, questions, teacher)
    with track(f"batch of {until}") as progress:
        return teacher.submit_batch(wanted, progress)


def _collected(workspace: Workspace, entry: Entry) -> bool:
    return _here(workspace, entry) or _fetched(workspace, policies.shared_source(workspace), entry)


def _asked(workspace: Workspace, entry: Entry) -> bool:
    """Pass 1, unless its questions are fresh; False when the teacher finds none."""
    chain = workspace.chain(entry)
    if "questions" not in chain:
        document: Document = workspace.read(chain["document"])
        teacher = policies.shared_teacher(workspace)
        try:
            questions = extracting.extract(document, teacher, workspace.config.questions)
        except TeacherError as error:
            return _left_out(workspace, entry, str(error))
        made_from = workspace.fingerprint("questions", [chain["document"]])
        workspace.save("questions", [questions], made_from, document=entry.document_id)
    return True


def _answered(workspace: Workspace, entry: Entry) -> bool:
    """Pass 2, unless its answers are fresh; False when the teacher gives none."""
    chain = workspace.chain(entry)
    if "answers" not in chain:
        document, questions = workspace.read(chain["document"]), workspace.read(chain["questions"])
        teacher = policies.shared_teacher(workspace)
        try:
            answers = generating.answer(document, questions, teacher, workspace.config.answers)
        except TeacherError as error:
            return _left_out(workspace, entry, str(error))
        made_from = workspace.fingerprint("answers", [chain["document"], chain["questions"]])
        workspace.save("answers", [answers], made_from, document=entry.document_id)
        row = workspace.ledger.get(entry.document_id)
        if row and row.status != "ok":
            workspace.ledger.record(row._replace(status="ok", reason=None))
    return True


def _left_out(workspace: Workspace, entry: Entry, reason: str) -> bool:
    log.warning("%s is left out of this run: %s", entry.locator, reason)
    if row := workspace.ledger.get(entry.document_id):
        workspace.ledger.record(row._replace(status="unanswered", reason=reason))
    return False


def _listing(
    source: Source, ledger: Ledger, brought: dict[str, Path], now: datetime
) -> tuple[list[Entry], list[Row], list[Row]]:
    """What the source lists; the rows of all of it, for what is new; and rows that say more than the ledger does."""
    if until := collecting.rests_until(ledger, now):
        log.warning("the source refused this machine; nothing is asked until %s", until)
        return [], [], []
    try:
        found = list(source.listed())
    except Blocked as error:
        until = collecting.block(ledger, now)
        log.warning("the source refuses this machine (%s); nothing more is asked until %s", error, until)
        return [], [], []
    found = [
        (imported.revised(entry, brought[entry.document_id]), None) if entry.document_id in brought else (entry, why)
        for entry, why in found
    ]
    entries, doubles = collecting.without_doubles(entry for entry, early in found if early is None)
    early = [collecting.early(entry, why, ledger.get(entry.document_id), now) for entry, why in found if why]
    rows = [collecting.row(entry, "pending") for entry in entries]
    return entries, [*rows, *doubles, *early], [*doubles, *early]


def _here(workspace: Workspace, entry: Entry) -> bool:
    ref = workspace.fresh("document", workspace.document_fingerprint(entry), document=entry.document_id)
    if ref:
        row = workspace.ledger.get(entry.document_id)
        if row and row.status == "pending":  # the talk was kept, and its row lost with the machine's power
            workspace.ledger.record(collecting.here(entry, workspace.read(ref))._replace(sha256=ref.sha256))
    return ref is not None


def _fetched(workspace: Workspace, source: Source, entry: Entry) -> bool:
    """Ask the source for one talk, or read the file that was brought in for it, and note what came of it."""
    ledger = workspace.ledger
    if file := workspace.imported().get(entry.document_id):
        document, row = collecting.outcome(lambda: imported.document(file, entry), entry, None, datetime.now(UTC))
        return _kept(workspace, entry, document, row)
    with policies.one_fetch_at_a_time(source):
        now = datetime.now(UTC)
        if collecting.rests_until(ledger, now):
            return False
        try:
            document, row = collecting.fetch(source, entry, ledger.get(entry.document_id), now)
        except Blocked as error:
            until = collecting.block(ledger, now)
            log.warning("the source refuses this machine (%s); nothing more is asked until %s", error, until)
            return False
        except Transient as error:
            if not policies.last_attempt():
                raise
            document, row = None, collecting.unreachable(entry, error, ledger.get(entry.document_id), now)
        except SourceError as error:  # enough for this run: the others stay as they are
            log.info("%s waits: %s", entry.locator, error)
            return False
    if document is not None:
        collecting.unblock(ledger)
    return _kept(workspace, entry, document, row)


def _kept(workspace: Workspace, entry: Entry, document: Document | None, row: Row) -> bool:
    """Save what came of one talk; True when it is here."""
    if document is None:
        again = f"asked again after {row.next_try}" if row.next_try else "not asked again"
        log.warning("%s is %s: %s (%s)", entry.locator, row.status, row.reason, again)
        workspace.ledger.record(row)
        return False
    if row.reason:
        log.warning("%s has %s", entry.locator, row.reason)
    ref = workspace.save("document", [document], workspace.document_fingerprint(entry), document=entry.document_id)
    workspace.ledger.record(row._replace(sha256=ref.sha256))
    return True
