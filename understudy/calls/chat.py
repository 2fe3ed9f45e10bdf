"""
One call over HTTP to any server that speaks Chat Completions, streamed.

What an endpoint cannot do is learned from its refusals, which cost nothing, and remembered: the same
send asks again at once without it. Everything else that goes wrong is named in `chat_errors`.
"""

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from understudy.calls import Call, CapTooLarge, Reply
from understudy.calls.chat_errors import (
    Abilities,
    Failure,
    adapted_to,
    advice,
    failure_of,
    failure_of_response,
    hider,
    limits_of,
    outcome_of,
)
from understudy.calls.chat_stream import Stream
from understudy.calls.endpoint import Endpoint
from understudy.calls.limits import LEAST_ROOM, Learned, Limit
from understudy.calls.prices import is_local
from understudy.errors import ConfigError, TeacherError, TeacherStopped
from understudy.seams import CLOCK, NETWORK, Clock, HttpTransport

if TYPE_CHECKING:
    from openai import AsyncOpenAI

FLEX_REFUSALS = 2
"""How often a call is put off because the flex tier has no room before it goes at the standard price."""
PROBE_SECONDS = 30.0
AFTER_DONE_SECONDS = 2.0
SLIPS = 2
"""How often the server's own check may refuse what the model wrote before a call goes without a schema."""
REFUSED_IN_A_ROW = 10
"""Talks refused one after another, for reasons no pattern knows, after which it is no longer the talks."""

logger = logging.getLogger(__name__)


class Memory(Protocol):
    """Where what an endpoint can do is kept between runs: the ledger."""

    def note(self, name: str) -> str | None:
        """What was noted under `name`."""

    def set_note(self, name: str, value: str | None) -> None:
        """Note `value`, or drop the note."""


class Timeouts(NamedTuple):
    """Seconds to wait before an attempt is given up."""

    connect: float = 10.0
    first_token: float = 300.0
    idle: float = 60.0
    """Between two events, once a token has come."""
    flex: float = 900.0
    """Until the first token at the flex tier."""


class ChatTransport:
    """Carries calls to one model at one address; meant for one event loop, for as long as it lives."""

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        tier: str = "standard",
        timeouts: Timeouts | None = None,
        extra_body: dict[str, Any] | None = None,
        memory: Memory | None = None,
        openai: bool | None = None,
        headers: Mapping[str, str] | None = None,
        clock: Clock = CLOCK,
        http: HttpTransport = NETWORK,
    ) -> None:
        """`openai` says whether the server takes what only api.openai.com does; None decides by the address.

        `api_key_env` is only named in messages. `tier` is 'standard' or 'flex'. Raises ConfigError.
        """
        self._endpoint = Endpoint.of(base_url, api_key, api_key_env, headers)
        self._hide = hider(*self._endpoint.secrets)
        if tier not in ("standard", "flex"):
            raise ConfigError([f"teacher.tier is '{tier}'; take standard or flex"])
        self.model, self.address = model, self._endpoint.address
        self.openai = urlsplit(self.address).hostname == "api.openai.com" if openai is None else openai
        self._env, self._tier, self._clock, self._http = api_key_env, tier, clock, http
        self._timeouts = timeouts or Timeouts()
        self._extra_body, self._memory = extra_body or {}, memory
        digest = hashlib.sha256(self.address.encode()).hexdigest()[:16]
        self.note_name = f"chat/{digest}/{model}"
        self._abilities: Abilities | None = None
        self._flex_refusals: dict[str, int] = {}
        self._slips: Counter[str] = Counter()
        self._refused: set[str] | None = None  # the talks refused since the last reply; None before the first
        self._in_flight = 0
        self._streaming: set[Stream] = set()
        self._parallel = False

    def __repr__(self) -> str:
        return f"ChatTransport({self.model!r} at {self.address})"

    async def send(self, call: Call) -> Reply:
        """The reply to one attempt, whole or cut. Raises RateLimited, TryAgain, TeacherError, TeacherStopped."""
        first, refusals = self._current_abilities(), list[str]()
        abilities, cap = first, self._known_cap(call, first.learned)
        while True:
            outcome = await self._attempt(call, abilities, cap)
            if isinstance(outcome, Reply):
                self._replied(call)
                self._remember(abilities, first, refusals)
                return outcome
            if outcome.no_flex and self._flex(call):
                self._flex_refusals[call.key] = self._flex_refusals.get(call.key, 0) + 1
                if not self._flex(call):
                    continue  # at the standard tier now
            if (limit := outcome.limit(call, cap)) and not outcome.about_content:
                self._learn(limit, outcome)
                if LEAST_ROOM <= limit.room < cap:
                    cap = self._within(call, limit.room)
                    continue
            adapted = adapted_to(abilities, first, outcome, call)
            if adapted is None:
                break
            abilities = adapted
            refusals.append(outcome.message)
        self._slips[call.key] += outcome.slip
        # Raised outside the handler that met it: a chained exception could carry what the server echoed.
        raise outcome_of(outcome, call, self._clock.now()) or await self._refusal(outcome, call)

    def learned(self) -> Learned:
        """How much the model takes and gives at once, as far as its refusals named it."""
        return self._current_abilities().learned

    async def probe(self) -> None:
        """Make one free request. Raises TeacherStopped for a closed port, a wrong key or a used-up quota."""
        outcome = await self._models()
        if isinstance(outcome, list):
            return
        if outcome.status is None and not outcome.paid:
            raise TeacherStopped(
                f"No connection can be made to {self.address} ({outcome.message}). "
                "Start the server there, or correct teacher.base_url."
            )
        # A key may be allowed to chat and not to list models.
        if outcome.out_of_money or (outcome.status == 401 and "scope" not in outcome.message.lower()):
            raise outcome_of(outcome, NO_CALL, self._clock.now()) or await self._stopped(outcome)

    async def close(self) -> None:
        """Close every connection."""
        if "_client" in self.__dict__:
            await self._client.close()

    @cached_property
    def _client(self) -> "AsyncOpenAI":
        import openai

        timeout = openai.Timeout(None, connect=self._timeouts.connect)
        # A proxy from the environment cannot reach this machine's own servers.
        http = openai.DefaultAsyncHttpxClient(
            trust_env=not is_local(self.address),
            timeout=timeout,
            transport=self._http.asynchronous(),
            event_hooks={"request": [self._endpoint.prepare_async]},
        )
        return openai.AsyncOpenAI(**self._endpoint.arguments(), max_retries=0, timeout=timeout, http_client=http)

    def _flex(self, call: Call) -> bool:
        wanted = self.openai and self._tier == "flex"
        return wanted and self._flex_refusals.get(call.key, 0) <= FLEX_REFUSALS

    def _known_cap(self, call: Call, learned: Learned) -> int:
        """The cap to ask with, within what is known. Raises CapTooLarge for answers that go into several calls."""
        room = learned.room(call.input_tokens)
        # Our estimate of a prompt may be far too high: then the server's own count decides.
        if room is None or room >= call.max_tokens or room < 4 * LEAST_ROOM:
            return call.max_tokens
        return self._within(call, room)

    @staticmethod
    def _within(call: Call, room: int) -> int:
        if call.kind == "answers" and len(call.numbers) > 1:
            why = f"{call.document_id}: a reply of {call.model} has {room} tokens at most, not {call.max_tokens}"
            raise CapTooLarge(why, room)
        return room

    def _body(self, call: Call, abilities: Abilities, cap: int) -> dict[str, Any]:
        """What is sent besides model, messages and stream."""
        body: dict[str, Any] = {"stream_options": {"include_usage": True}}
        body |= {name: value for name, value in call.settings.items() if value is not None}
        body[abilities.cap] = cap
        if call.schema and abilities.schema and self._slips[call.key] < SLIPS:
            schema = {"name": "reply", "strict": True, "schema": call.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if self.openai:
            body["prompt_cache_key"] = call.prefix
            body["service_tier"] = "flex" if self._flex(call) else "default"
        return {name: value for name, value in body.items() if name not in abilities.dropped} | self._extra_body

    async def _attempt(self, call: Call, abilities: Abilities, cap: int) -> Reply | Failure:
        """One request. A stream that stalls or drops gives its beginning, if there is one."""
        self._in_flight += 1
        crowd, stream = self._in_flight, Stream()
        try:
            outcome = await self._request(call, abilities, cap, stream)
        finally:
            self._streaming.discard(stream)
            crowd, self._in_flight = max(crowd, self._in_flight), self._in_flight - 1
        if isinstance(outcome, Failure):
            return replace(outcome, queued=outcome.queued and crowd > 1 and not self._parallel)
        return replace(outcome, overlapped=self._parallel)

    async def _request(self, call: Call, abilities: Abilities, cap: int, stream: Stream) -> Reply | Failure:
        import httpx2
        import openai

        headers, create = dict[str, str](), self._client.chat.completions.with_streaming_response.create
        start, waited_out = self._clock.monotonic(), False
        patience = self._timeouts.flex if self._flex(call) else self._timeouts.first_token
        why = "the connection was dropped before the first word"
        try:
            async with (
                asyncio.timeout(patience) as alarm,
                create(
                    model=call.model,
                    messages=call.messages,  # type: ignore[arg-type]  # plain dicts in its shape
                    stream=True,
                    extra_body=self._body(call, abilities, cap),
                ) as response,
            ):
                headers = dict(response.headers)
                await self._read(response.iter_bytes(), stream, alarm)
        except openai.APIStatusError as error:
            return failure_of_response(error.response, self._hide)
        except openai.APIConnectionError as error:
            return self._unreached(error)
        except TimeoutError:
            waited_out = not stream.started
            waited = f"stalled for {self._timeouts.idle:g} s before its text"
            why = f"the reply {waited}" if stream.started else f"no word came in {patience:g} s"
        except httpx2.HTTPError as error:
            why = f"the connection was dropped before the first word ({type(error).__name__})"
        stream.finish()
        outcome = self._outcome(stream, headers, self._clock.monotonic() - start, why)
        return replace(outcome, queued=waited_out) if isinstance(outcome, Failure) else outcome

    async def _read(self, chunks: Any, stream: Stream, alarm: asyncio.Timeout) -> None:
        """Feed the stream into `heard`, to its very end: a body that is not read out costs the connection."""
        clock, pushed = asyncio.get_running_loop().time, 0.0
        events = 0
        async for chunk in chunks:
            silent = not stream.started
            stream.feed(chunk)
            if silent and stream.started:
                self._streaming.add(stream)
                self._parallel = self._parallel or len(self._streaming) > 1
            if stream.over:
                return
            if stream.done:
                alarm.reschedule(clock() + AFTER_DONE_SECONDS)
            elif stream.started and stream.events != events and (time_now := clock()) >= pushed:
                # Comments that only keep the connection open do not count: the model behind it may hang.
                # A timer moved at every token would cost as much as reading it.
                events, pushed = stream.events, time_now + self._timeouts.idle / 20
                alarm.reschedule(time_now + self._timeouts.idle)

    def _outcome(self, stream: Stream, headers: dict[str, str], seconds: float, why: str) -> Reply | Failure:
        reply = stream.reply(headers.get("x-request-id"), seconds, limits_of(headers))
        if reply.finish != "cut" or reply.text:
            return reply
        if stream.error is not None:
            # Nothing came, so that nothing is paid, unless the server counted tokens that it did not send.
            output = reply.usage.output if reply.usage else stream.output_estimate
            failure = failure_of(None, stream.error, headers, self._hide)
            return replace(failure, paid=output > 0, output=output)
        if stream.finish_reason:
            output = reply.usage.output if reply.usage else stream.output_estimate
            why = f"the provider ended the reply with finish_reason {stream.finish_reason!r}"
            return Failure(self._hide(why), 502, headers=headers, paid=output > 0, output=output)
        if not stream.events and stream.other_lines:
            begin = self._hide(stream.other_lines[0][:80].decode(errors="replace"))
            return Failure(f"what came back is no chat completion; it begins with {begin!r}", 200, headers=headers)
        return Failure(why, paid=True, headers=headers)

    def _unreached(self, error: Exception) -> Failure:
        """A connection that failed; only one that never stood surely cost nothing."""
        import httpx2

        cause = error.__cause__ or error
        unsent = isinstance(cause, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError))
        what = "no connection to" if unsent else "the connection was dropped before a reply by"
        return Failure(f"{what} {self.address}: {self._hide(str(cause) or type(cause).__name__)}", paid=not unsent)

    async def _models(self) -> list[str] | Failure:
        """The names of the models the server offers; empty where it does not say."""
        import openai

        try:
            async with asyncio.timeout(PROBE_SECONDS):
                answer = await self._client.get("/models", cast_to=object)
        except openai.APIStatusError as error:
            return failure_of_response(error.response, self._hide)
        except openai.APIConnectionError as error:
            return self._unreached(error)
        except (TimeoutError, ValueError):
            return []  # a server listens, and is slow or speaks another protocol
        rows = (answer.get("data") or ()) if isinstance(answer, dict) else ()
        return [str(row["id"]) for row in rows if isinstance(row, dict) and row.get("id")]

    async def _refusal(self, failure: Failure, call: Call) -> TeacherError | TeacherStopped:
        """What to raise for a refusal no pattern knows: after a reply it is about the talk, before one the set-up."""
        if self._refused is None or failure.status not in (400, 403, 422):
            return await self._stopped(failure)
        self._refused.add(call.document_id)
        if len(self._refused) >= REFUSED_IN_A_ROW:
            return await self._stopped(failure)
        words = failure.message.rstrip(".")
        return TeacherError(f"{call.document_id}: the {call.kind} call was refused ({failure.status}: {words})")

    def _replied(self, call: Call) -> None:
        self._refused = set()
        self._slips.pop(call.key, None)
        self._flex_refusals.pop(call.key, None)

    async def _stopped(self, failure: Failure) -> TeacherStopped:
        models = await self._models() if failure.status in (200, 404) else []
        message = advice(failure, self.address, self.model, self._env, [] if isinstance(models, Failure) else models)
        return TeacherStopped(message)

    def _current_abilities(self) -> Abilities:
        if self._abilities is None:
            note = self._memory.note(self.note_name) if self._memory else None
            self._abilities = Abilities.from_note(note, self.openai)
        return self._abilities

    def _remember(self, abilities: Abilities, first: Abilities, refusals: list[str]) -> None:
        """Add what one call learned to what parallel calls may have learned meanwhile."""
        current = self._current_abilities()
        cap = abilities.cap if abilities.cap != first.cap else current.cap
        dropped = tuple(sorted({*current.dropped, *abilities.dropped}))
        self._abilities = Abilities(cap, current.schema and abilities.schema, dropped, current.learned)
        if self._abilities == current:
            return
        logger.warning("%r is asked without what it refused from now on: %s", self, "; ".join(refusals))
        self._save()

    def _learn(self, limit: Limit, failure: Failure) -> None:
        """Keep in mind how much the model takes and gives at once."""
        current = self._current_abilities()
        learned = current.learned.narrowed(limit.learned)
        if learned != current.learned:
            self._abilities = current._replace(learned=learned)
            logger.warning("%r is asked within this limit from now on: %s", self, failure.message)
            self._save()

    def _save(self) -> None:
        if self._memory and self._abilities:
            self._memory.set_note(self.note_name, self._abilities.as_note())


NO_CALL = Call("probe", "", "", "", (), None, {}, 0)
