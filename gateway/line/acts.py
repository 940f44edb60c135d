"""What people do at the line that makes checks fall due, or changes what judges them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from gateway.errors import Refused
from gateway.journal import Journal
from gateway.line.batch import Run
from gateway.model import Entry, Json
from gateway.rules.scale import repeatability
from gateway.units import linear


class Acts:
    """Recorded, then told to the sampling rules they concern."""

    def __init__(self, journal: Journal, run: Run, enter: Callable[[Entry], None]) -> None:
        self._journal = journal
        self._run = run
        self._enter = enter

    def adjusted(self, text: str, device: str, person: str) -> list[str]:
        """A person recorded an adjustment: plans that check after one fall due.  Returns the rules that were told."""
        body: dict[str, Json] = {"text": text, "device": device}
        self._journal.note("process.adjusted", body, batch=self._run.running, by=person)
        told = self._run.rules.sampling(device)
        for rule in told:
            self._enter(Entry("adjusted", rule, person, text=text))
        return told

    def repeatability(self, device: str, weighings: Sequence[Decimal], unit: str, person: str) -> Decimal:
        """The spread of a balance, as weighings of one weight show it: it is judged by from now on.

        Refused: fewer than ten (USP <41>), no mass, no rule that weighs there.
        """
        try:
            found = repeatability(weighings)
            linear(unit, "g")
        except ValueError as error:
            raise Refused("bad_value", str(error)) from None
        for rule in self._run.rules.sampling(device):
            if self._run.rules.knows_scale(rule, device):
                self._enter(Entry("scale", rule, person, value=found, unit=unit))
        self._run.rules.scales[device] = (str(found), unit)
        self._journal.keep("scale", device, [str(found), unit])
        told: dict[str, Json] = {"weighings": [str(each) for each in weighings], "repeatability": str(found)}
        body: dict[str, Json] = {"device": device, "unit": unit, **told}
        self._journal.note("scale.repeatability", body, batch=self._run.running, by=person)
        return found
