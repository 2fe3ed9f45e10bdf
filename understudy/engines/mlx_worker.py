"""The process that runs mlx-lm for MlxEngine."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from understudy.engines import Refused, Row, ask_prompt, kept, mlx_writing, tokenise
from understudy.interfaces import Progress
from understudy.text.thinking import TEMPLATE_ARGUMENTS
from understudy.worker import serve

if TYPE_CHECKING:
    import mlx.nn
    from mlx_lm.tokenizer_utils import TokenizerWrapper


class Loaded(NamedTuple):
    """A model ready to run, its tokenizer, and how many logits it gives per token."""

    model: "mlx.nn.Module"
    tokenizer: "TokenizerWrapper"
    vocabulary: int


def run(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Scores of the conversations and answers to those asked, or why the model is refused."""
    try:
        loaded = load(job["model"], job["adapter"])
        rows = [tokens(loaded.tokenizer, messages) for messages in job.get("conversations", [])]
        if job["action"] == "divergence":
            return {"divergences": _divergences(loaded, rows, job, progress)}
        total = len(rows) + len(job.get("asked", []))
        answers = _answers(loaded, job, lambda done: progress(done, total, "answering")) if "asked" in job else []
        finished = total - len(rows)
        return {"scores": _scores(loaded, rows, job, lambda done: progress(finished + done, total, "scoring"))} | {
            "answers": answers
        }
    except Refused as reason:
        return {"refused": f"{job['model']}: {reason}"}


def load(path: str, adapter: str | None) -> Loaded:
    """The model in folder `path`, in float32 on a CPU: bfloat16 gains nothing there and costs precision."""
    import mlx.core as mx
    import mlx_lm

    if not (Path(path) / "config.json").is_file():
        raise Refused("no model there: the folder has no config.json")
    mx.random.seed(0)  # greedy decoding draws nothing; the seed is for models that would
    model, tokenizer, config = mlx_lm.load(path, adapter_path=adapter, return_config=True)
    if mx.default_device() == mx.Device(mx.cpu):
        model.set_dtype(mx.float32)
    model.eval()
    vocabulary = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size") or len(tokenizer.vocab)
    return Loaded(model, tokenizer, int(vocabulary))


def tokens(tokenizer: "TokenizerWrapper", messages: list[dict[str, str]]) -> Row:
    """Prompt and answer of a conversation that ends with an answer, by the folder's own template."""
    try:
        return tokenise(messages, *_template(tokenizer), lambda token: token in tokenizer.eos_token_ids)
    except ValueError as error:
        raise Refused(str(error)) from None


def prompt(tokenizer: "TokenizerWrapper", messages: list[dict[str, str]]) -> list[int]:
    """The tokens of a conversation that waits for an answer."""
    try:
        return ask_prompt(messages, *_template(tokenizer))
    except ValueError as error:
        raise Refused(str(error)) from None


def _template(
    tokenizer: "TokenizerWrapper",
) -> tuple[Callable[[list[dict[str, str]], bool], str], Callable[[str], list[int]]]:
    def render(turns: list[dict[str, str]], prompt: bool) -> str:
        how = {"tokenize": False, "add_generation_prompt": prompt, **TEMPLATE_ARGUMENTS}
        return str(tokenizer.apply_chat_template(turns, **how))

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    return render, encode


def _answers(loaded: Loaded, job: dict[str, Any], finished: Callable[[int], None]) -> list[dict[str, Any]]:
    def write(batch: list[kept.Conversation]) -> list[dict[str, Any]]:
        prompts = [prompt(loaded.tokenizer, messages) for messages in batch]
        return mlx_writing.write(loaded.model, loaded.tokenizer, prompts, job["max_tokens"])

    memory = kept.Kept(job["kept"], job["settings"])
    return kept.answers(memory, job["asked"], job["batch_rows"], write, finished)


def _scores(loaded: Loaded, rows: list[Row], job: dict[str, Any], finished: Callable[[int], None]) -> list[list[float]]:
    from understudy.engines import mlx_scoring

    return mlx_scoring.score(loaded.model, rows, job["batch_rows"], loaded.vocabulary, finished)


def _divergences(loaded: Loaded, rows: list[Row], job: dict[str, Any], progress: Progress) -> list[tuple[float, int]]:
    from understudy.engines import mlx_scoring

    def finished(done: int) -> None:
        progress(done, len(rows), "divergence")

    return mlx_scoring.divergences(loaded.model, rows, job["batch_rows"], loaded.vocabulary, finished)


if __name__ == "__main__":
    serve(run)
