"""A person at the line: told what to do with a countdown, answers with ENTER, or y, n and s.

Reads the raw descriptor, so that a script can answer through a pipe as a person does at the keyboard.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable
from typing import Protocol

from gateway.errors import LinegateError

_LOOK_EVERY_S = 0.1


class Prompt(Protocol):
    """Somebody who can be told and asked."""

    def done(self, text: str, countdown_s: float, patience_s: float, seen: Callable[[], bool] | None = None) -> float:
        """Tell, count down, wait for ENTER or until it is seen; the monotonic moment.  LinegateError: too late."""
        ...

    def so(self, question: str, patience_s: float) -> bool | None:
        """Yes, no, or None: it cannot be said."""
        ...


class Terminal:
    """At a terminal, or at the end of a pipe."""

    def __init__(self, write: Callable[[str], None], descriptor: int | None = None) -> None:
        self._write = write
        self._descriptor = descriptor
        self._bytes = b""

    def done(self, text: str, countdown_s: float, patience_s: float, seen: Callable[[], bool] | None = None) -> float:
        self._write(f"\n>>> {text}")
        early = self._count_down(countdown_s)
        if early is None:
            how = "ENTER when done" if seen is None else "ENTER when done; it is also seen by itself"
            self._write(f">>> NOW ({how}; {patience_s:g} s)")
            early = self._wait(patience_s, seen)
        if early is None:
            raise LinegateError(f"nobody said within {patience_s:g} s that it was done: {text}")
        return early

    def _count_down(self, seconds: float) -> float | None:
        """ENTER ends it: done already."""
        for left in range(round(seconds), 0, -1):
            self._write(f"    {left} ...")
            if (at_s := self._wait(1.0, None)) is not None:
                return at_s
        return None

    def _wait(self, seconds: float, seen: Callable[[], bool] | None) -> float | None:
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            if self._line(min(left_s, _LOOK_EVERY_S)) is not None:
                return time.monotonic()
            if seen is not None and seen():
                self._write("    seen")
                return time.monotonic()
        return None

    def so(self, question: str, patience_s: float) -> bool | None:
        self._write(f"\n>>> Is it so? {question}\n>>> y yes, n no, s cannot be said ({patience_s:g} s)")
        until_s = time.monotonic() + patience_s
        while (left_s := until_s - time.monotonic()) > 0:
            answer = self._line(min(left_s, _LOOK_EVERY_S))
            if answer and answer.strip().lower()[:1] in ("y", "n", "s"):
                return {"y": True, "n": False}.get(answer.strip().lower()[:1])
        raise LinegateError(f"nobody answered within {patience_s:g} s: {question}")

    def _line(self, within_s: float) -> str | None:
        """The next line, if it is there in time.  LinegateError: the input has ended."""
        if b"\n" not in self._bytes:
            descriptor = sys.stdin.fileno() if self._descriptor is None else self._descriptor
            if not select.select([descriptor], [], [], within_s)[0]:
                return None
            fresh = os.read(descriptor, 4096)
            if not fresh:
                raise LinegateError("nobody is there: the input has ended; play with a target at a terminal")
            self._bytes += fresh
        line, newline, rest = self._bytes.partition(b"\n")
        if not newline:
            return None
        self._bytes = rest
        return line.decode("utf-8", "replace")
