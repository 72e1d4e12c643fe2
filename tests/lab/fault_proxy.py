"""A TCP proxy that counts what passes and breaks connections as a test asks for it."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Literal, Self

from lab.ports import HOST

CHUNK = 65_536
QUEUE = 256
"""Chunks on their way in one direction of a connection; more of them wait in the kernel."""


@dataclass
class Cut:
    """The end of connections after so many bytes.

    Attributes:
        after: bytes of a connection that still pass, to the last one.
        direction: which bytes are counted: `up` to the server or `down` to the client.
        times: connections that this happens to; the ones after them live.
        reset: end it by a TCP reset instead of an orderly close.
    """

    after: int
    direction: Literal["up", "down"] = "up"
    times: int = 1
    reset: bool = False


class CutOffError(Exception):
    """A cut has come due."""


@dataclass
class Link:
    """One client's connection to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    cut: Cut | None
    reset: bool = False

    def end(self) -> None:
        """Close both sides; what was not sent yet is sent, unless the link is to be reset."""
        for writer in (self.client, self.server):
            if self.reset:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
                writer.transport.abort()
            else:
                writer.close()


class FaultProxy:
    """A port in front of another one; started and ended by `with`.

    Attributes:
        port: where clients connect, on 127.0.0.1.
        sent, received: bytes that went to the server and came back, over all connections.
        connections: how many clients have connected.
        delay_s: how late bytes arrive, in each direction; throughput stays as it is.
        stalled: whether nothing arrives; connections open and stay open all the same, and bytes are
            taken and kept until this is over.
        refusing: whether new connections are reset at once.
        cut: when the next connections end by themselves.
    """

    def __init__(self, server_port: int, *, server_host: str = HOST) -> None:
        self.server = (server_host, server_port)
        self.port = self.sent = self.received = self.connections = 0
        self.delay_s = 0.0
        self.stalled = self.refusing = False
        self.cut: Cut | None = None
        self._links: dict[asyncio.Task[None], Link] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        """Listen on a free port."""
        self._thread.start()
        listen = asyncio.start_server(self._serve, HOST, 0)
        self._listener = asyncio.run_coroutine_threadsafe(listen, self._loop).result(10)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more and end every connection."""
        self._loop.call_soon_threadsafe(self._listener.close)
        self.drop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def reset_counts(self) -> None:
        """Count bytes and connections from zero."""
        self.sent = self.received = self.connections = 0

    def drop(self, *, reset: bool = False) -> int:
        """End every connection now, orderly or by a TCP reset.

        Returns:
            how many there were.
        """
        return asyncio.run_coroutine_threadsafe(self._drop(reset), self._loop).result(10)

    async def _drop(self, reset: bool) -> int:
        links = dict(self._links)
        for task, link in links.items():
            link.reset = reset
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        return len(links)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections += 1
        link = Link(client, client, None, reset=True)
        try:
            if not self.refusing:
                server_reader, server = await asyncio.open_connection(*self.server)
                link = Link(client, server, self._next_cut())
                await self._relay(reader, server_reader, link)
        except* (OSError, CutOffError, asyncio.CancelledError):
            link.reset |= bool(link.cut and link.cut.reset)
        finally:
            link.end()

    async def _relay(
        self, client: asyncio.StreamReader, server: asyncio.StreamReader, link: Link
    ) -> None:
        task = asyncio.current_task()
        assert task
        self._links[task] = link
        try:
            async with asyncio.TaskGroup() as group:
                for flow in (Flow(self, link, "up", client), Flow(self, link, "down", server)):
                    group.create_task(flow.read())
                    group.create_task(flow.write())
        finally:
            del self._links[task]

    def _next_cut(self) -> Cut | None:
        if self.cut is None or self.cut.times < 1:
            return None
        self.cut.times -= 1
        return self.cut

    def count(self, direction: str, size: int) -> None:
        """Add bytes that passed."""
        if direction == "up":
            self.sent += size
        else:
            self.received += size


@dataclass
class Flow:
    """One direction of a link."""

    proxy: FaultProxy
    link: Link
    direction: str
    source: asyncio.StreamReader
    queue: asyncio.Queue[tuple[float, bytes]] = field(default_factory=lambda: asyncio.Queue(QUEUE))

    async def read(self) -> None:
        """Take bytes until there are no more, and note when each is to go on."""
        data = b"more"
        while data:
            data = await self.source.read(CHUNK)
            await self.queue.put((time_of_loop() + self.proxy.delay_s, data))

    async def write(self) -> None:
        """Pass bytes on when they are due, up to a cut."""
        writer = self.link.server if self.direction == "up" else self.link.client
        left = self._allowed()
        while True:
            due, data = await self.queue.get()
            await asyncio.sleep(max(0.0, due - time_of_loop()))
            while self.proxy.stalled:
                await asyncio.sleep(0.01)
            if not data:
                writer.write_eof()
                return
            writer.write(data[:left])
            self.proxy.count(self.direction, len(data[:left]))
            await writer.drain()
            if left is not None and (left := left - len(data)) <= 0:
                raise CutOffError

    def _allowed(self) -> int | None:
        cut = self.link.cut
        return cut.after if cut and cut.direction == self.direction else None


def time_of_loop() -> float:
    """Now, in seconds of the running loop's clock."""
    return asyncio.get_running_loop().time()
