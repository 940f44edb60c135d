"""The back door of simulators: one JSON object a line in, one out.  Not part of any device.

A request is {"do": verb, ...}; an answer {"ok": true, ...} or {"ok": false, "error": sentence}.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

from simulators.catalogue import describe
from simulators.device import Device, UnknownError

Request = dict[str, Any]
Answer = dict[str, Any]
Verb = Callable[[Request], Awaitable[Answer]]
_LONGEST_LINE: Final = 1 << 20
_COLDEST_CEL: Final = 0.0
_HOTTEST_CEL: Final = 400.0
"""Further out the model of the oil says nothing, and a typing error is likelier than an oven."""


class Floor(Protocol):
    """What the back door leads to."""

    devices: dict[str, Device]

    def device(self, name: str) -> Device:
        """UnknownError if there is none of that name."""
        ...

    def addresses(self) -> dict[str, Any]: ...

    def truth(self) -> dict[str, Any]: ...


class BackDoor:
    """The verbs every floor has, and the TCP server that takes them."""

    def __init__(self, floor: Floor, quit_now: Callable[[], None]) -> None:
        self._floor = floor
        self._quit = quit_now
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()

    def verbs(self) -> Mapping[str, Verb]:
        """Verb -> what does it."""
        return {
            "truth": self._truth,
            "addresses": self._addresses,
            "list": self._list,
            "fault": self._fault,
            "heal": self._heal,
            "quit": self._stop,
        }

    async def open(self, host: str, port: int) -> int:
        """Listen; returns the port.  OSError if it is taken."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=_LONGEST_LINE)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
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
            verb, verbs = request.pop("do"), self.verbs()
            if verb not in verbs:
                raise UnknownError(f"no verb {verb!r}; there are {', '.join(verbs)}")
            return {"ok": True, **await verbs[verb](request)}
        except KeyError as error:
            return {"ok": False, "error": f"{error.args[0]!r} is missing, or there is no such unit"}
        except (ValueError, TypeError, AttributeError, OSError) as error:
            return {"ok": False, "error": str(error)}

    async def _truth(self, _: Request) -> Answer:
        return self._floor.truth()

    async def _addresses(self, _: Request) -> Answer:
        return {"addresses": self._floor.addresses()}

    async def _list(self, _: Request) -> Answer:
        """What the devices of this line are, and what can go wrong with each."""
        return {"devices": describe(self._floor.devices.values())}

    async def _fault(self, request: Request) -> Answer:
        """{device, name, for_s, ...arguments}; with `for_s` it heals by itself after so many seconds."""
        device, name = self._floor.device(request.pop("device")), str(request.pop("name"))
        for_s = positive(request.pop("for_s")) if "for_s" in request else 0.0
        await device.fault(name, request)
        if for_s:
            self._later(for_s, device.heal(name))
        return {"mono_ns": time.monotonic_ns()}

    def _later(self, delay_s: float, work: Coroutine[Any, Any, object]) -> None:
        async def wait() -> None:
            try:
                await asyncio.sleep(delay_s)
                await work
            finally:
                work.close()

        task = asyncio.get_running_loop().create_task(wait(), name="heal")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _heal(self, request: Request) -> Answer:
        """{device, name}; name `all` takes every fault and forced value away, device `all` on the whole line."""
        name, whose = str(request.get("name", "all")), request["device"]
        if whose == "all":
            healed = {device.name: await device.heal(name) for device in self._floor.devices.values()}
            return {"healed": [f"{owner}/{fault}" for owner, faults in healed.items() for fault in faults]}
        return {"healed": await self._floor.device(whose).heal(name)}

    async def _stop(self, _: Request) -> Answer:
        self._quit()
        return {}


def positive(value: object) -> float:
    """A number above zero that a line could have; ValueError with a sentence."""
    number = _number(value)
    if not 0 < number < 1e6:
        raise ValueError(f"{value} is not a positive number a line could have")
    return number


def temperature(value: object) -> float:
    """Degrees Celsius that oil could have; ValueError with a sentence."""
    number = _number(value)
    if not _COLDEST_CEL <= number <= _HOTTEST_CEL:
        raise ValueError(f"{value} is not a temperature of oil, {_COLDEST_CEL:g} to {_HOTTEST_CEL:g} Cel")
    return number


def fraction(value: object) -> float:
    """A part of the whole, 0 to 1; ValueError with a sentence."""
    number = _number(value)
    if not 0 <= number <= 1:
        raise ValueError(f"{value} is not a part of the whole, 0 to 1")
    return number


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is not a number") from None
