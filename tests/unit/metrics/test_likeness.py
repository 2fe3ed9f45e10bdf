"""Meaning compared by word vectors: the same words are alike, other words for it nearly, another subject is not."""

import pytest

from tests.unit.metrics.test_citations import PAIRS, sample
from understudy.interfaces import References
from understudy.metrics.likeness import EXTRA, LikenessMetric
from understudy.registry import build

TEXTS = ("The crane of yard 1 lifts 41 tons of granite.", "It hoists heavy stone blocks at the yard.", "I like tea.")


def test_without_its_package_it_says_which_one() -> None:
    metric = build("metric", "likeness", {})
    assert metric.problems() in ([], [EXTRA])


def test_the_nearer_in_meaning_the_higher() -> None:
    pytest.importorskip("wordllama", reason="the extra likeness is not installed: pip install 'understudy[likeness]'")
    metric = LikenessMetric(LikenessMetric.Options())
    metric.study(References(held_out=PAIRS))
    values = [metric.measure([sample(PAIRS[1], text)], 0)["likeness"].value for text in TEXTS]
    assert values == sorted(values, reverse=True) and values[0] > 0.8 > values[2]
    change = metric.compare([sample(PAIRS[1], TEXTS[0])], [sample(PAIRS[1], TEXTS[2])], 0)["likeness"]
    assert change.value == pytest.approx(values[0] - values[2])
    assert metric.measure([sample(PAIRS[1], "")], 0)["likeness"].value == pytest.approx(0, abs=0.3)
