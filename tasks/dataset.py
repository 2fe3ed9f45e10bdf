"""Tasks that make one dataset of all talks: gate, verify, split, augment, describe, write formats."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

from prefect import task
from understudy.tasks import policies

from understudy import store
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.calls.prompting import estimated_tokens
from understudy.channel import decisions
from understudy.interfaces import Gate
from understudy.progress import track
from understudy.records import AssetRef, Pair, SplitPlan, Talk, Variant
from understudy.stages import augment as augmenting
from understudy.stages import describe as describing
from understudy.stages import gate as gating
from understudy.stages import generate_answers as generating
from understudy.stages import split as splitting
from understudy.stages import verify as verifying
from understudy.stages import write_format as formatting
from understudy.workspace import Workspace

log = logging.getLogger("understudy.dataset")


def decided(workspace: Workspace) -> str | None:
    """Digest of what people decided about single pairs."""
    return _decisions(workspace).fingerprint


@task(name="gate", **policies.ASSET)
def gate(workspace: Workspace, made_from: str, talks: list[Talk], name: Literal["pairs", "judged"]) -> AssetRef:
    """All pairs of the channel with the verdicts of the free gates; 'judged' when a verifier follows."""
    if found := policies.ready(name, workspace, made_from):
        return found
    with track("gate") as progress:
        pairs = gating.judge(_joined(workspace, talks), _gates(workspace, talks), progress, _decisions(workspace).apply)
    return _kept_pairs(workspace, name, pairs, made_from)


@task(name="verify", **policies.DOCUMENTS)
def verify(workspace: Workspace, judged: AssetRef, talks: list[Talk]) -> list[AssetRef]:
    """A second model's verdicts on the pairs that the gates kept, talk by talk."""
    kept = _kept_by_talk(workspace.home, judged)
    return [_verified(workspace, talk, kept.get(_document_of(talk), [])) for talk in talks]


def to_verify(workspace: Workspace, judged: AssetRef, talks: Sequence[Talk]) -> list[Talk]:
    """The talks whose kept pairs the verifier has not seen as they are now."""
    kept = _kept_by_talk(workspace.home, judged)
    return [talk for talk in talks if _checked(workspace, talk, kept.get(_document_of(talk), [])) is None]


def verified(workspace: Workspace, judged: AssetRef, talks: Sequence[Talk]) -> list[AssetRef]:
    """The verifier's verdicts on all talks."""
    kept = _kept_by_talk(workspace.home, judged)
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
        with track("augment") as progress:
            found = augmenting.taught(
                rows,
                plan,
                lambda document_id: workspace.read(documents[document_id]),
                policies.shared_teacher(workspace),
                augmenting.by_gates(_gates(workspace, talks), kept),
                config.augment,
                config.seed,
                config.runner.workers,
                progress,
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
    with track("base answers") as progress:
        most = workspace.config.evaluate.max_tokens
        samples = workspace.engine("mlx").run(workspace.file(base), None, rows, len(rows), most, progress)
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
    remarks = list(_remarks(workspace, talks))
    return workspace.build_folder(
        "description",
        lambda out: describing.describe(rows, plan, documents, questions, estimated_tokens, usd, remarks, out),
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


def tell_of_old_formats(workspace: Workspace) -> None:
    """Warn of formats that an earlier run wrote and this one did not make anew."""
    for folder in sorted((workspace.folder / "dataset" / "formats").glob("*/")):
        if folder.name not in workspace.config.formats:
            log.warning("%s is of an earlier run; delete it, or have it made anew: formats=[%s]", folder, folder.name)


def _remarks(workspace: Workspace, talks: Sequence[Talk]) -> Iterator[str]:
    """What became of the questions asked, and what the verifier said, where there is one."""
    tally = sum((generating.tally(workspace.read(talk.answers)) for talk in talks), start=Counter[str]())
    passes = ", ".join(f"{tally[name]} {name}" for name in ("asked", "answered", "repaired", "failed"))
    yield f"Questions: {passes}."
    if workspace.config.verify.use != "none":
        found = (workspace.current("verified", document=_document_of(talk)) for talk in talks)
        yield f"Verifier {verifying.told(verifying.summary(workspace.read(ref) for ref in found if ref))}."


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


@lru_cache(maxsize=1)
def _kept_by_talk(home: Path, judged: AssetRef) -> dict[str, list[Pair]]:
    """The kept pairs of each talk, read once for all the tasks that verify them."""
    found: dict[str, list[Pair]] = {}
    for pair in store.read_rows(home, judged, Pair):
        if pair.kept:
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
