"""The review page answers only who knows its token, changes no dataset, and keeps every decision at once."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.unit.pairs import pair
from understudy import store
from understudy.channel.decisions import load
from understudy.errors import UnderstudyError
from understudy.records import Leakage, Pair, SplitPlan
from understudy.text.words import clock
from understudy.web.review import play_link, rendered
from understudy.web.review.server import Server, review, serve

REFUSED = {"kept": False, "gate": "length", "reason": "<b>too short</b>"}


def dataset(home: Path, pairs: list[Pair], made_from: str = "1") -> Path:
    """A channel with `pairs`, the first of them held out."""
    plan = SplitPlan(
        splits={"train": [p.pair_id for p in pairs[1:] if p.kept], "valid": [], "test": [pairs[0].pair_id]},
        documents={"train": [], "valid": [], "test": []},
        leakage=Leakage(rows_sharing_a_document=0, near_duplicate_questions=0),
        honest=True,
    )
    for name, path, rows in (("pairs", "pairs.parquet", pairs), ("split", "split.json", [plan])):
        data, count = store.encode(path, rows)
        store.write_file(home, name, f"data/talks/dataset/{path}", data, count, made_from)
    return home / "data" / "talks"


PAIRS = [
    pair("yt-abc", 1).model_copy(update={"start_seconds": 75.4, "title": "Wärme & <Licht>"}),
    pair("yt-abc", 2, "What is cold?").model_copy(update=REFUSED),
    *(pair("file", n, f"What is number {n}?") for n in range(1, 31)),
]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    server = serve(dataset(tmp_path, PAIRS))
    yield server
    server.close()


def ask(server: Server, path: str, body: Any = None, **fields: Any) -> tuple[int, Any, http.client.HTTPMessage]:
    """Status, JSON or text, and headers."""
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    headers = {"Host": fields.get("host", where.netloc), "Content-Type": fields.get("kind", "application/json")}
    method = fields.get("method", "GET" if body is None else "POST")
    connection.request(method, fields.get("token", where.path) + path, json.dumps(body) if body else None, headers)
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, json.loads(text) if "json" in reply.headers["Content-Type"] and text else text, reply.headers


def order(about: dict[str, Any], action: str, **fields: str) -> dict[str, Any]:
    return {k: about[k] for k in ("document_id", "question_sha256")} | {"action": action} | fields


def first(server: Server, query: str = "") -> dict[str, Any]:
    return ask(server, f"pairs?{query}")[1]["cards"][0]


@pytest.mark.parametrize("token", ["/", "/wrong/", "/%20/", "//", "//[", "/%C3%A9/"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_is_answered_without_the_token(served: Server, token: str, method: str) -> None:
    for path in ("", "pairs", "menu", "decide"):
        assert ask(served, path, token=token, method=method)[0] == 403


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1", "127.0.0.1.example.org:80", "localhost:1", ""])
def test_a_foreign_host_name_is_refused(served: Server, host: str) -> None:
    assert ask(served, "", host=host)[0] == 403
    assert ask(served, "", host=f"localhost:{urlsplit(served.url).port}")[0] == 200


def test_the_page_may_ask_nobody_else_and_no_other_page_may_read_it(served: Server) -> None:
    status, page, headers = ask(served, "")
    policy = headers["Content-Security-Policy"]
    assert status == 200
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
    assert not [name for name in headers if name.lower().startswith("access-control")]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "http:" not in page and "https:" not in page and "$nonce" not in page


def test_every_pair_is_on_one_page_of_cards(served: Server) -> None:
    seen = [card["pair_id"] for n in (1, 2) for card in ask(served, f"pairs?page={n}")[1]["cards"]]
    assert seen == [p.pair_id for p in PAIRS]
    assert ask(served, "pairs?page=99")[1]["page"] == 2


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ("verdict=refused", 1),
        ("verdict=kept", 31),
        ("verdict=decided", 0),
        ("gate=length", 1),
        ("split=test", 1),
        ("split=none", 1),
        ("talk=yt-abc", 2),
        ("search=W%C3%84RME", 1),
        ("search=number+17", 1),
        ("search=crowd&talk=file", 30),
        ("search=nothing+like+it", 0),
    ],
)
def test_search_and_filters_find_exactly_what_they_name(served: Server, query: str, total: int) -> None:
    assert ask(served, f"pairs?{query}")[1]["total"] == total


def test_a_decision_is_on_disk_when_it_is_confirmed_and_the_dataset_is_untouched(
    served: Server, tmp_path: Path
) -> None:
    before = {f: f.read_bytes() for f in (tmp_path / "data/talks/dataset").iterdir()}
    card = ask(served, "decide", order(first(served), "reject", reason="wrong"))[1]
    assert (card["kept"], card["gate"], card["reason"], card["waiting"]) == (False, "human", "wrong", True)
    assert not load(tmp_path / "data/talks").apply(PAIRS)[0].kept
    assert {f: f.read_bytes() for f in (tmp_path / "data/talks/dataset").iterdir()} == before
    assert ask(served, "pairs")[1]["waiting"] == 1


def test_a_refused_pair_is_restored_and_stays_under_its_gate(served: Server) -> None:
    card = ask(served, "decide", order(first(served, "gate=length"), "restore"))[1]
    assert card["kept"] and card["gate"] is None
    assert first(served, "gate=length")["pair_id"] == "yt-abc#2"


def test_an_edited_pair_is_found_by_its_new_words_and_edited_again(served: Server, tmp_path: Path) -> None:
    for question in ("Was ist Wärme?", "What, then, is warmth?"):
        card = ask(served, "decide", order(first(served), "edit", question=question, answer="**A.**"))[1]
        assert card["question"] == question and card["answer_html"] == "<p><strong>A.</strong></p>\n"
    assert ask(served, "pairs?search=warmth")[1]["total"] == 1
    assert len(load(tmp_path / "data/talks").standing) == 1


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"action": "reject"}, 400),
        ({"action": "edit", "question": " ", "answer": "A"}, 400),
        ({"action": "edit", "question": "What is COLD?", "answer": "A"}, 409),
        ({"action": "restore", "document_id": "nobody"}, 409),
        ({"action": "burn"}, 400),
        ({"action": "restore", "reason": "x" * 2_000_000}, 413),
    ],
)
def test_what_is_no_decision_is_refused_in_words_and_not_kept(
    served: Server, tmp_path: Path, fields: dict[str, str], status: int
) -> None:
    status_code, reply, _ = ask(served, "decide", order(first(served), "restore") | fields)
    assert (status_code, bool(reply["error"])) == (status, True)
    assert not load(tmp_path / "data/talks").standing


def test_a_form_of_another_page_cannot_decide(served: Server, tmp_path: Path) -> None:
    assert ask(served, "decide", order(first(served), "restore"), kind="text/plain")[0] == 404
    assert not load(tmp_path / "data/talks").standing


def test_a_new_dataset_is_shown_without_a_restart_and_decisions_go_with_it(served: Server, tmp_path: Path) -> None:
    ask(served, "decide", order(first(served), "reject", reason="wrong"))
    dataset(tmp_path, [pair("new"), PAIRS[0].model_copy(update={"pair_id": "yt-abc#7"})], "2")
    cards = ask(served, "pairs")[1]["cards"]
    assert [(c["pair_id"], c["kept"]) for c in cards] == [("new#1", True), ("yt-abc#7", False)]
    dataset(tmp_path, [pair("new")], "3")
    assert ask(served, "menu")[1]["gone"] == 1


def test_without_a_dataset_there_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(UnderstudyError, match="no dataset of 'talks'"):
        review(tmp_path, "talks")
    with pytest.raises(UnderstudyError, match="no channel name"):
        review(tmp_path, "../talks")


@pytest.mark.parametrize(
    "hostile",
    ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "![i](//x/y.png)"],
)
def test_no_answer_can_run_or_load_anything(hostile: str) -> None:
    for text in (hostile, f"- {hostile}", f"```\n{hostile}\n```", f"# {hostile}", f"**{hostile}**"):
        assert not any(tag in rendered(text) for tag in ("<script", "<img", "<a ", "href="))


def test_answers_are_shown_in_the_form_the_student_learns() -> None:
    html = rendered("# H\n\n**b** `c`\n\n- one\n- two\n\n1. first\n\n```\nx < y\n```")
    assert all(tag in html for tag in ("<h1>", "<strong>", "<code>", "<ul>", "<ol>", "<pre>", "x &lt; y"))


def test_the_play_link_is_at_the_second_and_only_where_there_is_one() -> None:
    assert play_link(PAIRS[0]) == "https://youtu.be/abc?t=75"
    assert play_link(pair("file")) is None
    assert play_link(PAIRS[0].model_copy(update={"start_seconds": None})) is None
    assert [clock(s) for s in (0, 75.4, 3600)] == ["0:00", "1:15", "1:00:00"]
