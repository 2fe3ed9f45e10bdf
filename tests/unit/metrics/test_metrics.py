"""Laws of every metric, and known answers for each."""

import math

import numpy as np
import pytest

from benchmarks.scorecard import Effect, references
from benchmarks.scorecard import _samples as planted_answers
from understudy.errors import AssetError
from understudy.interfaces import References
from understudy.metrics.copying import CopyingMetric
from understudy.metrics.degeneration import KINDS, DegenerationMetric, most_lines, repeated_share
from understudy.metrics.format_gap import FormatGapMetric
from understudy.metrics.formatting import FormattingMetric
from understudy.metrics.likeness import EXTRA
from understudy.metrics.nll import NllMetric
from understudy.metrics.style import StyleMetric
from understudy.records import Sample
from understudy.registry import PLUGINS, build

GOOD = "A **flame** is hot gas.\n\nIt glows since soot in it is hot."


def sample(
    number: int, nll: float = 2.0, text: str | None = GOOD, tokens: int = 10, new_tokens: int = 12, stopped: bool = True
) -> Sample:
    return Sample(
        pair_id=f"talk-{number // 2}#{number}",
        document_id=f"talk-{number // 2}",
        nll=nll * tokens,
        tokens=tokens,
        text=text,
        new_tokens=None if text is None else new_tokens,
        stopped=None if text is None else stopped,
        seconds=None if text is None else 1.0,
    )


def planted_samples(seed: int, styled: float) -> list[Sample]:
    held_out = references().held_out
    return planted_answers(np.random.default_rng(seed), held_out, np.full(len(held_out), 2.0), Effect(styled=styled))


@pytest.mark.parametrize("name", PLUGINS["metric"])
def test_no_samples_give_no_numbers(name: str) -> None:
    metric = build("metric", name, {})
    assert metric.measure([], 0) == {} and metric.compare([], [], 0) == {}
    assert metric.problems() in ([], [EXTRA])  # whose package is an extra


@pytest.mark.parametrize("name", PLUGINS["metric"])
def test_a_candidate_does_not_differ_from_itself(name: str) -> None:
    metric, samples = build("metric", name, {}), [sample(i, 2 + i / 10, GOOD if i % 2 else "bad") for i in range(12)]
    for interval in metric.compare(samples, samples, 0).values():
        assert interval.value == 0 and interval.low <= 0 <= interval.high


@pytest.mark.parametrize(
    "name", sorted(set(PLUGINS["metric"]) - {"citations", "correctness", "likeness"})
)  # with tests of their own
def test_every_headline_is_compared_once_the_references_are_known(name: str) -> None:
    metric = build("metric", name, {})
    metric.study(references())
    tuned, base = planted_samples(0, styled=1.0), planted_samples(1, styled=0.0)
    assert metric.better and set(metric.better) <= set(metric.compare(tuned, base, 0))
    assert metric.measure(tuned, 0)


@pytest.mark.parametrize("name", ["formatting", "degeneration"])
def test_only_answers_count_where_text_is_read(name: str) -> None:
    metric = build("metric", name, {})
    silent = [sample(i, text=None) for i in range(5)]
    assert metric.measure(silent, 0) == {} and metric.compare(silent, silent, 0) == {}
    assert all(i.n == 3 for i in metric.measure(silent + [sample(i) for i in range(5, 8)], 0).values())


def test_the_loss_weighs_tokens_not_answers() -> None:
    measured = NllMetric(NllMetric.Options()).measure([sample(0, 1.0, tokens=30), sample(2, 5.0, tokens=10)], 0)
    assert measured["nll_per_token"].value == pytest.approx(2.0)
    assert measured["perplexity"].value == pytest.approx(math.exp(2))


def test_the_loss_is_compared_pair_by_pair_whatever_the_order() -> None:
    metric = NllMetric(NllMetric.Options())
    base = [sample(i, 2 + i) for i in range(20)]
    tuned = [sample(i, 1.9 + i) for i in reversed(range(20))]
    change = metric.compare(tuned, base, 0)["nll_per_token"]
    assert change.value == pytest.approx(-0.1) and change.high - change.low < 1e-9


def test_losses_under_two_tokenizers_do_not_compare() -> None:
    metric = NllMetric(NllMetric.Options())
    with pytest.raises(AssetError, match="talk-0#0: the answer has 10 tokens for one candidate and 11"):
        metric.compare([sample(0)], [sample(0, tokens=11)], 0)


def test_formatting_counts_each_feature() -> None:
    texts = [GOOD, "- one **item**.", "No form at all.", "Two.\n\nParagraphs."]
    shares = FormattingMetric(FormattingMetric.Options()).measure([sample(i, text=t) for i, t in enumerate(texts)], 0)
    assert {name: share.value for name, share in shares.items()} == {
        "well_formatted": 0.5,
        "with_bold": 0.5,
        "with_paragraphs": 0.5,
        "with_list": 0.25,
        "words": pytest.approx(5.5),
    }


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        ("empty", {"text": " \n"}),
        ("endless", {"stopped": False, "new_tokens": 1000}),
        ("loops", {"text": "the flame is very hot and " * 4}),
        ("loops", {"text": "Hot gas.\nWax.\nHot gas.\nWick.\nHot  gas."}),
        ("token_leak", {"text": "A <think> of it."}),
        ("token_leak", {"text": "Hot.<|eot_id|>"}),
        ("token_leak", {"text": "Hot.\nassistant\nCold."}),
        ("too_short", {"new_tokens": 2}),
    ],
)
def test_each_way_to_break_is_seen_alone(kind: str, broken: dict[str, object]) -> None:
    answer = sample(0, **broken)  # type: ignore[arg-type]
    shares = DegenerationMetric(DegenerationMetric.Options()).measure([answer], 0)
    assert {name for name, share in shares.items() if share.value} == {kind, "broken"}
    assert set(shares) == {"broken", *KINDS, "cut"}


def test_an_answer_that_the_limit_cut_is_not_broken() -> None:
    shares = DegenerationMetric(DegenerationMetric.Options()).measure([sample(0, stopped=False)], 0)
    assert {name for name, share in shares.items() if share.value} == {"cut"}


@pytest.mark.parametrize(
    "text", [GOOD, "The assistant helps.", "Take 3 < 4 | 5.", "- **Wax**: fuel.\n- **Wick**: pump."]
)
def test_a_sound_answer_is_not_broken(text: str) -> None:
    assert DegenerationMetric(DegenerationMetric.Options()).measure([sample(0, text=text)], 0)["broken"].value == 0


def test_repetition_is_counted() -> None:
    assert repeated_share("a b c") == 0
    assert repeated_share("a b c d a b c d") == pytest.approx(0.2)
    assert most_lines("---\n---\n---") == 0


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("wrong_script", "Пламя светится, потому что в нём есть сажа, и она очень горячая."),
        ("wrong_language", "Die Flamme ist heiß und das Licht kommt von dem Ruß, der in der Mitte ist."),
    ],
)
def test_an_answer_in_another_language_is_broken_once_the_teacher_is_known(kind: str, text: str) -> None:
    metric = DegenerationMetric(DegenerationMetric.Options())
    foreign = [sample(i, text=text) for i in range(4)]
    assert metric.measure(foreign, 0)["broken"].value == 0
    metric.study(references())
    values = metric.measure(foreign, 0)
    assert values[kind].value == values["broken"].value == 1.0
    assert metric.measure([sample(0)], 0)["broken"].value == 0


def test_the_upper_bound_of_no_broken_answer_is_wilsons() -> None:
    metric = DegenerationMetric(DegenerationMetric.Options())
    broken = metric.measure([sample(i) for i in range(100)], 0)["broken"]
    assert broken.value == 0 and broken.high == pytest.approx(0.037, abs=5e-4)


def test_the_parts_of_the_loss_are_told_apart() -> None:
    def parted(number: int, end: float) -> Sample:
        parts = {"opening_nll": 30.0, "opening_tokens": 20, "body_nll": 60.0, "body_tokens": 79, "end_nll": end}
        return sample(number, nll=1.0, tokens=100).model_copy(update=parts)

    metric = NllMetric(NllMetric.Options())
    change = metric.compare([parted(i, 5.0) for i in range(12)], [parted(i, 1.0) for i in range(12)], 0)
    assert {name: change[name].value for name in ("nll_opening", "nll_body", "nll_end")} == pytest.approx(
        {"nll_opening": 0, "nll_body": 0, "nll_end": 4}
    )
    assert metric.measure([parted(0, 1.0)], 0)["nll_opening"].value == pytest.approx(1.5)
    assert "nll_end" not in metric.compare([sample(0, tokens=100)], [parted(0, 1.0)], 0)


@pytest.mark.parametrize("metric", [FormatGapMetric(FormatGapMetric.Options()), StyleMetric(StyleMetric.Options())])
def test_the_teacher_itself_closes_the_whole_gap_and_the_base_none_of_it(metric: FormatGapMetric | StyleMetric) -> None:
    metric.study(references())
    base = planted_samples(1, styled=0.0)
    teacher = [s.model_copy(update={"text": p.answer}) for s, p in zip(base, references().held_out, strict=True)]
    for name in metric.better:
        whole = metric.compare(teacher, base, 0)[name]
        if not name.endswith("talks"):
            assert whole.value == pytest.approx(1.0)
        assert whole.low > 0.5
        assert abs(metric.compare(planted_samples(2, styled=0.0), base, 0)[name].value) < 0.1


@pytest.mark.parametrize("metric", [FormatGapMetric(FormatGapMetric.Options()), StyleMetric(StyleMetric.Options())])
def test_a_base_that_is_the_teacher_already_leaves_nothing_to_close(metric: FormatGapMetric | StyleMetric) -> None:
    metric.study(references())
    both = planted_samples(0, styled=1.0)
    teacher = [s.model_copy(update={"text": p.answer}) for s, p in zip(both, references().held_out, strict=True)]
    assert "style_gap_closed_teacher" not in metric.compare(both, teacher, 0)
    assert "format_gap_closed" not in metric.compare(both, teacher, 0)


def test_a_base_that_says_nothing_gives_no_style_but_its_form_can_be_told() -> None:
    silent = [s.model_copy(update={"text": ""}) for s in planted_samples(0, styled=0.0)]
    tuned = planted_samples(1, styled=1.0)
    style, form = StyleMetric(StyleMetric.Options()), FormatGapMetric(FormatGapMetric.Options())
    for metric in (style, form):
        metric.study(references())
    assert style.compare(tuned, silent, 0) == {} and style.measure(silent, 0) == {}
    assert form.compare(tuned, silent, 0)["format_gap_closed"].low > 0


def test_only_a_passage_of_one_or_two_talks_is_a_copy() -> None:
    metric = CopyingMetric(CopyingMetric.Options())
    passage = "one day the old miller took his lamp and walked down to the frozen river"
    pairs = [p.model_copy(update={"answer": f"{p.title} and then {passage}"}) for p in references().train]
    copied = [sample(0, text=f"I know that {passage}.")]
    metric.study(References(train=pairs[:5]))
    assert metric.measure(copied, 0)["copied"].value == 1
    metric.study(References(train=pairs))
    assert metric.measure(copied, 0)["copied"].value == 0
