"""A TCP proxy on 127.0.0.1 that spoils what passes through it."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from tests.chaos.schedule import pause

CHUNK = 64 * 1024
ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST."""


class Toxic(StrEnum):
    """What happens to the connections while it is set."""

    LATENCY = "latency"
    """200 ms before each piece."""
    JITTER = "jitter"
    """0 to 500 ms before each piece."""
    SLOW = "slow"
    """16 KiB a second."""
    BYTEWISE = "bytewise"
    """Each byte of a piece's beginning as its own packet."""
    DEAF = "deaf"
    """Requests vanish."""
    MUTE = "mute"
    """Replies vanish."""
    BLACKHOLE = "blackhole"
    """Both vanish."""
    RESET = "reset"
    """RST in the middle of a reply."""
    TRUNCATED = "truncated"
    """The end of the stream in the middle of a reply."""
    HALF_OPEN = "half-open"
    """No more replies, said by FIN; requests are still taken."""
    REFUSED = "refused"
    """A connection is closed as soon as it is made or used."""


VANISHING = {
    Toxic.DEAF: (True, False),
    Toxic.MUTE: (False, True),
    Toxic.BLACKHOLE: (True, True),
}
"""Whether requests, and whether replies vanish."""


class ToxicProxy:
    """Passes a port on to another; runs on an event loop in its own thread.

    `toxic` may be set at any time from any thread. A connection of which something
    was lost stays lost; one that was only slow continues. `hits` counts what each
    toxic has spoiled.
    """

    def __init__(self, target: int) -> None:
        self.toxic: Toxic | None = None
        self.hits: Counter[Toxic] = Counter()
        self.port = 0
        self.cuts = 0
        """How often connections were closed by `cut`."""
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._links: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    @property
    def connections(self) -> int:
        """How many connections pass through it now."""
        return len(self._links)

    def cut(self) -> bool:
        """Close every connection at once; whether there was one, which is counted."""
        there_was_one = bool(self._links)
        self.cuts += there_was_one
        self._call(self._cut())
        return there_was_one

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._cut()

    async def _cut(self) -> None:
        links = set(self._links)
        for link in links:
            link.cancel()
        if links:
            await asyncio.wait(links)

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._links.add(task)
        task.add_done_callback(self._links.discard)
        # One that is cut before it began closes nothing itself.
        task.add_done_callback(lambda _: writer.close())

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            if self.toxic is Toxic.REFUSED:
                self.hits[Toxic.REFUSED] += 1
                return
            answers, upstream = await asyncio.open_connection("127.0.0.1", self._target)
            link = _Link(self, client=writer, server=upstream)
            async with asyncio.TaskGroup() as group:
                group.create_task(link.pass_on(reader, upstream, is_reply=False))
                group.create_task(link.pass_on(answers, writer, is_reply=True))
        except* (OSError, _Closed, asyncio.IncompleteReadError):
            pass
        finally:
            for side in (writer, upstream):
                if side is not None:
                    side.close()


class _Closed(Exception):
    """The toxic has ended this connection."""


class _Link:
    """One connection, in both directions."""

    def __init__(
        self,
        proxy: ToxicProxy,
        client: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._vanishes = {True: False, False: False}
        """Whether replies and requests of this connection vanish for good."""

    async def pass_on(
        self, source: asyncio.StreamReader, to: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        while data := await source.read(CHUNK):
            toxic = self._proxy.toxic
            if toxic is not None:
                await self._spoil(toxic, data, to, is_reply=is_reply)
            elif not self._vanishes[is_reply]:
                await _send(to, data)
        with suppress(OSError):
            to.write_eof()

    async def _spoil(
        self, toxic: Toxic, data: bytes, to: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        if toxic in VANISHING:
            self._vanish(toxic)
        if self._vanishes[is_reply]:
            return
        match toxic:
            case Toxic.LATENCY:
                await pause(0.2)
            case Toxic.JITTER:
                await pause(random.uniform(0, 0.5))
            case Toxic.SLOW:
                await pause(len(data) / (16 * 1024))
            case Toxic.BYTEWISE:
                for number in range(min(len(data), 50)):
                    await _send(to, data[number : number + 1])
                    await pause(0.001)
                data = data[50:]
            case Toxic.RESET | Toxic.TRUNCATED | Toxic.HALF_OPEN if is_reply:
                await self._break_off(toxic, data)
                return
            case Toxic.REFUSED:
                self._proxy.hits[toxic] += 1
                raise _Closed
            case _:
                # Of replies only, or of what vanishes in the other direction.
                await _send(to, data)
                return
        self._proxy.hits[toxic] += 1
        await _send(to, data)

    def _vanish(self, toxic: Toxic) -> None:
        requests, replies = VANISHING[toxic]
        self._vanishes[False] |= requests
        self._vanishes[True] |= replies
        self._proxy.hits[toxic] += 1

    async def _break_off(self, toxic: Toxic, data: bytes) -> None:
        self._proxy.hits[toxic] += 1
        if toxic is Toxic.HALF_OPEN:
            self._client.write_eof()
            self._vanishes[True] = True
            return
        await _send(self._client, data[: max(1, len(data) // 2)])
        if toxic is Toxic.RESET:
            raw = self._client.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        raise _Closed


async def _send(to: asyncio.StreamWriter, data: bytes) -> None:
    to.write(data)
    await to.drain()
