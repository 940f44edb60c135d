"""The control protocol: verbs, answers, and sentences for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulators.control import Control
from simulators.line import Line, Options


class _Desk:
    """A control without a socket."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.ended = False
        self._control = Control(line, self._end)

    def _end(self) -> None:
        self.ended = True

    async def do(self, verb: str, **arguments: Any) -> dict[str, Any]:
        answer = await self._control.answer(json.dumps({"do": verb, **arguments}).encode())
        return json.loads(json.dumps(answer))

    async def raw(self, line: bytes) -> dict[str, Any]:
        return await self._control.answer(line)

    async def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            await self.line.step(0.02)


@pytest.fixture
async def desk(tmp_path: Path) -> _Desk:
    options = Options(
        seed=5, run_dir=tmp_path, speed=10.0, oil_cel=62.0, devices=("balance", "reservoir", "viscometer"), ports={}
    )
    return _Desk(Line(options))


async def test_truth_names_everything(desk: _Desk) -> None:
    """The truth holds the plant, each device and the halts seen, as plain JSON."""
    truth = await desk.do("truth")
    assert truth["ok"]
    assert truth["seed"] == 5
    assert truth["plant"]["temperature_cel"] == 62.0
    assert set(truth["devices"]) == {"balance", "reservoir", "viscometer"}
    assert truth["halts"] == []


async def test_heater_failure_reaches_the_viscometer(desk: _Desk) -> None:
    """A fault at one device shows at another, because one plant couples them."""
    assert (await desk.do("fault", device="reservoir", name="heater_failure"))["ok"]
    await desk.run(15.0)
    truth = await desk.do("truth")
    assert truth["devices"]["viscometer"]["viscosity"] > 700
    assert truth["devices"]["reservoir"]["faults"] == {"heater_failure": {}}
    assert (await desk.do("heal", device="reservoir", name="heater_failure"))["healed"] == ["heater_failure"]
    await desk.run(20.0)
    assert (await desk.do("truth"))["plant"]["temperature_cel"] > 60


async def test_units_and_place(desk: _Desk) -> None:
    """Each filled unit can be weighed later: placed, it shows its own net within 0.2 mg."""
    desk.line.plant.filling_on = True
    await desk.run(4.0)
    desk.line.plant.filling_on = False
    units = (await desk.do("units", **{"from": 3, "to": 4}))["units"]
    assert [unit["number"] for unit in units] == [3, 4]
    placed = await desk.do("place", unit=3)
    assert placed["net_g"] == units[0]["net_g"]
    await desk.run(2.0)
    balance = (await desk.do("truth"))["devices"]["balance"]
    assert balance["unit_on_pan"] == 3
    assert balance["net_g"] == pytest.approx(units[0]["net_g"], abs=2e-4)
    await desk.do("remove")
    await desk.run(2.0)
    assert (await desk.do("truth"))["devices"]["balance"]["net_g"] == pytest.approx(0.0, abs=2e-4)


async def test_deviate_forces_a_value_and_says_when(desk: _Desk) -> None:
    """The forced value is read at once, the answer carries its moment, null gives the truth back."""
    answer = await desk.do("deviate", tag="reservoir/temperature", value=20.0)
    assert answer["mono_ns"] > 0
    assert (await desk.do("truth"))["devices"]["reservoir"]["temperature"] == 20.0
    await desk.do("deviate", tag="reservoir/temperature", value=None)
    assert (await desk.do("truth"))["devices"]["reservoir"]["temperature"] == 62.0


async def test_setpoint_speed_and_rate(desk: _Desk) -> None:
    """Heater setpoint, time scale and rate can be changed while it runs."""
    await desk.do("heater", setpoint_cel=50)
    await desk.do("speed", value=2)
    await desk.do("rate", value=9)
    assert desk.line.plant.oil.setpoint_cel == 50.0
    assert desk.line.plant.speed == 2.0
    assert desk.line.plant.rate == 9.0


@pytest.mark.parametrize(
    ("request_line", "sentence"),
    [
        (b"not json\n", "Expecting value"),
        (b"[]\n", "one JSON object"),
        (b'{"device": "balance"}\n', "'do' is missing"),
        (b'{"do": "dance"}\n', "no verb 'dance'"),
        (b'{"do": "fault", "device": "robot", "name": "cut"}\n', "no device 'robot'"),
        (b'{"do": "fault", "device": "balance", "name": "jam"}\n', "no fault 'jam'"),
        (b'{"do": "fault", "device": "balance", "name": "cut", "hard": 1}\n', "does not take hard"),
        (b'{"do": "deviate", "tag": "balance/colour", "value": 1}\n', "no tag 'colour'"),
        (b'{"do": "deviate", "tag": "reservoir/power", "value": "much"}\n', "could not convert"),
        (b'{"do": "place", "unit": 77}\n', "77"),
        (b'{"do": "operator", "device": "balance", "action": "kick"}\n', "no key 'kick'"),
        (b'{"do": "speed", "value": -1}\n', "positive"),
    ],
)
async def test_wrong_requests_are_told_why(desk: _Desk, request_line: bytes, sentence: str) -> None:
    """Each wrong request gets a sentence, and the control goes on."""
    answer = await desk.raw(request_line)
    assert answer["ok"] is False
    assert sentence in answer["error"]
    assert (await desk.do("truth"))["ok"]


async def test_quit(desk: _Desk) -> None:
    """The last verb."""
    assert (await desk.do("quit"))["ok"]
    assert desk.ended
