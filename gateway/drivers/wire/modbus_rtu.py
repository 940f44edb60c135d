"""Modbus RTU framing: an answer found in a noisy stream, by its length and CRC.  No port, no clock.

Source: Modbus over Serial Line V1.02.
"""

from __future__ import annotations

from typing import Final

from gateway.drivers.wire.modbus_pdu import FrameError, Refusal, Request, crc16, judge

_LIVE: Final = 600
"""Bytes of an RTU line worth keeping: more than two of the longest frames (256)."""


class RtuFraming:
    """RTU by length and CRC: silence between frames does not survive USB adapters and serial servers.

    Noise before an answer is skipped, an adapter's echo of the request too.  There is no transaction number: at first,
    and after `abandon`, the line is not clean until the late answer came by, or the caller has listened long enough
    (`forget`).  An answer that comes later still, in the middle of the next question, is told by its unit and dropped.
    """

    data_at = 3
    fatal = False

    def __init__(self) -> None:
        self._hunt: _Hunt | None = None
        self._open = False
        self._strange = True
        self._previous = b""
        self._gone: Request | None = None
        """The last question nobody got an answer to."""
        self.late = 0
        """Answers that came after nobody waited for them."""

    @property
    def clean(self) -> bool:
        return not self._strange and (self._open or self._hunt is None)

    def ask(self, request: Request) -> bytes:
        self._hunt = _Hunt(request, self._previous, self._gone)
        self._open = True
        return request.rtu

    def abandon(self) -> None:
        self._open = False

    def forget(self) -> None:
        """The late answer did not come; stop looking for it."""
        if self._hunt is not None:
            self._gone = self._hunt.request
        self._close()
        self._strange = False

    def feed(self, data: bytes) -> bytes | None:
        if self._hunt is None:
            return None
        try:
            adu = self._hunt.feed(data)
        except (Refusal, FrameError):
            if not self._take():
                return None
            raise
        if adu is None or not self._take():
            return None
        self._previous = adu
        return adu

    def _take(self) -> bool:
        """The hunt is over: True where somebody still waits for it."""
        wanted = self._open
        if self._hunt is not None:
            self.late += self._hunt.dropped + (not wanted)
        self._gone = None
        self._close()
        return wanted

    def _close(self) -> None:
        self._hunt = None
        self._open = False


class _Hunt:
    """The answer to one request, looked for in a stream that may hold anything else.

    A position is looked at once: the time it takes grows with the bytes that came, whatever they are.
    """

    def __init__(self, request: Request, previous: bytes, gone: Request | None) -> None:
        self.request: Final = request
        self.dropped = 0
        """Answers to the last question that came in the middle of this one."""
        self._previous: Final = previous
        self._gone: Final = gone
        self._buffer = b""
        self._heads: Final = ((request.rtu_head, request.rtu_size), (bytes((request.unit, request.function | 0x80)), 5))
        self._from = [0, 0]
        self._broken: bytes | None = None
        self._echo = request.function not in (5, 6)  # their answer is the request again
        self._begins = True

    def feed(self, data: bytes) -> bytes | None:
        """The whole answer once it is there.  Refusal: an exception.  FrameError: damaged, or another's."""
        self._buffer += data
        if self._echo and not self._past_echo():
            return None
        adu, answer_open = self._next(0)
        if adu is not None:
            return adu
        refusal, refusal_open = self._next(1)
        if refusal is not None:
            raise Refusal(refusal[2])
        if self._broken is not None and not (answer_open or refusal_open):
            raise FrameError(f"CRC wrong in the answer for {self.request.text}: {self._broken.hex(' ')}")
        if self._begins:
            self._foreign()
        self._drop(len(self._buffer) - _LIVE)
        return None

    def _past_echo(self) -> bool:
        """False while all there is may be a two-wire adapter hearing itself."""
        sent = self.request.rtu
        if len(self._buffer) < len(sent) and sent.startswith(self._buffer):
            return False
        self._echo = False
        if self._buffer.startswith(sent):
            self._drop(len(sent))
        return True

    def _next(self, kind: int) -> tuple[bytes | None, bool]:
        """(frame with a right CRC, does one begin that is not whole yet?)."""
        head, size = self._heads[kind]
        at = self._buffer.find(head, self._from[kind])
        while at >= 0:
            self._from[kind] = at
            adu = self._buffer[at : at + size]
            if len(adu) < size:
                return None, True
            if crc16(adu[:-2]) == adu[-2:]:
                return adu, False
            if kind == 0 and self._broken is None:
                self._broken = adu
            at = self._buffer.find(head, at + 1)
        self._from[kind] = max(0, len(self._buffer) - len(head) + 1)
        return None, False

    def _foreign(self) -> None:
        """FrameError if a sound frame lies there that answers something else; the late answer of before is dropped."""
        size = _reply_size(self._buffer)
        if size < 0 or len(self._buffer) < size:
            return
        self._begins = False
        adu = self._buffer[:size]
        if not size or crc16(adu[:-2]) != adu[-2:] or adu == self._previous:
            return
        if self._gone is not None and _answers(self._gone, adu):
            self.dropped += 1
            self._begins = True
            self._drop(size)
            return
        judge(self.request, adu[:-2], adu)

    def _drop(self, count: int) -> None:
        if count > 0:
            self._buffer = self._buffer[count:]
            self._from = [max(0, at - count) for at in self._from]


def _answers(request: Request, adu: bytes) -> bool:
    """Is this RTU frame the answer to that request, good or refused?"""
    if len(adu) == 5 and adu[1] & 0x80:
        return adu[0] == request.unit and adu[1] == request.function | 0x80
    return len(adu) == request.rtu_size and adu.startswith(request.rtu_head)


def _reply_size(buffer: bytes) -> int:
    """Bytes of the RTU answer that begins here; 0 where none does, -1 where it cannot be told yet."""
    if len(buffer) < 5:
        return -1
    if buffer[1] & 0x80:
        return 5
    if buffer[1] in (1, 2, 3, 4):
        return 5 + buffer[2]
    return 8 if buffer[1] in (5, 6, 15, 16) else 0
