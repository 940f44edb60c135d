"""The label web: a roll, an applicator, a camera that reads what was printed.  Pure."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from simulators.filling import Cartridge

LAG_S: Final = 1.5
"""Conveyor from the capper to the applicator."""
OFFSET_LIMIT_MM: Final = 1.5
"""The camera refuses a label further off than this."""


@dataclass(frozen=True)
class Print:
    """What stands on a label."""

    batch: str = ""
    uid: str = ""
    thc_pct: float = 0.0
    warning: str = ""


@dataclass(frozen=True)
class Label:
    """The last label the camera read, and on which unit it went (0: the leader of a fresh roll)."""

    content: Print = Print()
    offset_mm: float = 0.0
    verified: bool = False
    unit: int = 0


class Labelling:
    """Applies a label to each good cartridge that arrives while the labeller executes."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(f"{seed}:labels")
        self._conveyor: deque[tuple[float, Cartridge]] = deque()
        self._credit = 0.0
        self._clock_s = 0.0
        self.content: Print | None = None
        self.remaining = 0
        self.label = Label()
        self.issued = self.applied = self.damaged = 0
        self.damage_chance = 0.004
        self.offset_sigma_mm = 0.25
        self.misprints = 0
        """How many of the next labels come out wrong."""
        self.misprinting = False
        """All of them do."""

    def load(self, content: Print, labels: int = 5000) -> None:
        """Put a roll on; the camera reads its leader, so what is loaded is seen before the first label is applied."""
        self.content, self.remaining = content, labels
        self.label = Label(content, 0.0, verified=True)

    @property
    def waiting(self) -> int:
        return len(self._conveyor)

    @property
    def starved(self) -> bool:
        """No roll, or the roll has ended."""
        return self.content is None or self.remaining <= 0

    def arrive(self, cartridge: Cartridge) -> None:
        """A cartridge left the filler; rejects never get here."""
        self._conveyor.append((self._clock_s + LAG_S, cartridge))

    def step(self, dt_s: float, running: bool, per_s: float) -> None:
        """Let wall time pass; `per_s` is the applicator's speed, labels a second."""
        self._clock_s += dt_s
        self._credit = min(1.0, self._credit + dt_s * per_s) if running else 0.0
        while self._credit >= 1.0 and self._conveyor and self._conveyor[0][0] <= self._clock_s and not self.starved:
            self._credit -= 1.0
            self._apply(self._conveyor.popleft()[1])

    def _apply(self, cartridge: Cartridge) -> None:
        self._issue()
        if self._dice.random() < self.damage_chance and not self.starved:
            self.damaged += 1
            self._issue()
        content, good = self._print()
        offset_mm = round(self._dice.gauss(0.0, self.offset_sigma_mm), 2)
        self.applied += 1
        self.label = Label(content, offset_mm, good and abs(offset_mm) <= OFFSET_LIMIT_MM, cartridge.number)

    def _issue(self) -> None:
        self.issued += 1
        self.remaining -= 1

    def _print(self) -> tuple[Print, bool]:
        assert self.content is not None
        if self.misprints <= 0 and not self.misprinting:
            return self.content, True
        self.misprints = max(0, self.misprints - 1)
        return replace(self.content, uid=self.content.uid[:-1] + "?"), False
