"""Laws of cutting manuals: every word in one section, cuts that stay while the text does, none without text."""

import random
from pathlib import Path

import pytest
from understudy.deployments import packaged

from understudy import config
from understudy.readers import read
from understudy.records import Document, Entry, ManualSection
from understudy.retrieval.sections import Reading, cut
from understudy.sources import several

WORDS = "valve marks pump shelf heron wren slide code rate notch panel tray hour lead check".split()


def text(sections: int, words: int = 120, seed: int = 1) -> str:
    """A manual in Markdown with chapters of two sections, each of paragraphs of sentences."""
    dice, lines = random.Random(seed), ["# Manual"]
    for number in range(1, sections + 1):
        lines += [f"## {(number + 1) // 2}. Chapter"] if number % 2 else []
        lines += [f"### {number}. Section"]
        sentences = [" ".join(dice.choices(WORDS, k=12)).capitalize() + f" {number}-{at}." for at in range(words // 12)]
        lines += [" ".join(sentences[at : at + 4]) for at in range(0, len(sentences), 4)]
    return "\n\n".join(lines)


def document(content: str, folder: Path) -> Document:
    (folder / "m.md").write_text(content, encoding="utf-8")
    return read(folder / "m.md", Entry(document_id="m", title="Manual", locator="m.md", revision="1"))


def plain(sections: list[ManualSection]) -> str:
    return " ".join(" ".join(section.text.split()) for section in sections)


@pytest.mark.parametrize("by", ["heading", "chars", "whole"])
@pytest.mark.parametrize("chars", [300, 800, 8000])
def test_every_word_is_in_one_section_and_none_is_longer_than_allowed(by: str, chars: int, tmp_path: Path) -> None:
    whole = document(text(8), tmp_path)
    sections = cut(whole, "1", Reading.model_validate({"by": by, "chars": chars, "overlap": 100}))
    words = " ".join(whole.text.split())
    for heading in whole.headings if by == "heading" else ():
        words = words.replace(heading.text, "", 1)
    assert " ".join(plain(sections).split()) == " ".join(words.replace("#", "").split())
    if by != "whole":
        assert max(len(section.text) for section in sections) <= chars
    assert all(len(s.place.before) <= 100 and len(s.place.after) <= 100 for s in sections)


def test_one_paragraph_of_two_megabytes_is_cut_at_sentences(tmp_path: Path) -> None:
    dice = random.Random(3)
    line = " ".join(" ".join(dice.choices(WORDS, k=11)).capitalize() + "." for _ in range(33_000))
    sections = cut(document(line, tmp_path), "1", Reading())
    assert len(line) > 2_000_000 and len(line) / 8000 < len(sections) < 300
    assert all(section.text.endswith(".") and len(section.text) <= 8000 for section in sections)


def test_headings_ten_deep_are_a_path(tmp_path: Path) -> None:
    deep = "\n\n".join(["# Manual", *(f"{'#' * min(6, n)} {n}. Level {n}" for n in range(1, 11)), "What holds here."])
    [section] = cut(document(deep, tmp_path), "1", Reading(min_words=1))
    assert section.text == "What holds here." and section.place.heading[-1] == "10. Level 10"


def test_a_changed_section_alone_is_another_one(tmp_path: Path) -> None:
    before = cut(document(text(8), tmp_path), "1", Reading())
    changed = text(8).replace(before[4].text.split(". ")[2], "From now on a rule holds that nobody knew before", 1)
    after = cut(document(changed, tmp_path), "2", Reading(), before)
    assert [s.section_id for s in after] == [s.section_id for s in before]
    differing = [b.section_id for b, a in zip(before, after, strict=True) if (b.text, b.place) != (a.text, a.place)]
    assert differing == [before[4].section_id]


def test_a_section_put_between_others_leaves_their_names(tmp_path: Path) -> None:
    before = cut(document(text(6), tmp_path), "1", Reading())
    more = text(6).replace(
        "### 3. Section", "### 2b. Section\n\nAnother rule stands here now, as everybody knows.\n\n### 3. Section"
    )
    after = cut(document(more, tmp_path), "2", Reading(), before)
    assert len(after) == 7 and {s.section_id for s in before} < {s.section_id for s in after}


def test_empty_sections_and_tables_of_contents_are_refused_in_a_sentence(tmp_path: Path) -> None:
    contents = "\n".join(f"{n}. Section {n} ........ {3 * n}" for n in range(1, 20))
    manual = f"# Manual\n\n## Contents\n\n{contents}\n\n## 7. Bells\n\nLeft blank.\n\n" + text(2)
    (tmp_path / "m").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "m/works.md").write_text(manual, encoding="utf-8")
    (tmp_path / "m/headings.md").write_text("# Only\n\n## Headings\n\n## Here\n", encoding="utf-8")
    preset = config.load(packaged.preset("expert"), {"permission": "owned", "source.path": str(tmp_path / "m")})
    [source] = several.built(preset, tmp_path / "home").values()
    reasons = {entry.title: str(refusal) for entry, refusal in source.list_talks() if refusal}
    assert len(reasons) == 3
    assert "table of contents" in next(why for title, why in reasons.items() if "Contents" in title)
    assert "words" in next(why for title, why in reasons.items() if "Bells" in title)
