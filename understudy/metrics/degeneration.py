"""How many answers are broken: empty, endless, looping, leaking control tokens, far too short, foreign."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from understudy.interfaces import References
from understudy.metrics import BaseMetric, answered
from understudy.records import Interval, Sample
from understudy.scoring.statistics import share_difference, wilson
from understudy.text.language import language, scripts
from understudy.text.words import words

KINDS = ("empty", "endless", "loops", "token_leak", "too_short", "wrong_script", "wrong_language")
CUT = "cut"
"""At the limit of tokens, without being broken: it may have been about to end."""
_LEAK = re.compile(
    r"</?think>|<\||</?s>|\[/?INST\]|<(?:start|end)_of_turn>|^[ \t]*(?:system|user|assistant)[ \t]*:?[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)


class DegenerationMetric(BaseMetric):
    """Shares of the ways an answer breaks, `broken`: at least one of them, and the share that was cut at the limit."""

    VERSION = 4
    better: dict[str, Literal["lower", "higher"]] = {"broken": "lower"}

    class Options(BaseMetric.Options):
        """When an answer loops, is endless or too short."""

        loop_share: float = Field(default=0.2, gt=0, lt=1, description="repeated 4-word runs that make a loop")
        loop_lines: int = Field(default=3, ge=2, description="times one line may not come")
        endless_times: float = Field(
            default=2, ge=1, description="endless from so many times the longest 5 % of the references, without an end"
        )
        short_share: float = Field(
            default=0.25, ge=0, lt=1, description="too short under this share of the shortest 5 % of the references"
        )
        script_share: float = Field(
            default=0.05,
            ge=0,
            lt=1,
            description="letters of a script the teacher does not use, above which it is wrong",
        )

    options: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._scripts: set[str] = set()
        self._language: str | None = None

    def study(self, references: References) -> None:
        """Learn the scripts and the language of the teacher's answers; without one of them nothing is foreign."""
        answers = [pair.answer for pair in (*references.train, *references.held_out)]
        used = Counter(name for text in answers for name, share in scripts(text).items() if share > 0.01)
        # A script that one answer in fifty has is the teacher's own: a quotation, a symbol.
        self._scripts = {name for name, count in used.items() if count >= 0.02 * len(answers)}
        languages = Counter(filter(None, map(language, answers)))
        if languages:
            first, count = languages.most_common(1)[0]
            self._language = first if count >= 0.9 * languages.total() else None

    def measure(self, samples: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """Share of each kind and `broken`, over the samples with text (Wilson)."""
        broken = [ways for _, ways in self._broken(samples).values()]
        if not broken:
            return {}
        return {kind: wilson(sum(kind in ways for ways in broken), len(broken)) for kind in ("broken", *KINDS, CUT)}

    def compare(self, tuned: Sequence[Sample], base: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """Tuned minus base of `broken` and of each kind, over the pairs both answered."""
        after, before = self._broken(tuned), self._broken(base)
        both = [pair_id for pair_id in after if pair_id in before]
        if not both:
            return {}
        talks = [after[pair_id][0] for pair_id in both]
        new, old = [after[p][1] for p in both], [before[p][1] for p in both]
        return {
            kind: share_difference([kind in w for w in new], [kind in w for w in old], talks, seed)
            for kind in ("broken", *KINDS, CUT)
        }

    def _broken(self, samples: Sequence[Sample]) -> dict[str, tuple[str, set[str]]]:
        """Pair id > (talk, the ways its answer is broken, with `broken` where there is one, and whether it is cut)."""
        # The reference is known by its tokens only, so lengths are compared in tokens, end token included.
        shortest, longest = np.percentile([s.tokens for s in samples], [5, 95]) if samples else (0.0, 0.0)
        least, most = self.options.short_share * float(shortest), self.options.endless_times * float(longest)
        return {s.pair_id: (s.document_id, self._ways(s, least, most)) for s in answered(samples)}

    def _ways(self, sample: Sample, least_tokens: float, most_tokens: float) -> set[str]:
        text = sample.text or ""
        ways = set()
        if not text.strip():
            ways.add("empty")
        elif sample.new_tokens is not None and sample.new_tokens < least_tokens:
            ways.add("too_short")
        if sample.stopped is False:
            ways.add("endless" if (sample.new_tokens or 0) >= most_tokens else CUT)
        if repeated_share(text) > self.options.loop_share or most_lines(text) >= self.options.loop_lines:
            ways.add("loops")
        if _LEAK.search(text):
            ways.add("token_leak")
        ways |= self._foreign(text)
        return ways | {"broken"} if ways - {CUT} else ways

    def _foreign(self, text: str) -> set[str]:
        ways = set()
        shares = scripts(text)
        if self._scripts and sum(share for name, share in shares.items() if name not in self._scripts) > (
            self.options.script_share
        ):
            ways.add("wrong_script")
        elif self._language and (language(text) or self._language) != self._language:
            ways.add("wrong_language")
        return ways


def repeated_share(text: str, run_words: int = 4) -> float:
    """Share of the runs of `run_words` words that came before; 0 for a text without one."""
    every = words(text)
    runs = [tuple(every[i : i + run_words]) for i in range(len(every) - run_words + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def most_lines(text: str) -> int:
    """How often the commonest line with a word in it comes."""
    lines = [" ".join(line.split()) for line in text.splitlines() if words(line)]
    return max((lines.count(line) for line in set(lines)), default=0)
