"""
The parts of OpenAI's requests that the server supports.

An unsupported field that would change the answer is refused; null means the default everywhere.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from understudy.records import Message
from understudy.serving import Generate, Sampling

IGNORED = {
    "metadata", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
    "service_tier", "store", "user",
}  # fmt: skip
"""Fields that do not change the words of an answer."""
NOTHING: tuple[Any, ...] = (False, 0, "", [], {}, "none", "auto", "text", ["text"], {"type": "text"})
"""Values that turn a feature off, or leave it to the server."""


class _Fields(BaseModel):
    """Drop fields that are null."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: Any) -> Any:
        return {name: value for name, value in fields.items() if value is not None} if type(fields) is dict else fields


class _Part(_Fields):
    type: Literal["text"]
    text: str


def _plain(content: Any) -> Any:
    """Content in parts as one text; any other value unchanged."""
    return "".join(_Part.model_validate(part).text for part in content) if isinstance(content, list) else content


class _Message(_Fields):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_plain)] = ""
    tool_calls: list[Any] = Field(default=[], max_length=0)


class _StreamOptions(_Fields):
    include_usage: bool = False


class _Schema(_Fields):
    # Called `schema` in the request, a name that pydantic reserves.
    content: dict[str, Any] = Field(default={"type": "object"}, alias="schema")


class _Format(_Fields):
    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: _Schema = _Schema()


class CompletionRequest(Sampling, _Fields):
    """What both kinds of requests have in common."""

    model_config = ConfigDict(extra="allow")
    model: str = ""
    max_tokens: int = Field(default=2048, ge=1)
    stop: str | list[str] = []
    stream: bool = False
    stream_options: _StreamOptions = _StreamOptions()
    n: Literal[1] = 1

    @model_validator(mode="after")
    def _all_understood(self) -> "CompletionRequest":
        for name, value in (self.model_extra or {}).items():
            if name not in IGNORED and value not in NOTHING:
                raise ValueError(f"{name} is not supported by this server; leave it out")
        return self

    def generate(self) -> Generate:
        """The generation that this request asks for."""
        raise NotImplementedError

    def _generate(self, prompt: list[Message] | str, max_tokens: int, schema: dict[str, Any] | None = None) -> Generate:
        sampling = Sampling(**self.model_dump(include=set(Sampling.model_fields)))
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        return Generate(prompt=prompt, sampling=sampling, max_tokens=max_tokens, stop=stop, json_schema=schema)


class ChatRequest(CompletionRequest):
    """POST /v1/chat/completions."""

    messages: list[_Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    response_format: _Format = _Format()

    def generate(self) -> Generate:
        """The answer to a conversation."""
        roles = [("system" if m.role == "developer" else m.role, m.content) for m in self.messages]
        schema = None if self.response_format.type == "text" else self.response_format.json_schema.content
        prompt = [Message(role=role, content=content) for role, content in roles]
        return self._generate(prompt, self.max_completion_tokens or self.max_tokens, schema)


class TextRequest(CompletionRequest):
    """POST /v1/completions."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]
    best_of: Literal[1] = 1

    def generate(self) -> Generate:
        """The continuation of a text, without any template."""
        return self._generate(self.prompt if isinstance(self.prompt, str) else self.prompt[0], self.max_tokens)
