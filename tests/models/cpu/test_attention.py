"""Laws of attention in blocks: the numbers are those of mlx, only the work is less."""

import mlx.core as mx
import pytest

from understudy.cpu import attention, elementwise


@pytest.mark.parametrize("softmax", [attention.mlx_softmax, elementwise.causal_softmax])
@pytest.mark.parametrize("places", [1, 63, 64, 65, 128, 129, 200])
def test_every_place_sees_itself_and_those_before_it_alone(places: int, softmax: attention.Softmax) -> None:
    mx.random.seed(1)
    queries, keys, values = (mx.random.normal((2, heads, places, 8)) for heads in (4, 2, 2))
    ours = attention.causal(queries, keys, values, 0.3, softmax)
    theirs = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=0.3, mask="causal")
    assert mx.allclose(ours, theirs, atol=1e-5)


def test_answers_are_made_by_the_attention_of_mlx() -> None:
    called: list[str] = []

    def stock(*args: object, **how: object) -> mx.array:
        called.append("stock")
        return mx.zeros(1)

    ours = attention.in_blocks_or(None)(stock)
    place = mx.zeros((1, 2, 200, 8))
    ours(place, place, place, cache=object(), scale=1.0, mask="causal")
    ours(place, place, place, cache=None, scale=1.0, mask=None)
    ours(place, place, place, None, 1.0, mx.zeros((200, 200)))
    ours(place, place, place, None, 1.0, "causal", sinks=mx.zeros(2))
    assert len(called) == 4
    assert ours(place, place, place, None, 1.0, "causal").shape == place.shape and len(called) == 4
