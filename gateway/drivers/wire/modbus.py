"""Modbus frames: requests out, checked answers in, over MBAP (TCP) or RTU.  No socket, no clock.

Sources: Modbus Application Protocol V1.1b3 (PDUs, exceptions), Modbus Messaging on TCP/IP V1.0b (MBAP), Modbus over
Serial Line V1.02 (RTU, CRC).

    TCP   | transaction 2 | protocol 0 0 | length 2 | unit 1 | function 1 | data ... |
    RTU                                             | unit 1 | function 1 | data ... | CRC 2, low byte first |

A framing knows the one question that is open.  It is asked with `ask`, fed with `feed` and, when nobody waits any
longer, told to `abandon`: a late answer never answers the next question.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

READ: Final = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
"""Function codes that read."""
MAX_REGISTERS: Final = 125
MAX_BITS: Final = 2000
_MAX_WRITE_REGISTERS: Final = 123
_MAX_WRITE_COILS: Final = 1968
_LIVE: Final = 600
"""Bytes of an RTU line worth keeping: more than two of the longest frames (256)."""

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


class Framing(Protocol):
    """One open question on one line."""

    data_at: int
    """Where the data of a read begins in the frame that `feed` returns."""
    fatal: bool
    """After a FrameError nothing more can be made of this connection."""

    def ask(self, request: Request) -> bytes:
        """The bytes to send; from now on `feed` looks for the answer."""
        ...

    def feed(self, data: bytes) -> bytes | None:
        """The whole answer once it is there, None before.  Refusal: an exception.  FrameError: a wrong answer."""
        ...

    def abandon(self) -> None:
        """Nobody waits any longer.  Harmless where nothing is open."""
        ...

    @property
    def clean(self) -> bool:
        """False while an abandoned answer could still be mistaken for the next one."""
        ...


class TcpFraming:
    """MBAP: transaction numbers tell a late answer from the right one."""

    data_at = 9
    fatal = True

    def __init__(self) -> None:
        self._tid = 0
        self._request: Request | None = None
        self._head = b""
        self._size = -1
        self._buffer = b""
        self._abandoned: dict[int, None] = {}
        self.late = 0
        """Answers that came after nobody waited for them."""

    @property
    def clean(self) -> bool:
        return True

    def ask(self, request: Request) -> bytes:
        self._tid = tid = (self._tid + 1) & 0xFFFF
        stamp = tid.to_bytes(2, "big")
        self._abandoned.pop(tid, None)
        self._request = request
        self._head = stamp + request.mbap_head
        self._size = request.mbap_size
        return stamp + request.mbap

    def abandon(self) -> None:
        if self._request is None:
            return
        self._close()
        self._abandoned[self._tid] = None
        if len(self._abandoned) > 256:  # a device that never answers must not fill the memory
            self._abandoned.pop(next(iter(self._abandoned)))

    def _close(self) -> None:
        self._request = None
        self._size = -1

    def feed(self, data: bytes) -> bytes | None:
        # The right answer in one piece: its first nine bytes are known to the last bit, so one comparison checks
        # transaction, protocol, length, unit, function and byte count.
        if len(data) == self._size and not self._buffer and data.startswith(self._head):
            self._close()
            return data
        self._buffer += data
        while True:
            adu = self._cut()
            if adu is None:
                return None
            if self._judge(adu):
                return adu

    def _cut(self) -> bytes | None:
        """The next whole frame of the buffer."""
        if len(self._buffer) < 8:
            return None
        _, protocol, length = struct.unpack_from(">HHH", self._buffer)
        if protocol != 0 or not 2 <= length <= 254:
            raise FrameError(f"not Modbus TCP: {self._buffer[:16].hex(' ')} (protocol {protocol}, length {length})")
        if len(self._buffer) < 6 + length:
            return None
        adu, self._buffer = self._buffer[: 6 + length], self._buffer[6 + length :]
        return adu

    def _judge(self, adu: bytes) -> bool:
        """True: the answer.  False: a late one, dropped."""
        tid = int.from_bytes(adu[:2], "big")
        request = self._request
        if request is None or tid != self._tid:
            if tid in self._abandoned:
                del self._abandoned[tid]
                self.late += 1
                return False
            asked = f"transaction {self._tid} was asked" if request else "nothing was asked"
            raise FrameError(f"answer to transaction {tid}, but {asked}: {adu.hex(' ')}")
        self._close()
        _judge(request, adu[6:], adu)
        return True


def _judge(request: Request, answer: bytes, frame: bytes) -> None:
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


class RtuFraming:
    """RTU by length and CRC: silence between frames does not survive USB adapters and serial servers.

    Noise before an answer is skipped, an adapter's echo of the request too.  There is no transaction number: at first,
    and after `abandon`, the line is not clean until the late answer came by, or the caller has listened long enough
    (`forget`).
    """

    data_at = 3
    fatal = False

    def __init__(self) -> None:
        self._request: Request | None = None
        self._abandoned: Request | None = None
        self._strange = True
        self._previous = b""
        self._buffer = b""
        self.late = 0
        """Answers that came after nobody waited for them."""

    @property
    def clean(self) -> bool:
        return self._abandoned is None and not self._strange

    def ask(self, request: Request) -> bytes:
        self._request = request
        self._buffer = b""
        return request.rtu

    def abandon(self) -> None:
        if self._request is not None:
            self._abandoned, self._request = self._request, None

    def forget(self) -> None:
        """The late answer did not come; stop looking for it."""
        self._abandoned = None
        self._strange = False
        self._buffer = b""

    def feed(self, data: bytes) -> bytes | None:
        self._buffer = (self._buffer + data)[-_LIVE:]
        if self._request is not None:
            return self._answer(self._request)
        if self._abandoned is not None:
            self._drop_late(self._abandoned)
        else:
            self._buffer = b""
        return None

    def _answer(self, request: Request) -> bytes | None:
        try:
            adu = self._search(request)
        except (Refusal, FrameError):
            self._request = None
            raise
        if adu is not None:
            self._request = None
            self._previous = adu
        return adu

    def _drop_late(self, abandoned: Request) -> None:
        try:
            adu = self._search(abandoned)
        except (Refusal, FrameError):
            adu = b"refused"
        if adu is not None:
            self.late += 1
            self.forget()

    def _search(self, request: Request) -> bytes | None:
        buffer = self._buffer
        if request.function in READ.values() and buffer.startswith(request.rtu):
            buffer = buffer[len(request.rtu) :]  # a two-wire adapter that hears itself
        refusal_head = bytes((request.unit, request.function | 0x80))
        adu, open_, broken = _find(buffer, request.rtu_head, request.rtu_size)
        if adu is not None:
            return adu
        refusal, open_too, _ = _find(buffer, refusal_head, 5)
        if refusal is not None:
            raise Refusal(refusal[2])
        if broken is not None and not (open_ or open_too):
            raise FrameError(f"CRC wrong in the answer for {request.text}: {broken.hex(' ')}")
        self._foreign(request, buffer)
        return None

    def _foreign(self, request: Request, buffer: bytes) -> None:
        """FrameError if a sound frame lies there that answers something else."""
        size = _reply_size(buffer)
        if not size or len(buffer) < size:
            return
        adu = buffer[:size]
        if crc16(adu[:-2]) == adu[-2:] and adu != self._previous:
            _judge(request, adu[:-2], adu)


def _find(buffer: bytes, head: bytes, size: int) -> tuple[bytes | None, bool, bytes | None]:
    """(frame with a right CRC, does one begin that is not whole yet?, a whole one with a wrong CRC)."""
    broken = None
    at = buffer.find(head)
    while at >= 0:
        adu = buffer[at : at + size]
        if len(adu) < size:
            return None, True, broken
        if crc16(adu[:-2]) == adu[-2:]:
            return adu, False, None
        broken = broken or adu
        at = buffer.find(head, at + 1)
    return None, False, broken


def _reply_size(buffer: bytes) -> int:
    """Bytes of the RTU answer that begins here; 0 where it cannot be told."""
    if len(buffer) < 5:
        return 0
    if buffer[1] & 0x80:
        return 5
    if buffer[1] in (1, 2, 3, 4):
        return 5 + buffer[2]
    return 8 if buffer[1] in (5, 6, 15, 16) else 0
