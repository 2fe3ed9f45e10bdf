"""
Stage `augment`: more rows for the train split, off by default.

From pairs of the train split the teacher makes other wordings of the question, formal and everyday ones too, shorter
and longer answers, questions about one part of a long answer, and questions that no talk answers, with an honest
refusal; the base answers general prompts of ours, so that it forgets less. Valid and test stay as they are, and what
comes near one of their questions is dropped. Which pair gets what follows from a digest of seed and name, so a new talk
changes nothing for the others.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from typing import NamedTuple

from understudy.calls.augmenting import KIND, Wish, digest, read, substance, wishes, write
from understudy.calls.model_teacher import ModelTeacher
from understudy.calls.parts import parts
from understudy.dataset.rows import row
from understudy.errors import DatasetError, TeacherError
from understudy.graph import Graph, Node, Refs
from understudy.interfaces import Gate, Progress, Recipe
from understudy.progress import track
from understudy.records import AssetRef, ChatExample, Document, Message, Pair, SplitPlan, Variant, VariantKind
from understudy.runs import teachers
from understudy.sections import AugmentSettings
from understudy.stages.answer import answers_by_file, engine_of
from understudy.stages.gate import gates
from understudy.text import markdown, symbols
from understudy.text.similarity import near_duplicates

log = logging.getLogger("understudy.dataset")

VERSION = 1
GATES_FOR_REFUSALS = {"mentions", "language"}  # the others want an answer made of the talk

Refuse = Callable[[Pair, VariantKind], str | None]
"""The name of the gate that refuses a variant, which comes as a pair; None when all keep it."""
AsRow = Callable[[Pair], ChatExample]
"""A pair as a row of the preset's recipe."""
Answer = Callable[[list[str]], list[str]]
"""One reply of the untuned base to each prompt."""


class Augmented(NamedTuple):
    """The variants in the order of their rows, why how many others were not taken, and what the replies cost."""

    variants: list[Variant]
    dropped: Counter[str]
    usd: float = 0.0


def inputs(graph: Graph) -> Refs | None:
    """The base, where it answers general prompts itself: as a file where that answers faster."""
    if not graph.config.augment.replay:
        return None
    base, first = graph.get("base"), graph.config.export.first
    if not answers_by_file(graph.workspace.read(base), first):
        return {"base": base}
    graph.held_out()  # known now: the file is checked with one of these rows
    return {"base": graph.get("base_file", type=first)}


def materialize(node: Node) -> AssetRef:
    """The train split with its variants; valid and test stay as they are."""
    config, rows, plan = node.config, node.rows("pairs"), node.read("split")
    variants: list[Variant] = []
    if config.augment.asks_teacher:
        documents = node.group("document")
        refuse = by_gates(gates(node.workspace, documents), [pair for pair in rows if pair.kept])
        with node.track() as progress:
            written = taught(
                rows,
                plan,
                lambda document_id: node.workspace.read(documents[document_id]),
                teachers.shared_model(node.workspace, "teacher"),
                refuse,
                config.augment,
                config.seed,
                config.runner.workers,
                progress,
                _as_row(node),
            )
        variants += written.variants
        log.info("augment: %d variants, left out: %s", len(written.variants), dict(written.dropped))
    if "base" in node.inputs:
        answer = partial(_base_answers, node)
        variants += replayed(len(plan.splits["train"]), config.augment, config.seed, answer).variants
    chosen = apart(variants, rows, plan, config.split.near_duplicate, config.seed).variants
    node.save(chosen, "variants")
    return node.save(merged([row for _, row in node.train_rows()], chosen, plan))


def _as_row(node: Node) -> AsRow:
    """Pairs as rows, with the passages that they name where the recipe has any."""
    ref = node.workspace.latest("passages") if node.config.composes else None
    passages = {passage.passage_id: passage for passage in node.workspace.rows(ref)} if ref else {}
    recipe: Recipe = node.config.plugin("recipe")
    return lambda pair: row(pair, recipe, passages)


def _question(variant: Variant) -> str:
    return variant.question or variant.messages[0].content


def _base_answers(node: Node, prompts: list[str]) -> list[str]:
    """What the base itself answers to general prompts."""
    conversations = [[Message(role="user", content=prompt)] for prompt in prompts]
    engine = node.config.engine(engine_of(node.ref("base")))
    with track("base answers") as progress:
        limit = node.config.evaluate.max_tokens
        answers = engine.complete(node.file("base"), None, conversations, limit, progress)
    return [one.text or "" for one in answers]


def problems(settings: AugmentSettings, teacher: object) -> list[str]:
    """What keeps `settings` from being carried out, one sentence each."""
    if not settings.asks_teacher or isinstance(teacher, ModelTeacher):
        return []
    return [
        "augment: paraphrases, registers, parts, short, long and out_of_scope are written by a model, and this teacher "
        "is none; set them to 0, or choose another teacher"
    ]


def by_gates(gates: Sequence[tuple[str, Gate]], others: Sequence[Pair]) -> Refuse:
    """The gates of the preset as a judge of variants, having studied the channel's kept pairs and no variant."""
    for _, gate in gates:
        gate.study(others)

    def refuse(pair: Pair, kind: VariantKind) -> str | None:
        fit = (gate for gate in gates if kind != "out_of_scope" or gate[0] in GATES_FOR_REFUSALS)
        return next((name for name, gate in fit if gate.judge(pair)), None)

    return refuse


def taught(
    pairs: Sequence[Pair],
    plan: SplitPlan,
    document: Callable[[str], Document],
    teacher: ModelTeacher,
    refuse: Refuse,
    settings: AugmentSettings,
    seed: int,
    workers: int,
    progress: Progress,
    as_row: AsRow,
) -> Augmented:
    """What the teacher makes of the train split, one call per talk, `workers` talks at once; not yet held apart.

    A talk the teacher fails on is logged and left out. Raises TeacherStopped; what was paid for is kept.
    """
    train = set(plan.splits["train"])
    ordered = sorted(pairs, key=lambda pair: (pair.document_id, pair.question_number))
    talks = {name: document(name) for name in dict.fromkeys(pair.document_id for pair in ordered)}
    titles = sorted({talk.title for talk in talks.values()})
    stems = [substance(talk.text) for talk in talks.values()] if settings.out_of_scope else []
    groups = [
        (talks[name], own)
        for name, group in groupby(ordered, key=lambda pair: pair.document_id)
        if (own := [pair for pair in group if pair.pair_id in train])
    ]
    variants, dropped, usd = list[Variant](), Counter[str](), 0.0
    with ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(_write_entries, talk, own, titles, teacher, settings, seed) for talk, own in groups]
        try:
            for at, (job, (_, own)) in enumerate(zip(jobs, groups, strict=True)):
                progress(at, len(jobs), "variants")
                entries, missing, cost = job.result()
                accepted, refused = _read_entries(entries, own[0], stems, refuse, teacher, as_row)
                variants, dropped, usd = variants + accepted, dropped + missing + refused, usd + cost
        finally:
            pool.shutdown(cancel_futures=True)
    progress(len(jobs), len(jobs))
    return Augmented(variants, dropped, usd)


def replayed(pairs: int, settings: AugmentSettings, seed: int, answer: Answer) -> Augmented:
    """General chats for `pairs` rows of the train split, the base's own finished replies to prompts of ours."""
    count = round(settings.replay * pairs)
    if count > len(PROMPTS):
        log.warning("augment.replay asks for %d general chats, and there are %d prompts", count, len(PROMPTS))
    picks = sorted(range(len(PROMPTS)), key=lambda at: digest(seed, PROMPTS[at]))[:count]
    texts = answer([PROMPTS[at] for at in picks]) if picks else []
    variants, dropped = list[Variant](), Counter[str]()
    for at, text in zip(picks, texts, strict=True):
        shape = markdown.profile(text)
        if not shape.words or not shape.ends_with_punctuation or shape.unclosed_fence or "<think" in text.lower():
            dropped["replay: not a finished reply"] += 1
            continue
        messages = [Message(role="user", content=PROMPTS[at]), Message(role="assistant", content=text.strip())]
        variants.append(Variant(variant_id=f"base~replay{at + 1}", kind="replay", teacher="base", messages=messages))
    return Augmented(variants, dropped)


def apart(
    variants: Sequence[Variant],
    pairs: Sequence[Pair],
    plan: SplitPlan,
    near_duplicate: float,
    seed: int,
    unseen: Sequence[str] = (),
) -> Augmented:
    """The variants whose question is near none that is held out, and that say something new, in the order of rows.

    Held out are the questions of valid and test, and `unseen`: all other questions the tuned model is measured on.
    """
    questions = {pair.pair_id: pair.question for pair in pairs}
    train = [questions[pair_id] for pair_id in plan.splits["train"]]
    held_out = [questions[pair_id] for split in ("valid", "test") for pair_id in plan.splits[split]]
    why: dict[str, str] = {}
    existing = {tuple(symbols.split(question)) for question in train}
    new: list[Variant] = []
    for variant in variants:
        question = tuple(symbols.split(_question(variant)))
        if variant.kind in ("short", "long"):  # they keep their parent's question
            continue
        if question in existing:
            why[variant.variant_id] = "asked already"
        else:
            existing.add(question)
            new.append(variant)
    # Held out comes last: of many alike only the latest are compared, and no new one may be missed.
    texts = [*train, *map(_question, new), *held_out, *unseen]
    first, last = len(train), len(train) + len(new)
    for earlier, later in near_duplicates(texts, near_duplicate):
        if first <= earlier < last <= later:
            why[new[earlier - first].variant_id] = "near a held-out question"
        elif earlier < first <= later < last and new[later - first].kind == "out_of_scope":
            why.setdefault(new[later - first].variant_id, "asked already")
    remaining = sorted((v for v in variants if v.variant_id not in why), key=lambda v: digest(seed, v.variant_id))
    kinds = {variant.variant_id: variant.kind for variant in variants}
    return Augmented(remaining, Counter(f"{kinds[name]}: {reason}" for name, reason in why.items()))


def merged(train: Sequence[ChatExample], variants: Sequence[Variant], plan: SplitPlan) -> list[ChatExample]:
    """The rows of train.jsonl: the original ones, then the variants. Raises DatasetError for one that crosses over."""
    inside, talks = set(plan.splits["train"]), set(plan.documents["train"])
    for variant in variants:
        belongs = variant.parent in inside if variant.parent else variant.document_id in {None, *talks}
        if not belongs:
            raise DatasetError(
                f"the variant {variant.variant_id} is made from what is not in the train split; make the variants "
                "again from this split"
            )
    return [*train, *(ChatExample(messages=variant.messages) for variant in variants)]


def _write_entries(
    talk: Document, own: Sequence[Pair], titles: Sequence[str], teacher: ModelTeacher,
    settings: AugmentSettings, seed: int,
) -> tuple[list[tuple[Wish, str]], Counter[str], float]:  # fmt: skip
    """What the teacher wrote about one talk, part by part where the talk was split; how much is missing; the cost."""
    all_wishes = list(wishes(own, settings, seed))
    entries, dropped, usd = list[tuple[Wish, str]](), Counter[str](), 0.0
    try:
        pieces = parts(talk, teacher.tokens, teacher.window(), max(pair.part or 1 for pair in own))
        for piece in pieces:
            mine = [w for w in all_wishes if ((w.pair.part if w.pair else None) or 1) == piece.number]
            if mine:
                texts, missing, cost = write(teacher, piece.document, mine, titles)
                usd += cost
                entries += [(wish, texts[wish.number]) for wish in mine if wish.number in texts]
                dropped.update(f"{wish.kind}: {missing[wish.number]}" for wish in mine if wish.number in missing)
    except TeacherError as error:
        log.warning("%s gets no more variants: %s", talk.document_id, error)
        reached = {wish.number for wish, _ in entries}
        dropped.update(f"{wish.kind}: the teacher failed" for wish in all_wishes if wish.number not in reached)
    return entries, dropped, usd


def _read_entries(
    entries: Iterable[tuple[Wish, str]],
    first: Pair,
    talks: Sequence[frozenset[str]],
    refuse: Refuse,
    teacher: ModelTeacher,
    as_row: AsRow,
) -> tuple[list[Variant], Counter[str]]:
    """The entries that are as requested and that the gates keep, and how many are not, by reason."""
    variants, dropped = list[Variant](), Counter[str]()
    for wish, text in entries:
        pair = read(wish, text, first, talks)
        why = pair if isinstance(pair, str) else refuse(pair, wish.kind)
        if why:
            dropped[f"{wish.kind}: {why}"] += 1
        elif isinstance(pair, Pair):
            variants.append(_variant(wish, pair, teacher, as_row(pair)))
    return variants, dropped


def _variant(wish: Wish, pair: Pair, teacher: ModelTeacher, row: ChatExample) -> Variant:
    return Variant(
        variant_id=pair.pair_id,
        kind=wish.kind,
        parent=wish.pair.pair_id if wish.pair else None,
        document_id=pair.document_id,
        teacher=teacher.label,
        prompt_sha256=teacher.prompt_sha256(KIND),
        question="" if row.messages[0].content == pair.question else pair.question,
        messages=row.messages,
    )


# Everyday chat, in no channel's field. One line each.
PROMPTS = [
    "Hi, how are you today?",
    "Thanks, that helped a lot!",
    "What can you help me with?",
    "Write a short birthday message for a colleague.",
    "Write a polite email that declines a meeting.",
    'Rewrite this so that it sounds friendlier: "Send me the report by noon."',
    'Correct the grammar: "She don\'t has no time for go to the cinema."',
    'Summarise in one sentence: "The train was late, the bus was full, and so I walked home in the rain."',
    'Translate into French: "Where is the nearest train station?"',
    'Translate into Spanish: "I would like a table for two, please."',
    'Translate into German: "The weather is lovely this morning."',
    'Give me three synonyms for "quick".',
    'What is the opposite of "generous"?',
    "What is 17 times 24? Show the steps.",
    "A shirt costs 40 and is 15 percent off. What does it cost now?",
    "If a train covers 180 kilometres in 2 hours, how fast is it?",
    "Convert 5 miles to kilometres.",
    "What is the next number in 2, 4, 8, 16?",
    "Write a Python function that reverses a string.",
    "What does the SQL statement SELECT COUNT(*) do?",
    "Explain what a for loop is to a beginner.",
    "What is the difference between a list and a tuple in Python?",
    "Write a regular expression that matches a year of four digits.",
    'Return a JSON object with the keys "name" and "age" for Anna, who is 31.',
    "Write a haiku about autumn.",
    "Write a limerick about a cat who likes books.",
    "Tell me a short story about a lighthouse keeper.",
    "Tell me a joke about a programmer.",
    "Suggest five names for a small bookshop.",
    "Think of a slogan for a bicycle repair shop.",
    "Name three capitals in South America.",
    'Who wrote "Pride and Prejudice"?',
    "In which year did people first land on the Moon?",
    "What is the largest ocean on Earth?",
    "How many continents are there?",
    "Why is the sky blue?",
    "Why do leaves change colour?",
    "How does a rainbow come about?",
    "What causes the tides?",
    "How does a microwave oven heat things?",
    "What is photosynthesis, in two sentences?",
    "What is inflation in an economy?",
    "What does a central bank do?",
    "Explain the difference between weather and climate.",
    "What is the difference between a virus and a bacterium?",
    "Explain supply and demand with an example.",
    "Plan a relaxed weekend in a city by the sea.",
    "Make a packing list for a three-day hiking trip.",
    "Give me a simple plan for tidying a garage.",
    "How can I remember people's names better?",
    "What should I ask at the end of a job interview?",
    "How do I apologise to a friend whom I let down?",
    "Give two arguments for and two against working from home.",
    "Should I rent or buy a home? Name what matters.",
    "Compare paper books and e-books in a small table.",
    "List the planets of the solar system in order.",
    "List four board games for two players, one line each.",
    "Answer with yes or no only: is a tomato a fruit?",
    "Answer in exactly three words: what is water?",
    'Write the word "harbour" backwards.',
    "Sort these words alphabetically: pear, apple, fig, cherry.",
    "Which word does not belong: red, blue, chair, green?",
    'What is the plot of "Romeo and Juliet" in two sentences?',
    "Explain the rules of noughts and crosses.",
]
