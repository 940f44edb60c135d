"""A halt is written at once where the last poll showed the machine moving; else the machine is looked at first.

OPC UA machines that moved on since: tests/integration/test_halt_actions.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from machine_peers import PumpPeer, ZebraPeer
from serial_peers import Registers, TcpLine, TcpServant

from gateway.drivers.base import Prompt
from gateway.drivers.modbus.kind import ModbusConfig
from gateway.drivers.opcua.halt import Seen, bring_to_rest
from gateway.errors import DeviceError, NotHeld
from gateway.model import HaltOrder, Value

ORDER = HaltOrder(id="press:rule", device="press", rule="rule", text="", requested_ns=1)
COMMAND, STATE, RUNS, STANDS = 4, 9, 6, 11
PATIENCE_S = 5.0
PATIENT = {"timeout": "5s", "halt_budget": "5s"}
"""For tests of what is said first: however slowly it is answered."""


class Watched(Registers):
    """Remembers reads of the state and writes of the command in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.put("holding", COMMAND, 0)
        self.put("holding", STATE, RUNS)
        self.on_write = self.obey

    def obey(self, table: str, address: int, value: int) -> None:
        del table
        self.seen.append("write")
        if address == COMMAND and value == 1:
            self.put("holding", STATE, STANDS)

    def _read(self, function: int, address: int, count: int) -> bytes:
        if address <= STATE < address + count:
            self.seen.append("look")
        return super()._read(function, address, count)


@pytest.fixture
async def line() -> AsyncIterator[tuple[Watched, TcpLine]]:
    registers = Watched()
    line = TcpLine(TcpServant(registers).hear)
    await line.heal()
    yield registers, line
    await line.cut()


def config(line: TcpLine, polled: bool = True, **given: Any) -> ModbusConfig:
    halt = {
        "write": {"register": COMMAND, "value": 1},
        "confirm": {"tag": "state", "equals": STANDS},
        "release": {"register": COMMAND, "value": 0},
    }
    tags = {"command": {"address": COMMAND}, "state": {"address": STATE, "polled": polled}}
    return ModbusConfig.model_validate({"url": f"tcp://{line.address}", "tags": tags, "halt": halt, **PATIENT, **given})


@pytest.mark.parametrize("polled", [True, False])
async def test_the_write_goes_out_at_once(line: tuple[Watched, TcpLine], *, polled: bool) -> None:
    """After a poll that did not say held nothing is asked before the write; the proof is read after it."""
    registers, tcp = line
    async with config(tcp, polled).connect("press") as device:
        await device.poll()
        registers.seen.clear()
        proof = await device.halt(ORDER)

    assert registers.seen == ["write", "look"]
    assert proof.wrote


async def test_the_request_is_out_before_the_order_is_taken_up(line: tuple[Watched, TcpLine]) -> None:
    """`halt_now` sends it without waiting for anything; `halt` takes its answer, writes nothing more and proves."""
    registers, tcp = line
    async with config(tcp).connect("press") as device:
        await device.poll()
        registers.seen.clear()
        assert isinstance(device, Prompt)
        device.halt_now()
        async with asyncio.timeout(PATIENCE_S):
            while not registers.seen:  # noqa: ASYNC110  # a far end has no event to wait for
                await asyncio.sleep(0.001)
        assert registers.seen == ["write"]
        proof = await device.halt(ORDER)

    assert registers.seen == ["write", "look"]
    assert proof.wrote


async def test_nothing_is_sent_at_once_where_something_speaks_against_it(line: tuple[Watched, TcpLine]) -> None:
    """No poll yet, a machine that stands, a register that wears, a question on the wire: `halt` does it in its turn."""
    registers, tcp = line
    async with config(tcp, wearing=[COMMAND]).connect("worn") as worn:
        assert isinstance(worn, Prompt)
        await worn.poll()
        worn.halt_now()
    async with config(tcp).connect("press") as device:
        assert isinstance(device, Prompt)
        device.halt_now()
        await device.poll()
        polling = asyncio.create_task(device.poll())
        await asyncio.sleep(0)
        device.halt_now()
        await polling
        registers.put("holding", STATE, STANDS)
        await device.poll()
        device.halt_now()
        await asyncio.sleep(0.1)

    assert registers.writes == []


async def test_a_request_that_was_sent_at_once_and_refused_is_told(line: tuple[Watched, TcpLine]) -> None:
    """The refusal is the answer to `halt`, with the register and what the machine said."""
    registers, tcp = line
    async with config(tcp).connect("press") as device:
        await device.poll()
        registers.refuse = {6: 4}
        assert isinstance(device, Prompt)
        device.halt_now()
        with pytest.raises(DeviceError, match=r"write of holding register 4: exception 04"):
            await device.halt(ORDER)


async def test_a_request_that_was_let_go_counts_for_nothing(line: tuple[Watched, TcpLine]) -> None:
    """Sent at once, released before `halt` took it up: the next halt is written itself."""
    registers, tcp = line
    async with config(tcp).connect("press") as device:
        await device.poll()
        assert isinstance(device, Prompt)
        device.halt_now()
        await device.withdraw()
        registers.put("holding", STATE, RUNS)
        registers.seen.clear()
        await device.poll()
        proof = await device.halt(ORDER)

    assert registers.seen == ["look", "write", "look"]
    assert proof.wrote


async def test_a_cable_pulled_after_the_request_went_out_is_told(line: tuple[Watched, TcpLine]) -> None:
    """Whether anybody waited for the answer or not."""
    _, tcp = line
    async with config(tcp).connect("press") as device:
        await device.poll()
        assert isinstance(device, Prompt)
        device.halt_now()
        await tcp.cut()
        with pytest.raises(DeviceError, match="press"):
            await device.halt(ORDER)


async def test_a_machine_that_stands_is_not_written_to(line: tuple[Watched, TcpLine]) -> None:
    """Where the last poll said held the machine is asked, and nothing is written."""
    registers, tcp = line
    registers.put("holding", STATE, STANDS)
    async with config(tcp).connect("press") as device:
        await device.poll()
        proof = await device.halt(ORDER)

    assert not proof.wrote
    assert registers.writes == []


async def test_before_the_first_poll_the_machine_is_asked(line: tuple[Watched, TcpLine]) -> None:
    """A latch that is asserted again on a new connection looks first: what stands is not written to."""
    registers, tcp = line
    async with config(tcp).connect("press") as device:
        await device.halt(ORDER)

    assert registers.seen == ["look", "write", "look"]


async def test_the_next_attempt_looks_first(line: tuple[Watched, TcpLine]) -> None:
    """A machine that obeys late is not told twice: an attempt straight after another asks it."""
    registers, tcp = line
    registers.on_write = lambda *_: registers.seen.append("write")
    async with config(tcp, halt_budget="500ms").connect("press") as device:
        await device.poll()
        with pytest.raises(NotHeld):
            await device.halt(ORDER)
        registers.put("holding", STATE, STANDS)
        registers.seen.clear()
        proof = await device.halt(ORDER)

    assert "write" not in registers.seen
    assert not proof.wrote


async def test_a_register_that_wears_is_not_written_for_nothing(line: tuple[Watched, TcpLine]) -> None:
    """Where each write costs some of its life the machine is looked at first, always."""
    registers, tcp = line
    async with config(tcp, wearing=[COMMAND]).connect("press") as device:
        await device.poll()
        registers.put("holding", STATE, STANDS)  # somebody stopped it since
        proof = await device.halt(ORDER)

    assert not proof.wrote
    assert registers.writes == []


async def test_a_machine_that_only_took_the_write_is_not_held(line: tuple[Watched, TcpLine]) -> None:
    """The write that went out at once proves nothing: without the machine's own word it is NotHeld."""
    registers, tcp = line
    registers.on_write = lambda *_: None
    async with config(tcp, halt_budget="500ms").connect("press") as device:
        await device.poll()
        with pytest.raises(NotHeld, match=r"press .*written, but after 0\.5 s state .* = 6"):
            await device.halt(ORDER)


async def test_a_running_pump_is_stopped_at_once(tmp_path: Path) -> None:
    """Stop is the first thing said to a pump that said running; one that stood is only looked at."""
    peer = PumpPeer("tcp", tmp_path / "port")
    await peer.heal()
    async with peer.config(**PATIENT).connect("pump") as device:
        await device.poll()
        peer.asked.clear()
        assert (await device.halt(ORDER)).wrote
        first = peer.asked[0]
        await device.poll()
        assert not (await device.halt(ORDER)).wrote
    await peer.cut()

    assert first == "3ST"
    assert peer.writes == ["3ST"]


async def test_a_printer_that_runs_is_paused_at_once(tmp_path: Path) -> None:
    """Pause is the first thing said to a printer that said it runs; one that was paused is only looked at."""
    peer = ZebraPeer("tcp", tmp_path / "port")
    await peer.heal()
    async with peer.config(**PATIENT).connect("printer") as device:
        await device.poll()
        peer.asked.clear()
        assert (await device.halt(ORDER)).wrote
        first = peer.asked[0]
        await device.poll()
        assert not (await device.halt(ORDER)).wrote
    await peer.cut()

    assert first == "~PP"
    assert peer.writes == ["~PP"]


class Steps:
    """An OPC UA machine that says one state after the other, and stands once it was asked in Execute."""

    def __init__(self, *states: str) -> None:
        self.states = list(states)
        self.seen: list[str] = []

    def was(self, state: Value) -> Seen:
        return Seen(state, str(state), state == "held", state in ("execute", "starting"))

    async def look(self) -> Seen:
        self.seen.append("look")
        return self.was(self.states[0])

    async def command(self) -> str:
        self.seen.append("command")
        refused = self.states[0] != "execute"
        self.states = ["execute"] if refused else ["held"]
        return "BadInvalidState" if refused else ""

    async def withdraw(self) -> None:
        """Nothing to take back."""


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("before", "now", "seen"),
    [
        (None, "execute", ["look", "command", "look"]),
        ("execute", "execute", ["command", "look"]),
        ("starting", "starting", ["command", "look", "command", "look"]),
        ("execute", "starting", ["command", "look", "command", "look"]),
        ("held", "held", ["look"]),
        ("resetting", "execute", ["look", "command", "look"]),
    ],
)
async def test_an_opcua_machine_is_commanded_at_once_where_it_takes_it(
    before: str | None, now: str, seen: list[str]
) -> None:
    """Without a look where the last reading took the command; what moved on since is asked again where that is due."""
    machine = Steps(now)
    proof, _ = await bring_to_rest(machine, 1, "filler", None if before is None else machine.was(before))

    assert machine.seen == seen
    assert proof.wrote is ("command" in seen)
