"""A fixed barcode reader: lines on TCP and on a pty; it speaks by itself, nobody asks it.

Each read is `<STX>code;grade;angle<ETX><CR><LF>`, a failed one `<STX>NOREAD;F;0<ETX>`; every `HEARTBEAT_S` seconds
without a read it sends `<STX>ALIVE<ETX>`.  Standing at the labeller it reads each label that is applied: the UID that
is printed there.  By hand (`deviate reader/code`, operator key `trigger`) it reads whatever is held before it.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any, ClassVar, Final

from simulators.device import Device, Fault, UnknownError, Value
from simulators.extras import Stand
from simulators.link import PtyDoor, Send, TcpDoor
from simulators.plant import Plant

STX: Final = b"\x02"
END: Final = b"\x03\r\n"
HEARTBEAT_S: Final = 5.0
GRADES: Final = "ABCDF"
_READS_KEPT: Final = 500
_HALF_S: Final = 0.3
"""A line that breaks off goes on so much later, or never."""


class _Listener:
    """Somebody who is connected; what it says (LON, LOFF) changes nothing in continuous mode."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.heard = b""

    def feed(self, data: bytes) -> None:
        self.heard = (self.heard + data)[-100:]


class Reader(Device):
    """The reader before the labels."""

    sentence = "A fixed barcode reader that says each label's UID and grade (lines on TCP and a pty)."
    tags = frozenset({"code", "grade", "angle"})
    own_faults: ClassVar = {
        "no_read": Fault("The window is dirty: it reads nothing; so many times, or until healed.", "count"),
        "grade_drop": Fault("The print fades: every code is read with this grade.", "grade"),
        "duplicate": Fault("Every read is sent twice."),
        "burst": Fault("Now, so many reads at once, in one piece.", "count"),
        "half_line": Fault("The next line breaks off, and another one follows it."),
        "torn": Fault("Every line comes in two pieces, 0.3 s apart."),
        "garbage": Fault("The line catches noise: bytes above 7F before each read."),
        "no_heartbeat": Fault("It does not send its heartbeat any more."),
        "noise": Fault("The wire chatters without end: FF bytes, no line ends."),
    }

    def __init__(self, stand: Stand) -> None:
        super().__init__()
        self.name = stand.name
        self._plant: Plant = stand.plant
        self._at_labeller = "labeller" in stand.devices
        self._dice = random.Random(f"{stand.plant.seed}:{stand.name}")
        self._applied = stand.plant.labelling.applied
        self._quiet_s = 0.0
        self._later: deque[tuple[float, bytes]] = deque()
        self.reads: deque[dict[str, Any]] = deque(maxlen=_READS_KEPT)
        """What it sent, oldest first."""
        self.sent = 0
        self._tcp = TcpDoor(stand.host, stand.port(), _Listener, self.gate)
        self._pty = PtyDoor(stand.tty(), _Listener, self.gate)
        self.links = (self._tcp, self._pty)

    def addresses(self) -> dict[str, str]:
        return {"tcp": self._tcp.address, "serial": self._pty.address}

    def truth(self) -> dict[str, Any]:
        """`sent`: reads and failed reads since the start; `reads`: the last of them."""
        return {"sent": self.sent, "reads": list(self.reads), "listeners": len(self._listeners())}

    async def step(self, dt_s: float) -> None:
        self._quiet_s += dt_s
        self._send_later(dt_s)
        if "noise" in self.faults:
            self._send(b"\xff" * max(1, int(dt_s * 11520)))
        if self._at_labeller:
            for _ in range(self._plant.labelling.applied - self._applied):
                self.read(self._plant.labelling.label.content.uid)
        self._applied = self._plant.labelling.applied
        if self._quiet_s >= HEARTBEAT_S and "no_heartbeat" not in self.faults and "frozen" not in self.faults:
            self._quiet_s = 0.0
            self._send(STX + b"ALIVE" + END)

    def operator(self, action: str) -> bool:
        """`trigger`: it reads what is before it now."""
        if action != "trigger":
            raise UnknownError(f"{self.name} has no key {action!r}; it has trigger")
        self.read(str(self.forced.get("code", self._plant.labelling.label.content.uid)))
        return True

    def coerce(self, tag: str, value: Value) -> Value:
        return float(value) if tag == "angle" else str(value)

    async def force(self, tag: str, value: Value | None) -> None:
        """A code held before the window is read at once."""
        await super().force(tag, value)
        if tag == "code" and value is not None:
            self.read(str(value))

    async def fault(self, name: str, args: dict[str, Any]) -> None:
        if name == "burst":
            self._burst(int(args.get("count", 10)))
            return
        await super().fault(name, args)

    def read(self, code: str) -> None:
        """One read, by whatever befalls it."""
        self._say([self._line(code)])

    # -- inside ------------------------------------------------------------------------------------

    def _line(self, code: str) -> bytes:
        failed = self._fails() or not code
        grade = str(self.faults.get("grade_drop", {}).get("grade", "D" if "grade_drop" in self.faults else "A"))
        grade = "F" if failed else str(self.forced.get("grade", grade))
        angle = 0.0 if failed else float(self.forced.get("angle", round(self._dice.gauss(0.0, 2.0), 1)))
        self.reads.append({"code": None if failed else code, "grade": grade, "angle": angle})
        self.sent += 1
        return STX + f"{'NOREAD' if failed else code};{grade};{angle:g}".encode() + END

    def _fails(self) -> bool:
        fault = self.faults.get("no_read")
        if fault is None:
            return False
        if "count" in fault:
            fault["count"] = int(fault["count"]) - 1
            if fault["count"] <= 0:
                del self.faults["no_read"]
        return True

    def _burst(self, count: int) -> None:
        label = self._plant.labelling.label.content.uid or "BURST"
        self._say([self._line(str(self.forced.get("code", label))) for _ in range(count)])

    def _say(self, lines: list[bytes]) -> None:
        self._quiet_s = 0.0
        data = b"".join(lines)
        if "duplicate" in self.faults:
            data += data
            self.sent += len(lines)
        if "garbage" in self.faults:
            data = b"\xfe\xc3\x80" + data
        if "half_line" in self.faults:
            del self.faults["half_line"]
            self._send(data[: len(data) // 2])
        elif "torn" in self.faults:
            self._send(data[: len(data) // 2])
            self._later.append((_HALF_S, data[len(data) // 2 :]))
        else:
            self._send(data)

    def _send_later(self, dt_s: float) -> None:
        waiting = [(left_s - dt_s, data) for left_s, data in self._later]
        self._later = deque(each for each in waiting if each[0] > 0)
        for _, data in (each for each in waiting if each[0] <= 0):
            self._send(data)

    def _send(self, data: bytes) -> None:
        for listener in self._listeners():
            listener.send(data)

    def _listeners(self) -> list[_Listener]:
        talkers = [*self._tcp.talkers, *self._pty.talkers]
        return [talker for talker in talkers if isinstance(talker, _Listener)]


def on_stand(stand: Stand) -> Device:
    """For the registry of extras."""
    return Reader(stand)
