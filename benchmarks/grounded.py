"""
Answers from given texts: the index, the composition of rows over random corpora, and planted effects named rightly.

No model runs here. What the demo itself comes to is in its report.
"""

import random
import statistics
import time
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from benchmarks.figures import Figure
from understudy.dataset.contexts import Contexts, Sizes, balanced
from understudy.interfaces import Metric, References
from understudy.records import (
    ChatExample,
    Document,
    Leakage,
    Message,
    Pair,
    PairKind,
    PairSource,
    Paragraph,
    Passage,
    Sample,
    Scorecard,
    Split,
    SplitPlan,
)
from understudy.registry import build
from understudy.retrieval.index import Index
from understudy.retrieval.passages import Cutting, cut
from understudy.scoring.statistics import mean_change
from understudy.scoring.verdicts import MARGINS, verdict
from understudy.stages.evaluate import score

PASSAGES, WORDS, QUERIES = 100_000, 80, 200
CORPORA, SEEDS = 200, 100
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
THINGS = ("crane", "bell", "lamp", "net", "rope", "winch", "oven", "gauge", "sluice", "buoy")
SHARES: dict[PairKind, float] = {"grounded": 0.6, "synthesis": 0.2, "refusal": 0.2}
REFUSAL = "I cannot answer this from the provided context"
# A published comparison: keyword coverage of base and tuned, one question a topic.
PUBLISHED = {
    "qlora": (83, 100), "rag": (100, 100), "rag_eval": (100, 100), "peft": (100, 100), "prompts": (100, 100),
    "vector_db": (100, 83), "rag_security": (100, 83), "instruction_tuning": (80, 80), "multihop": (80, 60),
    "small_llm": (80, 80), "double_quant": (60, 60), "hallucination": (40, 40), "lora": (40, 20),
    "lora_plus": (40, 40), "ragas": (100, 20),
}  # fmt: skip


class Effect(NamedTuple):
    """What tuned does otherwise than base, each as a share of its answers, and which words must come of it."""

    cites: float = 0.5
    """Answers of tuned that cite the right title; base: half of them."""
    wrong_title: float = 0.1
    refuses: float = 0.1
    """Of what the passages answer; base: a tenth."""
    declines: float = 0.5
    """Of what they do not; base: half."""
    cut: float = 0.0
    marked_up: float = 0.0
    words: Mapping[str, str] = {}
    never: str | None = None


EFFECTS = {
    "none": Effect(never="better"),
    "better": Effect(cites=0.95, wrong_title=0.0, declines=0.95, refuses=0.05,
                     words={"right_title": "better", "refusal_balance": "better"}),
    "truncating": Effect(cut=0.35, words={"broken": "worse"}),
    "wrong_title": Effect(cites=0.1, wrong_title=0.6, words={"right_title": "worse", "citation_precision": "worse"}),
    "over_refusing": Effect(refuses=0.6, words={"over_refusal": "worse"}),
    "prose_for_markdown": Effect(marked_up=0.5, words={"well_formatted": "worse"}),
}  # fmt: skip


def figures() -> Iterator[Figure]:
    """Every figure of the group; takes about three minutes."""
    yield from _index()
    yield from _composition()
    yield from _planted()
    changes = [(after - before) / 100 for before, after in PUBLISHED.values()]
    word = verdict(mean_change(changes, list(PUBLISHED), 0), "higher", MARGINS["keyword_coverage"])
    yield Figure("fifteen_questions_are_not_enough_data", float(word == "not enough data"), "=", 1)


def _index() -> Iterator[Figure]:
    dice = random.Random(1)
    vocabulary = [f"{a}{b}" for a in "bcdfghklmnprstvw" for b in "abcdefghijklmnopqrstuvwxyz"] * 4
    vocabulary = [f"{word}{n}" for n, word in enumerate(vocabulary)]
    weights = [1 / (rank + 10) for rank in range(len(vocabulary))]
    texts = [" ".join(dice.choices(vocabulary, weights, k=WORDS)) for _ in range(PASSAGES)]
    passages = [
        Passage(
            passage_id=f"d{n // 10}/{n % 10}", document_id=f"d{n // 10}", title=f"T{n // 10}", text=text,
            first_paragraph=0, last_paragraph=0, sha256="",
        )
        for n, text in enumerate(texts)
    ]  # fmt: skip
    began = time.perf_counter()
    index = Index(passages)
    yield Figure("index_100000_passages_seconds", time.perf_counter() - began, "<", 20)
    questions = [" ".join(dice.sample(text.split(), 8)) for text in dice.sample(texts, QUERIES)]
    times = []
    for question in questions:
        began = time.perf_counter()
        index.search(question, 5)
        times.append(1000 * (time.perf_counter() - began))
    yield Figure("query_milliseconds", statistics.median(times), "<", 10)
    yield Figure("query_milliseconds_slowest_of_20", statistics.quantiles(times, n=20)[-1], "<", 10)
    slow = sum(each > 10 for each in times)
    yield Figure(f"queries_over_10_ms_of_{QUERIES}", slow)


def _composition() -> Iterator[Figure]:
    """Shares, and what crosses splits, over random corpora."""
    crossing, missed = 0, 0.0
    for seed in range(CORPORA):
        rows, split_of = _composed(seed)
        where: dict[str, set[Split]] = {}
        for pair in (pair for group in rows.values() for pair in group):
            for passage in pair.passages:
                where.setdefault(passage, set()).add(split_of[pair.document_id])
        crossing += sum(len(splits) > 1 for splits in where.values())
        total = sum(map(len, rows.values()))
        missed = max(missed, *(abs(len(group) / total - SHARES[kind]) for kind, group in rows.items()))
    yield Figure("contexts_crossing_splits", crossing, "=", 0)
    yield Figure("largest_miss_of_a_share_points", 100 * missed, "<=", 1)


def _composed(seed: int) -> tuple[dict[PairKind, list[Pair]], dict[str, Split]]:
    dice = random.Random(seed)
    texts, pairs, split_of = corpus(seed, dice.randint(12, 60))
    passages = cut(texts, Cutting(by="paragraph", words=60))
    chooser = Contexts(passages, split_of, [pair.answer for pair in pairs], Sizes(3, 5, seed))
    every: dict[PairKind, list[Pair]] = {kind: [] for kind in SHARES}
    owed: dict[PairKind, float] = {}
    for split in SPLITS:
        own = [pair for pair in pairs if split_of[pair.document_id] == split]
        partners = chooser.partners(split, {})
        over_two = [_over(pair, dict(partners)) for pair in own for _ in range(dice.random() < 0.9)]
        groups: dict[PairKind, list[Pair]] = {
            "grounded": [one for pair in own if (one := chooser.answering(pair))],
            "synthesis": [one for pair in over_two if pair and (one := chooser.answering(pair))],
            "refusal": [one for pair in own if (one := chooser.not_answering(_refused(pair)))],
        }
        for kind, rows in balanced(groups, SHARES, seed, owed).items():
            every[kind] += rows
    return every, split_of


def _refused(pair: Pair) -> Pair:
    update = {"pair_id": f"{pair.pair_id}r", "question": f"Who paid for it? {pair.question}", "kind": "refusal"}
    return pair.model_copy(update=update | {"answer": f"{REFUSAL}: the passages do not say.", "sources": []})


def _over(pair: Pair, partners: Mapping[str, str]) -> Pair | None:
    other = partners.get(pair.document_id) or {b: a for a, b in partners.items()}.get(pair.document_id)
    if other is None:
        return None
    second = PairSource(document_id=other, title=f"Quay {other[1:]}")
    return pair.model_copy(update={"kind": "synthesis", "sources": [*pair.sources, second]})


def corpus(seed: int, documents: int = 24) -> tuple[list[Document], list[Pair], dict[str, Split]]:
    """Documents of near subjects with a fact in each paragraph, a pair for each fact, and where each belongs."""
    dice = random.Random(seed)
    texts, pairs, split_of = list[Document](), list[Pair](), dict[str, Split]()
    for number in range(documents):
        thing, name = dice.choice(THINGS), f"d{number}"
        parts = [f"{at + 3 + 10 * number} {dice.choice(['teeth', 'bolts'])}" for at in range(4)]
        facts = [f"The {thing} of quay {number} has {part} of brass" for part in parts]
        filler = f"People came to look at the {thing} and asked how the {thing} was made and by whom it was used."
        paragraphs = [Paragraph(text=f"{fact}. {filler}") for fact in facts]
        texts.append(Document(document_id=name, title=f"Quay {number}", locator=name, how="h", paragraphs=paragraphs))
        question = f"How many parts of brass does the {thing} of quay {number} have, by count"
        pairs += [
            _pair(name, number, at, f"{question} {at}?", f"{fact} [Quay {number}].") for at, fact in enumerate(facts)
        ]
        split_of[name] = SPLITS[number % 6 - 3] if number % 6 > 3 else "train"
    return texts, pairs, split_of


def _pair(name: str, number: int, at: int, question: str, answer: str, kind: PairKind = "grounded") -> Pair:
    source = PairSource(document_id=name, title=f"Quay {number}", first_paragraph=at, last_paragraph=at)
    return Pair(
        pair_id=f"{name}#{at + 1}", document_id=name, title=f"Quay {number}", published=None, question_number=at + 1,
        question=question, answer=answer, tags=[f"topic {number % 5}"], start_seconds=None, end_seconds=None,
        document_sha256="0", teacher="t", prompt_sha256=None, kept=True, gate=None, reason=None, kind=kind,
        sources=[source] if kind != "refusal" else [],
    )  # fmt: skip


def _planted() -> Iterator[Figure]:
    for name, effect in EFFECTS.items():
        cards = [planted(effect, seed) for seed in range(SEEDS)]
        if effect.words:
            right = sum(all(card.verdicts.get(key) == word for key, word in effect.words.items()) for card in cards)
            yield Figure(f"{name}_named_rightly_of_100", right, ">=", 95)
        if effect.never:
            most = max(sum(card.verdicts.get(key) == effect.never for card in cards) for key in cards[0].verdicts)
            yield Figure(f"{name}_called_{effect.never}", most, "<=", 5)


def planted(effect: Effect, seed: int) -> Scorecard:
    """The scorecard of a base and a tuned model whose answers differ by `effect`."""
    rng, held_out = np.random.default_rng(seed), _held_out()
    samples = {
        "base": [_sample(rng, pair, Effect()) for pair in held_out],
        "adapter": [_sample(rng, pair, effect) for pair in held_out],
    }
    rows = [(pair, ChatExample(messages=[Message(role="user", content=pair.question)])) for pair in held_out]
    names = list(dict.fromkeys(pair.document_id for pair in held_out))
    leakage = Leakage(rows_sharing_a_document=0, near_duplicate_questions=0)
    plan = SplitPlan(
        splits={"train": [], "valid": [], "test": [pair.pair_id for pair in held_out]},
        documents={"train": [], "valid": [], "test": names},
        leakage=leakage,
        honest=True,
    )
    return score("planted", str(seed), plan, rows, samples, {}, _metrics(), seed, "0" * 64)


@cache
def _held_out() -> tuple[Pair, ...]:
    _, pairs, _ = corpus(7, 24)
    return tuple(
        pair
        if at % 4
        else pair.model_copy(update={"kind": "refusal", "sources": [], "answer": f"{REFUSAL}: not said."})
        for at, pair in enumerate(pairs)
    )


@cache
def _metrics() -> dict[str, Metric]:
    options = {"formatting": {"form": "prose"}}
    metrics: dict[str, Metric] = {
        name: build("metric", name, options.get(name, {})) for name in ("citations", "formatting", "degeneration")
    }
    for metric in metrics.values():
        metric.study(References(train=_held_out(), held_out=_held_out()))
    return metrics


def _sample(rng: np.random.Generator, pair: Pair, effect: Effect) -> Sample:
    text = pair.answer.partition(" [")[0]
    if pair.kind == "refusal":
        text = pair.answer if rng.random() < effect.declines else "It has four teeth of brass and a wooden handle."
    elif rng.random() < effect.refuses:
        text = f"{REFUSAL}: the passages do not say."
    else:
        draw = rng.random()
        right, wrong = effect.cites, effect.cites + effect.wrong_title
        text += f" [{pair.sources[0].title}]." if draw < right else " [Quay 9999]." if draw < wrong else "."
    if rng.random() < effect.marked_up:
        text = f"- **Answer**: {text}"
    is_cut = rng.random() < effect.cut
    return Sample(
        pair_id=pair.pair_id, document_id=pair.document_id, nll=100.0, tokens=50,
        text=text[:9] if is_cut else text, new_tokens=3 if is_cut else 50, stopped=True, seconds=1.0,
    )  # fmt: skip
