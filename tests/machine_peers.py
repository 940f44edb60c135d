"""Far ends of machines that can be held: a pump and a print engine.  Canned logic, faults at the test's word."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from serial_peers import PtyLine, TcpLine

from gateway.drivers.pump.kind import PumpConfig
from gateway.drivers.zebra.kind import ZebraConfig


def far_end(kind: str, hear: Callable[[bytes], list[bytes]], path: Path) -> TcpLine | PtyLine:
    return TcpLine(hear) if kind == "tcp" else PtyLine(hear, path)


def url_of(line: TcpLine | PtyLine) -> str:
    return f"serial://{line.path}?baudrate=9600" if isinstance(line, PtyLine) else f"tcp://{line.address}"


class PumpPeer:
    """Pump 3 of a line: a Watson-Marlow that runs until it is told to stop."""

    def __init__(self, kind: str, path: Path) -> None:
        self.line = far_end(kind, self.hear, path)
        self.mute, self.unmute, self.cut, self.heal = self.line.mute, self.line.unmute, self.line.cut, self.line.heal
        self.number = 3
        self.running = True
        self.obeys = True
        self.turns = False
        """Does the tacho count?  Tests that look at values want it to stand."""
        self.speed = 220.0
        self.pulses = 123456
        self.echoes = False
        self.before: Callable[[str], bytes | None] = lambda command: None
        """Answers in the pump's place where it gives something."""
        self.asked: list[str] = []
        self.writes: list[str] = []
        self._buffer = b""

    def hear(self, data: bytes) -> list[bytes]:
        *lines, self._buffer = (self._buffer + data).split(b"\r")
        answers = [(line + b"\r" if self.echoes else b"") + self._answer(line.decode("ascii")) for line in lines]
        return [answer for answer in answers if answer]

    def _answer(self, command: str) -> bytes:
        self.asked.append(command)
        self.pulses += 40 if self.turns else 0
        instead = self.before(command)
        found = re.fullmatch(r"(\d+)([A-Z]{2}).*", command)
        if instead is not None or found is None or int(found[1]) != self.number:
            return instead or b""
        if found[2] == "ST":
            self.writes.append(command)
            self.running = self.running and not self.obeys
        answers = {"RS": self.status, "RT": f"{self.pulses}", "ZY": f"{int(self.running)}"}
        return answers[found[2]].encode() + b"\r" if found[2] in answers else b""

    @property
    def status(self) -> str:
        return f"520Du 15.84 520R 9.6MM {self.speed:.1f} CW P/N {self.number} {self.pulses} {int(self.running)} !"

    @property
    def held(self) -> bool:
        return not self.running

    @property
    def expected(self) -> Mapping[str, Any]:
        return {
            "running": self.running,
            "speed": self.speed,
            "direction": "CW",
            "pulses": self.pulses,
            "ml_per_revolution": 15.84,
            "head": "520R",
            "tube": "9.6MM",
            "model": "520Du",
            "revolutions": self.pulses / 10_982,
        }

    def config(self, **changes: Any) -> PumpConfig:
        given = {
            "url": url_of(self.line),
            "number": 3,
            "pulses_per_revolution": 10_982,
            "period": "100ms",
            "timeout": "1s",
            "halt_budget": "1s",
        }
        return PumpConfig.model_validate({**given, **changes})

    async def change(self) -> None:
        self.speed += 1
        self.pulses += 1000

    async def spoil(self) -> None:
        """A status is read whole or not at all."""

    async def lie(self) -> None:
        self.obeys = False

    async def run(self) -> None:
        self.running = True


class ZebraPeer:
    """A print engine in an applicator, with a batch in it, that prints until it is told to pause."""

    def __init__(self, kind: str, path: Path) -> None:
        self.line = far_end(kind, self.hear, path)
        self.mute, self.unmute, self.cut, self.heal = self.line.mute, self.line.unmute, self.line.cut, self.line.heal
        self.running = True
        self.obeys = True
        self.paper_out = False
        self.remaining = 250
        self.before: Callable[[str], bytes | None] = lambda command: None
        """Answers in the printer's place where it gives something."""
        self.asked: list[str] = []
        self.writes: list[str] = []
        self._buffer = b""

    def hear(self, data: bytes) -> list[bytes]:
        *lines, self._buffer = (self._buffer + data).split(b"\r\n")
        return [answer for line in lines if (answer := self._answer(line.decode("ascii")))]

    def _answer(self, command: str) -> bytes:
        self.asked.append(command)
        instead = self.before(command)
        if instead is not None:
            return instead
        if command == "~PP":
            self.writes.append(command)
            self.running = self.running and not self.obeys
        answers = {"~HS": self.strings(), "~HI": ["ZE511-300dpi,V92.21.19Z,12,65536KB"]}
        return b"".join(b"\x02" + each.encode() + b"\x03\r\n" for each in answers.get(command, []))

    def strings(self) -> list[str]:
        return [
            f"030,{int(self.paper_out)},{int(not self.running)},1245,002,0,0,0,000,0,0,0",
            f"001,0,0,0,1,4,6,1,{self.remaining:08d},1,000",
            "1234,0",
        ]

    @property
    def held(self) -> bool:
        return not self.running

    @property
    def expected(self) -> Mapping[str, Any]:
        flags = ("head_open", "ribbon_out", "buffer_full", "partial_format", "under_temperature", "over_temperature")
        return {
            **dict.fromkeys(flags, False),
            "corrupt_ram": False,
            "diagnostic_mode": False,
            "paper_out": self.paper_out,
            "paused": not self.running,
            "label_waiting": True,
            "labels_remaining": self.remaining,
            "formats_waiting": 2,
            "print_mode": "applicator",
        }

    def config(self, **changes: Any) -> ZebraConfig:
        given = {"url": url_of(self.line), "period": "100ms", "timeout": "1s", "halt_budget": "1s"}
        return ZebraConfig.model_validate({**given, **changes})

    async def change(self) -> None:
        self.remaining -= 1
        self.paper_out = not self.paper_out

    async def spoil(self) -> None:
        """A status is read whole or not at all."""

    async def lie(self) -> None:
        self.obeys = False

    async def run(self) -> None:
        self.running = True
