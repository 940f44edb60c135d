"""What an MQTT connection is made with, what comes in by it, and what became of what went out."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

import msgspec

from gateway.errors import SinkError

REFUSED: Final = 0x80
"""Reason codes from here on are refusals (MQTT 5, 2.4); 0x10 says nobody subscribes, which is no refusal."""
FOR_EVER: Final = frozenset({0x87, 0x90, 0x95, 0x99})
"""Not authorised, topic name invalid, packet too large, payload format invalid: will never be taken."""

REASONS: Final = {
    0x80: "unspecified error",
    0x83: "implementation specific error",
    0x87: "not authorised",
    0x90: "topic name invalid",
    0x91: "packet identifier in use",
    0x95: "packet too large",
    0x97: "quota exceeded",
    0x99: "payload format invalid",
}


class Dial(msgspec.Struct, frozen=True):
    """Everything a connection needs."""

    host: str
    port: int
    client_id: str
    keepalive_s: int
    timeout_s: float
    window: int
    tls: ssl.SSLContext | None = None
    username: str | None = None
    password: str | None = None
    will_topic: str = ""
    will_payload: bytes = b""

    @property
    def where(self) -> str:
        return f"{self.host}:{self.port}"


class Incoming(msgspec.Struct, frozen=True):
    """A message from the broker."""

    topic: str
    payload: bytes
    retained: bool
    response_topic: str | None
    correlation: bytes | None
    user: tuple[tuple[str, str], ...]


class Handover:
    """What became of a number of publishes: done when each has its PUBACK, or when the link is lost."""

    __slots__ = ("_done", "_left", "_sealed", "refused")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.refused: dict[int, int] = {}
        """Position -> reason code."""
        self._left = 0
        self._sealed = False
        self._done: asyncio.Future[None] = loop.create_future()

    def expect(self) -> None:
        self._left += 1

    def settle(self, position: int, code: int) -> None:
        if code >= REFUSED:
            self.refused[position] = code
        self._left -= 1
        self._finish()

    def fail(self, error: SinkError) -> None:
        if not self._done.done():
            self._done.set_exception(error)
            self._done.exception()  # seen: whoever published may have gone away by now

    def _finish(self) -> None:
        if self._sealed and not self._left and not self._done.done():
            self._done.set_result(None)

    async def settled(self) -> dict[int, int]:
        """Position -> reason code of what was refused.  SinkError: the link was lost, nothing is known."""
        self._sealed = True
        self._finish()
        await self._done
        return self.refused
