"""Checks and weighings on their way into the record."""

from __future__ import annotations

from gateway.journal import Journal, body_of
from gateway.line.batch import Run
from gateway.rules.work import VERIFICATION
from gateway.verdicts import Check, CheckChange, Weighing


class CheckBook:
    """Notes what becomes of checks, and shows those that are open."""

    def __init__(self, journal: Journal, run: Run) -> None:
        self.open: dict[str, Check] = {}
        self._journal = journal
        self._run = run

    def changed(self, change: CheckChange, by: str) -> None:
        check, batch = change.check, self._run.running
        sample = {"sample": body_of(change.sample)} if change.sample else {}
        body = {**body_of(check), **sample, "suspects": list(change.suspects)}
        self._journal.note(f"check.{change.what}", body, batch=batch, by=by)
        if change.what == "taken" and change.sample is not None:
            self._run.weighed(change.sample)
        if change.what == "judged" and check.why == VERIFICATION:
            facts = {"rule": check.rule, "check": check.id, "state": check.state.value}
            self._journal.note("verification.ended", facts, batch=batch, by=by)
        self.show()

    def weighed(self, weighing: Weighing, by: str) -> None:
        body = {**body_of(weighing.sample), "rule": weighing.rule, "check": weighing.check}
        self._journal.note("weighing.recorded", body, batch=self._run.running, by=by)

    def show(self) -> None:
        self.open = {check.id: check for check in self._run.engine.checks()}
        self._journal.board.set("checks", {key: body_of(each) for key, each in sorted(self.open.items())})
