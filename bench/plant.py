"""Simulated Modbus TCP devices for the bench, in a process of their own.

`python bench/plant.py DEVICES REGS`: prints one JSON line with its ports, then takes one command a line on stdin and
answers one JSON line: `deviate N` (r0 of device N leaves its limits; answered once the halt write arrived, with the
microseconds since the deviation and since the first poll that carried it), `heal N`, `held N`,
`free N` (a person at the panel), `count` (polls served), `quit`.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time

HALT = 900
GOOD, BAD = 5000, 9999


class Machine(asyncio.Protocol):
    """One device: registers 0.., a halt register that reads back what it holds."""

    polls = 0

    def __init__(self, regs: int) -> None:
        self.image = bytearray(struct.pack(f">{regs}H", *([GOOD] * regs)))
        self.held = 0
        self.deviated_ns = 0
        self.seen_ns = 0
        self.halted: asyncio.Future[tuple[int, int]] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        while len(data) >= 12:
            head, unit, function, address, value = data[:4], data[6], data[7], *struct.unpack(">HH", data[8:12])
            answer = self.read(address, value) if function == 3 else self.write(data[7:12], address, value)
            assert self.transport is not None
            self.transport.write(head + struct.pack(">HB", len(answer) + 1, unit) + answer)
            data = data[12:]

    def read(self, address: int, count: int) -> bytes:
        if address == HALT:
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
    if verb == "deviate":
        try:
            total, react = await asyncio.wait_for(machines[number].deviate(), 5)
        except TimeoutError:
            return None
        return [total / 1000, react / 1000]
    if verb == "heal":
        machines[number].heal()
        return True
    if verb == "held":
        return machines[number].held
    if verb == "free":
        machines[number].held = 0
        return True
    if verb == "quit":
        sys.exit()
    return Machine.polls


if __name__ == "__main__":
    asyncio.run(main())
