"""From the answers of one poll to a Reading: everything that can be known beforehand is compiled here.  Pure.

The good case is four C calls for all tags together: unpack, pick, convert, sum (a NaN or an infinity anywhere makes
the sum one).  Only when something is wrong is each value looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from operator import call, itemgetter
from typing import Any, Final

import msgspec

from gateway.drivers.modbus_plan import Block, Span
from gateway.drivers.modbus_tags import Among, Bits, ModbusTag
from gateway.drivers.wire.registers import FLOATS, Field, Raws, Unpack, bit_unpacker, unpacker
from gateway.model import NO_FAULTS, Fault, Quality, Reading, Value

Convert = Callable[[Any], Value]


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


class Channel(msgspec.Struct, frozen=True):
    """A tag, resolved: where it stands and how it is converted."""

    name: str
    table: str
    field: Field
    convert: Convert
    bad_values: frozenset[int | float]
    conditions: tuple[Condition, ...] = ()

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
    wanted += [other.tag for name in order for other in tags[name].conditions]
    names = list(dict.fromkeys(wanted))
    return tuple(
        _channel(name, tags[name], defaults, _conditions(tags, name, names) if name in order else ()) for name in names
    )


def _channel(name: str, tag: ModbusTag, defaults: Mapping[str, Any], conditions: tuple[Condition, ...]) -> Channel:
    table = tag.table or defaults["table"]
    kind = tag.kind_in(table)
    field = Field(
        start=tag.address - defaults["base"],
        type="u16" if kind == "bool" else kind,
        word_order=tag.word_order or defaults["word_order"],
        byte_order=tag.byte_order or defaults["byte_order"],
        chars=tag.length,
    )
    return Channel(name, table, field, _convert(tag, kind, table), frozenset(tag.bad_values), conditions)


def _convert(tag: ModbusTag, kind: str, table: str) -> Convert:
    """A function for one raw value; a C one wherever there is one."""
    if kind == "bool":
        return bool if table in ("coil", "discrete") else _bit(tag.bit or 0)
    if kind == "ascii":
        return _text(tag.length)
    factor, offset = tag.factors()
    if offset:
        return _line(factor, offset)
    if factor == 1:
        return float if kind in FLOATS else int
    divisor = round(1 / factor)
    if divisor and 1 / divisor == factor:  # 3 / 10 is 0.3, 3 * 0.1 is not
        return float(divisor).__rtruediv__
    return factor.__mul__


def _bit(bit: int) -> Convert:
    mask = 1 << bit
    return lambda raw: raw & mask != 0


def _line(factor: float, offset: float) -> Convert:
    return lambda raw: raw * factor + offset


def _text(chars: int) -> Convert:
    def convert(raw: bytes) -> Value:
        text = raw[:chars].rstrip(b"\0 ")
        return text.decode("ascii") if text.isascii() else None

    return convert


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
        self._texts = [at for at, channel in enumerate(known[:shown]) if channel.field.type == "ascii"]
        self._suspicious = [at for at, channel in enumerate(known[:shown]) if channel.bad_values]
        self._judged = [at for at, channel in enumerate(known[:shown]) if channel.conditions]
        self._plain = not (self._texts or self._suspicious or self._judged)

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
        if self._plain and finite:
            return Reading(values, held=self._held(held, raws, NO_FAULTS) if held else None)
        return self._judge(list(values), raws, {}, held)

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
        return self._judge(values, tuple(found), faults, held)

    def _raws(self, answers: Sequence[bytes]) -> Raws:
        """The raw values of all channels, in their order."""
        if len(answers) == 1:
            raws = self._unpacks[0](answers[0])
        else:
            raws = tuple([raw for unpack, adu in zip(self._unpacks, answers, strict=True) for raw in unpack(adu)])
        return raws if self._pick is None else self._pick(raws)

    def _judge(self, values: list[Value], raws: Raws, faults: dict[int, Fault], held: Held | None) -> Reading:
        """Look at each value: not finite, told to be bad, not text, or doubted by a status."""
        for at in range(self._shown):
            if at in faults:
                continue
            fault = self._fault(at, values[at], raws)
            if fault is not None:
                faults[at] = fault
                if fault.quality is Quality.BAD:
                    values[at] = None
        standing = self._held(held, raws, faults) if held else None
        return Reading(
            tuple(values), faults={at: fault for at, fault in faults.items() if at < self._shown}, held=standing
        )

    def _fault(self, at: int, value: Value, raws: Raws) -> Fault | None:
        channel, raw = self._known[at], raws[at]
        if value is None:
            return Fault(Quality.BAD, f"not ASCII: {raw!r}")
        if isinstance(value, float) and not isfinite(value):
            doubt = self._doubt(channel, raws)
            return Fault(Quality.BAD, f"the device sent {raw}" + (f"; {doubt.reason}" if doubt else ""))
        if raw in channel.bad_values:
            return Fault(Quality.BAD, f"the device sent {raw}, which means no value")
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
