"""
What `--estimate` says against what the calls then take, for every model that is asked.

The questions and answers are those written for the sample channel. Verdicts and variants are of the usual length: a
question, a quote of 22 words and a reason; a rewording as long as its question.
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from understudy.calls import Call, Reply, Usage, augmenting, judging, verifying
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS, ModelTeacher
from understudy.config import load
from understudy.records import Answers, Document, Pair, Questions
from understudy.registry import build
from understudy.stages import extract_questions, generate_answers
from understudy.stages.estimate import Talk, estimate, others, usual_of
from understudy.workspace import Workspace

PRESET = Path(__file__).resolve().parents[1] / "deployments/presets/demo.yaml"
EVERY = 5  # so many talks, one is answered before the estimate
ASKED = {"use": "openai", "model": "gpt-4.1-mini"}


class Bill:
    """The ledgers that calls are written into, and what they came to."""

    def __init__(self, model: ModelTeacher, workspace: Workspace) -> None:
        self.model, self.usd = model, defaultdict[str, float](float)
        folders = {"verify": workspace.verifier_folder, "judge": workspace.judge_folder}
        self._ledgers = {kind: CallLedger(folder / CALLS) for kind, folder in folders.items()}
        self._teacher = CallLedger(workspace.folder / CALLS)

    def add(self, call: Call, items: int, reply: object, asked: int | None = None) -> None:
        """Count one call with its reply; the price is that without a prompt cache."""
        text = json.dumps(reply, ensure_ascii=False)
        usage = Usage(call.input_tokens, 0, 0, self.model.tokens(text))
        ledger = self._ledgers.get(call.kind, self._teacher)
        ledger.keep(call, ledger.intend(call, 0.0), Reply(text, "stop", None, usage), 0.0)
        ledger.judged(call, 0, items, asked or items)
        self.usd[call.kind] += self.model.usd()(usage, None)


def figures() -> Iterator[Figure]:
    """The estimate over the bill, before anything is known and after a few talks."""
    with tempfile.TemporaryDirectory() as folder:
        more = {"teacher": ASKED, "verify": ASKED, "evaluate.judge": ASKED, "augment": {"paraphrases": 1}}
        workspace = Workspace(home=Path(folder), config=load(PRESET, more))
        model = build("teacher", "openai", {"model": ASKED["model"]})
        written = list(_written(Path(folder)))
        talks = [Talk(document, None, False) for document, _, _ in written]
        blind, bill = _estimated(workspace, model, talks), Bill(model, workspace)
        for one in written[::EVERY]:
            _asked(bill, *one, workspace)
        known = _estimated(workspace, model, talks)
        for at, one in enumerate(written):
            if at % EVERY:
                _asked(bill, *one, workspace)
        paid, first = sum(bill.usd.values()), sum(blind.values())
        yield Figure("estimate_over_paid_before_any_reply", first / paid)
        yield Figure("estimate_over_paid_after_6_of_26_talks", sum(known.values()) / paid, "<=", 1.25)
        yield Figure("paid_over_estimate_after_6_of_26_talks", paid / sum(known.values()), "<=", 1.25)
        for kind in known:
            yield Figure(f"estimate_over_paid_{kind}", known[kind] / bill.usd[kind])


def _estimated(workspace: Workspace, model: ModelTeacher, talks: list[Talk]) -> dict[str, float]:
    """USD by kind of call, without a prompt cache."""
    rows = estimate(model, talks, workspace.config.questions, usual=usual_of(workspace.folder, model))
    usd = model.usd()
    return {row.kind: usd(Usage(row.fresh + row.cached, 0, 0, row.output), None)
            for row in [*rows, *others(workspace, talks)]}  # fmt: skip


def _written(folder: Path) -> Iterator[tuple[Document, Questions, Answers]]:
    """Each talk of the sample with its recorded questions and answers."""
    config = load(PRESET)
    replay, source = config.plugin("teacher"), config.plugin("source")
    replay.begin(folder / "recording")
    for entry, _ in source.list_talks():
        document = source.fetch(entry)
        questions = extract_questions.extract(document, replay, config.questions)
        yield document, questions, generate_answers.answer(document, questions, replay, config.answers)
    replay.close()


def _asked(bill: Bill, document: Document, questions: Questions, answers: Answers, workspace: Workspace) -> None:
    """Count every call about one talk."""
    config, model = workspace.config, bill.model
    texts = {one.question_number: one.answer for one in answers.answers if one.answer}
    listed = questions.questions
    for request in extract_questions.requests(document, model, config.questions):
        items = [{"question_number": q.question_number, "text": f"{q.question}\ntags: {', '.join(q.tags)}"}
                 for q in listed]  # fmt: skip
        bill.add(model.call(request), len(listed), {"items": items}, request.count)
    for request in generate_answers.requests(document, questions, model, config.answers):
        replies = [{"question_number": number, "text": text} for number, text in texts.items()]
        bill.add(model.call(request), len(texts), {"items": replies})
    pairs = [_pair(document, q.question, q.question_number, texts[q.question_number]) for q in listed
             if q.question_number in texts]  # fmt: skip
    verdicts = [{"question_number": pair.question_number, "question": pair.question, "reason": "The talk says so.",
                 "evidence_quote": " ".join(document.text.split()[:22]), "grounded": True, "no_hallucination": True,
                 "complete": True, "standalone": True} for pair in pairs]  # fmt: skip
    bill.add(verifying.call_for(model, document, pairs, 0), len(pairs), {"items": verdicts})
    splits = config.split.valid + config.split.test
    train = pairs[round(len(pairs) * splits) :]
    wishes = list(augmenting.wishes(train, config.augment, 0))
    variants = [{"question_number": wish.number, "text": wish.pair.question} for wish in wishes if wish.pair]
    bill.add(augmenting.call_for(model, document, wishes), len(wishes), {"items": variants})
    for pair in pairs[:1]:  # of each talk, which comes to as many as the run asks
        one = judging.Question(pair.pair_id, document.document_id, pair.question, pair.answer, pairs[0].answer,
                               pair.answer, pair.answer)  # fmt: skip
        for order in (("tuned", "base"), ("base", "tuned")):
            verdict = {"a_contradicts": False, "b_contradicts": False, "voice": "A", "answer": "tie"}
            bill.add(judging.call_for(model, one, order), 1, verdict)


def _pair(document: Document, question: str, number: int, answer: str) -> Pair:
    return Pair(pair_id=f"{document.document_id}#{number}", document_id=document.document_id, title=document.title,
                published=None, question_number=number, question=question, answer=answer, tags=[], start_seconds=None,
                end_seconds=None, document_sha256="", teacher="", prompt_sha256=None, kept=True, gate=None,
                reason=None)  # fmt: skip
