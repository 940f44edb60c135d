"""The gateway as a process: started, asked by the command line, killed, started again, stopped."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from process_kit import Process, linegate, running, written
from servers import mosquitto

from gateway.demo.stage import Stage, order

TOPICS = "acme/denver/filling/line3/cell1"


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Stage]:
    """The simulated line, and a configuration for it."""
    stage = Stage(tmp_path / "line", seed=3, speed=40.0, rate=20.0)
    stage.prepare(lambda document: document.update(sinks={}))
    stage.start_simulators()
    yield stage
    stage.stop()


def asked(process: Process, *arguments: str, who: str = "") -> Any:
    """A command that is carried out; its answer."""
    code, out, err = process.cli(*arguments, who=who)
    assert code == 0, (arguments, err)
    return json.loads(out)


def refused(process: Process, code: str, *arguments: str, who: str = "") -> str:
    """A command that is refused: exit code 3 and the gateway's own words."""
    exit_code, out, err = process.cli(*arguments, who=who)
    assert (exit_code, out) == (3, ""), (arguments, out, err)
    assert err.startswith(f"refused ({code}): ")
    return err


def test_a_line_run_from_the_command_line(plant: Stage) -> None:
    """First run, people, order, signatures, start, checks, an alarm, kill -9, abort, report, verify, stop."""
    with running(plant.config) as gateway:
        assert "linegate runs: line3-gw1, ledger " in gateway.log
        people(gateway)
        batch(gateway, plant)

        gateway.kill()
        gateway.again()
        assert gateway.status()["batch"]["state"] == "running"
        assert "no people yet" not in gateway.log.rsplit("linegate runs", 1)[1]

        assert asked(gateway, "batch", "abort", "B-1", "end of the test", who="sue")["state"] == "aborted"
        paths = asked(gateway, "batch", "report", "B-1")
        code, out, _ = linegate("verify", paths["bundle"])
        assert (code, "holds: batch B-1" in out) == (0, True)
        assert "B-1" in Path(paths["report"]).read_text()

        assert gateway.stop() == 0
        assert gateway.log.rstrip().endswith("stopped: SIGTERM")
        assert not (gateway.state / "console.token").exists()


def people(gateway: Process) -> None:
    """The token was printed once; it makes one admin, who makes the others."""
    refused(gateway, "bad_token", "people", "add", "anna", "--first-run", "guess")
    asked(gateway, "people", "add", "anna", "--full-name", "Anna A", "--first-run", gateway.first_token())
    refused(gateway, "bad_token", "people", "add", "eve", "--first-run", gateway.first_token())
    for name, role in (("olga", "operator"), ("tom", "technician"), ("sue", "supervisor"), ("quinn", "qa")):
        asked(gateway, "people", "add", name, "--role", role, who="anna")
    refused(gateway, "not_allowed", "people", "add", "eve", "--role", "qa", who="tom")
    refused(gateway, "name_taken", "people", "add", "tom", "--role", "qa", who="anna")


def gates_open(gateway: Process, plant: Stage) -> None:
    """Shut until the balance was checked and, where this computer's clock is nobody's, somebody answered for it."""
    code, out, err = gateway.cli("batch", "gates", "B-1")
    assert (code, "setpoints" in out, "refused (gates_blocked): batch B-1 may not start: instruments" in err) == (
        3, True, True,
    )  # fmt: skip
    refused(gateway, "gates_blocked", "batch", "start", "B-1", who="olga")
    refused(gateway, "read_by_gateway", "instruments", "check", "balance", "--value", "20.0", who="tom")
    code, _, err = gateway.cli("instruments", "check", "balance", who="tom")  # nothing lies on it
    assert (code, "refused (check_failed)" in err) == (3, True)
    plant.sim("place", grams=20.0)
    gateway.until("the weight lies still", lambda: _good(gateway, "balance/net", 19.99))
    assert asked(gateway, "instruments", "check", "balance", who="tom")["passed"] is True
    tare_and_zero(gateway, plant)
    refused(gateway, "not_blocked", "batch", "override", "B-1", "setpoints", "why not", who="sue")
    if _shut(gateway, "clock"):
        asked(gateway, "batch", "override", "B-1", "clock", "a test computer", who="sue")
    assert gateway.cli("batch", "gates", "B-1")[0] == 0


def tare_and_zero(gateway: Process, plant: Stage) -> None:
    """Of the simulated balance, with 20 g on it: what it shows is what comes back."""
    refused(gateway, "not_allowed", "balance", "tare", "balance", who="quinn")
    refused(gateway, "no_such_balance", "balance", "tare", "filler", who="tom")
    tared = asked(gateway, "balance", "tare", "balance", who="tom")
    assert (tared["device"], abs(float(tared["shown"])) < 0.01, tared["unit"]) == ("balance", True, "g")
    plant.sim("remove")
    gateway.until("the pan shows what is missing", lambda: not _good(gateway, "balance/net", -19.0))
    assert abs(float(asked(gateway, "balance", "zero", "balance", who="tom")["shown"])) < 0.01
    gateway.until("the pan shows zero", lambda: _good(gateway, "balance/net", -0.01))


def _good(gateway: Process, tag: str, least: float) -> bool:
    shown = gateway.status()["latest"].get(tag, {})
    return shown.get("value") is not None and "fault" not in shown and float(shown["value"]) >= least


def _shut(gateway: Process, name: str) -> bool:
    gates = gateway.status()["gates"]["gates"]
    return any(gate["gate"] == name and gate["state"] == "blocked" for gate in gates)


def batch(gateway: Process, plant: Stage) -> None:
    """An order from a file to a running batch with a check taken and an alarm acknowledged."""
    file = plant.folder / "order.json"
    file.write_text(json.dumps(order("B-1", 200)))
    refused(gateway, "not_allowed", "batch", "order", str(file), who="tom")
    assert asked(gateway, "batch", "order", str(file), who="sue")["state"] == "planned"
    assert asked(gateway, "batch", "order", str(file), who="sue")["repeated"] is True
    refused(gateway, "not_ready", "batch", "start", "B-1", who="olga")
    signers = {"operator": "olga", "technician": "tom", "supervisor": "sue", "qa": "quinn"}
    refused(gateway, "role_missing", "sign", "B-1", "oil_release", who="tom")
    assert [each["step"] for each in asked(gateway, "batch", "show")["unsigned"]][:1] == ["line_clearance"]
    plant.sim("roll", batch="B-1", uid=order("B-1", 1)["uid"], thc=86.4, warning="WRN-VAPE-01")
    gateway.until(
        "the roll is read", lambda: gateway.status()["latest"].get("labeller/batch", {}).get("value") == "B-1"
    )
    while unsigned := gateway.status()["batch"]["unsigned"]:
        step = unsigned[0]
        asked(gateway, "sign", "B-1", step["step"], who=signers[step["role"]])
    gateway.until("the filler is there", lambda: _good(gateway, "filler/units", 0))
    gates_open(gateway, plant)
    assert asked(gateway, "batch", "start", "B-1", who="olga")["state"] == "running"

    assert asked(gateway, "take", "fill-weight-100", who="tom") == {"armed": "fill-weight-100"}
    refused(gateway, "armed", "take", "fill-weight-100", who="olga")
    refused(gateway, "sample_open", "balance", "tare", "balance", who="tom")
    refused(gateway, "no_such_rule", "take", "fill-wait", who="tom")
    refused(gateway, "bad_arguments", "take", "fill-weight-100", "--unit-no", str(2**60), who="tom")

    plant.sim("fault", device="viscometer", name="cut")
    alarm = gateway.until("an alarm", lambda: gateway.alarms().get("link:viscometer"))
    code, out, _ = gateway.cli("alarms")
    assert (code, "link:viscometer" in out, "unack" in out) == (0, True, True)
    refused(gateway, "another_occurrence", "alarms", "ack", "link:viscometer", "99", who="tom")
    asked(gateway, "alarms", "ack", "link:viscometer", str(alarm["occurrence"]), who="tom")
    plant.sim("heal", device="viscometer", name="cut")
    gateway.until("the viscometer is back", lambda: "link:viscometer" not in gateway.alarms())
    code, out, _ = gateway.cli("halts")
    assert (code, "why" in out) == (0, True)
    refused(gateway, "no_such_halt", "halts", "release", "filler:x", "--version", "1", "--reason", "x", who="tom")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_retained_at_the_end_is_the_last_there_is(tmp_path: Path, number: signal.Signals) -> None:
    """Stopped in order: the MES has the last record, a checkpoint over it, and reads that the gateway is gone."""
    with mosquitto(tmp_path) as broker:
        sink = {"kind": "mqtt", "url": f"mqtt://127.0.0.1:{broker.port}", "ack": "required"}
        with running(written(tmp_path / "line", sinks={"mes": sink})) as gateway:
            seen = Mes(broker.port)
            gateway.until("the gateway is told", lambda: seen.retained("state/gateway").get("online"))
            assert gateway.stop(number) == 0
        stopped = seen.wait_for("event/gateway/stopped")
        late = Mes(broker.port)
        late.wait_for("checkpoint")
        late.wait_for("state/gateway")

        assert stopped["body"]["why"] == number.name
        assert late.retained("state/gateway")["online"] is False
        assert int(late.texts["checkpoint"].splitlines()[1]) == stopped["index"] + 1
        seen.close()
        late.close()


class Mes:
    """Keeps the newest message of each topic below the line's path."""

    def __init__(self, port: int) -> None:
        self.texts: dict[str, str] = {}
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_message = self._heard
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(f"{TOPICS}/#", 1)
        self._client.loop_start()

    def _heard(self, client: object, data: object, message: mqtt.MQTTMessage) -> None:
        self.texts[message.topic.removeprefix(f"{TOPICS}/")] = message.payload.decode()

    def retained(self, topic: str) -> dict[str, Any]:
        return dict(json.loads(self.texts.get(topic) or "{}"))

    def wait_for(self, topic: str) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while topic not in self.texts:
            assert time.monotonic() < deadline, f"{topic} did not come; there are {sorted(self.texts)}"
            time.sleep(0.02)
        text = self.texts[topic]
        return dict(json.loads(text)) if text.startswith("{") else {}

    def close(self) -> None:
        self._client.loop_stop()
        self._client.disconnect()


def test_damaged_files_are_put_aside_and_told(tmp_path: Path) -> None:
    """People and latches spoilt while it was down: it starts, says so in the record and by alarms, and goes on."""
    with running(written(tmp_path)) as gateway:
        assert gateway.cli("people", "add", "anna", "--first-run", gateway.first_token())[0] == 0
        gateway.kill()
        (gateway.state / "people.json").write_text("{")
        (gateway.state / "latches.json").write_bytes(b"\x00" * 100)
        gateway.again()

        alarms = gateway.until(
            "both alarms", lambda: {"gateway:people", "gateway:latches"} <= set(gateway.alarms()) and gateway.alarms()
        )
        assert "people.json" in alarms["gateway:people"]["text"]
        assert "latches.json" in alarms["gateway:latches"]["text"]
        occurrence = str(alarms["gateway:people"]["occurrence"])
        assert gateway.cli("alarms", "ack", "gateway:people", occurrence, who="anna")[0] == 3, (
            "an admin only administers"
        )
        assert gateway.cli("people", "add", "tom", "--role", "technician", who="anna")[0] == 0, "the copy was read"
        assert gateway.cli("alarms", "ack", "gateway:people", occurrence, who="tom")[0] == 0


def test_files_that_were_taken_while_it_was_down_are_told(tmp_path: Path) -> None:
    """Latch file and checkpoint gone, then the ledger: an alarm for each, and no start fails."""
    with running(written(tmp_path)) as gateway:
        gateway.stop()
        gateway.again()
        assert not [name for name in gateway.alarms() if name.endswith("-differs")], "nothing was taken"
        gateway.stop()
        (gateway.state / "latches.json").unlink()
        (gateway.state / "evidence.checkpoint").unlink()
        gateway.again()
        told = {"gateway:latches-differs", "gateway:checkpoint-differs"}
        gateway.until("both alarms", lambda: told <= set(gateway.alarms()))
        gateway.stop()
        for name in ("evidence.db", "evidence.checkpoint"):
            (gateway.state / name).unlink()
        gateway.again()
        gateway.until("the alarm", lambda: "gateway:evidence-differs" in gateway.alarms())


def test_people_who_came_while_it_was_down_are_told(tmp_path: Path) -> None:
    """Somebody gives himself a role with an editor, or takes the file away: who it was is a record and an alarm."""
    with running(written(tmp_path)) as gateway:
        assert gateway.cli("people", "add", "anna", "--first-run", gateway.first_token())[0] == 0
        assert gateway.cli("people", "add", "tom", "--role", "operator", who="anna")[0] == 0
        gateway.stop()
        people = gateway.state / "people.json"
        people.write_text(people.read_text().replace('"operator"', '"qa"'))
        gateway.again()
        alarm = gateway.until("the alarm", lambda: gateway.alarms().get("gateway:people-differs"))
        assert alarm["text"].endswith("while the gateway was down: tom was operator and is qa")
        gateway.stop()
        for file in gateway.state.glob("people*"):
            file.unlink()
        gateway.again()
        alarm = gateway.until("the alarm", lambda: gateway.alarms().get("gateway:people-differs"))
        assert "anna is gone; tom is gone" in alarm["text"]


def test_a_line_that_cannot_record_is_judged_and_held_and_says_so(tmp_path: Path) -> None:
    """The store cannot be opened at all: no crash loop, status is answered, nothing is done, and it stops in order."""
    config = written(tmp_path)
    (tmp_path / "state" / "evidence.db").mkdir(parents=True)
    with running(config) as gateway:
        alarm = gateway.until("the alarm", lambda: gateway.alarms().get("gateway:store"))
        assert alarm["priority"] == "critical"
        exit_code, _, err = gateway.cli("people", "add", "anna", "--first-run", gateway.first_token())
        assert (exit_code, "not_recorded" in err) == (3, True)
        time.sleep(2)
        assert gateway.process.poll() is None
        assert gateway.stop() == 0


def test_systemd_is_told(tmp_path: Path) -> None:
    """Ready once it runs, alive while all loops move, stopping at the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(tmp_path / "notify"))
        door.settimeout(10)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1500000"}
        with running(written(tmp_path / "line"), **environment) as gateway:
            heard = [door.recv(100).decode() for _ in range(4)]
            assert gateway.stop() == 0
            while heard[-1] != "STOPPING=1":
                heard.append(door.recv(100).decode())

    assert heard[:4] == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]


def test_records_a_broker_will_never_take_are_an_alarm(tmp_path: Path) -> None:
    """Its ACL forgets the events: nothing is lost, and a person hears of it instead of the MES hearing nothing."""
    acl = tmp_path / "acl"
    acl.write_text(
        "".join(
            f"topic readwrite {TOPICS}/{each}\n" for each in ("state/#", "telemetry/#", "ack/#", "cmd/#", "checkpoint")
        )
    )
    with mosquitto(tmp_path, f"acl_file {acl}") as broker:
        sink = {"kind": "mqtt", "url": f"mqtt://127.0.0.1:{broker.port}", "ack": "required"}
        with running(written(tmp_path / "line", sinks={"mes": sink})) as gateway:
            alarm = gateway.until("the alarm", lambda: gateway.alarms().get("rejected:mes"))

            assert "not authorised" in alarm["text"]
            assert "/event/" in alarm["text"]
            assert gateway.stop() == 0
