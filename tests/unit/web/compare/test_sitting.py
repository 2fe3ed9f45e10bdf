"""A person is asked blind, each choice is kept at once, and a reload goes on where it was."""

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from understudy.errors import UnderstudyError
from understudy.records import Judgement
from understudy.scoring import preferences
from understudy.web.compare import Choice, Duel, Sitting, View, draw
from understudy.web.loopback import PageServer

EVIL = "<script>alert(1)</script>"
DUELS = [Duel(f"t{n % 3}#{n}", f"t{n % 3}", f"Why {n}?", "So.", f"**New** {n} {EVIL}", f"Old {n}") for n in range(12)]


def sitting(run: Path, **options: Any) -> Sitting:
    return Sitting(run, draw(DUELS, 6, "seed"), "tuned", "base", **options)


def pressed(sitting_: Sitting, key: Any) -> View:
    return sitting_.choose(Choice(pair_id=sitting_.show().pair_id or "", chosen=key))


def test_every_talk_is_asked_about_and_more_pairs_only_add(tmp_path: Path) -> None:
    assert Counter(duel.document_id for duel in draw(DUELS, 6, "s")) == {"t0": 2, "t1": 2, "t2": 2}
    assert draw(DUELS, 9, "s")[:6] == draw(DUELS, 6, "s") == draw(list(reversed(DUELS)), 6, "s")


def test_equal_answers_are_never_asked_about() -> None:
    same = [duel._replace(tuned=" same  words", base="same words") for duel in DUELS]
    assert draw(same, 5, "s") == []


def test_no_name_is_told_before_the_end(tmp_path: Path) -> None:
    sitting_ = sitting(tmp_path)
    for _ in range(6):
        assert not {"tuned", "base"} & set(sitting_.show().model_dump_json().replace('"', " ").split())
        last = pressed(sitting_, "1")
    assert last.result is not None and (last.result.tuned, last.result.base) == ("tuned", "base")
    assert last.result.wins + last.result.losses == 6


def test_each_choice_is_on_disk_and_counts_for_whoever_stood_there(tmp_path: Path) -> None:
    sitting_ = sitting(tmp_path)
    for number in range(6):
        new_is_first = "New" in (sitting_.show().first or "")
        pressed(sitting_, "1" if new_is_first else "2")
        kept = preferences.load(tmp_path)
        assert len(kept) == number + 1 and kept[-1].chosen == "tuned"
        assert kept[-1].first == ("tuned" if new_is_first else "base")


def test_both_answers_stand_first_sometimes(tmp_path: Path) -> None:
    sitting_, seen = Sitting(tmp_path, DUELS, "tuned", "base"), set()
    for _ in DUELS:
        seen.add("New" in (sitting_.show().first or ""))
        pressed(sitting_, "tie")
    assert seen == {True, False}


def test_a_kill_goes_on_where_it_was(tmp_path: Path) -> None:
    first = sitting(tmp_path)
    pressed(first, "1")
    pressed(first, "tie")
    assert sitting(tmp_path).show() == first.show() and first.show().done == 2


def test_a_new_answer_is_asked_about_again(tmp_path: Path) -> None:
    sitting_ = sitting(tmp_path)
    pressed(sitting_, "1")
    other = [duel._replace(tuned=f"{duel.tuned}!") for duel in draw(DUELS, 6, "seed")]
    assert Sitting(tmp_path, other, "tuned", "base").show().done == 0


def test_back_takes_the_last_choice_back_and_stops_at_the_first(tmp_path: Path) -> None:
    sitting_ = sitting(tmp_path)
    before = sitting_.show()
    pressed(sitting_, "2")
    assert sitting_.back() == before and sitting_.back() == before
    assert preferences.load(tmp_path) == []


def test_a_key_pressed_twice_decides_one_pair(tmp_path: Path) -> None:
    sitting_ = sitting(tmp_path)
    twice = Choice(pair_id=sitting_.show().pair_id or "", chosen="1")
    assert sitting_.choose(twice) == sitting_.choose(twice) and sitting_.show().done == 1


def test_the_end_is_told_once_and_the_judge_is_held_against_it(tmp_path: Path) -> None:
    ends: list[int] = []
    judged = [Judgement(pair_id=duel.pair_id, document_id="t", voice="tie") for duel in DUELS]
    sitting_ = sitting(tmp_path, judged=judged, ended=lambda: ends.append(1))
    for _ in range(6):
        last = pressed(sitting_, "tie")
    assert ends == [1] and last.result is not None
    assert (last.result.judge or "").startswith("The judge agrees with you on 100 % of 6 questions")
    assert "nothing tells tuned and base apart" in last.result.meaning


def test_nothing_to_compare_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError, match="gave the same answers, or none"):
        Sitting(tmp_path, [], "tuned", "base")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[PageServer]:
    server = PageServer(sitting(tmp_path).page())
    yield server
    server.close()


def ask(server: PageServer, path: str, body: str | None = None) -> tuple[int, Any]:
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    headers = {"Content-Type": "application/json"}
    connection.request("GET" if body is None else "POST", where.path + path, body, headers)
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, json.loads(text) if text.startswith("{") else text


@pytest.mark.parametrize(
    ("body", "status"),
    [("", 400), ("[]", 400), ('{"pair_id": "x", "chosen": "3"}', 400), ('{"pair_id": "x", "chosen": "1"}', 200)],
)
def test_what_is_no_choice_changes_nothing(served: PageServer, tmp_path: Path, body: str, status: int) -> None:
    assert ask(served, "choose", body)[0] == status
    assert preferences.load(tmp_path) == []


def test_answers_are_escaped_and_an_empty_one_is_said(served: PageServer, tmp_path: Path) -> None:
    page = ask(served, "now")[1]
    assert "<script" not in page["first"] + page["second"] and "&lt;script&gt;" in page["first"] + page["second"]
    empty = Sitting(tmp_path, [DUELS[0]._replace(tuned="")], "tuned", "base").show()
    assert "(empty)" in f"{empty.first}{empty.second}"


def test_a_port_that_is_taken_is_told_in_one_sentence(served: PageServer, tmp_path: Path) -> None:
    port = urlsplit(served.url).port or 0
    with pytest.raises(UnderstudyError, match=f"port {port} of 127.0.0.1 is taken by another program; name another"):
        PageServer(sitting(tmp_path).page(), port)
    with pytest.raises(UnderstudyError, match="port 99999 of 127.0.0.1 cannot be used"):
        PageServer(sitting(tmp_path).page(), 99999)
