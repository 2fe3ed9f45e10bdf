"""
How much each column of a matrix matters: the mean square of what the train side sends into it.

llama.cpp's quantizer weighs a column's rounding error by it. Its own tool measures the same in its own engine;
here mlx does, on the folder the file was made of. Only columns are weighed, so the order in which llama.cpp wants
the rows of a matrix plays no part.

Measured on held-out rows of two demo models (1.8 million weights), KL from the F16 file: Q4_0 10 and 14 % lower, Q2_K
11 %, Q4_K_M 2 and 0.5 %, which is within what rows differ by. Q8_0 does not use it.
"""

import json
from pathlib import Path
from typing import Any

from understudy.errors import ExportError
from understudy.exporters import gguf_convert, gguf_families
from understudy.interfaces import Progress
from understudy.text.thinking import TEMPLATE_ARGUMENTS

MOST_TOKENS, MOST_TOKENS_OF_A_ROW = 32_768, 2_048


def measure(model: Path, rows: Path, out: Path, progress: Progress) -> dict[str, Any]:
    """Write GGUF name > mean squares to the safetensors file `out`; {rows, tokens, tensors}. Raises ExportError."""
    import mlx.core as mx
    import numpy as np
    from mlx_lm.utils import load
    from safetensors.numpy import save_file

    config, family = gguf_families.read(model)
    named, matrices = gguf_convert.names(config, family), gguf_convert.matrices(config, family)
    loaded, tokenizer = load(str(model))[:2]
    sums: dict[str, mx.array] = {}
    _listen(loaded, sums)
    texts = [json.loads(line)["messages"] for line in rows.read_text(encoding="utf-8").splitlines()]
    if not texts:
        raise ExportError(f"{rows}: no train rows to weigh the columns by; set export.importance: false")
    tokens = read = 0
    for messages in texts:
        ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **TEMPLATE_ARGUMENTS)
        ids = ids[:MOST_TOKENS_OF_A_ROW]
        mx.eval(loaded(mx.array([ids])), *sums.values())
        tokens, read = tokens + len(ids), read + 1
        progress(min(tokens, MOST_TOKENS), MOST_TOKENS, f"{read} rows")
        if tokens >= MOST_TOKENS:
            break
    found = {
        gguf_name: np.array(total) / np.float32(tokens)
        for name, total in sums.items()
        if f"{name}.weight" in matrices
        for gguf_name in named(f"{name}.weight")
    }
    if not found or not all(np.isfinite(values).all() for values in found.values()):
        raise ExportError(f"{model}: the train rows give no finite numbers; set export.importance: false")
    save_file(found, out)
    return {"rows": read, "tokens": tokens, "tensors": len(found)}


def _listen(model: Any, sums: dict[str, Any]) -> None:
    """Have every linear layer of `model` add the squares of its inputs to `sums`, by its name."""
    import mlx.core as mx
    from mlx import nn
    from mlx.utils import tree_unflatten

    class Listening(nn.Module):
        """A linear layer that notes what it is given."""

        def __init__(self, name: str, linear: nn.Module) -> None:
            super().__init__()
            self.name, self.linear = name, linear

        def __call__(self, given: mx.array) -> mx.array:
            squares = mx.square(given.astype(mx.float32)).reshape(-1, given.shape[-1]).sum(axis=0)
            sums[self.name] = sums[self.name] + squares if self.name in sums else squares
            return self.linear(given)

    linears = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    model.update_modules(tree_unflatten([(name, Listening(name, linear)) for name, linear in linears]))
