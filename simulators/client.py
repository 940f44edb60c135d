"""Clients of the control protocol, for tests, demonstration and scenarios.  One object a line each way.

with Client.connect("127.0.0.1", 4800) as line:
    line.do("operator", device="filler", action="reset")
"""

from __future__ import annotations

import asyncio
import json
import socket
from types import TracebackType
from typing import Any, Self


class ControlError(Exception):
    """The control said no; the text is its sentence."""


def _request(verb: str, arguments: dict[str, Any]) -> bytes:
    return json.dumps({"do": verb, **arguments}).encode() + b"\n"


def _result(line: bytes) -> dict[str, Any]:
    if not line:
        raise ControlError("the simulated line has gone away")
    answer: dict[str, Any] = json.loads(line)
    if not answer.pop("ok"):
        raise ControlError(answer["error"])
    return answer


class Client:
    """Synchronous."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lines = connection.makefile("rb")

    @classmethod
    def connect(cls, host: str, port: int, timeout_s: float = 5.0) -> Self:
        """OSError if nobody listens there."""
        return cls(socket.create_connection((host, port), timeout_s))

    def do(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Ask for something.  ControlError with the reason if it was refused."""
        self._socket.sendall(_request(verb, arguments))
        return _result(self._lines.readline())

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncClient:
    """The same for an event loop; calls may overlap, each waits its turn."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._turn = asyncio.Lock()

    @classmethod
    async def connect(cls, host: str, port: int) -> Self:
        """OSError if nobody listens there."""
        return cls(*await asyncio.open_connection(host, port, limit=1 << 24))

    async def do(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Ask for something.  ControlError with the reason if it was refused."""
        async with self._turn:
            self._writer.write(_request(verb, arguments))
            await self._writer.drain()
            return _result(await self._reader.readline())

    async def close(self) -> None:
        self._writer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()
