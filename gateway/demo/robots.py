"""The people of the demo: a technician who does the checks that are due, as one at the line would."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from gateway.client import Client
from gateway.demo.stage import Simulators, wait_until
from gateway.errors import LinegateError, Refused

WEIGH_WITHIN_S = 12.0


class Technician(threading.Thread):
    """Looks at what is due, puts cartridges on the balance, enters what has to be entered."""

    def __init__(self, person: Client, sim: Simulators, say: Callable[[str], None], *, pause_s: float = 0.2) -> None:
        super().__init__(name="technician", daemon=True)
        self.done: list[str] = []
        self.trouble: list[str] = []
        self.at_work = threading.Event()
        """Cleared: the technician is away, checks are missed."""
        self.at_work.set()
        self.base = 0
        """The plant counts units since it began, the batch from its own start."""
        self._person, self._sim, self._say, self._pause_s = person, sim, say, pause_s
        self._leave = threading.Event()
        self._extra: deque[str] = deque()

    def weigh_one(self, rule: str) -> None:
        """Asked for: one unit more, of the newest, beside what the plan asks for."""
        self._extra.append(rule)

    def leave(self) -> None:
        self._leave.set()
        self.join(20)

    def run(self) -> None:
        while not self._leave.wait(self._pause_s):
            if not self.at_work.is_set():
                continue
            try:
                self._look()
            except (LinegateError, OSError) as error:
                self.trouble.append(str(error))
                time.sleep(0.5)

    def _look(self) -> None:
        if self._extra:
            self._on_request(self._extra[0])
            self._extra.popleft()
        for check in (self._person.status().get("checks") or {}).values():
            if self._leave.is_set() or not self.at_work.is_set():
                return
            self._do(check)

    def _do(self, check: dict[str, Any]) -> None:
        """Everything the check still asks for, until it is judged."""
        for asked in check["asks"]:
            have = [each for each in check["samples"] if each["characteristic"] == asked["name"]]
            for _ in range(int(asked["n"]) - len(have)):
                if asked["source"] == "weighing":
                    if not self._weigh(check["id"], check["rule"]):
                        return
                else:
                    self._enter(check["id"], asked["name"], asked["unit"])
        self.done.append(check["id"])

    def _on_request(self, rule: str) -> None:
        """The newest unit, whatever the plan says; an open check of the rule takes it as one of its own."""
        unit = int(self._person.status()["batch"]["units"])
        try:
            self._sim("remove")
            self._person.command("check.take", rule=rule, unit_no=unit)
            time.sleep(0.3)
            self._sim("place", unit=unit + self.base)
            wait_until(f"{rule}: unit {unit} is weighed", lambda: not self._is_open(rule), WEIGH_WITHIN_S)
        finally:
            self._sim("remove")

    def _is_open(self, rule: str) -> bool:
        """Is there a check of this rule that is not judged yet?"""
        return any(each["rule"] == rule for each in (self._person.status().get("checks") or {}).values())

    def _weigh(self, check: str, rule: str) -> bool:
        """The newest cartridge not yet weighed goes onto the pan; true once its weight is bound."""
        before = self._samples(check)
        if before is None:
            return False
        unit = self._next_unit(check)
        if not unit:
            return False
        try:
            self._sim("remove")
            self._person.command("check.take", rule=rule, check=check, unit_no=unit)
            time.sleep(0.3)
            self._sim("place", unit=unit + self.base)
            wait_until(f"{check}: unit {unit} is weighed", lambda: self._samples(check) != before, WEIGH_WITHIN_S)
        except Refused as refusal:
            self.trouble.append(f"{check}: {refusal}")
            return False
        finally:
            self._sim("remove")
        return self._samples(check) is not None

    def _next_unit(self, check: str) -> int:
        now = self._check(check) or {}
        made = int(self._person.status()["batch"]["units"])
        taken = {each["unit_no"] for each in now.get("samples", [])}
        due = now.get("due_units") or made
        wanted = int(due) if not taken and now.get("why") == "schedule" else made
        if now.get("why") == "verification" and made <= int(now.get("due_units") or 0) + len(taken):
            time.sleep(0.5)  # the units to verify are still being made
            return 0
        while wanted in taken and wanted > 1:
            wanted -= 1
        return max(1, min(wanted, made))

    def _enter(self, check: str, name: str, unit: str) -> None:
        self._person.command("check.value", check=check, characteristic=name, value="0", unit=unit)

    def _check(self, check: str) -> dict[str, Any] | None:
        return (self._person.status().get("checks") or {}).get(check)

    def _samples(self, check: str) -> int | None:
        """How many samples it has; None once it is judged."""
        found = self._check(check)
        return None if found is None else len(found["samples"])
