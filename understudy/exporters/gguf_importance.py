"""
The importance matrix: the mean square of what the train rows send into each column of each matrix.

llama.cpp's quantizer multiplies a column's rounding error by it. Its own tool measures the same in its own engine;
here mlx does, on the folder the file was made of. Only columns count, so the order in which llama.cpp wants the rows
of a matrix plays no part.

Measured on held-out rows of two demo models (1.8 million weights), KL from the F16 file: Q4_0 10 and 14 % lower, Q2_K
11 %, Q4_K_M 2 and 0.5 %, which is within what rows differ by. Q8_0 does not use it.
"""

import json
from pathlib import Path
from typing import Any

from understudy.errors import ExportError
from understudy.interfaces import Progress
from understudy.records import ImportanceCard
from understudy.text.thinking import TEMPLATE_ARGUMENTS
from understudy.text.tokenizer import for_mlx

MOST_TOKENS, MOST_TOKENS_OF_A_ROW = 32_768, 2_048


def measure(model: Path, rows: Path, out: Path, progress: Progress) -> ImportanceCard:
    """Write GGUF name > mean squares to the safetensors file `out`. Raises ExportError."""
    import numpy as np
    from mlx_lm.utils import load
    from safetensors.numpy import save_file

    from understudy.gguf import families, layout

    config, family = families.read(model)
    gguf_names, matrices = layout.names(config, family), layout.matrices(config, family)
    loaded, tokenizer = load(str(model))[:2]
    tokenizer = for_mlx(tokenizer, model)
    sums = _sum_squares(loaded)
    read, tokens = _run(loaded, tokenizer, rows, sums, progress)
    means = {
        gguf_name: np.array(total) / np.float32(tokens)
        for name, total in sums.items()
        if f"{name}.weight" in matrices
        for gguf_name in gguf_names(f"{name}.weight")
    }
    if not means or not all(np.isfinite(values).all() for values in means.values()):
        raise ExportError(f"{model}: the train rows give no finite numbers; set export.importance: false")
    save_file(means, out)
    return ImportanceCard(rows=read, tokens=tokens, tensors=len(means))


def _run(model: Any, tokenizer: Any, rows: Path, sums: dict[str, Any], progress: Progress) -> tuple[int, int]:
    """Send rows through the model until there are enough tokens; how many of both."""
    import mlx.core as mx

    read = tokens = 0
    for line in rows.read_text(encoding="utf-8").splitlines():
        messages = json.loads(line)["messages"]
        ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **TEMPLATE_ARGUMENTS)
        ids = ids[:MOST_TOKENS_OF_A_ROW]
        mx.eval(model(mx.array([ids])), *sums.values())
        tokens, read = tokens + len(ids), read + 1
        progress(min(tokens, MOST_TOKENS), MOST_TOKENS, f"{read} rows")
        if tokens >= MOST_TOKENS:
            break
    if not read:
        raise ExportError(f"{rows}: no train rows for an importance matrix; set export.importance: false")
    return read, tokens


def _sum_squares(model: Any) -> dict[str, Any]:
    """Name of each linear layer of `model` > the sum of the squares of its inputs, from now on."""
    import mlx.core as mx
    from mlx import nn
    from mlx.utils import tree_unflatten

    sums: dict[str, mx.array] = {}

    class Listening(nn.Module):  # type: ignore[misc]  # mlx.nn has no types
        """A linear layer that notes its inputs."""

        def __init__(self, name: str, linear: Any) -> None:
            super().__init__()
            self.name, self.linear = name, linear

        def __call__(self, inputs: mx.array) -> Any:
            squares = mx.square(inputs.astype(mx.float32)).reshape(-1, inputs.shape[-1]).sum(axis=0)
            sums[self.name] = sums[self.name] + squares if self.name in sums else squares
            return self.linear(inputs)

    linears = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    model.update_modules(tree_unflatten([(name, Listening(name, linear)) for name, linear in linears]))
    return sums
