"""Laws of the whole chain: an adapter is fused, converted, measured and quantized; every file is the same model."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.models.exporters.gguf_models import silent
from understudy.bases.scratch import ScratchBase
from understudy.engines.llama_cpp import LlamaCppEngine
from understudy.errors import ExportError
from understudy.exporters.gguf import IMATRIX, GgufExporter
from understudy.records import ChatExample, GgufCard, Message, Pair
from understudy.stages import convert as converting
from understudy.stages import fuse as fusing
from understudy.stages import quantize as quantizing
from understudy.trainers.mlx_lora import MlxLoraTrainer

TALK = "A candle burns because the heat of the flame melts the wax, and ice floats because water grows as it freezes. "
ANSWER = "**Heat** melts the wax.\n\n- The wick draws it up.\n- The flame burns it."
EXPORTER = GgufExporter(GgufExporter.Options(name="candles"))
TRAINER = MlxLoraTrainer(
    MlxLoraTrainer.Options(rank=4, alpha=12, learning_rate=3e-3, epochs=2, max_seq_length=128, sample_tokens=0)
)
ENGINE = LlamaCppEngine(LlamaCppEngine.Options(threads=1))


class Chain(NamedTuple):
    """What one run leaves behind."""

    base: Path
    adapter: Path
    train: Path
    fused: Path
    first: Path
    card: GgufCard


@pytest.fixture(scope="module")
def row() -> tuple[Pair, ChatExample]:
    """A held-out question with its answer."""
    blank = {name: None for name in Pair.model_fields} | {"tags": [], "kept": True, "document_sha256": "0"}
    pair = Pair.model_construct(**blank | {"pair_id": "a-1", "document_id": "a", "question": "Why?", "answer": ANSWER})
    turns = [Message(role="user", content="Why?"), Message(role="assistant", content=ANSWER)]
    return pair, ChatExample(messages=turns)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, row: tuple[Pair, ChatExample]) -> Chain:
    """A scratch base of 128 hidden units, tuned on eight rows, as far as its first file."""
    folder = tmp_path_factory.mktemp("chain")
    for name in ("base", "adapter", "fused"):
        (folder / name).mkdir()
    sizes = {"vocabulary": 300, "hidden": 128, "intermediate": 256, "layers": 2}
    options = ScratchBase.Options(steps=20, batch_size=2, passage_tokens=32, context=512, **sizes)
    ScratchBase(options).prepare([TALK * 5], folder / "base", 7, silent)
    turns = [{"role": "user", "content": "How?"}, {"role": "assistant", "content": ANSWER}]
    (folder / "train.jsonl").write_text((json.dumps({"messages": turns}) + "\n") * 8)
    (folder / "valid.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    TRAINER.train(folder / "base", folder / "train.jsonl", folder / "valid.jsonl", folder / "adapter", 5, silent)
    fusing.fuse(TRAINER, EXPORTER, folder / "base", folder / "adapter", folder / "fused", silent)
    first = folder / "gguf" / "candles-F16.gguf"
    card = converting.convert(EXPORTER, ENGINE, folder / "fused", first, "F16", row, silent)
    return Chain(folder / "base", folder / "adapter", folder / "train.jsonl", folder / "fused", first, card)


@pytest.fixture
def likelihood(chain: Chain) -> Iterator[Callable[..., float]]:
    """Nats per token that llama.cpp gives the train answer."""
    import numpy as np
    from llama_cpp import Llama

    def measured(file: Path, **options: Any) -> float:
        model = Llama(str(file), n_ctx=256, n_threads=1, logits_all=True, verbose=False, **options)
        prompt, answer = (model.tokenize(text.encode(), add_bos=False) for text in ("How?", ANSWER))
        model.eval(prompt + answer)
        logits = np.array(model.scores[len(prompt) - 1 : len(prompt) + len(answer) - 1], dtype=np.float64)
        model.close()
        chosen = logits[np.arange(len(answer)), answer]
        return float((np.log(np.exp(logits).sum(axis=1)) - chosen).mean())

    yield measured


def test_a_converted_file_renders_as_training_did_and_says_what_it_is(chain: Chain) -> None:
    assert chain.card.template and chain.card.template.family == "llama3" and chain.card.template.stops
    assert chain.card.template.differences == [] and chain.card.fallbacks == []
    assert chain.card.bytes == chain.first.stat().st_size and 16 <= chain.card.bits_per_weight < 17


def test_base_with_the_adapter_file_is_as_likely_as_the_fused_file(
    chain: Chain, tmp_path: Path, likelihood: Callable[..., float]
) -> None:
    EXPORTER.convert(chain.base, tmp_path / "base.gguf", "F16", silent)
    EXPORTER.adapter(chain.base, chain.adapter, tmp_path / "adapter.gguf", silent)
    tensors, _, _ = EXPORTER.describe(tmp_path / "adapter.gguf", "F32")
    assert sum(tensors.values()) == 2 * 2 * 7
    base, fused = likelihood(tmp_path / "base.gguf"), likelihood(chain.first)
    both = likelihood(tmp_path / "base.gguf", lora_path=str(tmp_path / "adapter.gguf"))
    assert abs(both - fused) < 0.01 and base - fused > 0.1


@pytest.mark.parametrize("type", ["BF16", "Q8_0"])
def test_the_first_file_may_be_of_another_type(
    type: str, chain: Chain, tmp_path: Path, row: tuple[Pair, ChatExample], likelihood: Callable[..., float]
) -> None:
    card = converting.convert(EXPORTER, ENGINE, chain.fused, tmp_path / "other.gguf", type, row, silent)
    assert card.type == type and type in card.tensor_types
    assert abs(likelihood(tmp_path / "other.gguf") - likelihood(chain.first)) < 0.02


def test_a_file_that_would_be_prompted_unlike_training_is_refused(
    chain: Chain, tmp_path: Path, row: tuple[Pair, ChatExample]
) -> None:
    class Mistaken(GgufExporter):
        """Puts another template into the file than the folder has."""

        def convert(self, model: Path, out: Path, type: str, report: Any) -> None:
            other = shutil.copytree(model, tmp_path / "other")
            template = other / "chat_template.jinja"
            template.write_text(template.read_text().replace("user", "human").replace("role", "rôle"))
            super().convert(other, out, type, report)

    exporter = Mistaken(GgufExporter.Options())
    with pytest.raises(ExportError, match=r"(?s)the F16 file would prompt .*conversation 'one turn'.*and \d+ more"):
        converting.convert(exporter, ENGINE, chain.fused, tmp_path / "model.gguf", "F16", row, silent)


def test_rows_no_k_type_divides_are_in_the_card(
    chain: Chain, tmp_path: Path, row: tuple[Pair, ChatExample], caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "small.gguf"
    card = quantizing.quantize(EXPORTER, ENGINE, chain.first, out, "Q4_K_M", None, row, silent)
    assert card.fallbacks and "instead of Q4_K_M" in card.fallbacks[0] and "128 values" in card.fallbacks[0]
    assert "instead of Q4_K_M" in caplog.text


def test_importance_lowers_the_rounding_error_where_the_train_rows_make_most_of_it(
    chain: Chain, tmp_path: Path, row: tuple[Pair, ChatExample]
) -> None:
    import numpy as np
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors.numpy import load_file

    card = EXPORTER.importance(chain.fused, chain.train, tmp_path, silent)
    assert card.rows == 8 and card.tensors == 2 * 7 and [file.name for file in tmp_path.iterdir()] == [IMATRIX]
    weights = load_file(tmp_path / IMATRIX)
    files = {"exact": chain.first}
    for name, by in (("plain", None), ("imatrix", tmp_path)):
        files[name] = tmp_path / f"{name}.gguf"
        quantizing.quantize(EXPORTER, ENGINE, chain.first, files[name], "Q4_0", by, row, silent)
    read = {
        name: {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(file).tensors if t.name in weights}
        for name, file in files.items()
    }
    errors = {
        name: [float((columns * (read[name][t] - read["exact"][t]) ** 2).sum()) for t, columns in weights.items()]
        for name in ("plain", "imatrix")
    }
    assert len(errors["plain"]) == 14 and np.less(errors["imatrix"], errors["plain"]).all()


def test_the_importance_matrix_of_another_model_is_refused(chain: Chain, tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"blk.0.attn_q.weight": np.ones(64, np.float32)}, tmp_path / IMATRIX)
    with pytest.raises(ExportError, match="imatrix size"):
        EXPORTER.quantize(chain.first, tmp_path / "model.gguf", "Q4_0", tmp_path, silent)


def test_an_empty_train_split_gives_no_importance_matrix(chain: Chain, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").touch()
    with pytest.raises(ExportError, match=r"no train rows.*export\.importance: false"):
        EXPORTER.importance(chain.fused, tmp_path / "train.jsonl", tmp_path, silent)
