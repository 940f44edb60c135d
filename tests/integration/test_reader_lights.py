"""Readers and lights as a line has them: the gateway's own process, simulated devices on real ports."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from process_kit import Process, running, written

from gateway.demo.stage import Stage

PERIOD_S = 0.25
TRIES = 5
LAMPS = {
    name: {"coil": at, "confirm": {"discrete": at}} for at, name in enumerate(("red", "amber", "blue", "green", "horn"))
}
RECIPE = """\
id: cart
version: "1"
name: A cartridge
sku: C-1
approved_by: QA
materials: [label]
before_start: [{id: clearance, text: The line is clear, role: operator}]
before_close: [{id: review, text: Reviewed, meaning: reviewed, role: qa}]
yields: {oil_per_unit: 1.00, min_percent: 95, max_percent: 101}
"""
UID = "1A4FF0100000022000000250"
LOT = {"kind": "label", "lot": "L-1", "uid": "1A4FF0100000022000000333", "quantity": "500", "unit": "{count}"}
ORDER = {
    "order": "PO-1",
    "batch": "B1",
    "sku": "C-1",
    "recipe": "cart",
    "quantity": 100,
    "uid": UID,
    "materials": [LOT],
}


class Floor:
    """What a person at the line sees and does."""

    def __init__(self, stage: Stage, gateway: Process) -> None:
        self.stage, self.gateway = stage, gateway

    def burning(self) -> set[str]:
        return set(self.stage.sim("truth")["devices"]["lights"]["burning"])

    def see(self, what: str, seen: Callable[[], Any], within_s: float = 20.0) -> Any:
        return self.gateway.until(what, seen, within_s)

    def lit_s(self, lamp: str, since_ns: int) -> float:
        """Seconds from then until the lamp was first lit."""
        changes = self.stage.sim("truth")["devices"]["lights"]["changes"]
        lit = [
            each["mono_ns"] for each in changes if each["lamp"] == lamp and each["on"] and each["mono_ns"] > since_ns
        ]
        return (lit[0] - since_ns) / 1e9 if lit else float("inf")

    def do(self, *arguments: str, who: str = "tom") -> Any:
        code, out, err = self.gateway.cli(*arguments, who=who)
        assert code == 0, (arguments, err)
        return json.loads(out)

    def acknowledge(self, alarm: str) -> None:
        self.do("alarms", "ack", alarm, str(self.gateway.alarms()[alarm]["occurrence"]))


def above(cel: float, **more: Any) -> dict[str, Any]:
    """A limit of the oil's temperature."""
    return {"kind": "limit", "input": "balance/temperature", "limits": {"unit": "Cel", "high": cel}, **more}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """An oil reservoir, a relay, a reader and a stack light."""
    stage = Stage(tmp_path_factory.mktemp("plant") / "line", seed=3, speed=1.0, rate=5.0)
    stage.folder.mkdir(parents=True)
    stage.start_simulators("--devices", "reservoir", "--with", "relay,reader,lights", "--extras-port", "0")
    yield stage
    stage.stop()


@pytest.fixture(scope="module")
def floor(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floor]:
    """The gateway before them, with its people."""
    tmp_path = tmp_path_factory.mktemp("gateway")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "cart.yaml").write_text(RECIPE)
    addresses = stage.plant["addresses"]
    tcp = {name: f"tcp://{addresses[name]['tcp']}" for name in ("reservoir", "relay", "reader", "lights")}
    config = written(
        tmp_path,
        gateway={
            "recipes": str(tmp_path / "recipes"),
            "counters": {"units": "reader/count"},
            "scans": {
                "materials": {"count": "reader/count", "code": "reader/code", "read": "reader/read", "again": "0s"}
            },
        },
        devices={  # the oil takes the place of the balance that `written` brings
            "balance": {"driver": "modbus", "url": tcp["reservoir"], "profile": "watlow-ez-zone-pm", "period": "250ms"},
            "permit": {
                "driver": "modbus",
                "url": tcp["relay"],
                "period": "250ms",
                "tags": {"open": {"address": 0, "table": "discrete"}},
                "halt": {
                    "write": {"coil": 0, "value": False},
                    "confirm": {"tag": "open", "equals": True},
                    "release": {"coil": 0, "value": True},
                },
            },
            "reader": {
                "driver": "reader",
                "url": tcp["reader"],
                "prefix": "\x02",
                "terminator": "\x03",
                "separator": ";",
                "fields": ["code", "grade", "angle"],
                "numbers": {"angle": "deg"},
                "heartbeat": "ALIVE",
                "period": "500ms",
            },
            "lights": {
                "driver": "lights",
                "url": tcp["lights"],
                "period": f"{PERIOD_S}s",
                "lamp_test": "500ms",
                "lamps": LAMPS,
                "watchdog": {"register": 4384, "value": 1000},
            },
        },
        rules={
            "warm": {
                "kind": "limit",
                "input": "balance/temperature",
                "limits": {"unit": "Cel", "high": 70},
                "alarm": "medium",
            },
            "hot": {
                "kind": "limit",
                "input": "balance/temperature",
                "limits": {"unit": "Cel", "high": 80},
                "alarm": "high",
            },
            "boiling": {
                "kind": "limit",
                "input": "balance/temperature",
                "limits": {"unit": "Cel", "high": 90},
                "halt": "permit",
            },
            "label": {
                "kind": "match",
                "on": "reader/count",
                "read": "reader/read",
                "no_read": "warn",
                "expect": {"reader/code": "batch.uid", "reader/grade": "A"},
            },
        },
    )
    stage.sim("fault", device="relay", name="no_watchdog")  # it would drop before a gateway that starts slowly
    stage.sim("operator", device="relay", action="permit")
    with running(config) as gateway:
        floor = Floor(stage, gateway)
        gateway.cli("people", "add", "anna", "--first-run", gateway.first_token())
        for name, role in (("olga", "operator"), ("tom", "technician"), ("sue", "supervisor")):
            floor.do("people", "add", name, "--role", role, who="anna")
        floor.see("all devices", lambda: all(d["connected"] for d in devices(gateway)) and len(devices(gateway)) == 4)
        floor.see("the lamp test is over", lambda: not floor.burning())
        yield floor


def devices(gateway: Process) -> list[dict[str, Any]]:
    return [document for topic, document in gateway.status().items() if topic.startswith("devices/")]


def deviate(floor: Floor, cel: float) -> int:
    return int(floor.stage.sim("deviate", tag="reservoir/temperature", value=cel)["mono_ns"])


def release(floor: Floor) -> None:
    """The oil is well again, all of it acknowledged, the latch off, the tower dark."""
    deviate(floor, 60.0)
    floor.see("the cause is gone", lambda: floor.gateway.alarms()["boiling"]["state"] == "rtn_unack")
    calm(floor)
    halt = floor.gateway.status()["halts"]["permit:boiling"]
    floor.do("halts", "release", "permit:boiling", "--version", str(halt["version"]), "--reason", "cooled down")
    floor.see("all dark", lambda: not floor.burning())


def calm(floor: Floor) -> None:
    """Nothing is unacknowledged, and nothing stands that the oil raised."""
    deviate(floor, 60.0)

    def over() -> bool:
        states = {name: alarm["state"] for name, alarm in floor.gateway.alarms().items()}
        for name in (name for name, state in states.items() if state == "rtn_unack"):
            floor.acknowledge(name)
        return all(states.get(name, "normal") == "normal" for name in ("warm", "hot", "boiling"))

    floor.see("no alarm of the oil", over)


def lit_soon(floor: Floor, lamp: str, cel: float, within_s: float, undo: Callable[[Floor], None]) -> None:
    """Oil so hot lights the lamp in that time; the best of some tries, as the machine under this test may stall."""
    took: list[float] = []
    while not took or (took[-1] >= within_s and len(took) < TRIES):
        if took:
            undo(floor)
        since = deviate(floor, cel)
        floor.see(lamp, lambda: lamp in floor.burning())
        took.append(floor.lit_s(lamp, since))
    assert took[-1] < within_s, f"{took} s: the poll of the reservoir and two of the lamps"


def test_alarm_amber_acknowledge_silence_halt_red(floor: Floor) -> None:
    """A high alarm lights amber within two periods and sounds; acknowledging silences; a halt is red until released."""
    lit_soon(floor, "amber", 85.0, 2 * PERIOD_S + PERIOD_S, calm)
    floor.see("amber and horn", lambda: {"amber", "horn"} <= floor.burning())
    floor.see("it flashes", lambda: "amber" not in floor.burning())

    for alarm in ("hot", "warm"):
        floor.acknowledge(alarm)
    floor.see("silence", lambda: "horn" not in floor.burning())
    floor.see("steady", lambda: floor.gateway.status()["latest"]["lights/amber"]["value"] == "steady")
    assert floor.burning() == {"amber"}
    time.sleep(3 * PERIOD_S)
    assert floor.burning() == {"amber"}

    lit_soon(floor, "red", 95.0, 3 * PERIOD_S, release)
    floor.see("the contact has opened", lambda: floor.stage.sim("truth")["devices"]["relay"]["closed"] is False)
    release(floor)


def test_a_lamp_that_burnt_out_is_an_alarm(floor: Floor) -> None:
    """Red takes every write and draws no current: bad in the scan, and an alarm that says which."""
    floor.stage.sim("fault", device="lights", name="broken", lamp="amber")
    deviate(floor, 75.0)
    alarm = floor.see("the alarm", lambda: floor.gateway.alarms().get("lamp:lights"))
    assert "amber does not follow: told on" in alarm["text"]
    floor.see("bad", lambda: "bad" in floor.gateway.status()["latest"]["lights/amber"].get("fault", ""))
    floor.stage.sim("heal", device="lights", name="broken")
    floor.see("it burns again", lambda: floor.gateway.alarms()["lamp:lights"]["state"] == "rtn_unack")
    deviate(floor, 60.0)


def test_reads_are_judged_and_recorded(floor: Floor) -> None:
    """A lot is scanned before the start; labels are judged while the batch runs; a burst loses none."""
    file = floor.gateway.config.parent / "order.json"
    file.write_text(json.dumps({**ORDER, "materials": [LOT]}))
    floor.do("batch", "order", str(file), who="sue")
    sim = floor.stage.sim
    sim("deviate", tag="reader/code", value="L-1")
    sim("deviate", tag="reader/code", value="L-2")
    alarm = floor.see("not of this batch", lambda: floor.gateway.alarms().get("scan:reader"))
    assert "'L-2' is not of batch B1" in alarm["text"]

    floor.do("sign", "B1", "clearance", who="olga")
    floor.do("batch", "start", "B1", who="olga")
    floor.see("green", lambda: "green" in floor.burning() or floor.gateway.alarms())
    sim("deviate", tag="reader/code", value=UID)
    sim("fault", device="reader", name="no_read", count=1)
    sim("operator", device="reader", action="trigger")
    warning = floor.see("no read", lambda: floor.gateway.alarms().get("label:no-read"))
    assert (warning["severity"], "label" in floor.gateway.alarms()) == ("warning", False)

    before = floor.gateway.status()["latest"]["reader/reads"]["value"]
    sim("fault", device="reader", name="burst", count=50)
    floor.see("all fifty", lambda: floor.gateway.status()["latest"]["reader/reads"]["value"] == before + 50)
    assert floor.gateway.status()["latest"]["reader/lost"]["value"] == 0
    assert "label" not in floor.gateway.alarms()
    assert "label:unseen" not in floor.gateway.alarms()

    sim("deviate", tag="reader/code", value="1A4FF0100000022000000999")
    wrong = floor.see("a wrong label", lambda: floor.gateway.alarms().get("label"))
    assert "reader/code reads '1A4FF0100000022000000999'" in wrong["text"]


def test_a_reader_that_is_away_is_bad_not_a_no_read(floor: Floor) -> None:
    """Cut: its tags are bad and the link is an alarm; back: it reads on, with a count of its own."""
    sim = floor.stage.sim
    sim("fault", device="reader", name="cut")
    floor.see("the link's alarm", lambda: floor.gateway.alarms().get("link:reader"))
    floor.see("bad", lambda: "bad" in floor.gateway.status()["latest"]["reader/read"].get("fault", ""))
    sim("heal", device="reader", name="cut")
    floor.see("it is back", lambda: floor.gateway.alarms()["link:reader"]["state"] == "rtn_unack")
    sim("deviate", tag="reader/code", value="X-1")
    floor.see("read", lambda: floor.gateway.status()["latest"]["reader/code"]["value"] == "X-1")

    assert floor.gateway.status()["latest"]["reader/count"]["value"] == 1
    assert floor.gateway.status()["latest"]["reader/no_reads"]["value"] == 0


def test_no_lamp_outlives_the_gateway(floor: Floor) -> None:
    """Killed, it can put nothing out: the module's watchdog, armed by us, does.  Stopped, it does it itself."""
    deviate(floor, 75.0)
    floor.see("amber", lambda: "amber" in floor.burning())
    floor.gateway.kill()
    deadline = time.monotonic() + 15
    while floor.burning() and time.monotonic() < deadline:
        time.sleep(0.1)

    assert not floor.burning()
    assert floor.stage.sim("truth")["devices"]["lights"]["tripped"] >= 1

    floor.gateway.again()
    floor.see("amber again", lambda: "amber" in floor.burning())
    floor.gateway.stop()
    assert not floor.burning()
