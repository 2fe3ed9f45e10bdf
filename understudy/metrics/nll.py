"""How well a candidate expects the reference answers: nats per answer token, lower is better."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

from understudy.errors import AssetError
from understudy.metrics import BaseMetric
from understudy.records import Interval, Sample
from understudy.scoring.statistics import ratio_interval

Part = Sequence[tuple[float, int]]
"""(nats, tokens) of one answer's part, or nothing where it is not known or has no token."""

PARTS: dict[str, Callable[[Sample], Part]] = {
    "nll_opening": lambda s: (
        [(s.opening_nll, s.opening_tokens)] if s.opening_nll is not None and s.opening_tokens else []
    ),
    "nll_body": lambda s: [(s.body_nll, s.body_tokens)] if s.body_nll is not None and s.body_tokens else [],
    "nll_end": lambda s: [(s.end_nll, 1)] if s.end_nll is not None else [],
}


class NllMetric(BaseMetric):
    """Mean nats per token of the reference answers, end token included, its perplexity, and its three parts apart.

    The first 20 tokens show the manner of opening, the end token whether it has learnt to stop.
    """

    VERSION = 2
    better: dict[str, Literal["lower", "higher"]] = {"nll_per_token": "lower", "nll_end": "lower"}

    def measure(self, samples: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """`nll_per_token` over all answer tokens, and `perplexity`, its exponential."""
        if not samples:
            return {}
        nll = ratio_interval(
            [s.nll for s in samples], [s.tokens for s in samples], [s.document_id for s in samples], seed
        )
        low, high = max(nll.low, 0.0), min(nll.high, 700.0)  # e**710 is no float any more
        perplexity = Interval(value=math.exp(min(nll.value, 700.0)), low=math.exp(low), high=math.exp(high), n=nll.n)
        parts = {
            name: _ratio([(nats, tokens, s) for s in samples for nats, tokens in part(s)], seed)
            for name, part in PARTS.items()
        }
        return {"nll_per_token": nll, "perplexity": perplexity} | {n: i for n, i in parts.items() if i}

    def compare(self, tuned: Sequence[Sample], base: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """Tuned minus base, token by token of the same answers. Raises AssetError where the tokens differ."""
        before = {sample.pair_id: sample for sample in base}
        both = [(after, before[after.pair_id]) for after in tuned if after.pair_id in before]
        for after, other in both:
            if after.tokens != other.tokens:
                raise AssetError(
                    f"pair {after.pair_id}: the answer has {after.tokens} tokens for one candidate and {other.tokens} "
                    "for the other; losses per token compare only under the same tokenizer and chat template"
                )
        if not both:
            return {}
        changes = [after.nll - other.nll for after, other in both]
        tokens, talks = [a.tokens for a, _ in both], [a.document_id for a, _ in both]
        differences = {"nll_per_token": ratio_interval(changes, tokens, talks, seed)}
        for name, part in PARTS.items():
            parts = [(a, b, after) for after, other in both for (a, b) in _change(part(after), part(other))]
            if interval := _ratio(parts, seed):
                differences[name] = interval
        return differences


def _change(after: Part, before: Part) -> Part:
    """Nats of one answer's part after minus before; nothing where either side does not know them."""
    return [(a[0] - b[0], a[1]) for a, b in zip(after, before, strict=False)]


def _ratio(parts: Sequence[tuple[float, int, Sample]], seed: int) -> Interval | None:
    if not parts:
        return None
    nats, tokens, samples = zip(*parts, strict=True)
    return ratio_interval(nats, tokens, [sample.document_id for sample in samples], seed)
