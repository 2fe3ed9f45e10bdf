"""
What the teacher's passes over a channel cost, before a cent is spent; and afterwards, how near that was.

Counts are of tokens: exact where the teacher's tokenizer is known, estimated from bytes elsewhere.
The low price has the provider's prompt cache working and short answers; the high one has neither.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from understudy.calls import Call, Usage, augmenting, composing, contradicting, grading, judging, verifying
from understudy.calls.ledger import CallLedger, KindTotals, Usual
from understudy.calls.model_teacher import ANSWER_TOKENS, CALLS, ModelTeacher
from understudy.config import Config
from understudy.interfaces import Recipe, TeacherRequest
from understudy.records import ARMS, Document, Question, Questions
from understudy.sections import QuestionSettings
from understudy.stages import extract_questions, generate_answers
from understudy.workspace import Workspace

CACHED_FROM, CACHE_BLOCK = 1024, 128  # tokens; OpenAI's rule, and near enough for the servers that have one
SHORT, LONG = 0.6, 1.8  # of the expected length of a reply, before any has come
SHORTER, LONGER = 0.8, 1.25  # of the length that replies had so far
SPARE = 1.15
MEASURED = 200  # documents, spread over all, that tell how long they usually are
PAIRED = 0.85  # share of the sections of a manual that find a near one, for questions over both
PAIR_OVERHEAD = 35  # tokens of a question, its number and its quotes, where another model reads a pair
VARIANT_TOKENS = {"paraphrases": 30, "short": 110, "long": 420, "out_of_scope": 90}
USUALLY_ACCEPTED = 0.85  # share of the questions that become pairs
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
    teacher: ModelTeacher,
    talks: Iterable[Talk],
    settings: QuestionSettings,
    again: bool = False,
    usual: Usual = Usual(),  # noqa: B008  # immutable
) -> list[Row]:
    """One row per pass that is due, at the standard price; talks that are answered cost nothing.

    `again` prices both passes over every talk, as if nothing was here: what was to be expected. `usual` is what replies
    came to so far.
    """
    usd, talks = teacher.usd(), list(talks)
    more = further(talks, settings)
    totals = {"questions": [0] * 4, "answers": [0] * 4}
    prices = {"questions": [0.0, 0.0], "answers": [0.0, 0.0]}
    for talk in talks:
        for call in _calls(teacher, talk, settings, again, more.get(talk.document.document_id, 0), usual):
            second = call.kind == "answers"
            shared = teacher.tokens(call.messages[0]["content"]) + teacher.tokens(talk.document.text)
            cached = shared // CACHE_BLOCK * CACHE_BLOCK if second and shared >= CACHED_FROM else 0
            for at, tokens in enumerate((1, call.input_tokens - cached, cached, call.output_tokens)):
                totals[call.kind][at] += tokens
            short, long = _range(call.kind, usual)
            low = Usage(call.input_tokens, cached, 0, round(call.output_tokens * short))
            high = Usage(call.input_tokens, 0, 0, min(call.max_tokens, round(call.output_tokens * long)))
            prices[call.kind][0] += usd(low, None)
            prices[call.kind][1] += usd(high, None) * (1 + REPAIRS if second else 1)
    return [Row(kind, *totals[kind], *prices[kind]) for kind in totals if totals[kind][0]]


def _range(kind: str, usual: Usual) -> tuple[float, float]:
    return (SHORTER, LONGER) if kind in usual.tokens else (SHORT, LONG)


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
    teacher = config.plugin("teacher")
    expected = config.plugin("recipe").TOKENS
    usual = usual_of(workspace.folder, teacher, expected) if isinstance(teacher, ModelTeacher) else Usual()
    answer = usual.each("answers", ANSWER_TOKENS)
    asked_for = {talk.document.document_id: extract_questions.question_count(talk.document, config.questions)
                 for talk in talks}  # fmt: skip
    pairs = [usual.questions * (count + more.get(name, 0)) for name, count in asked_for.items()]
    if config.verify.on and isinstance(verifier := config.plugin("teacher", config.verify), ModelTeacher):
        of_verifier = usual_of(workspace.verifier_folder, verifier)
        verdict = of_verifier.tokens.get("verify", verifying.VERDICT_TOKENS)
        calls = [_Guess(verifying.call_for(verifier, talk.document, [], 0).input_tokens
                        + count * (answer + PAIR_OVERHEAD), count * verdict)
                 for talk, pairs_of in zip(talks, pairs, strict=True)
                 if (count := round(config.verify.fraction * pairs_of))]  # fmt: skip
        if config.composes and not config.plugin("recipe").retrieves:
            units, compared, _ = _over_two(config.plugin("recipe"), talks, sum(pairs))
            each = config.verify.fraction * compared / units
            prompt = _of_two(talks, lambda one: verifying.call_for(verifier, one, [], 0).input_tokens)
            guess = _Guess(prompt + max(1.0, each) * (answer + PAIR_OVERHEAD), max(1.0, each) * verdict)
            calls += [guess] * round(units * min(1.0, each))
        rows.append(_row("verify", verifier, calls, of_verifier))
        if config.seeks_contradictions:
            rows.append(_contradictions(verifier, talks, config.plugin("recipe"), of_verifier))
    if config.augment.asks_teacher and isinstance(teacher, ModelTeacher):
        train = 1 - config.split.valid - config.split.test
        variants = {name: getattr(config.augment, name) for name in VARIANT_TOKENS}
        expected = sum(share * VARIANT_TOKENS[name] for name, share in variants.items())
        known = usual.tokens.get("augment")
        of_pair = expected if known is None else known * sum(variants.values())
        calls = [_Guess(augmenting.call_for(teacher, talk.document, []).input_tokens
                        + count * train * (answer + PAIR_OVERHEAD),
                        count * train * of_pair)
                 for talk, count in zip(talks, pairs, strict=True)]  # fmt: skip
        rows.append(_row("augment", teacher, calls, usual))
    if config.composes and isinstance(teacher, ModelTeacher):
        rows += _composed(workspace, talks, sum(pairs), teacher, usual)
    if config.evaluate.judge.on and isinstance(judge := config.plugin("teacher", config.evaluate.judge), ModelTeacher):
        asked = min(config.evaluate.questions, round(sum(pairs) * config.split.test))
        of_judge = usual_of(workspace.judge_folder, judge)
        prompt = judging.call_for(judge, judging.Question("", "", "", "", "", "", ""), ("tuned", "base")).input_tokens
        call = _Guess(prompt + 4 * answer, of_judge.tokens.get("judge", judging.VERDICT_TOKENS))
        rows.append(_row("judge", judge, [call] * (2 * asked), of_judge))
        if config.marks_answers:
            asked = min(config.evaluate.questions, round(sum(pairs) * (config.split.test + config.split.questions)))
            shown = grading.call_for(judge, grading.Question("", "", "", "", {}), [""] * len(ARMS)).input_tokens
            marks = of_judge.tokens.get(grading.KIND, grading.MARK_TOKENS * len(ARMS))
            guess = _Guess(shown + (1 + len(ARMS)) * answer, marks)
            rows.append(_row(grading.KIND, judge, [guess] * asked, of_judge))
    return rows


def expected_rows(config: Config, talks: Sequence[Talk], usual: Usual) -> tuple[int, float]:
    """About how many train rows come of the talks, and how many tokens each has."""
    more, settings = further(talks, config.questions), config.questions
    asked = sum(
        len(talk.questions.questions)
        if talk.questions
        else usual.questions * extract_questions.question_count(talk.document, settings)
        for talk in talks
    ) + sum(more.values())
    beside = sum(_per_pair(config.plugin("recipe"), talks)) if config.composes else 0.0
    held_out = config.split.valid + config.split.test + config.split.questions
    tokens = usual.each("answers", ANSWER_TOKENS) + PAIR_OVERHEAD
    return round(USUALLY_ACCEPTED * asked * (1 + beside) * (1 - held_out)), tokens


def _composed(
    workspace: Workspace, talks: Sequence[Talk], pairs: float, teacher: ModelTeacher, usual: Usual
) -> list[Row]:
    """What questions over two documents and refusals cost, and the second opinion on these."""
    config = workspace.config
    units, compared, refused = _over_two(config.plugin("recipe"), talks, pairs)
    known = usual.tokens.get(composing.KIND)
    wanted: list[tuple[composing.Task, float]] = [("COMPARE", compared), ("UNANSWERED", refused)]
    written = sum(count * (known if known is not None else composing.SIZES[task][0]) for task, count in wanted)
    prompt = _of_two(talks, lambda one: composing.call_for(teacher, one, []).input_tokens)
    calls = [_Guess(prompt, written / units)] * units
    rows = [_row(composing.KIND, teacher, calls, usual)] if compared + refused else []
    if refused and config.verify.on and isinstance(verifier := config.plugin("teacher", config.verify), ModelTeacher):
        of_verifier, shown = usual_of(workspace.verifier_folder, verifier), 2 * PAIR_OVERHEAD + ANSWER_TOKENS
        count = max(1, round(refused / composing.PER_CHECK))
        guess = _Guess(composing.PER_CHECK * shown, composing.PER_CHECK * composing.CHECK_TOKENS)
        rows.append(_row(composing.CHECK, verifier, [guess] * count, of_verifier))
    return rows


def _contradictions(verifier: ModelTeacher, talks: Sequence[Talk], recipe: Recipe, usual: Usual) -> Row:
    """What it costs to have passages of like subject compared; as many as the recipe has of a section, at most."""
    kind, most, words = contradicting.KIND, contradicting.PER_CALL, recipe.options.passages.words
    shown = [verifier.tokens(t.document.text) / math.ceil(t.document.words / words) for t in talks if t.document.words]
    count = recipe.options.contradictions * len(shown)
    fixed, each = (
        contradicting.call_for(verifier, []).input_tokens,
        2 * (sum(shown) / max(1, len(shown)) + PAIR_OVERHEAD),
    )
    guess = _Guess(fixed + most * each, most * usual.tokens.get(kind, contradicting.VERDICT_TOKENS))
    return _row(kind, verifier, [guess] * max(1, round(count / most)), usual)


def _over_two(recipe: Recipe, talks: Sequence[Talk], pairs: float) -> tuple[int, float, float]:
    """In how many calls two documents are shown at once; the questions over both that are asked for, and refusals."""
    compared, refused = (SPARE * pairs * share for share in _per_pair(recipe, talks))
    units = len(talks) / 2 if recipe.retrieves else PAIRED * len(talks) / 2
    return max(1, min(round(units), math.ceil(compared + refused))), compared, refused


def _of_two(talks: Sequence[Talk], prompt: Callable[[Document], int]) -> float:
    """Tokens of a prompt that shows two documents of the usual length; `prompt` gives those of one that shows one."""
    if not talks:
        return 0.0
    shown = [prompt(talk.document) for talk in talks[:: -(-len(talks) // MEASURED)]]
    return 2 * sum(shown) / len(shown) - prompt(talks[0].document.model_copy(update={"paragraphs": []}))


def _per_pair(recipe: Recipe, talks: Sequence[Talk]) -> tuple[float, float]:
    """Questions over two documents, and ones that are declined, for each pair about one document."""
    options = recipe.options
    if not recipe.retrieves:
        across = options.across
        manuals = {place.manual_id for talk in talks if (place := talk.document.section)}
        both = across.sections + (across.documents if len(manuals) > 1 else 0.0)
        return both / (1 - across.sections - across.documents), 0.0
    alone = options.shares.grounded or 1.0
    return options.shares.synthesis / alone, options.shares.refusal / alone


def usual_of(folder: Path, model: ModelTeacher, expected: Mapping[str, float] | None = None) -> Usual:
    """What this model's replies to a channel came to so far; `expected` is by kind of call, what a recipe asks for."""
    if not (folder / CALLS).exists():
        return Usual(expected=expected or {})
    ledger = CallLedger(folder / CALLS)
    usual = ledger.usual(model.label)
    ledger.close()
    return usual._replace(expected=expected or {})


class _Guess(NamedTuple):
    """Tokens of a call that cannot be composed yet."""

    prompt: float
    output: float


def _row(kind: str, model: ModelTeacher, calls: Sequence[_Guess], usual: Usual) -> Row:
    usd, (short, long) = model.usd(), _range(kind, usual)
    low = sum(usd(Usage(round(call.prompt), 0, 0, round(call.output * short)), None) for call in calls)
    high = sum(usd(Usage(round(call.prompt), 0, 0, round(call.output * long)), None) for call in calls)
    prompt, output = round(sum(call.prompt for call in calls)), round(sum(call.output for call in calls))
    return Row(kind, len(calls), prompt, 0, output, low, high)


def _calls(
    teacher: ModelTeacher, talk: Talk, settings: QuestionSettings, again: bool, more: int, usual: Usual
) -> list[Call]:
    """The calls that a talk still needs when nothing goes wrong, part by part where it does not fit the window.

    `more` further questions are one more call of each pass.
    """
    more_questions = [extract_questions.request(talk.document, more)] if more else []
    more_answers = [request.model_copy(update=_typical(request.count, usual)) for request in more_questions]
    if talk.answered and not again:
        return [_call(teacher, request, usual) for request in [*more_questions, *more_answers]]
    first = extract_questions.requests(talk.document, teacher, settings)
    if talk.questions:
        second = generate_answers.requests(talk.document, talk.questions, teacher)
    else:
        second = [request.model_copy(update=_typical(request.count, usual)) for request in first]
    due = [*(first if again or not talk.questions else []), *second, *more_questions, *more_answers]
    return [_call(teacher, request, usual) for request in due]


def _call(teacher: ModelTeacher, request: TeacherRequest, usual: Usual) -> Call:
    call = teacher.call(request)
    if (each := usual.each(request.kind, 0.0)) == 0.0:
        return call
    return replace(call, output_tokens=round(each * (len(call.numbers) or request.count)))


def _typical(count: int, usual: Usual) -> dict[str, object]:
    text = "How does a question of the usual length read in its list of questions?"
    questions = [
        Question(question_number=number, question=text) for number in range(1, round(usual.questions * count) + 1)
    ]
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


_NAMES = {"questions": "extract questions", "answers": "generate answers", "augment": "variants"} | {
    composing.KIND: "questions over two texts",
    composing.CHECK: "check of the unanswered",
    grading.KIND: "marks of single answers",
    contradicting.KIND: "search for contradictions",
}
