"""A refused address costs only its own tag; halts and writes are only those configured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from serial_peers import Registers, TcpLine, TcpServant

from gateway.drivers.modbus.device import ModbusDevice
from gateway.drivers.modbus.kind import ModbusConfig
from gateway.errors import DeviceError, DeviceMisconfigured, NotHeld
from gateway.model import HaltOrder, Quality

ORDER = HaltOrder(id="pump:rule", device="pump", rule="rule", text="", requested_ns=1)
TAGS = {f"t{at}": {"address": at} for at in range(20)}


@pytest.fixture
async def line() -> AsyncIterator[tuple[Registers, TcpLine]]:
    registers = Registers()
    registers.put("holding", 0, *range(100, 120))
    line = TcpLine(TcpServant(registers).hear)
    await line.heal()
    yield registers, line
    await line.cut()


def config(line: TcpLine, **given: Any) -> ModbusConfig:
    patient = {"period": "10s", "timeout": "10s"}
    return ModbusConfig.model_validate({"url": f"tcp://{line.address}", "tags": TAGS, **patient, **given})


async def test_one_bad_address(line: tuple[Registers, TcpLine]) -> None:
    """The refused tag is bad, with device, address and exception; nineteen are good, in the same poll."""
    registers, tcp = line
    del registers.words["holding", 13]
    async with config(tcp).connect("oven") as device:
        reading = await device.poll()
        registers.reads.clear()
        again = await device.poll()

    assert list(reading.faults) == [13]
    assert reading.faults[13].quality is Quality.BAD
    for word in ("oven", tcp.address, "holding register 13", "exception 02 illegal data address"):
        assert word in reading.faults[13].reason
    assert reading.values == tuple(None if at == 13 else 100 + at for at in range(20))
    assert again == reading
    assert all(not start <= 13 < start + count for _, start, count in registers.reads)


async def test_a_refused_hole(line: tuple[Registers, TcpLine]) -> None:
    """A hole the device will not read costs no tag at all."""
    registers, tcp = line
    del registers.words["holding", 10]
    tags = {name: tag for name, tag in TAGS.items() if name != "t10"}
    async with config(tcp, tags=tags).connect("oven") as device:
        reading = await device.poll()
        registers.reads.clear()
        await device.poll()

    assert reading.faults == {}
    assert registers.reads == [("holding", 0, 10), ("holding", 11, 9)]


async def test_no_time_left_to_search(line: tuple[Registers, TcpLine]) -> None:
    """With a tiny budget the search goes on in later polls and ends at the same tag."""
    registers, tcp = line
    del registers.words["holding", 13]
    async with config(tcp, timeout="1s", tags={**TAGS, "far": {"address": 0, "table": "input"}}).connect(
        "oven"
    ) as device:
        registers.put("input", 0, 5)
        device._config.__dict__["timeout_s"] = 1e-9
        first = await device.poll()
        device._config.__dict__["timeout_s"] = 1.0
        last = await device.poll()

    assert len(first.faults) == 20
    assert first.values[20] == 5
    assert list(last.faults) == [13]


@pytest.mark.parametrize(("code", "kind"), [(1, DeviceMisconfigured), (2, DeviceMisconfigured), (11, DeviceError)])
async def test_nothing_can_be_read(line: tuple[Registers, TcpLine], code: int, kind: type[DeviceError]) -> None:
    """Where every tag is refused it is an error of the device, or of the configuration."""
    registers, tcp = line
    registers.refuse[3] = code
    async with config(tcp).connect("oven") as device:
        with pytest.raises(kind, match=f"oven.*exception {code:02d}") as caught:
            await device.poll()

    assert type(caught.value) is kind


async def test_busy_passes(line: tuple[Registers, TcpLine]) -> None:
    """A block that is refused as busy is bad this time and asked for again."""
    registers, tcp = line
    registers.put("input", 0, 5)
    registers.refuse[4] = 6
    async with config(tcp, tags={**TAGS, "other": {"address": 0, "table": "input"}}).connect("oven") as device:
        busy = await device.poll()
        registers.refuse.clear()
        free = await device.poll()

    assert "device busy" in busy.faults[20].reason
    assert busy.values[19] == 119
    assert free.values[20] == 5
    assert free.faults == {}


async def test_a_refused_address_that_comes_to_life(line: tuple[Registers, TcpLine]) -> None:
    """What was refused is asked for again now and then: a device that was set up meanwhile has its tag back."""
    registers, tcp = line
    del registers.words["holding", 13]
    async with config(tcp).connect("oven") as device:
        assert list((await device.poll()).faults) == [13]
        registers.put("holding", 13, 113)
        assert list((await device.poll()).faults) == [13]
        device._again_at = 0.0
        assert (await device.poll()).values == tuple(range(100, 120))
        assert (await device.poll()).values == tuple(range(100, 120))


async def test_a_search_is_bounded(line: tuple[Registers, TcpLine]) -> None:
    """Forty bad addresses among eighty cost a poll a few dozen requests at most, and are all found in the end."""
    registers, tcp = line
    registers.put("holding", 0, *range(80))
    for at in range(0, 80, 2):
        del registers.words["holding", at]
    async with config(tcp, tags={f"t{at}": {"address": at} for at in range(80)}).connect("oven") as device:
        most, values = 0, ()
        for _ in range(8):
            registers.reads.clear()
            with suppress(DeviceError):
                values = (await device.poll()).values
            most = max(most, len(registers.reads))

    assert most <= 80
    assert values == tuple(None if at % 2 == 0 else at for at in range(80))


async def test_a_worn_register_is_written_within_its_budget(line: tuple[Registers, TcpLine]) -> None:
    """A halt is never refused; taking it back is, beyond the budget, in words, and made up for later."""
    registers, tcp = line
    registers.on_write = lambda table, address, value: registers.put("holding", 9, 11 * value)
    registers.put("holding", 9, 0)
    given = {"halt": HALT, "wearing": [4], "nvm_writes_per_day": 3}
    worn = config(tcp, **given)
    async with worn.connect("oven") as device:
        for _ in range(2):
            await device.halt(ORDER)
            if registers.writes[-1][2] and len(registers.writes) < 3:
                await device.withdraw()
        with pytest.raises(DeviceError, match=r"oven.*holding register 4 is not written: 3 writes in 24 h"):
            await device.withdraw()
        registers.put("holding", 9, 0)
        assert (await device.halt(ORDER)).wrote
    assert registers.writes == [("holding", 4, value) for value in (1, 0, 1, 1)]
    async with worn.connect("oven") as device:
        with suppress(DeviceError):
            await device.withdraw()
        await device.withdraw()
        assert (await device.poll()).held is True
    async with worn.connect("oven") as device:
        device._release.wear._written.clear()
        await device.poll()

    assert registers.writes[-1] == ("holding", 4, 0)
    assert len(registers.writes) == 5


async def test_what_is_owed_is_paid_only_when_the_device_took_it(line: tuple[Registers, TcpLine]) -> None:
    """A release made up for, and refused: it is owed still, also on the next connection."""
    registers, tcp = line
    registers.on_write = lambda table, address, value: registers.put("holding", 9, 11 * value)
    worn = config(tcp, halt=HALT, wearing=[4], nvm_writes_per_day=1)
    async with worn.connect("oven") as device:
        await device.halt(ORDER)
        with pytest.raises(DeviceError, match="is not written"):
            await device.withdraw()
        device._release.wear._written.clear()
        registers.refuse[6] = 6
        with pytest.raises(DeviceError, match="device busy"):
            await device.poll()
        assert device.owes

    async with worn.connect("oven") as device:
        device._release.wear._written.clear()
        registers.refuse.clear()
        assert device.owes
        await device.poll()
        assert not device.owes

    assert registers.writes[-1] == ("holding", 4, 0)


HALT = {
    "write": {"register": 4, "value": 1},
    "confirm": {"tag": "t9", "equals": 11},
    "release": {"register": 4, "value": 0},
}


async def test_a_refused_halt_says_why(line: tuple[Registers, TcpLine]) -> None:
    """A write the device refuses is no halt: it names register and exception, and the device goes on being read."""
    registers, tcp = line
    registers.refuse[6] = 4
    async with config(tcp, halt=HALT).connect("oven") as device:
        with pytest.raises(NotHeld, match=r"oven.*write of holding register 4: exception 04"):
            await device.halt(ORDER)
        assert (await device.poll()).values[0] == 100


async def test_a_word_that_means_no_value_proves_nothing(line: tuple[Registers, TcpLine]) -> None:
    """A gateway that lost its slave shows FFFF: every bit of it is set, the one that would prove the halt, too."""
    registers, tcp = line
    registers.put("holding", 9, 0xFFFF)
    tags = {**TAGS, "t9": {"address": 9, "bit": 3, "bad_values": [0xFFFF]}}
    halt = {**HALT, "confirm": {"tag": "t9", "equals": True}}
    async with config(tcp, tags=tags, halt=halt, halt_budget="500ms").connect("oven") as device:
        assert (await device.poll()).held is None
        with pytest.raises(NotHeld, match="65535, which means no value"):
            await device.halt(ORDER)


async def test_an_unreadable_state_does_not_stop_the_halt(line: tuple[Registers, TcpLine]) -> None:
    """Where the state cannot be read the halt is written all the same, and is not called held."""
    registers, tcp = line
    del registers.words["holding", 9]
    async with config(tcp, halt=HALT, halt_budget="500ms").connect("oven") as device:
        with pytest.raises(NotHeld, match="exception 02"):
            await device.halt(ORDER)

    assert registers.writes == [("holding", 4, 1)]


async def test_a_machine_that_takes_its_time(line: tuple[Registers, TcpLine]) -> None:
    """The state is read until it holds: Holding first, then Held."""
    registers, tcp = line
    registers.put("holding", 9, 6)

    def slowly(table: str, address: int, value: int) -> None:
        registers.put("holding", 9, 10)
        registers.reads.clear()

    registers.on_write = slowly
    answer = registers.answer

    def held_at_the_third_look(pdu: bytes) -> bytes:
        if len(registers.reads) == 2:
            registers.put("holding", 9, 11)
        return answer(pdu)

    registers.answer = held_at_the_third_look  # type: ignore[method-assign]
    async with config(tcp, halt=HALT).connect("oven") as device:
        proof = await device.halt(ORDER)
        await device.withdraw()

    assert proof.state == "t9 (holding register 9) = 11"
    assert registers.writes == [("holding", 4, 1), ("holding", 4, 0)]


async def test_a_proof_that_is_not_polled(line: tuple[Registers, TcpLine]) -> None:
    """Its register is read for the halt, and with every poll while that stands; at other times nothing is said."""
    registers, tcp = line
    registers.put("holding", 900, 0)
    registers.on_write = lambda table, address, value: registers.put("holding", 900, 11 * value)
    tags = {**TAGS, "state": {"address": 900, "polled": False}}
    halt = {**HALT, "confirm": {"tag": "state", "equals": 11}}
    async with config(tcp, tags=tags, halt=halt).connect("oven") as device:
        before = await device.poll()
        reads = list(registers.reads)
        proof = await device.halt(ORDER)
        standing = await device.poll()
        registers.put("holding", 900, 6)
        left = await device.poll()
        registers.refuse[3] = 6
        with pytest.raises(DeviceError):
            await device.poll()
        registers.refuse.clear()
        await device.withdraw()
        after = await device.poll()

    assert reads == [("holding", 0, 20)]
    assert proof.state == "state (holding register 900) = 11"
    assert [reading.held for reading in (before, standing, left, after)] == [None, True, False, None]
    assert all(len(reading.values) == 20 for reading in (before, standing, after))


def test_there_is_no_other_write() -> None:
    """What can be neither halted nor beaten has no method that writes."""
    public = {name for name in dir(ModbusDevice) if not name.startswith("_")}
    assert public == {"poll"}
