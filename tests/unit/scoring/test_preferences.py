"""People's choices are stored line by line, and counted."""

from pathlib import Path

import pytest

from understudy.errors import AssetError
from understudy.records import Comparison, Judgement, Winner
from understudy.scoring import preferences


def choice(number: int, chosen: Winner | None) -> Comparison:
    return Comparison(
        pair_id=f"t#{number}",
        tuned="adapter",
        base="base",
        answers_sha256="a",
        first="tuned",
        chosen=chosen,
        at="2026-01-01T00:00:00+00:00",
    )


def test_the_last_choice_wins_and_one_taken_back_is_gone(tmp_path: Path) -> None:
    for one in (choice(1, "base"), choice(2, "tie"), choice(1, "tuned"), choice(2, None)):
        preferences.append(tmp_path, one)
    assert [(c.pair_id, c.chosen) for c in preferences.load(tmp_path)] == [("t#1", "tuned")]
    assert len((tmp_path / preferences.FILE).read_text().splitlines()) == 4


def test_a_line_that_a_kill_cut_short_never_counted(tmp_path: Path) -> None:
    preferences.append(tmp_path, choice(1, "tuned"))
    file = tmp_path / preferences.FILE
    file.write_bytes(file.read_bytes() + b'{"pair_id": "t#2", "tu')
    assert len(preferences.load(tmp_path)) == 1
    preferences.append(tmp_path, choice(3, "base"))
    assert [c.pair_id for c in preferences.load(tmp_path)] == ["t#1", "t#3"]


def test_a_whole_line_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / preferences.FILE).write_text('{"pair_id": "t#1"}\n')
    with pytest.raises(AssetError, match=r"comparison.jsonl, line 1 is not a comparison .*correct or delete"):
        preferences.load(tmp_path)


@pytest.mark.parametrize(
    ("wins", "losses", "ties", "meaning"),
    [
        (15, 5, 0, "you prefer tuned"),
        (5, 15, 0, "you prefer base"),
        (14, 6, 0, "does not show a preference"),
        (0, 0, 4, "nothing tells tuned and base apart"),
        (3, 0, 17, "does not show a preference"),
    ],
)
def test_a_preference_is_claimed_only_beyond_chance(wins: int, losses: int, ties: int, meaning: str) -> None:
    sides: list[Winner] = ["tuned"] * wins + ["base"] * losses + ["tie"] * ties
    verdict = preferences.verdict([choice(n, side) for n, side in enumerate(sides)])
    assert verdict is not None and (verdict.wins, verdict.losses, verdict.ties) == (wins, losses, ties)
    assert meaning in verdict.meaning
    assert (verdict.win_rate is None) == (wins + losses == 0)


def test_nothing_chosen_is_no_verdict(tmp_path: Path) -> None:
    assert preferences.verdict(preferences.load(tmp_path)) is None


def test_judge_and_person_are_compared_on_what_both_decided() -> None:
    judged = [
        Judgement(pair_id=f"t#{n}", document_id="t", voice=voice)
        for n, voice in enumerate(["tuned", "base", None, "tie"])
    ]
    human: dict[str, Winner] = {"t#0": "tuned", "t#1": "tuned", "t#2": "base", "t#9": "base"}
    shared = preferences.agreement(human, judged)
    assert shared is not None and (shared[0].value, shared[0].n) == (0.5, 2)
    assert preferences.agreement({}, judged) is None
