"""No call is sent that could break the budget, and none is refused that may still fit."""

import random

import pytest

from understudy.calls.budget import Budget
from understudy.errors import TeacherStopped


def test_a_call_waits_while_others_may_cost_less_than_reserved() -> None:
    budget = Budget(1.0, spent=0.2)
    assert budget.reserve(0.5)
    assert not budget.reserve(0.5)
    budget.settle(0.5, 0.1)
    assert budget.reserve(0.5)


def test_a_call_that_cannot_fit_stops_and_says_how_to_go_on() -> None:
    budget = Budget(1.0, spent=0.75)
    with pytest.raises(TeacherStopped, match=r"\$1\.00.*\$0\.7500 spent.*\$0\.5000.*--set teacher\.max_usd=2\.00"):
        budget.reserve(0.5)


def test_the_budget_is_never_broken_while_prices_keep_to_their_worst_case() -> None:
    for seed in range(50):
        rng, budget, flying = random.Random(seed), Budget(1.0), []
        while True:
            worst = rng.uniform(0.01, 0.1)
            try:
                if budget.reserve(worst):
                    flying.append(worst)
                    continue
            except TeacherStopped:
                break
            settled = flying.pop(rng.randrange(len(flying)))
            budget.settle(settled, settled * rng.random())
        for worst in flying:
            budget.settle(worst, worst)
        assert 0.8 < budget.spent <= 1.0 + 1e-9


def test_without_a_limit_nothing_stops() -> None:
    assert Budget(None).reserve(1e9) and Budget(0.0).reserve(0.0)
