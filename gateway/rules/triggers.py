"""What makes a check fall due: running time, units, chance, and events of the line.  Pure.

Chance is drawn from the batch's number, the rule and the plan by SHA-256: a restart draws the same, and so does an
auditor with the record (docs/plans.md says how).
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from gateway.model import Json
from gateway.plans import Plan
from gateway.rules.inputs import S_NS
from gateway.rules.production import Production

SCHEDULE: Final = "schedule"
RANDOM: Final = "random"
EVENT: Final = "event"


class Due(msgspec.Struct, frozen=True):
    """A check that is asked for now."""

    trigger: str
    why: str
    units: int | None = None


class Triggers:
    """All triggers of one plan in one batch."""

    def __init__(self, plan: Plan, seed: str, production: Production) -> None:
        self._plan = plan
        self._seed = seed
        self._production = production
        self.every_ns = None if plan.every_s is None else round(plan.every_s * S_NS)
        self._next_ns = self.every_ns or 0
        self._next_unit = plan.every_units or 0
        self._drawn = 0
        """Random checks that fell due so far."""
        self._next_at: int | None = None
        """Where the next one falls; drawn once."""
        self._ran = False
        self._stood = False
        self._pending: list[str] = []
        """Events that ask for a check as soon as the machine runs."""

    @property
    def longest_ns(self) -> int:
        """What one interval of time is; 0 where nothing is due by time."""
        span = self._plan.random.per_s if self._plan.random else None
        return max(self.every_ns or 0, round((span or 0) * S_NS))

    def note(self, event: str) -> bool:
        """Something happened; True if the plan asks for a check after it."""
        if event not in self._plan.after or event in self._pending:
            return False
        self._pending.append(event)
        return True

    def due(self, *, event_open: bool) -> list[Due]:
        """What is due by now, each once.  `event_open`: a check after an event is open; the next one waits for it."""
        found: list[Due] = []
        self._watch()
        self._by_time(found)
        self._by_units(found)
        self._by_chance(found)
        if self._pending and self._production.running and not event_open:
            found.append(Due(EVENT, f"after {' and '.join(self._pending)}", self._production.units))
            self._pending.clear()
        return found

    def _watch(self) -> None:
        """The machine runs, or stands."""
        if not self._production.running:
            self._stood = self._ran
            return
        if not self._ran:
            self._ran = True
            self.note("start")
        elif self._stood:
            self.note("stop")
        self._stood = False

    def _by_time(self, found: list[Due]) -> None:
        while self.every_ns is not None and self._production.produced_ns >= self._next_ns:
            self._next_ns += self.every_ns
            found.append(Due("every", SCHEDULE))

    def _by_units(self, found: list[Due]) -> None:
        every, units = self._plan.every_units, self._production.units or 0
        while every is not None and units >= self._next_unit:
            found.append(Due("every_units", SCHEDULE, self._next_unit))
            self._next_unit += every

    def _by_chance(self, found: list[Due]) -> None:
        random = self._plan.random
        if random is None:
            return
        span, by_units = random.per_units, random.per_units is not None
        span = span if span is not None else round((random.per_s or 0) * S_NS)
        made = (self._production.units or 0) if by_units else self._production.produced_ns
        while made >= self._drawn_at(random.n, span):
            found.append(Due(RANDOM, RANDOM, self._next_at if by_units else None))
            self._drawn, self._next_at = self._drawn + 1, None

    def _drawn_at(self, n: int, span: int) -> int:
        if self._next_at is None:
            block, place = divmod(self._drawn, n)
            self._next_at = block * span + draws(self._seed, block, span, n)[place] + 1
        return self._next_at

    # -- over a restart ---------------------------------------------------------------------------

    def dump(self) -> dict[str, Json]:
        return {
            "next_ns": self._next_ns,
            "next_unit": self._next_unit,
            "drawn": self._drawn,
            "ran": self._ran,
            "stood": self._stood,
            "pending": list(self._pending),
        }

    def load(self, state: Json) -> None:
        self._next_ns, self._next_unit = state["next_ns"], state["next_unit"]
        self._drawn, self._pending = state.get("drawn", 0), list(state.get("pending", ()))
        self._next_at = None
        self._ran, self._stood = state.get("ran", True), state.get("stood", False)


def draws(seed: str, block: int, span: int, n: int) -> tuple[int, ...]:
    """`n` different places among 0 .. span-1, in order: the same for the same words, for ever.

    The k-th try is the first 8 bytes of SHA-256("seed/block/k"), big-endian, modulo span; repeats are passed over.
    """
    found: set[int] = set()
    tries = 0
    while len(found) < n:
        hashed = hashlib.sha256(f"{seed}/{block}/{tries}".encode()).digest()
        found.add(int.from_bytes(hashed[:8]) % span)
        tries += 1
    return tuple(sorted(found))
