"""Eyes and mouth of an MES: everything the gateway says on MQTT, and commands with their answers."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.errors import LinegateError


class Mes:
    """Subscribes to `<path>/#` on a thread of paho's; keeps records by index and the newest state by topic."""

    def __init__(
        self,
        port: int,
        path: str,
        *,
        client_id: str = "",
        host: str = "127.0.0.1",
        prepare: Callable[[Client], None] = lambda _: None,
    ) -> None:
        """With a `client_id` the broker keeps what comes while it cannot reach us; `prepare` may give credentials."""
        self.records: dict[int, dict[str, Any]] = {}
        self.arrivals: list[tuple[int, str]] = []
        """(index, kind) in order of arrival, repeats included."""
        self.state: dict[str, Any] = {}
        self.checkpoints: list[str] = []
        """Signed checkpoints the gateway showed: witnesses outside its box."""
        self.telemetry: dict[str, Any] = {}
        self.telemetry_count = 0
        self.scans: dict[tuple[str, int], int] = {}
        """(boot, seq) -> times it came."""
        self.online: list[bool] = []
        self._path = path
        self._answers: dict[str, dict[str, Any]] = {}
        self._arrived = threading.Condition()
        self._reply_topic = f"{path}/reply/{uuid.uuid4().hex}"
        self._client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe([(f"{path}/#", 1)])
        self._client.on_message = self._message
        self._client.reconnect_delay_set(1, 1)
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = 3600 if client_id else 0
        prepare(self._client)
        self._client.connect(host, port, clean_start=not client_id, properties=session)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _message(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        del client, userdata
        room, _, rest = message.topic.removeprefix(self._path + "/").partition("/")
        if room == "checkpoint" and message.payload:
            self.checkpoints.append(message.payload.decode())
        if not message.payload or room not in ("event", "state", "telemetry", "reply"):
            return
        document = json.loads(message.payload)
        with self._arrived:
            getattr(self, f"_{room}")(rest, document, message)
            self._arrived.notify_all()

    def _event(self, rest: str, record: dict[str, Any], message: MQTTMessage) -> None:
        del rest, message
        self.arrivals.append((record["index"], record["kind"]))
        self.records[record["index"]] = record

    def _state(self, rest: str, document: Any, message: MQTTMessage) -> None:
        del message
        self.state[rest] = document
        if rest == "gateway":
            self.online.append(bool(document.get("online")))

    def _telemetry(self, rest: str, document: Any, message: MQTTMessage) -> None:
        del message
        for scan in document.get("scans", [document]):
            self.telemetry[rest] = scan
            self.telemetry_count += 1
            key = (scan.get("boot", document.get("boot")), scan["seq"])
            self.scans[key] = self.scans.get(key, 0) + 1

    def _reply(self, rest: str, document: Any, message: MQTTMessage) -> None:
        del rest
        number = getattr(message.properties, "CorrelationData", b"").decode()
        self._answers[number] = document

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        """Records of a kind, by index."""
        with self._arrived:
            return [record for _, record in sorted(self.records.items()) if record["kind"] == kind]

    def witness(self, index: int) -> str:
        """The first checkpoint seen that covers a record; empty while there is none."""
        covering = (note for note in self.checkpoints if int(note.split("\n")[1]) > index)
        return next(covering, "")

    def command(self, name: str, within_s: float = 10.0, **arguments: Any) -> dict[str, Any]:
        """MQTT 5 request and response.  Raises LinegateError when no answer comes."""
        number = uuid.uuid4().hex
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic = self._reply_topic
        properties.CorrelationData = number.encode()
        self._client.publish(f"{self._path}/cmd/{name}", json.dumps(arguments), qos=1, properties=properties)
        with self._arrived:
            if not self._arrived.wait_for(lambda: number in self._answers, within_s):
                raise LinegateError(f"the gateway did not answer {name} within {within_s:g} s")
            return self._answers.pop(number)
