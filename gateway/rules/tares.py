"""Empties that were weighed and wait for their full weight, and the net weight of what is full.  Pure.

The uncertainty of a difference of two weighings is their root sum of squares; a group's is divided by its n.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from gateway.errors import Refused
from gateway.model import Json
from gateway.rules.inputs import measure
from gateway.rules.scale import deviation
from gateway.rules.standard import Standard, TareTerms, shared

MOST: Final = 5000
"""Empties that wait at a time; more are a mistake."""
ENOUGH: Final = 5
"""Empties from which the spread of a fixed tare is judged; of the newest LOOKED_AT."""
LOOKED_AT: Final = 20
SEEN: Final = "tare seen"
OF: Final = "tare of "
"""What the record of an empty weighing says, before the item."""


class Net(msgspec.Struct, frozen=True):
    """A weight without its tare."""

    value: Decimal
    gross: Decimal | None = None
    tare: Decimal | None = None
    uncertainty: Decimal = Decimal(0)
    doubt: str = ""
    """Why it proves nothing, whatever it is."""


class Tares:
    """The empties of one rule."""

    def __init__(self, standards: Mapping[str, Standard]) -> None:
        self._standards = standards
        self._waiting: dict[str, dict[str, Decimal]] = {}
        """Characteristic -> item -> its empty weight."""
        self._seen: dict[str, list[Decimal]] = {}
        """Of a fixed tare: empties that were weighed to see whether it holds."""

    def asked(self, name: str, item: str) -> TareTerms:
        """The terms of a tare that is to be weighed.  Refused: none is taken, or no item is named."""
        terms = self._standards[name].tare
        if terms is None:
            raise Refused("no_tare", f"{name} is weighed net: the balance takes the tare off, nothing is to be tared")
        if terms.mode != "fixed" and not item:
            raise Refused("item_missing", f"say which cartridge or group the {terms.mode} tare of {name} is of: `item`")
        return terms

    def of(self, name: str, item: str) -> Decimal | None:
        """The tare that goes with a full weight.  Refused: that item was not weighed empty."""
        terms = self._standards[name].tare
        if terms is None:
            return None
        if terms.mode == "fixed":
            return terms.weight
        self.asked(name, item)
        tare = self._waiting.get(name, {}).get(item)
        if tare is None:
            known = ", ".join(list(self._waiting.get(name, {}))[:10]) or "none"
            raise Refused("not_tared", f"{item!r} was not weighed empty for {name}; those that were: {known}")
        return tare

    def put(self, name: str, item: str, value: Decimal) -> str:
        """An empty one was weighed; what to record of it."""
        terms = self.asked(name, item)
        if terms.mode == "fixed":
            self._seen[name] = [*self._seen.get(name, []), value][-LOOKED_AT:]
            return SEEN
        waiting = self._waiting.setdefault(name, {})
        waiting.pop(item, None)
        waiting[item] = value
        while len(waiting) > MOST:
            del waiting[next(iter(waiting))]
        return f"{OF}{item}"

    def used(self, name: str, item: str) -> None:
        """Its full weight was taken: the next one needs an empty weight of its own."""
        self._waiting.get(name, {}).pop(item, None)

    def net(self, name: str, gross: Decimal, tare: Decimal | None, uncertainty: Decimal) -> Net:
        """`uncertainty`: expanded, of one weighing."""
        terms = self._standards[name].tare
        if terms is None or tare is None:
            return Net(gross, uncertainty=uncertainty)
        sure = self._standards[name].sure(uncertainty)
        if terms.mode == "fixed":
            return Net(gross - terms.weight, gross, terms.weight, sure, self._spread(name, terms))
        return Net(shared(gross - tare, terms.n), gross, tare, sure)

    def _spread(self, name: str, terms: TareTerms) -> str:
        """What the empties say that were weighed meanwhile."""
        seen, unit = self._seen.get(name, []), self._standards[name].unit
        if len(seen) < ENOUGH or terms.allowed is None:
            return ""
        three = 3 * deviation(seen)
        off = abs(sum(seen, Decimal(0)) / len(seen) - terms.weight)
        if three <= terms.allowed and off <= terms.allowed:
            return ""
        how = f"spread by {measure(_short(three), unit)} (3 s) and lie {measure(_short(off), unit)} off"
        return f"the last {len(seen)} tares {how}; at most {measure(_short(terms.allowed), unit)} may be"

    def dump(self) -> Json:
        return msgspec.to_builtins({"waiting": self._waiting, "seen": self._seen})

    def load(self, state: Json) -> None:
        if state:
            self._waiting = msgspec.convert(state["waiting"], dict[str, dict[str, Decimal]])
            self._seen = msgspec.convert(state["seen"], dict[str, list[Decimal]])


def is_tare(reason: str) -> bool:
    """Was this weighing, by what its record says, that of an empty one?"""
    return reason == SEEN or reason.startswith(OF)


def _short(value: Decimal) -> Decimal:
    return Decimal(f"{value:.3g}") if value else value
