"""
Stage `evaluate`: what every candidate did, in numbers with intervals, four words and one decision.

The words and the decision are in `understudy.scoring.verdicts`. What is not handed in is not measured, and named.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from understudy.errors import AssetError
from understudy.interfaces import Metric, References
from understudy.records import (
    ARMS,
    SCORECARD_VERSION,
    AdapterCard,
    AgainstRetrieval,
    BaselineComparison,
    CandidateScore,
    ChatExample,
    Divergence,
    Interval,
    JudgeScore,
    Manuals,
    Pair,
    ParityReport,
    Phrase,
    Sample,
    Scorecard,
    SplitPlan,
    Word,
)
from understudy.scoring import arms
from understudy.scoring.statistics import mcnemar, ratio_interval, share_difference, wilson
from understudy.scoring.stylometry import phrases
from understudy.scoring.suites.retrieval import Outcome
from understudy.scoring.suites.retrieval import compare as compare_retrieval
from understudy.scoring.suites.retrieval import measure as measure_retrieval
from understudy.scoring.verdicts import BUDGETS, MARGINS, MIN_TALKS, decide, judged, verdict, within
from understudy.text.words import counted

VERSION = 6

BASE, TUNED, PROMPTED = "base", "adapter", "base-prompted"
"""The two candidates that are compared, and the base shown the style by examples."""

CHANCE = 0.25
"""Of a multiple choice between four answers."""

Better = Literal["lower", "higher"]
Outcomes = Mapping[str, bool]
"""Item of a suite > passed."""


class Extras(NamedTuple):
    """What else is known beside the samples; every part may be missing."""

    references: References | None = None
    outcomes: Mapping[str, Mapping[str, Outcomes]] = {}
    """Suite ('instructions', 'choices', 'off_topic') > candidate > outcomes."""
    retrieval: Mapping[str, Mapping[str, Outcome]] = {}
    """Candidate > item > outcome."""
    drift: Mapping[str, Sequence[tuple[str, Divergence]]] = {}
    """'general', 'domain' > one entry per answer: its talk (or the prompt's own name), KL(tuned || base)."""
    judge: JudgeScore | None = None
    adapter: AdapterCard | None = None
    parity: ParityReport | None = None
    notes: Sequence[str] = ()
    """Further lines for the scorecard."""
    search: arms.Search | None = None
    """The retriever that answers by heart are held against."""
    costs: arms.Costs = arms.Costs()
    grading: arms.Grading | None = None
    manuals: Manuals | None = None
    unit: str = "talk"
    """What was held out whole, as a noun."""


NOTHING_MORE = Extras()


class _Comparison(NamedTuple):
    differences: dict[str, Interval]
    better: dict[str, Better]


def score(
    channel: str,
    run: str,
    split: SplitPlan,
    rows: Sequence[tuple[Pair, ChatExample]],
    samples: Mapping[str, Sequence[Sample]],
    sizes: Mapping[str, int],
    metrics: Mapping[str, Metric],
    seed: int,
    test_sha256: str,
    extras: Extras = NOTHING_MORE,
) -> Scorecard:
    """The scorecard of a run. Raises AssetError when the samples are not of these rows.

    `samples` maps candidate > its samples, one per row, in the order the scorecard shows; 'base'
    and 'adapter' are among them. `sizes` maps candidate > bytes on disk, where known.
    """
    _check(rows, samples)
    if extras.references:
        for metric in metrics.values():
            metric.study(extras.references)
    talks = len({pair.document_id for pair, _ in rows})
    trusted = split.honest and bool(split.splits["test"]) and talks >= MIN_TALKS
    main = _compared(samples[TUNED], samples[BASE], metrics, seed)
    words = _words(main, trusted)
    general, p_values = _general(extras, seed)
    # Forgetting is measured on prompts of their own: whether the split is honest does not touch it.
    words |= _words(general, True)
    drift = {f"kl_{name}": _nats(rows, seed) for name, rows in extras.drift.items() if rows}
    if "kl_general" in drift:
        words["kl_general"] = within(drift["kl_general"], BUDGETS["kl_general"], trusted=_has_to_forget(extras))
    differences = main.differences | general.differences | drift
    if extras.judge and extras.judge.difference:
        differences["judge_voice"] = extras.judge.difference
        words["judge_voice"] = judged(extras.judge, trusted)
    candidates = [_candidate(name, samples[name], sizes.get(name), metrics, extras, seed) for name in samples]
    return Scorecard(
        version=SCORECARD_VERSION,
        channel=channel,
        run=run,
        test_pairs=len(rows),
        test_documents=talks,
        test_sha256=test_sha256,
        unit=extras.unit,
        candidates=candidates,
        differences=differences,
        verdicts=words,
        honest=split.honest,
        p_values=p_values,
        baselines=_baselines(samples, metrics, seed, trusted),
        judge=extras.judge,
        phrases=_phrases(extras.references, samples),
        topics=[
            topic
            for metric in metrics.values()
            if (of := getattr(metric, "topics", None))
            for topic in of(samples[TUNED], samples[BASE], seed)
        ],
        basis=arms.by_basis([pair for pair, _ in rows], split, samples, seed) if split.recall else [],
        against_retrieval=_against_retrieval([pair for pair, _ in rows], samples, extras, seed),
        manuals=extras.manuals,
        decision=decide(words, candidates, extras.adapter, extras.parity),
        notes=[*_notes(split, talks, samples, extras, differences), *extras.notes],
    )


def _against_retrieval(
    pairs: Sequence[Pair], samples: Mapping[str, Sequence[Sample]], extras: Extras, seed: int
) -> AgainstRetrieval | None:
    if extras.search is None or not all(name in samples for name in ARMS):
        return None
    return arms.against_retrieval(pairs, samples, extras.search, extras.costs, extras.grading, seed)


def fair_comparisons(candidates: Sequence[str]) -> list[tuple[str, str]]:
    """(tuned, base) of every further fair comparison: with the prompted base, and file by file at one type."""
    prompted = [(TUNED, PROMPTED)] if PROMPTED in candidates and TUNED in candidates else []
    return prompted + [(name, f"base-{name}") for name in candidates if f"base-{name}" in candidates]


def tokens_per_second(samples: Sequence[Sample]) -> float | None:
    """Generated tokens over generation time; None when nothing was generated."""
    timed = [(s.new_tokens, s.seconds) for s in samples if s.new_tokens is not None and s.seconds is not None]
    seconds = sum(seconds for _, seconds in timed)
    return sum(tokens for tokens, _ in timed) / seconds if seconds > 0 else None


def _compared(tuned: Sequence[Sample], base: Sequence[Sample], metrics: Mapping[str, Metric], seed: int) -> _Comparison:
    differences: dict[str, Interval] = {}
    better: dict[str, Better] = {}
    for metric in metrics.values():
        differences |= metric.compare(tuned, base, seed)
        better |= metric.better
    return _Comparison(differences, better)


def _words(comparison: _Comparison, trusted: bool) -> dict[str, Word]:
    words: dict[str, Word] = {}
    for name, direction in comparison.better.items():
        if (change := comparison.differences.get(name)) is None:
            continue
        if name in BUDGETS:
            words[name] = within(change, BUDGETS[name], trusted)
        else:
            words[name] = verdict(change, direction, MARGINS.get(name), trusted)
    return words


def _general(extras: Extras, seed: int) -> tuple[_Comparison, dict[str, float]]:
    """Tuned minus base of every suite that both answered, and McNemar's p."""
    differences: dict[str, Interval] = {}
    p_values: dict[str, float] = {}
    for suite, by_candidate in extras.outcomes.items():
        after, before = by_candidate.get(TUNED, {}), by_candidate.get(BASE, {})
        both = [item for item in after if item in before]
        if both:
            flags = [after[item] for item in both], [before[item] for item in both]
            differences[suite] = share_difference(*flags, both, seed)
            p_values[suite] = mcnemar(*flags)
    retrieval = compare_retrieval(extras.retrieval.get(TUNED, {}), extras.retrieval.get(BASE, {}), seed)
    differences |= retrieval
    return _Comparison(differences, {name: "higher" for name in differences}), p_values


def _has_to_forget(extras: Extras) -> bool:
    """Whether the base knows anything: its answers to multiple choice are better than chance, or were not wanted."""
    choices = list(extras.outcomes.get("choices", {}).get(BASE, {}).values())
    return not choices or wilson(sum(choices), len(choices)).low > CHANCE


def _nats(rows: Sequence[tuple[str, Divergence]], seed: int) -> Interval:
    return ratio_interval([d.nats for _, d in rows], [d.tokens for _, d in rows], [talk for talk, _ in rows], seed)


def _candidate(
    name: str,
    samples: Sequence[Sample],
    size: int | None,
    metrics: Mapping[str, Metric],
    extras: Extras,
    seed: int,
) -> CandidateScore:
    values: dict[str, Interval] = {}
    for metric in metrics.values():
        values |= metric.measure(samples, seed)
    for suite, by_candidate in extras.outcomes.items():
        if passed := list(by_candidate.get(name, {}).values()):
            values[suite] = wilson(sum(passed), len(passed))
    values |= measure_retrieval(extras.retrieval.get(name, {}), seed)
    return CandidateScore(name=name, metrics=values, bytes=size, tokens_per_second=tokens_per_second(samples))


def _baselines(
    samples: Mapping[str, Sequence[Sample]], metrics: Mapping[str, Metric], seed: int, trusted: bool
) -> list[BaselineComparison]:
    comparisons = []
    for tuned, base in fair_comparisons(list(samples)):
        comparison = _compared(samples[tuned], samples[base], metrics, seed)
        words = _words(comparison, trusted)
        comparisons.append(
            BaselineComparison(tuned=tuned, base=base, differences=comparison.differences, verdicts=words)
        )
    return comparisons


def _phrases(references: References | None, samples: Mapping[str, Sequence[Sample]]) -> list[Phrase]:
    if not references:
        return []
    base, tuned = ([s.text for s in samples[name] if s.text is not None] for name in (BASE, TUNED))
    # Without a word of the base every phrase of the teacher would look like a signature.
    if not any(text.split() for text in base):
        return []
    return phrases([(pair.document_id, pair.answer) for pair in references.train], base, tuned)


def _notes(
    split: SplitPlan,
    talks: int,
    samples: Mapping[str, Sequence[Sample]],
    extras: Extras,
    differences: Mapping[str, Interval],
) -> list[str]:
    notes = []
    if talks < MIN_TALKS or not split.splits["test"]:
        unit = extras.unit
        notes.append(f"{counted(talks, f'held-out {unit}')}: no conclusion about other {unit}s; add {unit}s")
    for name in (BASE, TUNED):
        texts = [s.text for s in samples[name] if s.text is not None]
        if texts and not any(text.strip() for text in texts):
            notes.append(f"{name} wrote nothing in {len(texts)} of {len(texts)} answers: its manner cannot be compared")
        elif not texts:
            notes.append(f"{name} gave no answer: only losses are compared")
    if extras.judge is None:
        notes.append("no judge compared the answers; evaluate.judge names one")
    elif extras.judge.errors:
        notes.append(f"the judge gave no verdict on {extras.judge.errors} of {extras.judge.pairs} questions")
    missing = [name for name in ("instructions", "choices", "off_topic") if name not in differences]
    if missing:
        notes.append(f"forgetting was not measured by {', '.join(missing)}")
    if not _has_to_forget(extras):
        notes.append("the base answers multiple choice no better than chance: it knows nothing that could be forgotten")
    if "general" not in extras.drift and not missing:
        notes.append("the base answered no general prompt: the drift of tuned from it was not measured")
    return notes


def _check(rows: Sequence[tuple[Pair, ChatExample]], samples: Mapping[str, Sequence[Sample]]) -> None:
    for name in (BASE, TUNED):
        if name not in samples:
            raise AssetError(
                f"a scorecard compares 'base' and 'adapter', {name!r} has no samples; got {sorted(samples)}"
            )
    held_out = [pair.pair_id for pair, _ in rows]
    for name, answered in samples.items():
        if [sample.pair_id for sample in answered] != held_out:
            raise AssetError(
                f"the samples of {name!r} are not of these {len(held_out)} held-out pairs (they are {len(answered)}): "
                "the test rows changed since; score this candidate again"
            )
