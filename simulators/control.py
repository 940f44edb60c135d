"""The back door for tests and demonstrations: one JSON object a line in, one out.  Not part of any device.

A request is {"do": verb, ...}; an answer {"ok": true, ...} or {"ok": false, "error": sentence}.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, Final

from simulators.catalogue import describe
from simulators.device import UnknownError
from simulators.labelling import Print
from simulators.line import Line

Request = dict[str, Any]
Answer = dict[str, Any]
_LONGEST_LINE: Final = 1 << 20


class Control:
    """The verbs, and the TCP server that takes them."""

    def __init__(self, line: Line, quit_now: Callable[[], None]) -> None:
        self._line = line
        self._quit = quit_now
        self._clients: set[asyncio.StreamWriter] = set()
        self._verbs: dict[str, Callable[[Request], Awaitable[Answer]]] = {
            "truth": self._truth,
            "addresses": self._addresses,
            "list": self._list,
            "units": self._units,
            "place": self._place,
            "remove": self._remove,
            "operator": self._operator,
            "roll": self._roll,
            "recalibrate": self._recalibrate,
            "heater": self._heater,
            "oil": self._oil,
            "fault": self._fault,
            "heal": self._heal,
            "speed": self._speed,
            "rate": self._rate,
            "deviate": self._deviate,
            "quit": self._stop,
        }

    async def open(self, host: str, port: int) -> int:
        """Listen; returns the port.  OSError if it is taken."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=_LONGEST_LINE)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        self._server.close()
        for writer in tuple(self._clients):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self.answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):  # the client went away, or sent a line without an end
            pass
        finally:
            self._clients.discard(writer)
            writer.close()

    async def answer(self, line: bytes) -> Answer:
        """One request, one answer; what is wrong with it is said, never raised."""
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise UnknownError("a request is one JSON object")
            verb = request.pop("do")
            if verb not in self._verbs:
                raise UnknownError(f"no verb {verb!r}; there are {', '.join(self._verbs)}")
            return {"ok": True, **await self._verbs[verb](request)}
        except KeyError as error:
            return {"ok": False, "error": f"{error.args[0]!r} is missing, or there is no such unit"}
        except (ValueError, TypeError, AttributeError, OSError) as error:
            return {"ok": False, "error": str(error)}

    async def _truth(self, _: Request) -> Answer:
        return self._line.truth()

    async def _addresses(self, _: Request) -> Answer:
        return {"addresses": self._line.addresses()}

    async def _list(self, _: Request) -> Answer:
        """What the devices of this line are, and what can go wrong with each."""
        return {"devices": describe(self._line.devices.values())}

    async def _units(self, request: Request) -> Answer:
        """{from, to}, both included; without them all."""
        cartridges = self._line.plant.filling.cartridges
        first, last = int(request.get("from", 1)), int(request.get("to", len(cartridges)))
        wanted = range(max(1, first), min(last, len(cartridges)) + 1)
        return {"units": [asdict(cartridges[number]) for number in wanted]}

    async def _place(self, request: Request) -> Answer:
        """{unit} put on the balance, tared with its own empty weight."""
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
        self._line.plant.oil.setpoint_cel = float(request["setpoint_cel"])
        return {}

    async def _oil(self, request: Request) -> Answer:
        """{cel} and {terpene}: change the oil itself."""
        oil = self._line.plant.oil
        oil.temperature_cel = float(request.get("cel", oil.temperature_cel))
        oil.terpene = float(request.get("terpene", oil.terpene))
        return {"viscosity_mpas": oil.viscosity_mpas}

    async def _fault(self, request: Request) -> Answer:
        """{device, name, ...arguments}."""
        device, name = self._line.device(request.pop("device")), str(request.pop("name"))
        await device.fault(name, request)
        return {"mono_ns": time.monotonic_ns()}

    async def _heal(self, request: Request) -> Answer:
        """{device, name}; name `all` takes every fault and forced value away."""
        return {"healed": await self._line.device(request["device"]).heal(str(request.get("name", "all")))}

    async def _speed(self, request: Request) -> Answer:
        """{value}: plant seconds a wall second."""
        self._line.plant.speed = _positive(request["value"])
        return {}

    async def _rate(self, request: Request) -> Answer:
        """{value}: units a wall second."""
        self._line.plant.rate = _positive(request["value"])
        return {}

    async def _deviate(self, request: Request) -> Answer:
        """{tag: "device/tag", value}: the device says so from `mono_ns` on; null: the truth again."""
        name, _, tag = str(request["tag"]).partition("/")
        device = self._line.device(name)
        mono_ns, time_ns = time.monotonic_ns(), time.time_ns()
        await device.force(tag, request["value"])
        return {"mono_ns": mono_ns, "time_ns": time_ns}

    async def _stop(self, _: Request) -> Answer:
        self._quit()
        return {}


def _positive(value: object) -> float:
    number = float(str(value))
    if not 0 < number < 1e6:
        raise ValueError(f"{number:g} is not a positive number a line could have")
    return number
