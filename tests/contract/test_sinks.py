"""Every sink kind passes the sink suite, on its real server; every built-in kind has an example that loads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from pydantic import ValidationError

from gateway.config.kinds import House
from gateway.sinks.base import SinkConfig
from gateway.sinks.influx import InfluxConfig
from gateway.sinks.mqtt import MqttConfig
from tests.contract.sink_suite import Outside, SinkSuite
from tests.influx_client import query, rows
from tests.servers import Server, binary, influxd, mosquitto
from tests.sink_fakes import IDENTITY, START_NS

ROOT = Path(__file__).parents[2]


class Subscriber(Outside):
    """Reads telemetry from the broker."""

    def __init__(self, port: int) -> None:
        self._scans: list[dict[str, Any]] = []
        self._ready = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{IDENTITY.path}/telemetry/#", 1)
        self._client.on_subscribe = lambda *_: loop.call_soon_threadsafe(self._ready.set)
        self._client.on_message = lambda _c, _d, message: self._take(json.loads(message.payload))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _take(self, document: dict[str, Any]) -> None:
        self._scans += document.get("scans", [document])

    async def ready(self) -> None:
        await asyncio.wait_for(self._ready.wait(), 15)

    async def seqs(self, count: int, *, least: int = 0) -> list[int]:
        async with asyncio.timeout(20):
            while len(found := [each["seq"] for each in self._scans if each["seq"] >= least]) < count:  # noqa: ASYNC110  # another thread
                await asyncio.sleep(0.02)
        return found

    async def temperatures(self) -> list[float | None]:
        return [each["values"].get("temperature") for each in self._scans]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class TestMqtt(SinkSuite):
    kind = "mqtt"

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[Server]:
        with mosquitto(tmp_path) as server:
            yield server

    def config(self, server: Server) -> SinkConfig:
        return MqttConfig(url=f"mqtt://127.0.0.1:{server.port}", timeout=10.0)

    @asynccontextmanager
    async def outside(self, server: Server) -> AsyncIterator[Outside]:
        subscriber = Subscriber(server.port)
        try:
            await subscriber.ready()
            yield subscriber
        finally:
            subscriber.close()


class Reader(Outside):
    """Reads points from InfluxDB."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def seqs(self, count: int, *, least: int = 0) -> list[int]:
        found = rows(self._port, "SELECT quality FROM reservoir")
        return [seq for row in found if (seq := (row["time"] - START_NS) // 100_000_000) >= least]

    async def temperatures(self) -> list[float | None]:
        return [row["temperature"] for row in rows(self._port, "SELECT temperature, quality FROM reservoir")]


class TestInflux(SinkSuite):
    kind = "influxdb"

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[Server]:
        with influxd(tmp_path, "line") as server:
            yield server

    def config(self, server: Server) -> SinkConfig:
        return InfluxConfig(url=f"http://127.0.0.1:{server.port}", api="v1", database="line", timeout=10.0)

    @asynccontextmanager
    async def outside(self, server: Server) -> AsyncIterator[Outside]:
        yield Reader(server.port)


@pytest.mark.parametrize("kind", House().sinks.all(), ids=lambda kind: str(kind.model_fields["kind"].default))
def test_example_loads(kind: type[SinkConfig]) -> None:
    """The example of each kind is a valid configuration, and shows every key, set or in a comment."""
    name = kind.model_fields["kind"].default
    text = (ROOT / "config" / "examples" / f"{name}.yaml").read_text()
    [settings] = yaml.safe_load(text)["sinks"].values()
    config = kind.model_validate(settings)

    assert config.kind == name
    for field_name, field in kind.model_fields.items():
        assert f"{field.alias or field_name}:" in text, field_name


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": "mqtt://10.0.0.5"}, "unencrypted to another machine"),
        ({"url": "mqtt://user:pw@127.0.0.1"}, "password in a URL"),
        ({"url": "amqp://127.0.0.1"}, "write mqtts://"),
        ({"url": "mqtts://h", "cert": "a.pem"}, "cert and key go together"),
        ({"url": "mqtts://h", "telemetry": False, "evidence": False}, "nothing to send"),
        ({"url": "mqtts://h", "ack": "required", "evidence": False}, "nothing to acknowledge"),
        ({"url": "mqtts://h", "path": "a/+/b"}, "no topic root"),
        ({"url": "mqtts://h", "username": "u", "password_file": "/nonexistent"}, "cannot read"),
        ({"url": "mqtts://h", "window": 1000}, "less than or equal to 64"),
        ({"url": "mqtts://h", "timeout": 5}, "not a duration"),
        ({"url": "mqtts://h", "qos": 0}, "Extra inputs"),
    ],
)
def test_mqtt_refuses(settings: dict[str, Any], says: str) -> None:
    """A configuration that cannot work, or would be unsafe, is refused with what to do next."""
    with pytest.raises(ValidationError, match=says):
        MqttConfig.model_validate({"kind": "mqtt", **settings})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": "udp://h", "bucket": "b"}, "write http"),
        ({"url": "http://h:8086"}, "needs bucket"),
        ({"url": "http://h:8086", "api": "v1"}, "needs database"),
        ({"url": "http://h:8086", "bucket": "b", "password_file": "/nonexistent"}, "cannot read"),
    ],
)
def test_influx_refuses(settings: dict[str, Any], says: str) -> None:
    """The same for InfluxDB."""
    with pytest.raises(ValidationError, match=says):
        InfluxConfig.model_validate({"kind": "influxdb", **settings})


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [("", 0o600, "holds nothing"), ("changeme\n", 0o600, "default"), ("x", 0o644, "chmod 600")],
)
def test_secret_files(tmp_path: Path, content: str, mode: int, says: str) -> None:
    """A secret that is blank, a default, or readable by others is refused before anything starts."""
    secret = tmp_path / "secret"
    secret.write_text(content)
    secret.chmod(mode)
    with pytest.raises(ValidationError, match=says):
        InfluxConfig.model_validate({"url": "http://127.0.0.1:8086", "bucket": "b", "token_file": secret})


async def test_deployed_broker_configuration(tmp_path: Path) -> None:
    """The broker starts with the configuration we ship, and its ACL keeps strangers from commands."""
    folder = ROOT / "deploy" / "mosquitto"
    passwords = tmp_path / "passwords"
    for user in ("line3-gw1", "mes", "viewer"):
        create = [] if passwords.exists() else ["-c"]
        command = [binary("mosquitto_passwd"), *create, "-b", str(passwords), user, f"{user}-secret"]
        assert await (await asyncio.create_subprocess_exec(*command)).wait() == 0
    (tmp_path / "acl").write_text((folder / "linegate.acl").read_text())
    for path in (passwords, tmp_path / "acl"):
        path.chmod(0o644)
    lines = [
        line.replace("/etc/mosquitto/linegate.passwords", str(passwords)).replace(
            "/etc/mosquitto/linegate.acl", str(tmp_path / "acl")
        )
        for line in (folder / "mosquitto.conf").read_text().splitlines()
        if line and not line.startswith(("#", "listener", "persistence", "log_"))
    ]
    with mosquitto(tmp_path, *lines, persistence=True) as server:
        codes = [await _publish_as(server.port, user) for user in ("line3-gw1", "mes", "viewer")]

    assert codes == [0, 0, 0x87]


async def _publish_as(port: int, user: str) -> int:
    """The reason code of a command published in this name."""
    code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.username_pw_set(user, f"{user}-secret")
    client.on_connect = lambda each, *_: each.publish(f"{IDENTITY.path}/cmd/batch.order", b"{}", 1)
    client.on_publish = lambda _c, _d, _m, reason, _p: loop.call_soon_threadsafe(code.set_result, reason.value)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        return await asyncio.wait_for(code, 15) & ~0x10
    finally:
        client.disconnect()
        client.loop_stop()


async def test_deployed_influxdb_configuration(tmp_path: Path) -> None:
    """InfluxDB starts with the configuration we ship, paths and ports apart."""
    text = (ROOT / "deploy" / "influxdb" / "influxdb.conf").read_text()
    with influxd(tmp_path, "line") as server:
        ours = (server.folder / "influxdb.conf").read_text()
        server.stop()
        shipped = text.replace("/var/lib/influxdb", str(server.folder)).replace(
            "127.0.0.1:8086", f"127.0.0.1:{server.port}"
        )
        shipped = shipped.replace("127.0.0.1:8088", ours.split('bind-address = "')[1].split('"')[0])
        (server.folder / "influxdb.conf").write_text(shipped)
        server.start()

        assert query(server.port, "SHOW DATABASES")
