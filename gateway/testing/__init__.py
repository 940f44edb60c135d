"""A test kit, for us and for third parties: a device, a driver, a world and a line port that are fakes, not mocks.

`gateway.testing.drivers` is what every driver must do, as pytest classes; `gateway.testing.lines` has the far ends of
real sockets and ptys to build a peer from.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field

from gateway.drivers.base import DriverConfig, Pattern
from gateway.errors import DeviceError, NotDone, NotHeld
from gateway.model import HaltOrder, HaltProof, Reading, Scan, TagSpec, Value
from gateway.world import World

if "pytest" in sys.modules:  # before the suite is imported, so that its failures show what they compared
    sys.modules["pytest"].register_assert_rewrite("gateway.testing.drivers")


class VirtualWorld(World):
    """Wall clock on the loop's own time, so a virtual loop moves both; seeded dice."""

    def __init__(self, start_ns: int = 1_800_000_000_000_000_000, seed: int = 1) -> None:
        super().__init__(seed)
        self.boot_id = f"{seed:016x}"
        self.rng = random.Random(seed)  # noqa: S311  # a test's dice
        self.offset_ns = self.steady_ns = start_ns

    def time_ns(self) -> int:
        try:
            return self.offset_ns + int(asyncio.get_running_loop().time() * 1e9)
        except RuntimeError:
            return self.offset_ns

    def clock(self) -> str:
        return "synchronised"


class FakeMachine:
    """What stands behind a FakeDevice: values, a state, and every bad manner a test asks for."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.values = dict(values)
        self.held = False
        self.obeys = True
        """False: takes the halt and does nothing (a lying controller)."""
        self.thinks_s = 0.0
        """How long it takes to say what became of a halt."""
        self.link = True
        self.answers = True
        """False: accepts and never answers."""
        self.halts: list[tuple[float, HaltOrder]] = []
        self.withdrawn = 0
        self.beats: list[int] = []
        self.connects = 0
        self.knocks = 0
        """Connections that were asked for, made or not."""
        self.polls = 0
        self.writes: list[str] = []
        """What was written, in order: halt, beat, withdraw, show."""
        self.shown: list[tuple[float, Pattern]] = []
        self.tares: list[tuple[float, str]] = []
        """Tares and zeros, when they came and which."""
        self.settles_in_s = 0.0
        """How long a tare or zero takes."""
        self.rests = True
        """False: it refuses to be tared or zeroed."""


class FakeDevice:
    """An open connection to a FakeMachine; Haltable, Beating, Showing and Tarable."""

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine
        self.identity: Mapping[str, str] = {"maker": "fake", "serial": "1"}

    async def _link(self) -> None:
        if not self.machine.link:
            raise DeviceError("the fake link is down")
        if not self.machine.answers:
            await asyncio.Event().wait()

    async def poll(self) -> Reading:
        await self._link()
        self.machine.polls += 1
        return Reading(tuple(self.machine.values.values()), held=self.machine.held)

    async def halt(self, order: HaltOrder) -> HaltProof:
        await self._link()
        if self.machine.held:
            return HaltProof("fake held", wrote=False)
        self.machine.halts.append((asyncio.get_running_loop().time(), order))
        self.machine.writes.append("halt")
        if self.machine.thinks_s:
            await asyncio.sleep(self.machine.thinks_s)
        if not self.machine.obeys:
            raise NotHeld("the fake machine says it runs")
        self.machine.held = True
        return HaltProof("fake held", wrote=True)

    async def withdraw(self) -> None:
        await self._link()
        self.machine.withdrawn += 1
        self.machine.writes.append("withdraw")

    async def beat(self, count: int) -> None:
        await self._link()
        self.machine.beats.append(count)
        self.machine.writes.append("beat")

    async def show(self, pattern: Pattern) -> None:
        await self._link()
        self.machine.shown.append((asyncio.get_running_loop().time(), pattern))
        self.machine.writes.append("show")

    async def tare(self) -> Reading:
        return await self._settle("tare")

    async def zero(self) -> Reading:
        return await self._settle("zero")

    async def _settle(self, what: str) -> Reading:
        await self._link()
        self.machine.tares.append((asyncio.get_running_loop().time(), what))
        self.machine.writes.append(what)
        await asyncio.sleep(self.machine.settles_in_s)
        if not self.machine.rests:
            raise NotDone(f"the fake balance does not rest: {what}")
        first, shown = next(iter(self.machine.values.items()))
        nothing = shown * 0 if isinstance(shown, Decimal | float) else shown
        self.machine.values[first] = nothing
        return Reading((nothing,), raw=f"S S {nothing} g".encode())


class FakeConfig(DriverConfig):
    """A driver kind whose devices are FakeMachines."""

    driver: Literal["fake"] = "fake"
    halts = True
    machine: Any = Field(exclude=True)
    pushes: bool = False

    @property
    def subscribes(self) -> bool:
        return self.pushes

    def tags(self) -> tuple[TagSpec, ...]:
        return tuple(TagSpec(name) for name in self.machine.values)

    def address(self) -> str:
        return "fake://machine"

    @asynccontextmanager
    async def connect(self, name: str) -> AsyncIterator[FakeDevice]:
        self.machine.knocks += 1
        if not self.machine.link:
            raise DeviceError(f"{name}: the fake link is down")
        self.machine.connects += 1
        yield FakeDevice(self.machine)


class RecordingLine:
    """A LinePort that remembers, and may do something on each scan."""

    def __init__(self, on_scan: Callable[[Scan], None] = lambda _: None) -> None:
        self.scans: list[Scan] = []
        self.events: list[tuple[str, str]] = []
        self.withdrawals: list[str] = []
        """Devices whose hold output was taken back."""
        self.on_scan = on_scan

    def take(self, scan: Scan, *, keep: bool = True) -> None:
        del keep
        self.scans.append(scan)
        self.on_scan(scan)

    def connected(self, device: str, identity: Mapping[str, str]) -> None:
        del identity
        self.events.append(("connected", device))

    def lost(self, device: str, reason: str) -> None:
        del reason
        self.events.append(("lost", device))

    def commanded(self, halt_id: str) -> None:
        self.events.append(("commanded", halt_id))

    def confirmed(self, halt_id: str, proof: HaltProof) -> None:
        del proof
        self.events.append(("confirmed", halt_id))

    def withdrawn(self, device: str) -> None:
        self.withdrawals.append(device)

    def not_held(self, halt_id: str, reason: str) -> None:
        del reason
        self.events.append(("not held", halt_id))
