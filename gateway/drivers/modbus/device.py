"""An open Modbus connection: polls its plan.  What is read stands in its configuration; what is written: acting.py."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from gateway.drivers.modbus.layout import Channel, Held, Layout, Part
from gateway.drivers.modbus.link import Asks
from gateway.drivers.modbus.plan import Block, split
from gateway.drivers.modbus.tags import HaltBy, Heartbeat
from gateway.drivers.wire import modbus as wire
from gateway.errors import DeviceError, DeviceMisconfigured
from gateway.model import Reading

_SEARCH_SHARE: Final = 0.5
"""Part of a poll's budget that may go into finding a refused address; the rest is found in later polls."""
_SEARCH_MOST: Final = 24
"""Requests of one poll that may go into it."""
_AGAIN_S: Final = 60.0
"""How often one of the addresses that were refused is asked for again."""


class Wanted(Protocol):
    """What a device needs of its configuration."""

    @property
    def unit_id(self) -> int: ...
    @property
    def base(self) -> int: ...
    @property
    def timeout_s(self) -> float: ...
    @property
    def halt_budget_s(self) -> float: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def channels(self) -> tuple[Channel, ...]: ...
    @property
    def parts(self) -> tuple[Part, ...]: ...
    @property
    def held(self) -> Held | None: ...
    @property
    def proof(self) -> Channel | None: ...
    @property
    def halt(self) -> HaltBy | None: ...
    @property
    def heartbeat(self) -> Heartbeat | None: ...
    def address(self) -> str: ...
    def budget(self, span: range) -> int | None: ...


class _Ready(msgspec.Struct, frozen=True):
    """A plan, ready to be asked for: requests beside the parts they read."""

    parts: tuple[Part, ...]
    requests: tuple[wire.Request, ...]
    layout: Layout


class ModbusDevice:
    """An open Modbus connection."""

    def __init__(self, config: Wanted, link: Asks) -> None:
        self.identity: Mapping[str, str] = {}
        self._config = config
        self._link = link
        self._refused: dict[int, str] = {}
        """Why these channels are not asked for."""
        self._out: deque[Part] = deque()
        """What was refused, to be tried again now and then."""
        self._again_at = 0.0
        self._ready = self._compile(config.parts)

    async def poll(self) -> Reading:
        ready, link = self._ready, self._link
        answers: list[bytes | wire.Refusal] = []
        refused = False
        for request in ready.requests:
            try:
                answers.append(await link.call(request))
            except wire.Refusal as refusal:
                answers.append(refusal)
                refused = True
        if refused or self._refused:
            return await self._damaged(answers)
        return ready.layout.reading(answers, self._config.held)  # type: ignore[arg-type]  # no Refusal is among them

    def _compile(self, parts: tuple[Part, ...]) -> _Ready:
        requests = tuple(self._ask(part) for part in parts)
        layout = Layout(self._config.channels, len(self._config.names), parts, self._link.framing.data_at)
        return _Ready(parts, requests, layout)

    def _ask(self, part: Part) -> wire.Request:
        return wire.read(self._config.unit_id, part.table, part.block.start, part.block.count)

    async def _damaged(self, answers: Sequence[bytes | wire.Refusal]) -> Reading:
        """Some blocks were refused: find the address, keep the rest, and remember."""
        found = await self._search(list(zip(self._ready.parts, answers, strict=True)))
        found += await self._retried()
        reasons = dict(self._refused)
        for part, answer in found:
            if isinstance(answer, wire.Refusal):
                reasons.update(dict.fromkeys(part.block.members, self._reason(part, answer)))
        kept = tuple((part, answer) for part, answer in found if not self._hopeless(part, answer))
        for part, answer in found:
            if self._hopeless(part, answer):
                self._give_up(part, reasons)
        self._nothing_left(found, reasons)
        if tuple(part for part, _ in kept) != self._ready.parts:
            self._ready = self._compile(tuple(part for part, _ in kept))
        given = [None if isinstance(answer, wire.Refusal) else answer for _, answer in kept]
        return self._ready.layout.damaged(given, reasons, self._config.held)

    def _give_up(self, part: Part, reasons: Mapping[int, str]) -> None:
        self._refused.update({member: reasons[member] for member in part.block.members})
        self._out.append(part)
        self._again_at = max(self._again_at, self._link.loop.time() + _AGAIN_S / len(self._out))

    async def _retried(self) -> list[tuple[Part, bytes | wire.Refusal]]:
        """One of the refused parts, where it is time: a device that was set up meanwhile has its tags again."""
        now = self._link.loop.time()
        if not self._out or now < self._again_at:
            return []
        self._again_at = now + _AGAIN_S / len(self._out)
        part = self._out.popleft()
        answer = await self._try(part)
        if isinstance(answer, wire.Refusal):
            self._out.append(part)
            return []
        for member in part.block.members:
            del self._refused[member]
        return [(part, answer)]

    async def _search(self, todo: list[tuple[Part, bytes | wire.Refusal]]) -> list[tuple[Part, bytes | wire.Refusal]]:
        """Split what was refused for its addresses until only the culprits are left, or the time is up."""
        deadline = self._link.loop.time() + _SEARCH_SHARE * self._config.timeout_s
        spans = [channel.span for channel in self._config.channels]
        left = _SEARCH_MOST
        found: list[tuple[Part, bytes | wire.Refusal]] = []
        while todo:
            part, answer = todo.pop(0)
            smaller: tuple[Block, ...] = ()
            if _blames_address(answer) and left > 0 and self._link.loop.time() < deadline:
                smaller = split(part.block, spans)
                left -= len(smaller)
            if not smaller:
                found.append((part, answer))
            todo[:0] = [(piece, await self._try(piece)) for piece in (Part(part.table, block) for block in smaller)]
        return found

    async def _try(self, part: Part) -> bytes | wire.Refusal:
        try:
            return await self._link.call(self._ask(part))
        except wire.Refusal as refusal:
            return refusal

    def _hopeless(self, part: Part, answer: bytes | wire.Refusal) -> bool:
        """An atom that was refused for its address: not asked for again on this connection."""
        return _blames_address(answer) and not split(part.block, [each.span for each in self._config.channels])

    def _reason(self, part: Part, refusal: wire.Refusal) -> str:
        where = wire.place(part.table, part.block.start, part.block.count)
        return f"{self._link.where}: {where}: {refusal}"

    def _nothing_left(self, found: Sequence[tuple[Part, bytes | wire.Refusal]], reasons: Mapping[int, str]) -> None:
        """DeviceError where not one tag could be read."""
        refusals = [answer for _, answer in found if isinstance(answer, wire.Refusal)]
        if len(refusals) < len(found):
            return
        kind = DeviceMisconfigured if all(refusal.code in wire.NEVER for refusal in refusals) else DeviceError
        raise kind(f"no tag can be read: {next(iter(reasons.values()))}")


def _blames_address(answer: bytes | wire.Refusal) -> bool:
    """02: no such address.  03: too much at once, or what some devices say for 02."""
    return isinstance(answer, wire.Refusal) and answer.code in (2, 3)
