"""A dead input is one trouble: the first alarm that is blind by it tells it; what else is blind by it is under that.

Of two tags that are dead each has an alarm of its own; a limit that was passed explains no missing value; what nobody
sees (shelved, suppressed) explains nothing; and a lesser alarm explains no graver one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from gateway.alarms import Alarm, is_active
from gateway.line.rules import Rules
from gateway.model import Priority, Severity
from gateway.rules.base import RuleConfig

RANK: Final = {priority: rank for rank, priority in enumerate(Priority)}
_SEVERITY: Final = {"warn": Severity.WARNING, "alarm": Severity.ALARM, "halt": Severity.HALT}
_ANY: Final = (0, 0)


class Blind:
    """Who said what is dead."""

    def __init__(self, rules: Rules, standing: Mapping[str, Alarm]) -> None:
        self._rules = rules
        self._standing = standing
        self._said: dict[str, dict[str, None]] = {}
        """Device/tag, or device -> the rules that were blind by it when last seen."""

    def told(self, rule: str, subject: str, config: RuleConfig) -> tuple[str, ...]:
        """The alarm that tells it already; () for none: then this one does."""
        self._said.setdefault(subject, {})[rule] = None
        weight = _weight(config)
        for at in self._rules.behind(subject):
            for other in self._said.get(at, ()):
                if other != rule and self._tells(other, weight):
                    return (other,)
        return ()

    def _tells(self, rule: str, weight: tuple[int, int]) -> bool:
        """Is it shown, blind, and at least as grave?"""
        alarm = self._standing.get(rule)
        if alarm is None or not alarm.blind or not is_active(alarm):
            return False
        return alarm.severity >= weight[0] and RANK[alarm.priority] >= weight[1]

    def telling(self) -> Iterator[str]:
        """The rules whose alarms tell of a dead input now."""
        for subject, rules in list(self._said.items()):
            self._said[subject] = {rule: None for rule in rules if self._tells(rule, _ANY)}
            if not self._said[subject]:
                del self._said[subject]
            else:
                yield from self._said[subject]


def _weight(config: RuleConfig) -> tuple[int, int]:
    """How grave it is for this rule to be blind: severity, rank of the priority."""
    word = getattr(config, "bad_input", None) or getattr(config, "severity", None)
    severity = _SEVERITY.get(str(word), Severity.ALARM)
    priority = getattr(config, "warn" if severity is Severity.WARNING and hasattr(config, "warn") else "alarm", None)
    return severity, RANK.get(priority, 0) if isinstance(priority, Priority) else 0
