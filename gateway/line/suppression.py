"""What suppresses an alarm by design: its rule's configuration, and what explains missing input: a link, an alarm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final

from gateway.alarms import Alarm
from gateway.line.alarm_book import LINK
from gateway.line.blind import RANK, Blind
from gateway.line.rules import Rules
from gateway.model import Priority, Quality, Scan
from gateway.rules.base import RuleConfig

SETTLE_PERIODS: Final = 4
LEAST_SETTLE_S: Final = 1.0


class Suppression:
    """Asked for each verdict, and again whenever something that suppresses began or ended."""

    def __init__(self, rules: Rules, latest: Mapping[str, Scan], standing: Mapping[str, Alarm]) -> None:
        self.holds: Callable[[str], bool] = lambda _: False
        """Does the condition of the alarm of this name hold?  The owner of the alarms fills it."""
        self._rules = rules
        self._blind = Blind(rules, standing)
        self._latest = latest
        self._settling: dict[str, float] = {}
        """Device whose link is back -> loop time until which its first values may take."""
        self._seen: frozenset[object] = frozenset()
        self._measuring: dict[str, list[str]] = {}
        """Device -> the real ones it is computed from; a line's devices do not change."""

    def explains(self, link: str) -> bool:
        """Does this lost link suppress now?  Also while its first values may still take their time."""
        return self._is_away(link.removeprefix(LINK))

    def latches(self, rule: str) -> bool:
        config = self._rules.config_of(rule)
        return config is not None and config.latched

    def causes(self, rule: str, subject: str, *, blind: bool) -> tuple[str, ...]:
        """What suppresses it now; () for nothing, and for the gateway's own alarms."""
        config = self._rules.config_of(rule)
        if config is None:
            return ()
        dead = (tuple(self._lost(subject, config)) or self._blind.told(rule, subject, config)) if blind else ()
        if not config.suppressed_by and config.suppressed_unless is None:
            return dead  # ten thousand rules ask, when a hundred devices are gone
        return tuple(dict.fromkeys([*dead, *self._by_design(config)]))

    def may(self, rule: str, cause: str, *, blind: bool) -> bool:
        """Is there anything in this configuration by which this cause could suppress that rule?"""
        config = self._rules.config_of(rule)
        if config is None:
            return False
        known = cause.removeprefix(LINK) in self._rules.devices if cause.startswith(LINK) else cause in self._rules
        return (blind and known) or cause in (*config.suppressed_by, config.suppressed_unless)

    def _by_design(self, config: RuleConfig) -> Iterator[str]:
        yield from (name for name in config.suppressed_by if self._stands(name))
        tag = config.suppressed_unless
        if tag is not None and not self._runs(tag, config.suppressed_unless_states):
            yield tag

    def _lost(self, subject: str, config: RuleConfig) -> Iterator[str]:
        for device in self._devices(subject, config):
            if self._is_away(device):
                yield LINK + device

    def _devices(self, subject: str, config: RuleConfig) -> list[str]:
        """The real devices it looks at: of a derived tag, those it is computed from."""
        at = subject.partition("/")[0]
        if at not in self._rules.tagsets:
            return sorted({real for name in config.inputs() for real in self._measured_by(name.partition("/")[0])})
        return self._measured_by(at)

    def _measured_by(self, device: str) -> list[str]:
        if device not in self._measuring:
            self._measuring[device] = sorted(self._rules.measuring(device))
        return self._measuring[device]

    def _is_away(self, device: str) -> bool:
        return self.holds(LINK + device) or self._settling.get(device, 0.0) > asyncio.get_running_loop().time()

    def _stands(self, name: str) -> bool:
        device = name.removeprefix(LINK)
        if device != name:
            return self._is_away(device)
        return any(self.holds(each) for each in self._rules.names_of(name))

    def _runs(self, tag: str, states: tuple[int, ...]) -> bool:
        """Does the machine run?  Unknown counts as running: it hides nothing."""
        device, _, name = tag.partition("/")
        scan = self._latest.get(device)
        position = None if scan is None else scan.tagset.index.get(name)
        if scan is None or position is None:
            return True
        fault, value = scan.faults.get(position), scan.values[position]
        if value is None or (fault is not None and fault.quality is Quality.BAD):
            return True
        return value if isinstance(value, bool) else value in states

    # -- what changed --------------------------------------------------------------------------------

    def link(self, device: str, *, up: bool) -> None:
        """Its link was lost, or is back: then its first values may take their time."""
        if up and self.holds(LINK + device):
            settle_s = max(LEAST_SETTLE_S, SETTLE_PERIODS * self._rules.period_s(device))
            self._settling[device] = asyncio.get_running_loop().time() + settle_s

    def priority(self, device: str) -> Priority:
        """Of the alarm of its link: the highest of what it may suppress, at least medium."""
        found = [Priority.MEDIUM]
        for config in self._rules.configs:
            bad, alarm = getattr(config, "bad_input", None), getattr(config, "alarm", None)
            tells = config.kind == "stale" or bad not in (None, "ignore")
            if tells and isinstance(alarm, Priority) and any(self._matches(device, name) for name in config.inputs()):
                found.append(alarm)
        return max(found, key=RANK.__getitem__)

    def _matches(self, device: str, name: str) -> bool:
        at = name.partition("/")[0]
        return fnmatchcase(device, at) or (at in self._rules.tagsets and device in self._rules.measuring(at))

    def changed(self) -> bool:
        """Did anything that suppresses begin or end since this was last asked?"""
        seen = frozenset(self._now())
        before, self._seen = self._seen, seen
        return seen != before

    def _now(self) -> Iterator[object]:
        yield from (LINK + device for device in self._rules.devices if self._is_away(device))
        yield from self._blind.telling()
        for config in self._rules.suppressible:
            # one tag may hide one rule and not the other
            yield from ((name, config.suppressed_unless_states) for name in self._by_design(config))
