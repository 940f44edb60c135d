"""Sessions of people who proved themselves: in memory only, ended by idleness or age."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.errors import Refused
from gateway.model import Principal
from gateway.world import World

IDLE_S: Final = 15 * 60.0
AGE_S: Final = 12 * 3600.0


class Sessions:
    """Session token -> person.  Time is the loop's own, so a stepped clock neither ends nor prolongs one."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._open: dict[str, tuple[Principal, float, float]] = {}

    def open(self, person: Principal) -> str:
        token = self._world.token()
        now = asyncio.get_running_loop().time()
        self._open = {each: known for each, known in self._open.items() if not _ended(known, now)}
        self._open[token] = (person, now, now)
        return token

    def end(self, name: str) -> None:
        """All of a person's: who was changed logs in again, as what they are now."""
        self._open = {token: known for token, known in self._open.items() if known[0].name != name}

    def person(self, token: str) -> Principal:
        """Whose session it is.  Raises Refused when it ended."""
        now = asyncio.get_running_loop().time()
        known = self._open.pop(token, None)
        if known is None or _ended(known, now):
            raise Refused("bad_login", "the session has ended; log in again")
        person, began, _ = known
        self._open[token] = (person, began, now)
        return person


def _ended(session: tuple[Principal, float, float], now_s: float) -> bool:
    _, began_s, used_s = session
    return now_s - began_s > AGE_S or now_s - used_s > IDLE_S
