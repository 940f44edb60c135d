"""A simulated line, started in a folder of its own: broker, simulators, gateway, reference consumer, people.

Judged from three places only: MQTT, the simulators' own truth, and the evidence bundle.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway.client import Client
from gateway.demo.robots import Technician
from gateway.demo.stage import Stage, order, wait_until
from gateway.demo.start import open_gates
from gateway.errors import LinegateError
from gateway.hil.clock import OwnClock, forget
from gateway.hil.crew import Crew
from gateway.hil.eyes import Mark, Observer
from gateway.hil.hands import Hands
from gateway.hil.lines import LineFile, merged, write_recipes
from gateway.hil.scenario import Scenario, Step
from gateway.hil.seen import Seen
from gateway.hil.sights import Sight
from gateway.hil.verbs import Do
from gateway.model import Json
from gateway.world import World

ROLES: Final = {"operator": "olga", "technician": "tom", "supervisor": "sue", "qa": "quinn"}
MACHINES: Final = ("labeller", "filler")
EVERY_S: Final = 0.05
_TRUTH_LASTS_S: Final = 0.03
_WHOLE_DRAWN: Final = 6000
"""Characters of a log that are kept for a report."""


class SimulatedEyes:
    """All that can be seen of a simulated line."""

    def __init__(self, floor: Simulated) -> None:
        self._floor = floor
        self._truth: tuple[float, dict[str, Any]] = (-1.0, {})
        self._bundle: tuple[int, tuple[bool, str]] | None = None

    @property
    def observer(self) -> Observer:
        return self._floor.observer

    def truth(self) -> dict[str, Any]:
        """Of this moment: several expectations of one look share one question."""
        at_s, document = self._truth
        now_s = time.monotonic()
        if now_s - at_s > _TRUTH_LASTS_S:
            document = self._floor.stage.sim("truth")
            self._truth = (now_s, document)
        return document

    def machine(self, device: str) -> str:
        devices = self.truth()["devices"]
        if "state_name" not in devices.get(device, {}):
            raise LinegateError(f"{device} is no machine with states; there are {', '.join(MACHINES)}")
        return str(devices[device]["state_name"])

    def units(self, first: int = 1) -> dict[int, dict[str, Any]]:
        base = self._floor.base
        made = self._floor.stage.sim("units", **{"from": first + base})["units"]
        return {unit["number"] - base: unit for unit in made}

    def status(self) -> dict[str, Any]:
        return self._floor.crew.status()

    def ended(self) -> dict[str, Any]:
        return self._floor.ended

    def consumer(self) -> Path | None:
        return self._floor.stage.folder / "mes.db"

    def asked(self, sight: Sight, sentence: str) -> Seen | None:
        """Nobody needs to be asked."""
        del sight, sentence
        return None

    def verify(self) -> tuple[bool, str]:
        return self._floor.verify()


class Simulated:
    """One line.  `open`, then `begin` and `tidy` for each scenario, then `close`."""

    def __init__(self, folder: Path, line: LineFile, world: World | None = None) -> None:
        self._world = world or World()
        plant = line.simulators
        self.seed = self._world.rng.getrandbits(31) if plant.seed is None else plant.seed
        self.line = line
        self.stage = Stage(folder, seed=self.seed, speed=plant.speed, rate=plant.rate)
        self.sim = self.stage.sim
        self._eyes = SimulatedEyes(self)
        self.people: dict[str, Client] = {}
        self.batch = ""
        self.began: dict[str, Any] = {}
        """The plant's truth when the batch began."""
        self.ended: dict[str, Any] = {}
        self.clock: OwnClock | None = None
        """The gateway's, where the line gives it one."""
        self._observer: Observer | None = None
        self._technician: Technician | None = None
        self._batches = 0
        self._hands = Hands(self)

    @property
    def eyes(self) -> SimulatedEyes:
        return self._eyes

    @property
    def name(self) -> str:
        return f"simulated line, seed {self.seed}"

    # -- setting up ------------------------------------------------------------------------------

    def open(self) -> None:
        """Everything starts."""
        stage = self.stage
        stage.prepare(self._changed)
        write_recipes(self.line, stage.folder / "recipes")
        if self.line.own_clock:
            self.clock = OwnClock(stage.folder)
            stage.gateway_environment = self.clock.environment
        stage.start_broker()
        self.start_simulators()
        self._observer = Observer(stage.ports["mqtt"], stage.path)
        token = stage.start_gateway()
        stage.start_mes()
        stage.add_people(token)
        self.log_in()
        self.all_connected()

    def start_simulators(self) -> None:
        """As the line's file says."""
        plant = self.line.simulators
        self.stage.start_simulators("--oil-cel", str(plant.oil_cel), *(["--proxy"] if plant.proxy else []))

    def _changed(self, document: dict[str, Any]) -> None:
        changed = merged(document, self.line.change)
        document.clear()
        document.update(changed)

    def all_connected(self) -> None:
        """Every device gave a first scan."""
        devices = self.eyes.truth()["devices"]
        self.wait("every device is connected", lambda: all(self._has_scan(name) for name in devices), 30)

    def _has_scan(self, device: str) -> bool:
        shown = self.observer.state.get(f"devices/{device}") or {}
        return bool(shown.get("connected")) and device in self.observer.by_device

    def close(self) -> None:
        self._send_technician_home()
        if self._observer:
            self._observer.close()
        self.stage.stop()
        for pid in self.stage.gateways if self.clock else ():
            forget(pid)

    def log_in(self) -> None:
        """Sessions end with the gateway."""
        self.people = {name: self.stage.person(name) for name in ROLES.values()}

    @property
    def crew(self) -> Crew:
        return Crew(self.people, ROLES)

    @property
    def observer(self) -> Observer:
        assert self._observer is not None
        return self._observer

    # -- the floor of a player -------------------------------------------------------------------

    def begin(self, scenario: Scenario) -> Mapping[str, Json]:
        """With a batch: from the MES's order to running machines."""
        self.ended = {}
        self.began = {**self.eyes.truth()["plant"], "index": max(self.observer.records, default=-1)}
        if scenario.batch is not None:
            self.run_batch(scenario.batch.recipe, scenario.batch.units)
        return {"batch": self.batch, "began": self.began}

    def do(self, do: Do, step: Step, saved: Mapping[str, Json]) -> float | None:
        del step
        return self._hands.do(do, saved)

    def mark(self, now_s: float) -> Mark:
        return self.observer.mark(now_s, self._world.time_ns())

    def tidy(self) -> None:
        """Nothing broken, nothing latched, no batch open, machines stopped."""
        self._send_technician_home()
        if self.clock:
            self.clock.set_right()
        for device in self.eyes.truth()["devices"]:
            self.sim("heal", device=device)
        self.sim("remove")
        self.sim("rate", value=self.line.simulators.rate)
        for machine in MACHINES:
            self.sim("operator", device=machine, action="stop")
            self.wait(f"the {machine} stopped", partial(self._is_in, machine, "Stopped"))
        self.wait("all latches are off", self._let_go, 30)
        if (self.crew.status().get("batch") or {}).get("state") in ("running", "planned", "ready"):
            self.people["sue"].command("batch.abort", signed=True, batch=self.batch, reason="the scenario is over")

    def _is_in(self, machine: str, state: str) -> bool:
        return self.eyes.machine(machine) == state

    def _let_go(self) -> bool:
        try:
            for machine in MACHINES:
                self.crew.release(machine, "the scenario is over", "none needed")
        except LinegateError:  # the cause still stands for a moment
            return False
        return not self.crew.status().get("halts")

    # -- what the hands ask for ------------------------------------------------------------------

    def wait(self, what: str, seen: Callable[[], Any], within_s: float = 15.0) -> Any:
        return wait_until(what, seen, within_s, EVERY_S)

    def run_batch(self, recipe: str, units: int) -> None:
        """Ordered, signed, started; machines in Execute."""
        self._batches += 1
        self.batch = f"B-{self._batches:03d}"
        answer = self.observer.command("batch.order", order=order(self.batch, units, recipe=recipe))
        if not answer["ok"]:
            raise LinegateError(f"the order was not taken: {answer.get('message', answer)}")
        self.load_roll({})
        self.crew.sign_all(self.batch)
        open_gates(self.people, self.sim, self.batch)
        self.began = {**self.eyes.truth()["plant"], "index": max(self.observer.records, default=-1)}
        self.people["olga"].command("batch.start", batch=self.batch)
        for machine in MACHINES:
            self.press(machine, "reset", "Idle")
            self.press(machine, "start", "Execute")

    def load_roll(self, wrong: Mapping[str, Json]) -> None:
        """The batch's own roll, but for the words that are wrong."""
        content = {"batch": self.batch, "uid": order(self.batch, 1)["uid"], "thc": 86.4, "warning": "WRN-VAPE-01"}
        self.sim("roll", **{**content, **wrong})

    def press(self, machine: str, key: str, until: str = "") -> int:
        """At the machine's own panel; the moment, ns of CLOCK_MONOTONIC."""
        answer = self.sim("operator", device=machine, action=key)
        if not answer["done"]:
            raise LinegateError(f"{machine} is in {self.eyes.machine(machine)} and does not take {key}")
        if until:
            self.wait(f"{machine} is in {until}", lambda: self._is_in(machine, until))
        return int(answer["mono_ns"])

    @property
    def base(self) -> int:
        """Units the filler had made before the batch: simulators count on, a batch from its own start."""
        return int(self.began["units"])

    def call_technician(self) -> None:
        """Tom comes and does every check that falls due."""
        self._technician = Technician(self.people["tom"], self.sim, lambda _: None)
        self._technician.base = self.base
        self._technician.start()

    def send_technician_home(self) -> None:
        self._send_technician_home()

    def _send_technician_home(self) -> None:
        if self._technician:
            self._technician.leave()
            self._technician = None

    def start_gateway(self) -> None:
        """Again, after it was stopped or killed; people log in anew."""
        (self.stage.state / "console.token").unlink(missing_ok=True)  # a killed one leaves its own behind
        self.stage.start_gateway()
        self.log_in()

    def verify(self) -> tuple[bool, str]:
        """What an auditor sees who has the bundle and the checkpoint that the MES kept."""
        bundle = Path(self.people["quinn"].command("batch.report", batch=self.batch)["bundle"])
        result = self.stage.verify(bundle, self._witness())
        return result.returncode == 0, (result.stdout + result.stderr).strip()

    def _witness(self) -> str:
        """The first checkpoint the MES saw that covers the whole batch."""

        def covering() -> str:
            closed = [each for each in self.observer.kinds("batch.closed") if each["batch"] == self.batch]
            return self.observer.witness(closed[-1]["index"]) if closed else ""

        return str(self.wait("a checkpoint over the closed batch", covering))

    # -- when it went wrong ----------------------------------------------------------------------

    def story(self) -> Iterator[tuple[str, str]]:
        """What to read after a failure: dice, logs, records."""
        yield "seed", f"seed {self.seed}; folder {self.stage.folder}"
        for name in ("gateway", "simulators", "mes"):
            log = self.stage.folder / f"{name}.log"
            if log.exists():
                yield f"{name}.log", log.read_text(errors="replace")[-_WHOLE_DRAWN:]
        if self._observer:
            records = [record for _, record in sorted(dict(self._observer.records).items())]
            lines = [f"{each['index']:4d} {each['kind']:20s} {json.dumps(each['body'])[:200]}" for each in records]
            yield "records", "\n".join(lines[-80:])
        if self._technician:
            yield "technician", "\n".join(self._technician.trouble[-10:])


@contextlib.contextmanager
def simulated(folder: Path, line: LineFile) -> Iterator[Simulated]:
    """Open while the block runs; everything it started is gone afterwards."""
    floor = Simulated(folder, line)
    try:
        floor.open()
        yield floor
    finally:
        floor.close()
