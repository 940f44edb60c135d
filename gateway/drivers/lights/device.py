"""Open lights: what is to be shown becomes coils and registers, written and read back each period."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Final

from gateway.drivers.base import Pattern
from gateway.drivers.modbus.link import Asks
from gateway.drivers.wire import modbus as wire
from gateway.errors import DeviceError, DeviceMisconfigured
from gateway.model import Fault, Quality, Reading, Value

if TYPE_CHECKING:
    from gateway.drivers.lights.kind import Lamp, LightsConfig

STRIKES: Final = 2
"""Polls in which a lamp did not follow, until it is bad: an input may come a poll late."""
LEAVE_S: Final = 0.3
"""Budget for putting the lamps out when the gateway stops."""

Place = tuple[str, int]
"""(table, address): coil, holding, discrete."""
Image = dict[Place, int]
"""What is, or should be, at each place; bits are 0 and 1."""


class Way(StrEnum):
    """How a lamp burns."""

    OFF = "off"
    STEADY = "steady"
    FLASH = "flash"


def ways(config: LightsConfig, pattern: Pattern) -> dict[str, Way]:
    """How each lamp burns for this pattern.  Flashing, which asks for attention, goes before steady."""
    found = {}
    for name in config.lamps:
        steady, flash = config.shown_by(name)
        found[name] = Way.FLASH if flash & pattern else Way.STEADY if steady & pattern else Way.OFF
    return found


def image(config: LightsConfig, burn: Mapping[str, Way], *, lit: bool) -> Image:
    """What is to be written; `lit`: the half of flashing, where it is made here, in which lamps burn."""
    wanted: Image = {}
    for name, lamp in config.lamps.items():
        way = burn[name]
        on = way is Way.STEADY or (way is Way.FLASH and lit and lamp.flash_coil is None)
        if lamp.coil is not None:
            wanted["coil", lamp.coil] = int(on)
        if lamp.flash_coil is not None:
            wanted["coil", lamp.flash_coil] = int(way is Way.FLASH)
        if lamp.register_ is not None:
            place = ("holding", lamp.register_)
            if lamp.codes is not None:
                wanted[place] = {Way.OFF: lamp.codes.out, Way.STEADY: lamp.codes.steady}.get(way, lamp.codes.flash)
            else:
                wanted[place] = wanted.get(place, 0) | int(on) << (lamp.bit or 0)
    return wanted


def runs(places: Iterable[Place], most: int) -> list[list[Place]]:
    """Places of one table that follow each other, at most so many together."""
    found: list[list[Place]] = []
    ordered = sorted(set(places))
    for _, group in groupby(enumerate(ordered), lambda pair: (pair[1][0], pair[1][1] - pair[0])):
        run = [place for _, place in group]
        found += [run[at : at + most] for at in range(0, len(run), most)]
    return found


class Lights:
    """An open connection to the lamps."""

    def __init__(self, config: LightsConfig, link: Asks) -> None:
        self.identity: Mapping[str, str] = {}
        self._config = config
        self._link = link
        self._burn = ways(config, frozenset())
        self._lit = True
        self._beats = 0
        self._test_until = 0.0
        self._refused: dict[Place, str] = {}
        self._written: Image = {}
        self._shown: Mapping[str, Way] = {}
        self._written_at = 0.0
        self._strikes: dict[tuple[str, Place, int], int] = {}
        """(lamp, place, value written) -> polls in which it was not seen there, since it last was."""
        everything = image(config, self._burn, lit=False)
        self._writes = runs(everything, 1 if config.one_by_one else 32)
        proofs = (each for lamp in config.lamps.values() if (each := _proof(lamp)) is not None)
        self._reads = runs((*everything, *proofs), 32)

    @contextlib.asynccontextmanager
    async def burning(self) -> AsyncIterator[Lights]:
        """For the block; then out, where the link still takes it: a lamp that nobody tends says nothing true."""
        await self._arm()
        self._test_until = self._link.loop.time() + self._config.lamp_test_s
        try:
            yield self
        except DeviceError:
            raise
        except BaseException:  # boundary: cancelled or broken, the lamps go out, and whatever it was goes on
            await self._out()
            raise
        else:
            await self._out()

    async def show(self, pattern: Pattern) -> None:
        """See Showing."""
        self._burn = ways(self._config, pattern)
        self._lit = True  # what flashes begins with its bright half: seen at once
        await self._write()

    async def poll(self) -> Reading:
        """What is seen to burn of what was written before; then the lamps are written again."""
        if not self._written:
            await self._write()
        reading = self._reading(await self._read())
        self._lit = not self._lit
        await self._write()
        await self._beat()
        return reading

    # -- writing -----------------------------------------------------------------------------------

    def _now(self) -> Mapping[str, Way]:
        if self._link.loop.time() >= self._test_until:
            return self._burn
        silent = {name: self._burn[name] for name in self._config.lamps if self._config.is_audible(name)}
        return {**dict.fromkeys(self._config.lamps, Way.STEADY), **silent}

    async def _write(self) -> None:
        shown = self._now()
        wanted = image(self._config, shown, lit=self._lit)
        todo = list(self._writes)
        while todo:
            run = todo.pop(0)
            try:
                await self._link.call(self._request(run, wanted))
            except wire.Refusal as refusal:
                if len(run) > 1:  # one coil that is not there must not take the others with it
                    self._writes.remove(run)
                    single = [[place] for place in run]
                    self._writes += single
                    todo += single
                else:
                    self._refused[run[0]] = f"{self._link.where}: {wire.place(*run[0], 1)}: {refusal}"
            else:
                for place in run:
                    self._refused.pop(place, None)
        if len(self._refused) == len(wanted):
            raise DeviceMisconfigured(f"no lamp can be written: {next(iter(self._refused.values()))}")
        self._written, self._shown, self._written_at = wanted, shown, self._link.loop.time()

    def _request(self, run: list[Place], wanted: Image) -> wire.Request:
        (table, at), unit = run[0], self._config.unit_id
        values = [wanted[place] for place in run]
        if table == "coil":
            bits = [bool(value) for value in values]
            return wire.write_coil(unit, at, bits[0]) if len(run) == 1 else wire.write_coils(unit, at, bits)
        return wire.write_register(unit, at, values[0]) if len(run) == 1 else wire.write_registers(unit, at, values)

    async def _arm(self) -> None:
        """The module's own watchdog, where its register is known here.  DeviceError: it does not take it."""
        dog = self._config.watchdog
        if dog is None or dog == "module":
            return
        try:
            await self._link.call(wire.write_register(self._config.unit_id, dog.register_, dog.value))
        except wire.Refusal as refusal:
            raise self._link.failure(f"watchdog register {dog.register_}: {refusal}") from None

    async def _beat(self) -> None:
        heart = self._config.heartbeat
        if heart is None:
            return
        self._beats = (self._beats + 1) % 0x10000
        unit = self._config.unit_id
        if heart.coil is not None:
            request = wire.write_coil(unit, heart.coil, bool(self._beats & 1))
        else:
            request = wire.write_register(unit, heart.register_ or 0, self._beats)
        try:
            await self._link.call(request)
        except wire.Refusal as refusal:
            raise self._link.failure(f"heartbeat {heart.place}: {refusal}") from None

    async def _out(self) -> None:
        self._test_until = 0.0
        self._burn = dict.fromkeys(self._config.lamps, Way.OFF)
        with contextlib.suppress(DeviceError, TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._write()

    # -- reading back ------------------------------------------------------------------------------

    async def _read(self) -> Image:
        """What is there; a place that cannot be read is missing."""
        seen: Image = {}
        todo = list(self._reads)
        while todo:
            run = todo.pop(0)
            (table, at), bits = run[0], run[0][0] != "holding"
            try:
                answer = await self._link.call(wire.read(self._config.unit_id, table, at, len(run)))
            except wire.Refusal:
                todo += [[place] for place in run] if len(run) > 1 else []
                continue
            data = answer[self._link.framing.data_at :]
            for offset, place in enumerate(run):
                seen[place] = data[offset // 8] >> offset % 8 & 1 if bits else int.from_bytes(data[2 * offset :][:2])
        return seen

    def _reading(self, seen: Image) -> Reading:
        values, faults = list[Value](), dict[int, Fault]()
        for at, (name, lamp) in enumerate(self._config.lamps.items()):
            fault = self._judge(name, lamp, seen)
            values.append(None if fault is not None and fault.quality is Quality.BAD else self._shown[name].value)
            if fault is not None:
                faults[at] = fault
        return Reading(tuple(values), faults)

    def _judge(self, name: str, lamp: Lamp, seen: Image) -> Fault | None:
        """Why this lamp is not what it should be."""
        early = self._link.loop.time() - self._written_at < self._config.period_s / 2
        for place, value, mask in _expected(lamp, self._written):
            if place in self._refused:
                return Fault(Quality.BAD, self._refused[place])
            if place not in seen:
                return Fault(Quality.BAD, f"{name}: {wire.place(*place, 1)} cannot be read back")
            if early and place == _proof(lamp):
                continue  # an input, or a relay's contact, has not had the time to follow
            if seen[place] & mask == value:
                self._strikes.pop((name, place, value), None)
            else:
                self._strikes[name, place, value] = self._strikes.get((name, place, value), 0) + 1
        return self._struck(name)

    def _struck(self, name: str) -> Fault | None:
        """What stands against it; of a lamp that flashes, in either of its halves."""
        against = [(strikes, place, value) for (lamp, place, value), strikes in self._strikes.items() if lamp == name]
        if not against:
            return None
        strikes, place, value = max(against)
        told = f"{name} does not follow: told {'on' if value else 'off'}, {wire.place(*place, 1)} says otherwise"
        return Fault(Quality.BAD if strikes >= STRIKES else Quality.UNCERTAIN, told)


def _proof(lamp: Lamp) -> Place | None:
    if lamp.confirm is None:
        return None
    if lamp.confirm.discrete is not None:
        return "discrete", lamp.confirm.discrete
    return "coil", lamp.confirm.coil or 0


def _expected(lamp: Lamp, wanted: Image) -> Iterable[tuple[Place, int, int]]:
    """(place, value, which bits count) that a lamp must show, by what was just written."""
    if lamp.register_ is not None:
        place = ("holding", lamp.register_)
        mask = 0xFFFF if lamp.bit is None else 1 << lamp.bit
        yield place, wanted[place] & mask, mask
        on = bool(wanted[place] & mask) if lamp.codes is None else wanted[place] == lamp.codes.steady
        by_module = lamp.codes is not None and wanted[place] == lamp.codes.flash
    else:
        places = [("coil", at) for at in (lamp.coil, lamp.flash_coil) if at is not None]
        for place in places:
            yield place, wanted[place], 1
        on = bool(wanted[places[0]])
        by_module = len(places) > 1 and bool(wanted[places[1]])
    proof = _proof(lamp)
    if proof is not None and not by_module:  # of what the module makes flash, an input says now this, now that
        yield proof, int(on), 1
