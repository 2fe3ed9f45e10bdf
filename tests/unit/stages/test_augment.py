"""Variants belong to the train split alone, say what was wished for, and are paid for once."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.unit.pairs import example
from understudy.calls import prompting
from understudy.calls.augmenting import Wish, call_for, compose, read, substance, wishes, write
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.errors import DatasetError, TeacherStopped
from understudy.interfaces import TeacherRequest
from understudy.records import Document, Pair, Paragraph, SplitPlan, Variant
from understudy.registry import build
from understudy.sections import AugmentSettings, SplitSettings
from understudy.stages.augment import PROMPTS, Augmented, apart, by_gates, merged, problems, replayed, taught
from understudy.stages.split import split
from understudy.store import encode
from understudy.teachers.extractive import ExtractiveTeacher
from understudy.teachers.openai import OpenAITeacher
from understudy.text.similarity import near_duplicates

SUBJECTS = ("kettles", "violins", "glaciers", "orchids", "beehives", "harbours", "looms", "comets")
ASPECTS = ("heat", "sound", "weight", "colour")
ALL = AugmentSettings(paraphrases=2, short=1, long=1, out_of_scope=0.3, replay=0.1)


def talk(name: str) -> Document:
    text = f"The {name} have heat, sound, weight and colour, and each of them follows from how {name} are made. " * 12
    return Document(document_id=name, title=f"On {name}", locator=name, how="test", paragraphs=[Paragraph(text=text)])


def pairs_of(name: str) -> list[Pair]:
    return [
        Pair(
            pair_id=f"{name}#{number}", document_id=name, title=f"On {name}", published=None, question_number=number,
            question=f"How do {name} keep their {aspect}?", answer=f"**{name}** keep it by how they are made. " * 10,
            tags=[], start_seconds=None, end_seconds=None, document_sha256="0", teacher="t", prompt_sha256=None,
            kept=True, gate=None, reason=None,
        )
        for number, aspect in enumerate(ASPECTS, 1)
    ]  # fmt: skip


PAIRS = [pair for name in SUBJECTS for pair in pairs_of(name)]
PLAN = split(PAIRS, SplitSettings(), seed=1)
QUESTION = {pair.pair_id: pair.question for pair in PAIRS}


class Server(ThreadingHTTPServer):
    """Does every task of an augment prompt, as `say` tells it; holds its replies back after `free` of them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock, self.free, self.more = threading.Lock(), 10_000, threading.Event()
        self.asked: list[list[int]] = []
        self.talks: list[str] = []
        self.leave_out, self.never = set[int](), set[int]()
        self.instead: dict[str, str] = {}
        self.holding = threading.Semaphore(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def reply(self, prompt: str) -> str:
        tasks = re.findall(r"^(\d+)\. (\w+)(.*)$", prompt.split("\nTASKS\n")[1], re.MULTILINE)
        title = prompt.partition("Title: On ")[2].partition("\n")[0]
        with self.lock:
            first = not any(title == known for known in self.talks)
            self.asked.append([int(number) for number, *_ in tasks])
            self.talks.append(title)
            held = len(self.asked) > self.free
        if held:
            self.holding.release()
            self.more.wait()
        items = [
            {
                "question_number": int(number),
                "text": self.instead.get(command, self.instead.get(number)) or self.say(command, rest, title),
            }
            for number, command, rest in tasks
            if int(number) not in (self.never | self.leave_out if first else self.never)
        ]
        return json.dumps({"items": items})

    def say(self, command: str, rest: str, title: str) -> str:
        question, way = ([int(digits) for digits in re.findall(r"\d+", rest)] * 2)[:2]
        if command == "REWORD" and "LLY" in rest:  # formally, casually
            return f"In a {rest.split(maxsplit=1)[0].lower()} tone: how do {title} keep the {ASPECTS[question - 1]}?"
        if command == "TAKE":
            return f"What keeps the {ASPECTS[question - 1]}?\n\n**{title.capitalize()}** keep it by how they are made."
        if command == "REWORD":
            seen = ("once", "twice")[way - 1]
            return f"By which means, seen {seen}, is the {ASPECTS[question - 1]} kept by {title}?"
        if command == "SHORTEN":
            return f"**{title.capitalize()}** keep the {ASPECTS[question - 1]} by how they are made. Simple as that."
        if command == "LENGTHEN":
            return f"**{title.capitalize()}** keep the {ASPECTS[question - 1]} by how they are made, all. " * 12
        emperor = ("Nero", "Titus", "Trajan")[way - 1]
        return f"What did {emperor} think of submarines, of all {title}?\n\nI have never talked about that."

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = self.server.reply(body["messages"][1]["content"])
        usage = {"prompt_tokens": len(body["messages"][1]["content"]) // 4, "completion_tokens": len(text) // 4}
        events = [
            {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage},
        ]
        data = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(data.encode())))
        self.end_headers()
        self.wfile.write(data.encode())

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield running
    running.more.set()
    running.shutdown()
    thread.join()
    running.server_close()


def teacher_of(url: str) -> OpenAITeacher:
    options = {"model": "gpt-5-mini", "base_url": url, "price": {"input": 0.25, "output": 2.0}, "concurrency": 2}
    return OpenAITeacher(OpenAITeacher.Options.model_validate(options))


def made(server: Server, folder: Path, settings: AugmentSettings = ALL, plan: SplitPlan = PLAN) -> Augmented:
    """The paid half, with no gate."""
    teacher = teacher_of(server.url)
    teacher.begin(folder)
    try:
        return taught(PAIRS, plan, talk, teacher, lambda pair, kind: None, settings, 1, 4, lambda *_: None, example)
    finally:
        teacher.close()


def kept(result: Augmented, plan: SplitPlan = PLAN, unseen: tuple[str, ...] = ()) -> Augmented:
    return apart(result.variants, PAIRS, plan, 0.7, 1, unseen)


def rows(plan: SplitPlan, split: str) -> bytes:
    by_id = {pair.pair_id: pair for pair in PAIRS}
    return encode("x.jsonl", [example(by_id[pair_id]) for pair_id in plan.splits[split]])[0]


def test_every_train_pair_gets_its_variants_in_one_call_per_talk(server: Server, tmp_path: Path) -> None:
    result = made(server, tmp_path)
    assert sorted(server.talks) == PLAN.documents["train"]
    counts = Counter(variant.kind for variant in result.variants)
    train = len(PLAN.splits["train"])
    assert not result.dropped and result.usd > 0
    assert (counts["paraphrase"], counts["short"], counts["long"]) == (2 * train, train, train)
    assert 0 < counts["out_of_scope"] <= 0.3 * train + len(PLAN.documents["train"])


def test_a_pair_is_asked_in_both_registers_and_a_long_answer_gives_a_question_about_a_part(
    server: Server, tmp_path: Path
) -> None:
    result = made(server, tmp_path, AugmentSettings(registers=1, parts=1))
    counts, train = Counter(variant.kind for variant in result.variants), len(PLAN.splits["train"])
    assert counts == {"formal": train, "casual": train, "part": train} and not result.dropped
    assert len(server.asked) == len(PLAN.documents["train"]), "one call per talk"
    assert {v.parent for v in result.variants} == set(PLAN.splits["train"])


def test_a_variant_is_tagged_with_its_parent_and_keeps_one_of_its_sides(server: Server, tmp_path: Path) -> None:
    by_id = {pair.pair_id: pair for pair in PAIRS}
    for variant in made(server, tmp_path).variants:
        question, answer = (message.content for message in variant.messages)
        if variant.kind == "out_of_scope":
            assert variant.parent is None and variant.variant_id.startswith(f"{variant.document_id}~out_of_scope")
            continue
        parent = by_id[variant.parent or ""]
        assert variant.variant_id.startswith(f"{parent.pair_id}~{variant.kind}")
        assert (question == parent.question) != (answer == parent.answer)


def test_nothing_is_made_from_what_is_held_out(server: Server, tmp_path: Path) -> None:
    result = made(server, tmp_path)
    assert {variant.parent for variant in result.variants if variant.parent} <= set(PLAN.splits["train"])
    assert {variant.document_id for variant in result.variants} <= set(PLAN.documents["train"])
    held_out = [QUESTION[pair_id] for split in ("valid", "test") for pair_id in PLAN.splits[split]]
    left = kept(result).variants
    questions = [variant.messages[0].content for variant in left]
    both = near_duplicates([*questions, *held_out], 0.7)
    assert not [pair for pair in both if pair[0] < len(questions) <= pair[1]]


def test_a_variant_near_a_held_out_question_is_dropped_and_counted(server: Server, tmp_path: Path) -> None:
    stolen = QUESTION[PLAN.splits["test"][0]]
    server.instead = {"1": stolen.replace("How do", "So how exactly do")}  # the first task of every talk
    assert list(near_duplicates([server.instead["1"], *QUESTION.values()], 0.7))
    result = kept(made(server, tmp_path, AugmentSettings(paraphrases=1)))
    talks = len({name.split("#")[0] for name in PLAN.splits["train"]})
    assert result.dropped == {"paraphrase: near a held-out question": 1, "paraphrase: asked already": talks - 1}
    assert len(result.variants) == len(PLAN.splits["train"]) - talks


def test_whatever_else_is_measured_stays_unseen_too(server: Server, tmp_path: Path) -> None:
    result = replayed(40, AugmentSettings(replay=0.2), 1, lambda prompts: ["Fine."] * len(prompts))
    question = result.variants[0].messages[0].content
    left = kept(result, unseen=(question,))
    assert left.dropped == {"replay: near a held-out question": 1} and len(left.variants) == len(result.variants) - 1


def test_a_question_that_says_nothing_new_is_dropped() -> None:
    def variant(name: str, kind: str, question: str) -> Variant:
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "Yes."}]
        fields = {"variant_id": name, "kind": kind, "teacher": "t", "messages": messages}
        return Variant.model_validate(fields)

    known = QUESTION[PLAN.splits["train"][0]]
    given = [
        variant("a", "paraphrase", known),
        variant("b", "out_of_scope", known.replace("How", "And how")),
        variant("c", "paraphrase", "Do emperors like submarines?"),
        variant("d", "paraphrase", "Do emperors like submarines?"),
        variant("e", "short", known),
    ]
    left = apart(given, PAIRS, PLAN, 0.7, 1)
    assert {v.variant_id for v in left.variants} == {"c", "e"}
    assert sum(left.dropped.values()) == 3


def test_valid_and_test_never_change_and_train_keeps_its_rows_in_front(server: Server, tmp_path: Path) -> None:
    before = {split: rows(PLAN, split) for split in ("train", "valid", "test")}
    left = kept(made(server, tmp_path))
    by_id = {pair.pair_id: pair for pair in PAIRS}
    train = merged([example(by_id[pair_id]) for pair_id in PLAN.splits["train"]], left.variants, PLAN)
    assert encode("x.jsonl", train)[0].startswith(before["train"])
    assert len(train) == len(PLAN.splits["train"]) + len(left.variants)
    assert split(PAIRS, SplitSettings(), seed=1) == PLAN
    assert {split: rows(PLAN, split) for split in before} == before


def test_off_leaves_train_byte_for_byte_as_it_was(server: Server, tmp_path: Path) -> None:
    off = AugmentSettings()
    assert not off.on and not problems(off, None)
    result = kept(made(server, tmp_path, off))
    assert not result.variants and not server.asked
    by_id = {pair.pair_id: pair for pair in PAIRS}
    original = [example(by_id[pair_id]) for pair_id in PLAN.splits["train"]]
    assert encode("x.jsonl", merged(original, result.variants, PLAN))[0] == rows(PLAN, "train")


def test_a_variant_whose_parent_left_the_train_side_is_refused(server: Server, tmp_path: Path) -> None:
    result = made(server, tmp_path, AugmentSettings(paraphrases=1))
    other = PLAN.model_copy(update={"splits": PLAN.splits | {"train": PLAN.splits["train"][1:]}})
    with pytest.raises(DatasetError, match="not in the train split"):
        merged([], result.variants, other)


def test_the_same_seed_gives_the_same_rows_in_the_same_order(server: Server, tmp_path: Path) -> None:
    first, second = kept(made(server, tmp_path / "a")), kept(made(server, tmp_path / "b"))
    assert first.variants == second.variants
    assert [v.variant_id for v in first.variants] != sorted(v.variant_id for v in first.variants)


def test_what_is_wished_for_one_talk_does_not_depend_on_the_others() -> None:
    half = AugmentSettings(short=0.5, long=0.5)
    drawn = [[(w.kind, w.pair) for w in wishes(pairs_of(name), half, 3)] for name in SUBJECTS]
    assert drawn == [[(w.kind, w.pair) for w in wishes(pairs_of(name), half, 3)] for name in SUBJECTS]
    assert 0 < sum(map(len, drawn)) < 2 * len(PAIRS)
    assert len({len(result) for result in drawn}) > 1


def test_nothing_is_paid_twice_and_more_wishes_pay_only_for_what_is_new(server: Server, tmp_path: Path) -> None:
    first = made(server, tmp_path, AugmentSettings(paraphrases=1))
    paid = len(server.asked)
    again = made(server, tmp_path, AugmentSettings(paraphrases=1))
    assert (again.variants, len(server.asked), again.usd) == (first.variants, paid, 0.0)
    made(server, tmp_path, AugmentSettings(paraphrases=2))
    assert len(server.asked) == 2 * paid
    assert all(len(numbers) == len(ASPECTS) for numbers in server.asked[paid:])


def test_only_what_did_not_come_is_asked_again_with_its_number(server: Server, tmp_path: Path) -> None:
    server.leave_out = {2, 5}
    result = made(server, tmp_path, AugmentSettings(paraphrases=2))
    talks = len(PLAN.documents["train"])
    assert sorted(map(tuple, server.asked)) == sorted([tuple(range(1, 9))] * talks + [(2, 5)] * talks)
    assert len(result.variants) == 2 * len(PLAN.splits["train"]) and not result.dropped


def test_what_never_comes_is_counted_and_does_not_cost_again(server: Server, tmp_path: Path) -> None:
    server.never = {3}
    result = made(server, tmp_path, AugmentSettings(paraphrases=1))
    talks = len(PLAN.documents["train"])
    assert result.dropped == {"paraphrase: did not come": talks} and len(server.asked) == 3 * talks
    made(server, tmp_path, AugmentSettings(paraphrases=1))
    assert len(server.asked) == 3 * talks


def test_a_teacher_that_never_says_anything_usable_is_stopped(server: Server, tmp_path: Path) -> None:
    server.never = set(range(100))
    with pytest.raises(TeacherStopped, match="without a usable item"):
        made(server, tmp_path, AugmentSettings(paraphrases=1))


KILLED = """
import sys
from pathlib import Path
from tests.unit.pairs import example
from tests.unit.stages.test_augment import PAIRS, PLAN, talk, teacher_of
from understudy.sections import AugmentSettings
from understudy.stages.augment import taught
teacher = teacher_of(sys.argv[1])
teacher.begin(Path(sys.argv[2]))
taught(PAIRS, PLAN, talk, teacher, lambda p, k: None, AugmentSettings(paraphrases=1), 1, 4, lambda *_: None, example)
"""


def test_a_killed_run_pays_at_most_again_for_what_was_in_flight(server: Server, tmp_path: Path, root: Path) -> None:
    server.free, in_flight = 2, 2
    environment = os.environ | {"PYTHONPATH": str(root)}
    run = subprocess.Popen([sys.executable, "-c", KILLED, server.url, str(tmp_path)], env=environment, cwd=root)
    try:
        for _ in range(in_flight):
            assert server.holding.acquire(timeout=60)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    server.free = 10_000
    server.more.set()
    result = made(server, tmp_path, AugmentSettings(paraphrases=1))
    assert len(result.variants) == len(PLAN.splits["train"])
    assert len(server.asked) <= len(PLAN.documents["train"]) + in_flight
    [totals] = CallLedger(tmp_path / CALLS).summary()
    assert (totals.kind, totals.failed) == ("augment", in_flight)


def test_the_gates_judge_a_variant_as_they_judged_its_parent(server: Server, tmp_path: Path) -> None:
    specs = {"length": {"min_words": 30, "max_deviations": None}, "mentions": {}, "duplicates": {}}
    refuse = by_gates([(name, build("gate", name, options)) for name, options in specs.items()], PAIRS)
    teacher = teacher_of(server.url)
    teacher.begin(tmp_path)
    result = taught(PAIRS, PLAN, talk, teacher, refuse, ALL, 1, 4, lambda *_: None, example)
    teacher.close()
    assert result.dropped == {"short: length": len(PLAN.splits["train"])}
    assert any(variant.kind == "out_of_scope" for variant in result.variants)


def wish(kind: str, number: int = 1) -> Wish:
    return Wish(number, kind, 1, None if kind == "out_of_scope" else PAIRS[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        ("paraphrase", "In which manner do kettles hold on to their heat?", None),
        ("paraphrase", "How do kettles\nkeep heat?", "malformed"),
        ("paraphrase", "What does the speaker say about kettles?", "mentions the talk"),
        ("paraphrase", "How do 3 kettles keep their heat?", "other numbers"),
        ("paraphrase", "Why do kettles never keep their heat?", "turned round"),
        ("paraphrase", "What is the quickest road to an orchid garden?", "another question"),
        ("formal", "In which manner do kettles hold on to their heat?", None),
        ("casual", "How come 3 kettles stay hot?", "other numbers"),
        ("part", "What holds the heat?\n\nHow kettles are made.", None),
        ("part", "What holds the heat?", "malformed"),
        ("part", "What holds the heat?\n\n" + "kettles " * 90, "not a part"),
        ("part", "What holds the heat?\n\nKettles are made 3 times.", "other numbers"),
        (
            "part",
            "What holds the heat?\n\nSubmarine emperors garden orchids along quiet roads.",
            "not said in the answer",
        ),
        ("short", "word " * 70, "not shorter"),
        ("short", "By how they are made.", None),
        ("long", "word " * 90, "not longer"),
        ("long", "NONE", "the talk says no more"),
        ("out_of_scope", "Do emperors like submarines?", "malformed"),
        ("out_of_scope", "Do emperors like submarines?\n\nI never talked about that.", None),
        ("out_of_scope", "Do emperors like submarines?\n\nAs an AI I cannot say.", "speaks of an AI"),
        ("out_of_scope", "Do emperors like submarines?\n\nI guess 3 of them do.", "not a refusal"),
        ("out_of_scope", "How are kettles made?\n\nI never talked about that.", "a talk may answer it"),
    ],
)
def test_an_entry_is_what_was_wished_for_or_says_why_not(kind: str, text: str, why: str | None) -> None:
    result = read(wish(kind), text.strip(), PAIRS[0], [substance(talk("kettles").text)])
    assert (result if isinstance(result, str) else None) == why


def test_the_prompt_begins_as_both_passes_do_and_lists_each_pair_once() -> None:
    document = talk("kettles")
    wishes = [Wish(number, kind, 1, PAIRS[0]) for number, kind in enumerate(("paraphrase", "short", "long"), 1)]
    prompt = compose(document, wishes, ["On kettles"])
    other = prompting.compose(TeacherRequest(kind="questions", document=document, count=4))
    assert prompt.messages[0] == other.messages[0]
    front = prompt.messages[1]["content"].split("Do every task")[0]
    assert other.messages[1]["content"].startswith(front.rstrip()) and "END OF TALK" in front
    assert prompt.messages[1]["content"].count(PAIRS[0].question) == 1
    assert prompt.messages[1]["content"].count(PAIRS[0].answer.strip()) == 1
    assert "- On kettles" not in prompt.messages[1]["content"] and prompt.numbers == (1, 2, 3)
    assert "- On looms" in compose(document, [wish("out_of_scope")], ["On looms"]).messages[1]["content"]


def test_only_a_model_can_write_variants() -> None:
    quoting = ExtractiveTeacher(ExtractiveTeacher.Options())
    assert "written by a model" in problems(AugmentSettings(short=0.5), quoting)[0]
    assert not problems(AugmentSettings(replay=0.1), quoting)
    assert not problems(ALL, teacher_of("http://127.0.0.1:9/v1"))


def test_a_call_is_capped_by_what_its_entries_may_take(server: Server, tmp_path: Path) -> None:
    teacher = teacher_of(server.url)
    teacher.begin(tmp_path)
    one, two = (call_for(teacher, talk("looms"), [wish("long", n) for n in range(1, m)]) for m in (2, 3))
    assert two.max_tokens - one.max_tokens == teacher.common.answer_tokens
    assert write(teacher, talk("looms"), []).usd == 0.0 and not server.asked
    teacher.close()


def test_replay_keeps_the_bases_own_finished_replies_and_asks_no_teacher() -> None:
    seen_prompts: list[str] = []

    def answer(prompts: list[str]) -> list[str]:
        seen_prompts.extend(prompts)
        return ["", "It breaks off in the", "<think>Hm.</think> Yes.", *["I am fine."] * (len(prompts) - 3)]

    result = replayed(100, AugmentSettings(replay=0.1), 7, answer)
    assert len(seen_prompts) == 10 and len(result.variants) == 7
    assert result.dropped == {"replay: not a finished reply": 3}
    assert [v.messages[0].content for v in result.variants] == seen_prompts[3:]
    assert {(v.kind, v.teacher, v.parent, v.document_id) for v in result.variants} == {("replay", "base", None, None)}
    assert merged([], result.variants, PLAN)[0].messages == result.variants[0].messages
    assert not replayed(100, AugmentSettings(), 7, answer).variants and len(seen_prompts) == 10


def test_the_general_prompts_are_different_questions() -> None:
    assert len(set(PROMPTS)) == len(PROMPTS) >= 60
    assert not list(near_duplicates(PROMPTS, 0.7))
