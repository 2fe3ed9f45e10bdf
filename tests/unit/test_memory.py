"""Laws of the memory plan: the estimate covers what is measured, and a plan never goes over the limit."""

from dataclasses import replace

import pytest

from understudy.errors import ConfigError
from understudy.memory import Limit, Model, Shape, cannot_fit, fits, longest_row, model_of, plan, predicted

LLAMA_3B = Model(3072, 8192, 28, 24, 8, 128, 128_256)
SHAPE = Shape(LLAMA_3B, rank=16, layers=28, batch_tokens=4096, row_tokens=1024)
CONFIG = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 300,
}


def limit(gigabytes: float) -> Limit:
    return Limit(int(gigabytes * 1e9), "a test")


def test_the_adapter_counts_what_mlx_lm_trains() -> None:
    assert 8 * LLAMA_3B.linear_units * 16 == 6_946_816
    assert 16 * Model(2560, 9728, 36, 32, 8, 128, 151_936).linear_units * 36 == 33_030_144


@pytest.mark.parametrize("name", ["rank", "layers", "batch_tokens", "row_tokens", "bits"])
def test_more_of_anything_never_takes_less(name: str) -> None:
    small = replace(SHAPE, layers=14, bits=4)
    assert predicted(small) < predicted(replace(small, **{name: getattr(small, name) * 2}))


@pytest.mark.parametrize("gigabytes", [60, 40, 20, 12, 9, 7, 5, 4.5])
def test_a_plan_without_a_problem_stays_under_the_limit(gigabytes: float) -> None:
    result = plan(SHAPE, limit(gigabytes))
    assert result.problem is None and fits(result.shape, limit(gigabytes))
    assert result.bytes <= gigabytes * 1e9 and all(remedy in result.sentence for remedy in result.remedies)


def test_remedies_come_in_their_order_and_only_when_needed() -> None:
    assert plan(SHAPE, limit(100)).remedies == []
    steps = [len(plan(SHAPE, limit(gb)).remedies) for gb in (100, 30, 12, 7, 4.9, 4.4)]
    assert steps == sorted(steps)
    first = [remedy.split()[0] for remedy in plan(SHAPE, limit(4.9)).remedies]
    assert first == ["checkpointing", "batches", "an", "a"]


def test_what_fits_nowhere_is_refused_with_numbers_and_a_way_out() -> None:
    problem = plan(SHAPE, limit(2)).problem
    assert problem and "2.0 GB (a test)" in problem and "smaller base" in problem


def test_the_longest_row_is_the_longest_that_fits() -> None:
    row = longest_row(SHAPE, limit(16))
    assert row and fits(replace(SHAPE, batch_tokens=row, row_tokens=row), limit(16))
    assert not fits(replace(SHAPE, batch_tokens=row + 32, row_tokens=row + 32), limit(16))
    assert longest_row(SHAPE, limit(1)) is None


def test_sizes_are_read_from_a_plain_and_from_a_nested_config() -> None:
    assert model_of(CONFIG) == model_of({"text_config": CONFIG}) == Model(64, 128, 3, 4, 4, 16, 300)
    assert not model_of(CONFIG | {"tie_word_embeddings": False}).tied


@pytest.mark.parametrize("change, word", [({"vocab_size": None}, "size"), ({"num_experts": 8}, "experts")])
def test_a_config_without_an_estimate_is_refused(change: dict[str, int | None], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        model_of(CONFIG | change)


@pytest.mark.parametrize("name", ["top_blocks", "checkpointing", "gemma3"])
def test_the_estimate_covers_what_is_measured(name: str) -> None:
    from benchmarks.memory import compare

    guess, peak = compare(name)
    assert peak <= guess <= 1.3 * peak


def test_a_base_that_can_never_fit_is_known_from_its_config_alone() -> None:
    giant = CONFIG | {"hidden_size": 65_536, "intermediate_size": 262_144, "num_hidden_layers": 400}
    reason = cannot_fit(giant)
    assert reason and "take a smaller base" in reason and "B parameters need" in reason
    assert cannot_fit(CONFIG) is None and cannot_fit({"model_type": "unheard-of"}) is None


def test_what_is_fixed_is_left_out_of_the_fallbacks() -> None:
    result = plan(SHAPE, limit(9), fixed={"checkpointing", "batch_tokens"})
    assert not result.shape.checkpointing and result.shape.batch_tokens == SHAPE.batch_tokens
    assert result.shape.bits < SHAPE.bits
