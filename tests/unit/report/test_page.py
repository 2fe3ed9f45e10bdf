"""Laws of the page: whole, safe, small, and asking nothing of the network."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from understudy.records import (
    SCORECARD_VERSION,
    BaseCard,
    BaselineComparison,
    CandidateScore,
    Claim,
    Comparison,
    Contradiction,
    Decision,
    Interval,
    JudgeScore,
    Manuals,
    ManualScore,
    Pair,
    ParityCheck,
    ParityReport,
    Phrase,
    Sample,
    Scorecard,
)
from understudy.report import LABELS, difference, readable, signed, size, with_interval
from understudy.report.answers import first, groups
from understudy.report.charts import forests, loss_curve, small_curves
from understudy.report.drawing import standing_alone
from understudy.report.evidence import Evidence
from understudy.report.page import html
from understudy.report.shapes import forms, lengths
from understudy.report.short import ARTIFACT_BYTES, artifact, markdown

EVIL = "<script>alert('$x')</script>\"&|`"
CURVE = [{"iteration": 2 * i, "step": i, "train_loss": 3 - i / 10} for i in range(10)] + [
    {"iteration": 0, "step": 0, "valid_loss": 3.2, "train_loss": None},
    {"iteration": 18, "step": 9, "valid_loss": 2.5},
]
VOID = {"meta", "br", "line", "circle", "polyline", "polygon", "rect", "link", "hr", "input"}
SHARE = Interval(value=0.6, low=0.5, high=0.7, n=40)


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


def parity_report(evil: str = "") -> ParityReport:
    measured = {"nll_change": SHARE, "kl": SHARE, "top1_agreement": SHARE, "limits": {"nll_change": 0.01, "kl": 0.02}}
    checks = [
        ParityCheck(name="adapter", reference=None, bytes=5),
        ParityCheck(name="fused", reference="adapter", bytes=10**8, peak_memory_bytes=10**9, **measured),
        ParityCheck(
            name=f"Q4_K_M{evil}", reference="F16", bytes=10**7, refused=f"KL 0.6000 (allowed 0.02){evil}", **measured
        ),
    ]
    return ParityReport(channel="c", run="r1", checks=checks, recommended=None, notes=[f"Compared on 9.{evil}"])


def full_card(evil: str = "") -> Scorecard:
    judge = JudgeScore(
        judge=f"j{evil}", family="f", warning=f"one family{evil}", pairs=9, wins=5, ties=2, losses=2, errors=0,
        difference=SHARE, win_rate=SHARE, matched=SHARE, first_slot=SHARE, consistency=SHARE, sign_p=0.4,
        contradictions={"tuned": 1}, agreement=SHARE, kappa=0.5,
    )  # fmt: skip
    claim = Claim(manual=f"kilns{evil}", heading=[f"3.1{evil}"], section="a", quote=f"at most 90{evil}")
    both = Contradiction(first=claim, second=claim, about=f"rate{evil}", by=f"v{evil}")
    manual = ManualScore(manual=f"kilns{evil}", questions=3, metrics={"base": {"correct": SHARE}}, approval=SHARE)
    more: dict[str, Interval] = {"copied": SHARE, "kl_general": SHARE, "instructions": SHARE, "nll_end": SHARE}
    return card(evil).model_copy(
        update={
            "version": SCORECARD_VERSION,
            "differences": card(evil).differences | more,
            "verdicts": card().verdicts | {"copied": "worse", "kl_general": "worse", "instructions": "no worse"},
            "baselines": [
                BaselineComparison(tuned="adapter", base=f"base-{evil}", differences=more, verdicts={"copied": "worse"})
            ],
            "judge": judge,
            "phrases": [Phrase(phrase=f"think of it{evil}", talks=3, teacher=4.0, base=0.0, tuned=3.0)],
            "manuals": Manuals(scores=[manual], warning=f"all alike{evil}", contradictions=[both]),
            "decision": Decision(action="ship", where=None, reasons=[f"better in nll_per_token{evil}"]),
            "notes": [f"no judge{evil}"],
        }
    )


def choices(evil: str = "") -> list[Comparison]:
    about = {"tuned": f"tuned{evil}", "base": "base", "answers_sha256": "a", "first": "tuned", "at": "now"}
    return [Comparison(pair_id=f"t#{n}", chosen="tuned" if n else "tie", **about) for n in range(9)]


def evidence(evil: str = "", text: str = "hello") -> Evidence:
    samples = {"base": answers(text + evil), "base-prompted": answers(text), "adapter": answers(text + evil, 0.1)}
    cards = {
        f"Base{evil}": BaseCard(name=f"n{evil}", architecture="llama", parameters=5),
        "Run": {evil or "k": {"a": [evil, 1.5, None, True]}},
    }
    data = {f"pairs{evil}": 1709}
    return Evidence(full_card(evil), CURVE, samples, pairs(evil), cards, data, parity_report(evil), [], choices(evil))


def whole(evil: str = "", text: str = "hello") -> str:
    return html(evidence(evil, text))


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
    assert sorted(tag for tag, _ in plain.seen) == sorted(tag for tag, _ in evil.seen)
    assert "<script" not in markdown(card(EVIL))


def test_the_page_stays_small_however_long_the_answers() -> None:
    assert len(whole(text="word " * 100_000).encode()) < 2_000_000


def test_the_page_says_what_to_do_and_each_verdict_with_its_reason() -> None:
    text = whole()
    special = text[text.index("For specialists") :]
    assert (
        special.index("Ship it") < special.index("Better in loss on the reference answers.") < special.index(">better<")
    )
    assert "Even the low end of the interval is above the 5 points that are allowed." in text
    assert all(f">{word}</span>" in text for word in ("better", "worse", "no worse", "not enough data"))


def test_the_sections_come_in_one_order() -> None:
    titles = re.findall(r"<h2>([^<]+)</h2>", whole())
    assert titles == [
        "Hear it first", "In numbers", "Manual by manual", "Words", "Did it learn?", "Did it break?",
        "Is the exported file what was trained?", "What does it cost to run?", "Answers side by side",
        "Training curves", "Run record",
    ]  # fmt: skip


def test_a_person_reads_the_verdict_then_answers_then_numbers_and_the_rest_is_folded() -> None:
    text = whole()
    places = [text.index(part) for part in (
        "<h1>It worked</h1>", "understudy chat candles/r1", "A typical question:", "How surprised it is by the teacher",
        "was 3.00, now 2.00", "too few questions to tell: between 10 points worse and 30 better",
        '<dl class="glossary">', '<details class="specialists">', "Did it break?",
    )]  # fmt: skip
    assert places == sorted(places)
    assert "nll" not in text[: places[-2]] and "KL" not in text[: places[-2]]


def test_three_questions_stand_above_the_numbers_and_few_are_shown_once() -> None:
    shown = evidence()
    chosen = first(shown.samples, shown.pairs)
    assert {title: one.pair.pair_id for title, one in chosen.items()} == {
        "A typical question": "t#20", "Where training helped most": "t#39", "Where it helped least": "t#0",
    }  # fmt: skip
    assert [name for name, _, _ in chosen["A typical question"].texts] == ["teacher", "base", "tuned"]
    assert [len(first(shown.samples, pairs(count=count))) for count in (0, 1, 2, 3)] == [0, 1, 2, 3]


def test_best_worst_and_drawn_answers_are_shown_and_none_twice() -> None:
    grouped = groups(evidence().samples, evidence().pairs, "r1")
    names = {title: [one.pair_id for one in group] for title, group in grouped.items()}
    assert names["Where the loss fell most"] == ["t#39", "t#38", "t#37", "t#36"]
    assert names["Where the loss fell least"][-1] == "t#0"
    every = [name for group in names.values() for name in group]
    assert len(every) == len(set(every)) == 12
    assert groups(evidence().samples, list(reversed(evidence().pairs)), "r1").keys() == grouped.keys()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 12])
def test_few_answers_are_shown_once_each(count: int) -> None:
    grouped = groups(evidence().samples, pairs(count=count), "r1")
    assert sum(len(group) for group in grouped.values()) == count


def test_columns_stand_in_an_order_that_does_not_tell_whose_they_are() -> None:
    orders = re.findall(r'<div class="answers of-4">(.*?)</div></div>', whole(), re.DOTALL)
    assert len({tuple(re.findall(r"card at-(\d)", order)) for order in orders}) > 3
    assert whole() == whole()


def test_a_long_answer_is_cut_behind_a_disclosure_and_nothing_short_is() -> None:
    assert "<details><summary>" in whole(text="word " * 500)
    assert "more words</summary>" not in whole(text="word " * 150)


def test_what_is_missing_is_said_with_what_to_set() -> None:
    text = html(Evidence(card()))
    for phrase in (
        "has format 1", "evaluate.prompted_base", "evaluate.judge", "evaluate.suites", "run understudy compare",
        "parity.json", "metrics.jsonl", "score the run again",
    ):  # fmt: skip
        assert phrase in text, phrase


def test_a_person_and_a_judge_are_on_the_page_when_they_are_there() -> None:
    text = whole()
    assert "tuned was chosen in 8 of 8 decided pairs" in text and "kappa" in text
    assert "think of it" in text and "base as" in text


def test_the_parity_table_shows_the_limits_that_were_held() -> None:
    text = whole()
    assert "± 0.01 allowed" in text and "up to 0.02 allowed" in text and "is refused: KL 0.6000" in text


def test_metric_names_in_reasons_are_read_as_labels() -> None:
    assert readable("better in nll_per_token, words") == "better in loss on the reference answers, words"


def test_an_artifact_has_pictures_and_stays_under_200_kb() -> None:
    for shown in (evidence(), evidence(text="word " * 20_000)):
        text = artifact(shown)
        assert "data:image/svg+xml;base64," in text and len(text.encode()) < ARTIFACT_BYTES
        assert "**Ship it.**" in text and "Q4_K_M" in text
        assert text.startswith("# It worked\n") and text.index("*teacher:*") < text.index("**Ship it.**")
    assert "<script" not in artifact(evidence(EVIL))


def test_an_empty_run_still_makes_a_page() -> None:
    bare = card().model_copy(update={"candidates": [], "differences": {}, "verdicts": {}})
    tree = Tree()
    tree.feed(html(Evidence(bare)))
    assert tree.open == [] and "No losses were recorded" in html(Evidence(bare))
    assert markdown(bare).startswith("## candles: r1")


def test_a_dishonest_split_is_said_first() -> None:
    text = html(Evidence(card(honest=False)))
    assert 0 < text.index("Read with care") < text.index("The held-out split cannot carry a verdict")
    assert "**Warning.**" in markdown(card(honest=False)) and "**Warning.**" not in markdown(card())


def test_markdown_tables_have_as_many_cells_in_every_row() -> None:
    for block in markdown(card(EVIL)).split("\n\n"):
        rows = [len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines() if line.startswith("|")]
        assert len(set(rows)) <= 1


def test_drawings_are_well_formed_and_say_what_they_show() -> None:
    texts = ["one two " * n for n in range(30)] + ["", EVIL, "word " * 9_000]
    sides = {"reference": texts[:5], "base": texts, "tuned": [""]}
    speeds = [row | {"tokens_per_second": 9.5, "learning_rate": 1e-4} for row in CURVE]
    drawn = [*forests(card(EVIL).differences), *small_curves(speeds), lengths(sides), forms(sides)]
    assert len(drawn) == 3 + 2 + 2
    for drawing in (loss_curve(CURVE), *drawn):
        root = ElementTree.fromstring(drawing)
        assert root.tag == "svg" and root.get("aria-label")
        width, height = (float(x) for x in (root.get("viewBox") or "").split()[2:])
        for element in root.iter():
            for x in ("x", "x1", "x2", "cx"):
                assert -1 <= float(element.get(x, 0)) <= width
            for y in ("y", "y1", "y2", "cy"):
                assert -1 <= float(element.get(y, 0)) <= height
            if "transform" not in element.attrib:
                numbers = [float(number) for number in re.findall(r"-?[\d.]+", element.get("d", ""))]
                assert all(-1 <= x <= width for x in numbers[::2]) and all(-1 <= y <= height for y in numbers[1::2])
        assert all(text.get("font-size") for text in root.iter("text"))
        assert not {"id", "style", "href", "clip-path"} & {name for element in root.iter() for name in element.attrib}
    assert "best 2.500" in loss_curve(CURVE) and 'class="base"' in loss_curve(CURVE)


def test_the_same_numbers_draw_the_same_bytes_in_any_thread() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: loss_curve(CURVE) + standing_alone(loss_curve(CURVE)), range(8)))) == 1


def test_a_chart_takes_its_colours_from_the_page_and_nothing_else_is_black() -> None:
    style = html(Evidence(card(), CURVE))
    drawn = loss_curve(CURVE)
    for name in set(re.findall(r"var\(--([a-z]+)\)", drawn)):
        assert style.count(f"--{name}: ") >= 2, name  # light and dark
    assert set(re.findall(r'(?:fill|stroke)="([^"]*)"', drawn)) <= {"none", *re.findall(r"var\(--[a-z]+\)", drawn)}


def test_importing_the_page_does_not_import_matplotlib() -> None:
    code = "import sys, understudy.report.page, understudy.stages.describe; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_matplotlib_leaves_the_settings_of_the_user_alone(tmp_path: Path) -> None:
    code = "from understudy.report.charts import loss_curve; print(loss_curve([{'iteration': 0, 'valid_loss': 3.0}]))"
    ours = {name: value for name, value in os.environ.items() if name != "MPLCONFIGDIR"}
    subprocess.run([sys.executable, "-c", code], env=ours | {"HOME": str(tmp_path)}, check=True, capture_output=True)
    assert list(tmp_path.iterdir()) == []


def test_no_answers_and_no_finite_numbers_draw_nothing() -> None:
    assert lengths({"base": []}) == "" == forms({})
    assert forests({"x": Interval(value=float("nan"), low=0, high=1, n=4)}) == []


@pytest.mark.parametrize("rows", [[], [{"iteration": 1}], [{"iteration": 1, "train_loss": float("nan")}]])
def test_no_losses_draw_nothing(rows: list[dict[str, float]]) -> None:
    assert loss_curve(rows) == ""


def test_one_loss_is_enough_for_a_curve() -> None:
    ElementTree.fromstring(loss_curve([{"iteration": 0, "valid_loss": 3.0}]))


def test_numbers_read_as_people_write_them() -> None:
    assert signed("nll_per_token", -0.0001) == "0.000" and signed("well_formatted", 0.123) == "+12"
    assert difference("well_formatted", Interval(value=-0.1, low=-0.2, high=0.0, n=5)) == "−10 points (−20 to 0)"
    assert difference("well_formatted", Interval(value=0.1, low=0.1, high=0.1, n=5)) == "+10 points"
    assert with_interval("well_formatted", Interval(value=0.1, low=0.1, high=0.1, n=5)) == "10 %"
    assert (size(None), size(999), size(1_321_000_000), size(807_000_000)) == ("", "999 bytes", "1.3 GB", "807 MB")


def test_every_metric_of_the_menu_has_a_label() -> None:
    from understudy.interfaces import References
    from understudy.registry import PLUGINS, build

    answered = answers("You see, **heat** moves. Why? " * 60, 0.1)[:5]
    samples = [s.model_copy(update={"opening_nll": 1.0, "opening_tokens": 1, "end_nll": 1.0}) for s in answered]
    about = References(train=pairs(count=5), held_out=pairs(count=5), talks={"x": "word " * 400})
    for name in PLUGINS["metric"]:
        metric = build("metric", name, {})
        metric.study(about)
        measured = {**metric.measure(samples, 0), **metric.compare(samples, samples, 0)}
        assert {*measured, *metric.better} <= set(LABELS), name
