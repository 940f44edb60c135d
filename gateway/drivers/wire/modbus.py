"""Modbus framing: checked answers in, over MBAP (TCP) here, over RTU in `modbus_rtu`.  No socket, no clock.

A framing knows the one question that is open.  It is asked with `ask`, fed with `feed` and, when nobody waits any
longer, told to `abandon`: a late answer never answers the next question.  The questions are made in `modbus_pdu`.

Source: Modbus Messaging on TCP/IP V1.0b.
"""

from __future__ import annotations

import struct
from typing import Protocol

from gateway.drivers.wire.modbus_pdu import (
    EXCEPTIONS,
    MAX_BITS,
    MAX_REGISTERS,
    NEVER,
    READ,
    FrameError,
    Refusal,
    Request,
    crc16,
    judge,
    place,
    read,
    write_coil,
    write_coils,
    write_register,
    write_registers,
)
from gateway.drivers.wire.modbus_rtu import RtuFraming

__all__ = [
    "EXCEPTIONS",
    "MAX_BITS",
    "MAX_REGISTERS",
    "NEVER",
    "READ",
    "FrameError",
    "Framing",
    "Refusal",
    "Request",
    "RtuFraming",
    "TcpFraming",
    "crc16",
    "place",
    "read",
    "write_coil",
    "write_coils",
    "write_register",
    "write_registers",
]


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
        judge(request, adu[6:], adu)
        return True
