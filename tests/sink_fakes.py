"""Fakes and makers for the tests of sinks and forwarders."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from typing import Literal

import msgspec
from pydantic import PrivateAttr

from gateway.board import Board
from gateway.errors import SinkError
from gateway.ledger.merkle import leaf_hash
from gateway.model import (
    NO_FAULTS,
    Fault,
    Identity,
    Json,
    Lane,
    Record,
    Scan,
    TagSet,
    TagSpec,
    Value,
    Watermark,
)
from gateway.sinks.base import SinkConfig, SinkPorts
from gateway.store.spans import Span, Spans

IDENTITY = Identity("line3-gw1", "acme/denver/filling/line3/cell1", "boot-1", "0.1.0")
LEDGER = "ledger-1"
START_NS = 1_790_000_000_000_000_000
TAGS = TagSet("reservoir", [TagSpec("temperature", "Cel"), TagSpec("setpoint", "Cel"), TagSpec("mode", kind="text")])


def scan(
    seq: int,
    values: tuple[Value, ...] = (65.5, Decimal("65.0"), "auto"),
    faults: Mapping[int, Fault] = NO_FAULTS,
    tagset: TagSet = TAGS,
) -> Scan:
    """The scan number `seq`, one each 100 ms."""
    return Scan(tagset, seq, START_NS + seq * 100_000_000, seq * 100_000_000, values, faults)


def ledger(
    kinds: Sequence[str], *, start: int = 0, prev: str = "00" * 32, body: Mapping[str, Json] | None = None
) -> list[Record]:
    """Chained records of these kinds; alarms and halts on their lane."""
    records = []
    for index, kind in enumerate(kinds, start):
        time_ns = START_NS + index * 1_000_000
        document = {
            "v": 1,
            "ledger": LEDGER,
            "index": index,
            "prev": prev,
            "time": str(time_ns),
            "boot": IDENTITY.boot_id,
            "kind": kind,
            "batch": "B-1",
            "by": "gateway",
            "context": {},
            "body": {"text": f"record {index}", **(body or {})},
        }
        payload = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        digest = leaf_hash(payload)
        lane = Lane.ALARMS if kind.startswith(("alarm.", "halt.")) else Lane.EVIDENCE
        records.append(Record(index, kind, "B-1", time_ns, lane, digest, payload))
        prev = digest.hex()
    return records


class FakeCursor(msgspec.Struct):
    handed: dict[Lane, int] = {}
    acknowledged: int = -1


class FakeEvidence:
    """The ledger in a list."""

    def __init__(self, records: Sequence[Record] = ()) -> None:
        self.ledger_id = LEDGER
        self.records = list(records)
        self.cursors: dict[str, FakeCursor] = {}
        self._listeners: list[Callable[[int], None]] = []

    @property
    def committed(self) -> int:
        return len(self.records) - 1

    def add(self, *kinds: str) -> None:
        prev = self.records[-1].hash.hex() if self.records else "00" * 32
        self.records += ledger(kinds, start=len(self.records), prev=prev)
        for listener in self._listeners:
            listener(self.committed)

    async def read(self, after: int, limit: int, *, lanes: Collection[Lane] | None = None) -> list[Record]:
        await asyncio.sleep(0)
        wanted = [each for each in self.records[after + 1 :] if lanes is None or each.lane in lanes]
        return wanted[:limit]

    async def cursor(self, sink: str) -> FakeCursor:
        return self.cursors.setdefault(sink, FakeCursor())

    def advance(self, sink: str, *, handed: Mapping[Lane, int] | None = None, acknowledged: int | None = None) -> None:
        old = self.cursors.setdefault(sink, FakeCursor())
        known = old.acknowledged if acknowledged is None else acknowledged
        self.cursors[sink] = FakeCursor({**old.handed, **(handed or {})}, known)

    def listen(self, listener: Callable[[int], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)


class FakePage(msgspec.Struct):
    scans: list[Scan]
    positions: list[int]
    upto: int


class FakeTelemetry:
    """Scans in a dict by position; `base` is this boot's."""

    def __init__(self, base: int = 1000) -> None:
        self.base = base
        self.scans: dict[int, Scan] = {}
        self.confirmed: dict[str, Spans] = {}

    def put(self, each: Scan) -> None:
        self.scans[self.base + each.seq] = each

    def pending(self, sink: str) -> list[Span]:
        if not self.scans:
            return []
        return self.confirmed.setdefault(sink, Spans()).missing(min(self.scans), max(self.scans))

    async def read(self, first: int, last: int, limit: int) -> FakePage:
        await asyncio.sleep(0)
        found = [position for position in sorted(self.scans) if first <= position <= last][:limit]
        upto = found[-1] if len(found) == limit else last
        return FakePage([self.scans[position] for position in found], found, upto)

    def confirm(self, sink: str, ranges: Sequence[Span]) -> None:
        for span in ranges:
            self.confirmed.setdefault(sink, Spans()).add(*span)


class Outside:
    """The world behind a fake sink: what it got, and how it behaves."""

    def __init__(self) -> None:
        self.got: list[Record | Scan] = []
        self.batches: list[int] = []
        self.connects = 0
        self.away = False
        self.slow_s = 0.0
        self.fail: Callable[[Sequence[Record | Scan]], None] = lambda _: None
        self.ports: SinkPorts | None = None
        self.lost: asyncio.Future[None] | None = None

    @property
    def indexes(self) -> list[int]:
        return [each.index for each in self.got if isinstance(each, Record)]

    @property
    def seqs(self) -> list[int]:
        return [each.seq for each in self.got if isinstance(each, Scan)]

    def cut(self) -> None:
        self.away = True
        if self.lost is not None and not self.lost.done():
            self.lost.set_exception(SinkError("cut"))

    def acknowledge(self, upto: int, ledger_id: str = LEDGER) -> None:
        assert self.ports is not None
        self.ports.on_acknowledged(Watermark(ledger_id, upto))

    async def deliver(self, batch: Sequence[Record | Scan]) -> None:
        if self.away:
            raise SinkError("away")
        await asyncio.sleep(self.slow_s)
        self.fail(batch)
        self.got += batch
        self.batches.append(len(batch))

    async def closed(self) -> None:
        assert self.lost is not None
        await asyncio.shield(self.lost)


class FakeSinkConfig(SinkConfig):
    """A sink in memory."""

    kind: Literal["fake"] = "fake"
    acks: bool = False
    gather: float = 0.0
    _outside: Outside = PrivateAttr(default_factory=Outside)

    @property
    def outside(self) -> Outside:
        return self._outside

    @property
    def acknowledges(self) -> bool:
        return self.acks

    @property
    def gather_s(self) -> float:
        return self.gather

    def address(self) -> str:
        return "fake:1"

    def connect(self, name: str, ports: SinkPorts) -> AbstractAsyncContextManager[Outside]:
        return self._open(ports)

    @asynccontextmanager
    async def _open(self, ports: SinkPorts) -> AsyncIterator[Outside]:
        outside = self._outside
        outside.connects += 1
        if outside.away:
            raise SinkError("nobody there")
        outside.ports = ports
        outside.lost = asyncio.get_running_loop().create_future()
        yield outside


class Desk:
    """What a sink's ports lead to."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, Mapping[str, Json], str]] = []
        self.marks: list[Watermark] = []
        self.checkpoint = ""

    async def command(self, name: str, arguments: Mapping[str, Json], principal: str) -> Json:
        self.commands.append((name, arguments, principal))
        return {"ok": True, "result": {"did": name}}


def make_ports(board: Board | None = None, desk: Desk | None = None) -> SinkPorts:
    desk = desk or Desk()
    return SinkPorts(
        identity=IDENTITY,
        ledger_id=LEDGER,
        board=board or Board(),
        on_command=desk.command,
        on_acknowledged=desk.marks.append,
        checkpoint=lambda: desk.checkpoint,
    )
