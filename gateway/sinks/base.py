"""The contract of a sink: deliver what it is given, say what became of it.  Its forwarder owns retries and order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec
from pydantic import Field

from gateway.board import Board
from gateway.model import Identity, Json, Record, Scan, Watermark
from gateway.recipe import Frozen
from gateway.units import Duration


class SinkPorts(msgspec.Struct, frozen=True):
    """What app.py hands a sink.  Sinks know nothing of commands, stores or the line."""

    identity: Identity
    ledger_id: str
    board: Board
    """Current state, to be published retained on connect and on change."""
    on_command: Callable[[str, Mapping[str, Json], str], Awaitable[Json]]
    """(command, arguments, MQTT principal) -> reply document.  Never raises: a refusal is a document too."""
    on_acknowledged: Callable[[Watermark], None]
    checkpoint: Callable[[], str]
    """The newest signed checkpoint (C2SP note), empty before the first."""
    steady_ns: int = 0
    """Wall minus monotonic clock when the process began, ns; 0: not known."""
    answers: dict[bytes, Any] = {}
    """What a sink knows of requests it answered, from one connection to the next."""


class Sink(Protocol):
    """An open connection to a consumer.  `deliver` is never called twice at once."""

    async def deliver(self, batch: Sequence[Record | Scan]) -> None:
        """Return: all handed over.  Rejected(positions): those never, the rest handed over.  SinkError: keep all.

        A batch holds only records or only scans.  May be cancelled: then nothing is known of any of it.
        """
        ...

    async def closed(self) -> None:
        """Return (or raise SinkError) when the connection is lost; wait for ever while it is up."""
        ...


class SinkConfig(Frozen):
    """What every sink's configuration has.  Subclasses add `kind: Literal["name"]` and their own keys."""

    kind: str
    timeout_s: Duration = Field(5.0, alias="timeout", gt=0)
    """Budget of one `deliver`, and of connecting."""

    @property
    def wants_records(self) -> bool:
        return True

    @property
    def wants_scans(self) -> bool:
        return True

    @property
    def acknowledges(self) -> bool:
        """True: evidence is retired only by the consumer's watermark, and re-sent from it on every connect."""
        return False

    @property
    def patience_s(self) -> float:
        """So long may records wait for the consumer's watermark, while it is connected, before that is an alarm."""
        return 30.0

    @property
    def gather_s(self) -> float:
        """Live scans are gathered so long before one `deliver`; 0: each goes out at once."""
        return 0.0

    @property
    def scans_at_once(self) -> int:
        """Live scans in one `deliver`, at most."""
        return 64

    def address(self) -> str:
        raise NotImplementedError

    def connect(self, name: str, ports: SinkPorts) -> AbstractAsyncContextManager[Any]:
        """Open it.  Raises SinkError."""
        raise NotImplementedError
