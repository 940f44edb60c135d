"""Three shortcuts and a mend through paho 2's private side; a test holds them against the real thing.

paho spends some 90 us on a QoS 1 message: a lock and a condition for each, three recv() calls and a table of 27
property names for each PUBACK.  We know what we send and what comes back, so:

    publish    we build the packet, many go out in one write         `_packet_queue`
    PUBACK     read ahead in one recv() and taken out of the buffer  `_sock_recv`, `_in_packet`
    PUBLISH    one that paho cannot read is passed over              `_handle_publish`, `_send_puback`

Everything else (CONNECT, TLS, SUBSCRIBE, what comes in, keepalive, DISCONNECT) is paho's own.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MalformedPacket

from gateway.sinks.encode import Packed, varint

PUBLISH: Final = 0x30
PUBACK: Final = 0x40
QOS_1: Final = 0x02
RETAIN: Final = 0x01
READ_AHEAD: Final = 65536
FIRST_MID: Final = 0x1000
"""paho numbers its SUBSCRIBEs from 1: ours never meet them."""
LAST_MID: Final = 0xFFFF
_QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)


class Paho(Client):
    """paho with a buffer before its packet reader and a batch behind its packet writer."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._ahead = b""
        self._at = 0
        self._batch = bytearray()
        self._mid = FIRST_MID
        self.acknowledged: Callable[[int, int], None] = lambda _mid, _code: None
        """(packet identifier, reason code) of each PUBACK."""
        self.unreadable: Callable[[str, str], None] = lambda _topic, _why: None
        """(topic, why) of a message that paho cannot read."""

    def prompt(self) -> None:
        """Small packets go at once: Nagle would hold them back for the peer's delayed acknowledgement, 40 ms."""
        sock: Any = self.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # -- out

    def enqueue(self, topic: bytes, payload: bytes, properties: Packed, *, retain: bool) -> int:
        """Put a QoS 1 PUBLISH into the batch; `flush` sends it.  Its packet identifier."""
        self._mid = mid = FIRST_MID if self._mid >= LAST_MID else self._mid + 1
        packed = properties.pack()
        batch = self._batch
        batch.append(PUBLISH | QOS_1 | (RETAIN if retain else 0))
        batch += varint(2 + len(topic) + 2 + len(packed) + len(payload))
        batch += struct.pack(">H", len(topic))
        batch += topic
        batch += struct.pack(">H", mid)
        batch += packed
        batch += payload
        return mid

    def flush(self) -> MQTTErrorCode:
        """Write the batch; what the socket does not take stays with paho's own packets, in order."""
        if not self._batch:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        batch, self._batch = self._batch, bytearray()
        return self._packet_queue(PUBLISH | QOS_1, batch, 0, 1)

    # -- in

    def read(self) -> MQTTErrorCode:
        """Take in what the socket has: PUBACKs at once, the rest by paho."""
        sock: Any = self.socket()
        try:
            data = sock.recv(READ_AHEAD)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        except OSError:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        if not data:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        self._ahead, self._at = self._ahead[self._at :] + data, 0
        if _QUICK_ACK is not None:
            sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)  # a broker with Nagle waits for it to send the next
        return self._take()

    def _take(self) -> MQTTErrorCode:
        while self._at < len(self._ahead):
            if not self._in_packet["command"] and self._take_pubacks():
                continue
            before = self._at
            rc = self.loop_read()
            if rc or self.socket() is None:
                return rc or MQTTErrorCode.MQTT_ERR_CONN_LOST
            if self._at == before:
                break
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _take_pubacks(self) -> bool:
        """All complete PUBACKs at the buffer's head (MQTT 5, 3.4).  True: there was at least one."""
        ahead, at, end = self._ahead, self._at, len(self._ahead)
        while end - at >= 4 and ahead[at] == PUBACK and ahead[at + 1] < 0x80 and end - at >= 2 + ahead[at + 1]:
            length = ahead[at + 1]
            code = ahead[at + 4] if length > 2 else 0
            self.acknowledged(ahead[at + 2] << 8 | ahead[at + 3], code)
            at += 2 + length
        some, self._at = at > self._at, at
        return some

    def _sock_recv(self, bufsize: int) -> bytes:
        data = self._ahead[self._at : self._at + bufsize]
        if not data:
            raise BlockingIOError
        self._at += len(data)
        return data

    def _handle_publish(self) -> MQTTErrorCode:
        """U+FEFF is malformed to paho (not to MQTT 5, 1.5.4): it hangs up, and over a retained one for ever."""
        try:
            return super()._handle_publish()
        except MalformedPacket as error:
            packet = bytes(self._in_packet["packet"])
            if len(packet) < 4:
                raise
            end = 2 + int.from_bytes(packet[:2])
            self.unreadable(packet[2:end].decode("utf-8", "replace"), str(error))
            if not self._in_packet["command"] & QOS_1:
                return MQTTErrorCode.MQTT_ERR_SUCCESS
            return self._send_puback(int.from_bytes(packet[end : end + 2]))
