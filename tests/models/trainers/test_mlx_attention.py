"""Laws of attention in blocks: the numbers are those of mlx, only the work is less."""

from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import mlx.core as mx
import pytest
from mlx import nn
from mlx.utils import tree_flatten

from understudy.trainers import mlx_attention
from understudy.trainers.mlx_plugins import masked_loss

SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rms_norm_eps": 1e-5,
    "vocab_size": 60,
    "max_position_embeddings": 512,
    "rope_theta": 1e4,
    "tie_word_embeddings": True,
}


@pytest.fixture(params=["llama", "qwen2", "qwen3", "gemma"])
def family(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    module = import_module(f"mlx_lm.models.{request.param}")
    stock = module.scaled_dot_product_attention
    yield module
    module.scaled_dot_product_attention = stock


def model_of(family: ModuleType) -> nn.Module:
    mx.random.seed(4)
    return family.Model(family.ModelArgs.from_dict(SHAPE | {"model_type": family.__name__.split(".")[-1]}))


def test_losses_and_gradients_stay_the_same(family: ModuleType) -> None:
    model = model_of(family)
    tokens = mx.random.randint(0, 60, (2, 300))
    gradients_of, arguments = nn.value_and_grad(model, masked_loss), (model, tokens, mx.array([[9, 300], [30, 211]]))
    (before, _), gradients = gradients_of(*arguments)
    mx.eval(before, gradients)
    assert mlx_attention.skip_masked(model) and mlx_attention.skip_masked(model)  # twice is once
    assert hasattr(family.scaled_dot_product_attention, "stock")
    assert not hasattr(family.scaled_dot_product_attention.stock, "stock")
    (after, _), others = gradients_of(*arguments)
    assert after.item() == pytest.approx(before.item(), rel=1e-6)
    for (name, one), (_, other) in zip(tree_flatten(gradients), tree_flatten(others), strict=True):
        assert mx.allclose(one, other, rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("places", [1, 63, 64, 65, 128, 129, 200])
def test_every_place_sees_itself_and_those_before_it_alone(places: int) -> None:
    mx.random.seed(1)
    queries, keys, values = (mx.random.normal((2, heads, places, 8)) for heads in (4, 2, 2))
    ours = mlx_attention.causal(queries, keys, values, 0.3)
    theirs = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=0.3, mask="causal")
    assert mx.allclose(ours, theirs, atol=1e-5)


def test_answers_are_made_by_the_attention_of_mlx() -> None:
    called: list[str] = []

    def stock(*args: object, **how: object) -> mx.array:
        called.append("stock")
        return mx.zeros(1)

    attention = mlx_attention._in_blocks_or(stock)
    place = mx.zeros((1, 2, 200, 8))
    attention(place, place, place, cache=object(), scale=1.0, mask="causal")
    attention(place, place, place, cache=None, scale=1.0, mask=None)
    attention(place, place, place, None, 1.0, mx.zeros((200, 200)))
    attention(place, place, place, None, 1.0, "causal", sinks=mx.zeros(2))
    assert len(called) == 4
    assert attention(place, place, place, None, 1.0, "causal").shape == place.shape and len(called) == 4


def test_a_model_without_such_attention_is_left_as_it_is() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(2, 2)]

    assert not mlx_attention.skip_masked(Plain())
