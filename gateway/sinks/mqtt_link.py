"""One MQTT 5 connection: a paho client driven by the asyncio loop, with no thread and no queue of its own.

    publish() -> batch -> one write at the end of this turn of the loop -> PUBACK -> add_reader -> read() -> Handover

Each link is a fresh client that is thrown away with its connection, and no message of ours enters paho's own queue:
paho keeps what it could not send and sends it later although publish() had returned rc 4.  The window (never more than
the broker's Receive Maximum) is the only limit in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.errors import SinkError
from gateway.sinks.encode import Packed
from gateway.sinks.mqtt_handover import Dial, Handover, Incoming
from gateway.sinks.mqtt_paho import Paho

log = structlog.get_logger()

HOUSEKEEPING_S: Final = 1.0
_LOCAL_TOO_LARGE: Final = 0x95
_HEADER_ROOM: Final = 9
"""Fixed header, topic length and packet identifier of a PUBLISH."""


class Link:
    """An open connection.  All methods are called from the loop's thread."""

    def __init__(self, dial: Dial, on_message: Callable[[Incoming], None]) -> None:
        self._dial = dial
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._waiting: dict[int, tuple[Handover, int]] = {}
        self._room: asyncio.Future[None] | None = None
        self._subscribed: dict[int, asyncio.Future[list[int]]] = {}
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._writing = False
        self._flushing = False
        self._fd = -1
        self._timer: asyncio.TimerHandle | None = None
        self.error: SinkError | None = None
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Raises SinkError when the connection is gone."""
        self.window = dial.window
        self._largest = 1 << 28
        self._client = self._make_client()

    def _make_client(self) -> Paho:
        dial = self._dial
        client = Paho(
            CallbackAPIVersion.VERSION2, dial.client_id, protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=False
        )
        client.connect_timeout = dial.timeout_s
        if dial.username is not None:
            client.username_pw_set(dial.username, dial.password)
        if dial.tls is not None:
            client.tls_set_context(dial.tls)
        if dial.will_topic:
            client.will_set(dial.will_topic, dial.will_payload, qos=1, retain=True)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.acknowledged = self._acknowledged
        client.on_subscribe = self._granted
        client.on_message = self._received
        client.unreadable = self._unreadable
        client.on_socket_close = self._closing
        return client

    # -- opening and closing ---------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and wait for the CONNACK.  SinkError: not reached, or refused.

        Name lookup, TCP and TLS handshakes block in paho, so they run in a thread; from then on the loop drives.
        """
        dial = self._dial
        dialling = self._loop.run_in_executor(
            None, functools.partial(self._client.connect, dial.host, dial.port, dial.keepalive_s, clean_start=True)
        )
        try:
            rc = await asyncio.shield(dialling)
        except asyncio.CancelledError:
            dialling.add_done_callback(self._abandon)
            raise
        except (OSError, ValueError) as error:
            raise SinkError(f"cannot reach the broker {dial.where}: {error}") from error
        sock = self._client.socket()
        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS or sock is None:
            raise SinkError(f"cannot reach the broker {dial.where}: {MQTTErrorCode(rc).name}")
        self._client.prompt()
        self._fd = sock.fileno()
        self._loop.add_reader(self._fd, self._readable)
        self._watch_writes()
        self._timer = self._loop.call_later(HOUSEKEEPING_S, self._housekeeping)
        await asyncio.shield(self._ready)

    def _abandon(self, dialling: asyncio.Future[Any]) -> None:
        if not dialling.cancelled():
            dialling.exception()  # seen, or asyncio complains
        self._drop_socket()

    def _drop_socket(self) -> None:
        sock = self._client.socket()
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()

    async def close(self) -> None:
        """Say goodbye (the broker keeps the will to itself) and let go; never raises."""
        if self.error is None and self._fd >= 0:
            self._client.disconnect()
        self._fail(SinkError("closed"))
        self._drop_socket()

    def _fail(self, error: SinkError) -> None:
        if self.error is not None:
            return
        self.error = error
        self._unwatch()
        for handover, _ in self._waiting.values():
            handover.fail(error)
        self._waiting.clear()
        futures: list[asyncio.Future[Any]] = [self._ready, self.lost, *self._subscribed.values()]
        for future in futures:
            if not future.done():
                future.set_exception(error)
            if not future.cancelled():
                future.exception()  # seen: not everybody waits for each of them
        self._make_room()

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._fd = -1

    # -- paho's side -----------------------------------------------------------------------------

    def _readable(self) -> None:
        rc = self._client.read()
        sock = self._client.socket()
        while not rc and isinstance(sock, ssl.SSLSocket) and sock.pending():
            rc = self._client.read()
        if rc:
            self._fail(SinkError(f"lost the broker {self._dial.where}: {MQTTErrorCode(rc).name}"))
        elif self._client.want_write():
            self._writable()

    def _writable(self) -> None:
        rc = self._client.loop_write()
        if rc:
            self._fail(SinkError(f"lost the broker {self._dial.where}: {MQTTErrorCode(rc).name}"))
        else:
            self._watch_writes()

    def _watch_writes(self) -> None:
        """Written at once; the loop watches only for what the socket would not take."""
        wants = self._client.want_write()
        if wants == self._writing or self._fd < 0:
            return
        self._writing = wants
        if wants:
            self._loop.add_writer(self._fd, self._writable)
        else:
            self._loop.remove_writer(self._fd)

    def _housekeeping(self) -> None:
        self._client.loop_misc()
        if self.error is None:
            self._watch_writes()
            self._timer = self._loop.call_later(HOUSEKEEPING_S, self._housekeeping)

    def _connected(self, _client: Client, _data: object, _flags: object, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._fail(SinkError(f"the broker {self._dial.where} refused the connection: {reason}"))
            return
        self.window = min(self._dial.window, getattr(properties, "ReceiveMaximum", 65535))
        self._largest = getattr(properties, "MaximumPacketSize", self._largest)
        if not self._ready.done():
            self._ready.set_result(None)

    def _disconnected(self, _client: Client, _data: object, flags: Any, reason: Any, _properties: object) -> None:
        why = f"it said: {reason}" if flags.is_disconnect_packet_from_server else "the connection broke"
        self._fail(SinkError(f"lost the broker {self._dial.where}: {why}"))

    def _closing(self, _client: Client, _data: object, _sock: object) -> None:
        self._unwatch()

    def _acknowledged(self, mid: int, code: int) -> None:
        waiting = self._waiting.pop(mid, None)
        if waiting is not None:
            handover, position = waiting
            handover.settle(position, code)
            self._make_room()

    def _granted(self, _client: Client, _data: object, mid: int, reasons: Any, _properties: object) -> None:
        future = self._subscribed.pop(mid, None)
        if future is not None and not future.done():
            future.set_result([reason.value for reason in reasons])

    def _received(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        properties = message.properties
        self._on_message(
            Incoming(
                topic=message.topic,
                payload=bytes(message.payload),
                retained=bool(message.retain),
                response_topic=getattr(properties, "ResponseTopic", None),
                correlation=getattr(properties, "CorrelationData", None),
                user=tuple(getattr(properties, "UserProperty", ())),
            )
        )

    def _unreadable(self, topic: str, why: str) -> None:
        log.warning(
            "a message cannot be read and was ignored",
            address=self._dial.where,
            topic=topic,
            reason=why,
            next="send it without this character in its properties",
        )

    # -- our side --------------------------------------------------------------------------------

    def handover(self) -> Handover:
        return Handover(self._loop)

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self.window

    def _make_room(self) -> None:
        if self._room is not None:
            if not self._room.done():
                self._room.set_result(None)
            self._room = None

    async def room(self) -> None:
        """Wait until one more may be in flight.  SinkError: the link was lost meanwhile."""
        while self.error is None and self.full:
            if self._room is None:
                self._room = self._loop.create_future()
            await asyncio.shield(self._room)
        if self.error is not None:
            raise self.error

    def publish(  # what a PUBLISH has
        self, handover: Handover, position: int, topic: str, payload: bytes, properties: Packed, *, retain: bool = False
    ) -> None:
        """One PUBLISH at QoS 1, written when this turn of the loop ends.  Call only with room.  SinkError: lost."""
        if self.error is not None:
            raise self.error
        handover.expect()
        name = topic.encode()
        if len(payload) + len(name) + len(properties.pack()) + _HEADER_ROOM > self._largest:
            handover.settle(position, _LOCAL_TOO_LARGE)
            return
        mid = self._client.enqueue(name, payload, properties, retain=retain)
        self._waiting[mid] = (handover, position)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self.error is not None:
            return
        rc = self._client.flush()
        if rc:
            self._fail(SinkError(f"lost the broker {self._dial.where}: {MQTTErrorCode(rc).name}"))
        else:
            self._watch_writes()

    async def send(self, topic: str, payload: bytes, properties: Packed, *, retain: bool = False) -> int:
        """Publish one message and wait for its reason code."""
        await self.room()
        handover = self.handover()
        self.publish(handover, 0, topic, payload, properties, retain=retain)
        refused = await handover.settled()
        return refused.get(0, 0)

    async def subscribe(self, topics: Sequence[str]) -> list[int]:
        """Subscribe at QoS 1; the broker's reason code for each topic."""
        options = SubscribeOptions(qos=1, noLocal=True)
        rc, mid = self._client.subscribe([(topic, options) for topic in topics])
        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise SinkError(f"lost the broker {self._dial.where}: {MQTTErrorCode(rc).name}")
        self._watch_writes()
        granted: asyncio.Future[list[int]] = self._loop.create_future()
        self._subscribed[mid] = granted
        return await granted


@asynccontextmanager
async def opened(dial: Dial, on_message: Callable[[Incoming], None]) -> AsyncIterator[Link]:
    """A link that is open inside, and gone outside.  SinkError: cannot be opened."""
    link = Link(dial, on_message)
    try:
        await link.open()
        yield link
    finally:
        await link.close()
