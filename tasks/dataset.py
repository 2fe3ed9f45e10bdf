"""Tasks of the dataset half: list, collect, extract questions, generate answers, gate, split."""

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from prefect import task

from tasks import policies
from understudy import decisions, imported
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.calls.prompting import estimated_tokens
from understudy.errors import Blocked, SourceError, TeacherError, Transient
from understudy.interfaces import Gate, Source
from understudy.ledger import Ledger, Row
from understudy.progress import track
from understudy.records import AssetRef, Document, Entry, Pair, SplitPlan, Talk, Variant
from understudy.stages import augment as augmenting
from understudy.stages import collect as collecting
from understudy.stages import describe as describing
from understudy.stages import extract_questions as extracting
from understudy.stages import gate as gating
from understudy.stages import generate_answers as generating
from understudy.stages import split as splitting
from understudy.stages import verify as verifying
from understudy.stages import write_format as formatting
from understudy.workspace import Workspace

log = logging.getLogger("understudy.dataset")
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
    return entry if entry and _asked(workspace, entry) else None


@task(name="generate-answers", **policies.DOCUMENTS)
def generate_answers(workspace: Workspace, entry: Entry | None) -> bool:
    """Pass 2 over a talk with questions: all of them in one request."""
    return entry is not None and _answered(workspace, entry)


@task(name="read-talks", **policies.DOCUMENTS)
def read_talks(workspace: Workspace, entries: list[Entry], until: Pass = "answers") -> int:
    """Many talks, one after another, each as far as `until` before the next is begun. Returns how many came so far."""
    steps = [_collected, _asked, _answered][: PASSES.index(until) + 1]
    return sum(all(step(workspace, entry) for step in steps) for entry in entries)


@task(name="ask-ahead", **policies.DOCUMENTS)
def ask_ahead(workspace: Workspace, entries: list[Entry], until: Pass) -> int:
    """Have a teacher that works in batches answer one pass over all talks at once. Returns how many replies came."""
    teacher, wanted = policies.shared_teacher(workspace), []
    for chain in map(workspace.chain, entries):
        if until == "questions" and set(chain) == {"document"}:
            wanted += extracting.requests(workspace.read(chain["document"]), teacher, workspace.config.questions)
        if until == "answers" and set(chain) == {"document", "questions"}:
            document, questions = workspace.read(chain["document"]), workspace.read(chain["questions"])
            wanted += generating.requests(document, questions, teacher)
    with track(f"batch of {until}") as report:
        return teacher.ahead(wanted, report)


def decided(workspace: Workspace) -> str | None:
    """Digest of what people decided about single pairs."""
    return _decisions(workspace).fingerprint


@task(name="gate", **policies.ASSET)
def gate(workspace: Workspace, made_from: str, talks: list[Talk], name: Literal["pairs", "judged"]) -> AssetRef:
    """All pairs of the channel with the verdicts of the free gates; 'judged' when a verifier follows."""
    if found := policies.ready(name, workspace, made_from):
        return found
    with track("gate") as report:
        pairs = gating.judge(_joined(workspace, talks), _gates(workspace, talks), report, _decisions(workspace).apply)
    return _kept_pairs(workspace, name, pairs, made_from)


@task(name="verify", **policies.DOCUMENTS)
def verify(workspace: Workspace, judged: AssetRef, talks: list[Talk]) -> list[AssetRef]:
    """A second model's verdicts on the pairs that the gates kept, talk by talk."""
    kept = _by_talk(pair for pair in workspace.rows(judged) if pair.kept)
    return [_verified(workspace, talk, kept.get(_document_of(talk), [])) for talk in talks]


def to_verify(workspace: Workspace, judged: AssetRef, talks: Sequence[Talk]) -> list[Talk]:
    """The talks whose kept pairs the verifier has not seen as they are now."""
    kept = _by_talk(pair for pair in workspace.rows(judged) if pair.kept)
    return [talk for talk in talks if _checked(workspace, talk, kept.get(_document_of(talk), [])) is None]


def verified(workspace: Workspace, judged: AssetRef, talks: Sequence[Talk]) -> list[AssetRef]:
    """The verifier's verdicts on all talks."""
    kept = _by_talk(pair for pair in workspace.rows(judged) if pair.kept)
    found = (_checked(workspace, talk, kept.get(_document_of(talk), [])) for talk in talks)
    return [ref for ref in found if ref]


@task(name="accept", **policies.ASSET)
def accept(workspace: Workspace, made_from: str, judged: AssetRef, verified: list[AssetRef]) -> AssetRef:
    """All pairs with the verdicts of gates, verifier and people."""
    if found := policies.ready("pairs", workspace, made_from):
        return found
    told = {found.document_id: found for found in map(workspace.read, verified)}
    pairs = verifying.apply(workspace.rows(judged), told, workspace.config.verify.only_approved)
    log.info("verifier: %s", verifying.told(verifying.summary(told.values())))
    return _kept_pairs(workspace, "pairs", _decisions(workspace).apply(pairs), made_from)


@task(name="split", **policies.ASSET)
def split(workspace: Workspace, made_from: str, pairs: AssetRef) -> AssetRef:
    """The plan, and the rows of each side; the plan is written last."""
    if found := policies.ready("split", workspace, made_from):
        return found
    kept: dict[str, Pair] = {pair.pair_id: pair for pair in workspace.rows(pairs)}
    before = workspace.current("split")
    frozen: SplitPlan | None = workspace.read(before) if before else None
    if frozen and not frozen.honest:
        frozen = None  # a split made of too few talks is not worth keeping once there are more
    plan = splitting.split(list(kept.values()), workspace.config.split, workspace.config.seed, frozen)
    for note in plan.notes:
        log.warning("split: %s", note)
    for side in splitting.SIDES:
        workspace.save(side, [splitting.example(kept[pair_id]) for pair_id in plan.sides[side]], made_from)
    return workspace.save("split", [plan], made_from)


@task(name="augment", **policies.ASSET)
def augment(
    workspace: Workspace, made_from: str, pairs: AssetRef, split: AssetRef, talks: list[Talk], base: list[AssetRef]
) -> AssetRef:
    """The train side with its variants; valid and test stay as they are."""
    if found := policies.ready("augmented", workspace, made_from):
        return found
    config, rows, plan = workspace.config, workspace.rows(pairs), workspace.read(split)
    variants: list[Variant] = []
    if config.augment.asks_teacher:
        documents = {_document_of(talk): talk.document for talk in talks}
        kept = [pair for pair in rows if pair.kept]
        with track("augment") as report:
            found = augmenting.taught(
                rows,
                plan,
                lambda document_id: workspace.read(documents[document_id]),
                policies.shared_teacher(workspace),
                augmenting.by_gates(_gates(workspace, talks), kept),
                config.augment,
                config.seed,
                config.runner.workers,
                report,
            )
        variants += found.variants
        log.info("augment: %d variants, left out: %s", len(found.variants), dict(found.dropped))
    for ref in base:
        answer = partial(_base_answers, workspace, ref)
        variants += augmenting.replayed(len(plan.sides["train"]), config.augment, config.seed, answer).variants
    chosen = augmenting.apart(variants, rows, plan, config.split.near_duplicate, config.seed).variants
    workspace.save("variants", chosen, made_from)
    train = augmenting.merged(workspace.rows(workspace.current("train")), chosen, plan)
    return workspace.save("augmented", train, made_from)


def _base_answers(workspace: Workspace, base: AssetRef, prompts: list[str]) -> list[str]:
    """What the base itself says to general prompts."""
    rows = [augmenting.asked(prompt, at) for at, prompt in enumerate(prompts)]
    with track("base answers") as report:
        most = workspace.config.evaluate.max_tokens
        samples = workspace.engine("mlx").run(workspace.file(base), None, rows, len(rows), most, report)
    return [sample.text or "" for sample in samples]


@task(name="describe", **policies.ASSET)
def describe(workspace: Workspace, made_from: str, pairs: AssetRef, split: AssetRef, talks: list[Talk]) -> AssetRef:
    """The dataset in numbers, tables and pictures."""
    ledger = CallLedger(workspace.folder / CALLS)
    usd = sum(total.usd for total in ledger.summary()) or None
    ledger.close()
    documents = (workspace.read(talk.document) for talk in talks)
    questions = (workspace.read(talk.questions) for talk in talks)
    rows, plan = workspace.rows(pairs), workspace.read(split)
    return workspace.build_folder(
        "description",
        lambda out: describing.describe(rows, plan, documents, questions, estimated_tokens, usd, out),
        made_from,
    )


@task(name="write-format", **policies.ASSET)
def write_format(
    workspace: Workspace, made_from: str, format: str, pairs: AssetRef, split: AssetRef, talks: list[Talk]
) -> AssetRef:
    """The kept pairs as another program reads them."""
    rows, plan = workspace.rows(pairs), workspace.read(split)
    documents = (workspace.read(talk.document) for talk in talks)
    summary = (workspace.folder / "dataset" / "description" / describing.SUMMARY).read_text(encoding="utf-8")
    return workspace.build_folder(
        "format",
        lambda out: formatting.write(format, rows, plan, workspace.config, documents, summary, out),
        made_from,
        format=format,
    )


def _decisions(workspace: Workspace) -> decisions.Decisions:
    return decisions.load(workspace.folder)


def _gates(workspace: Workspace, talks: Sequence[Talk]) -> list[tuple[str, Gate]]:
    """The gates of the preset, in order; those that compare answers with talks can read them."""
    documents = {_document_of(talk): talk.document for talk in talks}
    found = [(spec.use, workspace.plugin("gate", spec)) for spec in workspace.config.gates]
    for _, gate in found:
        gate.text_of = lambda document_id: workspace.read(documents[document_id]).text
    return found


def _kept_pairs(workspace: Workspace, asset: str, pairs: list[Pair], made_from: str) -> AssetRef:
    """Write the verdicts beside each talk, then all pairs."""
    for document_id, verdicts in gating.verdicts(pairs).items():
        found = workspace.fingerprint("verdicts", extra=verdicts.model_dump())
        if workspace.fresh("verdicts", found, document=document_id) is None:
            workspace.save("verdicts", [verdicts], found, document=document_id)
    return workspace.save(asset, pairs, made_from)


def _checked(workspace: Workspace, talk: Talk, pairs: list[Pair]) -> AssetRef | None:
    """The verifier's verdicts on these pairs of a talk, when they are on disk."""
    return workspace.fresh("verified", _checked_from(workspace, talk, pairs), document=_document_of(talk))


def _checked_from(workspace: Workspace, talk: Talk, pairs: list[Pair]) -> str:
    numbers = [pair.question_number for pair in pairs]
    return workspace.fingerprint("verified", [talk.document, talk.questions, talk.answers], numbers)


def _verified(workspace: Workspace, talk: Talk, pairs: list[Pair]) -> AssetRef:
    """The verifier's verdicts on one talk, unless they are fresh."""
    if found := _checked(workspace, talk, pairs):
        return found
    config, verifier = workspace.config, policies.shared_verifier(workspace)
    document, questions = workspace.read(talk.document), workspace.read(talk.questions)
    verdicts = verifying.verify(document, pairs, verifier, config.verify, config.seed, questions.parts)
    made_from = _checked_from(workspace, talk, pairs)
    return workspace.save("verified", [verdicts], made_from, document=_document_of(talk))


def _by_talk(pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    found: dict[str, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair.document_id, []).append(pair)
    return found


def _document_of(talk: Talk) -> str:
    return talk.document.path.split("/")[-2]


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
