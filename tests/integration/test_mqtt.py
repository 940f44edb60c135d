"""The MQTT sink, its forwarder and the reference consumer on a real mosquitto."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.board import Board
from gateway.errors import Rejected, SinkError
from gateway.forwarder import Forwarder
from gateway.model import Json, Watermark
from gateway.sinks.base import SinkPorts
from gateway.sinks.mqtt import MqttConfig
from gateway.world import World
from tests.servers import Server, mosquitto
from tests.sink_fakes import IDENTITY, LEDGER, Desk, FakeEvidence, FakeTelemetry, ledger, make_ports, scan

PATH = IDENTITY.path


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Server]:
    with mosquitto(tmp_path) as server:
        yield server


def config(server: Server, **more: Any) -> MqttConfig:
    return MqttConfig.model_validate({"url": f"mqtt://127.0.0.1:{server.port}", **more})


async def until(condition: Callable[[], bool], budget_s: float = 30.0) -> None:
    """Wait for it, with a deadline."""
    async with asyncio.timeout(budget_s):
        while not condition():  # noqa: ASYNC110  # other threads and processes set no event
            await asyncio.sleep(0.02)


class Listener:
    """A plain subscriber on its own thread."""

    def __init__(self, port: int, *topics: str, name: str = "") -> None:
        self.messages: list[mqtt.MQTTMessage] = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.reconnect_delay_set(1, 1)
        kept = Properties(PacketTypes.CONNECT)
        kept.SessionExpiryInterval = 3600 if name else 0
        self.client.on_message = lambda _c, _d, message: self.messages.append(message)
        ready = threading.Event()
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_connect = lambda client, *_: client.subscribe([(topic, 1) for topic in topics])
        self.client.connect("127.0.0.1", port, clean_start=not name, properties=kept)
        self.client.loop_start()
        assert ready.wait(15)

    def topics(self) -> list[str]:
        return [message.topic.removeprefix(f"{PATH}/") for message in self.messages]

    def last(self, topic: str) -> Any:
        found = [message.payload for message in self.messages if message.topic == f"{PATH}/{topic}"]
        return json.loads(found[-1]) if found and found[-1] else None

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def listening(server: Server, *topics: str) -> Iterator[Listener]:
    listener = Listener(server.port, *(topics or (f"{PATH}/#",)))
    try:
        yield listener
    finally:
        listener.close()


def _load_consumer() -> ModuleType:
    path = Path(__file__).parents[2] / "docs" / "reference_consumer.py"
    spec = importlib.util.spec_from_file_location("reference_consumer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


consumer_module = _load_consumer()


@contextmanager
def mes(server: Server, db: Path) -> Iterator[Any]:
    """The reference consumer, running."""
    consumer = consumer_module.Consumer(f"mqtt://127.0.0.1:{server.port}", PATH, db)
    thread = threading.Thread(target=consumer.run)
    thread.start()
    try:
        yield consumer
    finally:
        consumer.stop.set()
        thread.join(10)
        consumer.db.close()


class Rig:
    """A forwarder over the real sink, on fake stores."""

    def __init__(self, settings: MqttConfig, board: Board | None = None) -> None:
        self.evidence = FakeEvidence()
        self.telemetry = FakeTelemetry()
        self.desk = Desk()
        ports = make_ports(board, self.desk)
        self.forwarder = Forwarder("mes", settings, self.evidence, self.telemetry, ports, World(seed=3))

    def live(self, *seqs: int) -> None:
        for seq in seqs:
            self.telemetry.put(scan(seq))
            self.forwarder.offer(scan(seq))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.forwarder.run())
        try:
            await until(lambda: self.forwarder.status().connected)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_event_is_a_cloud_event(broker: Server) -> None:
    """A record arrives as its canonical bytes, with the CloudEvents attributes in binary mode."""
    [record] = ledger(["halt.confirmed"])
    with listening(broker) as listener:
        async with config(broker).connect("mes", make_ports()) as sink:
            await sink.deliver([record])
            await until(lambda: "event/halt/confirmed" in listener.topics())

    message = next(each for each in listener.messages if each.topic.endswith("halt/confirmed"))
    user = dict(message.properties.UserProperty)
    assert message.payload == record.payload
    assert message.properties.ContentType == "application/json"
    assert (user["specversion"], user["id"], user["index"]) == ("1.0", f"{LEDGER}:0", "0")
    assert user["hash"] == record.hash.hex()
    assert not message.retain


async def test_telemetry_expires_and_is_plain(broker: Server) -> None:
    """Scans arrive as plain numbers by tag, with a message expiry; several of a device share a message."""
    with listening(broker) as listener:
        async with config(broker).connect("mes", make_ports()) as sink:
            await sink.deliver([scan(1)])
            await sink.deliver([scan(seq) for seq in range(2, 30)])
            await until(lambda: listener.topics().count("telemetry/reservoir") >= 3)

    first, second, third = (each for each in listener.messages if "/telemetry/" in each.topic)
    assert json.loads(first.payload)["values"] == {"temperature": 65.5, "setpoint": 65.0, "mode": "auto"}
    assert 0 < first.properties.MessageExpiryInterval <= 3600
    seqs = [each["seq"] for message in (second, third) for each in json.loads(message.payload)["scans"]]
    assert seqs == list(range(2, 30))


async def test_state_is_retained(broker: Server) -> None:
    """All state is there for whoever comes later; a changed document replaces, a removed one clears its topic."""
    board = Board()
    board.set("devices/filler", {"connected": True})
    board.set("alarms", {"a": 1})
    desk = Desk()
    desk.checkpoint = "linegate\n5\nroot\n"
    with listening(broker) as early:
        async with config(broker).connect("mes", make_ports(board, desk)):
            await until(lambda: {"state/alarms", "state/devices/filler", "checkpoint"} <= set(early.topics()))
            board.set("devices/filler", {"connected": False})
            board.set("alarms", None)
            await until(lambda: early.last("state/devices/filler") == {"connected": False})
            await until(lambda: early.last("state/alarms") is None)
            with listening(broker) as late:
                await until(lambda: {"state/devices/filler", "state/gateway", "checkpoint"} <= set(late.topics()))
                await asyncio.sleep(0.2)

                assert late.last("state/devices/filler") == {"connected": False}
                assert late.last("state/gateway")["online"] is True
                assert "state/alarms" not in late.topics()


async def test_last_will(broker: Server) -> None:
    """A clean stop says offline itself; a connection that dies leaves it to the broker."""
    with listening(broker, f"{PATH}/state/gateway") as listener:
        async with config(broker).connect("mes", make_ports()) as sink:
            await until(lambda: bool(listener.messages))
        await until(lambda: listener.last("state/gateway")["online"] is False)
        listener.messages.clear()
        async with config(broker).connect("mes", make_ports()) as sink:
            await until(lambda: listener.last("state/gateway") is not None)
            sink._link._drop_socket()
            await until(lambda: listener.last("state/gateway")["online"] is False)


async def test_acl_refusal_is_rejected(tmp_path: Path) -> None:
    """What the broker's ACL forbids is rejected with its topic; what it allows went through."""
    acl = tmp_path / "acl"
    acl.write_text(f"topic readwrite {PATH}/event/check/#\ntopic readwrite {PATH}/state/#\n")
    with mosquitto(tmp_path, f"acl_file {acl}") as broker:
        records = ledger(["check.judged", "halt.confirmed", "check.judged"])
        async with config(broker).connect("mes", make_ports()) as sink:
            with pytest.raises(Rejected) as refusal:
                await sink.deliver(records)

    assert refusal.value.positions == (1,)
    assert f"not authorised: topic {PATH}/event/halt/confirmed" in refusal.value.reason


async def test_wrong_password(tmp_path: Path) -> None:
    """A broker that does not know us is a SinkError with its reason, and the right password connects."""
    passwords = tmp_path / "passwords"
    await asyncio.to_thread(_run, ["mosquitto_passwd", "-c", "-b", str(passwords), "gw", "right-secret"])
    passwords.chmod(0o644)
    secret = tmp_path / "secret"
    with mosquitto(tmp_path, f"password_file {passwords}", "allow_anonymous false") as broker:
        secret.write_text("wrong-secret\n")
        secret.chmod(0o600)
        settings = config(broker, username="gw", password_file=secret)
        with pytest.raises(SinkError, match="Not authorized"):
            async with settings.connect("mes", make_ports()):
                pass
        secret.write_text("right-secret\n")
        async with settings.connect("mes", make_ports()) as sink:
            await sink.deliver([scan(1)])


async def test_nobody_there() -> None:
    """A closed port is a SinkError that names it."""
    settings = MqttConfig(url="mqtt://127.0.0.1:1", timeout=0.5)
    with pytest.raises(SinkError, match=r"127\.0\.0\.1:1"):
        async with settings.connect("mes", make_ports()):
            pass


async def test_window_respects_the_broker(tmp_path: Path) -> None:
    """Never more is in flight than the broker's Receive Maximum: with more it would hang up."""
    with mosquitto(tmp_path, "max_inflight_messages 5") as broker:
        async with config(broker, window=64).connect("mes", make_ports()) as sink:
            assert sink._link.window == 5
            await sink.deliver(ledger(["check.judged"] * 200))


async def test_packet_too_large(tmp_path: Path) -> None:
    """A record larger than the broker takes is rejected; it must not make the broker hang up for ever."""
    with mosquitto(tmp_path, "max_packet_size 2000") as broker:
        [small] = ledger(["check.judged"])
        [large] = ledger(["check.judged"], start=1, body={"text": "x" * 5000})
        async with config(broker).connect("mes", make_ports()) as sink:
            with pytest.raises(Rejected) as refusal:
                await sink.deliver([small, large])

    assert refusal.value.positions == (1,)


async def test_broker_away_and_back(tmp_path: Path) -> None:
    """A broker that goes and comes back costs nothing: every scan arrives, and its id names it once."""
    with mosquitto(tmp_path, "max_queued_messages 0", persistence=True) as broker:
        listener = Listener(broker.port, f"{PATH}/telemetry/#", name="dashboard")
        rig = Rig(config(broker, timeout=10.0))  # what is not answered in time is sent twice, and rightly
        async with rig.running():
            rig.live(*range(1, 101))
            await until(lambda: not rig.telemetry.pending("mes"))
            broker.stop()
            await until(lambda: not rig.forwarder.status().connected)
            rig.live(*range(101, 501))
            broker.start()
            await until(lambda: rig.forwarder.status().connected)
            rig.live(*range(501, 601))
            await until(lambda: not rig.telemetry.pending("mes"))
            await until(lambda: len(_seqs(listener)) >= 600)
        listener.close()

    assert sorted(set(_seqs(listener))) == list(range(1, 601))
    listener.messages = [message for message in listener.messages if not message.dup]  # the broker's own repetitions
    assert len(_seqs(listener)) == len(set(_seqs(listener)))


def _seqs(listener: Listener) -> list[int]:
    documents = [json.loads(message.payload) for message in listener.messages]
    return [each["seq"] for document in documents for each in document.get("scans", [document])]


async def test_broker_lies_to_an_offline_mes(broker: Server, tmp_path: Path) -> None:
    """A broker killed after its PUBACKs forgets what the MES never had: it is sent again from the watermark."""
    db = tmp_path / "mes.db"
    rig = Rig(config(broker, ack="required", timeout=2.0))
    rig.evidence.add(*["check.judged"] * 100)
    async with rig.running():
        with mes(broker, db) as consumer:
            await until(lambda: consumer.upto.get(LEDGER) == 99)
            await until(lambda: rig.forwarder.status().unacknowledged == 0)
        rig.evidence.add(*["weighing.recorded"] * 400, "halt.confirmed")
        await until(lambda: rig.forwarder.status().unhanded == 0)
        broker.kill()
        await until(lambda: not rig.forwarder.status().connected)
        broker.start()
        await until(lambda: rig.forwarder.status().connected and rig.forwarder.status().unhanded == 0)
        with mes(broker, db) as consumer:
            began = asyncio.get_running_loop().time()
            await until(lambda: consumer.upto.get(LEDGER) == 500, 20)
            assert asyncio.get_running_loop().time() - began < 10
            await until(lambda: rig.forwarder.status().unacknowledged == 0)
            assert consumer.alarms == []
            [count] = consumer.db.execute("SELECT count(*) FROM record").fetchone()

    assert count == 501
    assert rig.desk.marks[-1] == Watermark(LEDGER, 500)


async def test_mes_that_lost_its_database(broker: Server, tmp_path: Path) -> None:
    """An MES that starts again with nothing gets the whole ledger again, by asking for it."""
    rig = Rig(config(broker, ack="required"))
    rig.evidence.add(*["check.judged"] * 30)
    async with rig.running():
        with mes(broker, tmp_path / "first.db") as consumer:
            await until(lambda: consumer.upto.get(LEDGER) == 29)
            await until(lambda: rig.forwarder.status().unacknowledged == 0)
        rig.evidence.add("halt.confirmed")
        with mes(broker, tmp_path / "second.db") as consumer:
            await until(lambda: consumer.upto.get(LEDGER) == 30)
            assert consumer.alarms == []


async def test_consumer_sees_forgery(tmp_path: Path) -> None:
    """The consumer alarms on a wrong hash, on another record of the same id, and on a broken chain."""
    consumer = consumer_module.Consumer("mqtt://127.0.0.1:1", PATH, tmp_path / "mes.db")
    first, second = ledger(["check.judged", "check.judged"])
    [other] = ledger(["check.judged"], body={"text": "forged"})
    [stranger] = ledger(["check.judged"], start=2)
    consumer.take(first.payload, first.hash.hex())
    consumer.take(second.payload, second.hash.hex())
    consumer.take(first.payload, first.hash.hex())
    assert consumer.alarms == []
    assert consumer.duplicates == 1

    consumer.take(first.payload, other.hash.hex())
    consumer.take(other.payload, other.hash.hex())
    consumer.take(stranger.payload, stranger.hash.hex())
    consumer.settle()
    consumer.db.close()

    assert [alarm.split(" ", 1)[1] for alarm in consumer.alarms] == [
        "does not have the hash it names",
        "came again with another hash",
        "does not follow its predecessor",
    ]


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


class Asker(Listener):
    """An MES that asks, and waits for the answer."""

    def ask(self, command: str, payload: bytes, *, retain: bool = False, **more: Any) -> None:
        """A retained request is the broker's when this returns: it comes to whoever subscribes later."""
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = more.get("topic", f"{PATH}/reply/mes")
        properties.CorrelationData = more.get("correlation", b"1")
        properties.UserProperty = [(name, more[name]) for name in ("principal", "note") if name in more]
        published = self.client.publish(f"{PATH}/cmd/{command}", payload, 1, retain=retain, properties=properties)
        if retain:
            published.wait_for_publish(10)


@pytest.fixture
def asker(broker: Server) -> Iterator[Asker]:
    asker = Asker(broker.port, f"{PATH}/reply/#", f"{PATH}/state/#")
    yield asker
    asker.close()


async def test_command_and_answer(broker: Server, asker: Asker) -> None:
    """A request is carried out in the MES's name and answered with its correlation data; once, if it comes twice."""
    desk = Desk()
    async with config(broker, mes_principal="mes").connect("mes", make_ports(desk=desk)):
        asker.ask("batch.order", b'{"order":"O-1"}', correlation=b"abc")
        asker.ask("batch.order", b'{"order":"O-1"}', correlation=b"abc")
        await until(lambda: asker.topics().count("reply/mes") == 2)

    reply = next(each for each in asker.messages if each.topic.endswith("reply/mes"))
    assert json.loads(reply.payload) == {"ok": True, "result": {"did": "batch.order"}}
    assert reply.properties.CorrelationData == b"abc"
    assert desk.commands == [("batch.order", {"order": "O-1"}, "mes")]


async def test_refused_requests(broker: Server, asker: Asker) -> None:
    """No JSON, another's name, a retained request and a reply into our own topics are never carried out."""
    desk = Desk()
    asker.ask("batch.order", b"{}", retain=True, correlation=b"0")
    async with config(broker, mes_principal="mes").connect("mes", make_ports(desk=desk)):
        asker.ask("batch.order", b"[1]", correlation=b"1")
        asker.ask("batch.order", b"{}", correlation=b"2", principal="somebody")
        asker.ask("batch.order", b"{}", correlation=b"3", topic=f"{PATH}/state/alarms")
        await until(lambda: asker.topics().count("reply/mes") == 2)
        await asyncio.sleep(0.2)

    replies = [json.loads(each.payload)["code"] for each in asker.messages if each.topic.endswith("reply/mes")]
    assert sorted(replies) == ["bad-json", "unknown-principal"]
    assert desk.commands == []


@pytest.mark.parametrize("retain", [False, True])
async def test_a_message_that_paho_cannot_read_ends_no_connection(
    broker: Server, asker: Asker, capsys: pytest.CaptureFixture[str], *, retain: bool
) -> None:
    """Paho takes U+FEFF for malformed; kept by the broker, such a message would end every connection of ours anew."""
    desk = Desk()
    if retain:
        asker.ask("batch.order", b"{}", retain=True, note="\ufeffB-1")
    async with config(broker, mes_principal="mes").connect("mes", make_ports(desk=desk)) as sink:
        for number in range(30):  # more than the broker lets be unacknowledged
            asker.ask("batch.order", b"{}", correlation=b"%d" % number, note="\ufeffB-1")
        asker.ask("batch.order", b'{"order":"O-1"}', correlation=b"good")
        await until(lambda: "reply/mes" in asker.topics())
        await sink.deliver(ledger(["check.judged"] * 30))

    assert desk.commands == [("batch.order", {"order": "O-1"}, "mes")]
    said = capsys.readouterr().out
    assert "cannot be read" in said
    assert "U+FEFF" in said


DEEP = b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"


@pytest.mark.parametrize("retain", [False, True])
async def test_an_acknowledgement_nested_too_deep_ends_no_connection(
    broker: Server, asker: Asker, *, retain: bool
) -> None:
    """Kept by the broker, such a message would end every connection of ours anew."""
    desk = Desk()
    asker.client.publish(f"{PATH}/ack", DEEP, 1, retain=retain).wait_for_publish(5)
    async with config(broker, ack="required").connect("mes", make_ports(desk=desk)) as sink:
        asker.client.publish(f"{PATH}/ack", DEEP, 1)
        asker.client.publish(f"{PATH}/ack", b'{"ledger_id":"ledger-1","committed_upto":3}', 1)
        await until(lambda: bool(desk.marks))
        await sink.deliver(ledger(["check.judged"] * 30))

    assert [mark.committed_upto for mark in desk.marks] == [3]


@pytest.mark.parametrize(
    "payload", [DEEP, b'{"a":"\xff"}', b'{"a":[' + b'{"b":1},' * 200_000 + b"1]}"], ids=["deep", "no UTF-8", "huge"]
)
async def test_a_request_that_cannot_be_read_is_answered(broker: Server, asker: Asker, payload: bytes) -> None:
    """What is nested too deep, is no UTF-8 or is larger than a request may be: told so, and not carried out."""
    desk = Desk()
    async with config(broker, mes_principal="mes").connect("mes", make_ports(desk=desk)):
        asker.ask("batch.order", payload)
        await until(lambda: "reply/mes" in asker.topics())

    assert asker.last("reply/mes")["code"] == "bad-json"
    assert desk.commands == []


async def test_a_response_topic_on_which_a_broker_hangs_up_is_not_written_to(broker: Server, asker: Asker) -> None:
    """Mosquitto lets it pass in a property and ends the connection of who publishes to it."""
    desk = Desk()
    async with config(broker, mes_principal="mes").connect("mes", make_ports(desk=desk)) as sink:
        asker.ask("status", b"{}", correlation=b"1", topic="a/" * 250 + "b")
        asker.ask("status", b"{}", correlation=b"2", topic="a/" * 199 + "b")
        asker.ask("batch.order", b"{}", correlation=b"3")
        await until(lambda: "reply/mes" in asker.topics())
        await sink.deliver(ledger(["check.judged"]))

    assert [name for name, _, _ in desk.commands] == ["status", "batch.order"]


async def test_another_request_under_the_same_correlation_data_is_refused(broker: Server, asker: Asker) -> None:
    """The answer to the first one would say that the second was carried out."""
    desk = Desk()
    async with config(broker, mes_principal="mes").connect("mes", make_ports(desk=desk)):
        asker.ask("batch.enter", b'{"value":"1"}')
        asker.ask("batch.enter", b'{"value":"2"}')
        await until(lambda: asker.topics().count("reply/mes") == 2)

    replies = [json.loads(each.payload) for each in asker.messages if each.topic.endswith("reply/mes")]
    assert {reply.get("code", "ok") for reply in replies} == {"ok", "correlation-reused"}
    assert [arguments for _, arguments, _ in desk.commands] == [{"value": "1"}]


async def test_a_request_that_comes_again_after_the_connection_was_lost_is_carried_out_once(
    broker: Server, asker: Asker
) -> None:
    """Its answer was lost with the link, or it was still under way; entries add up."""
    desk, slow = Desk(), asyncio.Event()

    async def carry_out(name: str, arguments: Mapping[str, Json], principal: str) -> Json:
        answer = await desk.command(name, arguments, principal)
        await slow.wait()
        return answer

    ports = msgspec.structs.replace(make_ports(desk=desk), on_command=carry_out)
    async with config(broker, mes_principal="mes").connect("mes", ports):
        asker.ask("batch.enter", b'{"value":"1"}')
        await until(lambda: bool(desk.commands))
    slow.set()
    async with config(broker, mes_principal="mes").connect("mes", ports):
        asker.ask("batch.enter", b'{"value":"1"}')
        await until(lambda: "reply/mes" in asker.topics())

    assert asker.last("reply/mes") == {"ok": True, "result": {"did": "batch.enter"}}
    assert len(desk.commands) == 1


async def test_a_request_that_was_put_off_may_be_asked_again(broker: Server, asker: Asker) -> None:
    """Busy is no answer to keep: with the same correlation data it is carried out once there is room."""
    desk, room = Desk(), asyncio.Event()

    async def carry_out(name: str, arguments: Mapping[str, Json], principal: str) -> Json:
        await room.wait()
        return await desk.command(name, arguments, principal)

    ports = msgspec.structs.replace(make_ports(desk=desk), on_command=carry_out)
    async with config(broker, mes_principal="mes").connect("mes", ports):
        for number in range(9):
            asker.ask("status", b"{}", correlation=b"%d" % number)
        await until(lambda: "reply/mes" in asker.topics())
        assert asker.last("reply/mes")["code"] == "busy"
        room.set()
        await until(lambda: asker.topics().count("reply/mes") == 9)
        asker.ask("status", b"{}", correlation=b"8")
        await until(lambda: asker.topics().count("reply/mes") == 10)

    assert asker.last("reply/mes")["ok"]
    assert len(desk.commands) == 9


async def test_no_principal_no_commands(broker: Server, asker: Asker) -> None:
    """Without a configured MES nobody is listened to."""
    desk = Desk()
    async with config(broker).connect("mes", make_ports(desk=desk)):
        asker.ask("batch.order", b"{}")
        await asyncio.sleep(0.3)

    assert desk.commands == []


async def test_tls(tmp_path: Path) -> None:
    """mqtts:// checks the broker's certificate: ours is trusted, a stranger's is not."""
    names = "subjectAltName=IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=broker"]
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = [*command, "-addext", names, "-keyout", str(key), "-out", str(cert)]
    await asyncio.to_thread(_run, made)
    with mosquitto(tmp_path, f"certfile {cert}", f"keyfile {key}") as broker:
        url = f"mqtts://127.0.0.1:{broker.port}"
        async with MqttConfig(url=url, ca=cert).connect("mes", make_ports()) as sink:
            await sink.deliver(ledger(["check.judged"] * 300))
            await sink.deliver([scan(seq) for seq in range(1, 200)])
        with pytest.raises(SinkError, match="CERTIFICATE_VERIFY_FAILED"):
            async with MqttConfig(url=url).connect("mes", make_ports()):
                pass


async def test_half_open_link_is_noticed(broker: Server) -> None:
    """A broker that stands still and says nothing is noticed within the budget of one delivery."""
    rig = Rig(config(broker, timeout=1.0))
    async with rig.running():
        broker.pause()
        rig.live(1)
        await until(lambda: not rig.forwarder.status().connected)
        broker.go_on()
        await until(lambda: not rig.telemetry.pending("mes"))


async def test_nothing_of_pahos_queue(broker: Server) -> None:
    """What was published into a dying link is not sent by paho behind our back when the broker is back."""
    async with config(broker, timeout=1.0).connect("mes", make_ports()) as sink:
        broker.kill()
        with pytest.raises(SinkError):
            await sink.deliver(ledger(["check.judged"] * 50))
        broker.start()
        with listening(broker, f"{PATH}/event/#") as listener:
            await asyncio.sleep(1.5)

    assert listener.messages == []


def test_against_pahos_own_packets(broker: Server) -> None:
    """Our shortcuts and paho's own publish mean the same to a broker, PUBACK for PUBACK."""
    from gateway.sinks.encode import publish_properties  # noqa: PLC0415  # only here
    from gateway.sinks.mqtt_paho import Paho  # noqa: PLC0415  # only here

    got: list[tuple[int, int]] = []
    with listening(broker, "x/#") as listener:
        client = Paho(CallbackAPIVersion.VERSION2, "short", protocol=MQTTProtocolVersion.MQTTv5)
        client.acknowledged = lambda mid, code: got.append((mid, code))
        client.connect("127.0.0.1", broker.port)
        client.prompt()
        client.socket().settimeout(5)  # type: ignore[union-attr]  # a blocking test of a non-blocking client
        client.read()
        mids = [client.enqueue(f"x/{n}".encode(), b"p" * n, publish_properties(), retain=False) for n in range(300)]
        assert client.flush() == MQTTErrorCode.MQTT_ERR_SUCCESS
        while len(got) < 300:
            assert client.read() == MQTTErrorCode.MQTT_ERR_SUCCESS
        client.disconnect()
        wait = threading.Event()
        while len(listener.messages) < 300:
            wait.wait(0.02)

    assert [mid for mid, _ in got] == mids
    assert [(message.topic, len(message.payload)) for message in listener.messages] == [
        (f"x/{n}", n) for n in range(300)
    ]


async def test_consumer_command_line(broker: Server, tmp_path: Path) -> None:
    """The consumer runs as a program of its own."""
    rig = Rig(config(broker, ack="required"))
    rig.evidence.add("gateway.started")
    script = Path(consumer_module.__file__ or "")
    command = [sys.executable, str(script), "--url", f"mqtt://127.0.0.1:{broker.port}", "--path", PATH]
    process = await asyncio.create_subprocess_exec(*command, "--db", str(tmp_path / "mes.db"))
    try:
        async with rig.running():
            await until(lambda: bool(rig.desk.marks))
    finally:
        process.terminate()
        await process.wait()

    assert rig.desk.marks == [Watermark(LEDGER, 0)]


def test_ports_are_all_used() -> None:
    """The fakes fill every port a sink has."""
    assert set(SinkPorts.__struct_fields__) == set(msgspec.structs.asdict(make_ports()))
