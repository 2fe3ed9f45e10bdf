"""The loss in parts is the loss whole, in every family, in a tenth of the memory."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx import nn
from mlx.utils import tree_flatten

from understudy import worker
from understudy.trainers import mlx_head
from understudy.trainers.chat_rows import Row
from understudy.trainers.mlx_group import World
from understudy.trainers.mlx_head import Head, chunk_of, head_of, loss_of, with_places
from understudy.trainers.mlx_plugins import Batches, masked_loss

ROOT = Path(__file__).resolve().parents[3]
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-5,
    "vocab_size": 70,
    "rope_theta": 1e4,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
GRANITE = {
    "attention_bias": False, "mlp_bias": False, "attention_multiplier": 0.3, "embedding_multiplier": 2.0,
    "residual_multiplier": 0.5, "logits_scaling": 3.0,
}  # fmt: skip
GEMMA2 = {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 50.0, "query_pre_attn_scalar": 16.0}
COHERE = {"layer_norm_eps": 1e-5, "logit_scale": 0.0625, "use_qk_norm": False}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"tie_word_embeddings": False},
    "gemma": {},
    "gemma2": GEMMA2,
    "granite": GRANITE,
    "cohere": COHERE,
}


def model_of(family: str, **changes: Any) -> nn.Module:
    mx.random.seed(4)
    module = import_module(f"mlx_lm.models.{family}")
    fields = SHAPE | {"model_type": family} | FAMILIES[family] | changes
    model = module.Model(module.ModelArgs.from_dict(fields))
    model.freeze()
    model.layers[0].unfreeze()
    return model


def batch(head: Head, tokens: int = 90, rows: int = 2, vocabulary: int = 70) -> tuple[mx.array, ...]:
    given = mx.random.randint(0, vocabulary, (rows, tokens)), mx.array([[9, tokens], [30, tokens - 21]][:rows])
    return next(with_places(lambda: iter([(*given, mx.array(0.7))]), head.chunk)())


def parted(head: Head | None, chunk: int = 8) -> Head:
    assert head is not None
    return head._replace(chunk=chunk)


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients_in_parts_are_those_of_the_whole(family: str) -> None:
    model = model_of(family)
    head = parted(head_of(model))
    arguments = batch(head)
    assert arguments[3].shape[0] % 8 == 0 and arguments[3].shape[0] > 8
    (before, count), gradients = nn.value_and_grad(model, masked_loss)(model, *arguments[:3])
    (after, same), others = nn.value_and_grad(model, loss_of(head))(model, *arguments)
    assert after.item() == pytest.approx(before.item(), rel=1e-5) and same.item() == count.item() == 81 + 39
    for (name, one), (_, other) in zip(tree_flatten(gradients), tree_flatten(others), strict=True):
        assert mx.allclose(one, other, rtol=1e-4, atol=1e-6), name


def test_a_quantized_head_and_one_in_half_precision_are_taken_in_parts_too() -> None:
    model = model_of("llama")
    nn.quantize(model, 32, 4)
    half = model_of("qwen3")
    half.set_dtype(mx.bfloat16)
    for one in (model, half):
        head = parted(head_of(one))
        arguments = batch(head)
        before, after = masked_loss(one, *arguments[:3])[0].item(), loss_of(head)(one, *arguments)[0].item()
        assert after == pytest.approx(before, rel=1e-2)


def test_a_head_that_does_something_else_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("llama")
    stock = type(model).__call__
    monkeypatch.setattr(type(model), "__call__", lambda self, *given, **named: stock(self, *given, **named) * 2)
    assert head_of(model) is None
    assert head_of(nn.Linear(2, 2)) is None


def test_one_target_none_and_a_number_that_is_no_multiple_of_a_part() -> None:
    model = model_of("llama")
    head = parted(head_of(model))
    for start, end in ((8, 9), (9, 9), (1, 9)):
        given = mx.random.randint(0, 70, (1, 9)), mx.array([[start, end]]), mx.array(1.0)
        [whole] = with_places(lambda given=given: iter([given]), head.chunk)()
        mean, count = loss_of(head)(model, *whole)
        assert count.item() == end - start and whole[3].shape == (8,)
        assert mean.item() == pytest.approx(masked_loss(model, *given)[0].item(), rel=1e-5)


def peaks() -> tuple[int, int]:
    """Bytes that a step takes at a large vocabulary: with the loss in parts, and whole."""
    vocabulary = 128_000
    model = model_of("llama", vocab_size=vocabulary, num_hidden_layers=1)
    head = head_of(model)
    assert head and head.chunk == chunk_of(vocabulary) == 128
    arguments = batch(head, 2049, 1, vocabulary)

    def peak(loss: Any, *given: mx.array) -> int:
        mx.eval(model.parameters(), *given)
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        mx.eval(nn.value_and_grad(model, loss)(model, *given))
        return int(mx.get_peak_memory() - before)

    return peak(loss_of(head), *arguments), peak(masked_loss, *arguments[:3])


def test_at_a_large_vocabulary_a_step_takes_a_sixth_of_the_memory() -> None:
    program = "from tests.models.trainers.test_mlx_head import peaks; print(*peaks())"
    environment = worker.environment() | {"MLX_BFS_MAX_WIDTH": "1"}  # as in the trainer's worker
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                          env=environment, cwd=ROOT)  # fmt: skip
    in_parts, whole = map(int, done.stdout.split())
    assert in_parts < whole / 6, (in_parts, whole)  # the rest is attention: the loss alone takes a tenth


def test_batches_say_where_their_targets_are_for_each_process_of_several() -> None:
    model = model_of("llama")
    head = parted(head_of(model))
    rows = [Row(list(range(1, n + 1)), 3) for n in (9, 14, 17, 20)]
    tokens, lengths, weight, places = next(mlx_head.feed(World(), head)(Batches(1))(rows, 4, 64))
    mine = next(mlx_head.feed(World(1, 2), head)(Batches(1))(rows, 4, 64))
    assert weight.item() == 1 and (places >= 0).sum().item() == sum(len(row.tokens) - 3 for row in rows)
    assert len(mine[0]) == 2 and (mine[3] >= 0).sum().item() == int((lengths[1::2, 1] - lengths[1::2, 0]).sum().item())
    assert len(next(mlx_head.feed(World(), None)(Batches(1))(rows, 4, 64))) == 2
    assert tokens.shape[0] == 4
