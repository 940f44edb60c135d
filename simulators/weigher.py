"""What the conversations of all balances share: the scale behind them, waiting for stability, streams, bad manners."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from simulators.device import Fault
from simulators.link import Send

REPEAT_S: Final = 0.1
"""Between two weights of a stream."""
HIGHEST: Final = 0x80
_LONGEST: Final = 100


class Scale(Protocol):
    """The balance behind the protocol."""

    @property
    def net_g(self) -> float: ...

    @property
    def stable(self) -> bool: ...

    @property
    def limit(self) -> str:
        """`+` overload, `-` underload, empty: within range."""
        ...

    @property
    def unit(self) -> str:
        """` g`; empty where the balance is set to print none."""
        ...

    @property
    def tare_g(self) -> float: ...

    def set_tare(self, tare_g: float) -> None: ...

    def tare(self) -> float: ...

    def zero(self) -> bool: ...


class Weigher:
    """One conversation of a balance that takes commands by the line.  No I/O: time by `tick`.

    A subclass says what each command does; `weigh`, `when_stable` and `repeat` are there for it.
    """

    patience_s = 40.0
    """How long a command waits for stability."""

    def __init__(self, scale: Scale, send: Send) -> None:
        self.scale = scale
        self.repeating = False
        """Sends by itself: by command, or set so in its menu."""
        self._send = send
        self._buffer = b""
        self._waiting: tuple[Callable[[bool], None], float] | None = None
        self._left_s = 0.0

    def feed(self, data: bytes) -> None:
        """Bytes from the line, in any pieces."""
        self._buffer += data
        while b"\r\n" in self._buffer:
            line, self._buffer = self._buffer.split(b"\r\n", 1)
            self.take(line.decode("ascii", "replace"))
        self._buffer = self._buffer[-_LONGEST:]

    def tick(self, dt_s: float) -> None:
        """Let time pass: answers that waited for stability, streams."""
        if self._waiting is not None:
            done, left_s = self._waiting
            self._waiting = (done, left_s - dt_s)
            if self.scale.stable or self.scale.limit or left_s <= dt_s:
                self._waiting = None
                done(self.scale.stable or bool(self.scale.limit))
        if self.repeating:
            self._left_s -= dt_s
            if self._left_s <= 0:
                self._left_s = REPEAT_S
                self.weigh()

    def take(self, text: str) -> None:
        """Carry out one command."""
        raise NotImplementedError

    def weigh(self) -> None:
        """Say the weight as it is now."""
        raise NotImplementedError

    def print_key(self) -> None:
        """The operator presses PRINT: a line nobody asked for."""
        self.weigh()

    def when_stable(self, done: Callable[[bool], None]) -> None:
        """Call `done` when the pan is at rest: with False when that took too long."""
        self._waiting = (done, self.patience_s)
        self.tick(0.0)

    def cancel(self) -> None:
        self._waiting = None
        self.repeating = False

    def repeat(self) -> None:
        self.repeating, self._left_s = True, 0.0
        self.tick(0.0)

    def say(self, line: str) -> None:
        self._send(line.encode("ascii") + b"\r\n")


WIRE_FAULTS: Final[Mapping[str, Fault]] = {
    "late": Fault("Every line comes late (1 s where not said), in order.", "seconds"),
    "noise": Fault("A byte of noise before each line."),
    "half_lines": Fault("Every other line loses its second half and its end."),
    "lost_byte": Fault("Each line loses one character somewhere."),
    "garbled": Fault("As read with the wrong speed: random bytes."),
    "seven_bit": Fault("It sends seven bits and even parity; a port set to eight reads the parity as a bit."),
    "menu": Fault("Somebody is in its menu: it says nothing at all."),
}


class Wire:
    """The cable between a conversation and the door: what the device's faults do to its lines."""

    def __init__(self, faults: Mapping[str, Mapping[str, Any]], send: Send, seed: int) -> None:
        self._faults = faults
        self._door = send
        self._dice = random.Random(f"{seed}:wire")
        self._later: deque[tuple[float, bytes]] = deque()
        self._odd = False

    def send(self, data: bytes) -> None:
        """One line of the balance."""
        if "menu" in self._faults:
            return
        data = self._spoil(data)
        if "late" in self._faults:
            self._later.append((float(self._faults["late"].get("seconds", 1.0)), data))
        else:
            self._door(data)

    def tick(self, dt_s: float) -> None:
        self._later = deque((left_s - dt_s, data) for left_s, data in self._later)
        while self._later and self._later[0][0] <= 0:
            self._door(self._later.popleft()[1])

    def _spoil(self, data: bytes) -> bytes:
        if "lost_byte" in self._faults:
            at = self._dice.randrange(len(data) - 2)
            data = data[:at] + data[at + 1 :]
        if "half_lines" in self._faults:
            self._odd = not self._odd
            data = data[: len(data) // 2] if self._odd else data
        if "noise" in self._faults:
            data = bytes((self._dice.randrange(HIGHEST, 256),)) + data
        if "seven_bit" in self._faults:
            data = bytes(byte | (byte.bit_count() % 2) << 7 for byte in data)
        if "garbled" in self._faults:
            data = bytes(self._dice.randrange(256) for _ in data)
        return data
