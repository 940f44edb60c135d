"""Instruments of the line: what is calibrated until when, and the daily check against a standard.  Pure.

21 CFR 211.160(b)(4): an instrument that is not within its calibration, or fails its check, is not used; 211.68(a):
checked by a written programme, and recorded.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final, Literal

import msgspec
from pydantic import Field, model_validator

from gateway.batch.counts import LARGEST
from gateway.errors import Refused
from gateway.model import Draft, Json, Principal
from gateway.recipe import Exact, Frozen
from gateway.units import UNITS, Duration, duration_text, linear

Kind = Literal["scale", "pipette", "torque-tester", "viscometer", "thermometer", "caliper", "ph-meter", "other"]
_DAY_S: Final = 86400.0


class Standard(Frozen):
    """The daily check: what it is held against, and how far off it may read."""

    standard: str = Field(min_length=1)
    """The test weight or reference, as it is marked."""
    value: Exact
    unit: str
    tolerance: Exact = Field(gt=0)
    due: date | None = None
    """Last day of the standard's own calibration."""
    every_s: Duration = Field(_DAY_S, alias="every", gt=0)
    """So long a check that passed holds."""
    roles: tuple[str, ...] = ("operator", "technician", "supervisor", "qa")
    """Who may make it."""

    @model_validator(mode="after")
    def _known(self) -> Standard:
        if self.unit not in UNITS:
            raise ValueError(f"{self.unit!r} is not a unit I know; write a UCUM code like g, mPa.s or N.m")
        if not self.value.is_finite() or not self.tolerance.is_finite():
            raise ValueError("value and tolerance must be finite numbers")
        return self


class Instrument(Frozen):
    """One entry of the register."""

    kind: Kind
    serial: str = Field(min_length=1)
    due: date
    """Last day of its calibration."""
    certificate: str = ""
    device: str | None = None
    """The device of the line that it is, where it is one."""
    reading: str | None = None
    """The tag that shows what it reads, `balance/net`; a check without a value takes it from there."""
    check: Standard | None = None
    out_of_service: str = ""
    """Why it must not be used."""

    @model_validator(mode="after")
    def _reads(self) -> Instrument:
        if self.reading is not None and self.device is not None and not self.reading.startswith(f"{self.device}/"):
            raise ValueError(f"reading {self.reading!r} is not a tag of its device {self.device!r}")
        return self


class Checked(msgspec.Struct, frozen=True):
    """A daily check that was made."""

    instrument: str
    serial: str
    standard: str
    value: Decimal
    """In the standard's unit."""
    expected: Decimal
    tolerance: Decimal
    unit: str
    passed: bool
    person: str
    full_name: str
    time_ns: int
    source: str
    """`entered`, or the tag it was read from."""
    raw: str = ""
    comment: str = ""


class Standing(msgspec.Struct, frozen=True):
    """An instrument with its last check."""

    name: str
    entry: Instrument
    last: Checked | None = None
    told: str = ""
    """The serial number its device says it has; empty: it says none."""


class Trouble(msgspec.Struct, frozen=True):
    """Why it must not be used now."""

    key: str
    """Stable while it is the same trouble."""
    text: str


def checked(  # who checked what, with what reading
    name: str, entry: Instrument, value: Decimal, unit: str, source: str, who: Principal, now_ns: int,
    *, raw: str = "", comment: str = "",
) -> tuple[Checked, Draft]:  # fmt: skip
    """A daily check and its record.  Refused: no_check, role_missing, wrong_unit, bad_value, standard_expired."""
    standard = entry.check
    if standard is None:
        raise Refused("no_check", f"{name} has no daily check in the register; give it one under `check`")
    if not set(standard.roles) & who.roles:
        raise Refused(
            "role_missing", f"the check of {name} is made by {' or '.join(standard.roles)}; {who.name} is not"
        )
    if standard.due is not None and standard.due < day_of(now_ns):
        raise Refused(
            "standard_expired", f"the calibration of {standard.standard} ended on {standard.due}; use another"
        )
    read = _in_unit(name, value, unit, standard.unit)
    passed = abs(read - standard.value) <= standard.tolerance
    made = Checked(
        name, entry.serial, standard.standard, read, standard.value, standard.tolerance, standard.unit, passed,
        who.name, who.full_name, now_ns, source, raw, comment,
    )  # fmt: skip
    body: dict[str, Json] = {
        **{key: str(one) if isinstance(one, Decimal) else one for key, one in msgspec.structs.asdict(made).items()},
        "time_ns": str(now_ns),
        "kind": entry.kind,
        "calibration_due": entry.due.isoformat(),
        "text": said(made),
    }
    return made, Draft("instrument.checked", body, None, who.name)


def _in_unit(name: str, value: Decimal, unit: str, target: str) -> Decimal:
    if not value.is_finite() or abs(value) >= LARGEST:
        raise Refused("bad_value", f"{str(value)[:40]} is no reading of {name}")
    try:
        factor, offset = linear(unit, target)
    except ValueError as error:
        raise Refused("wrong_unit", f"{name} is checked in {target}: {error}") from None
    return value if unit == target else value * Decimal(repr(factor)) + Decimal(repr(offset))


def said(made: Checked) -> str:
    """`balance reads 20.0003 g on W-20 #5512 (20.0000 g within 0.0020): passed`."""
    verdict = "passed" if made.passed else "FAILED"
    expected = f"{made.expected:f} {made.unit} within {made.tolerance:f}"
    return f"{made.instrument} reads {made.value:f} {made.unit} on {made.standard} ({expected}): {verdict}"


def is_it(entry: Instrument, told: str) -> bool:
    """Does the device say that it is this one?"""
    return told.strip().casefold() == entry.serial.strip().casefold()


def other(name: str, entry: Instrument, told: str) -> str:
    """What to say where the device is another than the register's; empty where it is that one, or says nothing."""
    if not told or is_it(entry, told):
        return ""
    return f"{name} is {entry.serial} in the register, and {entry.device} says that it is {told}: put one of them right"


def failed(standing: Standing) -> bool:
    """Its last check is of this very instrument, and did not pass."""
    last = standing.last
    return last is not None and last.serial == standing.entry.serial and not last.passed


def troubles(standing: Standing, now_ns: int) -> tuple[Trouble, ...]:
    """Everything that keeps this instrument from being used; empty where it may be."""
    name, entry, last = standing.name, standing.entry, standing.last
    found = []
    if exchanged := other(name, entry, standing.told):
        found.append(Trouble(f"{name}:serial:{standing.told}", exchanged))
    if entry.out_of_service:
        why = entry.out_of_service
        found.append(Trouble(f"{name}:service:{why}", f"{name} is out of service: {why}"))
    if entry.due < day_of(now_ns):
        text = f"the calibration of {name} ({entry.serial}) ended on {entry.due}"
        found.append(Trouble(f"{name}:due:{entry.serial}:{entry.due}", text))
    if entry.check is not None:
        found += _unchecked(name, entry, entry.check, last, now_ns)
    return tuple(found)


def _unchecked(name: str, entry: Instrument, standard: Standard, last: Checked | None, now_ns: int) -> list[Trouble]:
    every = duration_text(standard.every_s)
    on = f"{standard.value:f} {standard.unit} ({standard.standard})"
    if last is None or last.serial != entry.serial:
        text = f"{name} was not checked yet: it is checked every {every} on {on}"
        return [Trouble(f"{name}:check:{entry.serial}", text)]
    if not last.passed:
        return [Trouble(f"{name}:failed:{last.time_ns}", f"the last check failed: {said(last)}")]
    if (last.unit, last.expected) != (standard.unit, standard.value) or last.tolerance > standard.tolerance:
        text = f"the register changed since the last check of {name}: repeat it on {on} within {standard.tolerance:f}"
        return [Trouble(f"{name}:standard:{standard.value}:{standard.tolerance}", text)]
    if not 0 <= now_ns - last.time_ns <= standard.every_s * 1e9:
        return [
            Trouble(f"{name}:check:{last.time_ns}", f"the check of {name} is older than {every}: repeat it on {on}")
        ]
    return []


def evidence(standing: Standing) -> str:
    """What speaks for it, for the record of the start."""
    entry, last = standing.entry, standing.last
    told = f"{entry.kind} {standing.name}, serial {entry.serial}, calibrated until {entry.due}"
    told += f" ({entry.certificate})" if entry.certificate else ""
    if last is None:
        return told
    at = f"{datetime.fromtimestamp(last.time_ns // 1_000_000_000, UTC):%Y-%m-%d %H:%M} UTC"
    return f"{told}; {said(last)}, {at}, {last.full_name or last.person}"


def day_of(now_ns: int) -> date:
    """The day, UTC."""
    return datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).date()
