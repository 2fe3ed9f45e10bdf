"""What a channel's talks would cost, and what the free draft made of them, as text for the terminal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

from understudy import registry
from understudy.calls.model_teacher import ModelTeacher
from understudy.channel import same_talk
from understudy.dataset import fitness
from understudy.errors import ConfigError, Refused
from understudy.graph import chain
from understudy.interfaces import Source
from understudy.records import Entry
from understudy.runs.local_teacher import FREE
from understudy.sources import several
from understudy.stages import extract_questions
from understudy.stages.collect import due_entries, remembered
from understudy.stages.estimate import Talk, estimate, expected_rows, further, others, table, usual_of
from understudy.text.words import counted
from understudy.workspace import Workspace

SUGGESTED, MOST_TALKS_PRICED = "gpt-5-mini", 500


class Found(NamedTuple):
    """The talks that are here or can be read now, how many are only known by name, and how much sound those are."""

    talks: list[Talk]
    unread: int
    seconds_of_sound: float


def talks_of(workspace: Workspace) -> Found:
    """The talks of a channel, as far as they can be read without asking anybody."""
    talks, unread, seconds = list[Talk](), 0, 0.0
    known = {row.document_id: row for row in workspace.ledger.rows()}
    entries = list(_listed(workspace))
    due = {entry.document_id for entry in due_entries([one[1] for one in entries], known, datetime.now(UTC))}
    for source, entry, early in entries:
        if entry.document_id not in due or same_talk.is_known(entry, known):
            continue  # forgotten, refused for now, or in another place too
        refs = chain(workspace, entry)
        if "document" in refs:
            questions = workspace.read(refs["questions"]) if "questions" in refs else None
            talks.append(Talk(workspace.read(refs["document"]), questions, "answers" in refs))
        elif early is None and not source.polite and not _seconds_of_sound(source, entry):
            with suppress(Refused):
                talks.append(Talk(source.fetch(entry), None, False))
        elif early is None:
            unread += 1
            seconds += _seconds_of_sound(source, entry)
    return Found(talks, unread, seconds)


def _listed(workspace: Workspace) -> Iterator[tuple[Source, Entry, Refused | None]]:
    """Every talk with its source; of one that would have to be asked, those that the ledger knows."""
    for key, source in several.built(workspace.config, workspace.folder).items():
        if not source.polite:
            yield from ((source, *listed) for listed in source.list_talks())
            continue
        yield from ((source, entry, None) for entry in remembered(workspace.ledger.of(key).rows(), []))


def _seconds_of_sound(source: Source, entry: Entry) -> float:
    """How long a talk is, at most, that has to be written down before it can be priced."""
    options: Any = getattr(source, "options", None)
    if getattr(getattr(options, "transcribe", None), "use", "none") == "none":
        return 0.0
    known = getattr(source, "seconds_of_sound", None)
    return (known(entry) if known else None) or 0.0


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


def estimate_page(workspace: Workspace, training: Callable[[int, float], str] | None = None) -> str:
    """The estimate of this preset as a page for the terminal; reads local files, sends nothing, needs no key.

    `training` gives a line about so many train rows of so many tokens. Raises ConfigError when the talks cannot be read
    or the price is not known.
    """
    teacher = workspace.config.plugin("teacher")
    if not isinstance(teacher, ModelTeacher):
        return f"teacher {workspace.config.teacher.use!r} makes no paid calls: 0 USD"
    sources = several.built(workspace.config, workspace.folder).values()
    if problems := [problem for source in sources for problem in source.problems()]:
        raise ConfigError(problems)
    talks, unread, seconds = talks_of(workspace)
    more = further(talks, workspace.config.questions)
    due = [talk for talk in talks if not talk.answered or talk.document.document_id in more]
    unit = workspace.config.plugin("recipe").UNIT
    lines = [
        f"{teacher.label}: {counted(len(talks), unit)} here, {len(due)} of them to be read, {unread} not fetched yet"
    ]
    usual = usual_of(workspace.folder, teacher, workspace.config.plugin("recipe").TOKENS)
    if due:
        rows = [*estimate(teacher, due, workspace.config.questions, usual=usual), *others(workspace, due)]
        lines += ["", table(rows, getattr(teacher, "cheaper", {}))]
    if workspace.config.closed_book:
        texts = [(d.section.manual_id if d.section else d.document_id, d.text) for d in (t.document for t in talks)]
        lines += ["", *fitness.warnings(texts)]
    if talks and not unread:
        count, tokens = expected_rows(workspace.config, talks, usual)
        lines += ["", f"About {counted(count, 'train row')} will come of it."]
        if training and (line := training(count, tokens)):
            lines.append(line)
    if seconds:
        lines += ["", f"{seconds / 3600:.1f} hours of sound are written down first, which costs nothing but time."]
    if unread:
        priced = f"each about as much as one of the {len(due)} above" if due else "fetch some first (--only dataset)"
        lines += ["", f"The {unread} talks that are not fetched yet come on top, {priced}."]
    own, together = teacher.common.max_usd, workspace.config.max_usd
    limits = [f"{own} USD (teacher.max_usd)"] if own is not None else []
    limits += [f"{together} USD for all models (max_usd)"] if together is not None else []
    stop = f"All runs together stop before {' and '.join(limits)}." if limits else "No limit is set (teacher.max_usd)."
    lines += ["", stop]
    return "\n".join(lines)
