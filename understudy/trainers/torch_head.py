"""
The model as what it loses on a batch: the head over the vocabulary is taken of target tokens only, a part at a time.

Each part's logits, and their gradient with them, are computed once and let go: no array of all tokens by the vocabulary
is ever made, nor made again.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from understudy.trainers.torch_model import Numbers

CHUNK_BYTES = 64 << 20
"""Memory that the logits of one part may take in float32."""
FEWEST = 32
PROBE = 8
TOLERANCES = {"float32": 1e-4, "bfloat16": 0.02}


class Head(NamedTuple):
    """A model as what it computes before its head, and its head."""

    body: Callable[[Tensor], Tensor]
    """Tokens [rows, places] > states [rows, places, width]."""
    logits: Callable[[Tensor], Tensor]
    """States [places, width] > logits [places, vocabulary]."""
    chunk: int
    """Places of a part."""


class Student(nn.Module):  # type: ignore[misc]  # torch is of no type where it is not installed
    """Chat rows > their loss. The base and its adapter are inside."""

    def __init__(self, model: Any, numbers: Numbers) -> None:
        super().__init__()
        self.model, self.numbers = model, numbers
        self.head = head_of(model.get_base_model(), numbers)

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of -log p over target tokens, and how many they are, of [rows, width] and [rows, (offset, length)].

        No attention mask: padding stands behind each row, where a causal model does not look.
        """
        targets = tokens[:, 1:]
        places = torch.arange(1, tokens.shape[1], device=tokens.device)
        mask = (places >= lengths[:, :1]) & (places < lengths[:, 1:])
        with self.numbers.precision():
            if self.head is None:
                logits = self.model(input_ids=tokens[:, :-1], use_cache=False).logits[mask]
                return functional.cross_entropy(logits.float(), targets[mask], reduction="sum"), mask.sum()
            states = self.head.body(tokens[:, :-1])[mask]
            return _TargetLoss.apply(states, targets[mask], self.head.logits, self.head.chunk), mask.sum()


def head_of(model: Any, numbers: Numbers) -> Head | None:
    """The head of a model; None where body and head are not what the model computes."""
    decoder, layer, config = model.get_decoder(), model.get_output_embeddings(), model.config.get_text_config()
    if decoder is None or layer is None or decoder is model:
        return None
    times = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)

    def body(tokens: Tensor) -> Tensor:
        states: Tensor = decoder(input_ids=tokens, use_cache=False).last_hidden_state
        return states

    def logits(states: Tensor) -> Tensor:
        values: Tensor = layer(states) if times == 1 else layer(states) * times
        return torch.tanh(values / cap) * cap if cap else values

    vocabulary = int(layer.weight.shape[0])
    head = Head(body, logits, max(FEWEST, CHUNK_BYTES // (4 * vocabulary)))
    return head if _alike(model, head, numbers) else None


def _alike(model: Any, head: Head, numbers: Numbers) -> bool:
    probe = torch.arange(PROBE, device=numbers.device)[None]
    training = model.training
    model.eval()
    with torch.no_grad(), numbers.precision():
        theirs = model(input_ids=probe, use_cache=False).logits.float()
        ours = head.logits(head.body(probe)).float()
    model.train(training)
    if ours.shape != theirs.shape:
        return False
    return bool((ours - theirs).abs().max() <= TOLERANCES[numbers.dtype] * theirs.std())


class _TargetLoss(torch.autograd.Function):  # type: ignore[misc]
    """The sum of -log p of targets after states; the gradient is computed with it, a part at a time."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, targets: Tensor, logits: Callable[[Tensor], Tensor], chunk: int) -> Tensor:
        """The sum, in float32."""
        total = torch.zeros((), device=states.device)
        wanted = ctx.needs_input_grad[0]
        gradient = torch.empty_like(states) if wanted else None
        for start in range(0, len(states), chunk):
            part = states[start : start + chunk].detach().requires_grad_(wanted)
            with torch.set_grad_enabled(wanted):
                values = logits(part).float()
                nats = functional.cross_entropy(values, targets[start : start + chunk], reduction="sum")
            if gradient is not None:
                (gradient[start : start + chunk],) = torch.autograd.grad(nats, part)
            total += nats.detach()
        ctx.save_for_backward(*([gradient] if gradient is not None else []))
        return total

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the states, times that of the sum."""
        (gradient,) = ctx.saved_tensors
        return (gradient * outer).to(gradient.dtype), None, None, None
