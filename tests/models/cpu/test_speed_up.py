"""Laws of mlx's functions by numpy: losses, gradients and divergences are mlx's own."""

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx.utils import tree_flatten

from understudy import cpu
from understudy.cpu import elementwise, head
from understudy.trainers.mlx_plugins import loss_for, masked_loss

SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rms_norm_eps": 1e-5,
    "vocab_size": 70,
    "max_position_embeddings": 512,
    "rope_theta": 1e4,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "attention_multiplier": 0.3,
    "embedding_multiplier": 2.0,
    "residual_multiplier": 0.5,
    "logits_scaling": 3.0,
}
FAMILIES = ["llama", "qwen2", "qwen3", "gemma", "granite"]


def model_of(family: str, **changes: Any) -> nn.Module:
    mx.random.seed(4)
    module = import_module(f"mlx_lm.models.{family}")
    return module.Model(module.ModelArgs.from_dict(SHAPE | {"model_type": family} | changes))


@pytest.fixture(autouse=True)
def stock_again() -> Iterator[None]:
    """mlx-lm's own functions are back after each test."""
    yield
    for name, module in list(sys.modules.items()):
        if name.startswith("mlx_lm.models."):
            for function in ("swiglu", "scaled_dot_product_attention"):
                if hasattr(getattr(module, function, None), "stock"):
                    setattr(module, function, getattr(module, function).stock)


@pytest.mark.parametrize("untied", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("eager", [False, True])
def test_losses_and_gradients_are_those_of_mlx(eager: bool, family: str, untied: bool) -> None:
    model = model_of(family, tie_word_embeddings=(not untied and family != "granite") or family == "gemma")
    model.freeze()
    model.layers[0].unfreeze()
    tokens, lengths = mx.random.randint(0, 70, (2, 300)), mx.array([[9, 300], [30, 211]])
    arguments = (model, tokens, lengths, mx.array(0.7))
    (before, count), gradients = nn.value_and_grad(model, masked_loss)(*arguments)
    mx.eval(before, gradients)
    replaced = cpu.speed_up(model, eager)
    assert cpu.speed_up(model, eager) == replaced  # twice is once
    assert not hasattr(sys.modules[type(model).__module__].scaled_dot_product_attention.stock, "stock")
    loss = loss_for(model)
    assert loss is not masked_loss and "scaled_dot_product_attention" in replaced
    (after, same), others = nn.value_and_grad(model, loss)(*arguments)
    assert after.item() == pytest.approx(before.item(), rel=1e-5) and same.item() == count.item()
    for (name, one), (_, other) in zip(tree_flatten(gradients), tree_flatten(others), strict=True):
        assert mx.allclose(one, other, rtol=1e-3, atol=1e-5), name
    model.eval()
    assert loss(*arguments)[0].item() == pytest.approx(before.item(), rel=1e-5)


def test_a_batch_without_a_target_has_no_loss_and_no_gradient() -> None:
    model = model_of("llama")
    loss = loss_for(model)
    arguments = (model, mx.zeros((1, 9), dtype=mx.int32), mx.array([[9, 9]]))
    (value, count), gradients = nn.value_and_grad(model, loss)(*arguments)
    assert (value.item(), count.item()) == (0, 0)
    assert all(mx.abs(gradient).max().item() == 0 for _, gradient in tree_flatten(gradients))


def test_the_vocabulary_is_gone_through_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("llama")
    known = head.head_of(model)
    assert known
    states, targets = np.random.default_rng(1).normal(size=(11, 32)).astype(np.float32), np.arange(11)
    whole, (total, gradient) = known.nats(states, targets), known.nats_and_gradient(states, targets)
    monkeypatch.setattr(head, "CHUNK_BYTES", 4 * 70 * 3)
    assert np.allclose(known.nats(states, targets), whole, rtol=1e-5)
    again, other = known.nats_and_gradient(states, targets)
    assert again == pytest.approx(total, rel=1e-5) == whole.sum() and np.allclose(other, gradient, atol=1e-5)


def test_a_head_that_does_more_is_left_to_mlx() -> None:
    assert head.head_of(model_of("gemma2", final_logit_softcapping=5.0, attn_logit_softcapping=50.0,
                                 query_pre_attn_scalar=8.0)) is None  # fmt: skip
    quantized = model_of("llama", hidden_size=64, intermediate_size=128, head_dim=16)
    nn.quantize(quantized, 32, 4)
    assert head.head_of(quantized) is None
    half = model_of("llama")
    half.set_dtype(mx.bfloat16)
    assert head.head_of(half) is None


def test_large_and_small_gates_are_exact_and_what_is_not_float32_is_left_to_mlx() -> None:
    gate = mx.array([[-200.0, -20.0, -1.0, 0.0, 1.0, 20.0, 200.0] * 3000])
    ours = elementwise.swiglu(gate, gate + 1)[0]
    assert mx.allclose(ours, nn.silu(gate) * (gate + 1), rtol=1e-5) and mx.isfinite(ours).all()
    called = []
    function = elementwise.swiglu_or(lambda gate, x: called.append(gate.dtype) or gate)
    function(gate.astype(mx.bfloat16), gate.astype(mx.bfloat16))
    function(gate[:, :9], gate[:, :9])
    assert called == [mx.bfloat16, mx.float32]


def test_a_model_without_such_functions_is_left_as_it_is() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(2, 2)]

    assert cpu.speed_up(Plain()) == [] and head.head_of(Plain()) is None
