"""A GGUF model on this machine: asked like any other server, which this run starts and ends. Free of charge."""

import re
import secrets
from collections.abc import Coroutine
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from understudy.calls import Call, Reply, Transport, TryAgain, prompting
from understudy.calls.chat import ChatTransport, Timeouts
from understudy.calls.model_teacher import ModelOptions, ModelTeacher
from understudy.calls.prices import Usd, price_of
from understudy.errors import TeacherStopped, WorkerFailed
from understudy.serving.model import Model, problem_of

if TYPE_CHECKING:
    from understudy.serving.server import Server

LINGER_SECONDS = 2.0  # reading a talk again takes longer
DAY_SECONDS = 86400.0  # the server itself ends what has gone silent
_REPOSITORY = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")


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
        self._log: Path | None = None

    def problems(self) -> list[str]:
        """What makes it unusable; reads four bytes of the file, loads nothing and asks no hub."""
        name, problem = self.options.model, None
        file = Path(name).expanduser()
        if file.exists() or name.startswith(("/", ".", "~")) or name.endswith(".gguf"):
            problem = problem_of(file)
        elif not _REPOSITORY.match(name):
            problem = f"{name!r} is neither a GGUF file nor 'owner/name' on the hub"
        elif not self.options.file:
            problem = f"{name} has many files: give a pattern in teacher.file, e.g. '*Q4_K_M.gguf'"
        return [*prompting.problems(self.prompts), *([f"teacher.model: {problem}"] if problem else [])]

    def begin(self, folder: Path) -> None:
        """Keep every call and reply in `folder`/calls.sqlite; what llama.cpp writes goes to teacher.log beside it."""
        self.close()
        self._log = folder / "teacher.log"
        super().begin(folder)

    def close(self) -> None:
        """End the server and the model's process too."""
        super().close()
        if server := self.__dict__.pop("_server", None):
            server.close()

    def tokens(self, text: str) -> int:
        """Tokens by the model's own vocabulary."""
        return self._number(self._server.model.tokens(text))

    @cached_property
    def _server(self) -> "Server":
        from understudy.serving.server import Server

        o = self.options
        file = _found(o.model, o.file)
        model = Model(file, o.context_window, o.threads, o.gpu_layers, o.idle_seconds, self._log)
        return Server(model, 0, secrets.token_urlsafe(), self.model)

    def _number(self, work: Coroutine[Any, Any, int]) -> int:
        try:
            return self._server.run(work)
        except WorkerFailed as error:
            raise TeacherStopped(f"the local teacher cannot be used: {error}") from None

    def _transport(self) -> Transport:
        return _LocalTransport(self._server, self.options.idle_seconds)

    def usd(self) -> Usd:
        """What tokens cost."""
        return price_of(self.model, "llama_cpp")

    def _pace(self) -> dict[str, Any]:
        return {"concurrency": 1, "linger_seconds": LINGER_SECONDS}

    def _known_window(self) -> int | None:
        return self._number(self._server.model.context())


class _LocalTransport(ChatTransport):
    """Carries calls to our own server."""

    def __init__(self, server: "Server", idle_seconds: float) -> None:
        self._server = server
        timeouts = Timeouts(first_token=DAY_SECONDS, idle=2 * idle_seconds)
        super().__init__(server.name, server.url, server.token, timeouts=timeouts, openai=False)

    async def send(self, call: Call) -> Reply:
        """As for any server; raises TeacherStopped once no call can be answered."""
        reply: Reply | TryAgain
        try:
            reply = await super().send(call)
        except TryAgain as error:
            reply = error
        if (isinstance(reply, TryAgain) or reply.finish == "cut") and (broken := self._server.model.broken):
            raise TeacherStopped(f"the local teacher cannot be used: {broken}")
        if isinstance(reply, TryAgain):
            raise reply
        return reply


def _found(model: str, file: str | None) -> Path:
    """The GGUF file on this disk, downloaded first when `model` is on the hub; of a split one, its first part."""
    path = Path(model).expanduser()
    if path.exists() or not file:
        return path.resolve()
    from huggingface_hub import errors, snapshot_download

    try:
        folder = Path(snapshot_download(model, allow_patterns=[file]))
    except (errors.RepositoryNotFoundError, errors.GatedRepoError) as error:
        raise TeacherStopped(f"the hub gives no {model} ({type(error).__name__}); run `hf auth login`?") from None
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        why = f"the local teacher {model} could not be downloaded ({type(error).__name__})"
        raise TeacherStopped(f"{why}; go on with a connection, or give the path of a GGUF file") from None
    files = sorted(f for f in folder.rglob("*.gguf") if f.relative_to(folder).match(file))
    parts = [f for f in files if "-of-" not in f.name or "-00001-of-" in f.name]
    if len(parts) == 1:
        return parts[0]
    names = ", ".join(f.name for f in parts) or "none"
    raise TeacherStopped(f"the pattern {file!r} must name one GGUF file of {model}; it names: {names}")
