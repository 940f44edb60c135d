"""Machines that misbehave when they are told to stand still, on Modbus and OPC UA, under the gateway's own line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from line_kit import TECHNICIAN, Kit, KitConfig, Machine

from gateway.config.kinds import House, Kinds
from gateway.config.reading import load
from gateway.drivers.modbus.kind import ModbusConfig
from gateway.drivers.opcua.kind import OpcUaConfig
from gateway.errors import Refused
from gateway.halts import HaltState
from simulators.device import Device
from simulators.filler import Filler
from simulators.link import TcpDoor
from simulators.modbus import DEVICE_FAILURE, ILLEGAL_ADDRESS, ModbusError, TcpTalker
from simulators.opcua_server import Place
from simulators.packml import Command, State
from simulators.packml import Machine as Packml
from simulators.plant import Plant

FAULTS: Final = ("not applied", "exception", "timeout", "relents", "cut mid-write")
STANDING: Final = frozenset({State.HELD, State.STOPPED, State.ABORTED})
COMMAND, STATE, BEAT = 100, 50, 101
ALLOWED: Final[dict[str, frozenset[tuple[str, object]]]] = {
    "press": frozenset({(str(BEAT), None), (str(COMMAND), (1,))}),
    "filler": frozenset(
        {
            ("Heartbeat.In", None),
            ("CntrlCmd", int(Command.HOLD)),
            ("CntrlCmd", 0),
            ("CmdChangeRequest", True),
            ("CmdChangeRequest", False),
        }
    ),
}
"""All that may ever be written to these machines: none of it can start one (tests/integration/test_halt_actions.py)."""
HOT, COOL = 99.0, 20.0


class Press(Device):
    """A machine on Modbus: holding register 100 = 1 holds it, 50 is its PackML state, 101 our heartbeat."""

    name = "press"
    tags = frozenset()
    functions = frozenset({3, 6, 16})

    def __init__(self) -> None:
        super().__init__()
        self.machine = Packml()
        self.fault_is = ""
        self.beats = 0
        self.seen: set[tuple[str, object]] = set()
        """What was ever written to it, its heartbeat's count apart."""
        self._held_s = 0.0
        self.door = TcpDoor("127.0.0.1", 0, lambda send: TcpTalker(1, self, send), self.gate)
        self.links = (self.door,)

    def read(self, address: int, count: int) -> Sequence[int]:
        image = {STATE: int(self.machine.state), COMMAND: 0, BEAT: self.beats}
        if not image.keys() >= set(range(address, address + count)):
            raise ModbusError(ILLEGAL_ADDRESS)
        return [image[at] for at in range(address, address + count)]

    def write(self, address: int, words: Sequence[int]) -> None:
        self.seen.add((str(address), None if address == BEAT else tuple(words)))
        if address == BEAT:
            self.beats = words[0]
        elif words[0] == 1:
            self._command()

    def _command(self) -> None:
        match self.fault_is:
            case "not applied":
                return
            case "exception":
                raise ModbusError(DEVICE_FAILURE)
            case "cut mid-write":
                for transport in tuple(self.door.transports):
                    transport.abort()
                return
        self.machine.command(Command.HOLD)

    async def step(self, dt_s: float) -> None:
        self.machine.step(dt_s)
        relents = self.fault_is == "relents" and self.machine.state is State.HELD
        self._held_s = self._held_s + dt_s if relents else 0.0
        if self._held_s > 0.3:
            self.machine.command(Command.UNHOLD)

    async def misbehave(self, fault: str) -> None:
        self.fault_is = fault
        self.gate.silent = fault == "timeout"


class OpcFiller(Filler):
    """The simulated filler under the names of this proof."""

    def __init__(self, plant: Plant, place: Place) -> None:
        self.seen: set[tuple[str, object]] = set()
        super().__init__(plant, place)

    def _note(self, what: str, value: object) -> None:
        self.seen.add((what, None if what == "Heartbeat.In" else value))
        super()._note(what, value)

    _FAULT: Final = {
        "not applied": ("lying", {}),
        "exception": ("refuses", {}),
        "timeout": ("silent", {}),
        "relents": ("relents", {"seconds": 0.3}),
        "cut mid-write": ("cut_on_command", {}),
    }

    async def misbehave(self, fault: str) -> None:
        await self.heal("all")
        await self.fault("unwatched", {})  # else it holds itself once our beat is withheld, as it should
        if fault:
            name, args = self._FAULT[fault]
            await self.fault(name, dict(args))

    @property
    def beats(self) -> int:
        return self._beat_in or 0


Unit = Press | OpcFiller


class Shop:
    """So many machines of both kinds, the line over them, and a thermometer each whose heat holds the machine."""

    def __init__(self, folder: Path, each: int) -> None:
        self.folder = folder
        self.names = [f"{kind}{number}" for number in range(each) for kind in ("press", "filler")]
        self.machines: dict[str, Unit] = {}
        self.lies: list[str] = []
        """What was shown confirmed while the machine did not stand."""
        self.confirmed = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Shop]:
        async with AsyncExitStack() as stack:
            for name in self.names:
                machine = Press() if name.startswith("press") else self._filler(name)
                await machine.start()
                stack.push_async_callback(machine.stop)
                machine.machine.found(State.EXECUTE)
                self.machines[name] = machine
            clock = asyncio.create_task(self._tick(), name="machines' clock")
            try:
                async with self._kit():
                    await self._until(self._all_connected, 20)
                    yield self
            finally:
                clock.cancel()
                await asyncio.gather(clock, return_exceptions=True)

    def _filler(self, name: str) -> OpcFiller:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return OpcFiller(Plant(1), Place("127.0.0.1", 0, folder))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.02)
            for machine in self.machines.values():
                await machine.step(0.02)

    @asynccontextmanager
    async def _kit(self) -> AsyncIterator[Kit]:
        oven = Machine(dict.fromkeys(self.names, COOL), [])
        (self.folder / "recipes").mkdir()
        file = self.folder / "line.yaml"
        file.write_text(json.dumps(self._settings()))
        builtin = House()
        house = House(Kinds("driver", (KitConfig, ModbusConfig, OpcUaConfig)), builtin.rules, builtin.sinks)
        self.kit = Kit(self.folder, machines={"oven": oven}, settings=load(file, house=house))
        self._watch()
        async with self.kit as kit:
            yield kit

    def _watch(self) -> None:
        """At the very moment something is shown confirmed the machine's own state is looked at."""
        told = self.kit.holds.confirmed

        def confirmed(halt_id: str, *rest: Any) -> None:
            self.judge(halt_id)
            told(halt_id, *rest)

        self.kit.holds.confirmed = confirmed  # type: ignore[method-assign]

    def judge(self, halt_id: str) -> None:
        """A confirmation came: does the machine stand?"""
        self.confirmed += 1
        name = halt_id.partition(":")[0]
        state = self.machines[name].machine.state
        if state not in STANDING:
            self.lies.append(f"{halt_id} confirmed in {state.name}")

    def _settings(self) -> dict[str, Any]:
        times = {"period": "100ms", "timeout": "300ms", "halt_budget": "500ms", "beat": "200ms"}
        devices: dict[str, Any] = {
            "oven": {
                "driver": "kit",
                "period": "100ms",
                "timeout": "1s",
                "tags": {n: {"unit": "Cel"} for n in self.names},
            }
        }
        for name, machine in self.machines.items():
            devices[name] = {**(_press(machine) if isinstance(machine, Press) else _opc(machine)), **times}
        limits = {"unit": "Cel", "high": 90}
        rules = {
            f"hot-{name}": {"kind": "limit", "input": f"oven/{name}", "limits": limits, "halt": name}
            for name in self.names
        }
        return {
            "gateway": {"id": "gw1", "path": "a/b/c/d/e"},
            "devices": devices,
            "rules": rules,
        }

    def _all_connected(self) -> bool:
        known = {record["body"]["device"] for record in self.kit.records("device.connected")}
        return known >= {*self.names, "oven"}

    async def _until(self, seen: Any, within_s: float) -> bool:
        deadline = asyncio.get_running_loop().time() + within_s
        while not seen():
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    # -- one halt ------------------------------------------------------------------------------------

    def standing(self, name: str) -> Any:
        """The machine's latch, None without one."""
        return next((halt for halt in self.kit.holds.standing.values() if halt.device == name), None)

    def state_is(self, name: str, *states: HaltState) -> bool:
        halt = self.standing(name)
        return halt is not None and halt.state in states

    def failed_alarm(self, name: str) -> bool:
        return any(key.startswith(f"halt-failed:{name}") for key in self._alarms())

    def _alarms(self) -> list[str]:
        return [str(record["body"].get("source") or record["body"]) for record in self.kit.records("alarm.raised")]

    async def heat(self, name: str) -> float:
        """Its thermometer goes beyond the limit; the loop time of the order."""
        self.kit.oven[name] = HOT
        assert await self._until(lambda: self.standing(name) is not None, 5), f"{name}: no halt was ordered"
        return asyncio.get_running_loop().time()

    async def release(self, name: str) -> None:
        """Cool again, released by a person, and somebody starts the machine."""
        self.kit.oven[name] = COOL
        await asyncio.sleep(0.4)
        said = ""
        for _ in range(20):
            halt = self.standing(name)
            if halt is None:
                break
            try:
                await self._acknowledge(f"hot-{name}")
                await self.kit.ask("halt.release", TECHNICIAN, halt=halt.id, version=halt.version, reason="looked at")
            except Refused as refusal:  # the version moved meanwhile: look again
                said = str(refusal)
                await asyncio.sleep(0.1)
        assert self.standing(name) is None, f"{name}: not released ({said}): {self.standing(name)}"
        await asyncio.sleep(0.3)
        if self.machines[name].machine.state not in STANDING:
            self.lies.append(f"{name} moves after a release that nobody followed up at the machine")
        self.machines[name].machine.found(State.EXECUTE)
        await asyncio.sleep(0.3)

    async def _acknowledge(self, name: str) -> None:
        alarm = self.kit.line.alarms.standing.get(name)
        if alarm is not None and alarm.state.name.endswith("UNACK"):
            await self.kit.ask("alarm.acknowledge", TECHNICIAN, alarm=name, occurrence=alarm.occurrence)


def _press(machine: Press) -> dict[str, Any]:
    return {
        "driver": "modbus",
        "url": f"tcp://{machine.door.address}",
        "tags": {"state": {"address": STATE}},
        "halt": {"write": {"register": COMMAND, "value": 1}, "confirm": {"tag": "state", "in": [2, 9, 11]}},
        "heartbeat": {"register": BEAT},
    }


def _opc(machine: OpcFiller) -> dict[str, Any]:
    return {
        "driver": "opcua",
        "url": machine.link.address,
        "namespace": {"f": machine.link.uri},
        "profile": "packml-tags",
        "prefix": "f:Filler",
        "halt": {"action": "hold"},
        "heartbeat": {"write": "f:Filler.Heartbeat.In"},
        "security": {"policy": "None", "mode": "None", "waiver": "a machine of this proof"},
    }
