"""The process that runs mlx-lm for MlxEngine."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from understudy.engines import Job, Render, Result, Row, mlx_scoring, mlx_writing, tokenize, tokenize_prompt
from understudy.engines.answer_cache import AnswerCache, Conversation
from understudy.errors import ExportError
from understudy.interfaces import Progress
from understudy.records import Completion
from understudy.text.thinking import TEMPLATE_ARGUMENTS
from understudy.text.tokenizer import for_mlx
from understudy.worker import serve

if TYPE_CHECKING:
    import mlx.nn
    from mlx_lm.tokenizer_utils import TokenizerWrapper


class LoadedModel(NamedTuple):
    """A model ready to run, its tokenizer, and how many logits it gives per token."""

    model: "mlx.nn.Module"
    tokenizer: "TokenizerWrapper"
    vocabulary: int


def run(job: Job, progress: Progress) -> Result:
    """What the job asks for. Raises ExportError that names the model."""
    try:
        loaded = load(job.model, job.adapter)
        rows = [tokens(loaded.tokenizer, messages) for messages in job.conversations]
        how, total = (loaded.model, rows, job.batch_rows, loaded.vocabulary), len(rows) + len(job.prompts)
        if job.divergence:
            return Result(divergences=mlx_scoring.divergences(*how, lambda n: progress(n, total, "divergence")))
        answers = _complete(loaded, job, lambda n: progress(n, total, "answering"))
        return Result(
            scores=mlx_scoring.score(*how, lambda n: progress(len(answers) + n, total, "scoring")), answers=answers
        )
    except ExportError as error:
        raise ExportError(f"{job.model}: {error}") from None


def load(path: Path, adapter: Path | None) -> LoadedModel:
    """The model in folder `path`, in float32 on a CPU: bfloat16 gains nothing there and costs precision."""
    import mlx.core as mx
    import mlx_lm

    from understudy import cpu

    if not (path / "config.json").is_file():
        raise ExportError("no model there: the folder has no config.json")
    mx.random.seed(0)  # greedy decoding draws nothing; the seed is for models that would
    adapter_path = str(adapter) if adapter else None
    model, tokenizer, config = mlx_lm.load(str(path), adapter_path=adapter_path, return_config=True)
    tokenizer = for_mlx(tokenizer, path)
    if cpu.used():
        model.set_dtype(mx.float32)
        cpu.speed_up(model)
    model.eval()
    vocabulary = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size") or len(tokenizer.vocab)
    return LoadedModel(model, tokenizer, int(vocabulary))


def tokens(tokenizer: "TokenizerWrapper", messages: Conversation) -> Row:
    """Prompt and answer of a conversation that ends with an answer, by the folder's own template."""
    try:
        return tokenize(messages, *_template(tokenizer), lambda token: token in tokenizer.eos_token_ids)
    except ValueError as error:
        raise ExportError(str(error)) from None


def _template(tokenizer: "TokenizerWrapper") -> tuple[Render, Callable[[str], list[int]]]:
    def render(messages: Conversation, prompt: bool) -> str:
        options = {"tokenize": False, "add_generation_prompt": prompt, **TEMPLATE_ARGUMENTS}
        return str(tokenizer.apply_chat_template(messages, **options))

    return render, lambda text: list(tokenizer.encode(text, add_special_tokens=False))


def _complete(loaded: LoadedModel, job: Job, finished: Callable[[int], None]) -> list[Completion]:
    def generate(batch: list[Conversation]) -> list[Completion]:
        try:
            prompts = [tokenize_prompt(messages, *_template(loaded.tokenizer)) for messages in batch]
        except ValueError as error:
            raise ExportError(str(error)) from None
        return mlx_writing.write(loaded.model, loaded.tokenizer, prompts, job.max_tokens)

    return AnswerCache(job.answer_cache, job.cache_key).complete(job.prompts, job.batch_rows, generate, finished)


if __name__ == "__main__":
    serve(Job, run, waits=True)
