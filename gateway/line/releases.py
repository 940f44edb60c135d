"""A halt is let go: guarded, recorded, and only then told to its station."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from gateway import halts
from gateway.halts import Halt, Needs
from gateway.journal import Journal
from gateway.line.alarms import Alarms
from gateway.line.batch import Run
from gateway.line.halts import FOUND_HELD, Holds
from gateway.model import Entry, Severity

NO_RECORD: Final = "no-record"
"""The rule of a halt because nothing can be recorded."""


class Releases:
    """What stands in the way of a release, and what a release brings with it."""

    def __init__(
        self,
        run: Run,
        holds: Holds,
        alarms: Alarms,
        journal: Journal,
        judge: Callable[[Entry], None],
        unrecorded: Callable[[], str],
    ) -> None:
        """`judge`: tells a rule what a person did.  `unrecorded`: why nothing can be recorded now."""
        self._run, self._holds, self._alarms, self._journal = run, holds, alarms, journal
        self._judge, self._unrecorded = judge, unrecorded

    async def release(self, halt_id: str, seen: int, person: str, reason: str, recalibration: str) -> None:
        """The station hears of it only after the commit.

        Raises Refused, and StoreError where it could not be recorded: then the latch stands.
        """
        halt = self._check(halt_id, seen, reason, recalibration)
        if halt.needs is Needs.RECALIBRATION and self._run.rules.is_sampling(halt.rule):
            self._judge(Entry("recalibrated", halt.rule, person, text=recalibration))
            body = {"rule": halt.rule, "recalibration": recalibration, "halt": halt.id}
            self._journal.note("verification.started", body, batch=self._run.running, by=person)
        elif recalibration.strip() and self._run.rules.is_chart(halt.rule):
            self._judge(Entry("recalibrated", halt.rule, person, text=recalibration))
        for rule in self._run.rules.sampling(halt.device):
            if rule != halt.rule:  # its own goes on in verification
                self._judge(Entry("released", rule, person, text=halt.id))
        self._holds.release(halt, person, reason, recalibration)
        committed = self._journal.commit(urgent=True)
        assert committed is not None, "a release is a record"
        # Not after the await: who asked may have gone away by then, and the machine must be let go all the same.
        committed.add_done_callback(partial(self._released, halt))
        await asyncio.shield(committed)

    def _check(self, halt_id: str, seen: int, reason: str, recalibration: str) -> Halt:
        asked = self._holds.standing.get(halt_id)
        return halts.check_release(
            asked,
            seen,
            reason,
            condition_stands=self._stands(asked) if asked else "",
            acknowledged=asked is not None and self._alarms.is_acknowledged(alarm_of(asked)),
            recalibration=recalibration,
        )

    def _released(self, halt: Halt, committed: asyncio.Future[None]) -> None:
        if committed.cancelled() or committed.exception() is not None:
            self._holds.take_back(halt)
        else:
            self._holds.let_go(halt)
        self._journal.commit()

    def _stands(self, halt: Halt) -> str:
        """The text of a condition that still holds; bad input counts as standing."""
        if halt.rule == NO_RECORD:
            return self._unrecorded()
        own = self._condition(halt.rule)
        content = self._alarms.dependents.content_with(halt.device, halt.rule)
        return own or next(filter(None, map(self._condition, content)), "")

    def _condition(self, rule: str) -> str:
        verdict = self._run.engine.current(rule)
        if verdict is None:
            unknown = f"{rule} has judged nothing since the start; wait for a good value"
            return unknown if rule in self._run.rules else ""
        return verdict.text if verdict.severity is Severity.HALT else ""


def alarm_of(halt: Halt) -> str:
    """The alarm that goes with a halt."""
    return f"{FOUND_HELD}:{halt.device}" if halt.rule == FOUND_HELD else halt.rule
