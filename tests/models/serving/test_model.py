"""Laws of the process that runs llama.cpp, and of a file in it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from understudy.errors import WorkerFailed
from understudy.records import Message
from understudy.serving import Done, Event, Generate, Opening, Request, Sampling
from understudy.serving.gguf import TOKENS_AT_ONCE, Gguf, without_large_limits
from understudy.serving.model import Model, RequestRefused
from understudy.serving.worker import Worker

TALK = " ".join(f"Ice floats on {n} drops of water." for n in range(30))
QUESTION = [Message(role="user", content="Why?")]
GREEDY = Sampling(temperature=0)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "items": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "string", "maxLength": 5000}}
    },
    "required": ["items"],
    "additionalProperties": False,
}


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for one model."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def model(gguf: Path) -> Iterator[Model]:
    model = Model(gguf)
    yield model
    model.close()


def about_the_talk(instruction: str) -> list[Message]:
    """A prompt as the teachers make them: system, then talk and instruction."""
    content = f"{TALK}\n\n{instruction}"
    return [Message(role="system", content="You teach."), Message(role="user", content=content)]


async def answer(model: Model, prompt: list[Message], max_tokens: int = 24, **settings: Any) -> tuple[str, Done]:
    request = Generate(prompt=prompt, max_tokens=max_tokens, **{"sampling": GREEDY} | settings)
    pieces = [piece async for piece in model.generate(request)]
    done = pieces.pop()
    assert isinstance(done, Done)
    return "".join(map(str, pieces)), done


def test_an_answer_given_up_leaves_nothing_for_the_next(model: Model, runner: asyncio.Runner) -> None:
    async def give_up() -> None:
        pieces = model.generate(Generate(prompt=QUESTION, sampling=GREEDY))
        await anext(pieces)
        await pieces.aclose()

    whole = runner.run(answer(model, QUESTION))
    process = model.process
    runner.run(give_up())
    assert runner.run(answer(model, QUESTION))[0] == whole[0]
    assert whole[1].finish == "length" and model.process is process


def test_a_system_message_reaches_the_model(model: Model, runner: asyncio.Runner) -> None:
    alone = runner.run(answer(model, QUESTION))[1]
    with_system = runner.run(answer(model, [Message(role="system", content="Be brief."), *QUESTION]))[1]
    assert with_system.input > alone.input


@pytest.mark.parametrize("code", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_is_started_again(model: Model, runner: asyncio.Runner, code: signal.Signals) -> None:
    runner.run(model.load())
    first = model.process
    assert first
    os.kill(first.pid, code)
    first.wait()
    assert runner.run(answer(model, QUESTION))[0] and model.process is not first


def test_two_crashes_in_a_row_are_the_files_or_the_machines_fault(model: Model, runner: asyncio.Runner) -> None:
    async def crash() -> None:
        pieces = model.generate(Generate(prompt=QUESTION, max_tokens=1900, sampling=Sampling(temperature=1, seed=3)))
        await anext(pieces)
        assert model.process
        os.kill(model.process.pid, signal.SIGSEGV)
        async for _ in pieces:
            pass

    with pytest.raises(WorkerFailed, match=r"\(SIGSEGV\); take another file, a smaller context"):
        runner.run(crash())
    assert model.broken is None and runner.run(answer(model, QUESTION))[0]
    for expected in (None, "SIGSEGV"):
        with pytest.raises(WorkerFailed):
            runner.run(crash())
        assert (model.broken is None) if expected is None else expected in str(model.broken)


def test_an_answer_ends_where_the_context_does(gguf: Path, runner: asyncio.Runner) -> None:
    model = Model(gguf, context=256)
    try:
        done = runner.run(answer(model, QUESTION, 4000, sampling=Sampling(seed=3)))[1]
        assert done.finish == "stop" or done.input + done.output == 256
        with pytest.raises(RequestRefused, match=r"has [\d,]+ tokens, the model's context is 256"):
            runner.run(answer(model, about_the_talk("Go.")))
    finally:
        model.close()


def test_tokens_are_the_models_own_and_need_no_weights(model: Model, runner: asyncio.Runner, gguf: Path) -> None:
    import llama_cpp

    own = llama_cpp.Llama(str(gguf), vocab_only=True, verbose=False)
    for text in ("", "Ice floats.", "你好 🙂\n\n- **bold**", TALK):
        assert runner.run(model.tokens(text)) == len(own.tokenize(text.encode(), add_bos=False, special=True))
    assert runner.run(model.context()) == 2048


def test_no_weights_are_read_before_they_are_needed(gguf: Path) -> None:
    events: list[Event] = []
    worker = Worker(Opening(file=gguf, context=None, threads=1, gpu_layers=0), events.append)
    worker.answer(Request(id=1, kind="open"))
    worker.count(Request(id=2, kind="count", text="Ice floats."))
    assert not worker.loaded and [event.kind for event in events] == ["number", "number"]
    worker.answer(Request(id=3, kind="load"))
    assert worker.loaded and events[0].number == events[2].number == 2048


def test_a_text_is_counted_while_an_answer_is_written(model: Model, runner: asyncio.Runner) -> None:
    async def both() -> None:
        pieces = model.generate(Generate(prompt=QUESTION, max_tokens=1900, sampling=Sampling(temperature=1, seed=3)))
        await anext(pieces)
        assert await model.tokens("Ice floats.") > 0
        assert model._pending, "the answer was over before the count"
        await pieces.aclose()

    runner.run(both())


def test_the_second_prompt_about_a_talk_does_not_read_the_talk_again(gguf: Path) -> None:
    import llama_cpp

    events: list[Event] = []
    worker = Worker(Opening(file=gguf, context=None, threads=1, gpu_layers=0), events.append)
    worker.answer(Request(id=0, kind="load"))
    seen: list[tuple[int, int]] = []
    for instruction in ("Write questions.", "Now answer numbers 1 to 9.", "Now answer number 4."):
        llama_cpp.llama_perf_context_reset(worker.gguf.llama.ctx)
        request = Generate(prompt=about_the_talk(instruction), max_tokens=1, sampling=GREEDY)
        worker.answer(Request(id=1, kind="generate", generate=request))
        done, perf = events[-1].done, llama_cpp.llama_perf_context(worker.gguf.llama.ctx)
        assert done and perf.n_p_eval == done.input - done.cached, "llama.cpp's own count of what it evaluated"
        seen.append((done.cached, perf.n_p_eval))
    assert seen[0][0] == 0 and seen[0][1] > 2 * TOKENS_AT_ONCE
    assert all(evaluated < 0.1 * seen[0][1] for _, evaluated in seen[1:]), seen
    worker.gguf.llama.close()


def test_an_answer_does_not_depend_on_those_before_it(model: Model, runner: asyncio.Runner, gguf: Path) -> None:
    first, second = about_the_talk("Write questions."), about_the_talk("Now answer.")
    warm = [runner.run(answer(model, prompt, 60)) for prompt in (first, second, first)]
    other = Model(gguf)
    try:
        cold = runner.run(answer(other, second, 60))
    finally:
        other.close()
    assert warm[1][1].cached > 0 and cold[1].cached == 0
    assert warm[1][0] == cold[0] and warm[0][0] == warm[2][0]


def test_a_schema_forces_its_shape_even_on_random_weights(model: Model, runner: asyncio.Runner) -> None:
    for seed in range(6):  # until one of them ends by itself
        sampling = Sampling(temperature=1.5, seed=seed)
        text, done = runner.run(answer(model, QUESTION, 1500, json_schema=SCHEMA, sampling=sampling))
        assert text.lstrip().startswith("{")
        if done.finish == "stop":
            break
    assert [type(item) for item in json.loads(text, strict=False)["items"]] == [str]


def test_a_large_limit_never_reaches_the_grammar() -> None:
    plain = without_large_limits(SCHEMA)
    assert "maxLength" not in json.dumps(plain) and plain["properties"]["items"]["maxItems"] == 1
    assert without_large_limits({"maxItems": 100_000, "maxLength": 500}) == {"maxLength": 500}
    property_of_that_name = {"properties": {"maxLength": {"type": "string"}}}
    assert without_large_limits(property_of_that_name) == property_of_that_name


def test_every_token_has_its_bytes(gguf: Path) -> None:
    file = Gguf(gguf)
    text = "Ice: 你好 🙂 <|eot_id|>"
    assert b"".join(map(file.piece, file.tokens(text))).decode() == text
    assert file.piece(-1) == b"" and file.is_end(file.tokens("<|eot_id|>")[0])


def test_nothing_is_left_running_when_the_parent_is_killed(gguf: Path, root: Path) -> None:
    program = (
        "import asyncio, os, sys, time\n"
        "from pathlib import Path\n"
        "from understudy.serving import Generate\n"
        "from understudy.serving.model import Model\n"
        "async def main():\n"
        f"    model = Model(Path({str(gguf)!r}), threads=1)\n"
        "    await anext(model.generate(Generate(prompt='Go.', max_tokens=2000)))\n"
        "    if os.fork() == 0: time.sleep(20); os._exit(0)  # holds the pipes open\n"
        "    print(model.process.pid, flush=True)\n"
        "    time.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    watched = os.pidfd_open(child) if hasattr(os, "pidfd_open") else None
    parent.kill()
    parent.wait()
    if watched is not None:
        import select

        assert select.select([watched], [], [], 10)[0], "the model's process outlived its parent"


def test_importing_it_imports_no_backend() -> None:
    code = (
        "import sys, understudy.serving.model, understudy.serving.worker, understudy.teachers.llama_cpp\n"
        "backends = {'numpy', 'llama_cpp', 'huggingface_hub', 'openai', 'jinja2', 'uvicorn', 'starlette'}\n"
        "print(backends & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
