"""Simulated Modbus TCP devices for the bench, in a process of their own.

`python bench/plant.py DEVICES REGS`: prints one JSON line with its ports, then takes one command a line on stdin and
answers one JSON line: `deviate N` (r0 of device N leaves its limits; answered once the halt write arrived, with the
microseconds since the deviation and since the first poll that carried it), `proved N` (answered once that write was
read back, with the microseconds since the deviation), `heal N`, `held N`, `free N` (a person at the panel), `count`
(polls served), `late MS` (from now on every answer of every device comes so late), `quit`.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from typing import TypeVar

T = TypeVar("T")
HALT = 900
GOOD, BAD = 5000, 9999


class Machine(asyncio.Protocol):
    """One device: registers 0.., a halt register that reads back what it holds."""

    polls = 0
    late_s = 0.0

    def __init__(self, regs: int) -> None:
        self.image = bytearray(struct.pack(f">{regs}H", *([GOOD] * regs)))
        self.held = 0
        self.deviated_ns = 0
        self.seen_ns = 0
        self.halted: asyncio.Future[tuple[int, int]] | None = None
        self.proved: asyncio.Future[int] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        while len(data) >= 12:
            head, unit, function, address, value = data[:4], data[6], data[7], *struct.unpack(">HH", data[8:12])
            answer = self.read(address, value) if function == 3 else self.write(data[7:12], address, value)
            self.send(head + struct.pack(">HB", len(answer) + 1, unit) + answer)
            data = data[12:]

    def send(self, frame: bytes) -> None:
        assert self.transport is not None
        if Machine.late_s:
            asyncio.get_running_loop().call_later(Machine.late_s, self.transport.write, frame)
        else:
            self.transport.write(frame)

    def read(self, address: int, count: int) -> bytes:
        if address == HALT:
            if self.held and self.deviated_ns and self.proved is not None and not self.proved.done():
                self.proved.set_result(time.monotonic_ns() - self.deviated_ns + int(Machine.late_s * 1e9))
            return struct.pack(">BBH", 3, 2, self.held)
        Machine.polls += 1
        if self.deviated_ns and not self.seen_ns:
            self.seen_ns = time.monotonic_ns()
        return bytes((3, 2 * count)) + self.image[2 * address : 2 * (address + count)]

    def write(self, frame: bytes, address: int, value: int) -> bytes:
        if address == HALT:
            if value and not self.held and self.halted is not None and not self.halted.done():
                now = time.monotonic_ns()
                self.halted.set_result((now - self.deviated_ns, now - self.seen_ns))
            self.held = value
        return frame

    def deviate(self) -> asyncio.Future[tuple[int, int]]:
        self.halted = asyncio.get_running_loop().create_future()
        self.proved = asyncio.get_running_loop().create_future()
        self.deviated_ns, self.seen_ns = time.monotonic_ns(), 0
        struct.pack_into(">H", self.image, 0, BAD)
        return self.halted

    def heal(self) -> None:
        struct.pack_into(">H", self.image, 0, GOOD)
        self.deviated_ns = self.seen_ns = 0


async def main() -> None:
    devices, regs = int(sys.argv[1]), int(sys.argv[2])
    loop = asyncio.get_running_loop()
    machines = [Machine(regs) for _ in range(devices)]
    ports = []
    for machine in machines:
        server = await loop.create_server(lambda machine=machine: machine, "127.0.0.1", 0)  # type: ignore[misc]
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps({"ports": ports}), flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).split():
        print(json.dumps(await answer(machines, line[0].decode(), int(line[1]) if line[1:] else 0)), flush=True)


async def answer(machines: list[Machine], verb: str, number: int) -> object:
    machine = machines[number % len(machines)]  # `late 100` is about all of them
    if verb == "deviate":
        both = await awaited(machine.deviate())
        return both and [each / 1000 for each in both]
    if verb == "proved":
        proved = machine.proved and await awaited(machine.proved)
        return proved and proved / 1000
    return at_once(machine, verb, number)


async def awaited(future: asyncio.Future[T]) -> T | None:
    """What comes within five seconds."""
    try:
        return await asyncio.wait_for(asyncio.shield(future), 5)
    except TimeoutError:
        return None


def at_once(machine: Machine, verb: str, number: int) -> object:
    match verb:
        case "heal":
            machine.heal()
        case "free":
            machine.held = 0
        case "late":
            Machine.late_s = number / 1000
        case "quit":
            sys.exit()
    return {"held": machine.held, "count": Machine.polls}.get(verb, True)


if __name__ == "__main__":
    asyncio.run(main())
