"""Any model behind OpenAI's chat completions: api.openai.com, or a compatible server, local ones included."""

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from understudy.calls import Transport, prompting
from understudy.calls.chat import ChatTransport, Timeouts
from understudy.calls.model_teacher import ModelOptions, ModelTeacher
from understudy.calls.prices import Price, Usd, is_local, price_of, window_of
from understudy.errors import ConfigError
from understudy.interfaces import Progress, TeacherRequest

CONCURRENCY, CONCURRENCY_LOCAL = 20, 4


class PriceOption(BaseModel):
    """USD per million tokens, where the price table does not know the model."""

    model_config = ConfigDict(extra="forbid")
    input: float = Field(ge=0, description="fresh input")
    output: float = Field(ge=0, description="output, thinking included")
    cached: float | None = Field(default=None, ge=0, description="input found in the prompt cache; None: as fresh")
    written: float | None = Field(default=None, ge=0, description="input written to the cache; None: as fresh")

    def price(self) -> Price:
        """The price with the defaults filled in."""
        cached = self.input if self.cached is None else self.cached
        written = self.input if self.written is None else self.written
        return Price(self.input, cached, written, self.output)


class OpenAITeacher(ModelTeacher):
    """A chat model at an address, asked for whole talks, twenty calls at a time."""

    class Options(ModelOptions):
        """Options under `teacher:` in a preset."""

        model: str = Field(min_length=1, description="as the server calls it, e.g. --model gpt-5-mini")
        base_url: str | None = Field(default=None, description="None: api.openai.com; e.g. http://127.0.0.1:11434/v1")
        api_key_env: str = Field(
            default="OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="variable that holds the key"
        )
        provider: str = Field(default="openai", description="who answers, for records and prices; a name, no address")
        reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = Field(
            default=None, description="for models that think; None: the server's own"
        )
        tier: Literal["standard", "flex"] = Field(
            default="standard", description="flex: half the price, slower; falls back when there is no room"
        )
        mode: Literal["direct", "batch"] = Field(
            default="direct", description="batch: half the price within 24 h, through the Batch API"
        )
        concurrency: int | None = Field(
            default=None, ge=1, le=500, description="calls in flight; None: 20, or 4 on a local server"
        )
        requests_per_minute: int | None = Field(
            default=None, ge=1, description="None: learned from the server's headers"
        )
        tokens_per_minute: int | None = Field(default=None, ge=1, description="None: learned from the server's headers")
        first_token_seconds: float = Field(default=300, gt=0, description="silence before the first token")
        idle_seconds: float = Field(default=60, gt=0, description="silence between two tokens")
        price: PriceOption | None = Field(default=None, description="when the price table does not know the model")
        extra_body: dict[str, Any] = Field(
            default={}, description="sent along with every call: a server's own switches"
        )
        headers: dict[str, str] = Field(
            default={}, description="sent along with every request; ${NAME} in a value stands for a variable"
        )

    VERSION = 1
    INDIFFERENT = {
        "base_url", "api_key_env", "tier", "mode", "concurrency", "requests_per_minute", "tokens_per_minute",
        "first_token_seconds", "idle_seconds", "headers", "price", "answer_tokens", "thinking_tokens",
        "context_window", "max_usd",
    }  # fmt: skip

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.options, self.model = options, options.model
        self.label = f"{options.provider}/{options.model}"

    def problems(self) -> list[str]:
        """What makes it unusable, as far as can be seen without a call."""
        problems = prompting.problems(self.prompts)
        if not self._local and not self._key:
            problems.append(
                f"teacher.api_key_env: {self.options.api_key_env} is not set; export it, or write it into a file .env "
                "in the project's folder"
            )
        try:
            self.usd()
            self._transport()
        except ConfigError as error:
            problems += error.problems
        return problems

    @property
    def cheaper(self) -> dict[str, float]:
        """Ways to pay less than the standard price, and the share that is left of it."""
        return {} if self._local else {"flex": 0.5, "batch": 0.5}

    @property
    def _local(self) -> bool:
        return self.options.base_url is not None and is_local(self.options.base_url)

    @cached_property
    def _key(self) -> str | None:
        """The key from the environment, else from .env in the current folder; never kept anywhere else."""
        from dotenv import dotenv_values

        name = self.options.api_key_env
        return os.environ.get(name) or dotenv_values(Path(".env")).get(name)

    def _transport(self) -> Transport:
        o = self.options
        return ChatTransport(
            o.model,
            o.base_url,
            self._key,
            o.api_key_env,
            o.tier,
            Timeouts(first_token=o.first_token_seconds, idle=o.idle_seconds, flex=max(900.0, o.first_token_seconds)),
            o.extra_body,
            self._ledger,
            headers=o.headers,
            clock=self.clock,
            http=self.http,
        )

    def usd(self) -> Usd:
        """What tokens cost."""
        price = self.options.price.price() if self.options.price else None
        return price_of(self.options.model, self.options.base_url or self.options.provider, price)

    def _pace(self) -> dict[str, Any]:
        return {
            "concurrency": self.options.concurrency or (CONCURRENCY_LOCAL if self._local else CONCURRENCY),
            "requests_per_minute": self.options.requests_per_minute,
            "tokens_per_minute": self.options.tokens_per_minute,
        }

    @property
    def batches(self) -> bool:  # type: ignore[override]  # read-only here
        """True when replies come through the Batch API, all of one pass together."""
        return self.options.mode == "batch"

    def submit_batch(self, requests: Iterable[TeacherRequest], progress: Progress) -> int:
        """Put the replies to `requests` into the ledger, at half price; those that fail are asked directly later."""
        if not self.batches:
            return 0
        from understudy.calls.batch import Batch

        assert self._ledger and self._scheduler, "begin() comes first"
        o = self.options
        batch = Batch(
            self._ledger,
            self.usd(),
            o.max_usd,
            o.base_url,
            self._key,
            o.api_key_env,
            o.extra_body,
            headers=o.headers,
            clock=self.clock,
            http=self.http,
        )
        calls = [self.call(part) for request in requests for part in self.split(request)]
        counts = batch.run(calls, progress)
        return counts["done"] + counts["already"]

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"reasoning_effort": self.options.reasoning_effort}

    def _known_window(self) -> int | None:
        own = self.options.context_window
        return own or window_of(self.options.model, self.options.base_url or self.options.provider)
