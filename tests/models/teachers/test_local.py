"""Laws of the local teacher, held against llama.cpp and a tiny model of random weights."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from understudy.calls import Call, Reply, TryAgain
from understudy.calls.local import LocalWire, _Process
from understudy.calls.local_worker import TOKENS_AT_ONCE, LocalModel, answer, without_lengths
from understudy.errors import TeacherError, TeacherStopped

ITEM = {
    "type": "object",
    "properties": {"question_number": {"type": "integer"}, "text": {"type": "string", "maxLength": 5000}},
    "required": ["question_number", "text"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": ITEM, "minItems": 1, "maxItems": 1}},
    "required": ["items"],
    "additionalProperties": False,
}
TALK = " ".join(f"Ice floats on {n} drops of water." for n in range(60))


@pytest.fixture
def make_wire(gguf: Path, tmp_path: Path) -> Iterator[Callable[..., LocalWire]]:
    """Wires over that model, closed at the end."""
    made: list[LocalWire] = []

    def make(**options: Any) -> LocalWire:
        made.append(
            LocalWire(**{"model": str(gguf), "log": tmp_path / "teacher.log", "threads": 1, "gpu_layers": 0} | options)
        )
        return made[-1]

    yield make
    for wire in made:
        wire.close()


@pytest.fixture
def wire(make_wire: Callable[..., LocalWire]) -> LocalWire:
    return make_wire()


def ask(instruction: str, talk: str = TALK, schema: dict[str, Any] | None = None, **changes: Any) -> Call:
    """A call as the passes make them: system, then talk and instruction."""
    messages = ({"role": "system", "content": "You teach."}, {"role": "user", "content": f"{talk}\n\n{instruction}"})
    said = {"settings": {"temperature": 0.0, "seed": 7}, "max_tokens": 24, "messages": messages} | changes
    return Call(kind="answers", document_id="ice", label="local/tiny", model="tiny", schema=schema, **said)


def send(wire: LocalWire, call: Call) -> Reply:
    return asyncio.run(wire.send(call))


def pid(wire: LocalWire) -> int:
    """The process that holds the weights."""
    assert wire._writer is not None
    return wire._writer._process.pid


def alive(pid: int) -> bool:
    """True while the process runs; one that ended and waits for its parent does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def ends(pid: int) -> bool:
    until = time.monotonic() + 10
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pid)


def test_the_schema_forces_its_shape_even_on_random_weights(wire: LocalWire) -> None:
    for seed in range(6):  # greedy, and until one of them ends by itself
        call = ask("Go.", "short", SCHEMA, max_tokens=1500, settings={"temperature": 1.5 * bool(seed), "seed": seed})
        reply = send(wire, call)
        assert reply.text.lstrip().startswith("{")
        if reply.finish == "stop":
            break
    items = json.loads(reply.text, strict=False)["items"]
    assert [set(item) for item in items] == [{"question_number", "text"}]


def test_a_reply_at_the_cap_says_so(wire: LocalWire) -> None:
    reply = send(wire, ask("Go.", schema=SCHEMA, max_tokens=9))
    assert (reply.finish, reply.refusal, reply.usage.output) == ("length", None, 9)


def test_a_reply_ends_where_the_window_does(make_wire: Callable[..., LocalWire]) -> None:
    wire = make_wire(context_window=256)
    reply = send(wire, ask("Go.", "short", max_tokens=4000, settings={}))
    assert reply.finish == "length" and reply.usage.input + reply.usage.output == 256


def test_the_second_pass_does_not_read_the_talk_again(gguf: Path) -> None:
    import llama_cpp

    model = LocalModel(str(gguf), weights=True, window=4096, threads=1, gpu_layers=0)
    seen: list[tuple[int, int]] = []
    for instruction in ("Write questions.", "Now answer numbers 1 to 9.", "Now answer number 4."):
        llama_cpp.llama_perf_context_reset(model.llama.ctx)
        told: list[dict[str, Any]] = []
        job = {"messages": ask(instruction).messages, "schema": None, "max_tokens": 1, "temperature": 0, "seed": 0}
        answer(model, job, told.append)
        done, perf = told[-1]["done"], llama_cpp.llama_perf_context(model.llama.ctx)
        assert perf.n_p_eval == done["input"] - done["cached"], "llama.cpp's own count of what it evaluated"
        seen.append((done["cached"], perf.n_p_eval))
    assert seen[0][0] == 0 and seen[0][1] > 4 * TOKENS_AT_ONCE
    assert all(evaluated < 0.06 * seen[0][1] for _, evaluated in seen[1:]), seen
    model.llama.close()


def test_a_reply_does_not_depend_on_the_calls_before_it(wire: LocalWire, make_wire: Callable[..., LocalWire]) -> None:
    first, second = ask("Write questions.", max_tokens=60), ask("Now answer.", max_tokens=60)
    warm = [send(wire, call) for call in (first, second, first)]
    cold = send(make_wire(), second)
    assert warm[1].usage.cached > 0 and cold.usage.cached == 0
    assert warm[1].text == cold.text and warm[0].text == warm[2].text


def test_the_seed_decides_where_temperature_lets_it(wire: LocalWire) -> None:
    texts = [send(wire, ask("Go.", settings={"temperature": 1.0, "seed": seed})).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_thinking_is_switched_off_and_a_missing_system_role_is_made_up_for(gguf: Path) -> None:
    model = LocalModel(str(gguf), weights=False, window=None, threads=1, gpu_layers=0)
    prompt = model.prompt([{"role": "system", "content": "none"}, {"role": "user", "content": "Why?"}])
    text = b"".join(model.piece(token) for token in prompt).decode()
    assert "<|start_header_id|>user<|end_header_id|>none\n\nWhy?<|eot_id|>" in text and text.endswith("<think></think>")


def test_tokens_are_the_models_own_and_need_no_weights(wire: LocalWire, gguf: Path) -> None:
    import llama_cpp

    own = llama_cpp.Llama(str(gguf), vocab_only=True, verbose=False)
    for text in ("", "Ice floats.", "你好 🙂\n\n- **bold**", TALK):
        assert wire.tokens(text) == len(own.tokenize(text.encode(), add_bos=False, special=True))
    assert (wire.window, wire._writer) == (4096, None)


def test_a_talk_is_counted_while_another_one_is_answered(wire: LocalWire) -> None:
    async def both() -> tuple[int, bool]:
        sent = asyncio.create_task(wire.send(ask("Go.", max_tokens=2000)))
        while wire._writer is None:
            await asyncio.sleep(0.01)
        counted = wire.tokens("Ice floats.")
        early = not sent.done()
        sent.cancel()
        return counted, early

    counted, early = asyncio.run(both())
    assert counted > 0 and early


def test_a_prompt_that_does_not_fit_names_the_talk_its_tokens_and_the_window(
    make_wire: Callable[..., LocalWire],
) -> None:
    wire = make_wire(context_window=512)
    with pytest.raises(TeacherError, match=r"ice has 1,\d{3} tokens, .* window 512"):
        send(wire, ask("Go."))
    assert send(wire, ask("Go.", "short")).text


def test_two_calls_at_once_are_answered_one_after_the_other(wire: LocalWire) -> None:
    calls = [ask(f"Answer number {n}.", schema=SCHEMA) for n in range(4)]

    async def together() -> list[Reply]:
        return await asyncio.gather(*(wire.send(call) for call in calls))

    together_, alone = asyncio.run(together()), [send(wire, call) for call in calls]
    assert [reply.text for reply in together_] == [reply.text for reply in alone]


def test_the_process_outlives_the_thread_and_the_loop_that_started_it(wire: LocalWire) -> None:
    starter = threading.Thread(target=lambda: (wire.tokens("warm"), send(wire, ask("Go."))))
    starter.start()
    starter.join()
    first = pid(wire)
    send(wire, ask("Again."))
    assert pid(wire) == first


def at_first_text(wire: LocalWire, number: signal.Signals, patch: pytest.MonkeyPatch) -> Reply:
    """Ask for a long reply and send the process a real signal once it has said something."""
    read = _Process._read

    def listen(self: _Process, idle_seconds: float) -> dict[str, Any]:
        told = read(self, idle_seconds)
        if told.get("text"):
            self._process.send_signal(number)
        return told

    with patch.context() as patched:
        patched.setattr(_Process, "_read", listen)
        return send(wire, ask("Go on.", max_tokens=3000))


def test_a_crash_costs_one_call_and_the_next_one_starts_anew(wire: LocalWire, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = send(wire, ask("Go.")).text
    first = pid(wire)
    with pytest.raises(TryAgain, match=r"ended \(SIGSEGV\) while it answered ice"):
        at_first_text(wire, signal.SIGSEGV, monkeypatch)
    assert send(wire, ask("Go.")).text == expected and pid(wire) != first
    with pytest.raises(TryAgain):
        at_first_text(wire, signal.SIGSEGV, monkeypatch)
    with pytest.raises(TeacherStopped, match=r"(?s)SIGSEGV.*context_window.*teacher\.log"):
        at_first_text(wire, signal.SIGSEGV, monkeypatch)


def test_silence_keeps_what_was_said_and_ends_the_process(wire: LocalWire, monkeypatch: pytest.MonkeyPatch) -> None:
    send(wire, ask("Go."))
    silent_one, wire.idle_seconds = pid(wire), 0.5
    reply = at_first_text(wire, signal.SIGSTOP, monkeypatch)
    assert (reply.finish, reply.usage) == ("cut", None) and reply.text
    assert ends(silent_one)
    wire.idle_seconds = 60
    assert send(wire, ask("Go.")).finish == "length"


def test_a_cancelled_call_ends_the_process_and_one_that_waits_goes_on(wire: LocalWire) -> None:
    async def cancel_first() -> Reply:
        long = asyncio.create_task(wire.send(ask("Go on.", max_tokens=3000)))
        while wire._writer is None:
            await asyncio.sleep(0.01)
        waits, unwanted = (asyncio.create_task(wire.send(ask(text))) for text in ("Go.", "Not this one."))
        await asyncio.sleep(0.05)
        first = pid(wire)
        unwanted.cancel()
        await asyncio.sleep(0.05)
        assert alive(first), "a call that was waiting its turn took the process of another one with it"
        long.cancel()
        reply = await waits
        assert ends(first)
        return reply

    assert asyncio.run(cancel_first()).text


def test_nothing_is_left_running_when_the_parent_is_killed(gguf: Path, tmp_path: Path, root: Path) -> None:
    program = (
        "import asyncio, os, threading, time\n"
        "from pathlib import Path\n"
        "from understudy.calls import Call\n"
        "from understudy.calls.local import LocalWire\n"
        f"wire = LocalWire({str(gguf)!r}, Path({str(tmp_path / 'log')!r}), threads=1)\n"
        "call = Call('answers', 'ice', 'l', 'm', ({'role': 'user', 'content': 'Go.'},), None, {}, 4000)\n"
        "threading.Thread(target=lambda: asyncio.run(wire.send(call)), daemon=True).start()\n"
        "while wire._writer is None or wire._writer._window is None: time.sleep(0.01)\n"
        "if os.fork() == 0: time.sleep(20); os._exit(0)  # holds the pipes open\n"
        "print(wire._writer._process.pid, wire._counter._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = [int(word) for word in parent.stdout.readline().split()]
    assert len(children) == 2
    parent.kill()
    parent.wait()
    assert all(ends(child) for child in children)


@pytest.mark.parametrize(
    ("model", "file", "told"),
    [
        ("{tmp}/gone.gguf", None, "does not exist"),
        ("gone.gguf", None, "does not exist"),
        ("{tmp}", None, "is a folder"),
        ("{tmp}/page.gguf", None, "is not a GGUF file"),
        ("not a repository", "*.gguf", "neither a GGUF file nor 'owner/name'"),
        ("a/b/c", "*.gguf", "neither a GGUF file nor 'owner/name'"),
        ("Qwen/Qwen3-8B-GGUF", None, "Give a pattern"),
        ("Qwen/Qwen3-8B-GGUF", "*Q4_K_M.gguf", None),
        ("{gguf}", None, None),
    ],
)
def test_problems_are_told_without_loading(
    model: str, file: str | None, told: str | None, gguf: Path, tmp_path: Path
) -> None:
    (tmp_path / "page.gguf").write_text("<html>not found</html>")
    wire = LocalWire(model.format(tmp=tmp_path, gguf=gguf), tmp_path / "log", file)
    problems = wire.problems()
    assert (wire._counter, wire._writer) == (None, None)
    assert not problems if told is None else len(problems) == 1 and told in problems[0]


def test_a_file_llama_cpp_refuses_stops_the_teacher_with_its_log(
    make_wire: Callable[..., LocalWire], gguf: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut.gguf").write_bytes(gguf.read_bytes()[:300_000])
    wire = make_wire(model=str(tmp_path / "cut.gguf"))
    with pytest.raises(TeacherStopped, match=r"cut\.gguf cannot be used: llama\.cpp cannot load it"):
        send(wire, ask("Go."))


def test_a_large_max_length_never_reaches_the_grammar() -> None:
    plain = without_lengths(SCHEMA)
    assert "maxLength" not in json.dumps(plain) and "maxItems" in json.dumps(plain)
    named_so = {"properties": {"maxLength": {"type": "string"}}}
    assert without_lengths(named_so) == named_so


def test_importing_the_wire_imports_no_backend() -> None:
    code = (
        "import sys, understudy.calls.local, understudy.calls.local_worker\n"
        "print({'numpy', 'llama_cpp', 'huggingface_hub', 'openai', 'jinja2'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
