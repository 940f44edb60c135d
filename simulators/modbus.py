"""Modbus as a server answers it: PDU in, PDU out, and two framings.  No I/O.  Source: Application Protocol V1.1b3."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final, Protocol, cast

from simulators.link import Send

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
DEVICE_FAILURE: Final = 4
BUSY: Final = 6
_MOST_READ: Final = 125
_MOST_WRITTEN: Final = 123
_MOST_BITS_READ: Final = 2000
_MOST_BITS_WRITTEN: Final = 1968
_MBAP: Final = struct.Struct(">HHHB")
_GAP_S: Final = 0.05
"""RTU: a pause this long ends a frame; wide, because a pty and a busy loop jitter."""


class ModbusError(Exception):
    """Answered with an exception code."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"exception {code:02d}")


class Bank(Protocol):
    """The registers of one device; addresses 0-based as on the wire."""

    functions: frozenset[int]
    """Function codes it understands."""

    def read(self, address: int, count: int) -> Sequence[int]:
        """ModbusError where there is no such register."""
        ...

    def write(self, address: int, words: Sequence[int]) -> None:
        """ModbusError where it cannot be written or the value is refused."""
        ...


class BitBank(Bank, Protocol):
    """A device with coils or discrete inputs too: whoever has 1, 2, 5 or 15 among its `functions` is one."""

    def read_bits(self, function: int, address: int, count: int) -> Sequence[bool]:
        """Function 1 reads coils, 2 discrete inputs.  ModbusError where there is no such bit."""
        ...

    def write_bits(self, address: int, bits: Sequence[bool]) -> None:
        """Coils.  ModbusError where there is no such coil."""
        ...


class Conduct(Protocol):
    """How a device behaves beside its registers."""

    def refusal(self, pdu: bytes) -> int | None:
        """The exception this request gets whatever it asks; None: it is answered."""
        ...

    def shaped(self, unit: int, pdu: bytes) -> tuple[int, bytes]:
        """Unit and reply PDU as they are sent."""
        ...

    def say(self, send: Send, frame: bytes) -> None:
        """Send the whole frame, sooner or later, or a part of it."""
        ...


def touched(pdu: bytes) -> range:
    """The registers a request is about."""
    if len(pdu) < 5:
        return range(0)
    address, count = struct.unpack_from(">HH", pdu, 1)
    return range(address, address + (1 if pdu[0] in (5, 6) else count))


def answer(pdu: bytes, bank: Bank, conduct: Conduct | None = None) -> bytes:
    """Request PDU -> reply PDU."""
    function = pdu[0]
    try:
        if conduct is not None and (code := conduct.refusal(pdu)) is not None:
            raise ModbusError(code)
        if function not in bank.functions:
            raise ModbusError(ILLEGAL_FUNCTION)
        return _HANDLERS[function](pdu, bank)
    except ModbusError as fault:
        return bytes((function | 0x80, fault.code))


def _read(pdu: bytes, bank: Bank) -> bytes:
    if len(pdu) != 5:
        raise ModbusError(ILLEGAL_VALUE)
    address, count = struct.unpack(">HH", pdu[1:])
    if not 1 <= count <= _MOST_READ:
        raise ModbusError(ILLEGAL_VALUE)
    words = bank.read(address, count)
    return bytes((pdu[0], 2 * count)) + struct.pack(f">{count}H", *words)


def _write_one(pdu: bytes, bank: Bank) -> bytes:
    if len(pdu) != 5:
        raise ModbusError(ILLEGAL_VALUE)
    address, word = struct.unpack(">HH", pdu[1:])
    bank.write(address, (word,))
    return pdu


def _write_many(pdu: bytes, bank: Bank) -> bytes:
    if len(pdu) < 6:
        raise ModbusError(ILLEGAL_VALUE)
    address, count, size = struct.unpack(">HHB", pdu[1:6])
    if not 1 <= count <= _MOST_WRITTEN or size != 2 * count or len(pdu) != 6 + size:
        raise ModbusError(ILLEGAL_VALUE)
    bank.write(address, struct.unpack(f">{count}H", pdu[6:]))
    return pdu[:5]


def _read_bits(pdu: bytes, bank: Bank) -> bytes:
    if len(pdu) != 5:
        raise ModbusError(ILLEGAL_VALUE)
    address, count = struct.unpack(">HH", pdu[1:])
    if not 1 <= count <= _MOST_BITS_READ:
        raise ModbusError(ILLEGAL_VALUE)
    bits = cast("BitBank", bank).read_bits(pdu[0], address, count)
    packed = sum(1 << at for at, bit in enumerate(bits) if bit).to_bytes((count + 7) // 8, "little")
    return bytes((pdu[0], len(packed))) + packed


def _write_coil(pdu: bytes, bank: Bank) -> bytes:
    if len(pdu) != 5:
        raise ModbusError(ILLEGAL_VALUE)
    address, word = struct.unpack(">HH", pdu[1:])
    if word not in (0x0000, 0xFF00):
        raise ModbusError(ILLEGAL_VALUE)
    cast("BitBank", bank).write_bits(address, (word == 0xFF00,))
    return pdu


def _write_coils(pdu: bytes, bank: Bank) -> bytes:
    if len(pdu) < 6:
        raise ModbusError(ILLEGAL_VALUE)
    address, count, size = struct.unpack(">HHB", pdu[1:6])
    if not 1 <= count <= _MOST_BITS_WRITTEN or size != (count + 7) // 8 or len(pdu) != 6 + size:
        raise ModbusError(ILLEGAL_VALUE)
    packed = int.from_bytes(pdu[6:], "little")
    cast("BitBank", bank).write_bits(address, [bool(packed >> at & 1) for at in range(count)])
    return pdu[:5]


_HANDLERS: Final[dict[int, Callable[[bytes, Bank], bytes]]] = {
    1: _read_bits,
    2: _read_bits,
    3: _read,
    4: _read,
    5: _write_coil,
    6: _write_one,
    15: _write_coils,
    16: _write_many,
}


class TcpTalker:
    """MBAP framing: transaction, protocol 0, length, unit."""

    def __init__(self, unit: int, bank: Bank, send: Send, conduct: Conduct | None = None) -> None:
        self._unit, self._bank, self._send, self._conduct = unit, bank, send, conduct
        self._buffer = b""

    def feed(self, data: bytes) -> None:
        """Bytes from the line, in any pieces.  Another unit's requests are not answered."""
        self._buffer += data
        while len(self._buffer) >= 8:
            transaction, protocol, length, unit = _MBAP.unpack_from(self._buffer)
            if protocol != 0 or not 2 <= length <= 254:
                self._buffer = b""  # out of step: nothing behind it can be trusted
                return
            if len(self._buffer) < 6 + length:
                return
            pdu, self._buffer = self._buffer[7 : 6 + length], self._buffer[6 + length :]
            if unit == self._unit:
                reply = answer(pdu, self._bank, self._conduct)
                unit, reply = self._conduct.shaped(unit, reply) if self._conduct else (unit, reply)
                _say(self._conduct, self._send, _MBAP.pack(transaction, 0, len(reply) + 1, unit) + reply)


def _say(conduct: Conduct | None, send: Send, frame: bytes) -> None:
    if conduct is None:
        send(frame)
    else:
        conduct.say(send, frame)


def crc16(data: bytes) -> bytes:
    """Polynomial 0xA001, start 0xFFFF, low byte first as on the wire."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc.to_bytes(2, "little")


class RtuTalker:
    """RTU framing: unit, PDU, CRC; a frame ends by its length, a broken one by a pause."""

    def __init__(
        self, unit: int, bank: Bank, send: Send, clock: Callable[[], float], conduct: Conduct | None = None
    ) -> None:
        self._unit, self._bank, self._send, self._clock, self._conduct = unit, bank, send, clock, conduct
        self._buffer = b""
        self._heard_s = 0.0

    def feed(self, data: bytes) -> None:
        """Bytes from the line, in any pieces.  What does not check is dropped without a word."""
        now_s = self._clock()
        if now_s - self._heard_s > _GAP_S:
            self._buffer = b""
        self._heard_s = now_s
        self._buffer += data
        while (size := self._size()) and len(self._buffer) >= size:
            frame, self._buffer = self._buffer[:size], self._buffer[size:]
            if crc16(frame[:-2]) != frame[-2:]:
                self._buffer = b""
            elif frame[0] == self._unit:
                reply = answer(frame[1:-2], self._bank, self._conduct)
                unit, reply = self._conduct.shaped(self._unit, reply) if self._conduct else (self._unit, reply)
                reply = bytes((unit,)) + reply
                _say(self._conduct, self._send, reply + crc16(reply))

    def _size(self) -> int:
        """Length of the frame that begins the buffer; 0: not known yet."""
        if len(self._buffer) < 2:
            return 0
        function = self._buffer[1]
        if function in (15, 16):
            return 9 + self._buffer[6] if len(self._buffer) > 6 else 0
        if function <= 6:
            return 8
        # a function we do not know has no length we know: take it when its CRC fits
        whole = len(self._buffer) >= 4 and crc16(self._buffer[:-2]) == self._buffer[-2:]
        return len(self._buffer) if whole else 0
