"""Wall clock, clock-sync state, boot id and dice: the only place that reads them."""

from __future__ import annotations

import ctypes
import os
import random
import secrets
import time
from typing import Final

_TIME_ERROR: Final = 5
"""adjtimex(2): the clock is not synchronised."""


class _Timex(ctypes.Structure):
    """The head of `struct timex`, zeroed: a read-only query; the rest is room for the kernel's answer."""

    _fields_ = (("modes", ctypes.c_uint), ("rest", ctypes.c_long * 64))


class World:
    """What cannot be computed: handed to whoever needs it, replaced in tests."""

    def __init__(self, seed: int | None = None) -> None:
        self.boot_id = secrets.token_hex(8)
        self.rng = random.Random(seed)  # noqa: S311  # jitter and sampling, never secrets
        self.steady_ns = time.time_ns() - time.monotonic_ns()
        """Wall minus monotonic clock when the process began, ns: a clock that was stepped since has another."""

    def time_ns(self) -> int:
        """Wall clock, Unix nanoseconds."""
        return time.time_ns()

    def clock(self) -> str:
        """`synchronised`, `unsynchronised` or `unknown`, by the kernel's own word (adjtimex)."""
        try:
            state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(_Timex()))
        except (OSError, AttributeError):
            return "unknown"
        if state < 0:
            return "unknown"
        return "unsynchronised" if state == _TIME_ERROR else "synchronised"

    def token(self) -> str:
        """A fresh secret of 192 bits, URL-safe."""
        return secrets.token_urlsafe(24)

    def random_id(self, prefix: str = "") -> str:
        """A fresh identifier of 64 random bits."""
        return prefix + secrets.token_hex(8)

    @property
    def pid(self) -> int:
        return os.getpid()
