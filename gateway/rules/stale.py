"""Rule kind `stale`: a device or a tag that gave no good value for too long.

    balance-silent: {kind: stale, input: balance, after: 5s, alarm: high}

Bad scans and no scans at all are the same here; the first good value clears it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Final, Literal

from pydantic import Field

from gateway.errors import Refused
from gateway.model import Entry, Json, Priority, Quality, Scan, Severity, TagSet
from gateway.rules.base import NEVER_NS, NOTHING, Closure, RuleConfig, RuleContext
from gateway.rules.inputs import S_NS, locate, seconds, sentence
from gateway.units import Duration
from gateway.verdicts import Finding, Verdict

SILENT: Final = "nothing came"


class StaleConfig(RuleConfig):
    kind: Literal["stale"] = "stale"
    input: str
    """A device (any good value will do) or device/tag."""
    after_s: Duration = Field(alias="after", gt=0)
    severity: Literal["warn", "alarm"] = "alarm"
    """What it means; a rule with `halt` always halts."""
    alarm: Priority = Priority.MEDIUM
    strict: bool = False
    """True: an uncertain value is not good."""

    def inputs(self) -> tuple[str, ...]:
        return (self.input,)

    def build(self, name: str, context: RuleContext) -> StaleJudge:
        """ValueError: there is no such device or tag."""
        return StaleJudge(name, self, context)


class StaleJudge:
    """How long ago the last good value came."""

    def __init__(self, name: str, config: StaleConfig, context: RuleContext) -> None:
        self.dirty = False
        self._name = name
        self._config = config
        self._positions: tuple[int, ...]
        self.tagset, self._positions = _watched(context, config.input)
        self._after_ns = round(config.after_s * S_NS)
        self._worst_quality = Quality.GOOD if config.strict else Quality.UNCERTAIN
        self._good_ns: int | None = None
        """Last good value; before the first, the first event."""
        self._reason = SILENT
        self._stale = False
        self._standing: Verdict | None = None

    def plan(self, tagset: TagSet) -> Closure | None:
        return self._scan if tagset is self.tagset else None

    def _scan(self, scan: Scan, now_ns: int) -> Sequence[Finding]:
        if not self._any_good(scan):
            fault = scan.faults.get(self._positions[0])
            self._reason = fault.reason if fault is not None else "not a number"
            return self._overdue(now_ns, scan.mono_ns)
        self._good_ns, self._reason = now_ns, SILENT
        return NOTHING if self._standing is not None and not self._stale else self._back(scan.mono_ns)

    def _any_good(self, scan: Scan) -> bool:
        faults, worst = scan.faults, self._worst_quality
        for at in self._positions:
            value = scan.values[at]
            if isinstance(value, float) and isnan(value):
                continue
            if at not in faults or faults[at].quality <= worst:
                return True
        return False

    def tick(self, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        del wall_ns
        if self._stale:
            return NOTHING
        return self._overdue(now_ns, 0)

    def spare(self, ns: int, now_ns: int) -> None:
        if self._good_ns is not None:
            self._good_ns = min(self._good_ns + ns, now_ns)

    def rests_until(self, now_ns: int) -> int:
        """Until the last good value is too old."""
        if self._stale:
            return NEVER_NS
        return now_ns if self._good_ns is None else max(now_ns, self._good_ns + self._after_ns)

    def _overdue(self, now_ns: int, sampled_ns: int) -> Sequence[Finding]:
        if self._good_ns is None:
            self._good_ns = now_ns
        if self._stale or now_ns - self._good_ns < self._after_ns:
            return NOTHING
        self._stale = True
        what = f"{self._config.input} gave no good value for {seconds(now_ns - self._good_ns)}: {self._reason}"
        severity = Severity.HALT if self._config.halt else _SEVERITIES[self._config.severity]
        return self._stand(severity, sentence(what, self._config.text), sampled_ns)

    def _back(self, sampled_ns: int) -> Sequence[Finding]:
        self._stale = False
        return self._stand(Severity.NORMAL, f"{self._config.input} gives good values", sampled_ns)

    def _stand(self, severity: Severity, text: str, sampled_ns: int) -> Sequence[Finding]:
        halts = self._config.halt if severity is Severity.HALT else ()
        self._standing = Verdict(
            self._name,
            severity,
            self._config.input,
            text,
            priority=self._config.alarm,
            halts=halts,
            sampled_ns=sampled_ns,
            blind=severity is not Severity.NORMAL,
        )
        return (self._standing,)

    def enter(self, entry: Entry, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        del now_ns, wall_ns
        raise Refused("not_entered", f"rule {self._name} watches {self._config.input}; it takes no {entry.kind}")

    def current(self) -> Verdict | None:
        return self._standing

    def dump(self) -> Json:
        """Nothing: after a restart the first scans say it again."""
        return None

    def load(self, state: Json) -> None:
        del state


_SEVERITIES: Final = {"warn": Severity.WARNING, "alarm": Severity.ALARM}


def _watched(context: RuleContext, name: str) -> tuple[TagSet, tuple[int, ...]]:
    """The positions any of which will do.  ValueError if there is no such device or tag."""
    if "/" in name:
        tagset, position = locate(context, name)
        return tagset, (position,)
    if name not in context.tagsets:
        raise ValueError(f"there is no device {name!r}; known: {', '.join(sorted(context.tagsets)) or 'none'}")
    tagset = context.tagsets[name]
    return tagset, tuple(range(len(tagset.tags)))
