"""Is a machine that is held still seen to stand?  What it said last is no word on what it does now."""

from __future__ import annotations

from typing import Final

import structlog

from gateway.halts import Halt, HaltState
from gateway.line.halts import Holds
from gateway.model import Priority, Severity
from gateway.verdicts import Verdict

log = structlog.get_logger()

SILENT_NS: Final = 10_000_000_000
"""So long a held machine may say nothing of itself, its link being up: on its way to Stopped it says neither."""


class Sight:
    """Of all machines with a confirmed latch."""

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self._silent: dict[str, int] = {}
        """Device -> loop time since when its scans do not say whether it stands."""

    def lost(self, device: str) -> None:
        """Its link is gone, and alarmed as such; when it is back it is asked again before anything else."""
        for halt in self._confirmed(device):
            self._holds.doubt(halt, f"{device} has not been seen since its link was lost")

    def seen(self, device: str) -> None:
        """It says whether it stands."""
        if self._silent.pop(device, None) is not None:
            for halt in self._confirmed(device):
                self._holds.doubt(halt, "")

    def silent(self, device: str, now_ns: int) -> None:
        """A scan of it does not say so: after a while that is an alarm, as somebody may have started it."""
        doubted = [halt for halt in self._confirmed(device) if not halt.trouble]
        if not doubted:
            return
        if now_ns - self._silent.setdefault(device, now_ns) < SILENT_NS:
            return
        text = f"{device} is held and does not say any more whether it stands; look at it, and at the tag that confirms"
        for halt in doubted:
            self._holds.doubt(halt, f"{device} does not say any more whether it stands")
        verdict = Verdict(f"unseen:{device}", Severity.ALARM, device, text, priority=Priority.HIGH, fleeting=True)
        self._holds.alarm(verdict)
        log.error("held machine does not say whether it stands", device=device)

    def _confirmed(self, device: str) -> list[Halt]:
        return [halt for halt in self._holds.of(device) if halt.state is HaltState.CONFIRMED]
