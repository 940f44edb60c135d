"""Ohaus as a balance speaks it: number, unit, `?` while it moves.

SP and P wait for stability and end in ES after 40 s: the letters with which it also refuses what it does not know.
Sources: Ohaus RS232 interface manual, Explorer service manual p. 79; unverified: OK!, PV, PSN, the Err numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from simulators.weigher import Weigher

_INTERVAL: Final = re.compile(r"(\d{1,4})P")


class Ohaus(Weigher):
    """One conversation."""

    def take(self, text: str) -> None:
        actions: dict[str, Callable[[], None]] = {
            "IP": self.weigh,
            "P": lambda: self.when_stable(self._stable),
            "SP": lambda: self.when_stable(self._stable),
            "CP": self.repeat,
            "0P": self.cancel,
            "T": lambda: self.when_stable(self._tare),
            "Z": lambda: self.when_stable(self._zero),
            "PV": lambda: self.say("SIM 2.10"),
            "PSN": lambda: self.say("B834512345"),
        }
        if text in actions:
            actions[text]()
        elif _INTERVAL.fullmatch(text):
            self.repeat()
        elif text:
            self.say("ES")

    def weigh(self) -> None:
        if self.scale.limit:
            self.say("Err 8.3" if self.scale.limit == "+" else "Err 8.4")
            return
        net_g = round(self.scale.net_g, 4) + 0.0
        self.say(f"{net_g:11.4f}{self.scale.unit}{'' if self.scale.stable else ' ?'}")

    def _stable(self, stable: bool) -> None:
        if stable:
            self.weigh()
        else:
            self.say("ES")

    def _tare(self, stable: bool) -> None:
        if stable:
            self.scale.tare()
        self.say("OK!" if stable else "ES")

    def _zero(self, stable: bool) -> None:
        self.say("OK!" if stable and self.scale.zero() else "ES")
