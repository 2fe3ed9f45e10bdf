"""Manuals with numbered headings, tables and an empty section: every section that is asked about is found."""

import json
from pathlib import Path

import pytest

from understudy.readers import read
from understudy.records import Entry
from understudy.retrieval.sections import stretches

ROOT = Path(__file__).resolve().parents[3] / "deployments"
MANUALS = ROOT / "sample_manuals"
WRITTEN = (ROOT / "sample_manuals_answers" / "pairs.jsonl").read_text(encoding="utf-8")
ASKED = [json.loads(line) for line in WRITTEN.splitlines()]


@pytest.mark.parametrize("name", sorted({line["file"] for line in ASKED}))
def test_every_section_is_found_by_its_heading_and_holds_its_own_words(name: str) -> None:
    file = MANUALS / name
    document = read(file, Entry(document_id=name, title=name, locator=name, revision="1"))
    found = {section.heading[-1]: section for section in stretches(document) if section.heading}
    asked = [line["section"] for line in ASKED if line["file"] == name]
    assert asked and set(asked) <= set(found)
    assert all(len(found[heading].text.split()) >= 60 for heading in asked)
    assert not any(other in found[heading].text for heading in asked for other in asked if other != heading)
