"""100,000 pairs of 5,000 generated talks through the gates, and near-duplicate questions found among hard negatives."""

import difflib
import importlib
import itertools
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figure, peak_mb
from tests.fixtures import labelled_answers
from understudy.records import Pair
from understudy.sections import SplitSettings
from understudy.stages.split import split
from understudy.text.similarity import components, near_duplicates

ROOT = Path(__file__).resolve().parents[1]
PAIRS_A_TALK = 20
FEW_CASES = 10
GATES = (
    "length characters formatting endings repetition instructions mentions language verbatim grounding boilerplate "
    "duplicates"
).split()  # fmt: skip
WORDINGS = {
    "lower": ["How does {a} lower {b}{c}?", "How does {a} reduce {b}{c}?", "In what way does {a} lower the {b}{c}?"],
    "raise": ["How does {a} raise {b}{c}?", "How can {a} increase {b}{c}?", "How does {a} really raise {b}{c}?"],
    "why": ["Why does {a} matter for {b}{c}?", "Why do {a} matter so much for {b}{c}?", "Why does {a} matter for your {b}{c}?"],  # noqa: E501
    "when": ["When should I check {a} before {b}{c}?", "When should you check the {a} before {b}{c}?"],
    "long": ["How long does {a} take to change {b}{c}?", "How long will {a} take to change the {b}{c}?"],
    "sign": ["What are the signs that {a} has damaged {b}{c}?", "What signs show that {a} has damaged {b}{c}?"],
    "mix": ["Is it safe to combine {a} with {b}{c}?", "Is it safe to combine {a} and {b}{c}?"],
    "doubt": ["What is wrong with the idea that {a} explains {b}{c}?", "What is wrong with thinking {a} explains {b}{c}?"],  # noqa: E501
    "first": ["What should a beginner know about {a} and {b}{c}?", "What should beginners know about {a} and {b}{c}?"],
    "choose": ["How do I choose {a} for {b}{c}?", "How do you choose the right {a} for {b}{c}?"],
    "myth": ["Does {a} always need {b}{c}?", "Does {a} always really need {b}{c}?"],
    "store": ["Where is the best place to keep {a} away from {b}{c}?", "Where is the best place to keep your {a} away from {b}{c}?"],  # noqa: E501
}  # fmt: skip
CONTEXTS = [
    "", "", "", "", " after a large meal", " before a long run", " in the morning", " at night", " in winter", " during a fever",  # noqa: E501
    " for people over 60", " for people over 40", " in type 1 diabetes", " in type 2 diabetes", " with a tight budget",
    " without special tools", " in a small kitchen", " on a rented machine", " according to Newton", " according to Darwin",  # noqa: E501
]  # fmt: skip
SWAPS = [("lower", "raise"), ("raise", "lower"), ("before", "after"), ("with ", "without "), ("safe", "dangerous"),
         ("type 1", "type 2"), ("over 60", "over 50"), ("morning", "evening"), ("Newton", "Einstein"), ("When", "Where"),  # noqa: E501
         ("How long", "How often"), ("should", "should not"), ("does", "doesn't"), ("hyper", "hypo"), ("best", "worst"),
         ("large", "small"), ("winter", "summer")]  # fmt: skip
FILLERS = "people think about it like this because when something moves there is always a reason that we can feel and see".split()  # noqa: E501


class SyntheticQuestion(NamedTuple):
    """A question and what it asks: two with the same meaning are near-duplicates, whatever their words."""

    text: str
    meaning: tuple[str, ...]
    reworded: bool = False


@lru_cache
def lexicon(questions: int) -> tuple[list[str], list[float]]:
    """The terms of a channel with so many questions, and their cumulated weights by Zipf's law.

    As many terms as Heaps' law has: 3,800 for 4,000 questions, 22,000 for 100,000. One in fifteen has a hyper- and a
    hypo- form, two in five are of two words.
    """
    size = int(40 * questions**0.55)
    dice = random.Random(5)
    onsets, vowels = "b br c ch d dr f fl g gl h k l m n p pl qu r s st t tr v w".split(), "a e i o u ea ou".split()
    terms: dict[str, None] = {}
    heads: list[str] = []
    while len(terms) < size:
        word = "".join(dice.choice(onsets) + dice.choice(vowels) for _ in range(dice.choice((2, 3, 3)))) + dice.choice(
            "nrtlmx"
        )
        if dice.random() < 0.06:
            terms |= {f"hyper{word}": None, f"hypo{word}": None}
        else:
            heads.append(word)
            terms[word if dice.random() < 0.6 else f"{word} {dice.choice(heads)}"] = None
    return list(terms)[:size], list(itertools.accumulate(1 / (rank + 20) for rank in range(size)))


def questions(count: int, seed: int, planted: float = 0.07) -> tuple[list[SyntheticQuestion], set[tuple[int, int]]]:
    """`count` questions, and which pairs of them were planted as near-duplicates; as many are hard negatives."""
    dice = random.Random(seed)
    terms, weights = lexicon(count)
    choices = iter(dice.choices(terms, cum_weights=weights, k=4 * count + 20))
    rows: list[SyntheticQuestion] = []
    links: set[tuple[int, int]] = set()
    while len(rows) < count:
        luck = dice.random()
        if rows and luck < planted:
            at = dice.randrange(len(rows))
            if rows[at].reworded:
                continue
            again = _reworded(rows[at], dice)
            if again.text != rows[at].text:
                links.add((at, len(rows)))
                rows.append(again)
        elif rows and luck < 2 * planted:
            rows += filter(None, [_opposed(dice.choice(rows), dice, terms)])
        else:
            meaning = (dice.choice(list(WORDINGS)), next(choices), next(choices), dice.choice(CONTEXTS))
            if not set(meaning[1].split()) & set(meaning[2].split()):
                rows.append(SyntheticQuestion(_worded(meaning, 0), meaning))
    return rows, links


def _worded(meaning: tuple[str, ...], wording: int) -> str:
    kind, a, b, c = meaning[:4]
    return WORDINGS[kind][wording % len(WORDINGS[kind])].format(a=a, b=b, c=c)


def _reworded(row: SyntheticQuestion, dice: random.Random) -> SyntheticQuestion:
    """The same question as another talk would put it."""
    text, meaning, _ = row
    for _ in range(dice.choice((1, 1, 2))):
        way = dice.randrange(6)
        if way == 0 and len(meaning) == 4:
            text = _worded(meaning, dice.randrange(1, 3))
        elif way == 1:
            text = _slip(text, dice)
        elif way == 2 and len(meaning) > 3 and meaning[3] and text.endswith(f"{meaning[3]}?"):
            context = meaning[3].strip()
            text = f"{context[0].upper()}{context[1:]}, {text[0].lower()}{text[1:].replace(meaning[3], '')}"
        elif way == 3:
            text = f"{dice.choice(('So, ', 'And ', 'Well, ', ''))}{text[0].lower()}{text[1:]}"
        elif way == 4 and meaning[1][-1] not in "sx":
            text = text.replace(meaning[1], f"{meaning[1]}s", 1)
        else:
            text = text.replace(" the ", " ", 1) if " the " in text else text.replace("?", " exactly?")
    return SyntheticQuestion(text, meaning, True)


def _slip(text: str, dice: random.Random) -> str:
    """One letter of one long word dropped, doubled or exchanged with the next."""
    parts = text.split(" ")
    long = [i for i, part in enumerate(parts) if part.isalpha() and len(part) > 5 and part.islower()]
    if not long:
        return text
    at = dice.choice(long)
    word, cut = parts[at], dice.randrange(2, len(parts[at]) - 1)
    slips = (word[:cut] + word[cut + 1 :], word[:cut] + word[cut] + word[cut:],
             word[:cut] + word[cut + 1 : cut + 2] + word[cut] + word[cut + 2 :])  # fmt: skip
    return " ".join([*parts[:at], dice.choice(slips), *parts[at + 1 :]])


def _opposed(row: SyntheticQuestion, dice: random.Random, terms: list[str]) -> SyntheticQuestion | None:
    """Another question in nearly the same words: a number, an opposite, a negation, a name or one term exchanged."""
    old, new = dice.choice(SWAPS) if dice.random() < 0.6 else (row.meaning[dice.choice((1, 2))], dice.choice(terms))
    if old not in row.text or old == new:
        return None
    text = row.text.replace(old, new, 1)
    return SyntheticQuestion(text, (*row.meaning, f"{old}>{new}"))


def channel(talks: int, seed: int = 3) -> tuple[list[Pair], Callable[[str], str]]:
    """`talks` talks of 20 pairs each, and the function that gives a talk's text.

    A talk has about 2,500 words, an answer about 160.
    """
    rows, _ = questions(talks * PAIRS_A_TALK, seed)
    pairs = []
    for talk, number in itertools.product(range(talks), range(PAIRS_A_TALK)):
        question = rows[talk * PAIRS_A_TALK + number]
        pairs.append(_pair(f"talk-{talk}", number + 1, question.text, _answer(talk, number, talks, seed)))
    texts = {f"talk-{talk}": _talk(talk, talks, seed) for talk in range(talks)}
    return pairs, texts.__getitem__


@lru_cache(maxsize=1)
def _own(talk: int, talks: int, seed: int) -> list[str]:
    """The terms a talk is about."""
    terms, weights = lexicon(talks * PAIRS_A_TALK)
    return random.Random(talk + seed).choices(terms, cum_weights=weights, k=60)


def _sentences(talk: int, talks: int, seed: int, count: int, salt: int) -> list[str]:
    dice = random.Random(talk * 7919 + seed + salt * 104_729)
    own = _own(talk, talks, seed)
    return [
        " ".join(dice.choice(own) if dice.random() < 0.3 else dice.choice(FILLERS) for _ in range(dice.randint(8, 18)))
        + f" {dice.choice(own)}"
        for _ in range(count)
    ]


def _talk(talk: int, talks: int, seed: int) -> str:
    return "\n\n".join(f"{text.capitalize()}." for text in _sentences(talk, talks, seed, 190, 0))


def _answer(talk: int, number: int, talks: int, seed: int) -> str:
    sentences = _sentences(talk, talks, seed, random.Random(talk * 31 + number).randint(4, 18), number + 1)
    paragraphs = [sentences[at : at + 3] for at in range(0, len(sentences), 3)]
    text = "\n\n".join(" ".join(f"{one.capitalize()}." for one in paragraph) for paragraph in paragraphs)
    first, _, rest = text.partition(" ")
    return f"**{first}** {rest}"


def _pair(document_id: str, number: int, question: str, answer: str) -> Pair:
    return Pair(
        pair_id=f"{document_id}#{number}", document_id=document_id, title="T", published=None, question_number=number,
        question=question, answer=answer, tags=[], start_seconds=None, end_seconds=None, document_sha256="0",
        teacher="t", prompt_sha256=None, kept=True, gate=None, reason=None,
    )  # fmt: skip


def figures() -> Iterator[Figure]:
    """Every figure of the group; about four minutes. Seconds are of one core, whatever else the machine does."""
    for count in (4000, 20_000, 100_000):
        yield from _recall(count)
    yield from _speed()
    yield from _against_difflib(1000)
    yield from _gates()
    yield from _labelled()


def _recall(count: int) -> Iterator[Figure]:
    for threshold in (0.675, 0.7):
        rows, planted = questions(count, seed=11)
        links = set(near_duplicates([one.text for one in rows], threshold))
        right = sum(rows[a].meaning == rows[b].meaning for a, b in links)
        label = f"{count}_questions_at_{threshold:g}"
        yield Figure(f"near_duplicate_precision_{label}", right / len(links), ">=", 0.98)
        group = components(count, list(links))
        hits = sum(group[a] == group[b] for a, b in planted)  # a third one that is the same joins two
        yield Figure(f"near_duplicate_recall_{label}", hits / len(planted), ">=", 0.9)


def _speed() -> Iterator[Figure]:
    took = {}
    for count in (20_000, 100_000):
        texts = [one.text for one in questions(count, seed=12)[0]]
        start = time.process_time()
        sum(1 for _ in near_duplicates(texts, 0.7))
        took[count] = time.process_time() - start
    yield Figure("near_duplicate_seconds_20000_questions", took[20_000])
    yield Figure("near_duplicate_seconds_100000_questions", took[100_000], "<=", 60)
    yield Figure("near_duplicate_growth_20000_to_100000", took[100_000] / took[20_000], "<=", 10)


def _against_difflib(count: int) -> Iterator[Figure]:
    texts = [one.text for one in questions(count, seed=13)[0]]
    start = time.process_time()
    for a, b in itertools.combinations(texts, 2):
        difflib.SequenceMatcher(None, a, b).ratio()
    slow = time.process_time() - start
    start = time.process_time()
    list(near_duplicates(texts, 0.7))
    yield Figure("near_duplicate_times_faster_than_difflib", slow / (time.process_time() - start), ">=", 50)


def _gates() -> Iterator[Figure]:
    """Each size in a process of its own, so that its peak of memory is its own."""
    took: dict[int, dict[str, float]] = {}
    for talks in (1000, 5000):
        program = "import sys; from benchmarks.dataset import gated; gated(int(sys.argv[1]))"
        done = subprocess.run(
            [sys.executable, "-c", program, str(talks)], capture_output=True, text=True, check=True, cwd=ROOT
        )
        took[talks] = {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}
    for name, value in took[5000].items():
        yield Figure(f"gates_100000_pairs_{name}", value)
    yield Figure("gates_and_split_100000_pairs_seconds", took[5000]["all_seconds"], "<=", 90)
    yield Figure("gates_and_split_growth_from_20000", took[5000]["all_seconds"] / took[1000]["all_seconds"], "<=", 10)
    yield Figure("gates_and_split_memory_mb", took[5000]["peak_mb"], "<=", 2000)
    yield Figure("split_rows_crossing", took[5000]["split_crossing"], "=", 0)


def _labelled() -> Iterator[Figure]:
    """Precision and recall of each gate on labelled answers that were written without its patterns in sight."""
    blind = labelled_answers.rows("blind")
    yield Figure("labelled_answers", len(labelled_answers.rows()), ">=", 300)
    yield Figure("labelled_answers_blind", len(blind))
    for gate in labelled_answers.GATES:
        result = labelled_answers.outcome(blind, gate)
        yield Figure(f"labelled_{gate}_precision", result.precision, ">=", 0.97)
        yield Figure(f"labelled_{gate}_recall", result.recall, ">=", 0.9)
        yield from _if_few(f"labelled_{gate}_cases", result.refused + result.missed)
    for language, count in sorted(Counter(row.language for row in blind).items()):
        yield from _if_few(f"labelled_{language}_cases", count)


def _if_few(name: str, cases: int) -> Iterator[Figure]:
    """A gate or language with so few cases that its figures say little."""
    if cases < FEW_CASES:
        yield Figure(name, cases)


def gated(talks: int) -> None:
    """Print what each offline gate and the split took over a generated channel, in CPU seconds, and the peak of memory.

    Every gate sees every pair: in a run a gate sees only what earlier ones kept.
    """
    pairs, text_of = channel(talks)
    print("channel_mb", peak_mb())
    total = 0.0
    for name in GATES:
        kind = getattr(importlib.import_module(f"understudy.gates.{name}"), f"{name.capitalize()}Gate")
        gate = kind(kind.Options())
        if getattr(gate, "needs_talks", False):
            gate.text_of = text_of
        start = time.process_time()
        gate.study(pairs)
        refused = sum(gate.judge(pair) is not None for pair in pairs)
        seconds = time.process_time() - start
        total += seconds
        print(f"{name}_seconds", seconds)
        print(f"{name}_refused", refused)
    start = time.process_time()
    plan = split(pairs, SplitSettings(min_documents=3), 42)
    print("split_seconds", time.process_time() - start)
    print("split_crossing", plan.leakage.near_duplicate_questions + plan.leakage.rows_sharing_a_document)
    print("all_seconds", total + time.process_time() - start)
    print("peak_mb", peak_mb())


if __name__ == "__main__":
    for figure in figures():
        print(figure.line())
