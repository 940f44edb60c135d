"""What drivers ask a person to see to before it fails: certificates that end.  Looked at each hour, shown as alarms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.line.alarms import Alarms
from gateway.model import Priority

LOOK_S: Final = 3600.0
FIRST_S: Final = 5.0
"""Not among the first polls: reading certificates loads what a link without security never needs."""


class Notices:
    """An alarm `notice:DEVICE` for as long as the device's driver has something to say.

    A driver's configuration may have `notices()`: sentences for people, "" and nothing when all is well.  It may read
    files: it is asked in a thread of its own.
    """

    def __init__(self, configs: Mapping[str, Any], alarms: Alarms, commit: Callable[[], object]) -> None:
        self._asked = {name: config.notices for name, config in configs.items() if hasattr(config, "notices")}
        self._alarms = alarms
        self._commit = commit

    async def run(self) -> None:
        """For ever."""
        await asyncio.sleep(FIRST_S)
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Ask all of them once."""
        for name, ask in self._asked.items():
            text = "; ".join(await asyncio.to_thread(ask))
            self._alarms.stand(f"notice:{name}", text and f"{name}: {text}", subject=name, priority=Priority.MEDIUM)
        self._commit()
