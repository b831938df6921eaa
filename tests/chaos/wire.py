"""A wire: a TCP relay between two processes, which can be cut, fall silent, or lose every answer."""

import asyncio
from contextlib import suppress
from typing import Literal

State = Literal["whole", "cut", "silent", "deaf"]
CHUNK_BYTES = 65_536


class Wire:
    """Relays to a port of loopback.

    `cut`: connections break, and new ones are closed at once. `silent`: no byte passes; what was sent passes late, when
    the wire is mended, also where the sender has gone meanwhile. `deaf`: requests pass, answers are lost.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._flows = asyncio.Event()
        self._flows.set()
        self._state: State = "whole"
        self._links: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> "Wire":
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._link, "127.0.0.1", 0, backlog=1000)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Break every connection and listen no more."""
        self._server.close()
        self.set("cut")
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def set(self, state: State) -> None:
        """Change what the wire does with all its connections, old and new."""
        if state == "cut" or self._state == "deaf":  # who never got an answer must not get that of a later question
            for link in self._links:
                link.transport.abort()
        self._state = state
        self._flows.set() if state != "silent" else self._flows.clear()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._state == "cut":
            writer.transport.abort()
            return
        try:
            there, onward = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._links |= {writer, onward}
        pumps = [asyncio.create_task(self._pump(reader, onward)), asyncio.create_task(self._pump(there, writer, True))]
        self._pumps.update(pumps)
        await asyncio.wait(pumps)
        self._pumps.difference_update(pumps)
        self._links -= {writer, onward}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool = False) -> None:
        try:
            with suppress(OSError):
                while chunk := await reader.read(CHUNK_BYTES):
                    await self._flows.wait()
                    if answers and self._state == "deaf":
                        continue
                    writer.write(chunk)
                    await writer.drain()
        finally:
            writer.close()
