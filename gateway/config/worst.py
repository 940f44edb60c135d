"""How fast a rule can be at worst, from a physical change to the machine's own word that it stands.

    period + poll budget (timeout) of the slowest input  + the rule's own on-delay  + halt budget of the device held

Where the input is polled and beaten, a beat may stand before the poll (its budget is the timeout, too).  What is
derived with the scans of another device (`on`) waits for its next one.  A delay ends with a scan or with the line's
tick.  A stale rule counts from the last good value, which may be a poll old; what is derived from several devices is
good as long as its inputs last, though one of them is silent.  A rule that halts only for a dead input counts likewise;
a chart over a tag counts the points of its longest pattern, and the one in which the change came.  A machine
held by a withheld heartbeat takes its controller's own time.  Waiting for disk or network is in no term: a halt never
waits for either.  `make bench` measures beside this sum and fails where it is exceeded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from gateway.config.model import SPECIMEN_BATCH, Settings, resolve_rule
from gateway.config.patterns import looked_at
from gateway.drivers.base import DriverConfig
from gateway.recipe import Recipe
from gateway.rules.base import RuleConfig
from gateway.rules.limit import LimitConfig
from gateway.rules.spc.rule import SpcConfig
from gateway.rules.spc.told import longest
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
    wait_s: float = 0.0
    """For the next scan of those with which a derived tag is computed."""
    waits_for: str = ""
    lasts_s: float = 0.0
    """How long what is derived goes on from an input that is silent."""

    @property
    def tick_s(self) -> float:
        return TICK_S if self.delay_s else 0.0

    @property
    def total_s(self) -> float:
        seen_s = self.period_s + self.beat_s + self.poll_s + self.wait_s + self.lasts_s
        return round(seen_s + self.delay_s + self.tick_s + self.halt_s, 9)

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
            f"scan of {self.waits_for}": self.wait_s,
            "last value": self.lasts_s,
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
    row = _slowest(settings, name, config, _halting_silence_s(settings, config)) if config.halt else None
    if row is None:
        return
    if isinstance(config, SpcConfig):
        row = replace(row, delay_s=points_s(config), delay_is="points")
    for held in config.halt:
        if held in settings.devices:
            yield replace(row, halts=held, halt_s=settings.devices[held].stands_within_s)


def until_told(settings: Settings, name: str, config: RuleConfig) -> Row | None:
    """The worst case until the rule speaks, nothing halted; None where nothing is measured."""
    return _slowest(settings, name, config, _silence_s(config))


def _slowest(settings: Settings, name: str, config: RuleConfig, silence_s: float | None) -> Row | None:
    """By the input that takes longest.  `silence_s`: how long it must be silent; None: it is a value that speaks."""
    seen = {tag for tags in looked_at(config, settings.tagsets) for tag in tags}
    ways = {way for tag in seen for way in _ways(settings, tag) if way.device in settings.devices}
    rows = [_row(settings, name, config, way, silence_s) for way in sorted(ways)]
    return max(rows, key=lambda row: row.total_s, default=None)


def _row(settings: Settings, name: str, config: RuleConfig, way: Way, silence_s: float | None) -> Row:
    """As if this input were the only one."""
    device = settings.devices[way.device]
    row = Row(name, way.device, "", device.period_s, device.timeout_s, 0.0, 0.0, config.deadline_s, _beat_s(device))
    row = replace(row, wait_s=sum(_pace_s(settings, each) for each in way.paces), waits_for=" and ".join(way.paces))
    if silence_s is not None:
        return replace(
            row, period_s=0.0, beat_s=0.0, delay_s=silence_s, delay_is="silence", lasts_s=round(way.lasts_ns / 1e9, 9)
        )
    return replace(row, delay_s=_own(config, "on_delay_s"))


class Way(NamedTuple):
    """From a real device to a tag that is looked at."""

    device: str
    paces: tuple[str, ...]
    """Devices whose next scans are waited for on it."""
    lasts_ns: int
    """How long the tag may go on without the device."""


def _ways(settings: Settings, name: str) -> Iterator[Way]:
    """Of a device, those of all its tags."""
    device, _, tag = name.partition("/")
    virtual = settings.derived.get(device)
    if virtual is None:
        yield Way(device, (), 0)
        return
    devices = {source.tagset.device for source in virtual.sources.values()}
    for each in [virtual.tags[tag]] if tag in virtual.tags else virtual.tags.values():
        for source in each.names().values():
            at = virtual.sources[source]
            alone = at.tagset.device == virtual.on or devices == {at.tagset.device}
            waits = () if virtual.on in (None, at.tagset.device) else (virtual.on,)
            for way in _ways(settings, source):
                yield Way(way.device, (*way.paces, *waits), way.lasts_ns + (0 if alone else at.lasts_ns))


def _pace_s(settings: Settings, name: str) -> float:
    """Between two scans of a device, at worst; of a derived one between those of the device that brings most."""
    virtual = settings.derived.get(name)
    if virtual is None:
        device = settings.devices[name]
        return device.period_s + device.timeout_s + _beat_s(device)
    if virtual.on is not None:
        return _pace_s(settings, virtual.on)
    return min(_pace_s(settings, source.tagset.device) for source in virtual.sources.values())


def _silence_s(config: RuleConfig) -> float | None:
    """Of a rule that watches for silence; None of one that speaks of values."""
    return _own(config, "after_s") if config.kind == "stale" else None


def _halting_silence_s(settings: Settings, config: RuleConfig) -> float | None:
    """The same; also of limits that are all warnings, where nothing but a dead input halts."""
    if not isinstance(config, LimitConfig) or config.limits.low is not None or config.limits.high is not None:
        return _silence_s(config)
    devices = {tag.partition("/")[0] for tags in looked_at(config, settings.tagsets) for tag in tags}
    return max((config.patience_s(settings.periods_s.get(device, 1.0)) for device in devices), default=None)


def points_s(config: SpcConfig) -> float:
    """Of a chart over a tag: its longest pattern, and the point in which the change came."""
    return (longest(config) + 1) * config.every_s * config.n


def _beat_s(device: DriverConfig) -> float:
    """A subscribed device sends what changed while it is beaten; one that is polled is asked after the beat."""
    return device.timeout_s if device.beat_s and not device.subscribes else 0.0


def _own(config: RuleConfig, key: str) -> float:
    return float(getattr(config, key, 0.0) or 0.0)
