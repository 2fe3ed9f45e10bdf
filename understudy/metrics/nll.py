"""How well a candidate expects the reference answers: nats per answer token, lower is better."""

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from understudy.errors import AssetError
from understudy.records import Interval, Sample
from understudy.statistics import ratio_interval


class NllMetric:
    """Mean nats per token of the reference answers, end token included, and its perplexity."""

    VERSION = 1
    better: dict[str, Literal["lower", "higher"]] = {"nll_per_token": "lower"}

    class Options(BaseModel):
        """None."""

        model_config = ConfigDict(extra="forbid")

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self) -> list[str]:
        """Nothing: every engine gives it."""
        return []

    def measure(self, samples: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """`nll_per_token` over all answer tokens, and `perplexity`, its exponential."""
        if not samples:
            return {}
        nll = ratio_interval(
            [s.nll for s in samples], [s.tokens for s in samples], [s.document_id for s in samples], seed
        )
        low, high = max(nll.low, 0.0), min(nll.high, 700.0)  # e**710 is no float any more
        perplexity = Interval(value=math.exp(min(nll.value, 700.0)), low=math.exp(low), high=math.exp(high), n=nll.n)
        return {"nll_per_token": nll, "perplexity": perplexity}

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
        return {"nll_per_token": ratio_interval(changes, tokens, talks, seed)}
