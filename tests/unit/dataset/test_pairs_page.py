"""The page of pairs shows every pair once, and no pair takes in what follows it."""

from markdown_it import MarkdownIt

from tests.unit.dataset.test_describe import PAIRS, PLAN, VIDEO, part
from understudy.dataset.pairs_page import pieces

EVIL = "Why <script>alert(1)</script>\n# not a heading?"


def test_every_kept_pair_is_a_heading_with_its_answer_as_it_is() -> None:
    page = "".join(pieces(PAIRS, PLAN))
    assert page.startswith("# Pairs\n\n4 kept and 3 refused, of 2 talks.\n")
    assert page.count("\n## ") == 2 and page.count("\n### ") == 4
    assert all(f"{pair.answer.strip()}\n" in page for pair in PAIRS if pair.kept)
    assert "*[0:30](https://youtu.be/abcdefghij1?t=30) · train · tea*" in page
    assert "<details><summary>2 refused</summary>" in page and "- Why 4? (length: 3 words)" in page


def test_the_same_pairs_give_the_same_page() -> None:
    assert list(pieces(PAIRS, PLAN)) == list(pieces(list(PAIRS), PLAN))


def test_no_pair_breaks_the_page() -> None:
    hostile = [
        part(VIDEO, 1, 0, 1, question=EVIL, answer="```\nnever closed", title=EVIL),
        part(VIDEO, 2, 0, 1),
        part(VIDEO, 3, 0, 1, question=EVIL, kept=False, gate="length", reason=EVIL),
    ]
    page = "".join(pieces(hostile, PLAN))
    headings = [token.tag for token in MarkdownIt().parse(page) if token.type == "heading_open"]
    assert headings == ["h1", "h2", "h3", "h3"] and "<script" not in page


def test_a_hundred_thousand_pairs_are_written_piece_by_piece() -> None:
    some = [part(f"talk-{n}", n, None, None) for n in range(1000)]
    lengths = [len(piece) for piece in pieces(some * 100, PLAN) if "\n### " in piece]
    assert len(lengths) == 100_000 and max(lengths) < 1000
