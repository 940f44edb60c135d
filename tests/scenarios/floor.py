"""The floor the scenarios are played on: the real processes, the people, and what can be seen from outside.

What is judged comes from three places only: MQTT (records, telemetry, retained state), the simulators' own truth, and
the evidence bundle.  People act through the gateway's HTTP door, as they do at the line.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from paho.mqtt.client import MQTTMessage

from gateway import config_yaml
from gateway.client import Client
from gateway.demo.mes import Mes
from gateway.demo.robots import Technician
from gateway.demo.stage import Stage, order, wait_until
from gateway.errors import LinegateError, Refused

SPEED: Final = 40.0
"""Plant seconds in a second: a dead heater costs 5 K in four seconds."""
RATE: Final = 20.0
"""Units a second."""
RECIPE: Final = "vape-1g-demo"
HOT_CEL: Final = 75
"""Limit of the rule `oil-hot`, which holds the filler: a halt can be had by forcing one value."""
HOT_TAG: Final = "reservoir/temperature"
EVERY_S: Final = 0.05
WEIGHED: Final = "fill-weight-100"
"""The rule over the 1-in-100 plan: it holds the filler."""
ROLES: Final = {"operator": "olga", "technician": "tom", "supervisor": "sue", "qa": "quinn"}
MACHINES: Final = ("labeller", "filler")

Record = dict[str, Any]


def seed() -> int:
    """New dice for each run; SCENARIO_SEED plays one again."""
    return int(os.environ.get("SCENARIO_SEED") or secrets.randbits(31))


class Observer(Mes):
    """An MES that also keeps every scan of every device, and whose session outlives the broker."""

    def __init__(self, port: int, path: str) -> None:
        self.by_device: dict[str, list[dict[str, Any]]] = {}
        super().__init__(port, path, client_id="observer")

    def _telemetry(self, rest: str, document: Any, message: MQTTMessage) -> None:
        super()._telemetry(rest, document, message)
        self.by_device.setdefault(rest, []).extend(document.get("scans", [document]))


class Floor:
    """One stage, set up and running; every wait that fails says what did not happen."""

    def __init__(self, folder: Path) -> None:
        self.seed = seed()
        self.stage = Stage(folder, seed=self.seed, speed=SPEED, rate=RATE)
        self.sim = self.stage.sim
        self.people: dict[str, Client] = {}
        self.batch = ""
        self.began: dict[str, Any] = {}
        """The plant's truth when the batch began."""
        self._batches = 0
        self._mes: Observer | None = None
        self._technician: Technician | None = None

    # -- setting up ------------------------------------------------------------------------------

    def open(self) -> None:
        """Everything starts."""
        stage = self.stage
        stage.prepare(_line)
        for name, change in RECIPES.items():
            write_recipe(stage.folder / "recipes", name, change)
        stage.start_broker()
        stage.start_simulators("--oil-cel", "62")
        self._mes = Observer(stage.ports["mqtt"], stage.path)
        token = stage.start_gateway()
        stage.start_mes()
        stage.add_people(token)
        self.log_in()
        self.all_connected()

    def all_connected(self) -> None:
        """Every device gave a first scan."""
        devices = self.truth()["devices"]
        self.wait("every device is connected", lambda: all(self._has_scan(name) for name in devices), 30)

    def _has_scan(self, device: str) -> bool:
        return bool(self.shown(f"devices/{device}").get("connected")) and device in self.mes.by_device

    def close(self) -> None:
        if self._technician:
            self._technician.leave()
        if self._mes:
            self._mes.close()
        self.stage.stop()

    def log_in(self) -> None:
        """Sessions end with the gateway."""
        self.people = {name: self.stage.person(name) for name in ROLES.values()}

    @property
    def mes(self) -> Observer:
        assert self._mes is not None
        return self._mes

    # -- what is seen ----------------------------------------------------------------------------

    def wait(self, what: str, seen: Callable[[], Any], within_s: float = 15.0) -> Any:
        return wait_until(what, seen, within_s, EVERY_S)

    def records(self, *kinds: str, after: int = -1, **body: Any) -> list[Record]:
        """Records as the MES has them, by index; of these kinds, later than `after`, with these words in the body."""
        known = dict(self.mes.records)
        return [
            record
            for index, record in sorted(known.items())
            if index > after
            and (not kinds or record["kind"] in kinds)
            and all(record["body"].get(key) == value for key, value in body.items())
        ]

    def record(self, kind: str, *, within_s: float = 15.0, after: int = -1, **body: Any) -> Record:
        """Wait for such a record; the first of them."""
        found = self.wait(f"{kind} {body}", lambda: self.records(kind, after=after, **body), within_s)
        return dict(found[0])

    def newest(self) -> int:
        """Index of the newest record the MES has."""
        return max(self.mes.records, default=-1)

    def truth(self, device: str = "") -> dict[str, Any]:
        everything = self.sim("truth")
        return dict(everything["devices"][device]) if device else everything

    def machine(self, name: str) -> str:
        return str(self.truth(name)["state_name"])

    def holds(self, device: str, since_ns: int) -> list[dict[str, Any]]:
        """Commands to stand still as the machine met them since then (CLOCK_MONOTONIC)."""
        return [halt for halt in self.truth()["halts"] if halt["device"] == device and halt["mono_ns"] > since_ns]

    def writes(self, device: str, since_ns: int) -> list[dict[str, Any]]:
        return [write for write in self.truth(device)["writes"] if write["mono_ns"] > since_ns]

    def shown(self, topic: str) -> dict[str, Any]:
        """Retained state."""
        return dict(self.mes.state.get(topic) or {})

    def alarm(self, name: str) -> dict[str, Any] | None:
        return self.shown("alarms").get(name)

    def halt(self, device: str, state: str = "confirmed") -> dict[str, Any] | None:
        """A standing halt of the device, as shown to everybody."""
        halts = self.shown("halts").values()
        return next((dict(each) for each in halts if each["device"] == device and each["state"] == state), None)

    # -- what people do --------------------------------------------------------------------------

    def deviate(self, tag: str, value: Any) -> dict[str, Any]:
        """From now on the device says so; answers with `mono_ns` and `time_ns` of that moment."""
        return self.sim("deviate", tag=tag, value=value)

    def operate(self, machine: str, action: str, state: str) -> None:
        """At the machine's own panel."""
        assert self.sim("operator", device=machine, action=action)["done"], f"{machine} does not take {action}"
        self.wait(f"{machine} is {state}", lambda: self.machine(machine) == state)

    def begin(self, recipe: str = "quiet", units: int = 5000) -> str:
        """A batch from the MES's order to running machines."""
        self._batches += 1
        self.batch = f"B-{self._batches:03d}"
        document = order(self.batch, units, recipe=recipe)
        answer = self.mes.command("batch.order", order=document)
        assert answer["ok"], answer
        self.roll()
        self.sign_all()
        self.began = {**self.truth()["plant"], "record": self.newest()}
        self.people["olga"].command("batch.start", batch=self.batch)
        for machine in MACHINES:
            self.operate(machine, "reset", "Idle")
            self.operate(machine, "start", "Execute")
        return self.batch

    def roll(self, **wrong: Any) -> None:
        """Load a label roll; without `wrong` words the right one."""
        content = {"batch": self.batch, "uid": order(self.batch, 1)["uid"], "thc": 86.4, "warning": "WRN-VAPE-01"}
        self.sim("roll", **{**content, **wrong})

    def sign_all(self) -> None:
        """Whoever may sign what is missing signs it."""
        while missing := (self.people["olga"].status()["batch"].get("unsigned") or []):
            first = missing[0]
            self.people[ROLES[first["role"]]].command("batch.sign", signed=True, batch=self.batch, step=first["step"])

    def technician(self) -> Technician:
        """Tom comes and does every check that falls due."""
        self._technician = Technician(self.people["tom"], self.sim, lambda _: None)
        self._technician.base = self.base
        self._technician.start()
        return self._technician

    def acknowledge_all(self) -> None:
        for name, alarm in self.people["olga"].status().get("alarms", {}).items():
            if alarm["state"] in ("unack", "rtn_unack"):
                occurrence = int(alarm["occurrence"])
                self.people["tom"].command("alarm.acknowledge", alarm=name, occurrence=occurrence, comment="seen")

    def release(self, device: str, reason: str = "cause found and mended", recalibration: str = "none needed") -> None:
        """Acknowledge what stands and take the latches of a device off; the machine stays where it is.

        What changed between the look and the word is looked at again.
        """
        while True:
            self.acknowledge_all()
            try:
                self._release(device, reason=reason, recalibration=recalibration)
            except Refused as refusal:
                if refusal.code not in {"changed", "another_occurrence"}:
                    raise
            else:
                return

    def _release(self, device: str, **words: str) -> None:
        for halt in (self.people["olga"].status().get("halts") or {}).values():
            if halt["device"] == device:
                facts = {"halt": halt["halt"], "version": halt["version"]}
                self.people["tom"].command("halt.release", signed=True, **words, **facts)

    @property
    def base(self) -> int:
        """Units the filler had made before the batch: the simulators count on, a batch from its own start."""
        return int(self.began["units"])

    def units(self, first: int = 1, last: int | None = None) -> dict[int, dict[str, Any]]:
        """What was really made, by unit number of the batch."""
        until = {} if last is None else {"to": last + self.base}
        made = self.sim("units", **{"from": first + self.base, **until})["units"]
        return {unit["number"] - self.base: unit for unit in made}

    def count_up(self) -> None:
        """What people count and weigh at the end, from the plant's own truth."""
        plant = self.truth()["plant"]
        issued = int(plant["labels_issued"]) - int(self.began["labels_issued"]) + 20
        charged_g = float(plant["oil_used_g"]) - float(self.began["oil_used_g"]) + 40
        for name, value, unit in (
            ("labels_issued", issued, "{count}"),
            ("labels_returned", 20, "{count}"),
            ("oil_charged", f"{charged_g:.1f}", "g"),
            ("oil_remaining", "38.5", "g"),
            ("oil_waste", "1.5", "g"),
        ):
            self.people["tom"].command("batch.enter", batch=self.batch, name=name, value=str(value), unit=unit)

    def complete(self) -> dict[str, Any]:
        """Machines to their end, all is labelled, counted and reconciled."""
        self.operate("filler", "stop", "Stopped")
        self.wait("all units are labelled", lambda: self.truth()["plant"]["waiting_for_label"] == 0, 30)
        self.operate("labeller", "stop", "Stopped")
        self.count_up()
        return dict(self.people["olga"].command("batch.complete", batch=self.batch))

    def shut(self, reason: str) -> dict[str, Any]:
        """QA's disposition of a completed batch; answers with the body of `batch.closed`."""
        return dict(
            self.people["quinn"].command(
                "batch.close", signed=True, batch=self.batch, disposition="released", reason=reason
            )
        )

    def verify(self) -> str:
        """What an auditor sees who has the bundle and the checkpoint that the MES kept; it must hold."""
        bundle = Path(self.people["quinn"].command("batch.report", batch=self.batch)["bundle"])
        result = self.stage.verify(bundle, self._witness())
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def _witness(self) -> str:
        """The first checkpoint the MES saw that covers the whole batch."""
        closed = self.record("batch.closed", after=int(self.began["record"]))
        return str(self.wait("a checkpoint over it", lambda: self.mes.witness(closed["index"])))

    # -- the gateway's own life ------------------------------------------------------------------

    def start_gateway(self) -> None:
        """Again, after it was stopped or killed; people log in anew."""
        (self.stage.state / "console.token").unlink(missing_ok=True)  # a killed one leaves its own behind
        self.stage.start_gateway()
        self.log_in()

    def clear(self) -> None:
        """Leave the floor as it was found: nothing broken, nothing latched, no batch open, machines stopped."""
        if self._technician:
            self._technician.leave()
            self._technician = None
        for device in self.truth()["devices"]:
            self.sim("heal", device=device)
        self.sim("remove")
        self.sim("rate", value=RATE)
        for machine in MACHINES:
            self.sim("operator", device=machine, action="stop")
            self.wait(f"the {machine} stopped", partial(self._is_stopped, machine))
        self.wait("all latches are off", self._let_go, 30)
        if self.people["olga"].status().get("batch", {}).get("state") in ("running", "planned", "ready"):
            self.people["sue"].command("batch.abort", signed=True, batch=self.batch, reason="the scenario is over")

    def _is_stopped(self, machine: str) -> bool:
        return self.machine(machine) == "Stopped"

    def _let_go(self) -> bool:
        try:
            for machine in MACHINES:
                self.release(machine)
        except LinegateError:  # the cause still stands for a moment
            return False
        return not self.people["olga"].status().get("halts")

    # -- when it went wrong ----------------------------------------------------------------------

    def story(self) -> Iterator[tuple[str, str]]:
        """What to read after a failure: dice, logs, records."""
        yield "seed", f"SCENARIO_SEED={self.seed}"
        for name in ("gateway", "simulators", "mes"):
            log = self.stage.folder / f"{name}.log"
            if log.exists():
                yield f"{name}.log", log.read_text(errors="replace")[-6000:]
        lines = [
            f"{record['index']:4d} {record['kind']:20s} {json.dumps(record['body'])[:200]}" for record in self.records()
        ]
        yield "records", "\n".join(lines[-80:])
        if self._technician:
            yield "technician", "\n".join(self._technician.trouble[-10:])


def _line(document: dict[str, Any]) -> None:
    """The demonstration's line, and one rule more: oil hotter than any product bears holds the filler."""
    document["rules"]["oil-hot"] = {
        "kind": "limit",
        "input": "reservoir/temperature",
        "limits": {"unit": "Cel", "high": HOT_CEL},
        "halt": "filler",
        "alarm": "high",
        "deadline": "2s",
    }


def quiet(recipe: dict[str, Any]) -> None:
    """No check falls due: scenarios about machines are not disturbed by weighing."""
    recipe["plans"]["five_every"]["every"] = "8h"
    recipe["plans"]["every_100"] |= {"every_units": 1000000, "grace_units": 1000000}


def hundred(recipe: dict[str, Any]) -> None:
    """One check each hundred units, with time to do it."""
    recipe["plans"]["five_every"]["every"] = "8h"
    recipe["plans"]["every_100"] |= {"grace": "2min", "grace_units": 100}


def impatient(recipe: dict[str, Any]) -> None:
    """One check each hundred units, and two seconds to do it."""
    hundred(recipe)
    recipe["plans"]["every_100"]["grace"] = "2s"


QUIET: Final = "quiet"
RECIPES: Final = {QUIET: quiet, "hundred": hundred, "impatient": impatient}


def write_recipe(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """The demonstration's recipe under another name, changed."""
    recipe = config_yaml.read(folder / f"{RECIPE}.yaml").data
    recipe["id"] = name
    change(recipe)
    (folder / f"{name}.yaml").write_text(json.dumps(recipe, indent=1))  # JSON is YAML
