"""
A small Llama made on the spot from the talks: no download, no licence, a minute on two cores.

It reads the talks' text only, never a question or an answer. So the distance between this
base and the tuned model is what the pairs taught, and nothing else.
"""

import json
import random
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from understudy import worker
from understudy.bases import byte_bpe
from understudy.errors import DatasetError
from understudy.interfaces import Progress
from understudy.records import BaseCard, Record

if TYPE_CHECKING:
    from tokenizers import Tokenizer


BOLD_SHARE = 0.05


class ScratchJob(Record):
    """One short training."""

    tokens: Path
    config: dict[str, Any]
    out: Path
    seed: int
    steps: int
    batch_size: int
    passage_tokens: int
    learning_rate: float


class ScratchResult(Record):
    """What came of it."""

    parameters: int
    steps: int
    first_loss: float
    last_loss: float
    seconds: float
    tokens_per_second: float


class ScratchBase:
    """A Llama with random weights, trained on the talks for a fixed number of steps."""

    VERSION = 1
    needs_talks = True

    class Options(BaseModel):
        """The shape of the model and of its short training."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        vocabulary: int = Field(default=1024, ge=byte_bpe.SMALLEST_VOCABULARY, description="tokens, at most")
        hidden: int = Field(default=256, ge=32, description="width; a multiple of 256 lets K-quantizations in")
        layers: int = Field(default=2, ge=1, description="blocks")
        heads: int = Field(default=4, ge=1, description="attention heads")
        kv_heads: int = Field(default=2, ge=1, description="heads of keys and values")
        intermediate: int = Field(default=768, ge=32, description="width inside a block; a multiple of 256, too")
        context: int = Field(default=1024, ge=64, description="longest text the model is made for, in tokens")
        steps: int = Field(default=200, ge=1, description="optimizer steps: the cap of the training")
        batch_size: int = Field(default=4, ge=1, description="passages per step")
        passage_tokens: int = Field(default=128, ge=16, description="length of one passage")
        learning_rate: float = Field(default=1e-3, gt=0, description="highest rate; a tenth of it at the end")

        @model_validator(mode="after")
        def _shapes_fit(self) -> "ScratchBase.Options":
            if self.hidden % self.heads or (self.hidden // self.heads) % 2:
                raise ValueError(f"hidden {self.hidden} must be heads {self.heads} times an even number")
            if self.heads % self.kv_heads:
                raise ValueError(f"heads {self.heads} must be a multiple of kv_heads {self.kv_heads}")
            if self.passage_tokens > self.context:
                raise ValueError(f"passage_tokens {self.passage_tokens} must be at most context {self.context}")
            return self

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self) -> list[str]:
        """Missing packages; everything else was checked with the options."""
        from importlib.util import find_spec

        missing = [name for name in ("mlx", "mlx_lm", "tokenizers") if find_spec(name) is None]
        return [f"base scratch needs the package {name!r}, which is missing; run `make setup`" for name in missing]

    def sizes(self) -> None:
        """Small enough for every machine."""

    def folder(self) -> None:
        """It is made first."""

    def contents(self) -> None:
        """The talks are inputs."""

    def prepare(self, talks: Iterable[str], out: Path, seed: int, progress: Progress) -> BaseCard:
        """Fill `out` with the model. The same talks, options, seed and machine give the same bytes."""
        texts = [talk for talk in talks if talk.strip()]
        if not texts:
            raise DatasetError("base scratch learns from the talks, and there is none with text in it")
        slow = worker.blas_to_preload() is None and sys.platform == "linux"
        progress(0, self.options.steps, "no fast BLAS here: expect minutes; `make setup` builds one" if slow else "")
        texts = with_marks(texts, seed)
        tokenizer = byte_bpe.learn(texts, self.options.vocabulary)
        byte_bpe.save(tokenizer, out, self.options.context)
        config = self._config(tokenizer)
        _write_json(out / "config.json", config)
        _write_json(
            out / "generation_config.json",
            {
                "bos_token_id": config["bos_token_id"],
                "eos_token_id": [config["eos_token_id"], config["pad_token_id"]],
            },
        )
        tokens = _stream(tokenizer, texts)
        result = self._train(tokens, config, out, seed, progress)
        notes = result.model_dump(exclude={"parameters"}) | {"talks_tokens": len(tokens)}
        return BaseCard(name="scratch", architecture="llama", parameters=result.parameters, notes=notes)

    def _config(self, tokenizer: "Tokenizer") -> dict[str, Any]:
        options = self.options
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "torch_dtype": "float32",
            "hidden_size": options.hidden,
            "intermediate_size": options.intermediate,
            "num_hidden_layers": options.layers,
            "num_attention_heads": options.heads,
            "num_key_value_heads": options.kv_heads,
            "head_dim": options.hidden // options.heads,
            "vocab_size": tokenizer.get_vocab_size(),
            "max_position_embeddings": options.context,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": True,
            "attention_bias": False,
            "mlp_bias": False,
            "bos_token_id": tokenizer.token_to_id(byte_bpe.TEXT_BEGIN),
            "eos_token_id": tokenizer.token_to_id(byte_bpe.TURN_END),
            "pad_token_id": tokenizer.token_to_id(byte_bpe.TEXT_END),
        }

    def _train(
        self, tokens: Sequence[int], config: dict[str, Any], out: Path, seed: int, progress: Progress
    ) -> ScratchResult:
        import numpy as np

        options = self.options
        with tempfile.TemporaryDirectory() as folder:
            stream = Path(folder) / "tokens.npy"
            np.save(stream, np.array(tokens, dtype=np.int32))
            job = ScratchJob(
                tokens=stream,
                config=config,
                out=out / "model.safetensors",
                seed=seed,
                steps=options.steps,
                batch_size=options.batch_size,
                passage_tokens=options.passage_tokens,
                learning_rate=options.learning_rate,
            )
            return worker.call("understudy.bases.scratch_worker", job, ScratchResult, progress)


def with_marks(texts: Sequence[str], seed: int) -> list[str]:
    """The texts, and a copy of each in which a word in twenty, picked by chance, is set in bold.

    Every downloaded base has seen markdown. Without it the tokens of the marks, and of a word that
    follows one without a space, would keep their random weights, and an adapter cannot change those.
    """
    rng = random.Random(seed)
    copies = [
        re.sub(r"(?<=\s)[A-Za-z]{3,}\b", lambda w: f"**{w[0]}**" if rng.random() < BOLD_SHARE else w[0], text)
        for text in texts
    ]
    return [*texts, *copies]


def _stream(tokenizer: "Tokenizer", texts: Sequence[str]) -> list[int]:
    """Every talk between its start and end mark, one after the other."""
    end = int(tokenizer.token_to_id(byte_bpe.TEXT_END) or 0)
    return [token for encoding in tokenizer.encode_batch(list(texts)) for token in (*encoding.ids, end)]


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
