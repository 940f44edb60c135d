"""Lights: signs become coils and registers; what does not follow is told; nothing stays lit that nobody tends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.drivers.base import Pattern, Sign
from gateway.drivers.lights.device import Image, Lights, Way, image, runs, ways
from gateway.drivers.lights.kind import LightsConfig
from gateway.drivers.wire import modbus as wire
from gateway.errors import DeviceError, DeviceMisconfigured
from gateway.model import Quality, Reading

LAMPS: dict[str, Any] = {
    "red": {"coil": 0},
    "amber": {"coil": 1},
    "blue": {"coil": 2},
    "green": {"coil": 3, "confirm": {"discrete": 3}},
    "horn": {"coil": 4},
}
ALL: Pattern = frozenset(Sign)
NOTHING: Pattern = frozenset()
ALARM: Pattern = frozenset({Sign.ALARM, Sign.ALARM_NEW, Sign.RUNNING})


def made(**keys: Any) -> LightsConfig:
    given_ = {"url": "tcp://192.0.2.1:502", "lamp_test": "0s", "lamps": LAMPS, **keys}
    return LightsConfig.model_validate(given_)


class Module:
    """The far end of the link, without a link: coils, registers, and inputs that follow them."""

    where = "stack"

    def __init__(self, addresses: Sequence[int] = range(5), registers: Sequence[int] = (10, 11, 20, 4384)) -> None:
        self.loop = asyncio.get_running_loop()
        self.framing = wire.TcpFraming()
        self.coils = dict.fromkeys(addresses, False)
        self.registers = dict.fromkeys(registers, 0)
        self.dark: set[int] = set()
        """Lamps that do not light, whatever their coil says."""
        self.requests: list[str] = []
        self.lost = False

    async def call(self, request: wire.Request) -> bytes:
        if self.lost:
            raise self.failure("gone")
        self.requests.append(request.text)
        pdu = request.mbap[5:]
        function, at, count = pdu[0], int.from_bytes(pdu[1:3]), int.from_bytes(pdu[3:5])
        try:
            return bytes(9) + self._carry_out(function, at, count, pdu)
        except KeyError:
            raise wire.Refusal(2) from None

    call_first = call

    def _carry_out(self, function: int, at: int, count: int, pdu: bytes) -> bytes:
        if function in (1, 2):
            wanted = [self.coils[n] and not (function == 2 and n in self.dark) for n in range(at, at + count)]
            return sum(1 << bit for bit, on in enumerate(wanted) if on).to_bytes((count + 7) // 8, "little")
        if function == 3:
            return b"".join(self.registers[n].to_bytes(2) for n in range(at, at + count))
        if function in (5, 15):
            packed = int(count == 0xFF00) if function == 5 else int.from_bytes(pdu[6:], "little")
            for bit in range(1 if function == 5 else count):
                self.coils[at + bit]  # one that is not there refuses the whole request
            for bit in range(1 if function == 5 else count):
                self.coils[at + bit] = bool(packed >> bit & 1)
            return b""
        words = [count] if function == 6 else [int.from_bytes(pdu[6 + 2 * n :][:2]) for n in range(count)]
        for n, word in enumerate(words):
            self.registers[at + n]
            self.registers[at + n] = word
        return b""

    def failure(self, text: str | None = None) -> DeviceError:
        return DeviceError(f"{self.where}: {text}")

    @property
    def lit(self) -> set[int]:
        return {at for at, on in self.coils.items() if on}


def shown(config: LightsConfig, reading: Reading) -> dict[str, str]:
    names = list(config.lamps)
    faults = {at: f"{fault.quality.name.lower()}: {fault.reason}" for at, fault in reading.faults.items()}
    return {name: faults.get(at) or str(reading.values[at]) for at, name in enumerate(names)}


# -- pure ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (NOTHING, {}),
        ({Sign.RUNNING, Sign.NORMAL}, {"green": "steady"}),
        ({Sign.RUNNING, Sign.NORMAL, Sign.CHECK_DUE}, {"green": "steady", "blue": "steady"}),
        ({Sign.CHECK_MISSED, Sign.CHECK_DUE}, {"blue": "flash"}),
        ({Sign.ALARM}, {"amber": "steady"}),
        ({Sign.ALARM, Sign.ALARM_NEW, Sign.HORN}, {"amber": "flash", "horn": "steady"}),
        ({Sign.HALT}, {"red": "steady"}),
        ({Sign.HALT, Sign.HALT_FAILED}, {"red": "flash"}),
        ({Sign.CRITICAL, Sign.CRITICAL_NEW}, {"red": "flash"}),
    ],
)
def test_the_usual_lamps(pattern: Pattern, expected: dict[str, str]) -> None:
    """Lamps that say nothing for themselves show what such lamps mostly show; what asks for attention flashes."""
    found = ways(made(), frozenset(pattern))

    assert {name: way.value for name, way in found.items() if way is not Way.OFF} == expected


def test_a_lamp_says_for_itself() -> None:
    """Its own signs replace the usual ones, whatever it is called."""
    config = made(lamps={"red": {"coil": 0, "flash": ["check-due"]}, "beacon": {"coil": 1, "steady": ["running"]}})

    assert ways(config, ALL) == {"red": Way.FLASH, "beacon": Way.STEADY}
    assert ways(config, frozenset({Sign.HALT})) == {"red": Way.OFF, "beacon": Way.OFF}


def test_flashing_by_us_and_by_the_module() -> None:
    """Here a coil changes with each half; a module is told once, by its flash coil or its code."""
    lamps = {
        "red": {"coil": 0},
        "amber": {"coil": 1, "flash_coil": 9},
        "blue": {"register": 10, "codes": {"out": 7, "steady": 8, "flash": 9}},
        "green": {"register": 11, "bit": 3},
        "white": {"register": 11, "bit": 0},
    }
    burn = dict.fromkeys(lamps, Way.FLASH)
    dim: Image = {("coil", 0): 0, ("coil", 1): 0, ("coil", 9): 1, ("holding", 10): 9, ("holding", 11): 0}

    assert image(made(lamps=lamps), burn, lit=False) == dim
    assert image(made(lamps=lamps), burn, lit=True) == {**dim, ("coil", 0): 1, ("holding", 11): 0b1001}
    steady = image(made(lamps=lamps), dict.fromkeys(lamps, Way.STEADY), lit=False)
    assert steady == {("coil", 0): 1, ("coil", 1): 1, ("coil", 9): 0, ("holding", 10): 8, ("holding", 11): 0b1001}


places = st.tuples(st.sampled_from(["coil", "holding"]), st.integers(0, 60))


@given(st.sets(places), st.integers(1, 8))
def test_runs_write_each_place_once_and_no_other(wanted: set[tuple[str, int]], most: int) -> None:
    """What follows each other goes together; not one coil that is not ours is ever written."""
    found = runs(wanted, most)

    assert sorted(place for run in found for place in run) == sorted(wanted)
    for run in found:
        assert len(run) <= most
        assert [(run[0][0], run[0][1] + n) for n in range(len(run))] == run


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"lamps": {}}, "at least 1 item"),
        ({"lamps": {"beacon": {"coil": 0}}}, "beacon: say what it shows"),
        ({"lamps": {"red": {}}}, "either a coil or"),
        ({"lamps": {"red": {"coil": 0, "register": 1}}}, "either a coil or"),
        ({"lamps": {"red": {"register": 1}}}, "either bit"),
        ({"lamps": {"red": {"register": 1, "bit": 0, "codes": {}}}}, "either bit"),
        ({"lamps": {"red": {"coil": 1, "bit": 0}}}, "belong to a register"),
        ({"lamps": {"red": {"register": 1, "bit": 0, "flash_coil": 3}}}, "flash_coil belongs to a coil"),
        ({"lamps": {"red": {"coil": 1}, "amber": {"coil": 1}}}, "coil 1 is taken twice"),
        ({"lamps": {"red": {"coil": 1, "flash_coil": 1}}}, "coil 1 is taken twice"),
        ({"lamps": {"red": {"register": 1, "bit": 2}, "amber": {"register": 1, "codes": {}}}}, "taken as a whole"),
        ({"heartbeat": {"coil": 0}}, "coil 0 is taken twice"),
        ({"heartbeat": {}}, "exactly one"),
        ({"lamps": {"red": {"coil": 1, "steady": ["rain"]}}}, "halt-failed"),
        ({"lamps": {"red": {"coil": 1, "confirm": {}}}}, "exactly one"),
    ],
)
def test_what_cannot_work_is_refused(keys: dict[str, Any], words: str) -> None:
    """Two lamps on one coil, a lamp nowhere, a sign there is not: refused, in words."""
    with pytest.raises(ValidationError) as caught:
        made(**keys)

    assert words in str(caught.value)


def test_lamps_that_would_outlive_the_gateway_are_warned_of() -> None:
    """Without a watchdog or a heartbeat a green lamp may outlive us: said at every start."""
    assert any("watchdog" in text for text in made().preflight())
    assert made(watchdog="module").preflight() == []
    assert made(heartbeat={"coil": 7}).preflight() == []


def test_the_examples_validate() -> None:
    """config/examples/lights.yaml is loadable as it stands."""
    text = (Path(__file__).parents[2] / "config" / "examples" / "lights.yaml").read_text(encoding="utf-8")
    lamps = [device for device in yaml.safe_load(text)["devices"].values() if device["driver"] == "lights"]
    assert len(lamps) == 3
    for device in lamps:
        assert LightsConfig.model_validate(device).tags()


# -- on a module ---------------------------------------------------------------------------------------

pytestmark = pytest.mark.looptime(start=1000)


async def test_a_flashing_lamp_changes_each_poll_and_is_right_in_both_halves() -> None:
    """It begins with its bright half; steady ones stay; all of it reads back as shown."""
    config, module = made(), Module()
    lights = Lights(config, module)
    await lights.show(ALARM | {Sign.HALT})
    seen = [module.lit]
    for _ in range(4):
        await asyncio.sleep(0.25)
        reading = await lights.poll()
        seen.append(module.lit)

    assert seen == [{0, 1}, {0}, {0, 1}, {0}, {0, 1}]
    assert reading.faults == {}
    assert shown(config, reading) == {"red": "steady", "amber": "flash", "blue": "off", "green": "off", "horn": "off"}


async def test_a_lamp_that_does_not_burn_is_bad_on_the_second_look() -> None:
    """The coil says on, the current monitor says off: first uncertain, then bad, and good again once it burns."""
    config, module = made(), Module()
    lights = Lights(config, module)
    module.dark.add(3)
    told = []
    for pattern in (NOTHING, frozenset({Sign.NORMAL}), None, None, NOTHING, None):
        if pattern is not None:
            await lights.show(pattern)
        await asyncio.sleep(0.25)
        told.append(shown(config, await lights.poll())["green"].partition(":")[0])
    module.dark.clear()
    await lights.show(frozenset({Sign.NORMAL}))
    await asyncio.sleep(0.25)
    told.append(shown(config, await lights.poll())["green"])

    assert told == ["off", "uncertain", "bad", "bad", "bad", "bad", "steady"]


async def test_an_input_has_time_to_follow() -> None:
    """A poll right behind a change does not yet hold its input against the lamp."""
    config, module = made(), Module()
    lights = Lights(config, module)
    await lights.poll()
    module.dark.add(3)
    await lights.show(frozenset({Sign.NORMAL}))
    await asyncio.sleep(0.01)

    assert (await lights.poll()).faults == {}


async def test_a_flashing_lamp_that_is_dark_is_told() -> None:
    """Its dark halves do not excuse its bright ones."""
    config, module = made(lamps={"amber": {"coil": 3, "confirm": {"discrete": 3}}}), Module()
    lights = Lights(config, module)
    module.dark.add(3)
    await lights.show(ALARM)
    told = []
    for _ in range(6):
        await asyncio.sleep(0.25)
        told.append(shown(config, await lights.poll())["amber"].partition(":")[0])

    assert told[0] == "uncertain"
    assert told[-1] == "bad"


async def test_a_module_that_forgot_is_written_again() -> None:
    """After a reboot of the module, unnoticed by us, the next poll lights it again."""
    config, module = made(), Module()
    lights = Lights(config, module)
    await lights.show(frozenset({Sign.HALT}))
    module.coils = dict.fromkeys(module.coils, False)
    await asyncio.sleep(0.25)
    first = await lights.poll()
    assert module.lit == {0}
    await asyncio.sleep(0.25)

    assert [fault.quality for fault in first.faults.values()] == [Quality.UNCERTAIN]
    assert (await lights.poll()).faults == {}


async def test_one_coil_that_is_not_there_costs_one_lamp() -> None:
    """A refused block is written coil by coil; the others go on, and the refused one is bad with the reason."""
    config, module = made(), Module(addresses=(0, 1, 3, 4))
    lights = Lights(config, module)
    await lights.show(frozenset({Sign.HALT, Sign.CHECK_DUE, Sign.HORN}))
    await asyncio.sleep(0.25)
    reading = await lights.poll()

    assert module.lit == {0, 4}
    assert "coil 2: exception 02" in shown(config, reading)["blue"]
    assert list(reading.faults) == [2]


async def test_a_module_without_any_of_them_is_misconfigured() -> None:
    """Nothing can be written: that is an error of the configuration, tried again slowly."""
    with pytest.raises(DeviceMisconfigured, match="no lamp can be written"):
        await Lights(made(), Module(addresses=())).poll()


async def test_the_lamp_test_lights_all_but_the_horn_and_ends() -> None:
    """Once connected all lamps burn for the time; then they show what is."""
    config, module = made(lamp_test="1s"), Module()
    async with Lights(config, module).burning() as lights:
        await lights.show(frozenset({Sign.HALT}))
        assert module.lit == {0, 1, 2, 3}
        await asyncio.sleep(1.1)
        await lights.poll()
        assert module.lit == {0}


async def test_lamps_go_out_with_the_gateway() -> None:
    """Leaving puts them out, by an error of ours or a cancelled task too; a link that is lost takes nothing."""
    config, module = made(), Module()
    async with Lights(config, module).burning() as lights:
        await lights.show(ALL)
        assert module.lit
    assert not module.lit

    async def live() -> None:
        async with Lights(config, module).burning() as lights:
            await lights.show(ALL)
            await asyncio.sleep(1000)

    task = asyncio.create_task(live())
    await asyncio.sleep(1)
    assert module.lit
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not module.lit

    async def lose() -> None:
        async with Lights(config, module).burning() as lights:
            module.lost = True
            await lights.show(ALL)

    with pytest.raises(DeviceError, match="gone"):
        await lose()


async def test_the_watchdog_is_armed_and_the_heartbeat_beats() -> None:
    """The module's own watchdog is set first; the heartbeat changes with every poll."""
    config = made(watchdog={"register": 4384, "value": 1500}, heartbeat={"register": 20})
    module = Module()
    async with Lights(config, module).burning() as lights:
        assert module.registers[4384] == 1500
        beats = []
        for _ in range(3):
            await lights.poll()
            beats.append(module.registers[20])
    assert beats == [1, 2, 3]

    module = Module(registers=())
    with pytest.raises(DeviceError, match="watchdog register 4384: exception 02"):
        async with Lights(config, module).burning():
            pass
