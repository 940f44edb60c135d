"""Asking a Modbus line what is on it: who answers, and what its registers hold.  Reads only, one request at a time."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from gateway.drivers.modbus.link import ModbusLink
from gateway.drivers.modbus.open import silence_s
from gateway.drivers.transport import open_stream, parse_url
from gateway.drivers.wire import modbus as wire
from gateway.errors import DeviceError

SCHEMES = ("tcp", "serial", "rtu+tcp")


class Probe:
    """One open line, asked with patience."""

    def __init__(self, link: ModbusLink, timeout_s: float) -> None:
        self._link = link
        self._timeout_s = timeout_s

    async def ask(self, request: wire.Request) -> bytes | wire.Refusal | None:
        """The answer's data, the exception, or None where nothing (or nothing sound) came in time."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return (await self._link.call(request))[self._link.framing.data_at :]
        except wire.Refusal as refusal:
            return refusal
        except TimeoutError:
            return None
        except DeviceError:
            if self._link.lost is not None or self._link.framing.fatal:
                raise
            return None


@asynccontextmanager
async def probing(text: str, timeout_s: float) -> AsyncIterator[Probe]:
    """The line of this URL.  ValueError where it is none, DeviceError where it cannot be opened."""
    url = parse_url(text, SCHEMES)
    framing: wire.Framing = wire.TcpFraming() if url.scheme == "tcp" else wire.RtuFraming()
    link = ModbusLink(text, framing, silence_s(url), min(timeout_s, 0.2))
    async with open_stream(url, link, max(timeout_s, 3.0)):
        yield Probe(link, timeout_s)


async def read_range(
    probe: Probe, unit: int, table: str, stretch: range, most: int, into: dict[int, int], done: Callable[[int], None]
) -> None:
    """Read what can be read of `stretch` (PDU addresses) into `into`; `done` hears how many addresses are settled.

    What is refused is read in halves down to single registers.  DeviceError where the unit never answers.
    """
    todo = [range(at, min(at + most, stretch.stop)) for at in reversed(range(stretch.start, stretch.stop, most))]
    heard = False
    while todo:
        block = todo.pop()
        answer = await probe.ask(wire.read(unit, table, block.start, len(block)))
        if answer is None and not heard:
            raise DeviceError(
                f"unit {unit} does not answer: look at the unit id (--units 1-247 finds who answers), baud rate, "
                "parity, the two wires (A and B are often swapped), or give it longer with --timeout"
            )
        heard = heard or answer is not None
        if isinstance(answer, wire.Refusal) and answer.code == 1:
            raise DeviceError(f"unit {unit} has no {table} registers ({answer}); try the other --table")
        if isinstance(answer, wire.Refusal) and len(block) > 1 and answer.code in (2, 3, 4):
            half = block.start + len(block) // 2
            todo += [range(half, block.stop), range(block.start, half)]
            continue
        if isinstance(answer, bytes):
            into.update(zip(block, struct.unpack_from(f">{len(block)}H", answer), strict=True))
        done(len(block))


async def who_answers(probe: Probe, units: Iterable[int], table: str, done: Callable[[int], None]) -> dict[int, str]:
    """Unit -> its answer in words; an exception is an answer too, but for a gateway's own."""
    found: dict[int, str] = {}
    for unit in units:
        answer = await probe.ask(wire.read(unit, table, 0, 1))
        if isinstance(answer, wire.Refusal) and answer.code not in (10, 11):
            found[unit] = str(answer)
        elif isinstance(answer, bytes):
            found[unit] = f"{wire.place(table, 0, 1)} = {int.from_bytes(answer[:2], 'big')}"
        done(1)
    return found
