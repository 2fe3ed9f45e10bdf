"""
A blind comparison by a person: a question, two answers in an order of their own, one key.

    sitting     which pairs are asked, what was chosen, what it comes to (this page)
    page.*      the page that shows it, served by `understudy.web.loopback`

No name of a model leaves this side before the last pair is decided. Each choice is on the disk before the next
question is shown, so after a reload or a kill the comparison resumes there.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from understudy.errors import UnderstudyError
from understudy.records import Comparison, Judgement, Record, Winner, sha256_of
from understudy.scoring import preferences
from understudy.scoring.preferences import Verdict
from understudy.web.loopback import Page, rendered

PAIRS = 20
"""15 of 20 decided pairs show a preference; fewer pairs need a larger share."""


class Duel(NamedTuple):
    """One question with both answers and the teacher's own."""

    pair_id: str
    document_id: str
    question: str
    reference: str
    tuned: str
    base: str


class Choice(Record):
    """What the page sends for one key."""

    pair_id: str
    chosen: Literal["1", "2", "tie"]


class Result(Record):
    """What all choices come to, with the names."""

    tuned: str
    base: str
    wins: int
    ties: int
    losses: int
    meaning: str
    judge: str | None = Field(default=None, description="how far the judge agrees; None without one")


class View(Record):
    """What the page shows now: a question, or at the end the result."""

    done: int = Field(description="pairs that are decided")
    total: int
    pair_id: str | None = None
    question: str | None = None
    first: str | None = Field(default=None, description="HTML of the answer on the left")
    second: str | None = None
    reference: str | None = Field(default=None, description="HTML of the teacher's own answer")
    result: Result | None = None


def draw(duels: Sequence[Duel], count: int, seed: str) -> list[Duel]:
    """Up to `count` of them, one of each talk in turn, the same ones each time; equal answers are nothing to ask."""
    unequal = [duel for duel in duels if duel.tuned.split() != duel.base.split()]
    talks: dict[str, list[Duel]] = {}
    for duel in sorted(unequal, key=lambda one: _digest(seed, one.pair_id)):
        talks.setdefault(duel.document_id, []).append(duel)
    turns = sorted(
        ((place, _digest(seed, talk), duel) for talk, of_talk in talks.items() for place, duel in enumerate(of_talk)),
        key=lambda turn: turn[:2],
    )
    return [duel for *_, duel in turns[:count]]


class Sitting:
    """The pairs one person is asked about, and what was chosen; for any thread."""

    def __init__(
        self,
        run: Path,
        duels: Sequence[Duel],
        tuned: str,
        base: str,
        judged: Sequence[Judgement] = (),
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """Go on in the file of folder `run`; `ended` is called after the last pair. Raises UnderstudyError."""
        if not duels:
            raise UnderstudyError(
                f"there is nothing to compare: {tuned} and {base} gave the same answers, or none; score the run with "
                "evaluate.questions above 0"
            )
        self.run, self.duels, self.names, self.judged = run, list(duels), (tuned, base), judged
        self._ended, self._lock = ended, threading.Lock()
        self._chosen = self._standing()

    def page(self) -> Page:
        """What `loopback` serves."""
        return Page(
            command="compare",
            package="understudy.web.compare",
            gets={"now": lambda query: self.show()},
            posts={
                "choose": lambda body: self.choose(Choice.model_validate_json(body)),
                "back": lambda body: self.back(),
            },
            body="a choice",
        )

    def show(self) -> View:
        """The next pair without a choice, or the result."""
        with self._lock:
            return self._view()

    def choose(self, choice: Choice) -> View:
        """Keep a choice and show what comes next. One about another pair than the shown one changes nothing."""
        with self._lock:
            duel = self._next()
            if duel is None or duel.pair_id != choice.pair_id:
                return self._view()  # the key was pressed twice
            first = self._first(duel)
            second: Winner = "base" if first == "tuned" else "tuned"
            sides: dict[str, Winner] = {"1": first, "2": second, "tie": "tie"}
            self._keep(duel, sides[choice.chosen])
            if self._next() is None:
                self._ended()
            return self._view()

    def back(self) -> View:
        """Take the last choice back and show its pair again; at the first pair nothing happens."""
        with self._lock:
            done = [duel for duel in self.duels if duel.pair_id in self._chosen]
            if done:
                self._keep(done[-1], None)
            return self._view()

    def verdict(self) -> Verdict | None:
        """What the choices so far come to, of these pairs only."""
        digests = {duel.pair_id: preferences.digest(duel.tuned, duel.base) for duel in self.duels}
        return preferences.verdict(
            [
                choice
                for choice in preferences.load(self.run)
                if (choice.tuned, choice.base) == self.names and digests.get(choice.pair_id) == choice.answers_sha256
            ]
        )

    def _standing(self) -> dict[str, Winner]:
        """Pair id > what was chosen before, of these very answers."""
        known = {
            (c.pair_id, c.answers_sha256): c for c in preferences.load(self.run) if (c.tuned, c.base) == self.names
        }
        chosen: dict[str, Winner] = {}
        for duel in self.duels:
            choice = known.get((duel.pair_id, preferences.digest(duel.tuned, duel.base)))
            if choice is not None and choice.chosen is not None:
                chosen[duel.pair_id] = choice.chosen
        return chosen

    def _next(self) -> Duel | None:
        return next((duel for duel in self.duels if duel.pair_id not in self._chosen), None)

    def _first(self, duel: Duel) -> Literal["tuned", "base"]:
        """Whose answer stands first: a toss per pair, the same after a reload."""
        return "tuned" if int(_digest(self.run.name, "order", duel.pair_id)[0], 16) % 2 else "base"

    def _keep(self, duel: Duel, chosen: Winner | None) -> None:
        preferences.append(
            self.run,
            Comparison(
                pair_id=duel.pair_id,
                tuned=self.names[0],
                base=self.names[1],
                answers_sha256=preferences.digest(duel.tuned, duel.base),
                first=self._first(duel),
                chosen=chosen,
                at=datetime.now(UTC).isoformat(timespec="seconds"),
            ),
        )
        if chosen is None:
            self._chosen.pop(duel.pair_id, None)
        else:
            self._chosen[duel.pair_id] = chosen

    def _view(self) -> View:
        duel, total = self._next(), len(self.duels)
        if duel is None:
            return View(done=total, total=total, result=self._result())
        answers: Mapping[str, str] = {"tuned": duel.tuned, "base": duel.base}
        first = self._first(duel)
        return View(
            done=len(self._chosen),
            total=total,
            pair_id=duel.pair_id,
            question=duel.question,
            first=rendered(answers[first]),
            second=rendered(answers["base" if first == "tuned" else "tuned"]),
            reference=rendered(duel.reference),
        )

    def _result(self) -> Result | None:
        verdict = self.verdict()
        if verdict is None:
            return None
        return Result(**verdict.model_dump(exclude={"sign_p", "win_rate"}), judge=self._of_judge())

    def _of_judge(self) -> str | None:
        agreement = preferences.agreement(self._chosen, self.judged)
        if agreement is None:
            return None
        share, kappa = agreement
        above = "" if kappa is None else f", kappa {kappa:.2f} (0 is chance, 1 is always)"
        return f"The judge agrees with you on {100 * share.value:.0f} % of {share.n} questions{above}."


def _digest(*parts: str) -> str:
    return sha256_of("\n".join(parts).encode())
