"""
Stage `promote`: whether a challenger takes the champion's place, by what a scorecard of the two says.

The rule: no number may be worse, those of PROVEN must be shown to be no worse, and at least one must be better.
Without a champion there is nothing to lose: the first model is promoted unless it is worse than its base.
"""

from collections.abc import Iterable, Mapping, Sequence

from understudy.records import Challenge, ChatExample, Interval, Sample, Scorecard, TrainedOn, sha256_of

VERSION = 3
PROVEN = ("nll_per_token", "well_formatted", "broken")
"""The others, such as shares of a gap that both models have nearly closed, may stay uncertain: between two similar
models they always are, and no challenger would ever pass."""

DISTANCES = ("kl_general",)
"""Drift of a model from its base. The scorecard warns of it; a first model is not refused for it alone, since every
tuned model drifts, and a channel without a champion would be trained for every night."""


def against_champion(card: Scorecard, champion: str) -> Challenge:
    """The verdict on `card.run`; in `card` the champion has the place of the base, the challenger of the tuned."""
    unsure = {name for name in PROVEN if card.verdicts.get(name) == "not enough data"}
    wrong = [f"{name}: {word}" for name, word in card.verdicts.items() if word == "worse" or name in unsure]
    better = [name for name, word in card.verdicts.items() if word == "better"]
    if not card.verdicts:
        reasons = ["no number could be compared"]
    elif wrong:
        reasons = [
            f"{each} (challenger minus champion {_interval(card.differences, each.split(':')[0])})" for each in wrong
        ]
    elif not better:
        reasons = ["no worse than the champion, and better in nothing"]
    else:
        reasons = [f"{name}: better ({_interval(card.differences, name)})" for name in better]
    return _challenge(card, champion, bool(better) and not wrong, reasons)


def against_base(card: Scorecard) -> Challenge:
    """The verdict on the first model of a channel, from its own scorecard."""
    names = [name for name, word in card.verdicts.items() if word == "worse" and name not in DISTANCES]
    worse = [f"{name}: worse than its base ({_interval(card.differences, name)})" for name in names]
    first = "the first model of this channel, and in no number worse than its base"
    return _challenge(card, None, not worse, worse or [first])


def refused(challenge: Challenge, reason: str) -> Challenge:
    """The same comparison, with the challenger refused for another `reason`."""
    return challenge.model_copy(update={"promoted": False, "reasons": [reason, *challenge.reasons]})


def on_the_champions_tokens(challenger: Sequence[Sample], champion: Sequence[Sample]) -> list[Sample]:
    """The challenger's samples with the token counts of the champion's.

    A base made of talks has another tokenizer each time it is made. The likelihood of the same answer
    compares all the same, over one and the same length.
    """
    lengths = {sample.pair_id: sample.tokens for sample in champion}
    return [s.model_copy(update={"tokens": lengths.get(s.pair_id, s.tokens)}) for s in challenger]


def trained_on(rows: Iterable[ChatExample]) -> TrainedOn:
    """What identifies the rows of train, without their words."""
    return TrainedOn(rows=sorted({sha256_of(row.model_dump_json().encode())[:16] for row in rows}))


def new_rows(now: TrainedOn, before: TrainedOn) -> int:
    """How many rows of `now` are not in `before`."""
    return len(set(now.rows) - set(before.rows))


def table(challenge: Challenge) -> str:
    """The comparison as markdown."""
    against = f"champion `{challenge.champion}`" if challenge.champion else "its base"
    outcome = "is the champion now" if challenge.promoted else "is refused"
    reasons = "\n".join(f"- {reason}" for reason in challenge.reasons)
    lines = [f"| {name} | {_interval(challenge.differences, name)} | {w} |" for name, w in challenge.verdicts.items()]
    head = "| number | difference, 95 % | verdict |\n|---|---|---|\n" if lines else ""
    return (
        f"Challenger `{challenge.challenger}` against {against}: it **{outcome}**.\n\n{reasons}\n\n{head}"
        + "\n".join(lines)
        + f"\n\nBoth were scored on the same held-out rows (`{challenge.test_sha256[:12]}`)."
    )


def _challenge(card: Scorecard, champion: str | None, promoted: bool, reasons: list[str]) -> Challenge:
    return Challenge(
        challenger=card.run,
        champion=champion,
        test_sha256=card.test_sha256,
        differences=card.differences,
        verdicts=card.verdicts,
        promoted=promoted,
        reasons=reasons,
    )


def _interval(differences: Mapping[str, Interval], name: str) -> str:
    interval = differences.get(name)
    return f"{interval.value:+.3f}, from {interval.low:+.3f} to {interval.high:+.3f}" if interval else "not measured"
