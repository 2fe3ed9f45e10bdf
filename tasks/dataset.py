"""Tasks of the dataset half: list, collect, extract questions, generate answers, gate, split."""

import logging
from collections.abc import Sequence

from prefect import task

from tasks import policies
from understudy.errors import TeacherError
from understudy.ledger import Row, Status
from understudy.progress import track
from understudy.records import AssetRef, Entry, Pair, SplitPlan, Talk
from understudy.stages import collect as collecting
from understudy.stages import extract_questions as extracting
from understudy.stages import gate as gating
from understudy.stages import generate_answers as generating
from understudy.stages import split as splitting
from understudy.workspace import Workspace

log = logging.getLogger("understudy.dataset")


@task(name="list-talks", **policies.DOCUMENTS)
def list_talks(workspace: Workspace) -> list[Entry]:
    """Every talk of the source that has not been refused in this form before; the ledger knows the others."""
    source, ledger = workspace.plugin("source"), workspace.ledger
    entries, doubles = collecting.without_doubles(source.entries())
    gone = collecting.removed(ledger.rows(), [e.document_id for e in entries] + [r.document_id for r in doubles])
    for row in [*doubles, *(gone if source.complete else [])]:
        ledger.record(row)
    known = {row.document_id: row for row in ledger.rows()}
    return [e for e in entries if not _refused_before(known.get(e.document_id), e)]


def due(workspace: Workspace, entries: Sequence[Entry]) -> list[Entry]:
    """The talks whose document, questions or answers are not fresh."""
    return [entry for entry in entries if len(workspace.chain(entry)) < 3]


def ready(workspace: Workspace, entries: Sequence[Entry]) -> list[Talk]:
    """The talks that can go to the gates."""
    chains = (workspace.chain(entry) for entry in entries)
    return [Talk(**chain) for chain in chains if len(chain) == 3]


@task(name="collect", **policies.DOCUMENTS)
def collect(workspace: Workspace, entries: list[Entry]) -> list[Entry]:
    """Fetch the talks that are not here yet; those the source cannot give are refused in the ledger."""
    source, fetched = workspace.plugin("source"), []
    for entry in entries:
        made_from = workspace.document_fingerprint(entry)
        if workspace.fresh("document", made_from, document=entry.document_id) is None:
            document, row = collecting.fetch(source, entry)
            if document is None:
                log.warning("%s is refused: %s", entry.locator, row.reason)
                workspace.ledger.record(row)
                continue
            ref = workspace.save("document", [document], made_from, document=entry.document_id)
            workspace.ledger.record(row._replace(title=document.title, words=document.words, sha256=ref.sha256))
        fetched.append(entry)
    return fetched


@task(name="extract-questions", **policies.DOCUMENTS)
def extract_questions(workspace: Workspace, entries: list[Entry]) -> list[Entry]:
    """Pass 1 for each talk."""
    teacher, asked = workspace.plugin("teacher"), []
    for entry in entries:
        chain = workspace.chain(entry)
        if "questions" not in chain:
            document = workspace.read(chain["document"])
            made_from = workspace.fingerprint("questions", [chain["document"]])
            try:
                questions, _ = extracting.extract(document, teacher, workspace.config.questions)
            except TeacherError as error:
                _leave_out(workspace, entry, str(error))
                continue
            workspace.save("questions", [questions], made_from, document=entry.document_id)
        asked.append(entry)
    return asked


@task(name="generate-answers", **policies.DOCUMENTS)
def generate_answers(workspace: Workspace, entries: list[Entry]) -> int:
    """Pass 2 for each talk: all its questions in one request. Returns how many talks have answers."""
    teacher, answered = workspace.plugin("teacher"), 0
    for entry in entries:
        chain = workspace.chain(entry)
        if "answers" not in chain:
            document, questions = workspace.read(chain["document"]), workspace.read(chain["questions"])
            made_from = workspace.fingerprint("answers", [chain["document"], chain["questions"]])
            try:
                answers = generating.answer(document, questions, teacher, workspace.config.answers)
            except TeacherError as error:
                _leave_out(workspace, entry, str(error))
                continue
            workspace.save("answers", [answers], made_from, document=entry.document_id)
            _note(workspace, entry, "ok")
        answered += 1
    return answered


@task(name="gate", **policies.ASSET)
def gate(workspace: Workspace, made_from: str, talks: list[Talk]) -> AssetRef:
    """All pairs of the channel with their verdicts, and the verdicts beside each talk."""
    if found := policies.ready("pairs", workspace, made_from):
        return found
    gates = [(spec.use, workspace.plugin("gate", spec)) for spec in workspace.config.gates]
    with track("gate") as report:
        pairs = gating.judge(_joined(workspace, talks), gates, report)
    for document_id, verdicts in gating.verdicts(pairs).items():
        found = workspace.fingerprint("verdicts", extra=verdicts.model_dump())
        if workspace.fresh("verdicts", found, document=document_id) is None:
            workspace.save("verdicts", [verdicts], found, document=document_id)
    return workspace.save("pairs", pairs, made_from)


@task(name="split", **policies.ASSET)
def split(workspace: Workspace, made_from: str, pairs: AssetRef) -> AssetRef:
    """The plan, and the rows of each side; the plan is written last."""
    if found := policies.ready("split", workspace, made_from):
        return found
    kept: dict[str, Pair] = {pair.pair_id: pair for pair in workspace.rows(pairs)}
    plan: SplitPlan = splitting.split(list(kept.values()), workspace.config.split, workspace.config.seed)
    for side in splitting.SIDES:
        workspace.save(side, [splitting.example(kept[pair_id]) for pair_id in plan.sides[side]], made_from)
    return workspace.save("split", [plan], made_from)


def _joined(workspace: Workspace, talks: Sequence[Talk]) -> list[Pair]:
    return [
        pair
        for talk in talks
        for pair in gating.join(
            workspace.read(talk.document),
            talk.document.sha256,
            workspace.read(talk.questions),
            workspace.read(talk.answers),
        )
    ]


def _leave_out(workspace: Workspace, entry: Entry, reason: str) -> None:
    log.warning("%s is left out of this run: %s", entry.locator, reason)
    _note(workspace, entry, "unanswered", reason)


def _note(workspace: Workspace, entry: Entry, status: Status, reason: str | None = None) -> None:
    row = workspace.ledger.get(entry.document_id)
    if row:
        workspace.ledger.record(row._replace(status=status, reason=reason))


def _refused_before(row: Row | None, entry: Entry) -> bool:
    return row is not None and row.status == "refused" and row.revision == entry.revision
