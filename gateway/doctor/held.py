"""What a machine that can be held says of itself now: a word that never changes proves no halt.  Reads only."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.doctor.finding import Finding
from gateway.drivers.base import DriverConfig
from gateway.errors import DeviceError

_WITHIN_S: Final = 6.0
_LOOK: Final = "is that so?  hold and run it by hand once and look each time: the word must follow the machine"


async def word(name: str, config: DriverConfig) -> list[Finding]:
    """Stands or moves, by the machine's own word."""
    area = f"halt of {name}"
    try:
        async with asyncio.timeout(_WITHIN_S), config.connect(name) as device:
            held = (await device.poll()).held
    except TimeoutError:
        return [Finding("warn", area, f"{name} did not say within {_WITHIN_S:g} s whether it stands", "try again")]
    except DeviceError as error:
        return [Finding("warn", area, f"{name} does not say whether it stands: {error}", "see device " + name)]
    if held is None:
        todo = "halt it once in a trial batch, with `linegate halts` in view"
        return [Finding("warn", area, f"{name} does not say in its readings whether it stands", todo)]
    return [Finding("ok", area, f"{name} says that it {'stands still' if held else 'moves'}", _LOOK)]
