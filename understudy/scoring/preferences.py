"""
People's choices between two answers, in models/<channel>/<run>/comparison.jsonl, and what they add up to.

Lines are only appended, and the last one about a question counts; one with nothing chosen takes the others back.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from understudy.errors import AssetError
from understudy.records import Comparison, Interval, Judgement, Record, Winner, sha256_of
from understudy.scoring.statistics import kappa, sign_test, wilson

FILE = "comparison.jsonl"
SURE = 0.05
SHOWN = {"adapter": "tuned"}
"""The name shown for a candidate; a file keeps its own."""


class Verdict(Record):
    """All choices of a person between two candidates, counted."""

    tuned: str
    base: str
    wins: int = Field(description="the tuned model's")
    ties: int
    losses: int
    sign_p: float = Field(description="of wins against losses, exact, two-sided")
    win_rate: Interval | None = Field(description="of the decided ones, Wilson; None when all were ties")
    meaning: str = Field(description="one sentence")


def digest(tuned: str, base: str) -> str:
    """The digest that identifies a pair of answers."""
    return sha256_of(f"{len(tuned)}\n{tuned}\n{base}".encode())


def append(run: Path, choice: Comparison) -> None:
    """Add a line to the file of the run in folder `run`; it is on the disk when this returns."""
    with (run / FILE).open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a kill cut the last line short: it never counted
                file.write(b"\n")
        file.write(choice.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def load(run: Path) -> list[Comparison]:
    """The last choice about each question and pair of candidates. Raises AssetError for a damaged line.

    A line that a kill cut short is skipped.
    """
    file = run / FILE
    lines = file.read_bytes().splitlines() if file.is_file() else []
    last: dict[tuple[str, str, str, str], Comparison] = {}
    for number, line in enumerate(lines, 1):
        try:
            choice = Comparison.model_validate_json(line)
        except ValidationError as error:
            if not line.endswith(b"}"):
                continue
            why = error.errors()[0]["msg"]
            raise AssetError(f"{file}, line {number} is not a comparison ({why}); correct or delete it") from None
        last[choice.tuned, choice.base, choice.pair_id, choice.answers_sha256] = choice
    return [choice for choice in last.values() if choice.chosen is not None]


def verdict(choices: Sequence[Comparison]) -> Verdict | None:
    """The choices between the two candidates of the last line, counted; None without any."""
    if not choices:
        return None
    last = choices[-1]
    winners = [choice.chosen for choice in choices if (choice.tuned, choice.base) == (last.tuned, last.base)]
    wins, losses, ties = (winners.count(side) for side in ("tuned", "base", "tie"))
    p = sign_test(wins, losses)
    tuned, base = SHOWN.get(last.tuned, last.tuned), SHOWN.get(last.base, last.base)
    return Verdict(
        tuned=tuned,
        base=base,
        wins=wins,
        ties=ties,
        losses=losses,
        sign_p=p,
        win_rate=wilson(wins, wins + losses) if wins + losses else None,
        meaning=_meaning(wins, losses, ties, p, tuned, base),
    )


def by_pair(choices: Iterable[Comparison], tuned: str, base: str) -> dict[str, Winner]:
    """Pair id > who won, of the choices between these two candidates."""
    return {c.pair_id: c.chosen for c in choices if c.chosen is not None and (c.tuned, c.base) == (tuned, base)}


def agreement(human: Mapping[str, Winner], judgements: Iterable[Judgement]) -> tuple[Interval, float | None] | None:
    """Share of the questions on which judge and person agree, and Cohen's kappa; None without a common question."""
    both = [(human[one.pair_id], one.voice) for one in judgements if one.voice is not None and one.pair_id in human]
    if not both:
        return None
    return wilson(sum(a == b for a, b in both), len(both)), kappa([a for a, _ in both], [b for _, b in both])


def chance(p: float) -> str:
    """A p-value as people write it."""
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def _meaning(wins: int, losses: int, ties: int, p: float, tuned: str, base: str) -> str:
    decided = wins + losses
    if not decided:
        return f"Every one of the {ties} choices was a tie: nothing tells {tuned} and {base} apart."
    counts = f"{tuned} was chosen in {wins} of {decided} decided pairs, {base} in {losses}"
    if p < SURE:
        return f"{counts}: you prefer {tuned if wins > losses else base}; chance would rarely do this ({chance(p)})."
    return f"{counts}: chance alone would often do this ({chance(p)}), so this does not show a preference."
