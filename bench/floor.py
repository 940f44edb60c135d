"""A bare loop over the same library: poll, compare, halt; nothing stored, nothing sent.

`python bench/floor.py ours|pymodbus PERIOD_MS REGS PORT...`: until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

Read = Callable[[], Awaitable[Sequence[int]]]
Halt = Callable[[], Awaitable[object]]


async def ours(port: int, regs: int, then: Callable[[Read, Halt], Awaitable[None]]) -> None:
    from gateway.drivers.modbus.kind import ModbusConfig
    from gateway.model import HaltOrder

    config = ModbusConfig.model_validate(
        {
            "driver": "modbus",
            "url": f"tcp://127.0.0.1:{port}",
            "tags": {f"r[0..{regs - 1}]": {"address": 0}, "halted": {"address": 900, "polled": False}},
            "halt": {
                "write": {"register": 900, "value": 1},
                "confirm": {"tag": "halted", "equals": 1},
                "confirm_same": "accepted",
            },
        }
    )
    async with config.connect("floor") as device:

        async def read() -> Sequence[int]:
            return (await device.poll()).values  # type: ignore[no-any-return]

        await then(read, lambda: device.halt(HaltOrder("floor", "floor", "floor", "", 0)))


async def pymodbus(port: int, regs: int, then: Callable[[Read, Halt], Awaitable[None]]) -> None:
    from pymodbus.client import AsyncModbusTcpClient

    client = AsyncModbusTcpClient("127.0.0.1", port=port, retries=0)
    await client.connect()

    async def read() -> Sequence[int]:
        return (await client.read_holding_registers(0, count=regs)).registers

    await then(read, lambda: client.write_register(900, 1))


async def poll(period_s: float, read: Read, halt: Halt) -> None:
    loop = asyncio.get_running_loop()
    slot, held = loop.time(), False
    while True:
        values = await read()
        outside = not 4800 <= values[0] <= 5200
        if outside and not held:
            await halt()
        held = outside
        slot = max(slot + period_s, loop.time() if period_s == 0 else slot + period_s)
        await asyncio.sleep(max(0.0, slot - loop.time()))


async def main() -> None:
    kind, period_ms, regs, *ports = sys.argv[1:]
    library = ours if kind == "ours" else pymodbus
    await asyncio.gather(
        *(library(int(port), int(regs), lambda read, halt: poll(float(period_ms) / 1000, read, halt)) for port in ports)
    )


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
