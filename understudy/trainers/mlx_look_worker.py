"""The worker that takes the valid loss of a base and of an adapter that was trained elsewhere."""

import mlx.core as mx
from mlx_lm.tuner.trainer import evaluate
from mlx_lm.utils import load

from understudy import cpu
from understudy.interfaces import Progress
from understudy.text.tokenizer import for_mlx
from understudy.trainers import chat_rows
from understudy.trainers.external import LookJob
from understudy.trainers.mlx_plugins import Batches, masked_loss
from understudy.worker import serve

MOST_TOKENS, ROWS = 4096, 4


def run(job: LookJob, progress: Progress) -> list[float]:
    """The losses of the base, and of the base with the adapter, on the valid rows."""
    losses = []
    for number, adapter in enumerate((None, str(job.adapter))):
        progress(number, 2, "the valid loss of the adapter" if number else "the valid loss of the base")
        model, tokenizer = load(str(job.base), adapter_path=adapter)
        tokenizer = for_mlx(tokenizer, job.base)
        if cpu.used():
            mx.disable_compile()
            model.set_dtype(mx.float32)
        split = chat_rows.read_split("valid", job.valid, tokenizer, tokenizer.eos_token_ids, MOST_TOKENS, job.out)
        losses.append(evaluate(model, split.rows, ROWS, -1, MOST_TOKENS, masked_loss, Batches(1)))
    return losses


if __name__ == "__main__":
    serve(LookJob, run)
