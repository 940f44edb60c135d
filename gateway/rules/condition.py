"""Rule kind `condition`: what must not be true, as a bool tag says it: derived from others, or the device's own.

    too-cold: {kind: condition, input: oil/too_cold, on_delay: 5s, halt: filler, bad_input: alarm}

True for `on_delay` raises it, false for `off_delay` clears it.  A bad value does neither, and begins `off_delay`
again: it is a condition of its own, `bad_input`, once there was no good value for `bad_for`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field, model_validator

from gateway.errors import Refused
from gateway.model import Entry, Json, Priority, Quality, Scan, Severity, TagSet
from gateway.rules.base import NEVER_NS, NOTHING, Closure, RuleConfig, RuleContext
from gateway.rules.inputs import S_NS, locate, seconds, sentence
from gateway.rules.limit import LEAST_BAD_FOR_S, MISSED_PERIODS
from gateway.units import Duration
from gateway.verdicts import Finding, Verdict

_SEVERITIES: Final = {"warn": Severity.WARNING, "alarm": Severity.ALARM, "halt": Severity.HALT}


class ConditionConfig(RuleConfig):
    kind: Literal["condition"] = "condition"
    input: str
    expected: bool = Field(False, alias="is")
    """What is well: `is: false`, or `is: true` for a tag that says all is well."""
    severity: Literal["warn", "alarm"] = "alarm"
    """What it means; a rule with `halt` always halts."""
    alarm: Priority = Priority.MEDIUM
    on_delay_s: Duration = Field(0.0, alias="on_delay", ge=0)
    off_delay_s: Duration = Field(0.0, alias="off_delay", ge=0)
    bad_input: Literal["alarm", "halt", "warn", "ignore"] = "alarm"
    """What bad or missing input means."""
    bad_for_s: Duration | None = Field(None, alias="bad_for", ge=0)
    """How long there may be no good value; default: three periods of the device, at least half a second."""

    @model_validator(mode="after")
    def _works(self) -> ConditionConfig:
        if self.bad_input == "halt" and not self.halt:
            raise ValueError("bad_input is halt, but there is no device to halt: name it in `halt`")
        return self

    def inputs(self) -> tuple[str, ...]:
        return (self.input,)

    def build(self, name: str, context: RuleContext) -> ConditionJudge:
        """ValueError: there is no such tag, or it is not true or false."""
        return ConditionJudge(name, self, context)


class ConditionJudge:
    """What the tag says, since when, and what stands."""

    def __init__(self, name: str, config: ConditionConfig, context: RuleContext) -> None:
        self.dirty = False
        self._name = name
        self._config = config
        self.tagset, self._position = locate(context, config.input)
        if self.tagset.specs[self._position].kind != "bool":
            raise ValueError(f"{config.input} is not true or false; for a number write a limit rule, or derive a truth")
        patience_s = max(LEAST_BAD_FOR_S, MISSED_PERIODS * context.periods_s.get(self.tagset.device, 1.0))
        self._patience_ns = round((patience_s if config.bad_for_s is None else config.bad_for_s) * S_NS)
        self._said: bool | None = None
        """The newest good value: is it as it should not be?"""
        self._since_ns = 0
        self._good_ns: int | None = None
        self._reason = "nothing came"
        self._bad = False
        """The newest value was bad: time alone changes nothing then."""
        self._standing: Verdict | None = None

    def plan(self, tagset: TagSet) -> Closure | None:
        return self._scan if tagset is self.tagset else None

    def _scan(self, scan: Scan, now_ns: int) -> Sequence[Finding]:
        fault = scan.faults.get(self._position)
        value = scan.values[self._position]
        if (fault is not None and fault.quality is Quality.BAD) or value is None:
            self._reason, self._bad = fault.reason if fault is not None else "no value", True
            return self._blind(now_ns, scan.mono_ns)
        wrong = bool(value) is not self._config.expected
        if wrong is not self._said or (self._bad and not wrong and not self._is_told_blind()):
            self._said, self._since_ns = wrong, now_ns
        self._good_ns, self._bad = now_ns, False
        return self._follow(now_ns, scan.mono_ns)

    def tick(self, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        del wall_ns
        return self._blind(now_ns, 0) or (NOTHING if self._bad else self._follow(now_ns, 0))

    def spare(self, ns: int, now_ns: int) -> None:
        if self._good_ns is not None:
            self._good_ns = min(self._good_ns + ns, now_ns)

    def rests_until(self, now_ns: int) -> int:
        """Until the input was missing for too long, or a delay ends."""
        if self._good_ns is None:
            return now_ns
        delay_s = self._config.on_delay_s if self._said else self._config.off_delay_s
        ends = (self._good_ns + self._patience_ns, self._since_ns + round(delay_s * S_NS))
        return min((at for at in ends if at >= now_ns), default=NEVER_NS)

    def _follow(self, now_ns: int, sampled_ns: int) -> Sequence[Finding]:
        if self._said is None or self._is_blind(now_ns):
            return NOTHING
        delay_s = self._config.on_delay_s if self._said else self._config.off_delay_s
        severity = self._severity() if self._said else Severity.NORMAL
        # a first value, and one after blindness, that is well needs no delay
        waits = self._said or (self._standing is not None and self._standing.severity is not severity)
        if waits and now_ns - self._since_ns < round(delay_s * S_NS):
            return NOTHING
        is_now = str(self._said is not self._config.expected).lower()
        return self._stand(severity, f"{self._config.input} is {is_now}", sampled_ns)

    def _is_told_blind(self) -> bool:
        return self._standing is not None and self._standing.blind

    def _is_blind(self, now_ns: int) -> bool:
        return self._good_ns is not None and now_ns - self._good_ns >= self._patience_ns

    def _blind(self, now_ns: int, sampled_ns: int) -> Sequence[Finding]:
        if self._good_ns is None:
            self._good_ns = now_ns
        if not self._is_blind(now_ns) or self._config.bad_input == "ignore":
            return NOTHING
        text = f"{self._config.input} gave no good value for {seconds(self._patience_ns)}: {self._reason}"
        if self._standing is not None and str(self._standing.value).startswith(f"{self._config.input} gave no good"):
            return NOTHING
        worse = _SEVERITIES[self._config.bad_input]
        if self._standing is not None and self._standing.severity > worse:  # a condition that stood goes on standing
            return NOTHING
        return self._stand(worse, text, sampled_ns, blind=True)

    def _severity(self) -> Severity:
        return Severity.HALT if self._config.halt else _SEVERITIES[self._config.severity]

    def _stand(self, severity: Severity, text: str, sampled_ns: int, *, blind: bool = False) -> Sequence[Finding]:
        if self._standing is not None and (self._standing.severity, self._standing.value) == (severity, text):
            return NOTHING
        self._standing = Verdict(
            self._name,
            severity,
            self._config.input,
            sentence(text, self._config.text if severity > Severity.NORMAL else ""),
            value=text,
            priority=self._config.alarm,
            halts=self._config.halt if severity is Severity.HALT else (),
            sampled_ns=sampled_ns,
            blind=blind,
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
