"""
What the teacher's passes over a channel cost, before a cent is spent; and afterwards, how near that was.

Counts are of tokens: exact where the teacher's tokenizer is known, estimated from bytes elsewhere.
The low price has the provider's prompt cache working and short answers; the high one has neither.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from understudy import registry
from understudy.calls import Call, Usage
from understudy.calls.ledger import CallLedger, KindTotals
from understudy.calls.model_teacher import CALLS, ModelTeacher
from understudy.calls.verifying import INSTRUCTION_TOKENS, VERDICT_TOKENS
from understudy.errors import ConfigError, Refused
from understudy.graph import chain
from understudy.records import Document, Question, Questions
from understudy.runs.local_teacher import FREE
from understudy.sections import QuestionSettings
from understudy.stages import extract_questions, generate_answers
from understudy.stages.collect import due_entries, remembered
from understudy.text.words import counted
from understudy.workspace import Workspace

CACHED_FROM, CACHE_BLOCK = 1024, 128  # tokens; OpenAI's rule, and near enough for the servers that have one
SHORT, LONG = 0.6, 1.8  # of the expected length of a reply
PAIR_TOKENS = 170  # of one pair as a verifier reads it
VARIANT_TOKENS = {"paraphrases": 30, "short": 110, "long": 420, "out_of_scope": 90}
JUDGE_PROMPT, JUDGE_REPLY = 1_100, 40  # of one of the two calls about a held-out question
USUALLY_ACCEPTED = 0.85  # share of the questions that become pairs
SUGGESTED, MOST_TALKS_PRICED = "gpt-5-mini", 500
REPAIRS = 0.05  # share of the answers that is requested again


class Talk(NamedTuple):
    """A talk that will be read, and what is here of it already."""

    document: Document
    questions: Questions | None
    answered: bool


class Row(NamedTuple):
    """One pass over all talks that are due."""

    kind: str
    talks: int
    fresh: int
    """Prompt tokens that no cache holds."""
    cached: int
    output: int
    low_usd: float
    high_usd: float


def estimate(
    teacher: ModelTeacher, talks: Iterable[Talk], settings: QuestionSettings, again: bool = False
) -> list[Row]:
    """One row per pass that is due, at the standard price; talks that are answered cost nothing.

    `again` prices both passes over every talk, as if nothing was here: what was to be expected.
    """
    usd, talks = teacher.usd(), list(talks)
    more = further(talks, settings)
    totals = {"questions": [0] * 4, "answers": [0] * 4}
    prices = {"questions": [0.0, 0.0], "answers": [0.0, 0.0]}
    for talk in talks:
        for call in _calls(teacher, talk, settings, again, more.get(talk.document.document_id, 0)):
            second = call.kind == "answers"
            shared = teacher.tokens(call.messages[0]["content"]) + teacher.tokens(talk.document.text)
            cached = shared // CACHE_BLOCK * CACHE_BLOCK if second and shared >= CACHED_FROM else 0
            for at, tokens in enumerate((1, call.input_tokens - cached, cached, call.output_tokens)):
                totals[call.kind][at] += tokens
            low = Usage(call.input_tokens, cached, 0, round(call.output_tokens * SHORT))
            high = Usage(call.input_tokens, 0, 0, min(call.max_tokens, round(call.output_tokens * LONG)))
            prices[call.kind][0] += usd(low, None)
            prices[call.kind][1] += usd(high, None) * (1 + REPAIRS if second else 1)
    return [Row(kind, *totals[kind], *prices[kind]) for kind in totals if totals[kind][0]]


def further(talks: Sequence[Talk], settings: QuestionSettings) -> dict[str, int]:
    """The further questions that each talk is likely to be asked, where the preset aims at a number of pairs."""
    if settings.target_pairs is None:
        return {}
    counts, rooms = dict[str, int](), dict[str, int]()
    for talk in talks:
        name, known = talk.document.document_id, talk.questions
        counts[name] = len(known.questions) if known else extract_questions.question_count(talk.document, settings)
        rooms[name] = extract_questions.room(known, settings) if known else settings.at_most - counts[name]
    asked = sum(counts.values())
    return extract_questions.further(settings.target_pairs, round(USUALLY_ACCEPTED * asked), asked, rooms)


def others(workspace: Workspace, talks: Sequence[Talk]) -> list[Row]:
    """One row for each further model that is asked about these talks: the verifier, the variants, the judge."""
    config, rows = workspace.config, list[Row]()
    more = further(talks, config.questions)
    pairs = [
        extract_questions.question_count(talk.document, config.questions) + more.get(talk.document.document_id, 0)
        for talk in talks
    ]
    teacher = config.plugin("teacher")
    if config.verify.on and isinstance(verifier := config.plugin("teacher", config.verify), ModelTeacher):
        drawn = [round(config.verify.fraction * count) for count in pairs]
        calls = [_Guess(_read(verifier, talk) + count * PAIR_TOKENS, count * VERDICT_TOKENS)
                 for talk, count in zip(talks, drawn, strict=True) if count]  # fmt: skip
        rows.append(_row("verify", verifier, calls))
    if config.augment.asks_teacher and isinstance(teacher, ModelTeacher):
        train = 1 - config.split.valid - config.split.test
        each = sum(getattr(config.augment, name) * tokens for name, tokens in VARIANT_TOKENS.items())
        calls = [_Guess(_read(teacher, talk) + count * PAIR_TOKENS, round(count * train * each))
                 for talk, count in zip(talks, pairs, strict=True)]  # fmt: skip
        rows.append(_row("augment", teacher, calls))
    if config.evaluate.judge.on and isinstance(judge := config.plugin("teacher", config.evaluate.judge), ModelTeacher):
        asked = min(config.evaluate.questions, round(sum(pairs) * config.split.test))
        rows.append(_row("judge", judge, [_Guess(JUDGE_PROMPT, JUDGE_REPLY)] * (2 * asked)))
    return rows


class _Guess(NamedTuple):
    """Tokens of a call that cannot be composed yet."""

    prompt: int
    output: int


def _read(model: ModelTeacher, talk: Talk) -> int:
    return model.tokens(talk.document.text) + INSTRUCTION_TOKENS


def _row(kind: str, model: ModelTeacher, calls: Sequence[_Guess]) -> Row:
    usd = model.usd()
    low = sum(usd(Usage(call.prompt, 0, 0, round(call.output * SHORT)), None) for call in calls)
    high = sum(usd(Usage(call.prompt, 0, 0, round(call.output * LONG)), None) for call in calls)
    prompt, output = sum(call.prompt for call in calls), sum(call.output for call in calls)
    return Row(kind, len(calls), prompt, 0, output, low, high)


def _calls(teacher: ModelTeacher, talk: Talk, settings: QuestionSettings, again: bool, more: int) -> list[Call]:
    """The calls that a talk still needs when nothing goes wrong, part by part where it does not fit the window.

    `more` further questions are one more call of each pass.
    """
    more_questions = [extract_questions.request(talk.document, more)] if more else []
    more_answers = [request.model_copy(update=_typical(request.count)) for request in more_questions]
    if talk.answered and not again:
        return [teacher.call(request) for request in [*more_questions, *more_answers]]
    first = extract_questions.requests(talk.document, teacher, settings)
    if talk.questions:
        second = generate_answers.requests(talk.document, talk.questions, teacher)
    else:
        second = [request.model_copy(update=_typical(request.count)) for request in first]
    return [
        teacher.call(request)
        for request in [*(first if again or not talk.questions else []), *second, *more_questions, *more_answers]
    ]


def _typical(count: int) -> dict[str, object]:
    text = "How does a question of the usual length read in its list of questions?"
    questions = [Question(question_number=number, question=text) for number in range(1, count + 1)]
    return {"kind": "answers", "count": 0, "questions": questions}


def table(rows: Sequence[Row], cheaper: dict[str, float]) -> str:
    """The rows as markdown, with the totals and what the cheaper ways would cost (name > share of the price)."""
    lines = [
        "| stage | talks | tokens in, fresh | cached | tokens out | USD, low to high |",
        "|---|--:|--:|--:|--:|--:|",
        *(
            f"| {_NAMES.get(row.kind, row.kind)} | {row.talks} | {row.fresh:,} | {row.cached:,} | {row.output:,} | "
            f"{row.low_usd:.4f} to {row.high_usd:.4f} |"
            for row in rows
        ),
    ]
    low, high = sum(row.low_usd for row in rows), sum(row.high_usd for row in rows)
    ways = [f"standard {low:.2f} to {high:.2f}"]
    ways += [f"{name} {low * share:.2f} to {high * share:.2f}" for name, share in cheaper.items()]
    return "\n".join([*lines, "", f"USD: {'; '.join(ways)}."])


def compared(rows: Sequence[Row], paid: Sequence[KindTotals]) -> str:
    """What all passes over the channel were estimated at, and what they came to, as markdown."""
    estimates = {row.kind: row for row in rows}
    lines = [
        "| stage | calls | failed | tokens in | of them cached | tokens out | USD | estimated | wasted | unknown |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for total in paid:
        row = estimates.get(total.kind)
        guess = f"{row.low_usd:.4f} to {row.high_usd:.4f}" if row else ""
        lines.append(
            f"| {_NAMES.get(total.kind, total.kind)} | {total.calls} | {total.failed} | {total.input:,} | "
            f"{total.cached:,} | {total.output:,} | {total.usd:.4f} | {guess} | {total.wasted_usd:.4f} | "
            f"{total.unknown_usd:.4f} |"
        )
    usd = sum(total.usd for total in paid)
    return "\n".join(
        [*lines, "", f"**{usd:.4f} USD** in {sum(total.calls for total in paid)} calls, all runs together."]
    )


_NAMES = {"questions": "extract questions", "answers": "generate answers", "augment": "variants"}


def paid(workspace: Workspace) -> list[KindTotals]:
    """What every model that this channel asks has cost so far: teacher and variants, verifier, judge."""
    totals: list[KindTotals] = []
    for folder in (workspace.folder, workspace.verifier_folder, workspace.judge_folder):
        ledger = CallLedger(folder / CALLS)
        totals += ledger.summary()
        ledger.close()
    return totals


def talks_of(workspace: Workspace) -> tuple[list[Talk], int]:
    """Every talk that is on disk or can be read without asking anybody, and how many are only known by name."""
    source, talks, unread = workspace.config.plugin("source"), [], 0
    rows = workspace.ledger.rows()
    entries = list(source.list_talks()) if not source.polite else [(entry, None) for entry in remembered(rows, [])]
    known = {row.document_id: row for row in rows}
    due = {entry.document_id for entry in due_entries([entry for entry, _ in entries], known, datetime.now(UTC))}
    for entry, early in entries:
        if entry.document_id not in due:
            continue  # forgotten, or refused for now
        refs = chain(workspace, entry)
        if "document" in refs:
            questions = workspace.read(refs["questions"]) if "questions" in refs else None
            talks.append(Talk(workspace.read(refs["document"]), questions, "answers" in refs))
        elif early is None and not source.polite:
            with suppress(Refused):
                talks.append(Talk(source.fetch(entry), None, False))
        elif early is None:
            unread += 1
    return talks, unread


def draft(workspace: Workspace) -> str:
    """What the free teacher made of these talks, and what a language model would cost; empty for another teacher."""
    if workspace.config.teacher.use != FREE:
        return ""
    lines = []
    if sum(workspace.ledger.counts().values()) <= MOST_TALKS_PRICED:
        lines += _counted(workspace, [talk for talk in talks_of(workspace)[0] if talk.questions])
    lines += [
        "A language model writes far better pairs; one on this machine, in Ollama for example, free of charge:",
        f"  --teacher openai --model {SUGGESTED}",
        "  --set 'teacher={use: openai, model: qwen3:8b, base_url: \"http://127.0.0.1:11434/v1\"}'",
    ]
    return "\n".join(lines)


def _counted(workspace: Workspace, talks: Sequence[Talk]) -> list[str]:
    settings = workspace.config.questions
    asked = sum(len(talk.questions.questions) for talk in talks if talk.questions)
    wanted = sum(extract_questions.question_count(talk.document, settings) for talk in talks)
    words = sum(talk.document.words for talk in talks)
    rows = estimate(
        registry.build("teacher", "openai", {"model": SUGGESTED}),
        [talk._replace(questions=None, answered=False) for talk in talks],
        settings,
    )
    low, high = sum(row.low_usd for row in rows), sum(row.high_usd for row in rows)
    return [
        f"The free teacher found {counted(asked, 'question')} in {counted(len(talks), 'talk')} of {words:,} words:",
        "it asks only what one sentence of a talk answers outright, and quotes the answer.",
        f"{SUGGESTED} would write about {wanted:,} pairs for ${low:.2f} to ${high:.2f}.",
    ]


def estimate_page(workspace: Workspace) -> str:
    """The estimate of this preset as a page for the terminal; reads local files, sends nothing, needs no key.

    Raises ConfigError when the talks cannot be read or the price is not known.
    """
    teacher = workspace.config.plugin("teacher")
    if not isinstance(teacher, ModelTeacher):
        return f"teacher {workspace.config.teacher.use!r} makes no paid calls: 0 USD"
    if problems := workspace.config.plugin("source").problems():
        raise ConfigError(problems)
    talks, unread = talks_of(workspace)
    more = further(talks, workspace.config.questions)
    due = [talk for talk in talks if not talk.answered or talk.document.document_id in more]
    lines = [
        f"{teacher.label}: {counted(len(talks), 'talk')} here, {len(due)} of them to be read, {unread} not fetched yet"
    ]
    if due:
        rows = [*estimate(teacher, due, workspace.config.questions), *others(workspace, due)]
        lines += ["", table(rows, getattr(teacher, "cheaper", {}))]
    if unread:
        priced = f"each about as much as one of the {len(due)} above" if due else "fetch some first (--only dataset)"
        lines += ["", f"The {unread} talks that are not fetched yet come on top, {priced}."]
    own, together = teacher.common.max_usd, workspace.config.max_usd
    limits = [f"{own} USD (teacher.max_usd)"] if own is not None else []
    limits += [f"{together} USD for all models (max_usd)"] if together is not None else []
    stop = f"All runs together stop before {' and '.join(limits)}." if limits else "No limit is set (teacher.max_usd)."
    lines += ["", stop]
    return "\n".join(lines)
