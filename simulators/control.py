"""The back door of the whole line, for tests and demonstrations: what `simulators.back_door` has, and the plant."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict

from simulators.back_door import Answer, BackDoor, Request, Verb, fraction, positive, temperature
from simulators.labelling import Print
from simulators.line import Line


class Control(BackDoor):
    """The verbs of a line."""

    def __init__(self, line: Line, quit_now: Callable[[], None]) -> None:
        super().__init__(line, quit_now)
        self._line = line

    def verbs(self) -> Mapping[str, Verb]:
        return {
            **super().verbs(),
            "units": self._units,
            "place": self._place,
            "remove": self._remove,
            "operator": self._operator,
            "roll": self._roll,
            "recalibrate": self._recalibrate,
            "heater": self._heater,
            "oil": self._oil,
            "speed": self._speed,
            "rate": self._rate,
            "deviate": self._deviate,
        }

    async def _units(self, request: Request) -> Answer:
        """{from, to}, both included; without them all."""
        cartridges = self._line.plant.filling.cartridges
        first, last = int(request.get("from", 1)), int(request.get("to", len(cartridges)))
        wanted = range(max(1, first), min(last, len(cartridges)) + 1)
        return {"units": [asdict(cartridges[number]) for number in wanted]}

    async def _place(self, request: Request) -> Answer:
        """{unit} put on the balance, tared with its own empty weight; or a test weight of so many {grams}."""
        if "grams" in request:
            grams = float(request["grams"])
            self._line.balance.weight(grams)
            return {"net_g": grams, "mono_ns": time.monotonic_ns()}
        return {"net_g": self._line.balance.place(int(request["unit"])), "mono_ns": time.monotonic_ns()}

    async def _remove(self, _: Request) -> Answer:
        self._line.balance.remove()
        return {}

    async def _operator(self, request: Request) -> Answer:
        """{device, action}: a person at the machine's own panel."""
        done = self._line.device(request["device"]).operator(str(request["action"]))
        return {"done": done, "mono_ns": time.monotonic_ns()}

    async def _roll(self, request: Request) -> Answer:
        """{batch, uid, thc, warning, labels}."""
        content = Print(
            str(request.get("batch", "")),
            str(request.get("uid", "")),
            float(request.get("thc", 0.0)),
            str(request.get("warning", "")),
        )
        self._line.labeller.load(content, int(request.get("labels", 5000)))
        return {}

    async def _recalibrate(self, _: Request) -> Answer:
        return {"dose_g": self._line.filler.recalibrate()}

    async def _heater(self, request: Request) -> Answer:
        """{setpoint_cel}."""
        self._line.plant.oil.setpoint_cel = temperature(request["setpoint_cel"])
        return {}

    async def _oil(self, request: Request) -> Answer:
        """{cel} and {terpene}: change the oil itself."""
        oil = self._line.plant.oil
        oil.temperature_cel = temperature(request.get("cel", oil.temperature_cel))
        oil.terpene = fraction(request.get("terpene", oil.terpene))
        return {"viscosity_mpas": oil.viscosity_mpas}

    async def _speed(self, request: Request) -> Answer:
        """{value}: plant seconds a wall second."""
        self._line.plant.speed = positive(request["value"])
        return {}

    async def _rate(self, request: Request) -> Answer:
        """{value}: units a wall second."""
        self._line.plant.rate = positive(request["value"])
        return {}

    async def _deviate(self, request: Request) -> Answer:
        """{tag: "device/tag", value}: the device says so from `mono_ns` on; null: the truth again."""
        name, _, tag = str(request["tag"]).partition("/")
        device = self._line.device(name)
        mono_ns, time_ns = time.monotonic_ns(), time.time_ns()
        await device.force(tag, request["value"])
        return {"mono_ns": mono_ns, "time_ns": time_ns}
