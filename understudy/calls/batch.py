"""
Calls at half price, done by the provider within a day: the Batch API of an OpenAI-compatible server.

Replies are kept in the ledger under the keys of direct calls, so a later request finds them
there; lines that failed are not there and are sent directly. What is under way is noted before
anything waits for it: a run that was killed finds its batches again.
"""

import hashlib
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import IO, Any

from understudy.calls import Call, Reply, Usage
from understudy.calls.batch_api import (
    ENDPOINT,
    FIRST_PAUSE,
    LAST_PAUSE,
    PAUSE_GROWTH,
    POLL_PATIENCE_SECONDS,
    BatchApi,
    NotTaken,
    QueueFull,
)
from understudy.calls.batch_lines import TIER, errors_of, fields_of, queue_full, queue_size, reason_of, reply_of
from understudy.calls.budget import ROUNDING_USD, dollars
from understudy.calls.chat_errors import Abilities
from understudy.calls.ledger import CallLedger
from understudy.calls.prices import Usd
from understudy.errors import TeacherStopped
from understudy.interfaces import Progress
from understudy.seams import CLOCK, NETWORK, Clock, HttpTransport

MOST_LINES, MOST_BYTES = 50_000, 200_000_000
_COLLECTABLE = ("completed", "expired", "cancelled")
_KEY_CHARACTERS = 16
QUEUE_SHARE = 0.9  # of the tokens that may wait at once: our count of them is an estimate

log = logging.getLogger("understudy.teacher")


@dataclass
class _Open:
    """A file of calls on the server. `batch` is None until the server has said that it works on it."""

    file: str
    model: str
    usd: float
    """The worst case."""
    keys: list[str]
    """The beginnings of the keys that are still to be fetched."""
    batch: str | None = None


class Batch:
    """Puts the replies to many calls into the ledger, at half price and some hours later. One thread at a time."""

    def __init__(
        self,
        ledger: CallLedger,
        usd: Usd,
        max_usd: float | None,
        base_url: str | None = None,
        api_key: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        extra_body: dict[str, Any] | None = None,
        openai: bool | None = None,
        headers: Mapping[str, str] | None = None,
        most_lines: int = MOST_LINES,
        most_bytes: int = MOST_BYTES,
        clock: Clock = CLOCK,
        http: HttpTransport = NETWORK,
    ) -> None:
        """The options of a `ChatTransport`; `max_usd` as for a `Budget`, what the ledger holds included."""
        self._ledger, self._usd, self._max_usd = ledger, usd, max_usd
        self._api = BatchApi(base_url, api_key, api_key_env, headers, clock, http)
        self.address, self._extra_body = self._api.address, extra_body or {}
        self.openai = self.address.startswith("https://api.openai.com/") if openai is None else openai
        self._most_lines, self._most_bytes = most_lines, most_bytes
        self._waited = 0.0
        self._digest = hashlib.sha256(self.address.encode()).hexdigest()[:16]
        self.note_name = f"batch/{self._digest}"

    def run(self, calls: Iterable[Call], progress: Progress) -> Counter[str]:
        """How many replies came ('done'), did not ('failed') and were there before ('already').

        Blocks until the provider is done, up to a day. Raises TeacherStopped: over the budget, refused,
        closed, or out of reach for hours; the next run resumes it.
        """
        by_key = {call.key: call for call in calls}
        pending = {key: call for key, call in by_key.items() if self._ledger.reply(key, 0) is None}
        counts = Counter({"done": 0, "failed": 0, "already": len(by_key) - len(pending)})
        if not pending:
            return counts
        groups = self._groups(list(pending.values()), self._queue_size())
        while groups:
            group = groups.pop(0)
            try:
                self._run(group, progress)
            except QueueFull as full:
                groups = self._again(group, full.limit) + groups
        counts["done"] = sum(self._ledger.reply(key, 0) is not None for key in pending)
        counts["failed"] = len(pending) - counts["done"]
        if counts["failed"]:
            log.warning(
                "%d of %d calls of the batch failed and are left to direct calls", counts["failed"], len(pending)
            )
        return counts

    def _run(self, calls: list[Call], progress: Progress) -> None:
        """Submit what of `calls` is not under way, and wait for all of them. Raises QueueFull before any is done."""
        under_way = {short for entry in self._noted() for short in entry.keys}
        self._submit([call for call in calls if call.key[:_KEY_CHARACTERS] not in under_way])
        shorts = {call.key[:_KEY_CHARACTERS]: call for call in calls}
        for entry in self._noted():
            if entry.batch is None and not shorts.keys().isdisjoint(entry.keys):
                self._create(entry)
        self._collect_all(shorts, progress)

    # What may wait at once.

    def _queue_size(self) -> int | None:
        """Tokens that may wait in batches at once, as named in an earlier refusal."""
        size = self._ledger.note(f"{self.note_name}/tokens")
        return int(size) if size else None

    def _groups(self, calls: list[Call], most: int | None) -> list[list[Call]]:
        """`calls` as groups whose prompts have at most `most` tokens together, but at least one call each."""
        groups, tokens = [list[Call]()], 0
        for call in calls:
            if most and groups[-1] and tokens + call.input_tokens > most * QUEUE_SHARE:
                groups, tokens = [*groups, []], 0
            groups[-1].append(call)
            tokens += call.input_tokens
        return groups

    def _again(self, group: list[Call], limit: int | None) -> list[list[Call]]:
        """The calls of a refused group that have no reply yet, in groups that may wait; [] where none can be made."""
        left = [call for call in group if self._ledger.reply(call.key, 0) is None]
        if limit:
            self._ledger.set_note(f"{self.note_name}/tokens", str(limit))
            if sum(call.input_tokens for call in left) <= limit / 2 and self._waited < POLL_PATIENCE_SECONDS:
                log.info("%s: other batches fill the queue; looking again in %g s", self.address, LAST_PAUSE)
                self._waited += LAST_PAUSE
                self._api.pause(LAST_PAUSE)
                return [left]
        groups = self._groups(left, limit)
        if len(left) > 1 and len(groups) == 1:
            half = (len(left) + 1) // 2
            groups = [left[:half], left[half:]]
        if len(left) < 2:
            log.warning("%s: not even one call may wait in a batch now", self.address)
            return []
        log.warning(
            "%s: more tokens than may wait at once; %d calls go in %d batches, one after another",
            *(self.address, len(left), len(groups)),
        )
        return groups

    def close(self) -> None:
        """Let a `run` in another thread end with TeacherStopped; its batches go on and are found again."""
        self._api.close()

    # What is under way: one note, because a note is changed whole or not at all.

    def _noted(self) -> list[_Open]:
        return [_Open(**fields) for fields in json.loads(self._ledger.note(self.note_name) or "[]")]

    def _note(self, entry: _Open) -> None:
        """Note `entry`, or drop it when nothing is left of it."""
        entries = {other.file: other for other in self._noted()} | {entry.file: entry}
        rows = [asdict(other) for other in entries.values() if other.keys]
        self._ledger.set_note(self.note_name, json.dumps(rows) if rows else None)

    # Sending.

    def _submit(self, calls: list[Call]) -> None:
        """Upload the calls, once the budget covers them and all that is under way."""
        worst = sum(map(self._worst_usd, calls))
        spent, waiting = self._ledger.spent(), sum(entry.usd for entry in self._noted())
        limit = self._ledger.limit(self._max_usd)
        if calls and limit and spent + waiting + worst > limit.usd + ROUNDING_USD:
            elsewhere = limit.elsewhere_usd
            raise TeacherStopped(
                f"the budget of {dollars(limit.usd + elsewhere)} does not cover a batch of {len(calls)} calls: "
                f"{dollars(spent + elsewhere)} spent, {dollars(waiting)} held for batches under way, and this one "
                f"could cost {dollars(worst)} at half price; finished work is kept, continue with "
                f"--set {limit.option}={spent + elsewhere + waiting + worst + 0.01:.2f}"
            )
        for model in dict.fromkeys(call.model for call in calls):
            abilities = self._abilities(model)
            mine = [call for call in calls if call.model == model]
            for content, part in self._files(mine, abilities):
                with content:
                    self._upload(content, part)

    def _files(self, calls: Iterable[Call], abilities: Abilities) -> Iterator[tuple[IO[bytes], list[Call]]]:
        """The calls as files of lines, each within the server's limits."""
        content, part = tempfile.TemporaryFile(), list[Call]()  # noqa: SIM115  # its receiver closes it
        for call in calls:
            body = body_of(call, abilities, self.openai, self._extra_body)
            request = {"custom_id": call.key, "method": "POST", "url": ENDPOINT, "body": body}
            line = json.dumps(request, ensure_ascii=False).encode(errors="replace") + b"\n"
            if part and (len(part) >= self._most_lines or content.tell() + len(line) > self._most_bytes):
                yield content, part
                content, part = tempfile.TemporaryFile(), []  # noqa: SIM115
            content.write(line)
            part.append(call)
        yield content, part

    def _upload(self, content: IO[bytes], calls: list[Call]) -> None:
        keys = [call.key[:_KEY_CHARACTERS] for call in calls]
        file = self._api.upload(content, calls[0].model)
        entry = _Open(file, calls[0].model, sum(map(self._worst_usd, calls)), keys)
        self._note(entry)
        self._create(entry, again=False)

    def _create(self, entry: _Open, again: bool = True) -> None:
        """Have the server begin; `again` as for `BatchApi.create`."""
        try:
            entry.batch = self._api.create(entry.file, entry.model, again)
        except (NotTaken, QueueFull):
            entry.keys = []  # the file is of no use, e.g. deleted by the server: the next run uploads it again
            raise
        finally:
            self._note(entry)
        log.info("%s: %d calls wait in %s", self.address, len(entry.keys), entry.batch)

    # Waiting and fetching.

    def _collect_all(self, calls: dict[str, Call], progress: Progress) -> None:
        """Wait for every batch that holds some of `calls` (by the beginning of the key), and keep what it brings."""
        entries = [entry for entry in self._noted() if not calls.keys().isdisjoint(entry.keys)]
        total, finished, pause = sum(len(entry.keys) for entry in entries), 0, FIRST_PAUSE
        full: QueueFull | None = None
        while True:
            done, states = 0, Counter[str]()
            for entry in list(entries):
                size, batch = len(entry.keys), self._api.look(str(entry.batch), entry.model)
                status = batch.status if batch else "lost"
                if status in (*_COLLECTABLE, "failed", "lost"):
                    try:
                        self._collect(entry, batch, calls)
                    except QueueFull as error:  # the others that are under way are waited for first
                        full = error
                    entries.remove(entry)
                    finished += size
                elif batch and batch.request_counts:
                    done += batch.request_counts.completed + batch.request_counts.failed
                states[status] += 1
            summary = ", ".join(f"{count} {status}" for status, count in states.items())
            progress(finished + done, total, f"batches: {summary}")
            if not entries:
                break
            self._api.pause(pause)
            pause = min(LAST_PAUSE, pause * PAUSE_GROWTH)
        if full:
            raise full

    def _collect(self, entry: _Open, batch: Any, calls: dict[str, Call]) -> None:
        """Keep the replies of an ended batch. What is not needed now stays noted."""
        replies, why = set[str](), Counter[str]()
        for file in (batch.output_file_id, batch.error_file_id) if batch and batch.status != "failed" else ():
            for line in self._lines(file, entry.model) if file else ():
                if line is None:
                    why["a line that is no result, or breaks off"] += 1
                    continue
                call = calls.get(str(line.get("custom_id"))[:_KEY_CHARACTERS])
                reply = reply_of(line)
                if call and reply:
                    self._keep(call, reply)
                    replies.add(call.key)
                elif call:
                    why[self._api.hide(reason_of(line))] += 1
        for reason, count in why.most_common(3):
            log.warning("batch %s: %d lines failed: %s", entry.batch, count, reason)
        status = batch.status if batch else "no longer known to the server"
        log.info("batch %s is %s: %d replies", entry.batch, status, len(replies))
        # A batch that failed as a whole was never worked on: its calls go into the next one.
        lost = status not in _COLLECTABLE
        share = [short for short in entry.keys if not lost and short not in calls]
        entry.usd *= len(share) / len(entry.keys)
        entry.keys = share
        self._note(entry)
        if status == "failed":
            errors = errors_of(batch)
            if any(map(queue_full, errors)):
                raise QueueFull(queue_size("; ".join(errors)))
            raise TeacherStopped(self._invalid(batch, errors))

    def _keep(self, call: Call, reply: Reply) -> None:
        if self._ledger.reply(call.key, 0) is None:
            attempt = self._ledger.intend(call, self._worst_usd(call))
            self._ledger.keep(call, attempt, reply, self._usd_of(call, reply))

    def _usd_of(self, call: Call, reply: Reply) -> float | None:
        usage = reply.usage
        if usage is None and reply.output_estimate is not None:
            usage = Usage(input=call.input_tokens, output=reply.output_estimate)
        return self._usd(usage, TIER) if usage else None

    def _lines(self, file: str, model: str) -> Iterator[dict[str, Any] | None]:
        """The lines of a result file, None for what is no result."""
        content = self._api.content(file, model)
        return (fields_of(line) for line in content.split(b"\n") if line.strip())

    def _invalid(self, batch: Any, errors: Sequence[str]) -> str:
        message = self._api.hide("; ".join(errors[:3]) or "it gave no reason").rstrip(".")
        return (
            f"{self.address} did not accept the batch {batch.id}: {message}. Nothing of it was paid; "
            "correct that and run again, or take teacher.mode=direct"
        )

    def _worst_usd(self, call: Call) -> float:
        """The whole cap used, the prompt paid in full or written to the provider's cache; at half price."""
        plain = Usage(input=call.input_tokens, output=call.max_tokens)
        return max(self._usd(plain, TIER), self._usd(replace(plain, written=call.input_tokens), TIER))

    def _abilities(self, model: str) -> Abilities:
        """What direct calls have learned about the model, which they note under this name."""
        return Abilities.from_note(self._ledger.note(f"chat/{self._digest}/{model}"), self.openai)


def body_of(call: Call, abilities: Abilities, openai: bool, extra_body: dict[str, Any]) -> dict[str, Any]:
    """What `ChatTransport` sends for `call`, but for what only concerns streams and tiers."""
    body: dict[str, Any] = {"model": call.model, "messages": call.messages}
    body |= {name: value for name, value in call.settings.items() if value is not None}
    body[abilities.cap] = min(call.max_tokens, abilities.learned.output or call.max_tokens)
    if call.schema and abilities.schema:
        schema = {"name": "reply", "strict": True, "schema": call.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if openai:
        body["prompt_cache_key"] = call.prefix
    return {name: value for name, value in body.items() if name not in abilities.dropped} | extra_body
