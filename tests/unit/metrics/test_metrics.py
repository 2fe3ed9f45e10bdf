"""Laws of every metric, and known answers for each."""

import math

import pytest

from understudy.errors import AssetError
from understudy.metrics.degeneration import KINDS, DegenerationMetric, most_lines, repeated_share
from understudy.metrics.formatting import FormattingMetric
from understudy.metrics.nll import NllMetric
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


@pytest.mark.parametrize("name", PLUGINS["metric"])
def test_no_samples_give_no_numbers(name: str) -> None:
    metric = build("metric", name, {})
    assert metric.measure([], 0) == {} and metric.compare([], [], 0) == {} and metric.problems() == []


@pytest.mark.parametrize("name", PLUGINS["metric"])
def test_a_candidate_does_not_differ_from_itself(name: str) -> None:
    metric, samples = build("metric", name, {}), [sample(i, 2 + i / 10, GOOD if i % 2 else "bad") for i in range(12)]
    for interval in metric.compare(samples, samples, 0).values():
        assert interval.value == 0 and interval.low <= 0 <= interval.high


@pytest.mark.parametrize("name", PLUGINS["metric"])
def test_every_headline_is_measured_and_compared(name: str) -> None:
    metric, samples = build("metric", name, {}), [sample(i) for i in range(6)]
    assert metric.better and set(metric.better) <= set(metric.measure(samples, 0)) & set(
        metric.compare(samples, samples, 0)
    )


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
        ("ran_out", {"stopped": False}),
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
    assert set(shares) == {"broken", *KINDS}


@pytest.mark.parametrize(
    "text", [GOOD, "The assistant helps.", "Take 3 < 4 | 5.", "- **Wax**: fuel.\n- **Wick**: pump."]
)
def test_a_sound_answer_is_not_broken(text: str) -> None:
    assert DegenerationMetric(DegenerationMetric.Options()).measure([sample(0, text=text)], 0)["broken"].value == 0


def test_repetition_is_counted() -> None:
    assert repeated_share("a b c") == 0
    assert repeated_share("a b c d a b c d") == pytest.approx(0.2)
    assert most_lines("---\n---\n---") == 0
