"""The loopback teacher inside the process: the same draws, bills and streams, without a socket."""

import asyncio
import pickle
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2

from tests.fixtures.teacher_chat import Chat
from tests.fixtures.teacher_faults import Plan
from tests.simulation.world import SimulatedClock, World

KEPT = ("_attempts", "_asked_before")


class Provider:
    """The seam `HttpTransport`: all that the server remembers survives the process of its client."""

    def __init__(self, world: World, plan: Plan, outages: list[tuple[float, float]], file: Path) -> None:
        """`outages` are spans of seconds after the start in which no connection stands."""
        self.world, self.file = world, file
        self.chat = Chat(replace(plan, clock=SimulatedClock(world).monotonic))
        self._outages = [(world.now + begin, world.now + end) for begin, end in outages]
        if file.exists():
            known = pickle.loads(file.read_bytes())
            vars(self.chat.account).update(known["account"])
            vars(self.chat).update(known["chat"])
            vars(self.chat._cache).update(known["cache"])
        self.chat.account.in_flight = 0

    def save(self) -> None:
        """Keep what the server remembers, for the next process."""
        account = {name: value for name, value in vars(self.chat.account).items() if name != "_lock"}
        chat = {name: getattr(self.chat, name) for name in KEPT}
        self.file.write_bytes(pickle.dumps({"account": account, "chat": chat, "cache": vars(self.chat._cache)}))

    def asynchronous(self) -> httpx2.AsyncBaseTransport:
        return _Transport(self)

    def blocking(self) -> httpx2.BaseTransport:
        raise AssertionError("no blocking client is simulated")

    def away(self) -> bool:
        """Whether the network is down now."""
        return any(begin <= self.world.now < end for begin, end in self._outages)


class _Exchange:
    """What a handler of the loopback teacher answers with."""

    def __init__(self) -> None:
        self.head: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.dropped = False

    def send_json(self, status: int, value: Any, headers: str = "") -> None:
        import json

        self._begin(status, headers + "content-type: application/json\r\n")
        self.pieces.put_nowait(json.dumps(value, ensure_ascii=False).encode())
        self.end()

    def start(self, headers: str = "") -> None:
        self._begin(200, headers + "content-type: text/event-stream\r\n")

    def chunk(self, data: bytes) -> None:
        self.pieces.put_nowait(data)

    def end(self) -> None:
        self.pieces.put_nowait(None)

    def drop(self) -> None:
        self.dropped = True
        if not self.head.done():
            self.head.set_exception(httpx2.RemoteProtocolError("Server disconnected without sending a response."))
        self.pieces.put_nowait(None)

    def _begin(self, status: int, headers: str) -> None:
        if not self.head.done():
            self.head.set_result((status, headers))


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, provider: Provider, exchange: _Exchange, answering: asyncio.Task[None]) -> None:
        self.provider, self.exchange, self.answering = provider, exchange, answering

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self.exchange.pieces.get()) is not None:
            self.provider.world.step("a piece of a reply")
            if self.provider.away():
                raise httpx2.ReadError("the network is down")
            yield piece
        if self.exchange.dropped:
            raise httpx2.RemoteProtocolError("peer closed connection")

    async def aclose(self) -> None:
        self.answering.cancel()


class _Transport(httpx2.AsyncBaseTransport):
    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        self.provider.world.step("a request")
        await asyncio.sleep(0)
        if self.provider.away():
            raise httpx2.ConnectError("the network is down")
        if request.url.path.endswith("/models"):
            return httpx2.Response(200, json={"object": "list", "data": []})
        self.provider.world.trace(f"call: {len(body)} bytes")
        exchange = _Exchange()
        answering = asyncio.ensure_future(self.provider.chat.answer(body, exchange))  # type: ignore[arg-type]
        answering.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            status, lines = await exchange.head
        except BaseException:
            answering.cancel()
            raise
        headers = [tuple(line.split(": ", 1)) for line in lines.split("\r\n") if line]
        self.provider.world.trace(f"call: answered with {status}")
        return httpx2.Response(status, headers=headers, stream=_Stream(self.provider, exchange, answering))
