"""The demo's story: one batch, a failing heater, a wrong label roll, and a record that verifies."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gateway.client import Client
from gateway.demo import start
from gateway.demo.mes import Mes
from gateway.demo.robots import Technician
from gateway.demo.screen import Screen, make_screen
from gateway.demo.stage import Stage, order, wait_until
from gateway.errors import LinegateError, Refused

SPEED: Final = 20.0
RATE: Final = 6.0
BATCH: Final = "B-2026-001"
WRONG_UID: Final = "1A4FF0100000022000009999"


def play(folder: Path, *, seed: int, units: int, stay: bool, plain: bool) -> int:
    """Run the whole story; 0 only if all of it happened."""
    stage = Stage(folder, seed=seed, speed=SPEED, rate=RATE, prefer_defaults=True)
    screen = make_screen(plain=plain)
    story = Story(stage, screen, units)
    try:
        with screen:
            story.set_up()
            story.tell()
        story.epilogue()
        if stay:
            _stay(stage)
    except LinegateError as error:
        troubles = "".join(f"\n  {each}" for each in story.troubles())
        print(f"\nthe demo did not come to its end: {error}{troubles}\nlogs are in {stage.folder}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        story.leave()
        stage.stop()
    return 0


def _stay(stage: Stage) -> None:
    print(f"\nthe line goes on: linegate status --state {stage.state}   (Ctrl-C ends it)")
    while True:
        time.sleep(3600)


class Story:
    """Steps that must each come true within their time."""

    def __init__(self, stage: Stage, screen: Screen, units: int) -> None:
        self.stage = stage
        self.screen = screen
        self.units = units
        self.began = time.monotonic()
        self._people: dict[str, Client] = {}
        self._technician: Technician | None = None
        self._mes: Mes | None = None
        self.paths: dict[str, str] = {}
        self.verdict = ""

    def say(self, text: str) -> None:
        self.screen.say(time.monotonic() - self.began, text)

    # -- curtain up ------------------------------------------------------------------------------

    def set_up(self) -> None:
        """Processes, people, order."""
        stage = self.stage
        stage.prepare()
        self.say("starting broker, simulated line, gateway and the stand-in MES")
        stage.start_broker()
        stage.start_simulators()
        self._mes = Mes(stage.ports["mqtt"], stage.path)
        token = stage.start_gateway()
        stage.start_mes()
        stage.add_people(token)
        for name in ("olga", "tom", "sue", "quinn"):
            self._people[name] = stage.person(name)
        self.screen.watch(self._people["olga"].status)
        self.say(f"gateway up; people: {', '.join(self._people)}; everything below {stage.folder}")

    def tell(self) -> None:
        """In order; each raises LinegateError when it does not come true."""
        for step in (
            self.order_comes,
            self.oil_warms_up,
            self.signatures,
            self.gates_open,
            self.batch_starts,
            self.checks_are_taken,
            self.heater_fails,
            self.recalibrated,
            self.wrong_roll,
            self.batch_ends,
            self.closed,
            self.verified,
        ):
            step()

    # -- scenes ----------------------------------------------------------------------------------

    def order_comes(self) -> None:
        document = order(BATCH, self.units)
        answer = self._the_mes.command("batch.order", order=document)
        if not answer.get("ok"):
            raise LinegateError(f"the order was not taken: {answer}")
        self.say(f"MES orders {self.units} cartridges: batch {BATCH}, COA THC 86.4 %, lots and UIDs checked")
        labels = {"batch": BATCH, "uid": document["uid"], "thc": 86.4, "warning": "WRN-VAPE-01"}
        self.stage.sim("roll", **labels)

    def oil_warms_up(self) -> None:
        self.say("the oil heats up to its window")
        self._wait("the oil is warm", lambda: self._value("reservoir/temperature", 0) >= 60.5, 60)

    def signatures(self) -> None:
        """Whoever may sign what is missing signs it."""
        roles = {"operator": "olga", "technician": "tom", "supervisor": "sue", "qa": "quinn"}
        while missing := (self._status()["batch"].get("unsigned") or []):
            first = missing[0]
            person = roles[first["role"]]
            start.sign(self._people[person], BATCH, first["step"])
            self.say(f"{person} signs {first['step']} ({first['meaning']})")

    def gates_open(self) -> None:
        """What still keeps the batch from its start is seen, and done."""
        try:
            self._people["olga"].command("batch.start", batch=BATCH)
        except Refused as refusal:
            self.say(f"REFUSED: {refusal}")
        else:
            raise LinegateError("the batch started although the balance was not checked today")
        for gate in start.open_gates(self._people, self.stage.sim, BATCH, self.say):
            self.say(f"   gate {gate['gate']}: {gate['state']}, {gate['asks']}")
        self._wait("the gates on MQTT", lambda: (self._the_mes.state.get("gates") or {}).get("open"), 10)

    def batch_starts(self) -> None:
        self._people["olga"].command("batch.start", batch=BATCH)
        for machine in ("labeller", "filler"):
            self._operate(machine, "reset")
        for machine in ("labeller", "filler"):
            self._wait_for_state(machine, "Idle")
            self._operate(machine, "start")
        self.say("batch started; olga starts labeller and filler at their panels")
        self._technician = Technician(self._people["tom"], self.stage.sim, self.say)
        self._technician.start()

    def checks_are_taken(self) -> None:
        """Both plans are asked for and done."""
        self._wait("a 1-in-100 check passed", lambda: self._judged("fill-weight-100", "passed"), 60)
        self._wait("a five-unit check passed", lambda: self._judged("fill-weight-5", "passed"), 60)
        self.say("tom took checks of both plans: all within limits")

    def heater_fails(self) -> None:
        self.stage.sim("fault", device="reservoir", name="heater_failure")
        self.say("the heater fails (nobody knows yet)")
        self._wait("the temperature alarm", lambda: "oil-temperature" in self._alarms(), 60)
        self.say("Linegate warns: oil temperature is leaving its window")
        self._wait("the viscosity alarm", lambda: "oil-viscosity" in self._alarms(), 60)
        self.say("Linegate warns: viscosity is rising with it")
        halt = self._wait("the filler is halted", lambda: self._halt("filler", "confirmed"), 90)
        self.say(f"HALT: {halt['text']}")
        self.say(f"the filler itself says: {halt['proof']}; suspect: {', '.join(halt['suspects'])}")

    def recalibrated(self) -> None:
        """Cause mended, alarm acknowledged, recalibration recorded, latch released; the operator restarts."""
        self.stage.sim("heal", device="reservoir", name="heater_failure")
        self.say("maintenance mends the heater; the oil warms up again")
        self._wait("the oil is warm again", lambda: self._value("reservoir/temperature", 0) >= 61, 60)
        self.stage.sim("recalibrate")
        self._release(
            "filler", "heater relay replaced, oil back at 62 Cel", "pump recalibrated to 1.000 g, 3 test doses"
        )
        self._restart("filler")
        self.say("tom records the recalibration and releases; olga restarts the filler at its panel")
        self._wait("verification passed", lambda: self._judged("fill-weight", "passed", why="verification"), 60)
        self.say("the next five units were all checked: good; the plan resumes")

    def wrong_roll(self) -> None:
        self.stage.sim("roll", batch=BATCH, uid=WRONG_UID, thc=86.4, warning="WRN-VAPE-01")
        self.say("somebody loads a label roll with another UID")
        halt = self._wait("the labeller is halted", lambda: self._halt("labeller", "confirmed"), 30)
        self.say(f"HALT: {halt['text']}")
        self.stage.sim("roll", batch=BATCH, uid=order(BATCH, 1)["uid"], thc=86.4, warning="WRN-VAPE-01")
        self._release("labeller", "wrong roll removed, first label of the right roll approved", "")
        self._restart("labeller")
        self.say("the right roll is back; released with a reason; labelling goes on")

    def batch_ends(self) -> None:
        self._wait(f"{self.units} units", lambda: self._status()["batch"]["units"] >= self.units, 150)
        self._operate("filler", "stop")
        self._wait("all units are labelled", self._labelled, 60)
        self._operate("labeller", "stop")
        if self._technician:
            self._technician.leave()
        self._count_up()
        done = self._people["olga"].command("batch.complete", batch=BATCH)
        self.say("batch completed; reconciled:")
        for equation in done["reconciliation"]:
            self.say(f"   {equation['name']}: {_numbers(equation)}")

    def closed(self) -> None:
        self._acknowledge_all("end of batch, reviewed")
        self.signatures()
        for tray in self._status()["batch"]["suspect"]:
            arguments: dict[str, Any] = {
                "batch": BATCH,
                "tray": tray,
                "disposition": "rejected",
                "reason": "filled while oil was cold",
            }
            self._people["quinn"].command("batch.tray", signed=True, **arguments)
        reason = "deviations reviewed: heater failure and wrong roll; suspect trays rejected"
        arguments = {"batch": BATCH, "disposition": "released", "reason": reason}
        self._people["quinn"].command("batch.close", signed=True, **arguments)
        self.say("quinn (QA) reviews by exception and closes the batch")
        self._wait("the MES has it", lambda: bool(self._the_mes.kinds("batch.completed")), 20)
        self._wait("the MES acknowledged everything", self._all_acknowledged, 30)

    def verified(self) -> None:
        closed = int(self._the_mes.kinds("batch.closed")[-1]["index"])
        witness = self._wait("the MES has a checkpoint over it", lambda: self._the_mes.witness(closed), 15)
        self.paths = self._people["quinn"].command("batch.report", batch=BATCH)
        result = self.stage.verify(Path(self.paths["bundle"]), witness)
        self.verdict = result.stdout.strip()
        if result.returncode != 0:
            raise LinegateError(f"the evidence does not verify: {result.stdout}{result.stderr}")
        self.say("linegate verify: the evidence holds")

    def epilogue(self) -> None:
        """Where to look, what to try."""
        taken = time.monotonic() - self.began
        mes = self._the_mes
        self.screen.after(
            f"""
{self.verdict}

The batch ran in {taken:.0f} s.  The MES received {len(mes.records)} records and {mes.telemetry_count} scans.
  report    {self.paths["report"]}
  evidence  {self.paths["bundle"]}
  logs      {self.stage.folder}

What to try next
  linegate verify {self.paths["bundle"]}
  make demo STAY=1            leaves the line running; then, in another terminal:
    .venv/bin/linegate status --state {self.stage.state}
    .venv/bin/linegate halts --state {self.stage.state}
  linegate check config/line.yaml
"""
        )

    def troubles(self) -> list[str]:
        """What went wrong for the technician, newest last."""
        return self._technician.trouble[-5:] if self._technician else []

    def leave(self) -> None:
        if self._technician:
            self._technician.leave()
        if self._mes:
            self._mes.close()

    # -- what the scenes are made of -------------------------------------------------------------

    @property
    def _the_mes(self) -> Mes:
        assert self._mes is not None
        return self._mes

    def _wait(self, what: str, seen: Callable[[], Any], within_s: float) -> Any:
        self.screen.waiting(what)
        return wait_until(what, seen, within_s)

    def _status(self) -> dict[str, Any]:
        return self._people["olga"].status()

    def _value(self, tag: str, default: float) -> float:
        value = self._status()["latest"].get(tag, {}).get("value")
        return default if value is None else float(value)

    def _alarms(self) -> dict[str, Any]:
        return dict(self._status().get("alarms") or {})

    def _halt(self, device: str, state: str) -> dict[str, Any] | None:
        for halt in (self._status().get("halts") or {}).values():
            if halt["device"] == device and halt["state"] == state:
                return dict(halt)
        return None

    def _judged(self, rule: str, state: str, why: str | None = None) -> bool:
        for record in self._the_mes.kinds("check.judged"):
            body = record["body"]
            if body["rule"].startswith(rule) and body["state"] == state and why in (None, body["why"]):
                return True
        return False

    def _operate(self, machine: str, action: str) -> None:
        self.stage.sim("operator", device=machine, action=action)

    def _wait_for_state(self, machine: str, state: str) -> None:
        self._wait(f"the {machine} is in {state}", lambda: self._machine(machine) == state, 10)

    def _machine(self, machine: str) -> str:
        return str(self.stage.sim("truth")["devices"][machine]["state_name"])

    def _acknowledge_all(self, comment: str) -> None:
        for name, alarm in self._alarms().items():
            if alarm["state"] in ("unack", "rtn_unack"):
                self._people["tom"].command(
                    "alarm.acknowledge", alarm=name, occurrence=int(alarm["occurrence"]), comment=comment
                )

    def _release(self, device: str, reason: str, recalibration: str) -> None:
        """What changed between look and word (one more label of the wrong roll) is looked at again."""
        for left in reversed(range(5)):
            try:
                self._acknowledge_all("seen")
                self._release_once(device, reason, recalibration)
            except Refused as refusal:
                if not left or refusal.code not in {"changed", "another_occurrence", "not_acknowledged"}:
                    raise
            else:
                return

    def _release_once(self, device: str, reason: str, recalibration: str) -> None:
        for halt in list((self._status().get("halts") or {}).values()):
            if halt["device"] == device:
                self._people["tom"].command(
                    "halt.release",
                    signed=True,
                    halt=halt["halt"],
                    version=halt["version"],
                    reason=reason,
                    recalibration=recalibration,
                )

    def _restart(self, machine: str) -> None:
        self._operate(machine, "unhold")
        self._wait_for_state(machine, "Execute")

    def _labelled(self) -> bool:
        return int(self.stage.sim("truth")["plant"]["waiting_for_label"]) == 0

    def _count_up(self) -> None:
        """What the technician counts and weighs at the end, from the plant's own truth."""
        truth = self.stage.sim("truth")["plant"]
        batch = self._status()["batch"]
        damaged = int(truth["labels_damaged"])
        issued = int(batch["labels"]) + damaged + 20
        for name, value, unit in (
            ("labels_issued", issued, "{count}"),
            ("labels_returned", 20, "{count}"),
            ("oil_charged", f"{float(truth['oil_used_g']) + 40:.1f}", "g"),
            ("oil_remaining", "38.5", "g"),
            ("oil_waste", "1.5", "g"),
        ):
            self._people["tom"].command("batch.enter", batch=BATCH, name=name, value=str(value), unit=unit)

    def _all_acknowledged(self) -> bool:
        status = self._status()
        upto = (status.get("mes") or {}).get("committed_upto", -1)
        return int(upto) >= max((int(r["index"]) for r in self._the_mes.kinds("batch.closed")), default=10**9)


def _numbers(equation: dict[str, Any]) -> str:
    """`513 {count} = 499 applied + ...`: an equation with its inputs and what is left over."""
    terms = ", ".join(f"{each['name']} {each['value']}" for each in equation["inputs"])
    verdict = "within" if equation["ok"] else "OUTSIDE"
    return f"{terms}; off by {equation['difference']} {equation['unit']} ({equation['percent']} %), {verdict} the limit"
