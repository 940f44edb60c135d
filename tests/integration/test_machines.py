"""Pump, dosing pump, relay and print engine against the simulated ones: what is shown, and above all what is held.

The simulators are independent of the drivers, and know the truth: whether the motor turns, the contact is open, the
engine is paused.  A halt may fail aloud; it may never be shown as done where the machine does not stand.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymodbus.client import AsyncModbusTcpClient

from gateway.drivers.base import DriverConfig, Haltable
from gateway.drivers.modbus.kind import ModbusConfig
from gateway.drivers.pump.kind import PumpConfig
from gateway.drivers.zebra.kind import ZebraConfig
from gateway.errors import DeviceError
from gateway.model import HaltOrder, HaltProof, Reading
from simulators.device import Device
from simulators.extras import Stand, make_extra
from simulators.plant import Plant

ORDER = HaltOrder(id="machine:rule", device="machine", rule="rule", text="too light", requested_ns=1)
TICK_S = 0.005
PLENTY: dict[str, Any] = {"halt_budget": "5s"}
"""For what must come true: it does in a fraction of this, on a busy machine too."""
SHORT: dict[str, Any] = {"halt_budget": "400ms"}
"""For a halt that must fail: it takes all of it."""
REVERTS_S = 3.0
"""Longer than a halt takes on a busy machine."""
LATE_S = 2.0
"""By so much a busy machine may be late; what has no end at all is still seen."""


def made(name: str, folder: Path, **devices: Device) -> Device:
    return make_extra(Stand(name, Plant(seed=7), "127.0.0.1", folder, devices))


@asynccontextmanager
async def started(device: Device) -> AsyncIterator[dict[str, str]]:
    """The simulated device, moving."""
    await device.start()
    ticker = asyncio.create_task(tick(device))
    try:
        yield device.addresses()
    finally:
        ticker.cancel()
        await device.stop()
        await asyncio.sleep(0)


async def tick(device: Device) -> None:
    loop = asyncio.get_running_loop()
    last = loop.time()
    while True:
        await asyncio.sleep(TICK_S)
        now = loop.time()
        await device.step(now - last)
        last = now


def pump(addresses: dict[str, str], link: str = "tcp", budget: dict[str, Any] = PLENTY) -> DriverConfig:
    url = f"tcp://{addresses['tcp']}" if link == "tcp" else f"serial://{addresses['serial']}?baudrate=9600"
    return PumpConfig.model_validate({"url": url, **budget, "pulses_per_revolution": 10982})


def dosing(addresses: dict[str, str], link: str = "tcp", budget: dict[str, Any] = PLENTY) -> DriverConfig:
    url = f"tcp://{addresses['tcp']}" if link == "tcp" else f"serial://{addresses['serial']}?parity=N"
    return ModbusConfig.model_validate({"url": url, "profile": "prominent-dulco-flex", **budget})


def relay(addresses: dict[str, str], profile: str = "mirror", budget: dict[str, Any] = PLENTY) -> DriverConfig:
    given: dict[str, Any] = {"profile": f"permissive-relay-{profile}", **budget}
    if profile == "no":
        given["tags"] = {"contact_closed": {"address": 1}}
    return ModbusConfig.model_validate({"url": f"tcp://{addresses['tcp']}", **given})


def zebra(addresses: dict[str, str], link: str = "tcp", budget: dict[str, Any] = PLENTY) -> DriverConfig:
    url = f"tcp://{addresses['tcp']}" if link == "tcp" else f"serial://{addresses['serial']}?baudrate=9600"
    return ZebraConfig.model_validate({"url": url, **budget, "timeout": "500ms"})


CONFIGS: dict[str, Callable[..., DriverConfig]] = {
    "pump": pump,
    "dosing": dosing,
    "relay": relay,
    "zebra": zebra,
}
BEGIN = {"pump": "start", "dosing": "start", "relay": "start", "zebra": "load"}
AGAIN = {"pump": "start", "dosing": "reset", "relay": "permit", "zebra": "pause"}
"""What a person does at the machine to let it run again."""
REACTION_S = {"pump": 0.1, "dosing": 0.02, "relay": 0.005, "zebra": 0.05}
"""About how long a halt takes: faults are to strike in its midst."""


def stands(device: Device) -> bool:
    """The truth: will this machine make anything more?"""
    truth = device.truth()
    match device.name:
        case "pump" | "dosing":
            return not truth["turning"]
        case "relay":
            return not truth["closed"]
        case _:
            return bool(truth["paused"])


async def held(device: Any) -> HaltProof | Exception:
    """A halt as the station would try it once."""
    try:
        proof: HaltProof = await device.halt(ORDER)
    except DeviceError as error:
        return error
    return proof


async def until(device: Any, seen: Callable[[Reading], bool], seconds: float = 10.0) -> Reading:
    async with asyncio.timeout(seconds):
        reading: Reading = await device.poll()
        while not seen(reading):
            reading = await device.poll()
    return reading


def answered(reading: Reading) -> bool:
    """The machine itself said something, however late."""
    return not reading.faults


# -- what is shown -----------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["tcp", "serial"])
async def test_the_simulated_pump(link: str, tmp_path: Path) -> None:
    """Speed, direction and pulses as the pump has them; the tacho goes on while it turns."""
    device = made("pump", tmp_path)
    async with started(device) as addresses:
        device.operator("start")
        async with pump(addresses, link).connect("pump") as open_pump:
            first = await until(open_pump, lambda reading: reading.values[3] > 1000)
            second = await until(open_pump, lambda reading: reading.values[3] > first.values[3])

    assert open_pump.identity["model"] == "520Du"
    assert second.values[:3] == (True, 60.0, "CW")
    assert second.values[4:7] == (15.84, "520R", "9.6MM")
    assert second.values[8] == pytest.approx(second.values[3] / 10982)
    assert device.truth()["writes"] == []


@pytest.mark.parametrize("link", ["tcp", "serial"])
async def test_the_simulated_dosing_pump(link: str, tmp_path: Path) -> None:
    """The DULCO flex map over TCP and RTU: values while the pattern proves the words, bad while it does not."""
    device = made("dosing", tmp_path)
    async with started(device) as addresses:
        config = dosing(addresses, link)
        async with config.connect("dosing") as open_pump:
            reading = await open_pump.poll()
            shown = dict(zip((spec.name for spec in config.tags()), reading.values, strict=True))
            await device.fault("swapped_words", {})
            swapped = await open_pump.poll()
            await device.heal("swapped_words")
            await device.fault("motor_blockage", {})
            blocked = await open_pump.poll()

    assert reading.faults == {}
    assert shown["dosing_rate"] == pytest.approx(12.0)
    assert (shown["mode"], shown["stopped"], shown["errors"]) == (1, False, 0)
    assert "endianness is" in swapped.faults[1].reason
    assert swapped.values[1] is None
    assert blocked.values[5] == 1 << 30


@pytest.mark.parametrize("link", ["tcp", "serial"])
async def test_the_simulated_print_engine(link: str, tmp_path: Path) -> None:
    """Labels go down while it prints; media out is silence, told for what it can mean; then it is back."""
    device = made("zebra", tmp_path)
    async with started(device) as addresses:
        device.operator("load")
        async with zebra(addresses, link).connect("printer") as printer:
            await until(printer, lambda reading: reading.values[11] is not None and reading.values[11] < 250)
            await device.fault("media_out", {})
            first, second = await printer.poll(), await printer.poll()
            await device.fault("talkative", {})
            told = await until(printer, answered)
            await device.heal("all")
            after = await until(printer, answered)

    assert printer.identity["model"] == "ZE511-300dpi"
    assert "media or ribbon out" in first.faults[0].reason
    assert "the link is alive" in second.faults[0].reason
    assert (told.faults, told.values[0]) == ({}, True)
    assert (after.faults, after.values[0]) == ({}, False)


async def test_answers_that_were_queued_while_silent(tmp_path: Path) -> None:
    """An engine that answers everything at once when its door is shut: the next answer is still the one of now."""
    device = made("zebra", tmp_path)
    async with started(device) as addresses, zebra(addresses).connect("printer") as printer:
        for fault in ("head_open", "mute", "queues"):
            await device.fault(fault, {})
        for _ in range(3):
            assert (await printer.poll()).faults
        await device.force("labels_remaining", 5)
        await device.heal("head_open")
        await device.force("labels_remaining", 4)

        assert (await until(printer, answered)).values[11] == 4


async def test_the_simulated_modules_answer_another_client(tmp_path: Path) -> None:
    """Another implementation reads and writes coils, inputs and floats of the simulated ones as our driver does."""
    module, doser = made("relay", tmp_path), made("dosing", tmp_path)
    async with started(module) as here, started(doser) as there:
        client = AsyncModbusTcpClient("127.0.0.1", port=int(here["tcp"].rpartition(":")[2]), retries=0)
        other = AsyncModbusTcpClient("127.0.0.1", port=int(there["tcp"].rpartition(":")[2]), retries=0)
        try:
            await client.connect()
            await other.connect()
            before = (await client.read_discrete_inputs(0, count=3, device_id=1)).bits[:3]
            wrote = await client.write_coil(0, False, device_id=1)
            async with asyncio.timeout(10):
                while module.truth()["closed"]:  # noqa: ASYNC110  # a contact takes its time, and tells nobody
                    await asyncio.sleep(TICK_S)
            coil = (await client.read_coils(0, count=1, device_id=1)).bits[0]
            after = (await client.read_discrete_inputs(0, count=3, device_id=1)).bits[:3]
            await client.write_coils(0, [True, False], device_id=1)
            words = (await other.read_holding_registers(1018, count=2, device_id=20)).registers
            await other.write_register(1200, 0, device_id=20)
        finally:
            client.close()
            other.close()

    assert (before, coil, after) == ([False, True, False], False, [True, False, False])
    assert not wrote.isError()
    assert module.truth()["coil"]
    assert other.convert_from_registers(words, other.DATATYPE.FLOAT32) == pytest.approx(12.0)
    assert not doser.truth()["start_by_bus"]


# -- what is held ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
async def test_held_and_let_go(name: str, tmp_path: Path) -> None:
    """The machine stands, the polls say so; a release starts nothing; the person at the machine does."""
    device = made(name, tmp_path)
    async with started(device) as addresses:
        assert device.operator(BEGIN[name])
        async with CONFIGS[name](addresses).connect("machine") as machine:
            assert isinstance(machine, Haltable)
            await until(machine, lambda reading: reading.held is False)
            proof = await machine.halt(ORDER)
            assert proof.wrote
            assert stands(device)
            await until(machine, lambda reading: reading.held is True)
            await machine.withdraw()
            await asyncio.sleep(0.05)
            assert name == "relay" or stands(device)  # the relay permits again: the machine behind it still stands
            assert not device.truth().get("running", False)
            assert name == "zebra" or not device.truth().get("turning", False)
            device.operator(AGAIN[name])
            await until(machine, lambda reading: reading.held is False)


LIES: dict[str, list[list[str]]] = {
    "pump": [["ignores_stop"], ["says_stopped", "ignores_stop"], ["other_number"], ["garbled"]],
    "dosing": [["ignores_stop"], ["refuses"], ["ignores_stop", "swapped_words"]],
    "relay": [["welded"], ["stuck_coil"], ["refuses"], ["welded", "broken_wire"], ["stuck_coil", "broken_wire"]],
    "zebra": [["ignores_pause"], ["media_out", "ignores_pause"], ["head_open", "mute", "ignores_pause"]],
}


@pytest.mark.parametrize(("name", "faults"), [(name, faults) for name, each in LIES.items() for faults in each])
async def test_a_liar_is_never_held(name: str, faults: list[str], tmp_path: Path) -> None:
    """It answers well and does nothing, or answers nonsense: the halt fails, whatever was written."""
    device = made(name, tmp_path)
    async with started(device) as addresses:
        device.operator(BEGIN[name])
        async with CONFIGS[name](addresses, budget=SHORT).connect("machine") as machine:
            for fault in faults:
                await device.fault(fault, {})
            assert isinstance(await held(machine), DeviceError)


@pytest.mark.parametrize("profile", ["no", "mirror", "iologik-e1214"])
@pytest.mark.parametrize("fault", ["", "welded", "stuck_coil", "broken_wire", "shorted_wire"])
async def test_no_single_fault_makes_a_false_halt(profile: str, fault: str, tmp_path: Path) -> None:
    """A relay's contact, coil or wire fails, before the halt: what is shown as held is held."""
    device = made("relay", tmp_path)
    async with started(device) as addresses:
        device.operator("start")
        async with relay(addresses, profile, SHORT if fault else PLENTY).connect("permit") as permit:
            if fault:
                await device.fault(fault, {})
            outcome = await held(permit)
            await asyncio.sleep(0.05)  # a contact takes its time; with its wire shorted nobody saw it open
            shown = (await permit.poll()).held

    assert isinstance(outcome, DeviceError) or stands(device)
    assert not shown or stands(device) or fault in ("broken_wire", "shorted_wire")
    if not fault:
        assert isinstance(outcome, HaltProof)
        assert not device.truth()["running"]
    if fault == "welded":
        assert "contact" in str(outcome)
        assert device.truth()["running"]


@pytest.mark.parametrize("name", ["pump", "dosing", "zebra", "relay"])
async def test_apply_then_revert_shows(name: str, tmp_path: Path) -> None:
    """It stands, and after a while it goes on by itself: the readings say so at once, and the next halt holds again."""
    device = made(name, tmp_path)
    async with started(device) as addresses:
        device.operator(BEGIN[name])
        await device.fault("second_master" if name == "relay" else "reverts", {"seconds": REVERTS_S})
        async with CONFIGS[name](addresses).connect("machine") as machine:
            assert isinstance(await held(machine), HaltProof)
            await device.step(REVERTS_S)
            await until(machine, lambda reading: reading.held is False)
            assert not stands(device)
            assert isinstance(await held(machine), HaltProof)
            assert stands(device)


@pytest.mark.parametrize("name", CONFIGS)
async def test_silent_is_never_held(name: str, tmp_path: Path) -> None:
    """It takes everything and answers nothing: a DeviceError within the budget."""
    device = made(name, tmp_path)
    async with started(device) as addresses:
        device.operator(BEGIN[name])
        config = CONFIGS[name](addresses, budget=SHORT)
        async with config.connect("machine") as machine:
            await device.fault("silent", {})
            async with asyncio.timeout(config.halt_budget_s + LATE_S):
                assert isinstance(await held(machine), DeviceError)


# -- relays ------------------------------------------------------------------------------------------


async def test_the_module_drops_its_relay_when_nobody_asks(tmp_path: Path) -> None:
    """Its own communication timeout holds the machine without us; it stays so until somebody permits again."""
    device = made("relay", tmp_path)
    device.operator("start")
    await device.step(1.0)
    assert device.truth()["running"]
    await device.step(5.0)
    await device.step(0.1)

    assert (device.truth()["tripped"], device.truth()["running"]) == (True, False)
    async with started(device) as addresses, relay(addresses).connect("permit") as permit:
        assert (await permit.poll()).held is True
        assert device.operator("permit")
        await until(permit, lambda reading: reading.held is False)
    assert not device.truth()["running"]


async def test_the_relay_is_the_filler_where_there_is_no_other(tmp_path: Path) -> None:
    """Without a simulated filler the machine behind the relay fills the line's units; with one it does not."""
    plant = Plant(seed=7)
    alone = make_extra(Stand("relay", plant, "127.0.0.1", tmp_path, {}))
    beside = make_extra(Stand("relay", Plant(seed=7), "127.0.0.1", tmp_path, {"filler": alone}))
    for device in (alone, beside):
        device.operator("start")
        await device.step(0.1)

    assert plant.filling_on
    assert not beside._plant  # type: ignore[attr-defined]


def test_the_example_is_what_the_profile_says() -> None:
    """The shipped example validates whole; what it writes over the profile lands in tags, write and release alike."""
    text = (Path(__file__).parents[2] / "config" / "examples" / "relay.yaml").read_text(encoding="utf-8")
    devices = {name: ModbusConfig.model_validate(given) for name, given in yaml.safe_load(text)["devices"].items()}
    halt = devices["filler-permit"].halt

    assert all(device.haltable() for device in devices.values())
    assert halt is not None
    assert halt.release is not None
    assert (halt.write.coil, halt.write.value, halt.release.coil, halt.release.value) == (16, False, 16, True)
    assert halt.always


# -- the long proof ----------------------------------------------------------------------------------


@pytest.mark.chaos
@pytest.mark.parametrize("name", CONFIGS)
async def test_no_halt_is_shown_where_the_machine_goes_on(name: str, tmp_path: Path) -> None:
    """Halts under random faults and random cuts: not one is shown done where the machine does not stand."""
    dice = random.Random(13)
    kinds = sorted({fault for faults in LIES[name] for fault in faults} | {"silent", "cut", "reboot", "none"})
    outcomes = {"held": 0, "failed": 0, "false": 0}
    device = made(name, tmp_path)
    async with started(device) as addresses:
        config = CONFIGS[name](addresses, budget=SHORT)
        for _ in range(150):
            await device.heal("all")
            device.operator(AGAIN[name] if stands(device) else BEGIN[name])
            before, kind = dice.random() < 0.3, dice.choice(kinds)
            after_s = 0.0 if before else dice.expovariate(1 / REACTION_S[name])
            outcomes[await halted_under(device, config, kind, after_s)] += 1
            await asyncio.sleep(0.1 if kind == "reboot" else 0.0)

    print(f"\n{name}: {outcomes}")  # noqa: T201  # the figure of this proof
    assert outcomes["false"] == 0
    assert outcomes["held"] > 10
    assert outcomes["failed"] > 10


async def halted_under(device: Device, config: DriverConfig, fault: str, after_s: float) -> str:
    """One halt, with a fault that comes after so long (0: before it); held, failed, or false."""

    async def halting() -> str:
        outcome = await held(machine)
        return "failed" if isinstance(outcome, DeviceError) else "held" if stands(device) else "false"

    async def strike() -> None:
        await asyncio.sleep(after_s)
        if fault != "none":
            await device.fault(fault, {"seconds": 0.05} if fault == "reboot" else {})

    try:
        async with config.connect("machine") as machine:
            if after_s == 0.0:
                await strike()
            task = asyncio.create_task(halting())
            if after_s > 0.0:
                await strike()
            return await task
    except DeviceError:
        return "failed"
