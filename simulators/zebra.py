"""A Zebra print engine in an applicator: ZPL on TCP (9100 on a real one) and on a pty.

It knows ~HS, ~HI, ~PP (pause), ~PS (go on), ~JA (throw all away), and formats from ^XA to ^XZ, of which it looks at
^PQ alone: so many labels.  While media or ribbon are out, the head is open, the rewinder full or the head too hot it
prints nothing and does not answer ~HS (ZPL guide, ~HS).  A pause takes effect after the label being printed.
Not coupled to the line's labeller, which is a machine of its own.
"""

from __future__ import annotations

import re
import time
from collections import deque
from typing import Any, ClassVar, Final

from simulators.device import Device, Fault
from simulators.extras import Stand
from simulators.link import PtyDoor, Send, Talker, TcpDoor

IDENTITY: Final = "ZE511-300dpi,V92.21.19Z,12,65536KB"
LABELS_PER_S: Final = 5.0
SILENT: Final = ("media_out", "ribbon_out", "head_open", "rewinder_full", "head_hot")
_REVERT_S: Final = 0.1
_WRITES_KEPT: Final = 200
_LONGEST: Final = 4096
_TOKEN: Final = re.compile(rb"~[A-Z]{2}|\^XA.*?\^XZ", re.DOTALL)
_QUANTITY: Final = re.compile(rb"\^PQ(\d{1,8})")


class Zebra(Device):
    """The engine; several conversations may talk to it."""

    sentence = "A Zebra print engine: ZPL with ~HS, ~HI, ~PP (TCP and serial)."
    tags = frozenset({"labels_remaining"})
    own_faults: ClassVar = {
        "media_out": Fault("No media: it prints nothing and does not answer ~HS."),
        "ribbon_out": Fault("No ribbon: it prints nothing and does not answer ~HS."),
        "head_open": Fault("The head is open: it prints nothing and does not answer ~HS."),
        "rewinder_full": Fault("The rewinder is full: it prints nothing and does not answer ~HS."),
        "head_hot": Fault("The head is too hot: it prints nothing and does not answer ~HS."),
        "talkative": Fault("With one of those it answers ~HS all the same, flags set, as some firmware does."),
        "mute": Fault("While it does not answer ~HS it does not answer ~HI either."),
        "queues": Fault("What it was asked while silent it answers all at once when that is over."),
        "ignores_pause": Fault("It hears ~PP, prints on, and says so."),
        "reverts": Fault("It goes on by itself some seconds after a pause.", "seconds"),
        "jam": Fault("Labels stick in the applicator: nothing comes out, ~HS says nothing of it."),
        "buffer_full": Fault("The receive buffer is full."),
    }

    def __init__(self, stand: Stand) -> None:
        super().__init__()
        self.name = stand.name
        self.paused = False
        self.remaining = 0
        self.printed = 0
        self.writes: deque[dict[str, Any]] = deque(maxlen=_WRITES_KEPT)
        self._pausing = False
        self._label = 0.0
        """Share of the label under the head."""
        self._revert_s: float | None = None
        self._frozen: bytes | None = None
        self._owed: list[tuple[Send, str]] = []
        self._tcp = TcpDoor(stand.host, stand.port(), self._converse, self.gate)
        self._pty = PtyDoor(stand.tty(), self._converse, self.gate)
        self.links = (self._tcp, self._pty)

    def addresses(self) -> dict[str, str]:
        return {"tcp": self._tcp.address, "serial": self._pty.address}

    def truth(self) -> dict[str, Any]:
        return {
            "paused": self.paused,
            "printing": self.printing,
            "labels_remaining": self.remaining,
            "labels_printed": self.printed,
            "writes": list(self.writes),
        }

    def operator(self, action: str) -> bool:
        """`pause` is the key, which toggles; `load` sends a batch of 250; `cancel` throws it away."""
        if action == "pause":
            self.paused, self._pausing = not self.paused, False
            return True
        if action == "load":
            self.remaining += 250
            return True
        if action == "cancel":
            self.remaining = 0
            return True
        return super().operator(action)

    @property
    def silent(self) -> bool:
        """Does it keep quiet about its status?"""
        return "talkative" not in self.faults and self._stuck

    @property
    def printing(self) -> bool:
        return self.remaining > 0 and not self.paused and not self._stuck and "jam" not in self.faults

    @property
    def _stuck(self) -> bool:
        return any(fault in self.faults for fault in SILENT)

    async def step(self, dt_s: float) -> None:
        if self.printing:
            self._label += dt_s * LABELS_PER_S
            if self._label >= 1:
                self._label = 0.0
                self.remaining -= 1
                self.printed += 1
        if self._pausing and (self._label == 0.0 or not self.printing):
            self.paused, self._pausing = True, False
        if self._revert_s is not None and self.paused:
            self._revert_s -= dt_s
            if self._revert_s <= 0:
                self.paused, self._revert_s = False, None

    def faults_changed(self) -> None:
        self._frozen = (self._frozen or self.status()) if "frozen" in self.faults else None
        if not self.silent:
            owed, self._owed = self._owed, []
            for send, command in owed:
                send(self._reply(command))

    def on_reboot(self) -> None:
        self.remaining, self.paused, self._pausing, self._owed = 0, False, False, []

    def hear(self, token: bytes, send: Send) -> None:
        """One command or format."""
        command = token[:3].decode("ascii")
        if command in ("~HS", "~HI"):
            if not self.silent or (command == "~HI" and "mute" not in self.faults):
                send(self._reply(command))
            elif "queues" in self.faults:
                self._owed.append((send, command))
            return
        self.writes.append({"command": command, "mono_ns": time.monotonic_ns()})
        if command == "~PP":
            self._pause()
        elif command == "~PS":
            self.paused = self._pausing = False
        elif command == "~JA":
            self.remaining = 0
        elif command == "^XA":
            quantity = _QUANTITY.search(token)
            self.remaining += int(quantity[1]) if quantity else 1

    def status(self) -> bytes:
        """The three strings of ~HS."""
        faults, remaining = self.faults, int(self.forced.get("labels_remaining", self.remaining))
        return (
            _framed(
                f"030,{'media_out' in faults:d},{self.paused:d},1245,{min(999, int(remaining > 0)):03d},"
                f"{'buffer_full' in faults:d},0,0,000,0,0,{'head_hot' in faults:d}"
            )
            + _framed(f"001,0,{'head_open' in faults:d},{'ribbon_out' in faults:d},1,4,6,0,{remaining:08d},1,000")
            + _framed("1234,0")
        )

    def _reply(self, command: str) -> bytes:
        return (self._frozen or self.status()) if command == "~HS" else _framed(IDENTITY)

    def _pause(self) -> None:
        if "ignores_pause" in self.faults:
            return
        self._pausing = not self.paused
        if "reverts" in self.faults:
            self._revert_s = float(self.faults["reverts"].get("seconds", _REVERT_S))

    def _converse(self, send: Send) -> Talker:
        return Conversation(self, send)


class Conversation:
    """One line to the engine: commands stand anywhere in the stream."""

    def __init__(self, engine: Zebra, send: Send) -> None:
        self._engine, self._send = engine, send
        self._buffer = b""

    def feed(self, data: bytes) -> None:
        """Bytes from the line, in any pieces."""
        self._buffer = (self._buffer + data)[-_LONGEST:]
        while found := _TOKEN.search(self._buffer):
            self._buffer = self._buffer[found.end() :]
            self._engine.hear(found[0], self._send)


def _framed(text: str) -> bytes:
    return b"\x02" + text.encode("ascii") + b"\x03\r\n"


def on_stand(stand: Stand) -> Zebra:
    """For `--with zebra`."""
    return Zebra(stand)
