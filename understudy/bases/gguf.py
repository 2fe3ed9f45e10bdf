"""
The model in a GGUF file, unpacked into a Hugging Face folder: what Ollama, LM Studio and llama.cpp run can be tuned.

Weights are dequantized by the gguf package's own arithmetic; written as F16 again they are bit for bit what the file
says. Tokenizer and chat template are those of the file, and llama.cpp has to agree.
"""

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from understudy import worker
from understudy.bases import local_models
from understudy.errors import ConfigError, ExportError
from understudy.interfaces import Progress
from understudy.records import BaseCard, Record

SAMPLES, SAMPLE_BYTES = 64, 65_536
log = logging.getLogger("understudy")


class Unpack(Record):
    """What the worker does."""

    file: Path
    out: Path
    title: str = Field(description="what the user calls the model")


class GgufBase:
    """The model in a GGUF file of this machine."""

    VERSION = 1
    INDIFFERENT = {"file"}  # what is in it decides: `contents`
    needs_talks = False

    class Options(BaseModel):
        """Which file."""

        model_config = ConfigDict(frozen=True, extra="forbid")
        file: str = Field(
            min_length=1, description="path of a .gguf file, 'ollama:NAME:TAG', or 'lmstudio:PUBLISHER/MODEL'"
        )

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self) -> list[str]:
        """A file that is missing, cut short, or no text model that can be written again."""
        try:
            self._read()
        except ConfigError as error:
            return error.problems
        return []

    def sizes(self) -> Mapping[str, Any] | None:
        """config.json, from the header of the file; None when it cannot be read."""
        try:
            return dict(self._read())
        except ConfigError:
            return None

    def folder(self) -> None:
        """It is unpacked first."""

    def contents(self) -> str:
        """A digest of the length of the file and of 64 places all over it. Raises ConfigError when it is not there."""
        file = local_models.find(self.options.file)
        size = file.stat().st_size
        digest = hashlib.sha256(str(size).encode())
        with file.open("rb") as opened:
            for place in range(SAMPLES):
                opened.seek(max(0, size - SAMPLE_BYTES) * place // (SAMPLES - 1))
                digest.update(opened.read(SAMPLE_BYTES))
        return digest.hexdigest()

    def prepare(self, talks: Iterable[str], out: Path, seed: int, progress: Progress) -> BaseCard:
        """Fill `out`. Raises ConfigError for a file that cannot be unpacked, and when there is no room."""
        if problems := self.problems():
            raise ConfigError(problems)
        file = local_models.find(self.options.file)
        progress(0, 1, f"reading {file.name}")
        task = Unpack(file=file.resolve(), out=out, title=self.options.file)
        return worker.call("understudy.bases.gguf_worker", task, BaseCard, progress)

    def _read(self) -> dict[str, Any]:
        from understudy.bases import gguf_config, gguf_tokenizer
        from understudy.gguf import header

        file = local_models.find(self.options.file)
        try:
            read = header.read(file)
        except ExportError as error:
            again = re.sub(r"(convert the model|make the file) again$", "copy or download it again", str(error))
            raise ConfigError([f"base: {again}"]) from None
        config = gguf_config.read(read).raw
        if problem := gguf_tokenizer.problem(read.metadata):
            raise ConfigError([f"base: {file}: {problem}"])
        return config
