"""Gates: what must hold before a batch may start.  Pure: the batch, its recipe, what is known now, the time -> gates.

A gate says what it asks for, what stands in its way and what speaks for it.  It is open, blocked or overridden:
a person opened it where the recipe lets them, with a reason, for the very problems seen.  A later one blocks again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

import msgspec

from gateway.batch import instruments
from gateway.batch.instruments import Standing, day_of
from gateway.batch.order import PRODUCT
from gateway.batch.records import moment
from gateway.batch.state import Batch, missing_signatures, same_person
from gateway.errors import Refused
from gateway.model import Draft, Json, Value
from gateway.recipe import COVERED_BY, GateName, GateRule, Recipe, Setpoint, Step
from gateway.units import linear

ASKS: Final[Mapping[GateName, str]] = {
    "clearance": "the line is cleared of the last batch, and that is signed",
    "sanitation": "the equipment is cleaned and sanitized, and that is signed",
    "oil": "the bulk oil is released by QC with its COA",
    "setpoints": "the machines are set to what the recipe says",
    "instruments": "the instruments are calibrated and checked",
    "people": "who signed and who starts is known and qualified",
    "label": "the first label says what it must, and two people approved it",
    "clock": "the clock is synchronised",
    "evidence": "what happens can be recorded",
}


APPROVERS: Final = "approvers"
"""Key of the problem that no two people approved the first label."""


class GateState(StrEnum):
    OPEN = "open"
    BLOCKED = "blocked"
    OVERRIDDEN = "overridden"


class Problem(msgspec.Struct, frozen=True):
    """One thing in the way."""

    key: str
    """The same while it is the same problem: what an override covers."""
    text: str


class Seen(msgspec.Struct, frozen=True):
    """The newest of a tag."""

    value: Value
    unit: str
    trouble: str = ""
    """Why it is not good; the value means nothing then."""


class Field(msgspec.Struct, frozen=True):
    """One field of a label as it was read, and what it must say."""

    tag: str
    read: str
    expected: str
    ok: bool
    text: str
    """What is wrong; empty where nothing is."""


class Facts(msgspec.Struct, frozen=True):
    """What is known now, gathered by the line."""

    readings: Mapping[str, Seen] = {}
    """Tag -> what its machine says; at least those the recipe has setpoints for."""
    instruments: Sequence[Standing] = ()
    register: str = ""
    """Why the register of instruments cannot be read; empty where it can."""
    people: Mapping[str, tuple[frozenset[str], str]] = {}
    """Name -> (roles now, why this person may not sign; empty where they may)."""
    starts: str = ""
    """Who is about to start; empty where nobody is."""
    label: tuple[Field, ...] | None = None
    """As the camera reads it now; None: nothing on this line reads labels."""
    unread: tuple[str, ...] = ()
    """What the label must say and nothing on this line compares."""
    clock: str = "unknown"
    until_ns: int = 0
    """The clock was set back while the gateway was down: it is not believed before this time.  0: it is."""
    unrecorded: str = ""
    """Why nothing can be recorded."""


class Gate(msgspec.Struct, frozen=True):
    """One gate, as it stands."""

    name: GateName
    asks: str
    state: GateState
    problems: tuple[Problem, ...] = ()
    evidence: tuple[str, ...] = ()
    """What speaks for it."""
    override: tuple[str, ...] = ()
    """Roles that may open it all the same."""
    opened_by: str = ""
    reason: str = ""

    @property
    def blocks(self) -> bool:
        return self.state is GateState.BLOCKED

    @property
    def text(self) -> str:
        """`clock: the clock is unsynchronised`."""
        return f"{self.name}: {'; '.join(one.text for one in self.problems) or 'open'}"


def gates(batch: Batch, recipe: Recipe, facts: Facts, now_ns: int) -> tuple[Gate, ...]:
    """Every gate this recipe asks for, in the order of a start."""
    asked = recipe.asked([*(one.name for one in facts.instruments), *([facts.register] if facts.register else [])])
    return tuple(_gate(name, asked[name], batch, recipe, facts, now_ns) for name in ASKS if name in asked)


def blocked(found: Sequence[Gate]) -> tuple[Gate, ...]:
    return tuple(gate for gate in found if gate.blocks)


def _gate(name: GateName, rule: GateRule, batch: Batch, recipe: Recipe, facts: Facts, now_ns: int) -> Gate:
    problems = tuple(_problems(name, rule, batch, recipe, facts, now_ns))
    evidence = tuple(_evidence(name, batch, recipe, facts))
    made = next((one for one in reversed(batch.overrides) if one.gate == name), None)
    if not problems:
        return Gate(name, ASKS[name], GateState.OPEN, (), evidence, rule.override)
    if made is not None and {one.key for one in problems} <= set(made.covers):
        who = made.full_name or made.person
        return Gate(name, ASKS[name], GateState.OVERRIDDEN, problems, evidence, rule.override, who, made.reason)
    return Gate(name, ASKS[name], GateState.BLOCKED, problems, evidence, rule.override)


def _problems(
    name: GateName, rule: GateRule, batch: Batch, recipe: Recipe, facts: Facts, now_ns: int
) -> Iterator[Problem]:
    if name in COVERED_BY:
        yield from _unsigned(name, batch, recipe)
    if name == "oil":
        yield from _oil(batch, now_ns)
    elif name == "setpoints":
        for tag, wanted in recipe.setpoints.items():
            yield from deviation(tag, wanted, facts.readings.get(tag))
    elif name == "instruments":
        yield from _instruments(rule, facts, now_ns)
    elif name == "people":
        yield from _people(batch, facts)
    elif name == "label":
        yield from _approved(batch, recipe)
        yield from _label(facts)
    elif name == "clock":
        yield from _clock(facts)
    elif name == "evidence" and facts.unrecorded:
        yield Problem("unrecorded", f"nothing can be recorded: {facts.unrecorded}")


# -- signatures --------------------------------------------------------------------------------------


def signs_for(name: GateName, recipe: Recipe) -> list[Step]:
    """Steps before the start that sign for this gate."""
    word = COVERED_BY.get(name)
    return [step for step in recipe.before_start if word in step.covers]


def _unsigned(name: GateName, batch: Batch, recipe: Recipe) -> Iterator[Problem]:
    for step, meaning, role in missing_signatures(batch, signs_for(name, recipe)):
        yield Problem(unsigned(step, meaning), f"{step.id} is not signed as {meaning!r} by {role}")


def unsigned(step: Step, meaning: str) -> str:
    """The key of a signature that is missing."""
    return f"{step.id}:{meaning}"


def _oil(batch: Batch, now_ns: int) -> Iterator[Problem]:
    """The COA is looked at when the order comes; what may have changed since is looked at again."""
    lots = [lot for lot in batch.order.materials if lot.kind == PRODUCT]
    if not lots:
        yield Problem("lot", f"the order brings no lot of {PRODUCT}")
    for lot in lots:
        if lot.coa is None or not lot.coa.passed:
            word = "has no COA" if lot.coa is None else f"failed its COA {lot.coa.id}"
            yield Problem(f"{lot.lot}:coa", f"{lot.kind} lot {lot.lot} {word}")
        if lot.expires is not None and lot.expires < day_of(now_ns):
            yield Problem(f"{lot.lot}:expired", f"{lot.kind} lot {lot.lot} expired on {lot.expires}")
        if lot.coa is not None and lot.coa.expires is not None and lot.coa.expires < day_of(now_ns):
            text = f"COA {lot.coa.id} of {lot.kind} lot {lot.lot} expired on {lot.coa.expires}"
            yield Problem(f"{lot.lot}:coa-expired", text)


def _clock(facts: Facts) -> Iterator[Problem]:
    if facts.clock != "synchronised":
        yield Problem(facts.clock, f"the clock is {facts.clock}: every time in the record would be in doubt")
    if facts.until_ns:
        text = f"the clock was set back while the gateway was down: it is not past {moment(facts.until_ns)}"
        yield Problem(f"until:{facts.until_ns}", f"{text}, the time of the newest record")


# -- machines and instruments ------------------------------------------------------------------------


def deviation(tag: str, wanted: Setpoint, seen: Seen | None) -> Iterator[Problem]:
    """How far a machine is from its setpoint, in the recipe's unit."""
    if seen is None or seen.trouble or seen.value is None:
        why = "it was never seen" if seen is None else seen.trouble or "no value"
        yield Problem(f"{tag}=?", f"{tag} could not be read back: {why}")
        return
    said = wanted.wanted
    if not isinstance(said, Decimal):
        if type(seen.value) is not type(said) or seen.value != said:
            yield Problem(f"{tag}={seen.value}", f"{tag} is {seen.value!r}, the recipe says {said!r}")
        return
    read = _number(seen, wanted.unit)
    if read is None:
        yield Problem(f"{tag}={seen.value}", f"{tag} reads {seen.value!r}, which is no number in {wanted.unit}")
    elif abs(read - said) > wanted.tolerance:
        within = f" within {wanted.tolerance:f}" if wanted.tolerance else ""
        text = f"{tag} is {_short(read)} {wanted.unit}, the recipe says {said:f}{within}"
        yield Problem(f"{tag}={_short(read)}", text)


def _number(seen: Seen, unit: str) -> Decimal | None:
    if isinstance(seen.value, (bool, str)) or seen.value is None:
        return None
    value = Decimal(str(seen.value))
    if not value.is_finite():
        return None
    try:
        # simple fractions by definition, their floats are not: 5/9
        factor, offset = (Fraction(part).limit_denominator(10_000_000) for part in linear(seen.unit, unit))
    except ValueError:
        return None
    exact = Fraction(value) * factor + offset
    return value if seen.unit == unit else Decimal(exact.numerator) / Decimal(exact.denominator)


def _told(seen: Seen) -> str:
    """`62 Cel`: a float is told to seven figures; a register's 32 bits have no more."""
    value = f"{seen.value:.7g}" if isinstance(seen.value, float) else seen.value
    return f"{value} {seen.unit}"


def _short(value: Decimal) -> str:
    return f"{value:.7g}"


def _instruments(rule: GateRule, facts: Facts, now_ns: int) -> Iterator[Problem]:
    if facts.register:
        yield Problem("register", f"the register of instruments cannot be read: {facts.register}")
    for need in rule.needs:
        if not any(need in (one.name, one.entry.kind) for one in facts.instruments):
            yield Problem(f"{need}:none", f"the register has no {need}")
    for one in facts.instruments:
        if not rule.needs or {one.name, one.entry.kind} & set(rule.needs):
            for trouble in instruments.troubles(one, now_ns):
                yield Problem(trouble.key, trouble.text)


# -- people and label --------------------------------------------------------------------------------


def _people(batch: Batch, facts: Facts) -> Iterator[Problem]:
    signed = {(one.person, one.role): one for one in batch.signatures}
    for (name, role), one in signed.items():
        roles, why = facts.people.get(name, (frozenset(), f"{name} is not known here"))
        if why:
            yield Problem(f"{name}:{one.step}:{why}", f"{one.full_name or name}, who signed {one.step}: {why}")
        elif role not in roles:
            text = f"{one.full_name or name}, who signed {one.step} as {role}, is not {role} now"
            yield Problem(f"{name}:{role}", text)
    if facts.starts:
        _, why = facts.people.get(facts.starts, (frozenset(), f"{facts.starts} is not known here"))
        if why:
            yield Problem(f"{facts.starts}:starts", why)


def _approved(batch: Batch, recipe: Recipe) -> Iterator[Problem]:
    """21 CFR 211.125(a): whoever looks at a label alone sees what they expect; two steps by one person are one look."""
    steps = {step.id for step in signs_for("label", recipe)}
    eyes = [one for one in batch.signatures if one.step in steps]
    if not any(not same_person(eyes[0], other) for other in eyes[1:]):
        so_far = f"so far by {eyes[0].full_name or eyes[0].person} alone" if eyes else "so far by nobody"
        yield Problem(APPROVERS, f"the first label is approved by two people, {so_far}")


def _label(facts: Facts) -> Iterator[Problem]:
    for field in facts.label or ():
        if not field.ok:
            yield Problem(f"{field.tag}={field.read}", field.text)


def _evidence(name: GateName, batch: Batch, recipe: Recipe, facts: Facts) -> Iterator[str]:
    """What speaks for the gate."""
    steps = {step.id for step in signs_for(name, recipe)}
    yield from (
        f"{one.step}: {one.meaning} by {one.full_name}, {one.role}" for one in batch.signatures if one.step in steps
    )
    if name == "oil":
        lots = [lot for lot in batch.order.materials if lot.kind == PRODUCT and lot.coa]
        yield from (f"lot {lot.lot}, COA {lot.coa.id} of {lot.coa.lab}, {lot.coa.issued}" for lot in lots if lot.coa)
    elif name == "setpoints":
        known = [(tag, facts.readings[tag]) for tag in recipe.setpoints if tag in facts.readings]
        yield from (f"{tag} reads {_told(seen)}" for tag, seen in known if not seen.trouble)
    elif name == "instruments":
        yield from (instruments.evidence(one) for one in facts.instruments)
    elif name == "label":
        if facts.label is None:
            yield "nothing on this line reads labels: by people's eyes alone"
        elif facts.unread:
            yield f"not compared by this line, by people's eyes alone: {', '.join(facts.unread)}"
        yield from (f"{field.tag} reads {field.read}" for field in facts.label or () if field.ok)


# -- what becomes of them ----------------------------------------------------------------------------


def bodies(found: Sequence[Gate]) -> list[Json]:
    """As the record and the board have them."""
    return [
        {
            "gate": gate.name,
            "asks": gate.asks,
            "state": gate.state.value,
            "problems": [one.text for one in gate.problems],
            "evidence": list(gate.evidence),
            "override": list(gate.override),
            "opened_by": gate.opened_by,
            "reason": gate.reason,
        }
        for gate in found
    ]


def refusal(batch: Batch, found: Sequence[Gate], by: str, now_ns: int) -> tuple[Draft, Refused]:
    """The record of a start that was blocked, and the answer to who asked for it."""
    closed = blocked(found)
    told = " | ".join(gate.text for gate in closed)
    body: dict[str, Json] = {"gates": bodies(closed), "text": told, "person": by, "time": str(now_ns)}
    names = [gate.name for gate in closed]
    opens = {gate.name: list(gate.override) for gate in closed if gate.override}
    text = f"batch {batch.number} may not start: {told}"
    return Draft("gate.blocked", body, batch.number, by), Refused("gates_blocked", text, gates=names, override=opens)
