"""
A teacher that is a model, wherever it runs: a request becomes one call, its reply numbered items.

What differs between models (the transport, the price, the window) is in the plugins under
`understudy/teachers`. Answers are kept under an identity of their own, which neither the cap nor
the timeout nor the other questions are part of, so that none of them makes an answer be paid again.
"""

import hashlib
import inspect
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from understudy.calls import Call, CapTooLarge, Reply, Transport, prompting
from understudy.calls.ledger import CallLedger
from understudy.calls.likeness import Asked, doubtful
from understudy.calls.limits import Learned, Learns, group_size
from understudy.calls.prices import Usd
from understudy.calls.prompt_check import PromptCheck
from understudy.calls.prompting import BUILT_IN, Prompts
from understudy.calls.replies import parse
from understudy.calls.reply_problems import problem_of
from understudy.calls.scheduler import Scheduler
from understudy.interfaces import Progress, ReplyItem, TeacherReply, TeacherRequest
from understudy.records import Question
from understudy.seams import CLOCK, NETWORK, Clock, HttpTransport

log = logging.getLogger("understudy.teacher")

CALLS, RECORDING = "calls.sqlite", "recording"
QUESTION_TOKENS, ANSWER_TOKENS = 35, 260  # of one item of a reply, on average, for budgets
QUESTION_CAP, ENVELOPE = 120, 400
TALK_SHARE = 0.65  # of the window; the rest is for instructions, questions and the reply


class ModelOptions(BaseModel):
    """Options that every model takes, under `teacher:` in a preset."""

    model_config = ConfigDict(extra="forbid")
    temperature: float | None = Field(default=None, ge=0, le=2, description="None: the server's own")
    seed: int | None = Field(default=None, description="of the model's draws, where it takes one")
    answer_tokens: int = Field(default=900, ge=50, description="cap of one answer; a call may use it for each number")
    thinking_tokens: int = Field(default=0, ge=0, description="room on top of the cap for a model that thinks first")
    context_window: int | None = Field(default=None, ge=1000, description="tokens; None: as the model's maker says")
    max_usd: float | None = Field(default=5.0, ge=0, description="the most all runs together may cost; None: no limit")


class ModelTeacher:
    """What the plugins share: prompt, call, ledger, parse. A plugin gives `_transport`, `usd` and the label."""

    deterministic = False
    label: str
    model: str
    prompted, batches = True, False
    prompts: Prompts = BUILT_IN
    clock: Clock = CLOCK
    http: HttpTransport = NETWORK
    """Time and network of its calls; to be replaced, if at all, before `begin`."""

    def __init__(self, options: ModelOptions) -> None:
        self.common = options
        self._ledger: CallLedger | None = None
        self._others: list[CallLedger] = []
        self._scheduler: Scheduler | None = None
        self._carrier: Transport | None = None

    def prompt_sha256(self, kind: str) -> str | None:
        """Digest of the prompt texts that this pass is made of."""
        return prompting.sha256(kind, self.prompts)

    def problems(self) -> list[str]:
        """What makes this teacher unusable, one sentence each; makes no paid call."""
        raise NotImplementedError

    def _transport(self) -> Transport:
        raise NotImplementedError

    def usd(self) -> Usd:
        raise NotImplementedError

    def _pace(self) -> dict[str, Any]:
        """Concurrency and limits for the scheduler."""
        return {}

    def _settings(self) -> dict[str, Any]:
        """What is sent along and decides the words."""
        return {"temperature": self.common.temperature, "seed": self.common.seed}

    def _settings_sent(self) -> dict[str, Any]:
        return {name: value for name, value in self._settings().items() if value is not None}

    def _known_window(self) -> int | None:
        return self.common.context_window

    def begin(self, folder: Path) -> None:
        """Keep every call and reply in `folder`/calls.sqlite from now on."""
        self._ledger = CallLedger(folder / CALLS, self.clock)
        self._ledger.settle_abandoned()
        transport, budget = self._transport(), self.common.max_usd
        self._carrier = transport
        self._scheduler = Scheduler(
            _Guarded(transport, PromptCheck(self.label)),
            self._ledger,
            self.usd(),
            max_usd=budget,
            clock=self.clock,
            **self._pace(),
        )
        header = {"label": self.label, "settings": self._settings_sent(), "answer_tokens": self.common.answer_tokens}
        header |= {"thinking_tokens": self.common.thinking_tokens, "window": self.window()}
        header |= {"prompts": {kind: self.prompt_sha256(kind) for kind in ("questions", "answers")}}
        self._ledger.set_note(RECORDING, json.dumps(header))
        if probe := getattr(transport, "probe", None):
            self._scheduler.run(probe())

    def share_budget(self, option: str, together_usd: float | None, folders: Iterable[Path]) -> None:
        """After `begin`: `option` names `max_usd` here; `together_usd` limits these calls and those in `folders`."""
        assert self._ledger, "begin() comes first"
        self._others = [CallLedger(folder / CALLS, self.clock) for folder in folders]
        self._ledger.share_budget(option, together_usd, self._others)

    def close(self) -> None:
        """Let calls in flight finish, and give the ledger free."""
        if self._scheduler and self._ledger:
            self._scheduler.close()
            for ledger in (self._ledger, *self._others):
                ledger.close()
        self._scheduler = self._ledger = None

    def submit_batch(self, requests: Iterable[TeacherRequest], progress: Progress) -> int:
        """Nothing: every request is asked when it comes."""
        return 0

    def window(self) -> int | None:
        """What of the model's window a talk may take."""
        tokens = self._limits().window
        return round(tokens * TALK_SHARE) if tokens else None

    def _limits(self) -> Learned:
        """What the model takes and gives at once: what is known of it, and what its refusals named."""
        known = Learned(window=self._known_window())
        learned = self._carrier.learned() if isinstance(self._carrier, Learns) else Learned()
        # A window in the preset is what a person knows better: a server may have been given more since.
        return known._replace(output=learned.output) if self.common.context_window else known.narrowed(learned)

    def tokens(self, text: str) -> int:
        """An estimate from the text's bytes."""
        return prompting.estimated_tokens(text)

    def reply(self, request: TeacherRequest) -> TeacherReply:
        """The items that can be trusted; an answer that was paid for is never asked again."""
        assert self._ledger and self._scheduler, "begin() comes first"
        keys = {q.question_number: self._answer_key(request, q) for q in request.questions}
        stored = self._stored(request, keys)
        items = [ReplyItem(question_number=number, text=text) for number, text in stored.items()]
        missing = [q for q in request.questions if q.question_number not in stored]
        if request.kind == "questions":
            return self._reply_to(request, [], keys, stored)
        whole, room = TeacherReply(items=items), None
        while missing:
            group = missing[: self._group_size(request, missing, room)]
            try:
                part = self._reply_to(request, group, keys, stored)
            except CapTooLarge as error:
                if len(group) == 1:
                    raise
                room = min(error.limit, self._most_tokens(len(group) - 1))
                continue
            whole, missing = whole.with_part(part), missing[len(group) :]
        return whole

    def split(self, request: TeacherRequest) -> list[TeacherRequest]:
        """`request` as calls whose replies the model can write, as far as its limits are known."""
        parts, missing = list[TeacherRequest](), request.questions
        while missing:
            size = self._group_size(request, missing)
            parts.append(request.model_copy(update={"questions": missing[:size]}))
            missing = missing[size:]
        return parts or [request]

    def _most_tokens(self, answers: int) -> int:
        return answers * self.common.answer_tokens + ENVELOPE + self.common.thinking_tokens

    def _group_size(self, request: TeacherRequest, missing: Sequence[Question], room: int | None = None) -> int:
        """How many of the missing answers go into one call; `room` is what a refusal has left for its reply."""
        limits = self._limits()
        if limits == Learned() and room is None:
            return len(missing)
        call = self.call(request.model_copy(update={"questions": list(missing)}))
        rooms = [tokens for tokens in (room, limits.room(call.input_tokens)) if tokens is not None]
        if not rooms or call.max_tokens <= min(rooms):
            return len(missing)
        return group_size(len(missing), min(rooms), self.common.answer_tokens, self._most_tokens(0))

    def _reply_to(
        self, request: TeacherRequest, group: list[Question], keys: Mapping[int, str], stored: Mapping[int, str]
    ) -> TeacherReply:
        """What one call about `group` gives. Raises CapTooLarge before anything is paid."""
        assert self._ledger and self._scheduler, "begin() comes first"
        call = self.call(request.model_copy(update={"questions": group}))
        reply = self._scheduler.ask(call, request.round, lambda r: bool(parse(r, request.kind, call.numbers).items))
        parsed = parse(reply, request.kind, call.numbers, _asked(request, group, stored))
        expected = len(call.numbers) or request.count
        self._ledger.judged(call, request.round, min(len(parsed.items), expected), expected)
        if parsed.defects:
            log.info("%s, %s: %s", request.document.document_id, request.kind, dict(parsed.defects))
        if request.kind == "answers":
            finished = {keys[item.question_number]: item.text for item in parsed.items}
            self._ledger.keep_answers(request.document.document_id, finished)
        return TeacherReply(
            items=parsed.items,
            refused=parsed.refused,
            moved=parsed.defects["moved"],
            misplaced=parsed.defects["misplaced"],
            problem=None if parsed.items else problem_of(reply),
            usd=self.cost_usd(reply),
        )

    def _stored(self, request: TeacherRequest, keys: Mapping[int, str]) -> dict[int, str]:
        """The answers that are kept already, by number, but for those that may be another question's."""
        assert self._ledger, "begin() comes first"
        kept = self._ledger.answers(keys.values())
        texts = {number: kept[key] for number, key in keys.items() if key in kept}
        if len(texts) > 1:
            for number in doubtful(
                texts, _asked(request, [q for q in request.questions if q.question_number in texts])
            ):
                del texts[number]
        return texts

    def send(self, call: Call, round: int = 0, usable: Callable[[Reply], bool] | None = None) -> Reply:
        """The `round`-th reply to `call`; kept and paid like those of both passes.

        Raises TeacherError for this call alone, TeacherStopped for all.
        """
        assert self._scheduler, "begin() comes first"
        return self._scheduler.ask(call, round, usable)

    def call(self, request: TeacherRequest) -> Call:
        """The call that asks for `request`."""
        prompt = prompting.compose(request, self.prompts)
        items = len(prompt.numbers) or request.count
        each, cap = (ANSWER_TOKENS, self.common.answer_tokens) if prompt.numbers else (QUESTION_TOKENS, QUESTION_CAP)
        if request.round and items == 1:
            cap *= 2  # one answer that did not fit is given more room, once
        return self.new_call(
            request.kind,
            request.document.document_id,
            prompt.messages,
            prompting.SCHEMA,
            items * each,
            items * cap,
            prompt.numbers,
        )

    def new_call(
        self,
        kind: str,
        document_id: str,
        messages: tuple[dict[str, str], ...],
        schema: dict[str, Any],
        usual_tokens: int,
        most_tokens: int,
        numbers: tuple[int, ...] = (),
    ) -> Call:
        """A call of any kind, with this model's settings, and room for its envelope and for thinking."""
        thinking = self.common.thinking_tokens
        most = most_tokens + ENVELOPE + thinking
        return Call(
            kind=kind,
            document_id=document_id,
            label=self.label,
            model=self.model,
            messages=messages,
            schema=schema,
            settings=self._settings_sent(),
            max_tokens=most,
            numbers=numbers,
            input_tokens=self.tokens("".join(message["content"] for message in messages)),
            output_tokens=min(most, usual_tokens + thinking // 2),
        )

    def cost_usd(self, reply: Reply) -> float:
        """What `reply` cost; 0 where the server does not count tokens."""
        assert self._scheduler, "begin() comes first"
        return self._scheduler.usd(reply.usage, reply.tier) if reply.usage else 0.0

    def _answer_key(self, request: TeacherRequest, question: Question) -> str:
        """What decides one answer: who writes it, from which talk, by which prompt, to which question."""
        prompt = prompting.identity("answers", self.prompts)
        parts = [self.label, self._settings(), prompt, request.document.text, question.question]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _asked(request: TeacherRequest, questions: Iterable[Question], stored: Mapping[int, str] | None = None) -> Asked:
    """What the answers to `questions` are held against: all that is known of the talk."""
    asked = {question.question_number: question.question for question in questions}
    others = [question.question for question in request.questions if question.question_number not in asked]
    passages = [paragraph.text for paragraph in request.document.paragraphs]
    return Asked(asked, [*others, *request.others], [*passages, *(stored or {}).values()])


class _Guarded:
    """A transport whose replies count only when the server has read the whole prompt."""

    def __init__(self, transport: Transport, check: PromptCheck) -> None:
        self.transport, self.check = transport, check

    async def send(self, call: Call) -> Reply:
        """The reply, when it may be one to the whole talk. Raises what the transport raises, and TeacherStopped."""
        reply = await self.transport.send(call)
        if reply.usage:
            self.check.read(call, reply.usage)
        return reply

    async def close(self) -> None:
        """Close the transport's connections."""
        closed = self.transport.close() if hasattr(self.transport, "close") else None
        if inspect.isawaitable(closed):
            await closed
