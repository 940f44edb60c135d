"""A filler and a balance for the tests of sampling rules, driven second by second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rules_kit import BALANCE, CONTEXT, FILLER, TESTER, WALL, S, bad, grams, scan, uncertain

from gateway.model import Entry, Tick
from gateway.rules.engine import Engine
from gateway.rules.sampling import SamplingConfig
from gateway.verdicts import Check, CheckChange, Finding, Verdict, Weighing

EXECUTE, HELD = 6, 11
WEIGHT = {
    "name": "weight",
    "kind": "variable",
    "source": "weighing",
    "window": {"unit": "g", "target": "1.00", "low": "0.95", "high": "1.05", "warn_low": "0.97", "warn_high": "1.03"},
}
LEAKS = {"name": "leaks", "kind": "attribute", "accept": 0}
TORQUE = {"name": "torque", "kind": "variable", "window": {"unit": "N.m", "low": "0.4", "high": "0.6"}}

EVERY_100 = {"every_units": 100, "n": 1, "characteristics": [WEIGHT], "grace_units": 20, "grace": "5min"}
EVERY_15_MIN = {"every": "15min", "n": 5, "characteristics": [WEIGHT], "grace": "5min"}
TAGS = {"weight": "balance/net", "count": "filler/units", "running": "filler/state", "tray": "filler/tray"}


def rule(plan: dict[str, Any], **keys: Any) -> SamplingConfig:
    return SamplingConfig.model_validate({"plan": plan, "halt": "filler", **TAGS, **keys})


class Line:
    """Engine, filler and balance.  `found` keeps everything the engine said."""

    def __init__(self, **rules: SamplingConfig) -> None:
        self.rules = rules
        self.found: list[Finding] = []
        self.at_s = 0.0
        self.state = EXECUTE
        self.counter = 5000
        self.made = 0
        self.engine = self._engine()

    def _engine(self) -> Engine:
        judges = {name: config.build(name, CONTEXT) for name, config in self.rules.items()}
        return Engine(judges, [BALANCE, FILLER, TESTER])

    def restart(self, down_s: float = 0.0) -> None:
        """A kill -9 and back, through JSON as the store has it."""
        states = json.loads(json.dumps(self.engine.dump()))
        self.engine = self._engine()
        self.engine.load(states)
        self.at_s += down_s

    def judge(self, event: Any) -> Sequence[Finding]:
        at_ns = round(self.at_s * S)
        found = self.engine.judge(event, at_ns, WALL + at_ns)
        self.found += found
        return found

    # -- the machine

    def filler(self, made: int = 0) -> Sequence[Finding]:
        """A scan of the filler, `made` units later; the tray is the one its newest unit lies in."""
        self.counter += made
        self.made += made
        tray = f"T{max(self.made - 1, 0) // 100 + 1}"
        return self.judge(scan(FILLER, self.at_s, self.state, self.counter, tray))

    def run(self, seconds: float, per_s: float = 0.0, step_s: float = 1.0) -> None:
        """Time goes by: a filler scan and a tick each step."""
        for _ in range(round(seconds / step_s)):
            self.at_s += step_s
            self.filler(round(per_s * step_s))
            self.judge(Tick())

    # -- the balance

    def pan(self, text: str | None, *, stable: bool = True, raw: bytes | None = None) -> Sequence[Finding]:
        self.at_s += 0.2
        faults = {} if stable else {0: uncertain() if text is not None else bad("no unit")}
        value = None if text is None else grams(text)
        return self.judge(scan(BALANCE, self.at_s, value, faults=faults, raw=raw))

    def put(self, text: str) -> Sequence[Finding]:
        """A cartridge is put on the empty pan and settles."""
        self.pan("0.000")
        self.pan(text, stable=False)
        return self.pan(text)

    def take(self, rule: str = "fill", person: str = "anna", **keys: Any) -> Sequence[Finding]:
        return self.judge(Entry("take", rule, person, **keys))

    def weigh(self, text: str, rule: str = "fill", **keys: Any) -> Sequence[Finding]:
        self.take(rule, **keys)
        return self.put(text)

    def enter(self, kind: str, rule: str = "fill", **keys: Any) -> Sequence[Finding]:
        return self.judge(Entry(kind, rule, keys.pop("person", "anna"), **keys))

    # -- what was said

    def changes(self, what: str | None = None) -> list[CheckChange]:
        found = [each for each in self.found if isinstance(each, CheckChange)]
        return [each for each in found if what in {None, each.what}]

    def verdicts(self) -> list[Verdict]:
        return [each for each in self.found if isinstance(each, Verdict)]

    def weighings(self) -> list[Weighing]:
        return [each for each in self.found if isinstance(each, Weighing)]

    def open(self) -> list[Check]:
        return self.engine.checks()

    def forget(self) -> None:
        self.found.clear()
