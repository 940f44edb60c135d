"""Who and what the acts are played with: the stage, the people, the MES, and what can be asked of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gateway.client import Client
from gateway.demo import start
from gateway.demo.mes import Mes
from gateway.demo.robots import Technician
from gateway.demo.screen import Screen
from gateway.demo.stage import Stage, wait_until
from gateway.errors import LinegateError, Refused

BATCH: Final = "B-2026-001"
SIGNERS: Final = {"operator": "olga", "technician": "tom", "supervisor": "sue", "qa": "quinn"}
"""Role -> who signs in it."""


class Cast:
    """Steps below raise LinegateError when what they wait for does not come true."""

    def __init__(self, stage: Stage, screen: Screen, units: int) -> None:
        self.stage = stage
        self.screen = screen
        self.units = units
        self.began = time.monotonic()
        self.people: dict[str, Client] = {}
        self.technician: Technician | None = None
        self.paths: dict[str, str] = {}
        """report, bundle: where they are."""
        self.verdict = ""
        self._mes: Mes | None = None

    def say(self, text: str) -> None:
        self.screen.say(time.monotonic() - self.began, text)

    def set_up(self) -> None:
        """Processes and people."""
        stage = self.stage
        stage.prepare()
        self.say("starting broker, simulated line, gateway and the stand-in MES")
        stage.start_broker()
        stage.start_simulators()
        self._mes = Mes(stage.ports["mqtt"], stage.path)
        token = stage.start_gateway()
        stage.start_mes()
        stage.add_people(token)
        for name in SIGNERS.values():
            self.people[name] = stage.person(name)
        self.screen.watch(self.people["olga"].status)
        self.say(f"gateway up; people: {', '.join(self.people)}; everything below {stage.folder}")

    def leave(self) -> None:
        if self.technician:
            self.technician.leave()
        if self._mes:
            self._mes.close()

    def troubles(self) -> list[str]:
        """What went wrong for the technician, newest last."""
        return self.technician.trouble[-5:] if self.technician else []

    # -- what is seen ----------------------------------------------------------------------------

    @property
    def mes(self) -> Mes:
        assert self._mes is not None
        return self._mes

    def wait(self, what: str, seen: Callable[[], Any], within_s: float) -> Any:
        self.screen.waiting(what)
        return wait_until(what, seen, within_s)

    def status(self) -> dict[str, Any]:
        return self.people["olga"].status()

    def value(self, tag: str, default: float) -> float:
        """The latest, or `default` where there is no good one."""
        value = self.status()["latest"].get(tag, {}).get("value")
        return default if value is None else float(value)

    def alarms(self) -> dict[str, Any]:
        """Those that are shown."""
        return dict(self.status().get("alarms") or {})

    def last_index(self) -> int:
        """Of the records the MES has."""
        return max(self.mes.records, default=-1)

    def beyond(self, alarm: str, *, shown: bool, since: int = -1) -> dict[str, Any] | None:
        """The first word after record `since` that a value is beyond its alarm limit, shown or suppressed by design."""
        for kind in ("alarm.raised", "alarm.changed", "alarm.suppressed"):
            for record in self.mes.kinds(kind):
                body = record["body"]
                told = body["alarm"] == alarm and body["severity"] == "alarm" and body["limit"] is not None
                if told and record["index"] > since and (body["state"] != "suppressed") is shown:
                    return dict(body)
        return None

    def halt(self, device: str, state: str) -> dict[str, Any] | None:
        for halt in (self.status().get("halts") or {}).values():
            if halt["device"] == device and halt["state"] == state:
                return dict(halt)
        return None

    def judged(self, rule: str, state: str, why: str | None = None) -> bool:
        for record in self.mes.kinds("check.judged"):
            body = record["body"]
            if body["rule"].startswith(rule) and body["state"] == state and why in (None, body["why"]):
                return True
        return False

    def machine(self, machine: str) -> str:
        """The state its own controller is in."""
        return str(self.stage.sim("truth")["devices"][machine]["state_name"])

    def all_acknowledged(self) -> bool:
        """Did the MES acknowledge all up to the close?"""
        upto = (self.status().get("mes") or {}).get("committed_upto", -1)
        return int(upto) >= max((int(r["index"]) for r in self.mes.kinds("batch.closed")), default=10**9)

    # -- what people do --------------------------------------------------------------------------

    def sign_all(self) -> None:
        """Whoever may sign what is missing signs it."""
        while missing := (self.status()["batch"].get("unsigned") or []):
            first = missing[0]
            person = SIGNERS[first["role"]]
            start.sign(self.people[person], BATCH, first["step"])
            self.say(f"{person} signs {first['step']} ({first['meaning']})")

    def operate(self, machine: str, action: str) -> None:
        self.stage.sim("operator", device=machine, action=action)

    def wait_for_state(self, machine: str, state: str) -> None:
        self.wait(f"the {machine} is in {state}", lambda: self.machine(machine) == state, 10)

    def restart(self, machine: str) -> None:
        self.operate(machine, "unhold")
        self.wait_for_state(machine, "Execute")

    def acknowledge_all(self, comment: str) -> None:
        """All that stand; one that a lost link hid between look and word is seen again when it comes back."""
        for name, alarm in self.alarms().items():
            if alarm["state"] in ("unack", "rtn_unack"):
                try:
                    self.people["tom"].command(
                        "alarm.acknowledge", alarm=name, occurrence=int(alarm["occurrence"]), comment=comment
                    )
                except Refused as refusal:
                    if refusal.code not in {"not_shown", "no_such_alarm", "acknowledged_already"}:
                        raise

    def release(self, device: str, reason: str, recalibration: str) -> None:
        """What changed between look and word (one more label of the wrong roll) is looked at again."""
        for left in reversed(range(5)):
            try:
                self.acknowledge_all("seen")
                self._release_once(device, reason, recalibration)
            except Refused as refusal:
                if not left or refusal.code not in {"changed", "another_occurrence", "not_acknowledged"}:
                    raise
            else:
                return

    def _release_once(self, device: str, reason: str, recalibration: str) -> None:
        for halt in list((self.status().get("halts") or {}).values()):
            if halt["device"] == device:
                self.people["tom"].command(
                    "halt.release",
                    signed=True,
                    halt=halt["halt"],
                    version=halt["version"],
                    reason=reason,
                    recalibration=recalibration,
                )

    def verify(self, witness: str) -> None:
        """`linegate verify` on the bundle.  LinegateError: it does not hold."""
        result = self.stage.verify(Path(self.paths["bundle"]), witness)
        self.verdict = result.stdout.strip()
        if result.returncode != 0:
            raise LinegateError(f"the evidence does not verify: {result.stdout}{result.stderr}")
