"""Laws of the page: whole, safe, small, and asking nothing of the network."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from understudy.records import BaseCard, CandidateScore, Interval, Pair, Sample, Scorecard
from understudy.report import LABELS, difference, hops, signed, size
from understudy.report.charts import forest, loss_curve, ticks
from understudy.report.page import SAMPLES_SHOWN, markdown, page

EVIL = "<script>alert('$x')</script>\"&|`"
CURVE = [{"iteration": 2 * i, "update": i, "train_loss": 3 - i / 10} for i in range(10)] + [
    {"iteration": 0, "update": 0, "valid_loss": 3.2, "train_loss": None},
    {"iteration": 18, "update": 9, "valid_loss": 2.5},
]
VOID = {"meta", "br", "line", "circle", "polyline", "link", "hr"}


def card(evil: str = "", honest: bool = True) -> Scorecard:
    def metrics(nll: float) -> dict[str, Interval]:
        return {
            "nll_per_token": Interval(value=nll, low=nll - 0.1, high=nll + 0.1, n=40),
            "well_formatted": Interval(value=0.5, low=0.4, high=0.6, n=40),
            f"own_metric{evil}": Interval(value=1234.5, low=0, high=float("inf"), n=40),
        }

    losses = {"base": 3.0, "adapter": 2.0, "fused": 2.005, "F16": 2.01, "Q8_0": 2.02, f"Q4_K_M{evil}": 2.2}
    return Scorecard(
        channel=f"candles{evil}",
        run=f"r1{evil}",
        test_pairs=40,
        test_documents=4,
        test_sha256="ab" * 32,
        honest=honest,
        candidates=[
            CandidateScore(name=n, metrics=metrics(x), bytes=10**9, tokens_per_second=20.0) for n, x in losses.items()
        ],
        differences={
            "nll_per_token": Interval(value=-1.0, low=-1.2, high=-0.8, n=40),
            "well_formatted": Interval(value=0.1, low=-0.1, high=0.3, n=40),
            f"own_metric{evil}": Interval(value=0.0, low=0.0, high=0.0, n=40),
        },
        verdicts={"nll_per_token": "better", "well_formatted": "not enough data"},
    )


def pairs(evil: str = "", count: int = 40) -> list[Pair]:
    return [
        Pair(
            pair_id=f"t#{i}",
            document_id="t",
            title="",
            published=None,
            question_number=i + 1,
            question=f"Why {i}?{evil}",
            answer=f"**So** {evil}",
            tags=[],
            start_seconds=None,
            end_seconds=None,
            document_sha256="",
            teacher="",
            prompt_sha256=None,
            kept=True,
            gate=None,
            reason=None,
        )
        for i in range(count)
    ]


def answers(text: str, gain: float = 0.0) -> list[Sample]:
    return [
        Sample(
            pair_id=f"t#{i}",
            document_id="t",
            nll=20 - gain * i,
            tokens=10,
            text=text,
            new_tokens=5,
            stopped=False,
            seconds=1,
        )
        for i in range(40)
    ]


def whole(evil: str = "", text: str = "hello") -> str:
    both = {"base": answers(text + evil), "adapter": answers(text + evil, 0.1)}
    cards = {
        f"Base{evil}": BaseCard(name=f"n{evil}", architecture="llama", parameters=5),
        "Run": {evil or "k": {"a": [evil, 1.5, None, True]}},
    }
    return page(card(evil), CURVE, both, pairs(evil), cards, {f"pairs{evil}": 1709})


class Tree(HTMLParser):
    """Fails on a tag closed out of order; collects tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_tag_is_closed_and_nothing_is_fetched() -> None:
    tree = Tree()
    tree.feed(whole())
    assert tree.open == []
    for tag, attributes in tree.seen:
        assert tag not in {"script", "link", "img", "iframe", "object"}
        assert not {"src", "href", "onload", "onclick", "style"} & set(attributes)
    assert not re.search(r"https?:|url\(|@import", whole())


def test_data_cannot_become_markup() -> None:
    text = whole(EVIL)
    assert "<script" not in text and EVIL not in text
    assert "&lt;script&gt;" in text
    plain, evil = Tree(), Tree()
    plain.feed(whole("x"))
    evil.feed(text)
    assert [tag for tag, _ in plain.seen] == [tag for tag, _ in evil.seen]
    assert "<script" not in markdown(card(EVIL))


def test_the_page_stays_small_however_long_the_answers() -> None:
    assert len(whole(text="word " * 100_000).encode()) < 2_000_000


def test_the_page_says_each_verdict_and_shows_samples_in_order_of_gain() -> None:
    text = whole()
    assert ">better</span>" in text and ">not enough data</span>" in text
    shown = [int(n) for n in re.findall(r"<h3>Why (\d+)\?", text)]
    assert len(shown) == SAMPLES_SHOWN and shown == sorted(shown, reverse=True) and shown[0] == 39 and shown[-1] == 0


def test_an_empty_run_still_makes_a_page() -> None:
    bare = card().model_copy(update={"candidates": [], "differences": {}, "verdicts": {}})
    tree = Tree()
    tree.feed(page(bare, [], {}, [], {}, {}))
    assert tree.open == [] and "No losses were recorded." in page(bare, [], {}, [], {}, {})
    assert markdown(bare).startswith("## candles: r1")


def test_a_dishonest_split_is_said_first() -> None:
    text = page(card(honest=False), [], {}, [], {}, {})
    assert 0 < text.index("Read with care") < text.index("not enough data")
    assert "**Warning.**" in markdown(card(honest=False)) and "**Warning.**" not in markdown(card())


def test_markdown_tables_have_as_many_cells_in_every_row() -> None:
    for block in markdown(card(EVIL)).split("\n\n"):
        rows = [len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines() if line.startswith("|")]
        assert len(set(rows)) <= 1


def test_drawings_are_well_formed_and_say_what_they_show() -> None:
    for drawing in (loss_curve(CURVE), forest(card(EVIL).differences)):
        root = ElementTree.fromstring(drawing)
        assert root.tag == "svg" and root.get("aria-label")
        width, height = (float(x) for x in (root.get("viewBox") or "").split()[2:])
        for element in root.iter():
            for x in ("x", "x1", "x2", "cx"):
                assert -1 <= float(element.get(x, 0)) <= width
            for y in ("y", "y1", "y2", "cy"):
                assert -1 <= float(element.get(y, 0)) <= height
    assert "best 2.500" in loss_curve(CURVE) and 'class="base"' in loss_curve(CURVE)


@pytest.mark.parametrize("rows", [[], [{"iteration": 1}], [{"iteration": 1, "train_loss": float("nan")}]])
def test_no_losses_draw_nothing(rows: list[dict[str, float]]) -> None:
    assert loss_curve(rows) == ""


def test_one_loss_is_enough_for_a_curve() -> None:
    ElementTree.fromstring(loss_curve([{"iteration": 0, "valid_loss": 3.0}]))


def test_ticks_are_round_and_span_the_values() -> None:
    assert ticks(0, 300, 6) == [0, 50, 100, 150, 200, 250, 300]
    assert ticks(1.23, 3.4, 5) == [1, 1.5, 2, 2.5, 3, 3.5]
    assert ticks(2, 2, 5)[0] <= 2 <= ticks(2, 2, 5)[-1]


def test_each_file_is_held_against_what_it_was_made_of() -> None:
    found = {hop.name: hop for hop in hops(card())}
    assert [(h.name, h.made_of) for h in found.values()] == [
        ("adapter", None),
        ("fused", "adapter"),
        ("F16", "fused"),
        ("Q8_0", "F16"),
        ("Q4_K_M", "F16"),
    ]
    assert found["Q8_0"].change == pytest.approx(0.01) and found["Q8_0"].limit == 0.02
    assert "strayed" in markdown(card()) and "as trained" in markdown(card())


def test_numbers_read_as_people_write_them() -> None:
    assert signed("nll_per_token", -0.0001) == "0.000" and signed("well_formatted", 0.123) == "+12"
    assert difference("well_formatted", Interval(value=-0.1, low=-0.2, high=0.0, n=5)) == "−10 points (−20 to 0)"
    assert (size(None), size(999), size(1_321_000_000), size(807_000_000)) == ("", "999 bytes", "1.3 GB", "807 MB")


def test_every_metric_of_the_menu_has_a_label() -> None:
    from understudy.registry import PLUGINS, build

    samples = [answers("hello")[i] for i in range(5)]
    for name in PLUGINS["metric"]:
        assert set(build("metric", name, {}).measure(samples, 0)) <= set(LABELS)
