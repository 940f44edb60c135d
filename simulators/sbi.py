"""Sartorius SBI as a balance speaks it: ESC and a letter in, fixed columns out, 16 or 22 characters.

No unit while the pan moves; tare, zero, filters, locks and the beep are silent; High and Low instead of a weight.
Sources: Sartorius Cubis MSE p. 71 (commands), GC803S p. 57 (lines).
"""

from __future__ import annotations

import re
from typing import Final

from simulators.link import Send
from simulators.weigher import Scale, Weigher

_COMMAND: Final = re.compile(rb"\x1b(?:([A-Z])|([a-z])(\d{1,2})_)(?:\r\n)?")
_NAMES: Final = {"x1": "MSE224S-100-DU", "x2": "31204567", "x3": "00-39-02"}
_BLANK_ID: Final = "N     "


class Sbi(Weigher):
    """One conversation; `wide` balances put six characters before each line."""

    def __init__(self, scale: Scale, send: Send, *, wide: bool = False) -> None:
        super().__init__(scale, send)
        self._wide = wide

    def feed(self, data: bytes) -> None:
        """Commands need no line end; what is no command is passed over without a word."""
        self._buffer += data
        while found := _COMMAND.search(self._buffer):
            self._buffer = self._buffer[found.end() :]
            letter, kind, digit = (part.decode() if part else "" for part in found.groups())
            self.take(letter or kind + digit)
        at = self._buffer.rfind(b"\x1b")
        self._buffer = self._buffer[at:][:4] if at >= 0 else b""

    def take(self, text: str) -> None:
        if text == "P":
            self.weigh()
        elif text in _NAMES:
            self.say(_NAMES[text])
        elif text in {"T", "U"}:
            self.when_stable(self._tare)
        elif text == "V":
            self.when_stable(self._zero)
        # filters, locks, beep, adjustment: silent, as everything that it does not know

    def weigh(self) -> None:
        if self.scale.limit:
            word = "High" if self.scale.limit == "+" else "Low"
            self.say(f"Stat  {word:^14}" if self._wide else f"{word:^14}")
            return
        net_g = round(self.scale.net_g, 4) + 0.0
        unit = self.scale.unit.strip() if self.scale.stable else ""
        sign = "-" if net_g < 0 else "+" if net_g > 0 else " "
        self.say(f"{_BLANK_ID if self._wide else ''}{sign} {abs(net_g):8.4f} {unit:<3}")

    def _tare(self, stable: bool) -> None:
        if stable:
            self.scale.tare()

    def _zero(self, stable: bool) -> None:
        if stable:
            self.scale.zero()
