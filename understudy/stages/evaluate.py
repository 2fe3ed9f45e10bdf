"""
Stage `evaluate`: what the samples of every candidate say, in numbers with intervals and in four words.

The words are 'better', 'worse', 'no worse' and 'not enough data', and come from intervals alone.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from understudy.errors import AssetError
from understudy.interfaces import Metric
from understudy.records import CandidateScore, ChatExample, Interval, Pair, Sample, Scorecard, SplitPlan

VERSION = 1

BASE, TUNED = "base", "adapter"
"""The two candidates that are compared; the others show that the exported files are the tuned model."""

MIN_TALKS, MIN_PAIRS = 2, 5
"""With fewer, no verdict but 'not enough data'."""

MARGINS = {"nll_per_token": 0.05, "well_formatted": 0.05, "broken": 0.05}
"""How much worse is still 'no worse': nats per token for the loss, else a share of the answers."""

Word = Literal["better", "no worse", "worse", "not enough data"]


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
) -> Scorecard:
    """The scorecard of a run. Raises AssetError when the samples are not of these rows.

    `samples` maps candidate > its samples, one per row, in the order the scorecard shows; 'base'
    and 'adapter' are among them. `sizes` maps candidate > bytes on disk, where known.
    """
    _check(rows, samples)
    differences: dict[str, Interval] = {}
    better: dict[str, Literal["lower", "higher"]] = {}
    for metric in metrics.values():
        differences |= metric.compare(samples[TUNED], samples[BASE], seed)
        better |= getattr(metric, "better", {})
    talks = len({pair.document_id for pair, _ in rows})
    trusted = split.honest and bool(split.sides["test"]) and talks >= MIN_TALKS
    return Scorecard(
        channel=channel,
        run=run,
        test_pairs=len(rows),
        test_documents=talks,
        test_sha256=test_sha256,
        candidates=[_candidate(name, samples[name], sizes.get(name), metrics, seed) for name in samples],
        differences=differences,
        verdicts={
            name: verdict(differences[name], direction, MARGINS.get(name), trusted)
            for name, direction in better.items()
            if name in differences
        },
        honest=split.honest,
    )


def verdict(
    difference: Interval, better: Literal["lower", "higher"], margin: float | None, trusted: bool = True
) -> Word:
    """What a tuned-minus-base interval allows to say; `trusted` is False where the split allows nothing."""
    if not trusted or difference.n < MIN_PAIRS:
        return "not enough data"
    worst, best = (difference.high, difference.low) if better == "lower" else (-difference.low, -difference.high)
    # Both ends now read as badness: `worst` is the most harm the data allows, `best` the least.
    if worst < 0:
        return "better"
    if best > 0:
        return "worse"
    return "no worse" if margin is not None and worst <= margin else "not enough data"


def tokens_per_second(samples: Sequence[Sample]) -> float | None:
    """Generated tokens over generation time; None when nothing was generated."""
    timed = [(s.new_tokens, s.seconds) for s in samples if s.new_tokens is not None and s.seconds is not None]
    seconds = sum(seconds for _, seconds in timed)
    return sum(tokens for tokens, _ in timed) / seconds if seconds > 0 else None


def _candidate(
    name: str, samples: Sequence[Sample], size: int | None, metrics: Mapping[str, Metric], seed: int
) -> CandidateScore:
    values: dict[str, Interval] = {}
    for metric in metrics.values():
        values |= metric.measure(samples, seed)
    return CandidateScore(name=name, metrics=values, bytes=size, tokens_per_second=tokens_per_second(samples))


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
