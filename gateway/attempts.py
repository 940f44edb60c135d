"""How often a name may be tried: at most so many times in a sliding minute."""

from __future__ import annotations

from collections import deque
from typing import Final

from gateway.errors import Refused

_REMEMBERED: Final = 1000
"""Names whose attempts are counted before old ones are looked through."""


class Attempts:
    """At most so many attempts in a sliding minute, by name.  Time is the loop's own."""

    def __init__(self, most: int, window_s: float = 60.0) -> None:
        self.most = most
        self.window_s = window_s
        self._by_name: dict[str, deque[float]] = {}

    def begin(self, name: str, now_s: float) -> None:
        """Count one.  Refused `too_many_attempts`: not counted, and the person is told when to come back."""
        if len(self._by_name) > _REMEMBERED:
            self._forget(now_s)
        attempts = self._by_name.setdefault(name, deque())
        while attempts and now_s - attempts[0] >= self.window_s:
            attempts.popleft()
        if len(attempts) >= self.most:
            wait_s = int(attempts[0] + self.window_s - now_s) + 1
            text = f"{self.most} attempts for {name!r} in a minute; try again in {wait_s} s"
            raise Refused("too_many_attempts", text, retry_after_s=wait_s)
        attempts.append(now_s)

    def clear(self, name: str) -> None:
        self._by_name.pop(name, None)

    def _forget(self, now_s: float) -> None:
        for name in [name for name, times in self._by_name.items() if now_s - times[-1] >= self.window_s]:
            del self._by_name[name]
