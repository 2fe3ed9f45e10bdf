"""
A GGUF file on this machine: run by llama.cpp in a process of its own, served over HTTP, used in the terminal.

    gguf      one file in this process: vocabulary, chat template, sampling
    worker    the process that holds the weights
    model     the parent's half of it: one answer at a time, cancelled or started again as needed
    requests  the parts of a request that the server supports
    server    OpenAI's API on this machine's own address
    chat      a conversation in the terminal
    ollama    the Modelfile, and `ollama create`
    lmstudio  the folder where LM Studio looks

The types on this page are what the worker and its parent exchange, one JSON line each.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from understudy.records import Message

NOTICE = "Answers are written by AI in the style of the teacher. They are not the teacher's own words."


REPEAT_PENALTY, REPEAT_TOKENS = 1.1, 64
"""What Ollama and LM Studio apply where nothing else is said. Small models repeat themselves endlessly without it."""


class Sampling(BaseModel):
    """How a token is sampled. The defaults are llama.cpp's own, without any penalty."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    temperature: float = Field(default=0.7, ge=0, le=2, description="0 always takes the most probable token")
    top_p: float = Field(default=0.95, ge=0, le=1, description="top-p: the probability mass to sample from")
    top_k: int = Field(default=40, ge=0, description="top-k: the number of tokens to sample from; 0: all")
    min_p: float = Field(
        default=0.05, ge=0, le=1, description="min-p: the least probability, relative to the most probable token"
    )
    frequency_penalty: float = Field(default=0, ge=-2, le=2, description="per earlier use in the answer")
    presence_penalty: float = Field(default=0, ge=-2, le=2, description="once for any earlier use in the answer")
    repeat_penalty: float = Field(
        default=1, ge=1, le=2, description="what lowers the tokens that the last 64 of the answer have; 1: nothing"
    )
    seed: int | None = Field(default=None, description="the same seed gives the same answer; None: a random one")


class Generate(BaseModel):
    """One generation: a conversation or a text, and how to continue it."""

    prompt: list[Message] | str = Field(description="a conversation, or a text that is continued")
    sampling: Sampling = Sampling()
    max_tokens: int = Field(default=2048, ge=1, description="tokens after which the answer is cut off")
    stop: list[str] = Field(default=[], description="texts before which the answer ends")
    json_schema: dict[str, Any] | None = Field(default=None, description="the JSON schema of the answer")


class Done(BaseModel):
    """How an answer ended."""

    finish: Literal["stop", "length"] = Field(description="stop: on its own or at a stop text; length: at a limit")
    input: int = Field(description="tokens of the prompt")
    cached: int = Field(description="those of them that were reused from the previous answer")
    output: int = Field(description="tokens of the answer, its end token included")


class Opening(BaseModel):
    """The first line to the worker: the file, and how to use the machine."""

    file: Path
    context: int | None
    threads: int | None
    gpu_layers: int


class Request(BaseModel):
    """A line to the worker; a count is answered while an answer is being written, a cancelled request never."""

    id: int
    kind: Literal["open", "load", "count", "generate", "cancel"]
    text: str = Field(default="", description="what is counted")
    generate: Generate | None = None


class Event(BaseModel):
    """A line from the worker. All but `read` and `text` are the last of their request."""

    id: int
    kind: Literal["read", "text", "number", "done", "too_long", "bad_schema", "failed"]
    number: int = Field(default=0, description="tokens: of the context, of a text, of what is read of a prompt")
    text: str = Field(default="", description="the next piece of the answer, or the error")
    done: Done | None = None
