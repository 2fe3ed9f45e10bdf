"""Known answers: on samples with planted effects the scorecard must say what was planted, and nothing else."""

import time
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from benchmarks.figures import Figure
from understudy.interfaces import Metric, References
from understudy.records import ChatExample, Divergence, Leakage, Message, Pair, Sample, Scorecard, SplitPlan
from understudy.registry import build
from understudy.stages.evaluate import Extras, score

SEEDS = 100
TALKS, EACH = 20, 5
METRICS = ("nll", "formatting", "degeneration", "format_gap", "style", "copying")
TOPICS = (
    "clay iron bread tides wool glass salt cedar amber reeds copper flax chalk honey slate brine moss tin oak silk"
).split()
THINGS = [f"{a}{b}{c}" for a in "bdfglmnprst" for b in "aeiou" for c in ("ck", "ll", "nd", "rn", "sk", "t", "x")]
"""Made-up nouns, so many that two answers share a run of words only when one is copied."""
TEACHER = (
    "**{t}** first: the {a} comes before the {b}.",
    "Now look at the {a}, and you see the {b} at once.",
    "Think of the {a} as a guest, and of the {b} as the door.",
    "You take the {a}, you wait, you touch the {b}.",
    "- **{a}**: here most go wrong, not at the {b}.",
    "- **{a}**: let the {b} be, and it thanks you.",
    "So what of the {a}? We let the {b} rest.",
    "And that is why the {a} forgives no {b}.",
)
PLAIN = (
    "The {a} of {t} is determined by the {b} in most cases.",
    "It is important to note that the {a} is related to the {b}.",
    "In general the {a} is considered to be a factor for the {b}.",
    "There are several aspects of the {a} which are affected by the {b}.",
    "This is due to the fact that the {a} is influenced by the {b}.",
    "As a result the {a} of {t} can be different from the {b}.",
    "The {a} is often used in order to provide a {b}.",
    "Some examples of this include the {a} and the {b} of {t}.",
)


class Effect(NamedTuple):
    """What is planted, and what the scorecard must then say."""

    gain: float = 0.0
    """Nats per token by which the tuned model is better."""
    styled: float = 0.0
    """Share of its answers in the teacher's style."""
    endless: float = 0.0
    copied: float = 0.0
    forgot: float = 0.0
    """Share of the instructions it no longer follows; its divergence rises with it."""
    words: Mapping[str, str] = {}
    never: str | None = None
    """A word that no verdict may be, instead."""
    action: str | None = None


EFFECTS = {
    "none": Effect(never="better", action="more data"),
    "small": Effect(gain=0.1, words={"nll_per_token": "better"}, action="ship"),
    "large": Effect(
        gain=0.5,
        styled=0.9,
        words={"nll_per_token": "better", "format_gap_closed": "better", "style_gap_closed_teacher": "better"},
        action="ship",
    ),
    "broken_stop": Effect(
        gain=0.3, styled=0.9, endless=0.4, words={"broken": "worse"}, action="bug upstream of training"
    ),
    "memorized": Effect(copied=0.4, words={"copied": "worse"}, action="more data"),
    "forgetful": Effect(
        gain=0.5,
        styled=0.9,
        forgot=0.5,
        words={"nll_per_token": "better", "instructions": "worse", "kl_general": "worse"},
        action="lower the learning rate",
    ),
}


def figures() -> Iterator[Figure]:
    """Every figure of the group; takes about five minutes."""
    began = time.perf_counter()
    for name, effect in EFFECTS.items():
        cards = [planted(effect, seed) for seed in range(SEEDS)]
        right = sum(all(card.verdicts.get(key) == word for key, word in effect.words.items()) for card in cards)
        if effect.words:
            yield Figure(f"{name}_verdicts_right_of_100", right, ">=", 95)
        if effect.never:
            yield Figure(f"{name}_called_better_at_most", most_often(cards, effect.never), "<=", 5)
        actions = [card.decision.action if card.decision else None for card in cards]
        yield Figure(f"{name}_decisions_right_of_100", actions.count(effect.action), ">=", 95)
    yield Figure("seconds_per_scorecard", (time.perf_counter() - began) / (SEEDS * len(EFFECTS)))


def most_often(cards: list[Scorecard], word: str) -> int:
    """How often the verdict that is `word` most often is so; no correction for looking at several of them."""
    return max(sum(card.verdicts.get(name) == word for card in cards) for name in cards[0].verdicts)


def planted(effect: Effect, seed: int) -> Scorecard:
    """The scorecard of a base and a tuned model that differ by `effect`, with noise between talks and answers."""
    rng, held_out = np.random.default_rng(seed), references().held_out
    count = len(held_out)
    base_nll = 2.5 + rng.normal(scale=0.3, size=count)
    change = np.repeat(rng.normal(scale=0.05, size=TALKS), EACH) + rng.normal(scale=0.12, size=count) - effect.gain
    instructions = {f"i{n}": bool(rng.random() < 0.8) for n in range(60)}
    followed = {name: ok and not rng.random() < effect.forgot for name, ok in instructions.items()}
    noise = {name: ok != bool(rng.random() < 0.03) for name, ok in followed.items()}
    nats = rng.gamma(4, (0.02 + effect.forgot) / 4, size=64)  # real trainings that forgot moved by 0.5 and 0.7
    extras = Extras(
        outcomes={"instructions": {"base": instructions, "adapter": noise}},
        drift={"general": [(f"g{n}", Divergence(nats=50 * float(nat), tokens=50)) for n, nat in enumerate(nats)]},
    )
    samples = {
        "base": _samples(rng, held_out, base_nll, Effect()),
        "adapter": _samples(rng, held_out, base_nll + change, effect),
    }
    rows = [(pair, ChatExample(messages=[Message(role="user", content=pair.question)])) for pair in held_out]
    return score("planted", str(seed), _split(), rows, samples, {}, _metrics(), seed, "0" * 64, extras)


def _samples(
    rng: np.random.Generator, pairs: list[Pair] | tuple[Pair, ...], nll: np.ndarray, effect: Effect
) -> list[Sample]:
    samples = []
    for pair, loss in zip(pairs, nll, strict=True):
        text = _answer(rng, pair.title, TEACHER if rng.random() < effect.styled else PLAIN)
        if rng.random() < effect.copied:
            text = str(rng.choice([other.answer for other in references().train]))
        endless = rng.random() < effect.endless
        end = 0.3 + rng.gamma(2, 0.1) + (3.0 if effect.endless else 0.0)
        samples.append(
            Sample(
                pair_id=pair.pair_id,
                document_id=pair.document_id,
                nll=100 * loss,
                tokens=100,
                opening_nll=24 * loss,
                opening_tokens=20,
                body_nll=76 * loss - end,
                body_tokens=79,
                end_nll=end,
                text=text,
                new_tokens=300 if endless else 100,
                stopped=not endless,
                seconds=1.0,
            )
        )
    return samples


@cache
def references() -> References:
    """Train and held-out answers in the teacher's style, on other topics; talks that are like them, and rougher."""
    rng = np.random.default_rng(12345)
    pairs, talks = [], {}
    for number in range(2 * TALKS):
        talk, topic = f"t{number}", f"{TOPICS[number % TALKS]}{'' if number < TALKS else 's'}"
        pairs += [_pair(talk, topic, n, _answer(rng, topic, TEACHER)) for n in range(EACH)]
        talks[talk] = " ".join(_answer(rng, topic, TEACHER).replace("*", "").replace("- ", "um, ") for _ in range(8))
    train, held_out = pairs[: TALKS * EACH], pairs[TALKS * EACH :]
    return References(train=tuple(train), held_out=tuple(held_out), talks=talks)


@cache
def _metrics() -> dict[str, Metric]:
    """Studied once: what they learn of the references is the same for every seed."""
    metrics: dict[str, Metric] = {name: build("metric", name, {}) for name in METRICS}
    for metric in metrics.values():
        metric.study(references())
    return metrics


def _answer(rng: np.random.Generator, topic: str, sentences: tuple[str, ...]) -> str:
    written = []
    for sentence in rng.permutation(sentences)[: rng.integers(4, 8)]:
        first, second = rng.choice(THINGS, size=2, replace=False)
        written.append(str(sentence).format(t=topic, a=first, b=second))
    return ("\n\n" if sentences is TEACHER else " ").join(written)


def _pair(talk: str, topic: str, number: int, answer: str) -> Pair:
    return Pair(
        pair_id=f"{talk}#{number + 1}",
        document_id=talk,
        title=topic,
        published=None,
        question_number=number + 1,
        question=f"What about {topic}?",
        answer=answer,
        tags=[],
        start_seconds=None,
        end_seconds=None,
        document_sha256="",
        teacher="planted",
        prompt_sha256=None,
        kept=True,
        gate=None,
        reason=None,
    )


def _split() -> SplitPlan:
    return SplitPlan(
        splits={"train": [], "valid": [], "test": [pair.pair_id for pair in references().held_out]},
        documents={"train": [], "valid": [], "test": []},
        leakage=Leakage(rows_sharing_a_document=0, near_duplicate_questions=0),
        honest=True,
    )
