"""The last lines of a run: what a person wants to know first comes first."""

import re
from pathlib import Path

from tests.unit.report.test_page import card, evidence
from understudy.cli import ending
from understudy.records import Decision
from understudy.report.evidence import Evidence
from understudy.stages import install

FILES = {"F16": Path("/home/a/m-F16.gguf"), "Q8_0": Path("/home/a/m-Q8_0.gguf")}
CHAT = ["understudy chat candles/r1", "ollama create x"]


def last_words(shown: Evidence, **more: object) -> str:
    command = ["/bin/understudy", "run", "--documents", "my talks"]
    return ending.text(shown, FILES, Path("/home/a/report.html"), CHAT, {"Q8_0": "differs"}, command=command, **more)


def test_verdict_question_report_and_next_command_come_before_any_number() -> None:
    text = last_words(evidence())
    parts = (
        "It worked: on 40 questions", "Asked: Why 20?", "\n  teacher ", "\n  base ", "\n  tuned ",
        "/home/a/report.html", "understudy chat candles/r1", "In numbers", "was 3.00, now 2.00",
        "m-Q8_0.gguf  NOT OFFERED: differs", "ollama create x",
    )  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_no_line_is_wider_than_a_terminal_and_none_compares_with_a_sign() -> None:
    text = last_words(evidence(text="word " * 300))
    prose = text[: text.index("Files:")]
    assert max(map(len, prose.splitlines())) <= ending.WIDEST
    assert not re.search(r"\d ?[<>] ?\d|->", prose)
    assert max(len(re.findall(r"word", block)) for block in prose.split("\n  ")) < 30


def test_what_was_typed_is_given_back_with_what_to_change() -> None:
    weak = card().model_copy(update={"decision": Decision(action="take a better base", reasons=["x"])})
    text = last_words(evidence()._replace(scorecard=weak))
    assert (
        re.search(r"^ +\S*understudy run --documents 'my talks' --base \S+$", text, re.MULTILINE) or "no larger" in text
    )
    assert ending.again(["flows/main.py"], "--base x") == "python flows/main.py --base x"
    assert ending.again(["/x/understudy/__main__.py", "run"], "--base x") == f"{install.program()} run --base x"


def test_a_run_without_answers_still_ends_in_words() -> None:
    text = last_words(Evidence(card()))
    assert text.startswith("\nNo verdict") and "Asked:" not in text
