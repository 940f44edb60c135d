"""Tasks that must not die, and the proof of life for systemd."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

log = structlog.get_logger()

PAUSE_S: Final = 1.0


class Supervisor:
    """Restarts what fails by a bug of ours, says so, counts it; pings the watchdog only while all make progress."""

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        self.on_failure: Callable[[str, str], None] = lambda *_: None

    async def keep(self, name: str, factory: Callable[[], Awaitable[None]]) -> None:
        """Run `factory()` for ever.  A bug costs one second and a count, never the other tasks."""
        while True:
            try:
                await factory()
                self._failed(name, "ended by itself")
            except asyncio.CancelledError as error:
                if self._is_ours():
                    raise
                self._failed(name, f"a cancellation nobody asked for ({type(error).__name__})", error)
            except Exception as error:  # noqa: BLE001  # supervisor: the one place where a bug of ours is outlived
                self._failed(name, f"{type(error).__name__}: {error}", error)
            await asyncio.sleep(PAUSE_S)

    @staticmethod
    def _is_ours() -> bool:
        """Did somebody cancel this task, or did a library let a cancellation of its own escape?"""
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    def _failed(self, name: str, text: str, error: BaseException | None = None) -> None:
        self.failures[name] = self.failures.get(name, 0) + 1
        log.error("task failed", task=name, times=self.failures[name], next="starting it again", exc_info=error)
        self.on_failure(name, text)

    async def watchdog(self, progress: Callable[[], Mapping[str, int]]) -> None:
        """Ping systemd at a third of its limit, but only if every loop moved since the last ping."""
        notify("READY=1")
        limit_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
        if not limit_s:
            await asyncio.Event().wait()
        seen: Mapping[str, int] = {}
        while True:
            await asyncio.sleep(limit_s / 3)
            now = dict(progress())
            stuck = [name for name, count in now.items() if seen.get(name) == count]
            if stuck:
                log.error("no progress", tasks=stuck, next="no watchdog ping")
            else:
                notify("WATCHDOG=1")
            seen = now


def notify(message: str) -> None:
    """sd_notify(3), where systemd started us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.connect("\0" + address[1:] if address.startswith("@") else address)
        door.sendall(message.encode())
