"""Rule kind `match`: every label says what it must.

    label: {kind: match, on: labeller/labels, halt: labeller,
            expect: {labeller/batch: batch.number, labeller/uid: batch.uid,
                     labeller/thc: {value: batch.thc_percent, tolerance: recipe.label.thc_tolerance},
                     labeller/offset: {window: recipe.label.offset_mm}}}

Judged when the count in `on` goes up, against what the same scan brought: the device writes the fields before it
counts the label.  A field that is bad or missing was not verified: that is `bad_input`, by default what a wrong
label is.  Labels that went by between two scans were not seen; how many is said.  Where a reader says for itself that
it read nothing (`read: reader/read`), that is no wrong label but a verdict of its own, by `no_read`.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal

from pydantic import Field, model_validator

from gateway.errors import Refused
from gateway.model import Entry, Json, Priority, Scan, Severity, TagSet, Value
from gateway.rules.base import NEVER_NS, NOTHING, Closure, RuleConfig, RuleContext
from gateway.rules.inputs import Bounds, beyond, is_good, locate, measure, sentence, unusable
from gateway.rules.label_trend import Trend, TrendConfig
from gateway.rules.label_uids import UidConfig, Uids
from gateway.rules.match_fields import Expected, Mismatch, Place, equal, field_at, flag, text_at, wanted
from gateway.verdicts import Finding, Verdict

__all__ = ["Expected", "MatchConfig", "MatchJudge"]


class MatchConfig(RuleConfig):
    needs_batch = True

    kind: Literal["match"] = "match"
    on: str
    """The tag that counts labels."""
    expect: dict[str, Expected] = Field(min_length=1)
    alarm: Priority = Priority.HIGH
    bad_input: Literal["alarm", "halt", "warn", "ignore"] | None = None
    """A field that could not be read; default: as a wrong label."""
    unseen: Literal["warn", "alarm", "ignore"] = "warn"
    """Labels that went by between two scans."""
    read: str | None = None
    """The tag by which a reader says whether it read anything at all."""
    no_read: Literal["alarm", "halt", "warn", "ignore"] = "alarm"
    """It read nothing."""
    uids: UidConfig | None = None
    """Form of the UID; one of its own on each unit, none twice."""
    trend: TrendConfig | None = None
    """A warning when the average of a value drifts, before a label is out of its limits."""

    @model_validator(mode="after")
    def _works(self) -> MatchConfig:
        if self.bad_input == "halt" and not self.halt:
            raise ValueError("bad_input is halt, but there is no device to halt: name it in `halt`")
        if self.no_read == "halt" and not self.halt:
            raise ValueError("no_read is halt, but there is no device to halt: name it in `halt`")
        if "no_read" in self.model_fields_set and self.read is None:
            raise ValueError("no_read needs `read`, the tag by which the reader says that it read nothing")
        other = [name for name in (*self.expect, *self._said) if name.partition("/")[0] != self.on.partition("/")[0]]
        if other:
            raise ValueError(f"{other[0]} and {self.on} are of different devices; a label is read in one scan")
        return self

    @property
    def _said(self) -> tuple[str, ...]:
        more = [self.read, self.uids.tag if self.uids else None, self.trend.tag if self.trend else None]
        return tuple(dict.fromkeys(tag for tag in more if tag is not None and tag not in self.expect))

    def inputs(self) -> tuple[str, ...]:
        return (self.on, *self._said, *self.expect)

    def build(self, name: str, context: RuleContext) -> MatchJudge:
        """ValueError: no such tag, or what is expected does not fit it."""
        return MatchJudge(name, self, context)


class MatchJudge:
    """Counts labels and judges each new one."""

    def __init__(self, name: str, config: MatchConfig, context: RuleContext) -> None:
        self.dirty = False
        self._name = name
        self._config = config
        self.tagset, self._on = locate(context, config.on)
        self._read = None if config.read is None else flag(context, config.read)
        self._batch = context.batch
        self._wrong = Severity.HALT if config.halt else Severity.ALARM
        self._unread = self._wrong if config.bad_input is None else _MEANS[config.bad_input]
        self._fields = tuple(field_at(context, tag, expected) for tag, expected in config.expect.items())
        self._uids = None if config.uids is None else Uids(config.uids)
        self._uid = None if config.uids is None else text_at(context, config.uids.tag)
        self._trend, self._trended = None, -1
        if config.trend is not None:
            trended, self._trended = locate(context, config.trend.tag)
            self._trend = Trend(config.trend, trended.specs[self._trended])
        self._count: int | None = None
        self._unseen = 0
        self._told = 0
        self._standing: Verdict | None = None

    def plan(self, tagset: TagSet) -> Closure | None:
        return self._scan if tagset is self.tagset else None

    def begin(self, scan: Scan) -> None:
        """Where the counter stood when the batch began: the first label after that is judged."""
        if scan.tagset is self.tagset and unusable(scan, self._on) is None:
            self._count, self.dirty = int(scan.values[self._on]), True  # type: ignore[arg-type]

    def _scan(self, scan: Scan, now_ns: int) -> Sequence[Finding]:
        del now_ns
        count = scan.values[self._on]
        if count == self._count or unusable(scan, self._on) is not None:
            return NOTHING
        assert isinstance(count, (int, float, Decimal))
        return self._counted(scan, int(count))

    def _counted(self, scan: Scan, count: int) -> Sequence[Finding]:
        """The count changed.  The first one seen is the baseline; one that fell began again at 0."""
        last, self._count, self.dirty = self._count, count, True
        if last is None:
            return NOTHING
        new = count - last if count > last else count
        if new == 0:
            return NOTHING
        self._unseen += new - 1
        return (*self._judge(scan, count), *self._tell_unseen(scan))

    def _judge(self, scan: Scan, count: int) -> Sequence[Finding]:
        if self._read is not None and scan.values[self._read] is False and self._read not in scan.faults:
            return self._tell_no_read(scan, count)
        wrong = [fault for field in self._fields if (fault := self._look(scan, field)) is not None]
        if self._uids is not None and (fault := self._look_at_uid(scan)) is not None:
            wrong.append(fault)
        drift = self._drifts(scan, count)
        return (*self._verdict(scan, count, wrong), *drift) if drift else self._verdict(scan, count, wrong)

    def _verdict(self, scan: Scan, count: int, wrong: Sequence[Mismatch]) -> Sequence[Finding]:
        if wrong:
            worst = max(wrong, key=lambda each: each.severity)
            text = f"label {count}: {'; '.join(each.text for each in wrong)}"
            return self._stand(worst.severity, sentence(text, self._config.text), scan, worst)
        if self._standing is not None and self._standing.severity is Severity.NORMAL:
            return NOTHING
        return self._stand(Severity.NORMAL, f"label {count} says what it must", scan, None)

    def proof(self, scan: Scan) -> list[tuple[str, str, str, str]]:
        """(field, as it reads, as it must, what is wrong) of the label that lies there, counted or not."""
        found = [self._proved(scan, field) for field in self._fields]
        return found + ([self._proved_uid(scan, self._uid, self._uids)] if self._uid and self._uids else [])

    def _proved(self, scan: Scan, field: Place) -> tuple[str, str, str, str]:
        """Whatever `bad_input` says of a label in the run: what nobody could read is no proof."""
        wrong = self._look(scan, field)
        text = wrong.text if wrong is not None and wrong.severity > Severity.WARNING else ""
        if not text and not is_good(scan, field.position):
            text = f"{field.name} could not be read"
        read = measure(scan.values[field.position], field.unit)
        return field.name, read, wanted(field), text

    def _proved_uid(self, scan: Scan, field: Place, uids: Uids) -> tuple[str, str, str, str]:
        read = scan.values[field.position]
        good = is_good(scan, field.position) and isinstance(read, str)
        wrong = uids.proof(str(read)) if good else "could not be read"
        text = f"{field.name} {measure(read, field.unit) if good else ''} {wrong}".replace("  ", " ") if wrong else ""
        return field.name, measure(read, field.unit), uids.expected, text

    def _look(self, scan: Scan, field: Place) -> Mismatch | None:
        """What is wrong with one field; None if nothing is."""
        read = scan.values[field.position]
        number = field.within is not None or isinstance(field.value, Decimal)
        trouble = unusable(scan, field.position) if number else None
        if trouble is None and not number and not is_good(scan, field.position):
            fault = scan.faults.get(field.position)
            trouble = fault.reason if fault else "no value"
        if trouble is not None:
            text = f"{field.name} could not be read ({trouble})"
            return Mismatch(self._unread, text, None, None, field) if self._unread else None
        if field.within is not None:
            return self._outside(read, field, field.within)
        if equal(read, field):
            return None
        text = f"{field.name} reads {measure(read, field.unit)}, expected {wanted(field)}"
        return Mismatch(self._wrong, text, read, field.value, field)

    def _look_at_uid(self, scan: Scan) -> Mismatch | None:
        """The UID of a label that was counted: its form, its range, and whether it was seen before."""
        field = self._uid
        if field is None or self._uids is None:
            return None
        read = scan.values[field.position]
        if not is_good(scan, field.position) or not isinstance(read, str):
            if any(each.position == field.position for each in self._fields) or not self._unread:
                return None
            return Mismatch(self._unread, f"{field.name} could not be read", None, None, field)
        text = self._uids.look(read)
        return Mismatch(self._wrong, f"{field.name} {read!r} {text}", read, None, field) if text else None

    def _drifts(self, scan: Scan, count: int) -> Sequence[Finding]:
        """A warning of its own: single labels are still right."""
        if self._trend is None or unusable(scan, self._trended) is not None:
            return NOTHING
        said = self._trend.add(float(scan.values[self._trended]))  # type: ignore[arg-type]
        if not said:
            return NOTHING
        name = scan.tagset.names[self._trended]
        text = f"label {count}: {name}: {said}; look at the applicator before a label is out of its limits"
        return (
            Verdict(
                f"{self._name}:trend",
                Severity.WARNING,
                name,
                text,
                value=round(self._trend.value, 6),
                unit=scan.tagset.units[self._trended],
                priority=Priority.LOW,
                sampled_ns=scan.mono_ns,
                fleeting=True,
            ),
        )

    def _outside(self, read: Value, field: Place, within: Bounds) -> Mismatch | None:
        for severity, low, high in (
            (self._wrong, within.low, within.high),
            (Severity.WARNING, within.warn_low, within.warn_high),
        ):
            for limit, above in ((high, True), (low, False)):
                if limit is not None and (read > limit if above else read < limit):  # type: ignore[operator]
                    text = f"{field.name} {beyond(read, limit, field.unit, above=above)}"
                    return Mismatch(severity, text, read, limit, field)
        return None

    def _tell_no_read(self, scan: Scan, count: int) -> Sequence[Finding]:
        """An alarm of its own: it must neither cover a wrong label nor be covered by one."""
        severity = _MEANS[self._config.no_read]
        if not severity:
            return NOTHING
        text = sentence(f"label {count}: the reader read nothing", self._config.text)
        return (
            Verdict(
                f"{self._name}:no-read",
                severity,
                self._config.read or "",
                text,
                priority=self._config.alarm,
                halts=self._config.halt if severity is Severity.HALT else (),
                sampled_ns=scan.mono_ns,
                fleeting=True,
            ),
        )

    def _tell_unseen(self, scan: Scan) -> Sequence[Finding]:
        """Said at the first, then each time the number has doubled: a slow poll must not become a flood."""
        severity = _MEANS[self._config.unseen]
        if not self._unseen or self._unseen < 2 * self._told or not severity:
            return NOTHING
        self._told = self._unseen
        labels = "label" if self._unseen == 1 else "labels"
        text = f"{self._unseen} {labels} went by unseen in this batch: {self._config.on} counts faster than it is read"
        return (
            Verdict(
                f"{self._name}:unseen",  # an alarm of its own: it must not cover a wrong label
                severity,
                self._config.on,
                text,
                self._unseen,
                unit="{count}",
                priority=Priority.LOW,
                sampled_ns=scan.mono_ns,
                fleeting=True,
            ),
        )

    def _stand(self, severity: Severity, text: str, scan: Scan, wrong: Mismatch | None) -> Sequence[Finding]:
        self._standing = Verdict(
            rule=self._name,
            severity=severity,
            subject=wrong.field.name if wrong else self._config.on,
            text=text,
            value=wrong.read if wrong else None,
            limit=wrong.expected if wrong else None,
            unit=wrong.field.unit if wrong else "1",
            priority=self._config.alarm,
            halts=self._config.halt if severity is Severity.HALT else (),
            sampled_ns=scan.mono_ns,
            fleeting=severity is not Severity.NORMAL,
        )
        return (self._standing,)

    def tick(self, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        del now_ns, wall_ns
        return NOTHING

    def rests_until(self, now_ns: int) -> int:
        """Time alone says nothing here."""
        del now_ns
        return NEVER_NS

    def enter(self, entry: Entry, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        del now_ns, wall_ns
        raise Refused("not_entered", f"rule {self._name} watches {self._config.on}; it takes no {entry.kind}")

    def current(self) -> Verdict | None:
        return self._standing

    def dump(self) -> Json:
        """The count reached: labels that go by while the gateway is down are unseen, and said to be."""
        if self._count is None:
            return None
        kept: dict[str, Json] = {"batch": self._batch, "count": self._count}
        kept |= {"unseen": self._unseen, "told": self._told}
        if self._uids is not None:
            kept["uids"] = self._uids.dump()
        if self._trend is not None:
            kept["trend"] = self._trend.dump()
        return kept

    def load(self, state: Json) -> None:
        """Goes on counting, if it is still the same batch."""
        if state and state["batch"] == self._batch:
            self._count, self._unseen, self._told = state["count"], state["unseen"], state["told"]
            if self._uids is not None and "uids" in state:
                self._uids.load(state["uids"])
            if self._trend is not None and "trend" in state:
                self._trend.load(state["trend"])


_MEANS: Final = {
    "ignore": Severity.NORMAL,
    "warn": Severity.WARNING,
    "alarm": Severity.ALARM,
    "halt": Severity.HALT,
}
