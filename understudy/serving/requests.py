"""
What the server understands of OpenAI's requests.

A field that would change the answer and is not understood is refused; null stands for the default everywhere.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from understudy.records import Message
from understudy.serving import Generate, Sampling

IGNORED = {
    "metadata", "model", "name", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention",
    "safety_identifier", "service_tier", "store", "stream_options", "user",
}  # fmt: skip
"""Fields that do not change the words of an answer."""
NOTHING: tuple[Any, ...] = (None, False, 0, "", [], {}, "none", "auto", "text", ["text"], {"type": "text"})
"""Values that say of a feature that it is not wanted, or leave it to the server."""


class _Fields(BaseModel):
    """Fields that are null are as if they were left out."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: Any) -> Any:
        return {name: value for name, value in fields.items() if value is not None} if type(fields) is dict else fields


class _Part(_Fields):
    type: Literal["text"]
    text: str


def _plain(content: Any) -> Any:
    """Content in parts as one text; whatever else it is stays as it is."""
    if not isinstance(content, list):
        return content
    return "".join(_Part.model_validate(part).text for part in content)


class _Message(_Fields):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_plain)] = ""

    def plain(self) -> Message:
        return Message(role="system" if self.role == "developer" else self.role, content=self.content)


class _StreamOptions(_Fields):
    include_usage: bool = False


class _Schema(_Fields):
    # Called `schema` on the wire, a name pydantic keeps for itself.
    content: dict[str, Any] = Field(default={"type": "object"}, alias="schema")


class _Format(_Fields):
    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: _Schema = _Schema()


class _Completion(_Fields):
    """What both kinds of requests have in common."""

    model_config = ConfigDict(extra="allow")
    model: str = ""
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0)
    min_p: float | None = Field(default=None, ge=0, le=1)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    stop: str | list[str] = []
    stream: bool = False
    stream_options: _StreamOptions = _StreamOptions()
    n: Literal[1] = 1

    @model_validator(mode="after")
    def _all_understood(self) -> "_Completion":
        for name, value in (self.model_extra or {}).items():
            if name not in IGNORED and value not in NOTHING:
                raise ValueError(f"{name} is not supported by this server; leave it out")
        return self

    def limit(self) -> int | None:
        """Tokens after which the answer is cut off."""
        return self.max_tokens

    def prompt_of(self) -> list[Message] | str:
        """What is answered or continued."""
        raise NotImplementedError

    def schema_of(self) -> dict[str, Any] | None:
        """The JSON the answer must be."""
        return None

    def generate(self) -> Generate:
        """The request to the model, our defaults where it says nothing."""
        sampling = self.model_dump(include=set(Sampling.model_fields), exclude_none=True)
        limit = self.limit()
        return Generate(
            prompt=self.prompt_of(),
            sampling=Sampling(**sampling),
            stop=[self.stop] if isinstance(self.stop, str) else self.stop,
            json_schema=self.schema_of(),
            **({"max_tokens": limit} if limit else {}),
        )


class ChatRequest(_Completion):
    """POST /v1/chat/completions."""

    messages: list[_Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    response_format: _Format = _Format()

    def limit(self) -> int | None:
        """Tokens after which the answer is cut off, by the newer name or the older one."""
        return self.max_completion_tokens or self.max_tokens

    def prompt_of(self) -> list[Message]:
        """The conversation."""
        return [message.plain() for message in self.messages]

    def schema_of(self) -> dict[str, Any] | None:
        """The JSON the answer must be."""
        return None if self.response_format.type == "text" else self.response_format.json_schema.content


class TextRequest(_Completion):
    """POST /v1/completions: a text that is continued without any template."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]

    def prompt_of(self) -> str:
        """The text."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]
