"""Stage `gate`: every pair of the channel gets a verdict; what is refused is kept with its reason."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from understudy.channel import decisions
from understudy.errors import DatasetError
from understudy.graph import Graph, Node, Refs, fingerprint_of
from understudy.interfaces import Gate, Masking, Progress, Scoring
from understudy.records import Answers, AssetRef, Document, Pair, PairSource, Questions, Verdict, Verdicts, Verified
from understudy.stages import verify
from understudy.text import keywords
from understudy.workspace import Workspace

VERSION = 2
LEFT_OUT = "compose"
"""The gate of pairs that no row is composed of."""
log = logging.getLogger("understudy.dataset")


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> list[object]:
    """What people decided about single pairs; whether what was not verified is refused."""
    return [decisions.load(graph.workspace.folder).fingerprint, "gated" in inputs and graph.config.verify.only_approved]


def materialize(node: Node) -> AssetRef:
    """All pairs of the channel with the verdicts of gates, people and, where there is one, the verifier.

    `gated` holds the pairs before the verifier looked at them, `talk_pairs` those before rows were composed of them.
    """
    decided: Callable[[Sequence[Pair]], list[Pair]] = decisions.load(node.workspace.folder).apply
    built = gates(node.workspace, node.group("document"))
    first, last = ([one for one in built if getattr(one[1], "LAST", False) == late] for late in (False, True))
    if "composed" in node.inputs:
        decided = _but_left_out(decided)
        with node.track() as progress:
            pairs = judge(node.rows("composed"), first, progress, decided)
    elif "gated" in node.inputs:
        verified: list[Verified] = [node.workspace.read(ref) for ref in node.group("verified").values()]
        by_talk = {verdicts.document_id: verdicts for verdicts in verified}
        pairs = decided(verify.apply(node.rows("gated"), by_talk, node.config.verify.only_approved))
        log.info("verifier: %s", verify.sentence(verify.summary(verified)))
    else:
        with node.track() as progress:
            pairs = judge(_joined(node), first, progress, decided)
    if node.name == "pairs" and last:  # all else is known of them by now, the second model's verdicts too
        pairs = judge(pairs, last, lambda done, total, note="": None, decided)
    if node.name == "pairs" and node.config.plugin("recipe").closed_book:
        pairs = with_keywords(pairs)
    for document_id, of_talk in verdicts(pairs).items():
        _save_verdicts(node, document_id, of_talk)
    return node.save(pairs)


def gates(workspace: Workspace, documents: Refs) -> list[tuple[str, Gate]]:
    """The gates of the preset, in order; those that compare answers with talks can read them (document id > ref)."""
    built = [(spec.use, workspace.config.plugin("gate", spec)) for spec in workspace.config.gates]
    for _, gate in built:
        gate.text_of = lambda document_id: workspace.read(documents[document_id]).text
    return built


def join(
    document: Document, sha256: str, questions: Questions, answers: Answers, composes: bool = False
) -> Iterator[Pair]:
    """The answered questions of one talk as pairs with their provenance, not yet judged.

    `composes`: where in the text each stands is kept too, for the passages that come with it.
    """
    given, place_of = {a.question_number: a for a in answers.answers}, document.section
    for q in questions.questions:
        answer = given.get(q.question_number)
        if answer is None or answer.answer is None:
            continue
        start, end = _seconds(document, q.first_paragraph, q.last_paragraph)
        place = PairSource(
            document_id=document.document_id,
            title=document.title,
            first_paragraph=q.first_paragraph,
            last_paragraph=q.last_paragraph,
        )
        yield Pair(
            pair_id=f"{document.document_id}#{q.question_number}",
            document_id=document.document_id,
            title=document.title,
            published=document.published,
            question_number=q.question_number,
            question=q.question,
            answer=answer.answer,
            tags=q.tags,
            part=q.part,
            start_seconds=start,
            end_seconds=end,
            document_sha256=sha256,
            teacher=answers.teacher,
            prompt_sha256=answers.prompt_sha256,
            kept=True,
            gate=None,
            reason=None,
            kind="grounded" if composes else "plain",
            sources=[place] if composes else [],
            manual=place_of.manual if place_of else None,
            section=" > ".join(place_of.heading) or document.title if place_of else None,
            type=q.type,
            reasoning=answer.reasoning,
            difficulty=q.difficulty,
        )


def with_keywords(pairs: Sequence[Pair]) -> list[Pair]:
    """The kept pairs with what a right answer must mention, written down before any model is asked."""
    rare = keywords.rarity(pair.answer for pair in pairs if pair.kept)
    return [
        pair.model_copy(update={"keywords": keywords.decisive(pair.question, pair.answer, rare)}) if pair.kept else pair
        for pair in pairs
    ]


def judge(
    pairs: Iterable[Pair],
    gates: Sequence[tuple[str, Gate]],
    progress: Progress,
    decide: Callable[[Sequence[Pair]], list[Pair]] = list,
) -> list[Pair]:
    """Run the gates in order; the first that refuses a pair names the reason, and people have the last word.

    `decide` puts in what people decided: before the gates, so that a rejected pair shadows no other, and after.
    Raises DatasetError when none is kept.
    """
    judged = {pair.pair_id: pair for pair in decide(list(pairs))}
    for at, (name, gate) in enumerate(gates):
        progress(at, len(gates), name)
        if isinstance(gate, Masking):
            judged = {pair.pair_id: gate.masked(pair) for pair in judged.values()}
        left = [pair for pair in judged.values() if pair.kept and _is_for(gate, pair)]
        gate.study(left)
        for pair in left:
            reason = gate.judge(pair)
            if isinstance(gate, Scoring):
                judged[pair.pair_id] = pair = gate.scored(pair)
            if reason is not None:
                judged[pair.pair_id] = pair.model_copy(update={"kept": False, "gate": name, "reason": reason})
    progress(len(gates), len(gates))
    decided = decide(list(judged.values()))
    _refuse_empty(decided)
    return decided


def _is_for(gate: Gate, pair: Pair) -> bool:
    """Most gates want an answer made of the talk, which a refusal is not."""
    return pair.kind != "refusal" or getattr(gate, "FOR_REFUSALS", False)


def verdicts(pairs: Iterable[Pair]) -> dict[str, Verdicts]:
    """The same verdicts, talk by talk."""
    per_talk: dict[str, list[Verdict]] = {}
    for pair in pairs:
        verdict = Verdict(question_number=pair.question_number, kept=pair.kept, gate=pair.gate, reason=pair.reason)
        per_talk.setdefault(pair.document_id, []).append(verdict)
    return {talk: Verdicts(document_id=talk, verdicts=verdicts) for talk, verdicts in per_talk.items()}


def refusals(pairs: Iterable[Pair]) -> Mapping[str, int]:
    """Refused pairs per gate, the greediest first."""
    counts: dict[str, int] = {}
    for pair in pairs:
        if pair.gate:
            counts[pair.gate] = counts.get(pair.gate, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _but_left_out(decide: Callable[[Sequence[Pair]], list[Pair]]) -> Callable[[Sequence[Pair]], list[Pair]]:
    """What people decided, but for pairs that rows were composed without: they have no passages."""

    def decided(pairs: Sequence[Pair]) -> list[Pair]:
        out = {pair.pair_id for pair in pairs if pair.gate == LEFT_OUT}
        return [pair if pair.pair_id in out else new for pair, new in zip(pairs, decide(pairs), strict=True)]

    return decided


def _refuse_empty(pairs: Sequence[Pair]) -> None:
    if not any(pair.kept for pair in pairs):
        eaten = ", ".join(f"{gate} refused {count}" for gate, count in refusals(pairs).items()) or "there were none"
        raise DatasetError(f"none of {len(pairs)} pairs is left: {eaten}. Loosen that gate in the preset (gates:)")


def _seconds(document: Document, first: int | None, last: int | None) -> tuple[float | None, float | None]:
    """Where in the talk the answer stands: the start of its span, and of what follows it."""
    if first is None:
        return None, None
    following = (last if last is not None else first) + 1
    end = (
        document.paragraphs[following].start_seconds
        if following < len(document.paragraphs)
        else document.duration_seconds
    )
    return document.paragraphs[first].start_seconds, end


def _joined(node: Node) -> Iterator[Pair]:
    questions, answers = node.group("questions"), node.group("answers")
    for document_id, document in node.group("document").items():
        yield from join(
            node.workspace.read(document),
            document.sha256,
            node.workspace.read(questions[document_id]),
            node.workspace.read(answers[document_id]),
            node.config.composes,
        )


def _save_verdicts(node: Node, document_id: str, of_talk: Verdicts) -> None:
    """Write the verdicts beside their talk, unless they stand there already."""
    fingerprint = fingerprint_of(node.workspace, "verdicts", extra=of_talk.model_dump())
    if node.workspace.fresh("verdicts", fingerprint, document=document_id) is None:
        node.workspace.save("verdicts", [of_talk], fingerprint, document=document_id)
