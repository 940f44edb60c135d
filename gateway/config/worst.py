"""How fast a rule can be at worst, from a physical change to the machine's own word that it stands.

    period + poll budget (timeout) of the slowest input  + the rule's own on-delay  + halt budget of the device held

Where the input is polled and beaten, a beat may stand before the poll (its budget is the timeout, too).  A delay ends
with a scan or with the line's tick.  A stale rule counts from the last good value, which may be a poll old.  A machine
held by a withheld heartbeat takes its controller's own time.  Waiting for disk or network is in no term: a halt never
waits for either.  `make bench` measures beside this sum and fails where it is exceeded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from gateway.config.model import SPECIMEN_BATCH, Settings, resolve_rule
from gateway.config.patterns import looked_at
from gateway.drivers.base import DriverConfig
from gateway.recipe import Recipe
from gateway.rules.base import RuleConfig
from gateway.units import duration_text

TICK_S: Final = 0.1
"""The line's own look at what time alone decides (gateway.line)."""


@dataclass(frozen=True)
class Row:
    """Worst-case reaction of one rule on one device it halts.  Seconds."""

    rule: str
    measures: str
    """The slowest of the devices it looks at."""
    halts: str
    period_s: float
    poll_s: float
    delay_s: float
    halt_s: float
    deadline_s: float | None
    beat_s: float = 0.0
    """Budget of a beat that may stand before the poll."""
    delay_is: str = "on-delay"

    @property
    def tick_s(self) -> float:
        return TICK_S if self.delay_s else 0.0

    @property
    def total_s(self) -> float:
        return round(self.period_s + self.beat_s + self.poll_s + self.delay_s + self.tick_s + self.halt_s, 9)

    @property
    def kept(self) -> bool:
        return self.deadline_s is None or self.total_s <= self.deadline_s

    @property
    def sum(self) -> str:
        """`250ms period + 500ms poll + 500ms halt = 1250ms`."""
        terms = {
            "period": self.period_s,
            "beat": self.beat_s,
            "poll": self.poll_s,
            self.delay_is: self.delay_s,
            "tick": self.tick_s,
            "halt": self.halt_s,
        }
        told = " + ".join(f"{duration_text(seconds)} {what}" for what, seconds in terms.items() if seconds)
        return f"{told} = {duration_text(self.total_s)}"


def worst_case(settings: Settings, recipe: Recipe | None = None) -> list[Row]:
    """A row for each rule and device it halts; without a recipe only the rules that need none."""
    rows: list[Row] = []
    for rule in settings.rules.values():
        config, _ = resolve_rule(rule, settings.document, recipe, SPECIMEN_BATCH)
        if config is not None:
            rows += rows_of(settings, rule.name, config)
    return rows


def rows_of(settings: Settings, name: str, config: RuleConfig) -> Iterator[Row]:
    """A row for each device that this rule halts."""
    row = until_told(settings, name, config) if config.halt else None
    if row is None:
        return
    for held in config.halt:
        if held in settings.devices:
            yield replace(row, halts=held, halt_s=settings.devices[held].stands_within_s)


def until_told(settings: Settings, name: str, config: RuleConfig) -> Row | None:
    """The worst case until the rule speaks, nothing halted; None where nothing is measured."""
    seen = {tag for tags in looked_at(config, settings.tagsets) for tag in tags}
    inputs = {real for tag in seen for real in settings.sources(tag)}
    measured = [(device, settings.devices[device]) for device in sorted(inputs) if device in settings.devices]
    if not measured:
        return None
    slowest, device = max(measured, key=lambda pair: pair[1].period_s + pair[1].timeout_s + _beat_s(pair[1]))
    row = Row(name, slowest, "", device.period_s, device.timeout_s, 0.0, 0.0, config.deadline_s, _beat_s(device))
    if config.kind == "stale":
        return replace(row, period_s=0.0, beat_s=0.0, delay_s=_own(config, "after_s"), delay_is="silence")
    return replace(row, delay_s=_own(config, "on_delay_s"))


def _beat_s(device: DriverConfig) -> float:
    """A subscribed device sends what changed while it is beaten; one that is polled is asked after the beat."""
    return device.timeout_s if device.beat_s and not device.subscribes else 0.0


def _own(config: RuleConfig, key: str) -> float:
    return float(getattr(config, key, 0.0) or 0.0)
