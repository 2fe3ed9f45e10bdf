"""How many answers have the form the pairs teach: paragraphs or a list, bold terms, no loose ends."""

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field

from understudy.metrics import BaseMetric, answered, answered_by_both
from understudy.records import Interval, Sample
from understudy.scoring.statistics import mean_interval, share_difference, wilson
from understudy.text.markdown import Form, Profile, profile, well_formatted
from understudy.text.words import word_count

FEATURES: dict[str, Callable[[Profile], bool]] = {
    "with_bold": lambda shape: shape.bold_spans > 0,
    "with_paragraphs": lambda shape: shape.paragraphs >= 2,
    "with_list": lambda shape: shape.list_items > 0,
}


class FormattingMetric(BaseMetric):
    """Share of well-formatted answers, and what they are made of."""

    VERSION = 2

    class Options(BaseMetric.Options):
        """What counts as well formatted."""

        form: Form = Field(
            default="markdown", exclude_if=lambda form: form == "markdown", description="of a good answer"
        )

    options: Options
    better: dict[str, Literal["lower", "higher"]] = {"well_formatted": "higher"}

    def measure(self, samples: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """Shares `well_formatted`, `with_bold`, `with_paragraphs`, `with_list` (Wilson), and mean `words`."""
        own = answered(samples)
        if not own:
            return {}
        flags = [self._flags(sample) for sample in own]
        shares = {name: wilson(sum(flag[name] for flag in flags), len(flags)) for name in flags[0]}
        talks = [sample.document_id for sample in own]
        return shares | {"words": mean_interval([_words(s) for s in own], talks, seed, bounds=(0.0, float("inf")))}

    def compare(self, tuned: Sequence[Sample], base: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """Tuned minus base of each share and of `words`, over the pairs both answered."""
        both = answered_by_both(tuned, base)
        if not both:
            return {}
        talks = [after.document_id for after, _ in both]
        flags = [(self._flags(after), self._flags(other)) for after, other in both]
        differences = {
            name: share_difference([a[name] for a, _ in flags], [b[name] for _, b in flags], talks, seed)
            for name in flags[0][0]
        }
        return differences | {"words": mean_interval([_words(a) - _words(b) for a, b in both], talks, seed)}

    def _flags(self, sample: Sample) -> dict[str, bool]:
        text = sample.text or ""
        shape = profile(text)
        features = {name: has(shape) for name, has in FEATURES.items()}
        return {"well_formatted": well_formatted(text, self.options.form)} | features


def _words(sample: Sample) -> float:
    return float(word_count(sample.text or ""))
