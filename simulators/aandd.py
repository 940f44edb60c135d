"""A&D as a balance speaks it: two letters, nine characters of number, three of unit.

Acknowledges and error codes are a setting (on here); silent in its menus.
Sources: A&D EK-L p. 30, EJ-120 p. 26; unverified: how ?ID and ?SN are answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from simulators.weigher import Weigher

_PRESET: Final = re.compile(r"PT:(\d{1,4}(?:\.\d{1,4})?) g")


class AandD(Weigher):
    """One conversation."""

    patience_s = 10.0
    codes = True
    """AK and EC lines are switched on."""

    def take(self, text: str) -> None:
        actions: dict[str, Callable[[], None]] = {
            "Q": self.weigh,
            "SI": self.weigh,
            "S": lambda: self.when_stable(self._stable),
            "SIR": self.repeat,
            "C": self.cancel,
            "T": lambda: self.when_stable(self._tare),
            "Z": lambda: self.when_stable(self._zero),
            "?ID": lambda: self.say("SIM-204"),
            "?SN": lambda: self.say("15612345"),
        }
        if preset := _PRESET.fullmatch(text):
            self.scale.set_tare(float(preset[1]))
            self._code("AK")
        elif text in actions:
            actions[text]()
        elif text:
            self._code("EC,E01")

    def weigh(self) -> None:
        if self.scale.limit:
            self.say(f"OL,{self.scale.limit}999999.9  g")
            return
        net_g = round(self.scale.net_g, 4) + 0.0
        state = "ST" if self.scale.stable else "US"
        self.say(f"{state},{'-' if net_g < 0 else '+'}{abs(net_g):08.4f}{self.scale.unit:>3}")

    def _stable(self, stable: bool) -> None:
        if stable:
            self.weigh()
        else:
            self._code("EC,E11")

    def _tare(self, stable: bool) -> None:
        if stable:
            self.scale.tare()
        self._code("AK" if stable else "EC,E11")

    def _zero(self, stable: bool) -> None:
        done = stable and self.scale.zero()
        self._code("AK" if done else "EC,E17" if stable else "EC,E11")

    def _code(self, line: str) -> None:
        if self.codes:
            self.say(line)
