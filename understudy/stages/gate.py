"""Stage `gate`: every pair of the channel gets a verdict; what is refused is kept with its reason."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from understudy.errors import DatasetError
from understudy.interfaces import Gate, Progress
from understudy.records import Answers, Document, Pair, Questions, Verdict, Verdicts

VERSION = 2


def join(document: Document, sha256: str, questions: Questions, answers: Answers) -> Iterator[Pair]:
    """The answered questions of one talk as pairs with their provenance, not yet judged."""
    texts = {a.question_number: a.answer for a in answers.answers}
    for q in questions.questions:
        text = texts.get(q.question_number)
        if text is None:
            continue
        start, end = _seconds(document, q.first_paragraph, q.last_paragraph)
        yield Pair(
            pair_id=f"{document.document_id}#{q.question_number}",
            document_id=document.document_id,
            title=document.title,
            published=document.published,
            question_number=q.question_number,
            question=q.question,
            answer=text,
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
        )


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
        left = [pair for pair in judged.values() if pair.kept]
        gate.study(left)
        for pair in left:
            reason = gate.judge(pair)
            if reason is not None:
                judged[pair.pair_id] = pair.model_copy(update={"kept": False, "gate": name, "reason": reason})
    progress(len(gates), len(gates))
    decided = decide(list(judged.values()))
    _refuse_empty(decided)
    return decided


def verdicts(pairs: Iterable[Pair]) -> dict[str, Verdicts]:
    """The same verdicts, talk by talk."""
    per_talk: dict[str, list[Verdict]] = {}
    for pair in pairs:
        verdict = Verdict(question_number=pair.question_number, kept=pair.kept, gate=pair.gate, reason=pair.reason)
        per_talk.setdefault(pair.document_id, []).append(verdict)
    return {talk: Verdicts(document_id=talk, verdicts=found) for talk, found in per_talk.items()}


def refusals(pairs: Iterable[Pair]) -> Mapping[str, int]:
    """Refused pairs per gate, the greediest first."""
    counts: dict[str, int] = {}
    for pair in pairs:
        if pair.gate:
            counts[pair.gate] = counts.get(pair.gate, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


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
