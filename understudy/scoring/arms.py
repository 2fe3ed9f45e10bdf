"""
By heart or with passages: what tuning buys against retrieval, on the same held-out questions.

Four ways to answer are compared: base and tuned, each by heart and with passages that a retriever found. The index
holds all sections, as in use; the tuned model has seen those of the train split only.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from understudy.records import (
    ARMS,
    WITH_PASSAGES,
    AgainstRetrieval,
    Arm,
    Basis,
    BasisScore,
    Interval,
    Pair,
    Sample,
    SplitPlan,
)
from understudy.scoring.statistics import mean_change, mean_interval, ratio_interval, wilson
from understudy.text import keywords

BASE, TUNED = "base", "adapter"
NAMES = {
    BASE: "the base as it is",
    TUNED: "the tuned model by heart",
    WITH_PASSAGES[BASE]: "the base with passages",
    WITH_PASSAGES[TUNED]: "the tuned model with passages",
}
MARGIN = 0.05
"""How much less often right is still no worse."""
USABLE = 0.5
"""Share of right answers below which none of the four is recommended without a word."""
KWH = 3.6e6  # joules


class Costs(NamedTuple):
    """What is known of prices; None for what is not given."""

    input_usd: float | None = None
    """Of an API, per million tokens."""
    output_usd: float | None = None
    watts: float | None = None
    usd_per_kwh: float | None = None
    usd_per_hour: float | None = None
    setup_usd: float | None = None
    """Teacher, verifier and training together."""


class Search(NamedTuple):
    """The retriever on the held-out questions."""

    passages: int
    per_question: int
    hits: Mapping[str, bool]
    """Pair > whether a passage of its own section was among those shown."""
    seconds: float
    """Per question."""


class Grading(NamedTuple):
    """A judge's view of single answers."""

    label: str
    right: Mapping[tuple[str, str], bool]
    """(candidate, pair) > right by the reference."""
    warning: str | None = None


def by_basis(
    pairs: Sequence[Pair], plan: SplitPlan, samples: Mapping[str, Sequence[Sample]], seed: int
) -> list[BasisScore]:
    """Correctness and loss of base, tuned and both with passages, apart for each kind of held-out questions."""
    recall = set(plan.recall)
    scores = []
    groups: dict[Basis, list[Pair]] = {"section": [], "question": [], "across": []}
    for pair in pairs:
        kind: Basis = "section" if pair.pair_id not in recall else "across" if pair.kind == "synthesis" else "question"
        groups[kind].append(pair)
    for basis, own in groups.items():
        if own:
            ids = {pair.pair_id: pair for pair in own}
            chosen = {name: [s for s in samples[name] if s.pair_id in ids] for name in ARMS if name in samples}
            metrics = {name: measured(rows, ids, seed) for name, rows in chosen.items()}
            differences = _differences(chosen[TUNED], chosen[BASE], ids, seed)
            sections = len({pair.document_id for pair in own})
            scores.append(
                BasisScore(basis=basis, questions=len(own), sections=sections, metrics=metrics, differences=differences)
            )
    return scores


def against_retrieval(
    pairs: Sequence[Pair],
    samples: Mapping[str, Sequence[Sample]],
    search: Search,
    costs: Costs,
    grading: Grading | None,
    seed: int,
) -> AgainstRetrieval | None:
    """The four arms side by side; None where one of them has no answer."""
    known = {pair.pair_id: pair for pair in pairs}
    answered = {name: [s for s in samples.get(name, ()) if s.text is not None and s.pair_id in known] for name in ARMS}
    both = set.intersection(*({s.pair_id for s in rows} for rows in answered.values()))
    if not both:
        return None
    rows = {name: [s for s in own if s.pair_id in both] for name, own in answered.items()}
    arms = [_arm(name, rows[name], known, search, costs, grading, seed) for name in ARMS]
    found = [search.hits[name] for name in sorted(both) if name in search.hits]
    best, sentence = _choice(arms, rows, known, grading, seed)
    return AgainstRetrieval(
        arms=arms,
        passages=search.passages,
        per_question=search.per_question,
        found=wilson(sum(found), len(found)) if found else None,
        search_seconds=search.seconds,
        setup_usd=costs.setup_usd,
        break_even=_break_even(arms, costs.setup_usd),
        best=best,
        sentence=sentence,
        grader=grading.label if grading else None,
        warning=grading.warning if grading else None,
    )


def measured(samples: Sequence[Sample], pairs: Mapping[str, Pair], seed: int) -> dict[str, Interval]:
    """Loss, and where there are answers, how many are right and what of the facts they give; `pairs` by their id."""
    values = {"nll_per_token": _nll(samples, seed)}
    answered = [s for s in samples if s.text is not None]
    if answered:
        values["correct"] = _mean([_right(s, pairs) for s in answered], answered, seed)
        facts = [keywords.coverage(s.text or "", pairs[s.pair_id].keywords) or 0.0 for s in answered]
        values["facts_given"] = _mean(facts, answered, seed)
    return values


def _differences(
    tuned: Sequence[Sample], base: Sequence[Sample], pairs: Mapping[str, Pair], seed: int
) -> dict[str, Interval]:
    before = {s.pair_id: s for s in base}
    both = [(s, before[s.pair_id]) for s in tuned if s.pair_id in before]
    changes = {}
    if both:
        nats = [a.nll - b.nll for a, b in both]
        changes["nll_per_token"] = ratio_interval(
            nats, [a.tokens for a, _ in both], [a.document_id for a, _ in both], seed
        )
    spoken = [(a, b) for a, b in both if a.text is not None and b.text is not None]
    if spoken:
        values = [_right(a, pairs) - _right(b, pairs) for a, b in spoken]
        changes["correct"] = mean_change(values, [a.document_id for a, _ in spoken], seed)
    return changes


def _arm(
    name: str,
    samples: Sequence[Sample],
    pairs: Mapping[str, Pair],
    search: Search,
    costs: Costs,
    grading: Grading | None,
    seed: int,
) -> Arm:
    waiting = search.seconds if name in WITH_PASSAGES.values() else 0.0
    timed = [(s, s.seconds + waiting) for s in samples if s.seconds is not None]
    graded = [(s, grading.right[name, s.pair_id]) for s in samples if grading and (name, s.pair_id) in grading.right]
    counted = [s for s in samples if s.prompt_tokens is not None and s.new_tokens is not None]
    return Arm(
        name=name,
        correct=_mean([_right(s, pairs) for s in samples], samples, seed),
        graded=_mean([float(ok) for _, ok in graded], [s for s, _ in graded], seed) if graded else None,
        nll=_nll(samples, seed),
        seconds=_mean([value for _, value in timed], [s for s, _ in timed], seed, float("inf")) if timed else None,
        prompt_tokens=sum(s.prompt_tokens or 0 for s in counted) / len(counted) if counted else None,
        new_tokens=sum(s.new_tokens or 0 for s in counted) / len(counted) if counted else None,
        usd_per_1000=_usd(counted, timed, costs, seed),
    )


def _usd(
    counted: Sequence[Sample], timed: Sequence[tuple[Sample, float]], costs: Costs, seed: int
) -> dict[str, Interval]:
    """USD for 1,000 answers by every way of running it that has a price."""
    ways: dict[str, tuple[list[float], list[Sample]]] = {}
    if costs.input_usd is not None and costs.output_usd is not None and counted:
        tokens = [
            ((s.prompt_tokens or 0) * costs.input_usd + (s.new_tokens or 0) * costs.output_usd) / 1000 for s in counted
        ]
        ways["an API"] = tokens, list(counted)
    rows = [s for s, _ in timed]
    if costs.watts is not None and costs.usd_per_kwh is not None and timed:
        joules = costs.watts * costs.usd_per_kwh / KWH * 1000
        ways["this machine"] = [seconds * joules for _, seconds in timed], rows
    if costs.usd_per_hour is not None and timed:
        ways["a rented machine"] = [seconds * costs.usd_per_hour / 3.6 for _, seconds in timed], rows
    return {name: _mean(values, own, seed, float("inf")) for name, (values, own) in ways.items()}


def _break_even(arms: Sequence[Arm], setup_usd: float | None) -> dict[str, float]:
    """Questions after which the tuned model by heart has cost less than the base with passages, setup included."""
    usd = {arm.name: arm.usd_per_1000 for arm in arms}
    if setup_usd is None:
        return {}
    saved = {
        way: (usd[WITH_PASSAGES[BASE]][way].value - price.value) / 1000
        for way, price in usd[TUNED].items()
        if way in usd[WITH_PASSAGES[BASE]]
    }
    return {way: setup_usd / each for way, each in saved.items() if each > 0}


def _choice(
    arms: Sequence[Arm],
    rows: Mapping[str, Sequence[Sample]],
    pairs: Mapping[str, Pair],
    grading: Grading | None,
    seed: int,
) -> tuple[str, str]:
    """The arm to take, and a sentence on it: the one that is right most often, or a faster one that is no worse."""
    values = {name: _values(name, own, pairs, grading) for name, own in rows.items()}
    sections = {s.pair_id: s.document_id for own in rows.values() for s in own}
    shares = {name: sum(own.values()) / max(1, len(own)) for name, own in values.items()}
    top = max(ARMS, key=lambda name: (shares[name], -ARMS.index(name)))
    behind = {name: _behind(values[top], values[name], sections, seed) for name in ARMS if name != top}
    seconds = {arm.name: arm.seconds.value if arm.seconds else 0.0 for arm in arms}
    as_good = [top, *(name for name, change in behind.items() if change and change.high < MARGIN)]
    best = min(as_good, key=lambda name: seconds[name])
    others = ", ".join(f"{NAMES[name]} {_percent(shares[name])}" for name in ARMS if name != best)
    judged = "a judge finds right" if grading else "hold the numbers and words that decide"
    sentence = f"Take {NAMES[best]}: {_percent(shares[best])} of its answers {judged} ({others})."
    if best != top:
        sentence += f" It is at most {_percent(MARGIN)} behind the best of them, and answers in {seconds[best]:.1f} s"
        sentence += f" where that takes {seconds[top]:.1f} s."
    unsure = [NAMES[name] for name, change in behind.items() if change and change.low <= 0 and name not in as_good]
    if unsure and best == top:
        sentence += f" So few questions do not show that it beats {' or '.join(unsure)}."
    if shares[best] < USABLE:
        sentence += " None of the four is right often enough to be relied on: take a larger base, then compare again."
    return best, sentence


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _values(
    name: str, samples: Sequence[Sample], pairs: Mapping[str, Pair], grading: Grading | None
) -> dict[str, float]:
    if grading is None:
        return {s.pair_id: _right(s, pairs) for s in samples}
    return {s.pair_id: float(grading.right[name, s.pair_id]) for s in samples if (name, s.pair_id) in grading.right}


def _behind(
    top: Mapping[str, float], other: Mapping[str, float], sections: Mapping[str, str], seed: int
) -> Interval | None:
    """How much more often `top` is right than `other`, paired by question."""
    both = [name for name in top if name in other]
    if not both:
        return None
    return mean_change([top[name] - other[name] for name in both], [sections[name] for name in both], seed)


def _right(sample: Sample, pairs: Mapping[str, Pair]) -> float:
    return float(keywords.right(sample.text or "", pairs[sample.pair_id].keywords))


def _nll(samples: Sequence[Sample], seed: int) -> Interval:
    return ratio_interval([s.nll for s in samples], [s.tokens for s in samples], [s.document_id for s in samples], seed)


def _mean(values: Sequence[float], samples: Sequence[Sample], seed: int, most: float = 1.0) -> Interval:
    return mean_interval(values, [s.document_id for s in samples], seed, bounds=(0.0, most))
