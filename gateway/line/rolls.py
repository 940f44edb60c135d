"""Labels that do not add up: while a batch runs the applicator is held, then the batch; an alarm says why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gateway.batch import lifecycle, reconcile, rolls
from gateway.batch.lifecycle import BatchState
from gateway.batch.reconcile import Equation
from gateway.journal import Journal
from gateway.line.alarms import Alarms
from gateway.line.batch import Run
from gateway.model import Json, Priority, Severity, Verdict

NAME: Final = "roll"
NOBODY: Final = "labels"
"""In the place of an applicator where no rule of the line holds one."""
WAITING: Final = (BatchState.PLANNED, BatchState.READY)


class Rolls:
    """Looks again after each count and each roll; what was told once is not told again."""

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
        self._told: tuple[str, ...] | None = None
        """What was told of labels that do not reconcile; None: nobody counted since the start of the process."""
        alarms.owners[NAME] = lambda _: True

    def recall(self, number: str) -> None:
        """Before a count.  After a restart: what is off already was told by the run before, and is no news."""
        if self._told is None:
            self._told = _differences(self._off(number))

    def reconciled(self, number: str) -> None:
        """After a count.  Rolls that are off hold the applicator; once the batch is complete, labels hold the batch."""
        wrong = self._off(number)
        texts = _differences(wrong)
        told, self._told = self._told, texts
        if told == texts:
            return
        state = self._run.batch(number).state
        for device in self._applicators(number) or (NOBODY,):
            self._hold(device, "; ".join(texts), hold=state is BatchState.RUNNING)
        if texts:
            body: dict[str, Json] = {"text": "; ".join(texts), "equations": [one.name for one in wrong]}
            held = "batch" if state is BatchState.COMPLETE else "applicator"
            self._journal.note("label.held", {**body, "holds": held}, batch=number)

    def end(self) -> None:
        """Once no batch has labels to answer for any more: its record says what became of them."""
        batches = [batch for batch in self._run.batches.values() if batch.state not in lifecycle.OVER]
        if any(batch.tally.rolls or batch.state not in WAITING for batch in batches):
            return
        for name in [name for name in self._alarms.names() if name.startswith(f"{NAME}:")]:
            self._alarms.stand(name, "")

    def _off(self, number: str) -> list[Equation]:
        """What labels do not add up, as the batch stands now."""
        batch, recipe = self._run.batch(number), self._run.recipe_of(number)
        found = reconcile.equations(batch.tally, recipe)
        wrong = rolls.unreconciled(found) if batch.state is BatchState.COMPLETE else rolls.off(found)
        return [one for one in wrong if not one.missing]

    def _hold(self, device: str, text: str, *, hold: bool) -> None:
        name = f"{NAME}:{device}"
        if text and hold and device != NOBODY:
            told = f"{text}. Count again, correct what is wrong, or release with the outcome"
            self._demand(
                Verdict(name, Severity.HALT, device, told, priority=Priority.HIGH, halts=(device,), fleeting=True)
            )
        else:
            self._alarms.stand(name, text, subject=device)


def _differences(wrong: Sequence[Equation]) -> tuple[str, ...]:
    return tuple(f"{one.name}: {one.difference} of {one.left} not accounted for" for one in wrong)
