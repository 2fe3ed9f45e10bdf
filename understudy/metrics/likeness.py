"""How near in meaning an answer is to the reference: the cosine of static embeddings, which a package ships."""

import logging
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from understudy.interfaces import References
from understudy.metrics import BaseMetric, answered, answered_by_both
from understudy.records import Interval, Sample
from understudy.scoring.statistics import mean_change, mean_interval

EXTRA = "metric likeness needs the package wordllama: pip install 'understudy[likeness]', or leave it out"


class LikenessMetric(BaseMetric):
    """Cosine of the mean word vectors of answer and reference: content, whatever the words; blind to style."""

    VERSION = 1
    better: dict[str, Literal["lower", "higher"]] = {"likeness": "higher"}

    def __init__(self, options: BaseMetric.Options) -> None:
        super().__init__(options)
        self._references: dict[str, str] = {}

    def problems(self) -> list[str]:
        """The package that is missing."""
        return [] if find_spec("wordllama") else [EXTRA]

    def study(self, references: References) -> None:
        """Keep the held-out answers."""
        self._references = {pair.pair_id: pair.answer for pair in references.held_out}

    def measure(self, samples: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """`likeness`, from -1 to 1; 1 is the same meaning as far as word vectors tell."""
        own = [sample for sample in answered(samples) if sample.pair_id in self._references]
        if not own or self.problems():
            return {}
        return {"likeness": mean_interval(self._likeness(own), [s.document_id for s in own], seed, bounds=(-1.0, 1.0))}

    def compare(self, tuned: Sequence[Sample], base: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """Tuned minus base, paired by question."""
        both = answered_by_both(tuned, base, self._references)
        if not both or self.problems():
            return {}
        after, before = (self._likeness(side) for side in zip(*both, strict=True))
        changes = [new - old for new, old in zip(after, before, strict=True)]
        return {"likeness": mean_change(changes, [sample.document_id for sample, _ in both], seed)}

    def _likeness(self, samples: Sequence[Sample]) -> list[float]:
        import numpy as np

        answers, references = (
            np.asarray(_model().embed([text or " " for text in texts], norm=True))
            for texts in ([s.text for s in samples], [self._references[s.pair_id] for s in samples])
        )
        # An answer without a word has no direction.
        return [float(np.nan_to_num(a @ b)) for a, b in zip(answers, references, strict=True)]


@cache
def _model() -> Any:
    import wordllama
    from wordllama import WordLlama

    logging.getLogger("wordllama").setLevel(logging.WARNING)
    # It looks for the tokenizer that it ships in the wrong folder, and would download it.
    return WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
