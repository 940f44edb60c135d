"""Labels that do not add up: while a batch runs the applicator is held, then the batch; an alarm says why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from gateway.batch import lifecycle, reconcile, rolls
from gateway.batch.lifecycle import Batch, BatchState
from gateway.batch.reconcile import Equation
from gateway.journal import Journal
from gateway.line.alarms import Alarms
from gateway.line.batch import Run
from gateway.model import Json, Priority, Severity
from gateway.verdicts import Verdict

NAME: Final = "roll"
NOBODY: Final = "labels"
"""In the place of an applicator where no rule of the line holds one."""


class Rolls:
    """Looks again after each count, each roll and each second; what was told once is not told again.

    What was told stands in the batch's own row, so that it goes with it over a restart.
    """

    def __init__(
        self,
        run: Run,
        alarms: Alarms,
        journal: Journal,
        applicators: Callable[[str], Sequence[str]],
        demand: Callable[[Verdict], None],
    ) -> None:
        """`applicators`: of a batch, by its number.  `demand`: holds a device."""
        self._run, self._alarms, self._journal = run, alarms, journal
        self._applicators, self._demand = applicators, demand
        alarms.owners[NAME] = lambda _: True

    def reconciled(self, number: str) -> None:
        """After a count.  Rolls that are off hold the applicator; once the batch is complete, labels hold the batch."""
        wrong = self._off(number)
        told = {one.name: _difference(one) for one in wrong}
        batch = self._run.batch(number)
        if told == batch.labels_told:
            return
        news = any(batch.labels_told.get(name) != text for name, text in told.items())
        self._run.put(msgspec.structs.replace(batch, labels_told=told), ())
        for device in self._applicators(number) or (NOBODY,):
            self._hold(device, number, hold=news and batch.state is BatchState.RUNNING)
        if news:
            body: dict[str, Json] = {"text": _said(told), "equations": list(told)}
            held = "batch" if batch.state is BatchState.COMPLETE else "applicator"
            self._journal.note("label.held", {**body, "holds": held}, batch=number)

    def watch(self) -> None:
        """A roll that nobody counts may bring more labels than it had: that holds the applicator, too, once."""
        batch = self._run.current
        if batch is None or batch.state is not BatchState.RUNNING or not batch.tally.rolls:
            return
        if any(one.name not in batch.labels_told for one in self._off(batch.number)):
            self.reconciled(batch.number)

    def end(self) -> None:
        """Once no batch has labels to answer for any more: its record says what became of them."""
        if any(self._answerable()):
            return
        for name in [name for name in self._alarms.names() if name.startswith(f"{NAME}:")]:
            self._alarms.stand(name, "")

    def _answerable(self) -> list[Batch]:
        """Batches whose labels do not add up."""
        return [one for one in self._run.batches.values() if one.labels_told and one.state not in lifecycle.OVER]

    def _off(self, number: str) -> list[Equation]:
        """What labels do not add up, as the batch stands now."""
        batch, recipe = self._run.batch(number), self._run.recipe_of(number)
        found = reconcile.equations(batch.tally, recipe)
        wrong = rolls.unreconciled(found) if batch.state is BatchState.COMPLETE else rolls.off(found)
        return [one for one in wrong if not one.missing]

    def _hold(self, device: str, number: str, *, hold: bool) -> None:
        name = f"{NAME}:{device}"
        if hold and device != NOBODY:
            text = _said(self._run.batch(number).labels_told)
            told = f"{text}. Count again, correct what is wrong, or release with the outcome"
            self._demand(
                Verdict(name, Severity.HALT, device, told, priority=Priority.HIGH, halts=(device,), fleeting=True)
            )
            return
        texts = [(one.number, _said(one.labels_told)) for one in self._answerable()]
        several = len(texts) > 1
        self._alarms.stand(
            name, "; ".join(f"batch {one}: {text}" if several else text for one, text in texts), subject=device
        )


def _difference(one: Equation) -> str:
    """The same while it is the same finding: how many are too many goes on growing, and is told once."""
    if one.inputs[-1].source == reconcile.TOO_MANY:
        return f"more labels went than the {one.left} that were issued"
    return f"{one.difference} of {one.left} not accounted for"


def _said(told: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in told.items())
