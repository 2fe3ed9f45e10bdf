"""
Stage `evaluate`: what every candidate did, in numbers with intervals, four words and one decision.

The words and the decision are in `understudy.scoring.verdicts`. What is not handed in is not measured, and named.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from understudy.errors import AssetError
from understudy.interfaces import Metric, References
from understudy.records import (
    SCORECARD_VERSION,
    AdapterCard,
    BaselineComparison,
    CandidateScore,
    ChatExample,
    Divergence,
    Interval,
    JudgeScore,
    Pair,
    ParityReport,
    Phrase,
    Sample,
    Scorecard,
    SplitPlan,
    Word,
)
from understudy.scoring.statistics import mcnemar, ratio_interval, share_difference, wilson
from understudy.scoring.suites.retrieval import Outcome
from understudy.scoring.suites.retrieval import compare as compare_retrieval
from understudy.scoring.suites.retrieval import measure as measure_retrieval
from understudy.scoring.verdicts import BUDGETS, MARGINS, MIN_TALKS, decide, judged, verdict, within
from understudy.text.stylometry import phrases

VERSION = 6

BASE, TUNED, PROMPTED = "base", "adapter", "base-prompted"
"""The two candidates that are compared, and the base told the style by examples."""

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
    found = _compared(samples[TUNED], samples[BASE], metrics, seed)
    words = _words(found, trusted)
    general, p_values = _general(extras, seed)
    # Forgetting is measured on prompts of their own: whether the split is honest does not touch it.
    words |= _words(general, True)
    drift = {f"kl_{name}": _nats(told, seed) for name, told in extras.drift.items() if told}
    if "kl_general" in drift:
        words["kl_general"] = within(drift["kl_general"], BUDGETS["kl_general"], trusted=_has_to_forget(extras))
    differences = found.differences | general.differences | drift
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
        candidates=candidates,
        differences=differences,
        verdicts=words,
        honest=split.honest,
        p_values=p_values,
        baselines=_baselines(samples, metrics, seed, trusted),
        judge=extras.judge,
        phrases=_phrases(extras.references, samples),
        decision=decide(words, candidates, extras.adapter, extras.parity),
        notes=_notes(split, talks, samples, extras, differences),
    )


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


def _words(found: _Comparison, trusted: bool) -> dict[str, Word]:
    words: dict[str, Word] = {}
    for name, direction in found.better.items():
        if (change := found.differences.get(name)) is None:
            continue
        if name in BUDGETS:
            words[name] = within(change, BUDGETS[name], trusted)
        else:
            words[name] = verdict(change, direction, MARGINS.get(name), trusted)
    return words


def _general(extras: Extras, seed: int) -> tuple[_Comparison, dict[str, float]]:
    """Tuned minus base of every suite that both were asked, and McNemar's p."""
    differences: dict[str, Interval] = {}
    p_values: dict[str, float] = {}
    for suite, told in extras.outcomes.items():
        after, before = told.get(TUNED, {}), told.get(BASE, {})
        both = [item for item in after if item in before]
        if both:
            flags = [after[item] for item in both], [before[item] for item in both]
            differences[suite] = share_difference(*flags, both, seed)
            p_values[suite] = mcnemar(*flags)
    retrieval = compare_retrieval(extras.retrieval.get(TUNED, {}), extras.retrieval.get(BASE, {}), seed)
    differences |= retrieval
    return _Comparison(differences, {name: "higher" for name in differences}), p_values


def _has_to_forget(extras: Extras) -> bool:
    """Whether the base knows anything: its answers to multiple choice are better than chance, or were not asked for."""
    told = list(extras.outcomes.get("choices", {}).get(BASE, {}).values())
    return not told or wilson(sum(told), len(told)).low > CHANCE


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
    for suite, told in extras.outcomes.items():
        if passed := list(told.get(name, {}).values()):
            values[suite] = wilson(sum(passed), len(passed))
    values |= measure_retrieval(extras.retrieval.get(name, {}), seed)
    return CandidateScore(name=name, metrics=values, bytes=size, tokens_per_second=tokens_per_second(samples))


def _baselines(
    samples: Mapping[str, Sequence[Sample]], metrics: Mapping[str, Metric], seed: int, trusted: bool
) -> list[BaselineComparison]:
    found = []
    for tuned, base in fair_comparisons(list(samples)):
        told = _compared(samples[tuned], samples[base], metrics, seed)
        found.append(
            BaselineComparison(tuned=tuned, base=base, differences=told.differences, verdicts=_words(told, trusted))
        )
    return found


def _phrases(references: References | None, samples: Mapping[str, Sequence[Sample]]) -> list[Phrase]:
    if not references:
        return []
    said = [[s.text for s in samples[name] if s.text is not None] for name in (BASE, TUNED)]
    # Without a word of the base every phrase of the teacher would look like a signature.
    if not any(text.split() for text in said[0]):
        return []
    return phrases([(pair.document_id, pair.answer) for pair in references.train], *said)


def _notes(
    split: SplitPlan,
    talks: int,
    samples: Mapping[str, Sequence[Sample]],
    extras: Extras,
    differences: Mapping[str, Interval],
) -> list[str]:
    found = []
    if talks < MIN_TALKS or not split.splits["test"]:
        found.append(f"{talks} held-out talk{'s' if talks != 1 else ''}: nothing can be said of other talks; add talks")
    for name in (BASE, TUNED):
        said = [s.text for s in samples[name] if s.text is not None]
        if said and not any(text.strip() for text in said):
            found.append(f"{name} said nothing in {len(said)} of {len(said)} answers: its manner cannot be compared")
        elif not said:
            found.append(f"{name} was asked for no answer: only losses are compared")
    if extras.judge is None:
        found.append("no judge compared the answers; evaluate.judge names one")
    elif extras.judge.errors:
        found.append(f"the judge gave no verdict on {extras.judge.errors} of {extras.judge.pairs} questions")
    missing = [name for name in ("instructions", "choices", "off_topic") if name not in differences]
    if missing:
        found.append(f"forgetting was not measured by {', '.join(missing)}")
    if not _has_to_forget(extras):
        found.append("the base answers multiple choice no better than chance: it knows nothing that could be forgotten")
    if "general" not in extras.drift and not missing:
        found.append("the base answered no general prompt: the drift of tuned from it was not measured")
    return found


def _check(rows: Sequence[tuple[Pair, ChatExample]], samples: Mapping[str, Sequence[Sample]]) -> None:
    for name in (BASE, TUNED):
        if name not in samples:
            raise AssetError(
                f"a scorecard compares 'base' and 'adapter', {name!r} has no samples; got {sorted(samples)}"
            )
    asked = [pair.pair_id for pair, _ in rows]
    for name, answered in samples.items():
        if [sample.pair_id for sample in answered] != asked:
            raise AssetError(
                f"the samples of {name!r} are not of these {len(asked)} held-out pairs (they are {len(answered)}): "
                "the test rows changed since; score this candidate again"
            )
