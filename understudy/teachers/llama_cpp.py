"""A GGUF model on this machine, in a process of its own: free of charge, nothing leaves the house."""

import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from understudy.calls import Transport, prompting
from understudy.calls.local import LocalWire
from understudy.calls.model_teacher import ModelOptions, ModelTeacher
from understudy.calls.prices import Usd, price_of

LINGER_SECONDS = 2.0  # reading a talk again takes longer


class LlamaCppTeacher(ModelTeacher):
    """A local model, asked for one talk after another; a grammar makes even a weak one answer in form."""

    class Options(ModelOptions):
        """Options under `teacher:` in a preset."""

        model: str = Field(min_length=1, description="a GGUF file, or owner/name on Hugging Face")
        file: str | None = Field(default=None, description="which file of the repository, e.g. '*Q4_K_M.gguf'")
        temperature: float | None = Field(default=0.0, ge=0, le=2, description="0: the same words each time")
        threads: int | None = Field(default=None, ge=1, description="None: every physical core")
        gpu_layers: int = Field(default=-1, ge=-1, description="-1: all, where llama.cpp was built for a GPU")
        idle_seconds: float = Field(default=900, gt=0, description="silence that ends a call")

    VERSION = 1
    INDIFFERENT = {
        "threads", "gpu_layers", "idle_seconds", "answer_tokens", "thinking_tokens", "context_window", "max_usd",
    }  # fmt: skip

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.options = options
        self.model = Path(options.file or options.model).name.strip("*")
        self.label = f"llama_cpp/{self.model}"
        self._log = Path(tempfile.gettempdir()) / "understudy-local-teacher.log"

    def problems(self) -> list[str]:
        """What makes it unusable; loads no weights and asks no hub."""
        return [*prompting.problems(), *self._local.problems()]

    def begin(self, folder: Path) -> None:
        """Keep every call and reply in `folder`/calls.sqlite; what llama.cpp says goes to teacher.log beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "teacher.log"
        self.__dict__.pop("_local", None)
        super().begin(folder)

    def close(self) -> None:
        """End the model's process too."""
        super().close()
        self._local.close()

    def tokens(self, text: str) -> int:
        """Tokens by the model's own vocabulary."""
        return self._local.tokens(text)

    @cached_property
    def _local(self) -> LocalWire:
        o = self.options
        return LocalWire(o.model, self._log, o.file, o.context_window, o.threads, o.gpu_layers, o.idle_seconds)

    def _transport(self) -> Transport:
        return self._local

    def usd(self) -> Usd:
        """What tokens cost."""
        return price_of(self.model, "llama_cpp")

    def _pace(self) -> dict[str, Any]:
        return {"concurrency": 1, "linger_seconds": LINGER_SECONDS}

    def _known_window(self) -> int | None:
        return self._local.window
