"""MT-SICS levels 0 and 1 as a balance answers them.  No I/O: bytes in, bytes out, time by `tick`.

Upper-case ASCII, one space between parameters, CR LF at the end; weight right-aligned in ten characters.  Replies carry
the id `S` for SI, SIR, SR, SU, SIU; `@` answers as I4.  ES syntax, ET transmission, EL logical.
Source: Mettler-Toledo MT-SICS reference manual; the parts marked unverified in our notes: TA's field width, I0's and
I1's layout.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Final

from simulators.link import Send
from simulators.weigher import Scale

MODEL: Final = "SIM204 Linegate 220.0000 g"
SERIAL: Final = "B123456789"
SOFTWARE: Final = "1.00 20.11.2"
LEVEL_0: Final = ("I0", "I1", "I2", "I3", "I4", "I5", "S", "SI", "SIR", "Z", "ZI", "@")
LEVEL_1: Final = ("SIRU", "SIU", "SR", "SU", "T", "TA", "TAC", "TI")
STABILITY_TIMEOUT_S: Final = 5.0
REPEAT_S: Final = 0.1
MIN_STEP_G: Final = 0.003
"""SR: smallest change that counts, 30 digits."""
_LONGEST: Final = 100
_WEIGHT = re.compile(r"(\d+(?:\.\d+)?) g")


class Interpreter:
    """One conversation with the balance: commands are carried out one after the other, `@` breaks off."""

    patience_s = STABILITY_TIMEOUT_S

    def __init__(self, scale: Scale, send: Send) -> None:
        self._scale = scale
        self._send = send
        self._buffer = b""
        self._queue: deque[str] = deque()
        self._waiting: tuple[str, float] | None = None
        """A command that waits for stability (S, T, Z), and for how many seconds more."""
        self._repeat: str | None = None
        """SIR or SR, when a stream runs."""
        self._repeat_left_s = 0.0
        self._last_stable_g: float | None = None

    def feed(self, data: bytes) -> None:
        """Bytes from the line, in any pieces."""
        self._buffer += data
        while b"\r\n" in self._buffer:
            line, self._buffer = self._buffer.split(b"\r\n", 1)
            self._take(line)
        if len(self._buffer) > _LONGEST:
            self._buffer = b""
            self._say("ES")

    def tick(self, dt_s: float) -> None:
        """Let time pass: answers that waited for stability, streams, timeouts."""
        if self._waiting is not None:
            self._wait(*self._waiting, dt_s)
        elif self._repeat == "SIR":
            self._repeat_left_s -= dt_s
            if self._repeat_left_s <= 0:
                self._repeat_left_s = REPEAT_S
                self._immediate("S")
        elif self._repeat == "SR":
            self._watch()

    @property
    def repeating(self) -> bool:
        """It sends by itself."""
        return self._repeat is not None

    @repeating.setter
    def repeating(self, on: bool) -> None:
        self._repeat = "SIR" if on else None

    def print_key(self) -> None:
        """The operator presses PRINT: a line nobody asked for."""
        self._immediate("S")

    def _take(self, line: bytes) -> None:
        if any(byte >= 0x80 for byte in line):
            self._say("ET")
            return
        text = line.decode("ascii")
        if text == "@":
            self._queue.clear()
            self._waiting = self._repeat = None
            self._say(f'I4 A "{SERIAL}"')
        elif self._waiting is not None:
            self._queue.append(text)
        elif text:
            self._run(text)

    def _run(self, text: str) -> None:
        self._repeat = None
        name, _, parameter = text.partition(" ")
        if name not in LEVEL_0 + LEVEL_1:
            self._say("ES")
        elif parameter and name != "TA":
            self._say("EL")
        else:
            self._carry_out(name, parameter)

    def _carry_out(self, name: str, parameter: str) -> None:
        actions: dict[str, Callable[[], None]] = {
            "SI": lambda: self._immediate("S"),
            "SIU": lambda: self._immediate("S"),
            "SIR": lambda: self._stream("SIR"),
            "SIRU": lambda: self._stream("SIR"),
            "SR": lambda: self._stream("SR"),
            "ZI": self._zero_now,
            "TI": self._tare_now,
            "TA": lambda: self._tare_memory(parameter),
            "TAC": self._clear_tare,
            "I0": self._list,
            "I1": lambda: self._say('I1 A "01" "2.30" "2.22" "" ""'),
            "I2": lambda: self._say(f'I2 A "{MODEL}"'),
            "I3": lambda: self._say(f'I3 A "{SOFTWARE}"'),
            "I4": lambda: self._say(f'I4 A "{SERIAL}"'),
            "I5": lambda: self._say('I5 A "12345678A"'),
        }
        if name in actions:
            actions[name]()
        else:  # S, SU, T, Z wait for stability
            self._wait("S" if name == "SU" else name, self.patience_s, 0.0)

    def _wait(self, name: str, left_s: float, dt_s: float) -> None:
        left_s -= dt_s
        if not (self._scale.limit or self._scale.stable or left_s <= 0):
            self._waiting = (name, left_s)
            return
        self._waiting = None
        self._finish(name)
        while self._queue and self._waiting is None:
            self._run(self._queue.popleft())

    def _finish(self, name: str) -> None:
        if self._scale.limit:
            self._say(f"{name} {self._scale.limit}")
        elif not self._scale.stable:
            self._say(f"{name} I")
        elif name == "S":
            self._immediate("S")
        elif name == "T":
            self._say(f"T S {self._weight(self._scale.tare())}")
        else:
            self._say("Z A" if self._scale.zero() else "Z +")

    def _immediate(self, name: str) -> None:
        if self._scale.limit:
            self._say(f"{name} {self._scale.limit}")
            return
        status = "S" if self._scale.stable else "D"
        self._say(f"{name} {status} {self._weight(self._scale.net_g)}")

    def _stream(self, kind: str) -> None:
        self._repeat, self._repeat_left_s, self._last_stable_g = kind, 0.0, None
        self.tick(0.0)

    def _watch(self) -> None:
        """SR: the next stable value, then `S D` and again a stable one after each change that counts."""
        net_g, last_g = self._scale.net_g, self._last_stable_g
        if last_g is None:
            if self._scale.stable:
                self._last_stable_g = net_g
                self._immediate("S")
        elif abs(net_g - last_g) >= max(MIN_STEP_G, 0.125 * abs(last_g)):
            self._last_stable_g = None
            self._immediate("S")

    def _zero_now(self) -> None:
        status = "S" if self._scale.stable else "D"
        self._say(f"ZI {status}" if self._scale.zero() else "ZI +")

    def _tare_now(self) -> None:
        status = "S" if self._scale.stable else "D"
        self._say(f"TI {self._scale.limit or f'{status} {self._weight(self._scale.tare())}'}")

    def _tare_memory(self, parameter: str) -> None:
        if parameter:
            match = _WEIGHT.fullmatch(parameter)
            if match is None:
                self._say("TA L")
                return
            self._scale.set_tare(float(match[1]))
        self._say(f"TA A {self._weight(self._scale.tare_g)}")

    def _clear_tare(self) -> None:
        self._scale.set_tare(0.0)
        self._say("TAC A")

    def _list(self) -> None:
        rows = [(0, name) for name in LEVEL_0] + [(1, name) for name in LEVEL_1]
        for number, (level, name) in enumerate(rows, 1):
            self._say(f'I0 {"A" if number == len(rows) else "B"} {level} "{name}"')

    def _weight(self, grams: float) -> str:
        return f"{round(grams, 4) + 0.0:10.4f}{self._scale.unit}"

    def _say(self, line: str) -> None:
        self._send(line.encode("ascii") + b"\r\n")
