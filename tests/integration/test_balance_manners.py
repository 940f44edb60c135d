"""The balance driver against the simulated balance: each dialect, each of its documented bad manners."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.drivers.balance.kind import Balance, BalanceConfig
from gateway.drivers.base import Tarable
from gateway.errors import DeviceError, NotDone
from gateway.model import Quality, Reading
from simulators.balance import Balance as ScaleSim
from simulators.plant import Plant

DIALECTS = ["mt-sics", "sbi-22", "a-and-d", "ohaus"]
STREAMING = {"mt-sics": (), "sbi": ("auto_print",), "sbi-22": ("auto_print",), "a-and-d": (), "ohaus": ()}
"""Faults that make it stream, where no command can."""
TICK_S = 0.005
LOAD_G = 5.2031
PATIENCE_S = 10.0
"""However slow this computer is just now."""

every = pytest.mark.parametrize("dialect", DIALECTS)


@asynccontextmanager
async def scale(path: Path, dialect: str) -> AsyncIterator[ScaleSim]:
    """A simulated balance whose time runs four times as fast as ours, with a load on its pan, at rest."""
    sim = ScaleSim(Plant(seed=7), "127.0.0.1", 0, path / "tty", dialect)
    sim.pan.place(LOAD_G, 0.0)
    for _ in range(100):
        sim.pan.step(0.02)

    async def run() -> None:
        while True:
            await asyncio.sleep(TICK_S)
            await sim.step(4 * TICK_S)

    await sim.start()
    ticker = asyncio.create_task(run())
    try:
        yield sim
    finally:
        ticker.cancel()
        await asyncio.gather(ticker, return_exceptions=True)
        await sim.stop()


def config(sim: ScaleSim, dialect: str, link: str = "tcp", **changes: Any) -> BalanceConfig:
    where = sim.addresses()[link]
    given = {"url": f"{link}://{where}", "dialect": dialect.removesuffix("-22"), "timeout": "4s"}
    return BalanceConfig.model_validate({**given, **changes})


async def until(device: Balance, quality: Quality) -> Reading:
    """Poll until a reading has this quality."""
    loop = asyncio.get_running_loop()
    given_up = loop.time() + PATIENCE_S
    while loop.time() < given_up:
        reading = await device.poll()
        found = reading.faults[0].quality if reading.faults else Quality.GOOD
        if found is quality:
            return reading
        await asyncio.sleep(TICK_S)
    raise AssertionError(f"never {quality.name}; last: {reading}")


def near(value: Any, grams: float) -> bool:
    return isinstance(value, Decimal) and abs(value - Decimal(str(grams))) < Decimal("0.002")


@pytest.mark.parametrize("dialect", [*DIALECTS, "sbi"])
@pytest.mark.parametrize("link", ["tcp", "serial"])
async def test_a_weight_from_an_independent_interpreter(dialect: str, link: str, tmp_path: Path) -> None:
    """Identity and a stable weight in grams, four decimals kept, with the line they came in."""
    async with scale(tmp_path, dialect) as sim, config(sim, dialect, link).connect("balance") as device:
        reading = await until(device, Quality.GOOD)

    assert near(reading.values[0], LOAD_G)
    assert str(reading.values[0])[::-1].index(".") == 4
    assert str(reading.values[0]).encode() in (reading.raw or b"")
    assert device.identity["serial"]


@every
async def test_settling_is_uncertain_until_it_rests(dialect: str, tmp_path: Path) -> None:
    """A slow balance (1.5 s) shows its moving weight as uncertain, and the resting one as good."""
    async with scale(tmp_path, dialect) as sim, config(sim, dialect).connect("balance") as device:
        await until(device, Quality.GOOD)
        await sim.fault("slow", {"seconds": 1.5})
        sim.pan.place(9.0, 4.0)
        moving = await until(device, Quality.UNCERTAIN)
        resting = await until(device, Quality.GOOD)

    assert "dynamic" in moving.faults[0].reason or "no unit" in moving.faults[0].reason
    assert near(resting.values[0], 5.0)


@every
@pytest.mark.parametrize("fault", ["overload", "underload"])
async def test_limits(dialect: str, fault: str, tmp_path: Path) -> None:
    """Over- and underload are bad with that word, never a number; the weight is back when they are over."""
    async with scale(tmp_path, dialect) as sim, config(sim, dialect).connect("balance") as device:
        await sim.fault(fault, {})
        reading = await until(device, Quality.BAD)
        await sim.heal(fault)
        after = await until(device, Quality.GOOD)

    assert reading.values == (None,)
    assert fault in reading.faults[0].reason
    assert near(after.values[0], LOAD_G)


@every
@pytest.mark.parametrize("fault", ["noise", "lost_byte", "garbled", "seven_bit", "half_lines", "menu"])
async def test_a_bad_line_is_never_a_wrong_weight(dialect: str, fault: str, tmp_path: Path) -> None:
    """Noise, lost characters, wrong parity, half lines, silence: bad or no answer, never a number that is not there."""
    async with scale(tmp_path, dialect) as sim:
        settings = config(sim, dialect)
        async with settings.connect("balance") as device:
            await until(device, Quality.GOOD)
            await sim.fault(fault, {})
            for _ in range(3):
                try:
                    async with asyncio.timeout(0.08):
                        reading = await device.poll()
                except (TimeoutError, DeviceError):
                    continue
                assert reading.values[0] is None or near(reading.values[0], LOAD_G), reading
                assert fault not in {"noise", "seven_bit"} or "unreadable" in reading.faults[0].reason
            await sim.heal(fault)
        async with settings.connect("balance") as device:
            assert near((await until(device, Quality.GOOD)).values[0], LOAD_G)


@every
async def test_late_answers_never_answer_the_next_question(dialect: str, tmp_path: Path) -> None:
    """The load changes while answers hang: no weight of before is taken for one of after."""
    async with scale(tmp_path, dialect) as sim, config(sim, dialect, timeout="2s").connect("balance") as device:
        await until(device, Quality.GOOD)
        await sim.fault("late", {"seconds": 0.4})
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.03):
                    await device.poll()
        sim.pan.place(7.0, 0.0)
        sim.pan.step(5.0)
        for _ in range(3):
            reading = await device.poll()

            assert near(reading.values[0], 7.0)


@every
async def test_print_is_never_taken_for_the_answer(dialect: str, tmp_path: Path) -> None:
    """Between question and answer the operator prints another weight: it is counted and kept, and not the reading."""
    async with scale(tmp_path, dialect) as sim:
        settings = config(sim, dialect, prints="printed", timeout="2s")
        async with settings.connect("balance") as device:
            await until(device, Quality.GOOD)
            await sim.fault("late", {"seconds": 0.1})
            await sim.force("net", 9.9)
            sim.operator("print")
            await sim.force("net", 2.0)
            reading = await device.poll()
            await sim.heal("late")
            await asyncio.sleep(0.1)
            following = await device.poll()

    assert reading.values[0] == Decimal("2.0000")
    assert following.values[0] == Decimal("2.0000")
    assert "9.9000" in f"{reading.values[1]}\n{following.values[1]}"


@every
async def test_continuous(dialect: str, tmp_path: Path) -> None:
    """A balance that sends by itself is followed; when it falls silent that is an error within the timeout."""
    async with scale(tmp_path, dialect) as sim:
        for fault in STREAMING[dialect]:
            await sim.fault(fault, {})
        async with config(sim, dialect, mode="continuous", timeout="1s").connect("balance") as device:
            first = await until(device, Quality.GOOD)
            await sim.force("net", 3.5)
            while (await until(device, Quality.GOOD)).values[0] != Decimal("3.5000"):
                pass
            await sim.fault("menu", {})
            began = asyncio.get_running_loop().time()
            with pytest.raises(DeviceError, match="stream stopped"):
                await until(device, Quality.BAD)
            took_s = asyncio.get_running_loop().time() - began

    assert near(first.values[0], LOAD_G)
    assert took_s < 3.0


@pytest.mark.parametrize("dialect", ["sbi-22"])
async def test_one_that_prints_by_itself_is_called_so(dialect: str, tmp_path: Path) -> None:
    """Asked, but set to print by itself: no weight can be told from another, and the error says what to do."""
    async with scale(tmp_path, dialect) as sim, config(sim, dialect, timeout="5s").connect("balance") as device:
        await sim.fault("late", {"seconds": 0.6})
        await sim.fault("auto_print", {})
        await asyncio.sleep(0.2)
        with pytest.raises(DeviceError, match="prints by itself"):
            await device.poll()


@every
@pytest.mark.parametrize("mode", ["request", "continuous"])
async def test_tare_is_shown(dialect: str, mode: str, tmp_path: Path) -> None:
    """After a tare the balance itself shows that nothing is left, also where it says nothing to the command."""
    async with scale(tmp_path, dialect) as sim:
        for fault in STREAMING[dialect] if mode == "continuous" else ():
            await sim.fault(fault, {})
        async with config(sim, dialect, mode=mode).connect("balance") as device:
            assert isinstance(device, Tarable)
            reading = await device.tare()
            after = await until(device, Quality.GOOD)

    assert near(reading.values[0], 0.0)
    assert near(after.values[0], 0.0)
    assert near(Decimal(str(sim.tare_g)), LOAD_G)


@every
async def test_zero_of_a_loaded_pan_is_not_done(dialect: str, tmp_path: Path) -> None:
    """More than 2 % of the capacity cannot be zeroed: NotDone names the balance, and no tare or zero was taken."""
    async with scale(tmp_path, dialect) as sim:
        sim.pan.place(50.0, 0.0)
        sim.pan.step(5.0)
        async with config(sim, dialect, tare_budget="600ms").connect("scale_3") as device:
            with pytest.raises(NotDone, match="scale_3"):
                await device.zero()
            assert near((await until(device, Quality.GOOD)).values[0], 50.0)


@every
async def test_a_restless_pan_is_not_tared(dialect: str, tmp_path: Path) -> None:
    """A pan that never rests: NotDone within the budget, and nothing was sent that it could carry out later."""
    async with scale(tmp_path, dialect) as sim, config(sim, dialect, tare_budget="500ms").connect("balance") as device:
        await sim.fault("unstable", {})
        await sim.fault("impatient", {"seconds": 0.4})
        await asyncio.sleep(0.05)
        with pytest.raises(NotDone, match="did not come to rest"):
            await device.tare()
        await sim.heal("unstable")
        await until(device, Quality.GOOD)
        await asyncio.sleep(0.3)
        assert sim.tare_g == 0.0


async def test_stability_timeout_of_an_ohaus(tmp_path: Path) -> None:
    """T on a restless pan ends in ES: where `es` says so it means that the pan did not settle; sent at once here."""
    async with scale(tmp_path, "ohaus") as sim, config(sim, "ohaus", es="stability").connect("balance") as device:
        await sim.fault("unstable", {})
        await sim.fault("impatient", {"seconds": 0.2})
        await asyncio.sleep(0.05)
        await device._carry_out("tare", device._link.dialect.tare)
        with pytest.raises(NotDone, match="did not settle in time"):
            await device._shown("tare", [])


@pytest.mark.parametrize("dialect", ["mt-sics", "a-and-d", "ohaus"])
async def test_whoever_was_here_before_left_it_streaming(dialect: str, tmp_path: Path) -> None:
    """A stream that another program began and never ended is ended at connect; then it answers."""
    async with scale(tmp_path, dialect) as sim:
        line = os.open(sim.addresses()["serial"], os.O_RDWR | os.O_NOCTTY)
        os.write(line, {"mt-sics": b"SIR\r\n", "a-and-d": b"SIR\r\n", "ohaus": b"CP\r\n"}[dialect])
        await asyncio.sleep(0.1)
        os.close(line)
        async with config(sim, dialect, "serial").connect("balance") as device:
            assert near((await until(device, Quality.GOOD)).values[0], LOAD_G)
