"""The process that unpacks a GGUF file: llama.cpp, which is asked about its tokens, can die of a damaged one."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from understudy.bases import gguf_config, gguf_tokenizer, gguf_weights
from understudy.bases.gguf import Unpack
from understudy.gguf import header
from understudy.gguf.header import Header
from understudy.interfaces import Progress
from understudy.records import BaseCard
from understudy.worker import serve

TORCH = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
ADDRESSES = ("general.source.repo_url", "general.source.url", "general.repo_url", "general.base_model.0.repo_url")
_REPOSITORY = re.compile(r"https://huggingface\.co/([\w.-]+/[\w.-]+)/?")


def run(job: Unpack, progress: Progress) -> BaseCard:
    """Fill the folder. Raises ConfigError, before anything is written where the file cannot be one."""
    read = header.read(job.file)
    model = gguf_config.read(read)
    kinds = gguf_weights.dtypes(read, model.sources)
    progress(0, 1, "comparing its tokens with llama.cpp's")
    context = model.config.max_position_embeddings
    ends = gguf_tokenizer.write(job.file, read.metadata, job.out, context)
    gguf_weights.write(read, model.sources, kinds, job.out, progress)
    usual = Counter(kinds.values()).most_common(1)[0][0]
    _write_json(job.out / "config.json", model.raw | {"eos_token_id": ends, "torch_dtype": TORCH[usual]})
    first = {key: model.raw[key] for key in ("bos_token_id", "pad_token_id") if key in model.raw}
    _write_json(job.out / "generation_config.json", first | {"eos_token_id": ends})
    return _card(job, read, model.raw["model_type"], sum(source.tensor.values for source in model.sources))


def _card(job: Unpack, read: Header, architecture: str, parameters: int) -> BaseCard:
    """What the file says of itself: its name, its licence, and the model it was made of."""
    said, types = read.metadata, Counter[str]()
    for tensor in read.tensors:
        types[tensor.type] += tensor.values
    links = (_REPOSITORY.fullmatch(str(said.get(key, ""))) for key in ADDRESSES)
    notes = {
        "file": job.title,
        "quantization": types.most_common(1)[0][0],
        "title": said.get("general.name"),
        "licence": said.get("general.license"),
        "licence_link": said.get("general.license.link"),
        "author": said.get("general.organization") or said.get("general.author"),
        "source": next((link[1] for link in links if link), None),
    }
    return BaseCard(
        name=job.title.rstrip("/").rpartition("/")[2].removesuffix(".gguf"),
        architecture=architecture,
        parameters=parameters,
        quantized=False,
        notes={name: value for name, value in notes.items() if isinstance(value, str)},
    )


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    serve(Unpack, run)
