"""No record, no run: what the line does while the evidence store cannot take what happens.

A full disk comes and goes; a failed one ends the process, and if the next start cannot record either, the line is
judged and held without a record, loudly, for as long as it takes: never a crash loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

import structlog

from gateway.line import NO_RECORD, Line
from gateway.model import Priority, Severity, Verdict
from gateway.store.commits import NOT_RECORDING
from gateway.store.evidence import Evidence

log = structlog.get_logger()

STORE: Final = "gateway:store"


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
