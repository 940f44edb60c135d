"""Every action that halts a PackML machine, from every state, in both dialects, against the simulated filler's truth.

What the machine met is what counts: the states it ended in, and every write it saw.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.drivers.modbus.kind import ModbusConfig
from gateway.drivers.opcua.kind import OpcUaConfig
from gateway.drivers.opcua.link import Link
from gateway.errors import NotHeld
from gateway.model import HaltOrder, HaltProof, Scan, TagSet
from gateway.station.station import Station
from gateway.world import World
from simulators.device import Device
from simulators.filler import Filler
from simulators.opcua_server import Place
from simulators.packml import Command, Machine, State
from simulators.packml_device import Write
from simulators.plant import Plant
from tests.chaos.halt_kit import BEAT, COMMAND, STATE, Press

ORDER: Final = HaltOrder("filler:rule", "filler", "rule", "too light", 1)
S: Final = State
PASSING: Final = {
    S.CLEARING: S.STOPPED,
    S.STOPPING: S.STOPPED,
    S.ABORTING: S.ABORTED,
    S.RESETTING: S.IDLE,
    S.COMPLETING: S.COMPLETE,
    S.HOLDING: S.HELD,
}
"""Where nothing is asked for, and where the machine comes to rest by itself."""
RESTING: Final = frozenset({S.IDLE, S.STOPPED, S.ABORTED, S.COMPLETE, S.HELD})
ENDS: Final[dict[str, dict[State, State]]] = {
    "hold": {s: PASSING.get(s, s if s in RESTING else S.HELD) for s in S},
    "suspend": {s: PASSING.get(s, s if s in RESTING else S.SUSPENDED) for s in S},
    "stop": {s: S.ABORTED if s in (S.ABORTING, S.ABORTED) else S.STOPPED for s in S},
    "abort": dict.fromkeys(S, S.ABORTED),
}
"""Action -> state it is found in -> state it must stand in."""
ASKED: Final = {
    "hold": {S.EXECUTE, S.STARTING, S.UNHOLDING, S.SUSPENDING, S.SUSPENDED, S.UNSUSPENDING},
    "suspend": {S.EXECUTE, S.STARTING, S.UNHOLDING, S.UNSUSPENDING},
    "stop": set(S) - {S.STOPPING, S.STOPPED, S.ABORTING, S.ABORTED, S.CLEARING},
    "abort": set(S) - {S.ABORTING, S.ABORTED},
}
"""Action -> states it is asked for from, at once or once the machine came to Execute."""
WORDS: Final = {"hold": Command.HOLD, "suspend": Command.SUSPEND, "stop": Command.STOP, "abort": Command.ABORT}
DIALECTS: Final[dict[str, dict[str, str]]] = {
    "tags": {"profile": "packml-tags", "prefix": "f:Filler"},
    "companion": {"profile": "packml-companion", "root": "f:Filler.PackML"},
}
STARTS: Final = frozenset({S.STARTING, S.EXECUTE, S.UNHOLDING, S.UNSUSPENDING, S.RESETTING, S.CLEARING, S.COMPLETING})
"""What no write of ours may ever bring about."""


def config(filler: Filler, dialect: str, halt: Mapping[str, Any], **more: Any) -> OpcUaConfig:
    return OpcUaConfig.model_validate(
        {
            "driver": "opcua",
            "url": filler.link.address,
            "namespace": {"f": filler.link.uri},
            **DIALECTS[dialect],
            "halt": halt,
            "heartbeat": {"write": "f:Filler.Heartbeat.In"},
            "halt_budget": "15s",
            "timeout": "5s",
            "security": {"policy": "None", "mode": "None", "waiver": "a machine of this test"},
            **more,
        }
    )


@asynccontextmanager
async def moving(device: Device) -> AsyncIterator[None]:
    """Its own time goes by as ours does, but for what a busy computer slept through."""

    async def tick() -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(0.02)
            now = loop.time()
            await device.step(min(now - last, 0.1))
            last = now

    await device.start()
    clock = asyncio.create_task(tick(), name="machine's clock")
    try:
        yield
    finally:
        clock.cancel()
        await asyncio.gather(clock, return_exceptions=True)
        await device.stop()


def a_filler(folder: Path) -> Filler:
    folder.mkdir(exist_ok=True)
    return Filler(Plant(1), Place("127.0.0.1", 0, folder))


def what_it_can_start(writes: Sequence[Write]) -> list[str]:
    """Each command seen, given to a machine in each of its states: those after which one moves that did not."""
    given = {int(write.value) for write in writes if write.what.startswith(("CntrlCmd", "method")) and write.value}  # type: ignore[arg-type]
    bad = []
    for number in given:
        for state in S:
            machine = Machine()
            machine.found(state)
            machine.command(Command(number))
            if machine.state is not state and machine.state in STARTS:
                bad.append(f"{Command(number).name} in {state.name} leads to {machine.state.name}")
    return bad


def allowed(action: str) -> set[tuple[str, Any]]:
    """All that may ever be written to a filler that is halted by this action, its heartbeat apart."""
    word = WORDS[action]
    return {
        (f"method {word.name.capitalize()}", int(word)),
        ("CntrlCmd", int(word)),
        ("CntrlCmd", 0),
        ("CmdChangeRequest", True),
        ("CmdChangeRequest", False),
    }


@pytest.mark.timeout(120)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_action_from_every_state(tmp_path: Path, dialect: str) -> None:
    """It ends where the standard says, was asked for only where that is legal, and nothing written can start it."""

    async def all_states(action: str) -> None:
        filler = a_filler(tmp_path / action)
        async with moving(filler):
            await filler.fault("unwatched", {})
            async with config(filler, dialect, {"action": action}).connect("filler") as device:
                for state in S:
                    filler.writes.clear()
                    filler.machine.found(state)
                    await filler.publish()
                    proof = await device.halt(ORDER)
                    told = f"{action} in {state.name}"
                    assert filler.machine.state is ENDS[action][state], told
                    assert f"({int(filler.machine.state)})" in proof.state, told
                    assert proof.wrote is (state in ASKED[action]), told
                    await device.beat(state)
                    await device.withdraw()
                    assert filler.machine.state is ENDS[action][state], f"{told}, let go"
                    seen = {(write.what, write.value) for write in filler.writes if write.what != "Heartbeat.In"}
                    assert seen <= allowed(action), told
                    assert what_it_can_start(list(filler.writes)) == [], told

    await asyncio.gather(*(all_states(action) for action in WORDS))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_machine_that_moved_on_since_the_last_reading(tmp_path: Path, dialect: str) -> None:
    """Told at once because it was in Execute, it may be in any other state by then: no end is worse for that."""

    async def all_states(action: str) -> None:
        filler = a_filler(tmp_path / action)
        async with moving(filler):
            await filler.fault("unwatched", {})
            settings = config(filler, dialect, {"action": action}, period="50ms")
            at = [tag.name for tag in settings.tags()].index("state")
            async with settings.connect("filler") as device:
                for state in S:
                    filler.machine.found(S.EXECUTE)
                    await filler.publish()
                    while (await device.poll()).values[at] != S.EXECUTE:
                        pass
                    filler.writes.clear()
                    filler.machine.found(state)
                    await filler.publish()
                    proof = await device.halt(ORDER)
                    told = f"{action} in {state.name}, told in Execute"
                    assert filler.machine.state is ENDS[action][state], told
                    assert f"({int(filler.machine.state)})" in proof.state, told
                    assert proof.wrote is (state in ASKED[action]), told
                    await device.withdraw()
                    assert filler.machine.state is ENDS[action][state], f"{told}, let go"
                    seen = {(write.what, write.value) for write in filler.writes}
                    assert seen <= allowed(action), told
                    assert what_it_can_start(list(filler.writes)) == [], told

    await asyncio.gather(*(all_states(action) for action in WORDS))


def test_a_start_would_be_found() -> None:
    """Negative control: a Start, a Reset, an Unhold or an Unsuspend among the writes is seen."""
    for word in (Command.START, Command.RESET, Command.UNHOLD, Command.UNSUSPEND, Command.CLEAR):
        assert what_it_can_start([Write("CntrlCmd", int(word), 0)]), word.name


class Panelled(Filler):
    """Somebody at the panel is always a moment later than we are."""

    async def _cntrl_cmd(self, value: object) -> None:
        await super()._cntrl_cmd(value)
        self._command = int(Command.COMPLETE)
        await self.link.show(self.link.node("Filler.Command.CntrlCmd"), int(Command.COMPLETE))


async def test_the_request_comes_after_the_command_that_is_really_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A panel that puts another command into CntrlCmd between our two writes: no request carries that out for us."""
    write = Link.write

    async def and_the_panel_has_its_turn(link: Link, node: Any, value: Any, kind: Any) -> Any:
        refusal = await write(link, node, value, kind)
        await asyncio.sleep(0.2)
        return refusal

    monkeypatch.setattr(Link, "write", and_the_panel_has_its_turn)
    filler = Panelled(Plant(1), Place("127.0.0.1", 0, tmp_path))
    async with moving(filler):
        await filler.fault("unwatched", {})
        filler.machine.found(S.EXECUTE)
        await filler.publish()
        async with config(filler, "tags", {"action": "hold"}, halt_budget="2s").connect("filler") as device:
            with pytest.raises(NotHeld, match=r"4 was written and 10 is there: somebody else commands, too"):
                await device.halt(ORDER)
            assert filler.machine.state is S.EXECUTE
            assert not [write for write in filler.writes if write.what == "CmdChangeRequest" and write.value]


class Told:
    """A line that only takes note."""

    def __init__(self) -> None:
        self.proofs: list[HaltProof] = []
        self.troubles: list[str] = []
        self.scans = 0

    def take(self, scan: Scan, *, keep: bool = True) -> None:
        del keep
        self.scans += not scan.faults

    def connected(self, device: str, identity: Mapping[str, str]) -> None: ...

    def lost(self, device: str, reason: str) -> None:
        self.troubles.append(reason)

    def commanded(self, halt_id: str) -> None: ...

    def confirmed(self, halt_id: str, proof: HaltProof) -> None:
        self.proofs.append(proof)

    def withdrawn(self, device: str) -> None: ...

    def not_held(self, halt_id: str, reason: str) -> None:
        self.troubles.append(reason)


class WatchedPress(Press):
    """A Modbus machine whose controller holds it once our heartbeat stood still for a second."""

    def __init__(self) -> None:
        super().__init__()
        self.wrote: list[int] = []
        self._age_s = 0.0

    def write(self, address: int, words: Sequence[int]) -> None:
        self.wrote.append(address)
        self._age_s = 0.0
        super().write(address, words)

    async def step(self, dt_s: float) -> None:
        await super().step(dt_s)
        self._age_s += dt_s
        if self.wrote and self._age_s > 1.0:
            self.machine.command(Command.HOLD)


def withheld(machine: Filler | WatchedPress) -> OpcUaConfig | ModbusConfig:
    times = {"period": "100ms", "timeout": "5s", "halt_budget": "300ms", "beat": "200ms"}
    if isinstance(machine, Filler):
        return config(machine, "tags", {"action": "withhold", "within": "10s"}, **times)
    return ModbusConfig.model_validate(
        {
            "driver": "modbus",
            "url": f"tcp://{machine.door.address}",
            "tags": {"state": {"address": STATE}},
            "halt": {"action": "withhold", "within": "6s", "confirm": {"tag": "state", "in": [2, 9, 11]}},
            "heartbeat": {"register": BEAT},
            **times,
        }
    )


@pytest.mark.parametrize("kind", ["opcua", "modbus"])
async def test_a_withheld_heartbeat_halts(tmp_path: Path, kind: str) -> None:
    """Nothing is commanded; the controller's own watch holds the machine, and its own state confirms it in time.

    Meanwhile values go on; released, the heartbeat goes on and the machine stands where it stood.
    """
    machine = a_filler(tmp_path) if kind == "opcua" else WatchedPress()
    async with moving(machine):
        machine.machine.found(S.EXECUTE)
        made, line = withheld(machine), Told()
        station = Station("filler", made, TagSet("filler", made.tags()), line, World(), lambda: 1)  # type: ignore[arg-type]
        life = asyncio.create_task(station.run(), name="station")
        loop = asyncio.get_running_loop()
        try:
            await _until(lambda: line.scans > 5)
            assert machine.machine.state is S.EXECUTE
            ordered = loop.time()
            station.halt(ORDER)
            scans = line.scans
            await _until(lambda: bool(line.proofs), made.stands_within_s)
            assert machine.machine.state is S.HELD
            assert not line.proofs[0].wrote
            assert loop.time() - ordered <= made.stands_within_s
            assert station.patience_ns == pytest.approx(max(2.0, made.stands_within_s) * 1e9)
            assert line.scans > scans, "values go on meanwhile"
            assert "withheld" in line.troubles[0]
            before = _beats(machine)
            await asyncio.sleep(0.6)
            assert _beats(machine) == before, "withheld as long as the latch stands"
            station.release(ORDER.id)
            await _until(lambda: _beats(machine) > before + 1)
            assert machine.machine.state is S.HELD, "a heartbeat that is back starts nothing"
        finally:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
        if isinstance(machine, Filler):
            assert {write.what for write in machine.writes} == {"Heartbeat.In"}
            assert machine.notes == ["heartbeat lost"]
        else:
            assert set(machine.wrote) == {BEAT}
            assert COMMAND not in machine.wrote


def _beats(machine: Filler | WatchedPress) -> int:
    writes = machine.writes if isinstance(machine, Filler) else machine.wrote
    return len([write for write in writes if write == BEAT or getattr(write, "what", "") == "Heartbeat.In"])


async def _until(seen: Any, within_s: float = 10.0) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not seen():
        assert asyncio.get_running_loop().time() < deadline, f"not seen within {within_s:g} s"
        await asyncio.sleep(0.01)
