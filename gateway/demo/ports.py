"""Ports for parts that are told where to listen, below those that the kernel gives to outgoing connections.

A port that `bind(0)` found free may be somebody's outgoing connection a moment later, and the part that was to listen
there does not start.
"""

from __future__ import annotations

import itertools
import os
import socket
from typing import Final

from gateway.errors import LinegateError

FIRST: Final = 10_000
COUNT: Final = 20_000
"""The kernel's own begin at 32768, where nobody changed that."""
APART: Final = 61
"""Processes that were started one after the other begin so many ports from each other."""
_turns = itertools.count(os.getpid() * APART)


def free_port() -> int:
    """A port of loopback that nobody has: each call another.  Raises LinegateError where all are taken."""
    for turn in itertools.islice(_turns, COUNT):
        port = FIRST + turn % COUNT
        if _is_unused(port):
            return port
    raise LinegateError(f"no port from {FIRST} to {FIRST + COUNT - 1} is free on this machine")


def _is_unused(port: int) -> bool:
    """Nobody listens there, and no connection of before lingers."""
    with socket.socket() as door:
        try:
            door.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
