"""
What a failed call means: wait, try again, ask for less, or stop; and in which words.

Everything a server says passes `hider` first, so that no message can carry the key.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from understudy.calls import Call, Limits, Queued, RateLimited, TryAgain, Unreachable, refusals
from understudy.calls.limits import Learned, Limit, limit_in
from understudy.errors import ContentRefused, TalkTooLong, TeacherStopped

if TYPE_CHECKING:
    import httpx2

MESSAGE_CHARACTERS = 500
# Only codes and types are searched: the text of an ordinary rate limit may well speak of billing.
_OUT_OF_MONEY = re.compile(
    "insufficient_quota|credit_balance_exhausted|_spend_limit_exceeded|_usage_limit_exceeded|billing"
)
_TOO_LONG = re.compile(
    r"context[ _](length|window|size|limit)|(prompt|input) (is )?too long|maximum prompt length"
    r"|max_new_tokens`? must be <=|input (token count|length) .{0,40}exceeds",
    re.IGNORECASE,
)
# A 429 that no waiting ends: one request above the account's tokens per minute.
_TOO_LARGE = re.compile("request too large|must be reduced in order", re.IGNORECASE)
_DURATION = re.compile(r"([\d.]+)(ms|h|m|s)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
# An error inside a stream has no HTTP status of its own: what its code and type amount to.
_STATUS_OF_CODE = (
    (re.compile(r"rate_limit|too_many_requests|resource_unavailable|slow_down"), 429),
    (_OUT_OF_MONEY, 429),
    (re.compile(r"authentication|invalid_api_key"), 401),
    (re.compile(r"permission"), 403),
    (re.compile(r"not_found"), 404),
    (
        re.compile(r"invalid_(request|argument)|context_length|exceed_context|bad_?request|_failed\b", re.IGNORECASE),
        400,
    ),
)

# A server that cannot do these is asked without them: the words change a little, the work does not.
_DROPPABLE = ("temperature", "top_p", "seed", "stream_options")
_SCHEMA = re.compile(
    r"response_?(?:format|schema|json|mime)|json_?(?:schema|mode|object)|additional_?properties|guided_|structured"
    r"|grammar|\bschemas?\b",
    re.IGNORECASE,
)
CAPS = ("max_tokens", "max_completion_tokens")


class Abilities(NamedTuple):
    """What is known of one model at one address."""

    cap: str
    """The name the token cap goes by."""
    schema: bool = True
    dropped: tuple[str, ...] = ()
    """Fields it refuses."""
    learned: Learned = Learned()
    """How much it takes and gives at once."""

    def as_note(self) -> str:
        """The note that `from_note` reads."""
        fields = self._asdict() | {"learned": self.learned._asdict()}
        return json.dumps(fields)

    @classmethod
    def from_note(cls, note: str | None, openai: bool) -> Self:
        """What was noted; without a note, what is usual for OpenAI or for other servers."""
        if note is None:
            return cls(CAPS[openai])
        fields = json.loads(note)
        learned = Learned(**fields.get("learned", {}))
        return cls(str(fields["cap"]), bool(fields["schema"]), tuple(map(str, fields["dropped"])), learned)


@dataclass(frozen=True)
class Failure:
    """An attempt that gave no text. `status` is None when the server gave none."""

    message: str
    """The server's own words, or ours for a connection; holds no secret."""
    status: int | None = None
    code: str = ""
    """The server's code and type, e.g. 'insufficient_quota invalid_request_error'."""
    param: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    paid: bool = False
    output: int | None = None
    """Tokens that came, where it was paid and they are known."""
    queued: bool = False
    """True when the server worked on other calls meanwhile, one at a time as far as seen."""

    @property
    def text(self) -> str:
        """Code and message."""
        return f"{self.code} {self.message}"

    def limit(self, call: Call, asked: int) -> Limit | None:
        """The tokens that the server would have allowed, where it names them; `asked` was the cap."""
        return limit_in(self.status, self.message, asked, call.input_tokens)

    @property
    def about_content(self) -> bool:
        """True when a filter refused the words of this one talk."""
        return not self.out_of_money and refusals.about_content(self.status, self.text)

    @property
    def slip(self) -> bool:
        """True when the server refused what the model wrote."""
        return refusals.about_a_slip(self.status, self.text)

    @property
    def too_long(self) -> bool:
        """True when no server setting and no waiting lets this one request through."""
        pattern = {400: _TOO_LONG, 422: _TOO_LONG, 429: _TOO_LARGE}.get(self.status or 0)
        return self.status == 413 or bool(pattern and pattern.search(self.text))

    @property
    def out_of_money(self) -> bool:
        """True when waiting does not help: quota, credit or a spending limit is used up."""
        if refusals.about_money(self.status, self.text):
            return True
        bare = not self.code and "exceeded your current quota" in self.message
        return self.status == 402 or (self.status == 429 and (bare or bool(_OUT_OF_MONEY.search(self.code))))

    @property
    def no_flex(self) -> bool:
        """True when the flex tier has no room now, which is not charged."""
        text = f"{self.code} {self.message}".lower().replace(" ", "_")
        return self.status == 429 and "resource_unavailable" in text

    @property
    def refuses_schema(self) -> bool:
        """True when the reply's schema is what the server does not take."""
        return self.status in (400, 422) and bool(_SCHEMA.search(f"{self.param} {self.message}"))

    def names(self, word: str) -> bool:
        """Whether the server refused the request because of the field `word`."""
        if self.status not in (400, 422):
            return False
        return self.param.split(".")[0] == word or bool(re.search(rf"(?<![\w.]){word}(?!\w)", self.message))


def hider(*secrets: str | None) -> Callable[[str], str]:
    """A function that takes keys out of a text, also where a server shows only their beginning."""
    keys = [secret for secret in secrets if secret and len(secret) >= 4]
    shape = re.compile("|".join([*(re.escape(key[:8]) + r"[^\s\"',;)]*" for key in keys), r"\bsk-[\w*.-]{6,}"]))

    def hide(text: str) -> str:
        # The whole keys first: they may hold characters at which the search for their beginning would end.
        for key in keys:
            text = text.replace(key, "[key]")
        return shape.sub("[key]", text)

    return hide


def failure_of(status: int | None, body: Any, headers: Mapping[str, str], hide: Callable[[str], str]) -> Failure:
    """The failure that a reply's body describes, in any server's shape. Without a status: what its code amounts to."""
    error = body[0] if isinstance(body, list) and body else body
    if isinstance(error, dict):
        error = error.get("error") or error.get("detail") or error
    fields = error if isinstance(error, dict) else {"message": error}
    message = fields.get("message") or fields.get("msg") or fields.get("error") or error or "no message"
    inner, metadata = (fields.get(name) for name in ("innererror", "metadata"))
    codes = [fields.get(name) for name in ("code", "type", "status")]
    codes += [inner.get("code")] if isinstance(inner, dict) else []
    if isinstance(metadata, dict) and isinstance(metadata.get("raw"), str):
        message = f"{message}: {metadata['raw']}"  # a router's own words, then those of the server behind it
    code = " ".join(str(value) for value in codes if value)
    text = " ".join(hide(str(message)).split())[:MESSAGE_CHARACTERS]
    param = fields.get("param")
    return Failure(text, status or _status_of(code, text), hide(code), str(param or ""), headers)


def failure_of_response(response: "httpx2.Response", hide: Callable[[str], str]) -> Failure:
    """The failure that a response with an error status describes."""
    try:
        body = json.loads(response.content)
    except ValueError:
        body = response.text
    return failure_of(response.status_code, body, dict(response.headers), hide)


def wait_of(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds the server asks to wait: milliseconds first, then seconds, then a date. None when it does not say."""
    for name, per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            wait = float(headers[name]) / per_second
            if math.isfinite(wait):
                return max(0.0, wait)
        except (KeyError, ValueError):
            continue
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - now.timestamp())
    except (KeyError, ValueError, TypeError):
        return None


def limits_of(headers: Mapping[str, str]) -> Limits:
    """The provider's limits as a reply's headers give them."""
    count = {name: _count(headers.get(f"x-ratelimit-{name}")) for name in _COUNTS}
    return Limits(
        requests=count["limit-requests"],
        requests_left=count["remaining-requests"],
        requests_reset_seconds=_seconds(headers.get("x-ratelimit-reset-requests")),
        tokens=count["limit-tokens"],
        tokens_left=count["remaining-tokens"],
        tokens_reset_seconds=_seconds(headers.get("x-ratelimit-reset-tokens")),
    )


def outcome_of(failure: Failure, call: Call, now: datetime) -> Exception | None:
    """What to raise for a failure that says nothing of the set-up; None where a person has to change something."""
    words = failure.message.rstrip(".")
    if failure.too_long and not failure.about_content:
        return TalkTooLong(
            f"{call.document_id}: its {call.kind} call is too large for {call.model} (about {call.input_tokens} tokens "
            f"of prompt by our estimate, up to {call.max_tokens} of reply); set teacher.context_window to what "
            f"the server really takes. It said: {failure.message}"
        )
    if failure.out_of_money:
        return TeacherStopped(
            f"The provider's quota or credit is used up ({failure.message}). Raise the limit or add credit, "
            "then run again: it resumes from here."
        )
    if failure.about_content:
        return ContentRefused(f"{call.document_id}: the {call.kind} call was refused by a filter: {words}")
    if failure.slip:
        return TryAgain(f"the model's reply did not pass the server's check: {words}", True, output=failure.output or 0)
    if failure.queued:
        return Queued(failure.message, failure.paid)
    if refusals.about_loading(failure.status, failure.text):
        wait = wait_of(failure.headers, now)
        return Unreachable(f"the server is still loading its model (503: {words})", retry_seconds=wait)
    if failure.status == 429:
        return RateLimited(failure.message, wait_of(failure.headers, now), limits_of(failure.headers))
    if failure.status is None:
        return TryAgain(failure.message, True, output=failure.output) if failure.paid else Unreachable(failure.message)
    if failure.status in (408, 409) or failure.status >= 500:
        # After a gateway's timeout the model may have done the work.
        paid, wait = failure.paid or failure.status in (408, 504, 524), wait_of(failure.headers, now)
        return TryAgain(f"HTTP {failure.status}: {failure.message}", paid, wait, failure.output)
    return None


def advice(failure: Failure, address: str, model: str, api_key_env: str, models: list[str]) -> str:
    """What the server said, and what a person has to do. `models` are the names it offers, empty when unknown."""
    answer = f"{address} answered {failure.status}: {failure.message.rstrip('.')}."
    if failure.status == 401:
        return f"{answer} Put a valid key into the environment variable {api_key_env}."
    if failure.status == 403:
        return f"{answer} This key may not use {model}: take another model or another key ({api_key_env})."
    if failure.status not in (200, 404):
        return f"{answer} Correct the teacher's settings in the preset; every further call would be refused too."
    if not models or model in models:
        return f"{answer} Check teacher.model ({model}) and teacher.base_url: most servers want it to end in /v1."
    near = get_close_matches(model, models, 3, 0.4) or sorted(models)[:3]
    return f"{answer} There is no model {model}; the nearest names are {', '.join(near)}. Set teacher.model."


def adapted_to(abilities: Abilities, first: Abilities, failure: Failure, call: Call) -> Abilities | None:
    """`abilities` less what the server just refused; None when there is nothing to give up."""
    if failure.too_long or failure.about_content or failure.slip or failure.status not in (400, 422):
        return None
    if failure.names(abilities.cap) and abilities.cap == first.cap:
        return abilities._replace(cap=CAPS[abilities.cap == CAPS[0]])
    for name in _DROPPABLE:
        if failure.names(name) and name not in abilities.dropped:
            return abilities._replace(dropped=(*abilities.dropped, name))
    if call.schema and abilities.schema and failure.refuses_schema:
        return abilities._replace(schema=False)
    return None


def _status_of(code: str, message: str) -> int:
    number = re.match(r"[45]\d\d\b", code)
    if number:
        return int(number[0])
    if re.search("unexpected endpoint", message, re.IGNORECASE):
        return 404
    text = f"{code} {message}"
    if _TOO_LONG.search(message) or refusals.about_content(400, text) or refusals.about_a_slip(400, text):
        return 400
    return next((status for pattern, status in _STATUS_OF_CODE if pattern.search(code)), 500)


_COUNTS = tuple(f"{kind}-{what}" for kind in ("limit", "remaining") for what in ("requests", "tokens"))


def _count(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _seconds(text: str | None) -> float | None:
    """Seconds in '1s', '6m0s', '20ms' or '12.5'."""
    if not text:
        return None
    parts = _DURATION.findall(text)
    try:
        if "".join(number + unit for number, unit in parts) == text:
            return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)
        return max(0.0, float(text))
    except ValueError:
        return None
