"""Far ends for the Modbus and balance drivers: real sockets and ptys, canned logic, faults at the test's word."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from gateway.drivers.balance.kind import BalanceConfig
from gateway.drivers.modbus.kind import ModbusConfig
from gateway.testing.lines import Line, PtyLine, TcpLine

__all__ = [
    "BalancePeer",
    "Line",
    "ModbusPeer",
    "PtyLine",
    "Registers",
    "RtuServant",
    "TcpLine",
    "TcpServant",
    "slow_crc",
]

Answer = Callable[[bytes], bytes]


class Registers:
    """A Modbus device's memory: what is not there answers 02; writes are seen."""

    def __init__(self) -> None:
        self.words: dict[tuple[str, int], int] = {}
        self.writes: list[tuple[str, int, int]] = []
        self.reads: list[tuple[str, int, int]] = []
        self.on_write: Callable[[str, int, int], None] = lambda table, address, value: None
        self.refuse: dict[int, int] = {}
        """Function -> exception."""

    def put(self, table: str, address: int, *words: int) -> None:
        for at, word in enumerate(words, address):
            self.words[table, at] = word

    def put_f32(self, table: str, address: int, value: float, order: str = "big") -> None:
        high, low = struct.unpack(">HH", struct.pack(">f", value))
        self.put(table, address, *((high, low) if order == "big" else (low, high)))

    def answer(self, pdu: bytes) -> bytes:
        function, address, count = struct.unpack_from(">BHH", pdu)
        if function in self.refuse:
            return bytes((function | 0x80, self.refuse[function]))
        if function in (1, 2, 3, 4):
            return self._read(function, address, count)
        if function in (5, 6):
            self._write("coil" if function == 5 else "holding", address, count)
            return pdu
        values = struct.unpack_from(f">{count}H", pdu, 6) if function == 16 else ()
        for at, value in enumerate(values, address):
            self._write("holding", at, value)
        return pdu[:5]

    def _read(self, function: int, address: int, count: int) -> bytes:
        table = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}[function]
        self.reads.append((table, address, count))
        if any((table, at) not in self.words for at in range(address, address + count)):
            return bytes((function | 0x80, 2))
        words = [self.words[table, at] for at in range(address, address + count)]
        if function in (1, 2):
            packed = sum(1 << bit for bit, word in enumerate(words) if word).to_bytes((count + 7) // 8, "little")
            return bytes((function, len(packed))) + packed
        return struct.pack(f">BB{count}H", function, 2 * count, *words)

    def _write(self, table: str, address: int, value: int) -> None:
        self.writes.append((table, address, value))
        self.on_write(table, address, value)


class TcpServant:
    """MBAP around a memory."""

    def __init__(self, registers: Registers) -> None:
        self.registers = registers
        self._buffer = b""

    def hear(self, data: bytes) -> list[bytes]:
        self._buffer += data
        answers = []
        while len(self._buffer) >= 7:
            size = 6 + int.from_bytes(self._buffer[4:6], "big")
            frame, self._buffer = self._buffer[:size], self._buffer[size:]
            pdu = self.registers.answer(frame[7:])
            answers.append(frame[:4] + (len(pdu) + 1).to_bytes(2, "big") + frame[6:7] + pdu)
        return answers


def slow_crc(data: bytes) -> bytes:
    """CRC-16/MODBUS bit by bit: not the table the driver uses."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return struct.pack("<H", crc)


class RtuServant:
    """RTU around a memory; requests are told apart by length and CRC."""

    def __init__(self, registers: Registers, unit: int = 1) -> None:
        self.registers = registers
        self.unit = unit
        self._buffer = b""

    def hear(self, data: bytes) -> list[bytes]:
        self._buffer += data
        if len(self._buffer) < 8:
            return []
        size = 9 + self._buffer[6] if self._buffer[1] in (15, 16) else 8
        if len(self._buffer) < size:
            return []
        frame, self._buffer = self._buffer[:size], self._buffer[size:]
        assert slow_crc(frame[:-2]) == frame[-2:]
        reply = frame[:1] + self.registers.answer(frame[1:-2])
        return [reply + slow_crc(reply)]


class ModbusPeer:
    """A machine on Modbus: numbers, a text, flags, a state register that follows the hold coil."""

    def __init__(self, kind: str, path: Path) -> None:
        self.registers = Registers()
        self.kind = kind
        self.line: TcpLine | PtyLine
        if kind == "tcp":
            self.line = TcpLine(TcpServant(self.registers).hear)
        elif kind == "rtu+tcp":
            self.line = TcpLine(RtuServant(self.registers).hear)
        else:
            self.line = PtyLine(RtuServant(self.registers).hear, path)
        self.registers.on_write = self._written
        self._turn = 0
        self._lies = False
        self._running = True
        self._fill()
        self.mute, self.unmute, self.cut, self.heal = self.line.mute, self.line.unmute, self.line.cut, self.line.heal

    def _written(self, table: str, address: int, value: int) -> None:
        if (table, address) == ("coil", 5) and value and not self._lies:
            self._running = False
        self._fill()

    def _fill(self) -> None:
        memory = self.registers
        memory.put_f32("holding", 10, 20.5 + self._turn)
        memory.put_f32("input", 20, 86.0 + self._turn, "little")
        memory.put("holding", 12, 65535 - self._turn)
        memory.put("holding", 14, 123 + self._turn)
        memory.put("holding", 30, *struct.unpack(">3H", f"BATCH{self._turn}".encode()))
        memory.put("holding", 40, 3 if self._turn % 2 else 0)
        memory.put("discrete", 3, self._turn % 2)
        memory.put("holding", 50, 6 if self._running else 11)

    @property
    def expected(self) -> Mapping[str, Any]:
        return {
            "pressure": 20.5 + self._turn,
            "temperature": (86.0 + self._turn - 32) / 1.8,
            "offset": -1 - self._turn,
            "speed": (123 + self._turn) / 10,
            "batch": f"BATCH{self._turn}",
            "second_bit": bool(self._turn % 2),
            "door": bool(self._turn % 2),
            "state": 6 if self._running else 11,
        }

    def config(self, **changes: Any) -> ModbusConfig:
        line = self.line
        url = f"serial://{line.path}?baudrate=115200" if isinstance(line, PtyLine) else f"{self.kind}://{line.address}"
        given: dict[str, Any] = {
            "driver": "modbus",
            "url": url,
            "period": "100ms",
            "timeout": "1s",
            "tags": {
                "pressure": {"address": 10, "type": "f32"},
                "temperature": {
                    "address": 20,
                    "type": "f32",
                    "table": "input",
                    "word_order": "little",
                    "device_unit": "[degF]",
                    "unit": "Cel",
                },
                "offset": {"address": 12, "type": "i16"},
                "speed": {"address": 14, "scale": 0.1, "unit": "/min"},
                "batch": {"address": 30, "type": "ascii", "length": 6},
                "second_bit": {"address": 40, "bit": 1},
                "door": {"address": 3, "table": "discrete"},
                "state": {"address": 50},
            },
            "halt": {
                "write": {"coil": 5, "value": True},
                "confirm": {"tag": "state", "in": [10, 11]},
                "release": {"coil": 5, "value": False},
            },
            "heartbeat": {"register": 100},
            "beat": "500ms",
        }
        return ModbusConfig.model_validate({**given, **changes})

    async def change(self) -> None:
        self._turn += 1
        self._fill()

    async def spoil(self) -> str:
        del self.registers.words["holding", 14]
        return "speed"

    async def lie(self) -> None:
        self._lies = True

    async def run(self) -> None:
        self._running = True
        self._fill()

    @property
    def held(self) -> bool:
        return not self._running

    @property
    def writes(self) -> list[tuple[str, int, int]]:
        return self.registers.writes


SPEECH: Mapping[str, Mapping[str, str]] = {
    "mt-sics": {"SI": "S S {0:>10} g", "I4": 'I4 A "B0123"', "I2": 'I2 A "XS205DU Excellence 220.0000 g"'},
    "sbi": {"\x1bP": "+ {0:>8} g  ", "\x1bx1_": "MSE224S", "\x1bx2_": "31204567"},
    "sbi-22": {"\x1bP": "N     + {0:>8} g  ", "\x1bx1_": "MSE224S", "\x1bx2_": "31204567"},
    "a-and-d": {"Q": "ST,+{0:0>8}  g", "?SN": "SN,15612345", "?ID": "GX-203A"},
    "ohaus": {"IP": "{0:>11} g", "PSN": "B834512", "PV": "SR 2.10"},
    "sbi-old": {"\x1bP": "+ {0:>8} g  "},
}
"""Dialect -> what is asked -> what a balance of that kind says; {0} is the weight.  sbi-old says nothing of itself."""
OVER: Mapping[str, str] = {
    "mt-sics": "S +",
    "sbi": "    High      ",
    "sbi-22": "Stat        High    ",
    "sbi-old": "    High      ",
    "a-and-d": "OL,+999999.9  g",
    "ohaus": "Err 8.3",
}
SILENT: Mapping[str, tuple[str, ...]] = {"a-and-d": ("C",), "ohaus": ("0P",)}
"""What is heard and not answered."""


class BalancePeer:
    """A balance that speaks one of the dialects."""

    def __init__(self, kind: str, path: Path, dialect: str = "mt-sics") -> None:
        self.line: TcpLine | PtyLine = TcpLine(self.hear) if kind == "tcp" else PtyLine(self.hear, path)
        self.dialect = dialect
        self.speech = dict(SPEECH[dialect])
        self._buffer = b""
        self._turn = 0
        self.net = "1.0120"
        self.weight: str | None = None
        """Said instead of the net weight."""
        self.printed: list[bytes] = []
        """Printed by the operator just when the next question comes, before its answer; one for each question."""
        self.damaged: list[str] = []
        """Questions that arrive damaged, once each."""
        self.asked: list[str] = []
        self.mute, self.unmute, self.cut, self.heal = self.line.mute, self.line.unmute, self.line.cut, self.line.heal

    def hear(self, data: bytes) -> list[bytes]:
        *lines, self._buffer = (self._buffer + data).split(b"\r\n")
        return [answer for line in lines for answer in self._answer(line.decode("ascii"))]

    def _answer(self, line: str) -> list[bytes]:
        self.asked.append(line)
        if line in self.damaged:
            self.damaged.remove(line)
            return [b"ET\r\n"]
        if line in SILENT.get(self.dialect, ()):
            return []
        if line == self.question:
            printed, self.printed = self.printed[:1], self.printed[1:]
            return [*printed, self.shown(self.net) if self.weight is None else self.weight.encode() + b"\r\n"]
        if line in self.speech:
            return [self.speech[line].encode() + b"\r\n"]
        return [] if self.dialect.startswith("sbi") else [b"ES\r\n"]

    @property
    def question(self) -> str:
        """How it is asked for its weight."""
        return next(iter(self.speech))

    def shown(self, net: str) -> bytes:
        """A stable weight as this balance says it."""
        return self.speech[self.question].format(net).encode() + b"\r\n"

    @property
    def expected(self) -> Mapping[str, Any]:
        return {"net": Decimal(self.net)}

    def config(self, **changes: Any) -> BalanceConfig:
        line = self.line
        given = {
            "driver": "balance",
            "dialect": "sbi" if self.dialect.startswith("sbi") else self.dialect,
            "url": f"serial://{line.path}?baudrate=9600" if isinstance(line, PtyLine) else f"tcp://{line.address}",
            "period": "100ms",
            "timeout": "1s",
        }
        return BalanceConfig.model_validate({**given, **changes})

    async def change(self) -> None:
        self._turn += 1
        self.net = f"1.0{self._turn:02d}0"

    async def spoil(self) -> str:
        self.weight = OVER[self.dialect]
        return "net"
