"""Tasks that must not die, and the proof of life for systemd."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

import structlog

log = structlog.get_logger()

PAUSE_S: Final = 1.0
TELL_S: Final = 60.0
"""The same bug of the same task is told no more often than this; it is counted each time."""


class Supervisor:
    """Restarts what fails by a bug of ours, says so, counts it; pings the watchdog only while all make progress."""

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        self.on_failure: Callable[[str, str], None] = lambda *_: None
        """(task, what failed): for the record and an alarm."""
        self._told: dict[tuple[str, str], float] = {}

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
        now = asyncio.get_running_loop().time()
        if now - self._told.get((name, text), -TELL_S) < TELL_S:
            return
        self._told = {key: at for key, at in self._told.items() if now - at < TELL_S} | {(name, text): now}
        try:
            self.on_failure(name, text)
        except Exception:  # boundary: the bug may be in what tells of it
            log.exception("a failed task could not be told", task=name)

    async def watchdog(
        self, progress: Callable[[], Mapping[str, int]], patience_s: Mapping[str, float] = MappingProxyType({})
    ) -> None:
        """Ping systemd at a third of its limit, but only if every loop moved.

        `progress`: name -> a count that grows.  `patience_s`: how long a loop by that name may stand still; others
        must have moved since the last look.
        """
        notify("READY=1")
        limit_s = _limit_s()
        if not limit_s:
            await asyncio.Event().wait()
        loop = asyncio.get_running_loop()
        pulse = _Pulse(patience_s)
        while True:
            stuck = pulse.stuck(progress(), loop.time())
            if stuck:
                log.error("no progress", tasks=stuck, next="no watchdog ping")
            else:
                notify("WATCHDOG=1")
            await asyncio.sleep(limit_s / 3)


class _Pulse:
    """Which counts stand still for too long."""

    def __init__(self, patience_s: Mapping[str, float]) -> None:
        self._patience_s = patience_s
        self._seen: dict[str, tuple[int, float]] = {}
        """Name -> count, and when it was first seen at that."""

    def stuck(self, counts: Mapping[str, int], now_s: float) -> list[str]:
        return [name for name, count in counts.items() if self._still_s(name, count, now_s) > self._patience(name)]

    def _still_s(self, name: str, count: int, now_s: float) -> float:
        last, since_s = self._seen.setdefault(name, (count, now_s))
        if count == last:
            return now_s - since_s
        self._seen[name] = (count, now_s)
        return 0.0

    def _patience(self, name: str) -> float:
        return self._patience_s.get(name, 0.0)


def _limit_s() -> float:
    """Systemd's WatchdogSec, as it tells us; 0 where it does not watch."""
    given = os.environ.get("WATCHDOG_USEC", "")
    return int(given) / 1e6 if given.isdecimal() else 0.0


def notify(message: str) -> None:
    """sd_notify(3), where systemd started us.  That nobody hears it is no reason to stop."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
            door.setblocking(False)
            door.connect("\0" + address[1:] if address.startswith("@") else address)
            door.sendall(message.encode())
    except OSError as error:
        log.warning("systemd cannot be told", message=message, reason=str(error))
