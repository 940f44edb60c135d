"""Modbus requests, ready for both kinds of line, and what a right answer to each looks like.  No socket, no clock.

Sources: Modbus Application Protocol V1.1b3 (PDUs, exceptions), Modbus Messaging on TCP/IP V1.0b (MBAP), Modbus over
Serial Line V1.02 (RTU, CRC).

    TCP   | transaction 2 | protocol 0 0 | length 2 | unit 1 | function 1 | data ... |
    RTU                                             | unit 1 | function 1 | data ... | CRC 2, low byte first |
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import msgspec

READ: Final = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
"""Function codes that read."""
MAX_REGISTERS: Final = 125
MAX_BITS: Final = 2000
_MAX_WRITE_REGISTERS: Final = 123
_MAX_WRITE_COILS: Final = 1968

EXCEPTIONS: Final = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledged, still working",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target did not respond",
}
NEVER: Final = frozenset({1, 2, 3})
"""Exceptions that say the request itself is wrong: asking again will not help."""


class Refusal(Exception):  # noqa: N818  # an answer, not a failure of the line
    """The device answered with an exception."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"exception {code:02d} {EXCEPTIONS.get(code, 'unknown to the standard')}")


class FrameError(Exception):
    """What came is not an answer to what was asked; the text says what is wrong with it."""


class Request(msgspec.Struct, frozen=True):
    """One question, ready to be sent, and what a right answer must look like."""

    unit: int
    function: int
    text: str
    """For people: `holding registers 360-361`."""
    mbap: bytes
    """TCP frame without its transaction number."""
    mbap_head: bytes
    """How a right answer begins, without its transaction number."""
    mbap_size: int
    """Bytes of a right TCP answer."""
    rtu: bytes
    rtu_head: bytes
    rtu_size: int


def crc16(data: bytes) -> bytes:
    """CRC-16/MODBUS of `data` as it stands on the wire, low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def _crc_entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value


_CRC: Final = tuple(_crc_entry(value) for value in range(256))


def read(unit: int, table: str, address: int, count: int) -> Request:
    """Read `count` registers or bits from PDU address `address`, counted from 0."""
    bits = table in ("coil", "discrete")
    _within(table, address, count, MAX_BITS if bits else MAX_REGISTERS)
    size = (count + 7) // 8 if bits else 2 * count
    pdu = struct.pack(">BHH", READ[table], address, count)
    return _request(unit, pdu, bytes((READ[table], size)), 2 + size, place(table, address, count))


def write_coil(unit: int, address: int, value: bool) -> Request:
    """FC05: one coil; the answer is the request again."""
    _within("coil", address, 1, 1)
    pdu = struct.pack(">BHH", 5, address, 0xFF00 if value else 0)
    return _request(unit, pdu, pdu, len(pdu), place("coil", address, 1))


def write_register(unit: int, address: int, value: int) -> Request:
    """FC06: one holding register, 0..65535; the answer is the request again."""
    _within("holding", address, 1, 1)
    pdu = struct.pack(">BHH", 6, address, value)
    return _request(unit, pdu, pdu, len(pdu), place("holding", address, 1))


def write_coils(unit: int, address: int, values: Sequence[bool]) -> Request:
    """FC15: several coils; the answer repeats address and count."""
    _within("coil", address, len(values), _MAX_WRITE_COILS)
    packed = sum(1 << bit for bit, value in enumerate(values) if value).to_bytes((len(values) + 7) // 8, "little")
    pdu = struct.pack(">BHHB", 15, address, len(values), len(packed)) + packed
    return _request(unit, pdu, pdu[:5], 5, place("coil", address, len(values)))


def write_registers(unit: int, address: int, values: Sequence[int]) -> Request:
    """FC16: several holding registers; the answer repeats address and count."""
    _within("holding", address, len(values), _MAX_WRITE_REGISTERS)
    pdu = struct.pack(f">BHHB{len(values)}H", 16, address, len(values), 2 * len(values), *values)
    return _request(unit, pdu, pdu[:5], 5, place("holding", address, len(values)))


def place(table: str, address: int, count: int) -> str:
    """An address range for people: `input register 43`, `coils 0-15`; numbers as they stand on the wire."""
    noun = {"coil": "coil", "discrete": "discrete input"}.get(table, f"{table} register")
    return f"{noun} {address}" if count == 1 else f"{noun}s {address}-{address + count - 1}"


def _within(table: str, address: int, count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise ValueError(f"{count} at once: a request of this kind carries 1 to {most}")
    if not 0 <= address <= 0x10000 - count:
        raise ValueError(f"{place(table, address, count)}: addresses go from 0 to 65535")


def _request(unit: int, pdu: bytes, head: bytes, size: int, text: str) -> Request:
    if not 0 <= unit <= 255:
        raise ValueError(f"unit {unit}: units go from 0 to 255")
    adu = bytes((unit,)) + pdu
    return Request(
        unit=unit,
        function=pdu[0],
        text=text,
        mbap=struct.pack(">HH", 0, len(adu)) + adu,
        mbap_head=struct.pack(">HHB", 0, 1 + size, unit) + head,
        mbap_size=7 + size,
        rtu=adu + crc16(adu),
        rtu_head=bytes((unit,)) + head,
        rtu_size=1 + size + 2,
    )


def judge(request: Request, answer: bytes, frame: bytes) -> None:
    """Refusal or FrameError unless `answer`, unit and PDU, is the right one; `frame` is all of it, to be shown."""
    unit, pdu, shown = answer[0], answer[1:], frame.hex(" ")
    size = request.rtu_size - 3
    if unit != request.unit:
        raise FrameError(f"unit {unit} answered, unit {request.unit} was asked: {shown}")
    if pdu[0] == request.function | 0x80 and len(pdu) == 2:
        raise Refusal(pdu[1])
    if pdu[0] != request.function:
        raise FrameError(f"answer has function {pdu[0]}, function {request.function} was asked: {shown}")
    if len(pdu) != size:
        raise FrameError(f"answer of {len(pdu)} bytes where {size} were due for {request.text}: {shown}")
    if not answer.startswith(request.rtu_head):
        raise FrameError(f"answer does not repeat the request for {request.text}: {shown}")
