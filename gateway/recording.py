"""No record, no run: what the line does while the evidence store cannot take what happens.

A full disk comes and goes; a failed one ends the process, and if the next start cannot record either, the line is
judged and held without a record, loudly, for as long as it takes: never a crash loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

import structlog

from gateway.line.line import Line
from gateway.line.releases import NO_RECORD
from gateway.model import Priority, Severity
from gateway.store.commits import NOT_RECORDING
from gateway.store.evidence import Evidence
from gateway.store.writer import Turn
from gateway.verdicts import Verdict

log = structlog.get_logger()

STORE: Final = "gateway:store"
LOOK_S: Final = 0.25
STUCK_LOOKS: Final = 8
"""Two seconds in one job: none takes so long on a sound disk, and a controller's own watch takes as long again."""


class Pulse:
    """The thread that keeps the evidence must answer.  While it does not, no controller gets our heartbeat.

    A write that never comes back (a hung disk, a deadlock) is no failure the store could tell: nobody would know that
    nothing is recorded any more.  The controllers' own watch then does what it is there for.
    """

    def __init__(self, line: Line, evidence: Evidence, mute: Callable[[bool], None], *, hold: bool) -> None:
        """`mute`: no beats, or beats again.  Not `hold`: it is alarmed, and the line runs on."""
        self._line, self._evidence, self._mute, self._hold = line, evidence, mute, hold
        self._answered = True
        self._looks = 0
        """How often it was looked for in vain: a process that was stopped counts no time."""
        self._stuck: bool | None = None
        """None: not judged yet.  What another run left standing is over with the first answer."""

    async def run(self) -> None:
        """For ever."""
        while True:
            if self._answered:
                self._answered = False
                self._evidence.writer.post(self._answer, Turn.PULSE)
            await asyncio.sleep(LOOK_S)
            self._looks = 0 if self._answered else self._looks + 1
            self._judge()

    def _answer(self) -> None:
        self._answered = True

    def _judge(self) -> None:
        stuck = self._looks >= STUCK_LOOKS
        if stuck == self._stuck:
            return
        before, self._stuck = self._stuck, stuck
        text = (
            f"the store's thread has not answered for {LOOK_S * STUCK_LOOKS:g} s: nothing is recorded" if stuck else ""
        )
        if stuck:
            log.error("store hangs", next="no heartbeats" if self._hold else "an alarm; the line runs on")
        elif before:
            log.info("store answers again")
        self._mute(stuck and self._hold)
        self._line.alarms.stand("gateway:store-thread", text, priority=Priority.CRITICAL)
        self._line.commit()


class Recording:
    """Watches the evidence store for the line."""

    def __init__(self, line: Line, evidence: Evidence, haltable: Collection[str], *, hold: bool) -> None:
        self._line = line
        self._evidence = evidence
        self._haltable = tuple(haltable)
        self._hold = hold
        """The policy: hold what can be held.  Else run on; what is missing is marked when it can be."""

    def attend(self) -> None:
        """From the start on.  Call it once the line is restored."""
        self._evidence.watch(self._turned)
        self._turned(str(self._evidence.failure.result()) if self._lost else self._evidence.degraded)

    @property
    def _lost(self) -> bool:
        return self._evidence.failure.done()

    def _turned(self, reason: str) -> None:
        """The store is worse or better off than before; an empty reason: well."""
        self._line.alarms.stand(STORE, reason and f"evidence: {reason}", priority=Priority.CRITICAL)
        unrecorded = reason if self._lost or reason == NOT_RECORDING else ""
        if unrecorded and not self._line.unrecorded and self._hold:
            self._demand(unrecorded)
        self._line.unrecorded = unrecorded
        self._line.commit()

    def _demand(self, reason: str) -> None:
        text = f"no record, no run: {reason}"
        log.error("nothing is recorded", reason=reason, next="the line is held", devices=self._haltable)
        verdict = Verdict(
            NO_RECORD, Severity.HALT, "gateway", text, priority=Priority.CRITICAL, halts=self._haltable, fleeting=True
        )
        self._line.demand(verdict)

    async def fail(self) -> None:
        """Raise StoreError as soon as the store fails for good; one that had failed at the start is lived with."""
        if self._lost:
            await asyncio.Event().wait()
        raise await asyncio.shield(self._evidence.failure)
