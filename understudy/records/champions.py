"""Which run of a channel is in use, and why."""

from typing import Literal

from pydantic import Field

from understudy.records.base import Interval, Record


class TrainedOn(Record):
    """Which rows a run was trained on, without their words. Written by `promote`."""

    rows: list[str] = Field(description="digests of the rows of train, sorted")


class Challenge(Record):
    """Whether a new run takes the champion's place, and why. Written by `promote`."""

    challenger: str = Field(description="the new run")
    champion: str | None = Field(description="the run it is compared with; None: with its base, as there is no other")
    test_sha256: str = Field(description="digest of the held-out rows both were scored on")
    differences: dict[str, Interval] = Field(description="challenger minus champion, paired over the same rows")
    verdicts: dict[str, Literal["better", "no worse", "worse", "not enough data"]]
    promoted: bool
    reasons: list[str] = Field(description="one sentence each")


class ChampionEvent(Record):
    """One line of champion.jsonl: what became of a run, and when."""

    action: Literal["promoted", "refused", "rolled back", "chosen"]
    run: str = Field(description="the champion from now on; of 'refused', the run that did not become it")
    before: str | None = Field(description="the champion until now")
    at: str = Field(description="UTC time, ISO 8601")
    reasons: list[str] = []
