"""Few talks are answered before the run: what can be known of their model, and what cannot."""

import pytest

from understudy.dataset.few import ENOUGH, FEWEST, warning


@pytest.mark.parametrize(
    ("talks", "part"),
    [
        (1, "1 talk: a model can be trained, but how good it is cannot be known"),
        (2, "2 talks: a model can be trained, but how good it is cannot be known"),
        (FEWEST, "3 talks: a few can be kept away from training"),
        (ENOUGH - 1, "too few to tell better from worse"),
    ],
)
def test_few_talks_are_said_with_how_many_are_enough(talks: int, part: str) -> None:
    sentence = warning(talks) or ""
    assert part in sentence and str(ENOUGH) in sentence


@pytest.mark.parametrize("talks", [0, ENOUGH, 500])
def test_no_talks_and_enough_talks_say_nothing(talks: int) -> None:
    assert warning(talks) is None
