"""A peristaltic pump: Watson-Marlow ASCII (520Du manual p. 76) on TCP and on a pty, 10,982 tacho pulses a revolution.

Nothing is acknowledged; RS, RT and ZY answer.  After ST the motor runs down in some hundredths of a second, and says
running until it stands.  Its keypad's Stop overrides the serial line: GO and DO do nothing until its Start was pressed.
Not coupled to the line's filler, which has a pump of its own inside.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Final

from simulators.device import Device, Fault
from simulators.extras import Stand
from simulators.link import PtyDoor, Send, Talker, TcpDoor

PULSES: Final = 10_982
NUMBER: Final = 1
ML_PER_REVOLUTION: Final = 15.84
HIGHEST_RPM: Final = 220.0
RUN_DOWN_S: Final = 0.04
_REVERT_S: Final = 0.1
_WRITES_KEPT: Final = 200
_LONGEST: Final = 64
_COMMAND: Final = re.compile(r"(\d{1,2}|#)(RS|RT|ZY|GO|ST|SP|SI|SD|RR|RL|RC|TC|DO|CA|CH|W)(.*)")
_DOSE: Final = re.compile(r"(\d{1,10})(?:,(\d{1,5}))?")


class Pump(Device):
    """The drive; several conversations may talk to it."""

    sentence = "A peristaltic pump with Watson-Marlow ASCII, pump number 1 (TCP and serial)."
    tags = frozenset({"speed"})
    own_faults: ClassVar = {
        "ignores_stop": Fault("It hears ST and goes on pumping, and says so."),
        "says_stopped": Fault("Its run flag says stopped while the tacho goes on."),
        "reverts": Fault("It starts again by itself some seconds after a stop.", "seconds"),
        "other_number": Fault("It answers as another pump does, to every number.", "number"),
        "echo": Fault("The line gives back every command before the answer, as two-wire adapters do."),
        "noise": Fault("Bytes of noise come before every answer."),
        "garbled": Fault("Every answer comes with its top bits set, as with a wrong parity."),
    }

    def __init__(self, stand: Stand) -> None:
        super().__init__()
        self.name = stand.name
        self.speed = 60.0
        self.clockwise = True
        self.turning = False
        """The motor itself."""
        self.pulses = 0.0
        self.keypad_stopped = False
        self.writes: deque[dict[str, Any]] = deque(maxlen=_WRITES_KEPT)
        self._dose: float | None = None
        self._run_down_s: float | None = None
        self._revert_s: float | None = None
        self._frozen: dict[str, str] | None = None
        self._tcp = TcpDoor(stand.host, stand.port(), self._converse, self.gate)
        self._pty = PtyDoor(stand.tty(), self._converse, self.gate)
        self.links = (self._tcp, self._pty)

    def addresses(self) -> dict[str, str]:
        return {"tcp": self._tcp.address, "serial": self._pty.address}

    def truth(self) -> dict[str, Any]:
        return {
            "turning": self.turning,
            "speed": self.speed,
            "clockwise": self.clockwise,
            "pulses": int(self.pulses),
            "keypad_stopped": self.keypad_stopped,
            "writes": list(self.writes),
        }

    def operator(self, action: str) -> bool:
        """The keypad: `start`, `stop`, `clear` the count."""
        if action == "start":
            self.keypad_stopped = False
            self._go()
            return True
        if action == "stop":
            self.keypad_stopped = True
            self._stop()
            return True
        if action == "clear":
            self.pulses = 0.0
            return True
        return super().operator(action)

    async def step(self, dt_s: float) -> None:
        if self.turning:
            self._turn(dt_s)
        if self._run_down_s is not None:
            self._run_down_s -= dt_s
            if self._run_down_s <= 0:
                self.turning, self._run_down_s = False, None
        if self._revert_s is not None:
            self._revert_s -= dt_s
            if self._revert_s <= 0:
                self._revert_s = None
                self._go()

    def faults_changed(self) -> None:
        self._frozen = (self._frozen or self._answers()) if "frozen" in self.faults else None

    def on_reboot(self) -> None:
        self.turning, self._dose, self._run_down_s = False, None, None

    def answer(self, line: str) -> str | None:
        """One command; what is not for this pump, and what has no answer, is not answered."""
        found = _COMMAND.fullmatch(line)
        if found is None or (found[1] not in ("#", str(NUMBER)) and "other_number" not in self.faults):
            return None
        name, rest = found[2], found[3]
        if name in ("RS", "RT", "ZY"):
            return (self._frozen or self._answers())[name]
        self.writes.append({"command": line, "mono_ns": time.monotonic_ns()})
        self._carry_out(name, rest)
        return None

    def _answers(self) -> dict[str, str]:
        number = int(self.faults["other_number"].get("number", NUMBER + 1)) if "other_number" in self.faults else NUMBER
        speed = float(self.forced.get("speed", self.speed))
        turn = "CW" if self.clockwise else "CCW"
        run = int(self.turning and "says_stopped" not in self.faults)
        status = f"520Du {ML_PER_REVOLUTION} 520R 9.6MM {speed:.1f} {turn} P/N {number} {int(self.pulses)} {run} !"
        return {"RS": status, "RT": str(int(self.pulses)), "ZY": str(run)}

    def _carry_out(self, name: str, rest: str) -> None:
        actions: dict[str, Callable[[], None]] = {
            "GO": self._go,
            "ST": self._stop,
            "SP": lambda: self._set_speed(rest),
            "SI": lambda: self._set_speed(str(self.speed + 1)),
            "SD": lambda: self._set_speed(str(self.speed - 1)),
            "RR": lambda: self._set_turn(clockwise=True),
            "RL": lambda: self._set_turn(clockwise=False),
            "RC": lambda: self._set_turn(clockwise=not self.clockwise),
            "TC": self._clear,
            "DO": lambda: self._do(rest),
        }
        if name in actions:  # the rest is for its display
            actions[name]()

    def _go(self) -> None:
        if not self.keypad_stopped:
            self.turning, self._dose, self._run_down_s = True, None, None

    def _stop(self) -> None:
        if "ignores_stop" in self.faults and not self.keypad_stopped:
            return
        if self.turning:
            self._run_down_s = RUN_DOWN_S
            if "reverts" in self.faults:
                self._revert_s = float(self.faults["reverts"].get("seconds", _REVERT_S))
        self._dose = None

    def _do(self, rest: str) -> None:
        found = _DOSE.fullmatch(rest.strip())
        if found is not None and not self.keypad_stopped:
            self._go()
            self._dose = float(found[1])

    def _turn(self, dt_s: float) -> None:
        made = self.speed / 60.0 * PULSES * dt_s
        if self._dose is not None:
            made = min(made, self._dose)
            self._dose -= made
            if self._dose <= 0:
                self.turning, self._dose = False, None
        self.pulses += made

    def _set_speed(self, text: str) -> None:
        try:
            self.speed = min(HIGHEST_RPM, max(0.1, float(text)))
        except ValueError:
            return  # the real one says nothing either

    def _set_turn(self, *, clockwise: bool) -> None:
        self.clockwise = clockwise

    def _clear(self) -> None:
        self.pulses = 0.0

    def _converse(self, send: Send) -> Talker:
        return Conversation(self, send)


class Conversation:
    """One line to the pump: commands end with CR."""

    def __init__(self, pump: Pump, send: Send) -> None:
        self._pump, self._send = pump, send
        self._buffer = b""

    def feed(self, data: bytes) -> None:
        """Bytes from the line, in any pieces."""
        faults = self._pump.faults
        if "echo" in faults:
            self._send(data)
        *lines, self._buffer = (self._buffer + data).replace(b"\n", b"").split(b"\r")
        self._buffer = self._buffer[-_LONGEST:]
        for line in lines:
            answer = self._pump.answer(line.decode("ascii", "replace"))
            if answer is not None:
                self._send((b"\xff\x00?\r" if "noise" in faults else b"") + self._spoken(answer))

    def _spoken(self, answer: str) -> bytes:
        plain = answer.encode("ascii") + b"\r"
        return bytes(byte | 0x80 for byte in plain) if "garbled" in self._pump.faults else plain


def on_stand(stand: Stand) -> Pump:
    """For `--with pump`."""
    return Pump(stand)
