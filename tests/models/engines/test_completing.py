"""Laws of answering arbitrary conversations, of choosing among answers, and of the distance from the base."""

import json
from pathlib import Path

import pytest

from understudy.engines.answer_cache import AnswerCache
from understudy.engines.llama_cpp import LlamaCppEngine
from understudy.engines.mlx import MlxEngine
from understudy.errors import ConfigError, ExportError
from understudy.records import ChatExample, Message, Pair

Rows = list[tuple[Pair, ChatExample]]
LIMIT = 16


def quiet(done: int, total: int, note: str = "") -> None:
    """No one watches."""


def turns(*texts: str, system: str | None = None) -> list[Message]:
    """A conversation: the user first, then in turn; `system` before all."""
    first = [Message(role="system", content=system)] if system else []
    return first + [Message(role="assistant" if i % 2 else "user", content=text) for i, text in enumerate(texts)]


TALKS = [
    turns("Why does a candle burn?"),
    turns("What is left?", system="Answer in one line, in bold."),
    turns("What is wax?", "**Fuel.**", "And the wick?", "It lifts the wax.", "Is the flame hollow?"),
]


def mlx(**options: object) -> MlxEngine:
    return MlxEngine(MlxEngine.Options.model_validate(options))


def llama(**options: object) -> LlamaCppEngine:
    return LlamaCppEngine(LlamaCppEngine.Options.model_validate({"threads": 1} | options))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoRA weights for the tiny model that change what it says."""
    import mlx.core as mx

    folder = tmp_path_factory.mktemp("adapter")
    lora = {"rank": 2, "scale": 2.0, "dropout": 0.0, "keys": ["self_attn.v_proj"]}
    settings = {"fine_tune_type": "lora", "num_layers": -1, "lora_parameters": lora}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    name, b = "model.layers.0.self_attn.v_proj", mx.random.normal((2, 64), key=mx.random.key(2))
    weights = {f"{name}.lora_a": mx.ones((64, 2)), f"{name}.lora_b": b}
    mx.save_safetensors(str(folder / "adapters.safetensors"), weights)
    return folder


def test_system_messages_and_examples_reach_both_engines_alike(tiny_folder: Path, tiny_gguf: Path) -> None:
    one, other = (
        mlx().complete(tiny_folder, None, TALKS, LIMIT, quiet),
        llama().complete(tiny_gguf, None, TALKS, LIMIT, quiet),
    )
    assert [(c.text, c.new_tokens, c.stopped, c.prompt_tokens) for c in one] == [
        (c.text, c.new_tokens, c.stopped, c.prompt_tokens) for c in other
    ]
    assert one[1].prompt_tokens > len("What is left?") / 4 and len({c.text for c in one}) == 3
    for completion in [*one, *other]:
        assert 0 < completion.prompt_seconds <= completion.first_token_seconds + 1e-9
        assert completion.prompt_seconds <= completion.seconds and completion.peak_memory_bytes > 0


def test_what_was_said_once_is_never_generated_again(tiny_folder: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    for engine, model in ((mlx, tiny_folder), (llama, tiny_gguf)):
        cache = tmp_path / f"{engine.__name__}.jsonl"
        first = engine(answer_cache=cache).complete(model, None, TALKS[:2], LIMIT, quiet)
        longer = engine(answer_cache=cache).complete(model, None, [*TALKS, TALKS[0]], LIMIT, quiet)
        assert longer[:2] == first and longer[3] == first[0], "timings too: they were read"
        rows = [json.loads(line) for line in cache.read_text().splitlines() if line]
        assert len(rows) == len({row["key"] for row in rows}) == 3
        other_limit = engine(answer_cache=cache).complete(model, None, TALKS[:1], 4, quiet)
        assert other_limit[0].new_tokens <= 4


def test_a_kill_loses_at_most_the_batch_in_flight(tiny_gguf: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.jsonl"

    def stop_after_one(done: int, total: int, note: str = "") -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        llama(answer_cache=cache).complete(tiny_gguf, None, TALKS, LIMIT, stop_after_one)
    before = AnswerCache(cache, ["llama_cpp", LlamaCppEngine.VERSION, LIMIT]).known
    assert before
    with cache.open("a") as file:
        file.write('{"key": "cut sho')
    again = llama(answer_cache=cache).complete(tiny_gguf, None, TALKS, LIMIT, quiet)
    assert len(again) == 3 and all(answer in again for answer in before.values())
    after = AnswerCache(cache, ["llama_cpp", LlamaCppEngine.VERSION, LIMIT]).known
    assert after.keys() >= before.keys() and len(after) == 3  # a quick worker may have been done before it was ended


def test_the_answers_of_a_scored_run_are_kept_too(tiny_gguf: Path, tmp_path: Path, rows: Rows) -> None:
    cache = tmp_path / "cache.jsonl"
    [sample, *_] = llama(answer_cache=cache).run(tiny_gguf, None, rows, 1, LIMIT, quiet)
    prompts = [list(rows[0][1].messages[:-1])]
    [completion] = llama(answer_cache=cache).complete(tiny_gguf, None, prompts, LIMIT, quiet)
    assert (sample.text, sample.seconds) == (completion.text, completion.seconds)


def test_the_parts_of_a_loss_are_the_whole(tiny_folder: Path, rows: Rows) -> None:
    for sample in mlx().run(tiny_folder, None, rows, 0, 8, quiet):
        assert sample.opening_nll is not None and sample.body_nll is not None and sample.end_nll is not None
        assert sample.opening_nll + sample.body_nll + sample.end_nll == pytest.approx(sample.nll)
        assert (sample.opening_tokens or 0) + (sample.body_tokens or 0) + 1 == sample.tokens
        assert sample.opening_tokens == min(20, sample.tokens - 1)


def test_an_empty_answer_is_its_end_token(tiny_folder: Path, tiny_gguf: Path, rows: Rows) -> None:
    pair, _ = rows[0]
    empty = [(pair, ChatExample(messages=turns("Why?", "")))]
    for sample in (
        mlx().run(tiny_folder, None, empty, 0, 8, quiet)[0],
        llama().run(tiny_gguf, None, empty, 0, 8, quiet)[0],
    ):
        assert (sample.tokens, sample.opening_tokens, sample.body_tokens) == (1, 0, 0)
        assert sample.end_nll == sample.nll


def test_choices_weigh_the_same_in_both_engines(tiny_folder: Path, tiny_gguf: Path, rows: Rows) -> None:
    choices = [(TALKS[0], ["Wax.", "Water and gas."]), (TALKS[1], ["Nothing"])]
    one, other = (
        mlx().likelihoods(tiny_folder, None, choices, quiet),
        llama().likelihoods(tiny_gguf, None, choices, quiet),
    )
    assert [len(row) for row in one] == [2, 1]
    for left, right in zip([*one[0], *one[1]], [*other[0], *other[1]], strict=True):
        assert left < 0 and left == pytest.approx(right, abs=0.05)
    pair, _ = rows[0]
    whole = mlx().run(
        tiny_folder, None, [(pair, ChatExample(messages=[*TALKS[0], *turns("", "Wax.")[1:]]))], 0, 8, quiet
    )
    assert one[0][0] == pytest.approx(-(whole[0].nll - (whole[0].end_nll or 0)), abs=1e-3)


def test_the_divergence_is_that_of_the_two_models_token_by_token(tiny_folder: Path, adapter: Path, rows: Rows) -> None:
    import mlx.core as mx
    import mlx_lm

    examples = [list(example.messages) for _, example in rows]
    divergences = mlx().divergence(tiny_folder, adapter, examples, quiet)
    base, tokenizer = mlx_lm.load(str(tiny_folder))
    tuned, _ = mlx_lm.load(str(tiny_folder), adapter_path=str(adapter))
    ids = tokenizer.apply_chat_template([m.model_dump() for m in examples[0]])
    logs = []
    for model in (tuned, base):
        model.set_dtype(mx.float32)
        logits = model(mx.array([ids[:-1]]))[0, -divergences[0].tokens :].astype(mx.float32)
        logs.append(logits - mx.logsumexp(logits, axis=-1, keepdims=True))
    expected = (mx.exp(logs[0]) * (logs[0] - logs[1])).sum().item()
    assert expected > 0.01 and divergences[0].nats == pytest.approx(expected, rel=1e-3)
    assert all(one.nats >= 0 for one in divergences)


def test_what_cannot_be_asked_is_refused_in_a_sentence(tiny_folder: Path, tiny_gguf: Path, adapter: Path) -> None:
    ends_with_answer = [turns("Why?", "Because.")]
    for engine, model in ((mlx, tiny_folder), (llama, tiny_gguf)):
        with pytest.raises(ExportError, match="must end with the user's turn"):
            engine().complete(model, None, ends_with_answer, LIMIT, quiet)
        assert engine().complete(model, None, [], LIMIT, quiet) == []
        assert engine().likelihoods(model, None, [], quiet) == []
    with pytest.raises(ExportError, match="must end with the assistant's answer"):
        mlx().divergence(tiny_folder, adapter, [turns("Why?")], quiet)
    with pytest.raises(ConfigError, match="measure divergence with engine mlx"):
        llama().divergence(tiny_gguf, adapter, ends_with_answer, quiet)
    with pytest.raises(ConfigError, match="fuse it first"):
        llama().complete(tiny_gguf, adapter, TALKS, LIMIT, quiet)
