"""Tasks that read talks: list, collect, extract questions, generate answers."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from understudy.tasks import cluster, policies

from understudy import store
from understudy.calls.model_teacher import ModelTeacher
from understudy.channel import imported, same_talk
from understudy.channel.ledger import key_of
from understudy.channel.talks import PASSES, Pass, ReadBatch, ReadTalk
from understudy.errors import TeacherError, TeacherStopped, Transient
from understudy.graph import Graph, chain, fingerprint_of
from understudy.progress import track
from understudy.records import AssetRef, Entry, Talk
from understudy.seams import CLOCK
from understudy.stages import collect as collecting
from understudy.stages import extract_questions as extracting
from understudy.stages import generate_answers as generating
from understudy.stages import verify as verifying
from understudy.workspace import Workspace

log = logging.getLogger("understudy.talks")


@policies.talk_task("list-talks")
def list_talks(workspace: Workspace) -> list[Entry]:
    """Every talk that is here or may be requested now; the ledger knows the others, and why."""
    sources = policies.shared_sources(workspace)
    return collecting.list_talks(sources, workspace.ledger, imported.files(workspace.folder), datetime.now(UTC))


def due(workspace: Workspace, entries: Sequence[Entry]) -> list[Entry]:
    """The talks whose document, questions or answers are not fresh; answers on wrong questions never are."""
    _recheck(workspace, entries)
    return [entry for entry in entries if len(chain(workspace, entry)) < len(PASSES)]


def without_same_talks(workspace: Workspace, entries: Sequence[Entry]) -> list[Entry]:
    """The talks without those that are in another source too; the ledger says which."""
    order, rows = list(workspace.config.sources_by_key), {row.document_id: row for row in workspace.ledger.rows()}
    candidates = []
    for entry in sorted(entries, key=lambda entry: order.index(key_of(entry.revision))):
        refs = chain(workspace, entry)
        if "document" in refs:
            document = workspace.read(refs["document"])
            candidates.append(same_talk.Candidate(document, key_of(entry.revision), "answers" in refs))
    others = same_talk.find(candidates)
    for name, kept in others.items():
        log.info("%s is %s%s, and read once", rows[name].title, same_talk.REASON, kept)
        workspace.ledger.record(rows[name]._replace(status="duplicate", reason=f"{same_talk.REASON}{kept}"))
    return [entry for entry in entries if entry.document_id not in others]


def _recheck(workspace: Workspace, entries: Sequence[Entry]) -> None:
    """Look once at the answers a channel has: only those that may be another question's are asked for again."""
    ledger, name = workspace.ledger, "answers/placing"
    if ledger.note(name) == generating.PLACING or not isinstance(workspace.config.plugin("teacher"), ModelTeacher):
        return
    for entry in entries:
        refs = chain(workspace, entry)
        if "answers" in refs and generating.misplaced(*(workspace.read(refs[one]) for one in PASSES)):
            log.warning("%s: some answers may be other questions'; they are asked for again", entry.document_id)
            store.discard(workspace.home, refs["answers"].path, workspace.disk)
    ledger.set_note(name, generating.PLACING)


def ready(workspace: Workspace, entries: Sequence[Entry]) -> list[Talk]:
    """The talks that can go to the gates."""
    chains = (chain(workspace, entry) for entry in entries)
    return [Talk(**refs) for refs in chains if len(refs) == len(PASSES)]


@policies.talk_task("collect")
def collect(workspace: Workspace, entry: Entry) -> Entry | None:
    """Fetch a talk that is not here yet; what the source cannot give is in the ledger, with the reason."""
    return entry if _read(workspace, entry, "document") else None


@policies.talk_task("extract-questions")
def extract_questions(workspace: Workspace, entry: Entry | None) -> Entry | None:
    """Pass 1 over a talk that is here."""
    return entry if entry and _read(workspace, entry, "questions") else None


@policies.talk_task("generate-answers")
def generate_answers(workspace: Workspace, entry: Entry | None) -> bool:
    """Pass 2 over a talk with questions: all of them in one request."""
    return entry is not None and _read(workspace, entry, "answers")


@policies.talk_task("read-talks")
def read_talks(workspace: Workspace, entries: list[Entry], until: Pass = "answers") -> int:
    """Many talks, one after another, each as far as `until` before the next is begun. Returns how many came so far."""
    return sum(_read(workspace, entry, until) for entry in entries)


@policies.talk_task("read-on-worker")
def read_on_worker(workspace: Workspace, batch: ReadBatch, until: Pass) -> ReadBatch:
    """Talks read on a worker, which sees no folder of the flow: the flow saves what is returned."""
    local, read = cluster.on_worker(workspace), {talk.entry.document_id: talk for talk in batch.talks}
    waiting = list(read)
    try:
        for seconds in (*policies.RETRY_SECONDS, None):
            retried = []
            for document_id in waiting:
                try:
                    for name in PASSES[: PASSES.index(until) + 1]:
                        read[document_id] = _advanced(local, read[document_id], name, last_attempt=seconds is None)
                        if not read[document_id].has(name):
                            break
                except Transient:
                    retried.append(document_id)
            waiting = retried
            if seconds and waiting:
                CLOCK.sleep(seconds)
    except TeacherStopped as error:
        return ReadBatch(list(read.values()), str(error))
    return ReadBatch(list(read.values()))


def load_batch(workspace: Workspace, entries: Sequence[Entry]) -> ReadBatch:
    """What a worker needs to continue with these talks."""
    return ReadBatch([load(workspace, entry) for entry in entries])


def load(workspace: Workspace, entry: Entry) -> ReadTalk:
    """The talk as far as it is on disk and fresh, or in an imported file."""
    records = {name: workspace.read(ref) for name, ref in chain(workspace, entry).items()}
    talk = ReadTalk(entry, **records, row=workspace.ledger.get(entry.document_id))
    if talk.document and talk.row and talk.row.status == "pending":  # the row was lost with the machine's power
        return talk._replace(row=collecting.here(entry, talk.document))
    file = None if talk.document else imported.files(workspace.folder).get(entry.document_id)
    return collecting.collect_imported(talk, file, datetime.now(UTC)) if file else talk


def save(workspace: Workspace, talk: ReadTalk, renewed: bool = False) -> None:
    """Write what is new of a talk: its records, then its row of the ledger.

    `renewed`: its questions are not those on disk, though made of the same talk by the same settings.
    """
    row, inputs = talk.row, list[AssetRef]()
    for name in PASSES:
        if not talk.has(name):
            break
        fingerprint = fingerprint_of(workspace, name, inputs, None if inputs else talk.entry.revision)
        document_id = talk.entry.document_id
        ref = workspace.fresh(name, fingerprint, document=document_id)
        if ref is None or (renewed and name == "questions"):
            ref = workspace.save(name, [getattr(talk, name)], fingerprint, document=document_id)
            level = logging.INFO if name == PASSES[-1] else logging.DEBUG  # a line per talk is enough to watch
            log.log(level, "%s: %s", document_id, talk.summary(name))
        inputs.append(ref)
    if row:
        workspace.ledger.record(row._replace(sha256=inputs[0].sha256) if inputs else row)


def further(graph: Graph, talks: Sequence[Talk]) -> dict[str, int]:
    """How many further questions each talk is asked, towards `questions.target_pairs`; {} when that is done with."""
    settings = graph.config.questions
    if settings.target_pairs is None:
        return {}
    known = {talk.document_id: graph.workspace.read(talk.questions) for talk in talks}
    asked = sum(len(questions.questions) for questions in known.values())
    rooms = {name: extracting.room(questions, settings) for name, questions in known.items()}
    accepted = _accepted(graph)
    more = extracting.further(settings.target_pairs, accepted, asked, rooms)
    if more:
        log.info("%s accepted pairs of %s: %s further questions are asked",
                 f"{accepted:,}", f"{settings.target_pairs:,}", f"{sum(more.values()):,}")  # fmt: skip
    return more


def report_target(graph: Graph) -> None:
    """Whether `questions.target_pairs` was reached."""
    settings = graph.config.questions
    if settings.target_pairs is None:
        return
    accepted = _accepted(graph)
    if accepted < settings.target_pairs:
        log.warning(
            "%s pairs are accepted where questions.target_pairs aims at %s: no talk holds more, or may be asked more "
            "(questions.at_most: %d); add talks",
            *(f"{accepted:,}", f"{settings.target_pairs:,}", settings.at_most),
        )
    else:
        log.info("%s pairs are accepted, %s were aimed at", f"{accepted:,}", f"{settings.target_pairs:,}")


def _accepted(graph: Graph) -> int:
    return sum(pair.kept for pair in graph.workspace.rows(graph.get("pairs")))


@policies.talk_task("extend")
def extend(workspace: Workspace, entry: Entry, extra: int) -> int:
    """Ask a talk up to `extra` further questions, and answer them. Returns how many came."""
    talk, teacher = load(workspace, entry), policies.shared_teacher(workspace)
    assert talk.document and talk.questions and talk.answers, "only talks that were read are asked on"
    try:
        questions = extracting.extend(talk.document, talk.questions, teacher, extra)
        answers = generating.answer(talk.document, questions, teacher, workspace.config.answers)
    except TeacherError as error:
        log.warning("%s is asked no further questions: %s", entry.locator, error)
        questions, answers = talk.questions.model_copy(update={"exhausted": True}), talk.answers
    save(workspace, talk._replace(questions=questions, answers=answers), renewed=True)
    return len(questions.questions) - len(talk.questions.questions)


@policies.talk_task("submit-batch")
def submit_batch(workspace: Workspace, entries: list[Entry], until: Pass) -> int:
    """Have a teacher that works in batches answer one pass over all talks at once. Returns how many replies came."""
    teacher, requests = policies.shared_teacher(workspace), []
    for refs in (chain(workspace, entry) for entry in entries):
        if until == "questions" and set(refs) == {"document"}:
            requests += extracting.requests(workspace.read(refs["document"]), teacher, workspace.config.questions)
        if until == "answers" and set(refs) == {"document", "questions"}:
            document, questions = workspace.read(refs["document"]), workspace.read(refs["questions"])
            requests += generating.requests(document, questions, teacher, workspace.config.answers)
    with track(f"batch of {until}") as progress:
        return teacher.submit_batch(requests, progress)


@policies.talk_task("verify")
def verify_talks(workspace: Workspace, gated: AssetRef, talks: list[Talk]) -> None:
    """A second model's verdicts on the pairs that the gates kept, talk by talk."""
    verifier = policies.shared_teacher(workspace, "verify")
    assert isinstance(verifier, ModelTeacher), "preflight refuses a verifier that is no language model"
    for talk in talks:
        verifying.verify_talk(workspace, gated, talk, verifier)


def _read(workspace: Workspace, entry: Entry, until: Pass) -> bool:
    """Read a talk as far as `until`, each pass saved before the next; True when it came so far."""
    before = load(workspace, entry)
    save(workspace, before)
    for name in PASSES[: PASSES.index(until) + 1]:
        talk = _advanced(workspace, before, name, policies.last_attempt())
        if talk != before:
            save(workspace, talk)
        if not talk.has(name):
            return False
        before = talk
    return True


def _advanced(workspace: Workspace, talk: ReadTalk, until: Pass, last_attempt: bool) -> ReadTalk:
    """The talk, read as far as `until` or as far as it can be. Raises Transient, unless this is the last attempt."""
    config = workspace.config
    if talk.document is None:
        source = policies.source_of(workspace, talk.entry)
        part = workspace.ledger.of(key_of(talk.entry.revision))
        with policies.one_fetch_at_a_time(source):
            talk = collecting.collect(talk, source, part, datetime.now(UTC), last_attempt)
    if talk.document is None or until == "document":
        return talk
    document, teacher = talk.document, policies.shared_teacher(workspace)
    try:
        if talk.questions is None:
            talk = talk._replace(questions=extracting.extract(document, teacher, config.questions))
        if talk.answers is None and talk.questions and until == "answers":
            talk = talk.answered(generating.answer(document, talk.questions, teacher, config.answers))
    except TeacherError as error:
        log.warning("%s is left out of this run: %s", talk.entry.locator, error)
        talk = talk.unanswered(str(error))
    return talk
