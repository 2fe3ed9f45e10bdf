"""Laws of the engines, on a tiny random Llama that really runs."""

import json
from pathlib import Path

import pytest

from understudy.engines import tokenize
from understudy.engines.llama_cpp import LlamaCppEngine
from understudy.engines.mlx import MlxEngine
from understudy.errors import ConfigError, ExportError
from understudy.interfaces import Progress
from understudy.records import ChatExample, Pair, Sample

Rows = list[tuple[Pair, ChatExample]]

MAX_TOKENS = 24
PROGRESS: dict[str, list[tuple[int, int]]] = {"mlx": [], "llama_cpp": []}


def quiet(done: int, total: int, note: str = "") -> None:
    """No one watches."""


def watch(engine: str) -> Progress:
    """Keeps what is reported in PROGRESS."""
    return lambda done, total, note="": PROGRESS[engine].append((done, total))


@pytest.fixture(scope="module")
def mlx_samples(tiny_folder: Path, rows: Rows) -> list[Sample]:
    return MlxEngine(MlxEngine.Options()).run(tiny_folder, None, rows, 4, MAX_TOKENS, watch("mlx"))


@pytest.fixture(scope="module")
def llama_samples(tiny_gguf: Path, rows: Rows) -> list[Sample]:
    return LlamaCppEngine(LlamaCppEngine.Options(threads=1)).run(
        tiny_gguf, None, rows, 4, MAX_TOKENS, watch("llama_cpp")
    )


def test_both_engines_see_the_same_tokens_and_the_same_loss(
    mlx_samples: list[Sample], llama_samples: list[Sample]
) -> None:
    assert [s.tokens for s in mlx_samples] == [s.tokens for s in llama_samples]
    for one, other in zip(mlx_samples, llama_samples, strict=True):
        assert one.nll / one.tokens == pytest.approx(other.nll / other.tokens, abs=0.01)


def test_both_engines_write_the_same_answers(mlx_samples: list[Sample], llama_samples: list[Sample]) -> None:
    for one, other in zip(mlx_samples[:4], llama_samples[:4], strict=True):
        assert (one.text, one.new_tokens, one.stopped) == (other.text, other.new_tokens, other.stopped)


def test_prompt_tokens_are_the_same_in_both(tiny_folder: Path, tiny_gguf: Path, rows: Rows) -> None:
    import mlx_lm

    from understudy.engines import llama_cpp_worker, mlx_worker

    tokenizer = mlx_lm.load(str(tiny_folder))[1]
    conversations = [[message.model_dump() for message in example.messages] for _, example in rows]
    ours = [mlx_worker.tokens(tokenizer, messages) for messages in conversations]
    assert ours == llama_cpp_worker.tokens(tiny_gguf, conversations, [])[0]
    for prompt, answer in ours:
        assert prompt[0] == 0 and prompt.count(0) == 1  # one start token
        assert answer[-1] == 3 and answer.count(3) == 1  # the end token is scored


def test_only_as_many_rows_as_wanted_are_answered_of_every_talk(
    mlx_samples: list[Sample], llama_samples: list[Sample]
) -> None:
    for samples in (mlx_samples, llama_samples):
        answered = [sample for sample in samples if sample.text is not None]
        assert len(answered) == 4 and {s.document_id for s in answered} == {s.document_id for s in samples}
        for sample in answered:
            assert sample.seconds and sample.new_tokens
            assert sample.stopped or sample.new_tokens == MAX_TOKENS


def test_batches_change_no_loss_and_no_answer(tiny_folder: Path, mlx_samples: list[Sample], rows: Rows) -> None:
    alone = MlxEngine(MlxEngine.Options(batch_rows=1)).run(tiny_folder, None, rows, 4, MAX_TOKENS, quiet)
    for one, many in zip(alone, mlx_samples, strict=True):
        assert one.nll == pytest.approx(many.nll, abs=1e-3)
        assert (one.text, one.stopped) == (many.text, many.stopped)


def test_the_loss_is_that_of_the_whole_conversation_token_by_token(
    tiny_folder: Path, mlx_samples: list[Sample], rows: Rows
) -> None:
    import mlx.core as mx
    import mlx_lm

    model, tokenizer = mlx_lm.load(str(tiny_folder))
    model.set_dtype(mx.float32)
    _, example = rows[0]
    ids = tokenizer.apply_chat_template([m.model_dump() for m in example.messages])
    logits = model(mx.array([ids[:-1]]))[0].astype(mx.float32)
    nats = [(mx.logsumexp(logits[i]) - logits[i, token]).item() for i, token in enumerate(ids[1:])]
    assert sum(nats[-mlx_samples[0].tokens :]) == pytest.approx(mlx_samples[0].nll, abs=1e-3)


def test_progress_never_falls_and_reaches_its_total(mlx_samples: list[Sample], llama_samples: list[Sample]) -> None:
    assert mlx_samples and llama_samples
    for seen in PROGRESS.values():
        assert seen == sorted(seen) and seen[-1] == (9, 9)


def test_a_file_cut_short_is_refused_by_name(tiny_gguf: Path, tmp_path: Path, rows: Rows) -> None:
    whole = tiny_gguf.read_bytes()
    for share in (0.02, 0.99):
        cut = tmp_path / f"cut-{share}.gguf"
        cut.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ExportError, match=f"cut-{share}.gguf"):
            LlamaCppEngine(LlamaCppEngine.Options()).run(cut, None, rows, 0, 8, quiet)


def test_a_gguf_takes_no_adapter(tiny_gguf: Path, tmp_path: Path, rows: Rows) -> None:
    with pytest.raises(ConfigError, match="fuse it first"):
        LlamaCppEngine(LlamaCppEngine.Options()).run(tiny_gguf, tmp_path, rows, 0, 8, quiet)


def test_a_missing_model_fails_with_its_name(tmp_path: Path, rows: Rows) -> None:
    with pytest.raises(ExportError, match="nothing: no model there"):
        MlxEngine(MlxEngine.Options()).run(tmp_path / "nothing", None, rows, 0, 8, quiet)
    with pytest.raises(ExportError, match="nothing.gguf"):
        LlamaCppEngine(LlamaCppEngine.Options()).run(tmp_path / "nothing.gguf", None, rows, 0, 8, quiet)


def test_a_merge_across_the_border_leaves_the_prompt_as_the_model_sees_it() -> None:
    def render(messages: list[dict[str, str]], prompt: bool) -> str:
        return "".join(m["content"] + ("!" if m["role"] == "assistant" else ">") for m in messages)

    def encode(text: str) -> list[int]:  # '>a' is one token
        return [ord(c) for c in text.replace(">a", "§")]

    question, answer = {"role": "user", "content": "q"}, {"role": "assistant", "content": "ab"}
    prompt, tokens = tokenize([question, answer], render, encode, lambda token: token == ord("!"))
    assert "".join(map(chr, prompt)) == "q>"
    assert "".join(map(chr, tokens)) == "ab!"
    with pytest.raises(ValueError, match="does not end an answer"):
        tokenize([question, answer], render, encode, lambda token: False)
    with pytest.raises(ValueError, match="must end with the assistant's answer"):
        tokenize([question], render, encode, lambda token: False)


def test_scored_batches_hold_every_row_once_and_fit_the_memory() -> None:
    from understudy.engines.mlx_scoring import LOGIT_BYTES, batches

    lengths = [5, 900, 40, 41, 2000, 6, 39, 900]
    groups = batches(lengths, 3, 128_256)
    assert sorted(place for batch in groups for place in batch) == list(range(len(lengths)))
    for batch in groups:
        assert len(batch) == 1 or max(lengths[p] for p in batch) * len(batch) * 128_256 * 4 <= LOGIT_BYTES
        assert len(batch) <= 3


def test_the_adapter_is_applied(tiny_folder: Path, tmp_path: Path, mlx_samples: list[Sample], rows: Rows) -> None:
    import mlx.core as mx

    lora = {"rank": 2, "scale": 2.0, "dropout": 0.0, "keys": ["self_attn.v_proj"]}
    settings = {"fine_tune_type": "lora", "num_layers": -1, "lora_parameters": lora}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    name, b = "model.layers.0.self_attn.v_proj", 5 * mx.random.normal((2, 64), key=mx.random.key(2))
    weights = {f"{name}.lora_a": mx.ones((64, 2)), f"{name}.lora_b": b}
    mx.save_safetensors(str(tmp_path / "adapters.safetensors"), weights)
    tuned = MlxEngine(MlxEngine.Options()).run(tiny_folder, tmp_path, rows, 0, 8, quiet)
    assert abs(sum(s.nll for s in tuned) - sum(s.nll for s in mlx_samples)) > 1


def test_a_beginning_that_is_read_once_changes_no_loss_and_no_answer(tiny_gguf: Path, rows: Rows) -> None:
    from understudy.engines import llama_cpp_worker as worker

    turns = [[message.model_dump() for message in example.messages] for _, example in rows]
    examples = [{"role": "system", "content": "Answer as the examples do. " * 12}]
    scored, prompts = worker.tokens(
        tiny_gguf, [examples + one for one in turns], [examples + one[:-1] for one in turns]
    )
    gguf = worker.load(tiny_gguf, 512, 1)
    plain = [worker.nats(gguf.llama, row) for row in scored]
    alone = [worker.write(gguf, prompt, MAX_TOKENS).text for prompt in prompts]
    shared = worker.common([prompt for prompt, _ in scored])
    assert (
        len(shared) > 30
        and all(prompt[: len(shared)] == shared for prompt in prompts)
        and worker.can_go_back(gguf.llama)
    )
    known = worker.read_once(gguf.llama, shared)
    for row, expected in zip(scored, plain, strict=True):
        assert worker.nats(gguf.llama, row, known) == pytest.approx(expected, abs=1e-3)
    assert [worker.write(gguf, prompt, MAX_TOKENS, keep=True).text for prompt in prompts] == alone
