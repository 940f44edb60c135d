"""Rule kind `limit`: a continuous value within its window.

    oil-temperature: {kind: limit, input: reservoir/temperature, limits: recipe.windows.oil_temperature,
                      deadband: 1, off_delay: 5s, alarm: medium}

Raised strictly beyond a limit, cleared at the limit less the deadband (the reading of OPC UA Part 9 B.1.5; vendors
differ, FACTS §6), each with a delay of its own.  A bad value neither raises nor clears a limit: it is a condition of
its own, `bad_input`, once there was no good value for `bad_for`.

The hot path is `LimitGroup.scan` in limit_group.py: a comparison with the range in which nothing can happen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal

import msgspec
from pydantic import Field, model_validator

from gateway.errors import Refused
from gateway.model import Entry, Json, Priority, Scan, Severity, TagSet, TagSpec, Value
from gateway.recipe import Exact, Window
from gateway.rules.base import NEVER_NS, NOTHING, Closure, RuleConfig, RuleContext
from gateway.rules.inputs import S_NS, Number, beyond, bounds, difference, locate, measure, seconds, sentence, unusable
from gateway.rules.ladder import CALM, Ladder, Level, calm_range, levels
from gateway.rules.limit_group import LimitGroup
from gateway.units import Duration
from gateway.verdicts import Finding, Verdict

MISSED_PERIODS: Final = 3
LEAST_BAD_FOR_S: Final = 0.5
"""A timer is late by 30 ms beside a busy thread: three periods of a fast poll are no proof of a dead input."""
WELL: Final = Verdict("", Severity.NORMAL, "", "")
"""Stands for the verdict that all is well: ten thousand rules that are keep no words of it."""
NEVER_SAID: Final = float("nan")
"""Stands for the limit of a verdict that is to be said again."""
NEVER: Final = (float("inf"), float("-inf"))
"""A range nothing is within: the judge wants to see every scan."""


class LimitConfig(RuleConfig):
    kind: Literal["limit"] = "limit"
    input: str
    limits: Window
    deadband: Exact = Field(Decimal(0), ge=0)
    """In the unit of the limits."""
    on_delay_s: Duration = Field(0.0, alias="on_delay", ge=0)
    off_delay_s: Duration = Field(0.0, alias="off_delay", ge=0)
    alarm: Priority = Priority.MEDIUM
    """Outside low..high; also of bad input."""
    warn: Priority = Priority.LOW
    """Outside warn_low..warn_high."""
    bad_input: Literal["alarm", "halt", "warn", "ignore"] = "alarm"
    """What bad or missing input means."""
    bad_for_s: Duration | None = Field(None, alias="bad_for", ge=0)
    """How long there may be no good value; default: three periods of the device, at least half a second."""
    strict: bool = False
    """True: an uncertain value is bad."""

    @model_validator(mode="after")
    def _works(self) -> LimitConfig:
        if self.bad_input == "halt" and not self.halt:
            raise ValueError("bad_input is halt, but there is no device to halt: name it in `halt`")
        if self.halt and self.limits.low is None and self.limits.high is None and self.bad_input != "halt":
            raise ValueError("halts, but has only warning limits: give low or high")
        for low, high in ((self.limits.low, self.limits.high), (self.limits.warn_low, self.limits.warn_high)):
            if low is not None and high is not None and low + self.deadband > high - self.deadband:
                raise ValueError(f"deadband {self.deadband} is too wide for {low}..{high}: it could never clear")
        return self

    def inputs(self) -> tuple[str, ...]:
        return (self.input,)

    def patience_s(self, period_s: float) -> float:
        """How long there may be no good value."""
        return max(LEAST_BAD_FOR_S, MISSED_PERIODS * period_s) if self.bad_for_s is None else self.bad_for_s

    def build(self, name: str, context: RuleContext) -> LimitJudge:
        """ValueError: no such tag, or the limits do not fit it."""
        ((_, judge),) = self.build_each([(name, self.input)], context)
        return judge

    def build_each(self, matches: Iterable[tuple[str, str]], context: RuleContext) -> Iterator[tuple[str, LimitJudge]]:
        """As `build`; tags of one unit and period are judged in the same terms."""
        spoken: dict[tuple[str, str, float], Terms] = {}
        for name, match in matches:
            tagset, position = locate(context, match)
            spec = tagset.specs[position]
            alike = (spec.unit, spec.kind, context.periods_s.get(tagset.device, 1.0))
            if alike not in spoken:
                spoken[alike] = _spoken(self, spec, alike[-1])
            yield name, LimitJudge(name, self, tagset, position, spoken[alike])


class Terms(msgspec.Struct, frozen=True):
    """A window and its delays in the words of one kind of tag: shared by all the judges a pattern makes."""

    unit: str
    decimal: bool
    levels: tuple[Level, ...]
    calm_range: tuple[Number, Number]
    on_ns: int
    off_ns: int
    patience_ns: int


@lru_cache(maxsize=1024)
def _terms(
    limits: Window, deadband: Decimal, severe: Severity, delays_s: tuple[float, float, float], spec: TagSpec
) -> Terms:
    """ValueError: the limits do not fit the tag."""
    steps = levels(bounds(limits, spec), difference(deadband, limits.unit, spec), severe)
    on_ns, off_ns, patience_ns = (round(delay_s * S_NS) for delay_s in delays_s)
    return Terms(spec.unit, spec.kind == "decimal", steps, calm_range(steps), on_ns, off_ns, patience_ns)


def _spoken(config: LimitConfig, spec: TagSpec, period_s: float) -> Terms:
    """The name of a tag changes nothing, except what is said of one that is no number."""
    if spec.kind not in ("text", "bool"):
        spec = TagSpec("", spec.unit, spec.kind)
    delays_s = (config.on_delay_s, config.off_delay_s, config.patience_s(period_s))
    return _terms(config.limits, config.deadband, Severity.HALT if config.halt else Severity.ALARM, delays_s, spec)


class LimitJudge:
    """One limit rule's state.  Quiet: normal, nothing pending, input good: the group's comparison is all it needs."""

    __slots__ = (
        "_alarm",
        "_blind",
        "_dumped",
        "_good_ns",
        "_group",
        "_halt",
        "_input",
        "_ladder",
        "_meaning",
        "_name",
        "_standing",
        "_strict",
        "_terms",
        "_text",
        "_trouble",
        "_value",
        "_warn",
        "dirty",
        "position",
        "quiet",
        "tagset",
    )

    def __init__(self, name: str, config: LimitConfig, tagset: TagSet, position: int, terms: Terms) -> None:
        self.tagset, self.position = tagset, position
        self.dirty = False
        self.quiet = False
        self._name = name
        self._input, self._text, self._halt = self.tagset.names[self.position], config.text, config.halt
        self._alarm, self._warn, self._strict = config.alarm, config.warn, config.strict
        self._meaning = _MEANS[config.bad_input]
        self._terms = terms
        self._ladder = Ladder(terms.levels, terms.on_ns, terms.off_ns)
        self._group: LimitGroup | None = None
        self._value: Value = None
        """The last good one."""
        self._good_ns: int | None = None
        """When it came; before the first, when the first event came.  While quiet the group knows better."""
        self._trouble: str | None = None
        """Why the last value was bad."""
        self._blind: Severity | None = None
        """What that means by now."""
        self._standing: Verdict | None = None
        self._dumped = False
        """Did the last dump say anything?  Ten thousand rules that are normal have nothing to keep."""

    @property
    def patience_ns(self) -> int:
        """How long there may be no good value."""
        return self._terms.patience_ns

    # -- the Judge contract -----------------------------------------------------------------------

    @staticmethod
    def group(judges: Sequence[LimitJudge], tagset: TagSet) -> LimitGroup | None:
        members = [judge for judge in judges if judge.tagset is tagset]
        return LimitGroup(members) if members else None

    def plan(self, tagset: TagSet) -> Closure | None:
        group = self.group([self], tagset)
        return group.scan if group else None

    def tick(self, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        """Missing input, and the end of an on-delay.  Never clears: only a value does."""
        del wall_ns
        if self._good_ns is None and not self.quiet:
            self._good_ns = now_ns
        self._look_away(now_ns)
        if self._blind is None and self._trouble is None:
            self._ladder.rise(now_ns)
        return self._say(now_ns, 0)

    def spare(self, ns: int, now_ns: int) -> None:
        """While quiet the group knows better, and is spared itself."""
        if self._good_ns is not None:
            self._good_ns = min(self._good_ns + ns, now_ns)

    def rests_until(self, now_ns: int) -> int:
        """Until the input was missing for too long, or an on-delay ends."""
        good_ns = self._group.seen_ns if self.quiet and self._group is not None else self._good_ns
        if good_ns is None:
            return now_ns
        until = NEVER_NS
        if self._meaning is not None and self._blind is None:
            until = max(now_ns, good_ns + self.patience_ns)
        if self._blind is None and self._trouble is None:
            rises_ns = self._ladder.rises_ns(now_ns)
            until = until if rises_ns is None else min(until, rises_ns)
        return until

    def enter(self, entry: Entry, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        del now_ns, wall_ns
        raise Refused("not_entered", f"rule {self._name} watches {self._input}; it takes no {entry.kind}")

    def current(self) -> Verdict | None:
        return self._verdict(0, 0) if self._standing is WELL else self._standing

    def dump(self) -> Json:
        """The level that stands, and in which terms; delays begin again."""
        at = self._ladder.at
        self._dumped = at is not CALM
        if not self._dumped:
            return None
        told = {"limit": str(at.limit), "halts": list(self._halt), "blind": self._blind is not None}
        return {"severity": int(at.severity), "above": at.above, "value": str(self._value), **told}

    def load(self, state: Json) -> None:
        """Goes on at the level that stood, if the rule still has it; of another limit or machine it is said anew."""
        self._dumped = state is not None
        if state and self._ladder.stand_at(state["severity"], above=state["above"]):
            self._value = Decimal(state["value"]) if self._terms.decimal else float(state["value"])
            self._blind = self._meaning if state.get("blind") else None
            terms = (str(self._ladder.at.limit), list(self._halt))
            told = (state.get("limit", terms[0]), state.get("halts", terms[1]))
            standing = self._verdict(0, 0)
            self._standing = standing if told == terms else msgspec.structs.replace(standing, limit=NEVER_SAID)

    # -- one scan ---------------------------------------------------------------------------------

    def join(self, group: LimitGroup) -> None:
        """Belong to this group from now on; what the last one knew of good values is kept."""
        if self._group is not None and self.quiet:
            self._good_ns = self._group.seen_ns
        self._group = group
        self.quiet = False

    @property
    def calm_range(self) -> tuple[Number, Number]:
        """Where a good value changes nothing."""
        return self._terms.calm_range if self.quiet else NEVER

    def see(self, scan: Scan, now_ns: int) -> Sequence[Finding]:
        """A scan that may change something."""
        if self.quiet and self._group is not None:
            self._good_ns = self._group.seen_ns
        self._trouble = unusable(scan, self.position, strict=self._strict)
        if self._trouble is None:
            self._take(scan.values[self.position], now_ns)
        else:
            self._ladder.interrupt()
            self._good_ns = now_ns if self._good_ns is None else self._good_ns
            self._look_away(now_ns)
        self.quiet = self._trouble is None and self._ladder.at_rest
        return self._say(now_ns, scan.mono_ns)

    def _take(self, value: Value, now_ns: int) -> None:
        assert isinstance(value, (int, float, Decimal))
        self._good_ns, self._blind, self._value = now_ns, None, value
        self._ladder.take(value, now_ns)

    def _look_away(self, now_ns: int) -> None:
        """No good value for too long is a condition of its own."""
        meaning = self._meaning
        good_ns = self._group.seen_ns if self.quiet and self._group is not None else self._good_ns
        if good_ns is None or meaning is None or self._blind is not None or now_ns - good_ns < self.patience_ns:
            return
        self._blind, self._good_ns, self.quiet = meaning, good_ns, False
        if self._group is not None:
            self._group.loosen()

    # -- words ------------------------------------------------------------------------------------

    def _say(self, now_ns: int, sampled_ns: int) -> Sequence[Finding]:
        """The verdict, if it is another one.  Before the first value there is none."""
        if self._value is None and self._blind is None:
            return NOTHING
        standing = self._standing
        if standing is not None and self._condition() == (standing.severity, standing.limit):
            return NOTHING
        verdict = self._verdict(now_ns, sampled_ns)
        self._standing = verdict if verdict.severity else WELL
        if self._dumped or self._ladder.at is not CALM:
            self.dirty = True
            if self._group is not None:
                self._group.stir()
        return (verdict,)

    def _condition(self) -> tuple[Severity, Number | None]:
        """Blindness outweighs a limit no more severe than itself: the last good value says nothing any more."""
        at, blind = self._ladder.at, self._blind
        if blind is not None and blind >= at.severity:
            return blind, None
        return at.severity, None if at is CALM else at.limit

    def _verdict(self, now_ns: int, sampled_ns: int) -> Verdict:
        severity, limit = self._condition()
        value = self._value
        if limit is not None:
            what = self._beyond(value, limit)
        elif severity is Severity.NORMAL:
            what = f"{measure(value, self._terms.unit)} is within its limits"
        else:
            what, value = self._blindness(now_ns), None
        blind = limit is None and severity is not Severity.NORMAL
        return self._stands(severity, what, value, limit, sampled_ns, blind=blind)

    def _stands(
        self, severity: Severity, what: str, value: Value, limit: Value, sampled_ns: int, *, blind: bool
    ) -> Verdict:
        return Verdict(
            rule=self._name,
            severity=severity,
            subject=self._input,
            text=sentence(f"{self._input} {what}", self._text if severity else ""),
            value=value,
            limit=limit,
            unit=self._terms.unit,
            priority=self._warn if severity is Severity.WARNING else self._alarm,
            halts=self._halt if severity is Severity.HALT else (),
            sampled_ns=sampled_ns,
            blind=blind,
        )

    def _beyond(self, value: Value, limit: Number) -> str:
        """Also of a value that a deadband or a delay still keeps at the level: it is not beyond the limit any more."""
        above, unit = self._ladder.at.above, self._terms.unit
        assert isinstance(value, (int, float, Decimal))
        if value > limit if above else value < limit:
            return beyond(value, limit, unit, above=above)
        side = "above" if above else "below"
        return f"{measure(value, unit)} is no longer {side} {measure(limit, unit)}, and not yet clear of it"

    def _blindness(self, now_ns: int) -> str:
        lasting = seconds(now_ns - (now_ns if self._good_ns is None else self._good_ns))
        last = f"; the last was {measure(self._value, self._terms.unit)}" if self._value is not None else ""
        return f"gave no good value for {lasting}: {self._trouble or 'nothing came'}{last}"


_MEANS: Final = {
    "ignore": None,
    "warn": Severity.WARNING,
    "alarm": Severity.ALARM,
    "halt": Severity.HALT,
}
