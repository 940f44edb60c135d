"""From the answers of one poll to a Reading: everything that can be known beforehand is compiled here.  Pure.

The good case is four C calls for all tags together: unpack, pick, convert, sum (a NaN or an infinity anywhere makes
the sum one).  Only when something is wrong is each value looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from math import isfinite
from operator import call, itemgetter
from typing import Any, Final, cast

import msgspec

from gateway.drivers.modbus.convert import Convert, bad_raws, converter, number
from gateway.drivers.modbus.plan import Block, Span
from gateway.drivers.modbus.tags import Among, Bits, ModbusTag
from gateway.drivers.wire.registers import FLOATS, Field, Raws, Unpack, bit_unpacker, unpacker
from gateway.model import NO_FAULTS, Fault, Quality, Reading, Value


class Condition(msgspec.Struct, frozen=True):
    """Another tag's word on whether this one can be believed."""

    status: int
    """Position of the other tag's channel."""
    accepts: frozenset[Any] | None
    """Raw or converted values that are good; None: look at the mask."""
    mask: int
    quality: Quality
    name: str
    meanings: Mapping[int, str]

    def complaint(self, value: Any) -> str | None:
        """Why the value cannot be believed; None where it can."""
        if self.accepts is not None:
            meaning = f" ({self.meanings[value]})" if value in self.meanings else ""
            return None if value in self.accepts else f"{self.name} is {value}{meaning}"
        bits = int(value) & self.mask
        if not bits:
            return None
        meant = [self.meanings.get(bit, f"bit {bit}") for bit in range(bits.bit_length()) if bits >> bit & 1]
        return f"{self.name} says {', '.join(meant)}"


class Linked(msgspec.Struct, frozen=True):
    """Other tags' word on how this one is read: its decimals, its unit."""

    sources: tuple[int, ...]
    """Positions of the other tags' channels."""
    names: tuple[str, ...]
    converts: Mapping[tuple[Any, ...], Convert]
    """By what they hold."""

    def value(self, raw: Any, codes: tuple[Any, ...]) -> Value | Fault:
        """The value, or why there is none."""
        if None in codes:
            return Fault(Quality.BAD, f"{self.names[codes.index(None)]}, which says how it is read, cannot be read")
        convert = self.converts.get(codes)
        if convert is None:
            said = ", ".join(f"{name} is {code}" for name, code in zip(self.names, codes, strict=True))
            return Fault(Quality.BAD, f"{said}: nobody said what that means for {raw}")
        return convert(raw)


class Channel(msgspec.Struct, frozen=True):
    """A tag, resolved: where it stands and how it is converted."""

    name: str
    table: str
    field: Field
    convert: Convert
    bad_values: frozenset[int | float]
    kind: str = "u16"
    """What it is once it is taken from the registers: a type, or bool, bits."""
    unit: str = "1"
    valid: tuple[float, float] | None = None
    conditions: tuple[Condition, ...] = ()
    linked: Linked | None = None

    @property
    def span(self) -> Span:
        bits = self.table in ("coil", "discrete")
        return Span(self.field.start, 1 if bits else self.field.width)


class Held(msgspec.Struct, frozen=True):
    """How a reading shows that the machine stands still."""

    channel: int
    values: frozenset[Any]


def channels(tags: Mapping[str, ModbusTag], order: Sequence[str], defaults: Mapping[str, Any]) -> tuple[Channel, ...]:
    """The tags in `order` and behind them those their quality depends on, which are read but not shown."""
    wanted = list(order)
    wanted += [other.tag for name in order for other in (*tags[name].conditions, *tags[name].links)]
    names = list(dict.fromkeys(wanted))
    return tuple(_channel(name, tags, defaults, names if name in order else ()) for name in names)


def _channel(name: str, tags: Mapping[str, ModbusTag], defaults: Mapping[str, Any], names: Sequence[str]) -> Channel:
    """`names`: all channels, where this one is shown; () for one that is only looked at for another's sake."""
    tag = tags[name]
    table = tag.table or defaults["table"]
    kind = tag.kind_in(table)
    field = Field(
        start=tag.address - defaults["base"],
        type=tag.carrier,
        word_order=tag.word_order or defaults["word_order"],
        byte_order=tag.byte_order or defaults["byte_order"],
        chars=tag.length,
        high=tag.half == "high",
    )
    return Channel(
        name=name,
        table=table,
        field=field,
        convert=int if tag.links and names else converter(tag, kind, table),
        bad_values=bad_raws(tag, kind),
        kind=kind,
        unit=tag.unit,
        valid=tag.valid if names else None,
        conditions=_conditions(tags, name, names) if names else (),
        linked=_linked(tag, kind, names) if tag.links and names else None,
    )


def _linked(tag: ModbusTag, kind: str, names: Sequence[str]) -> Linked:
    """Every combination of what the other tags may say, ready to be used."""
    places = list(tag.decimals.codes.items()) if tag.decimals else [(None, 0)]
    units = list(tag.unit_from.codes.items()) if tag.unit_from else [(None, None)]
    converts: dict[tuple[Any, ...], Convert] = {}
    for (place_code, place), (unit_code, unit) in product(places, units):
        factor, offset = tag.factors(unit)
        scale = factor / 10**place if place >= 0 else factor * 10**-place
        codes = tuple(code for code in (place_code, unit_code) if code is not None)
        converts[codes] = number(kind, scale, offset, tag)
    linked = [link.tag for link in tag.links]
    return Linked(tuple(names.index(name) for name in linked), tuple(linked), converts)


def _conditions(tags: Mapping[str, ModbusTag], name: str, names: Sequence[str]) -> tuple[Condition, ...]:
    tag = tags[name]
    return tuple(
        Condition(
            status=names.index(other.tag),
            accepts=other.values if isinstance(other, Among) else None,
            mask=other.mask if isinstance(other, Bits) else 0,
            quality=Quality.UNCERTAIN if other in tag.uncertain_bits else Quality.BAD,
            name=other.tag,
            meanings=tags[other.tag].bits if isinstance(other, Bits) else tags[other.tag].meanings,
        )
        for other in tag.conditions
    )


class Part(msgspec.Struct, frozen=True):
    """One request of a poll: a block of one table; its members are positions of channels."""

    table: str
    block: Block


def _special(channel: Channel) -> bool:
    """Does its value have to be looked at, each time?"""
    may_fail = channel.kind in ("ascii", "bcd16", "bcd32")
    return bool(may_fail or channel.bad_values or channel.conditions or channel.valid or channel.linked)


def unpack_part(part: Part, known: Sequence[Channel], data_at: int) -> Unpack:
    """A function from the answer to a part to the raw values of its members."""
    members = [known[member] for member in part.block.members]
    if part.table in ("coil", "discrete"):
        return bit_unpacker([member.field.start for member in members], part.block.start, data_at)
    return unpacker([member.field for member in members], part.block.start, data_at)


class Layout:
    """Compiled for one set of parts; made again when a refused address changes them."""

    def __init__(self, known: Sequence[Channel], shown: int, parts: Sequence[Part], data_at: int) -> None:
        self._known: Final = tuple(known)
        self._shown: Final = shown
        self._parts: Final = tuple(parts)
        self._unpacks = tuple(unpack_part(part, known, data_at) for part in parts)
        members = [member for part in parts for member in part.block.members]
        self._complete = sorted(members) == list(range(len(known)))
        order = sorted(range(len(members)), key=members.__getitem__)
        self._pick = None if order == list(range(len(order))) else itemgetter(*order)
        self._converts = tuple(channel.convert for channel in known[:shown])
        self._identity = all(convert in (int, float) for convert in self._converts)
        self._numbers = self._number_picker()
        self._special = [at for at, channel in enumerate(known[:shown]) if _special(channel)]

    def _number_picker(self) -> Callable[[Raws], Any] | None:
        """What to sum to find a NaN; None where there is no float."""
        floats = [at for at, channel in enumerate(self._known[: self._shown]) if channel.field.type in FLOATS]
        if not floats:
            return None
        if len(floats) == 1:
            only = floats[0]
            return lambda values: (values[only],)
        return itemgetter(*floats)

    def reading(self, answers: Sequence[bytes], held: Held | None = None) -> Reading:
        """All parts answered."""
        if not self._complete:
            return self.damaged(answers, {}, held)
        raws = self._raws(answers)
        values: tuple[Value, ...]
        if self._identity:
            values = raws if len(raws) == self._shown else raws[: self._shown]
        else:
            values = tuple(map(call, self._converts, raws))
        finite = self._numbers is None or isfinite(sum(self._numbers(values)))
        if finite and not self._special:
            return Reading(values, held=self._held(held, raws, NO_FAULTS) if held else None)
        return self._judge(list(values), raws, {}, held, self._special if finite else range(self._shown))

    def damaged(self, answers: Sequence[bytes | None], reasons: Mapping[int, str], held: Held | None = None) -> Reading:
        """Some parts did not answer: their tags are bad, for the reason that stands at their position."""
        found: list[Any] = [None] * len(self._known)
        for part, unpack, answer in zip(self._parts, self._unpacks, answers, strict=True):
            if answer is not None:
                for member, raw in zip(part.block.members, unpack(answer), strict=True):
                    found[member] = raw
        faults = {
            at: Fault(Quality.BAD, reasons.get(at, "not read")) for at in range(len(self._known)) if found[at] is None
        }
        values = [None if raw is None else convert(raw) for convert, raw in zip(self._converts, found, strict=False)]
        return self._judge(values, tuple(found), faults, held, range(self._shown))

    def _raws(self, answers: Sequence[bytes]) -> Raws:
        """The raw values of all channels, in their order."""
        if len(answers) == 1:
            raws = self._unpacks[0](answers[0])
        else:
            raws = tuple([raw for unpack, adu in zip(self._unpacks, answers, strict=True) for raw in unpack(adu)])
        return raws if self._pick is None else self._pick(raws)

    def _judge(
        self, values: list[Value], raws: Raws, faults: dict[int, Fault], held: Held | None, suspects: Iterable[int]
    ) -> Reading:
        """Look at each suspect: not finite, told to be bad, not text, beyond what can be, or doubted by a status."""
        for at in suspects:
            if at in faults:
                continue
            linked = self._known[at].linked
            found = values[at] if linked is None else linked.value(raws[at], self._said(linked, raws))
            if isinstance(found, Fault):
                fault: Fault | None = found
            else:
                values[at] = found
                fault = self._fault(at, found, raws)
            if fault is not None:
                faults[at] = fault
                if fault.quality is Quality.BAD:
                    values[at] = None
        standing = self._held(held, raws, faults) if held else None
        return Reading(
            tuple(values), faults={at: fault for at, fault in faults.items() if at < self._shown}, held=standing
        )

    def _said(self, linked: Linked, raws: Raws) -> tuple[Any, ...]:
        """What the tags it depends on hold; None where one could not be read."""
        pairs = ((self._known[at], raws[at]) for at in linked.sources)
        return tuple(None if raw is None else channel.convert(raw) for channel, raw in pairs)

    def _fault(self, at: int, value: Value, raws: Raws) -> Fault | None:
        channel, raw = self._known[at], raws[at]
        if value is None:
            return Fault(Quality.BAD, f"not ASCII: {raw!r}" if channel.kind == "ascii" else f"not BCD: {raw:#x}")
        if isinstance(value, float) and not isfinite(value):
            doubt = self._doubt(channel, raws)
            return Fault(Quality.BAD, f"the device sent {raw}" + (f"; {doubt.reason}" if doubt else ""))
        if raw in channel.bad_values:
            return Fault(Quality.BAD, f"the device sent {raw}, which means no value")
        if channel.valid is not None and not channel.valid[0] <= cast("float", value) <= channel.valid[1]:
            low, high = channel.valid
            return Fault(Quality.BAD, f"{value:g} {channel.unit} cannot be: valid is {low:g} to {high:g}")
        return self._doubt(channel, raws)

    def _doubt(self, channel: Channel, raws: Raws) -> Fault | None:
        """What the status tags say; a bad word wins over an uncertain one."""
        doubt = None
        for condition in channel.conditions:
            raw = raws[condition.status]
            if raw is None:
                doubt = doubt or Fault(Quality.UNCERTAIN, f"its status {condition.name} cannot be read")
                continue
            said = condition.complaint(self._known[condition.status].convert(raw))
            if said is not None and condition.quality is Quality.BAD:
                return Fault(Quality.BAD, said)
            if said is not None:
                doubt = doubt or Fault(condition.quality, said)
        return doubt

    def _held(self, held: Held, raws: Raws, faults: Mapping[int, Fault]) -> bool | None:
        raw = raws[held.channel]
        fault = faults.get(held.channel)
        if raw is None or (fault is not None and fault.quality is Quality.BAD):
            return None
        return self._known[held.channel].convert(raw) in held.values
