"""Modbus devices: TCP, RTU on a serial port, RTU through a serial server.

`url` is `tcp://host:port`, `serial:///dev/ttyS1?baudrate=9600&parity=N&stopbits=1` or `rtu+tcp://host:port`.  `profile`
brings a known device's map; `select` chooses among its tags; `tags` adds or corrects some.  Tags are read in blocks
planned from their addresses.  An address the device refuses costs only its own tag.

`halt` makes a device one that can be held: `write` is sent, and the halt is done only when the `confirm` tag, read
back, says so.  Beside that write, its `release` and the `heartbeat` register this driver writes nothing: it has no
code for it.

Sources: Modbus Application Protocol V1.1b3; Modbus Messaging on TCP/IP V1.0b; Modbus over Serial Line V1.02.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from gateway.drivers.base import DriverConfig, withheld_s
from gateway.drivers.modbus.bus import Manners
from gateway.drivers.modbus.device import ModbusDevice
from gateway.drivers.modbus.layout import Channel, Held, Part, channels
from gateway.drivers.modbus.open import RTU_LATE_S, SHARED_LATE_S, Line, line_of, opened, share_of, silence_s
from gateway.drivers.modbus.parts import RTU_REQUEST_COST, TCP_REQUEST_COST, Caps, address_span, planned
from gateway.drivers.modbus.tags import HaltBy, Heartbeat, ModbusTag, Order, Table, TagMap
from gateway.drivers.modbus.wear import NVM_WRITES, budget_a_day
from gateway.drivers.profiles.profile import load_profile, with_profile
from gateway.drivers.ranges import expand
from gateway.drivers.transport import StreamUrl, parse_url, preflight, preload
from gateway.drivers.wire import modbus as wire
from gateway.model import TagSpec
from gateway.units import Duration

T = TypeVar("T")

_MAPS: Final[dict[bytes, TagMap]] = {}
"""Validated maps, by what was written; the latest so many."""
_MOST_MAPS: Final = 32
SCHEMES: Final = ("tcp", "serial", "rtu+tcp")


def _known_profile(name: str | None) -> str | None:
    if name is not None:
        load_profile(name, "modbus")
    return name


def _known_url(text: str) -> str:
    parse_url(text, SCHEMES)
    return text


def _known_tag(name: str, tags: Mapping[str, ModbusTag], whose: str) -> None:
    if name not in tags:
        near = difflib.get_close_matches(name, tags, n=3, cutoff=0.4) or sorted(tags)
        raise ValueError(f"{whose}: no tag is called {name!r}; nearest: {', '.join(near)}")


def _polled_tag(name: str, tags: Mapping[str, ModbusTag], whose: str) -> None:
    if not tags[name].polled:
        raise ValueError(f"{whose}: {name} is not polled (polled: false), so it is in no scan")


def _meet(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop


def _whole_links(name: str, tag: ModbusTag, tags: Mapping[str, ModbusTag], table: Table) -> None:
    """Codes are whole numbers."""
    for link in tag.links:
        kind = tags[link.tag].kind_in(tags[link.tag].table or table)
        if kind in ("f32", "f64", "ascii", "bool"):
            raise ValueError(f"{name}: {link.tag} is {kind}; what says decimals or a unit is a whole number")


def _takes_back(halt: HaltBy, base: int) -> None:
    """ValueError for a release that does anything but take back what the halt wrote: it might start something."""
    write, release = halt.write, halt.release
    if write is None or release is None:
        return
    if release.table != write.table or not set(release.span(base)) <= set(write.span(base)):
        raise ValueError("release takes back what write put there: it writes the same coil or register, no other")
    if release == write:
        raise ValueError("release writes what the halt itself writes: that takes nothing back")


class ModbusConfig(DriverConfig):
    """A Modbus device."""

    halts: ClassVar[bool] = True

    model_config = ConfigDict(defer_build=True)  # built when first used: many lines have none

    driver: Literal["modbus"] = "modbus"
    url: Annotated[str, AfterValidator(_known_url)]
    unit_id: int = Field(1, ge=0, le=255)
    """The device's address on its line; behind a TCP port mostly 1."""
    profile: Annotated[str | None, AfterValidator(_known_profile)] = None
    base: Literal[0, 1] = 0
    """What the addresses here count from; on the wire they count from 0."""
    table: Table = "holding"
    """Where a tag stands that does not say it."""
    word_order: Order = "big"
    byte_order: Order = "big"
    max_read: int = Field(wire.MAX_REGISTERS, ge=1, le=wire.MAX_REGISTERS)
    """Registers the device gives in one answer."""
    max_read_bits: int = Field(wire.MAX_BITS, ge=1, le=wire.MAX_BITS)
    forbidden: tuple[str | int, ...] = ()
    """Addresses never to be read: 300, 512-519."""
    wearing: tuple[str | int, ...] = ()
    """Holding registers that wear when written, besides those of tags with `nvm`: 24, 2160-2161."""
    nvm_writes_per_day: int | None = Field(None, ge=1)
    """Budget of each register that wears; where nothing is said, what lets its memory live ten years."""
    request_cost: float | None = Field(None, ge=0)
    """Registers that take as long to read as one more request; by the kind of line where nothing is said."""
    min_gap_s: Duration = Field(0.0, alias="min_gap", ge=0)
    """Rest the device needs between two requests."""
    late_s: Duration | None = Field(None, alias="late", gt=0)
    """How long after a request an answer may still come: 200 ms on RTU, 1 s behind a shared TCP port.

    So long, and no longer, this unit keeps others on its line waiting."""
    shared: bool = False
    """TCP: all devices with this url share one connection (serial lines, and RTU over TCP, are always shared)."""
    module: str = ""
    """Where several devices are parts of one unit, like relays of one module: a name that all of them say."""
    map_: dict[str, ModbusTag] = Field(default_factory=dict, alias="tags")
    select: tuple[str, ...] | None = None
    """The tags to read, in this order; all of them where nothing is said."""
    halt: HaltBy | None = None
    heartbeat: Heartbeat | None = None

    @model_validator(mode="before")
    @classmethod
    def _over_profile(cls, given: Any) -> Any:
        return with_profile(given, "modbus")

    @field_validator("forbidden", "wearing")
    @classmethod
    def _ranges(cls, given: tuple[str | int, ...]) -> tuple[str | int, ...]:
        for each in given:
            address_span(each)
        return given

    @field_validator("map_")
    @classmethod
    def _readable(cls, tags: dict[str, ModbusTag], info: ValidationInfo) -> dict[str, ModbusTag]:
        table, base = info.data.get("table", "holding"), info.data.get("base", 0)
        for name, tag in tags.items():
            if not base <= tag.address <= 0xFFFF + base:
                raise ValueError(f"{name}: address {tag.address} is not one, with base {base}")
            try:
                tag.kind_in(tag.table or table)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            for other in (*tag.conditions, *tag.links):
                _known_tag(other.tag, tags, name)
                _polled_tag(other.tag, tags, name)
                if tags[other.tag].links:
                    raise ValueError(f"{name}: {other.tag} itself depends on another tag; that is one too many")
            _whole_links(name, tag, tags, table)
        return tags

    @field_validator("map_", mode="wrap")
    @classmethod
    def _shared(cls, given: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> dict[str, ModbusTag]:
        """Ranges written out; a map that was validated before is not validated, nor kept, twice."""
        try:
            key = orjson.dumps([info.data.get("table"), info.data.get("base"), given])
        except TypeError:  # tags that are objects already
            return TagMap(validate(given))
        if key not in _MAPS:
            made = TagMap(validate(expand(given)))
            if len(_MAPS) >= _MOST_MAPS:
                _MAPS.pop(next(iter(_MAPS)))
            _MAPS[key] = made
        return _MAPS[key]

    @field_validator("select")
    @classmethod
    def _selected(cls, names: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if names is not None and "map_" in info.data:
            if not names or len(set(names)) != len(names):
                raise ValueError("name each tag once, and at least one")
            for name in names:
                _known_tag(name, info.data["map_"], "select")
                _polled_tag(name, info.data["map_"], "select")
        return names

    @field_validator("halt")
    @classmethod
    def _confirmed(cls, halt: HaltBy | None, info: ValidationInfo) -> HaltBy | None:
        if halt is None or "map_" not in info.data:
            return halt
        tags = info.data["map_"]
        _known_tag(halt.confirm.tag, tags, "confirm")
        tag = tags[halt.confirm.tag]
        if tag.links or tag.conditions:  # it is read alone: nobody would look at what makes it bad
            raise ValueError(f"confirm: {halt.confirm.tag} depends on another tag; confirm by another")
        base, table = info.data.get("base", 0), tag.table or info.data.get("table", "holding")
        at = tag.address - base
        write = halt.write
        same = write and table == write.table and set(range(at, at + tag.width)) & set(write.span(base))
        if same and halt.confirm_same != "accepted":
            raise ValueError(
                f"confirm reads {wire.place(table, at, tag.width)}, the very one that is written: that proves "
                "the write, not the standstill; confirm by another tag, or accept it with confirm_same: accepted"
            )
        for each in halt.writes:
            each.request(1, base)
        _takes_back(halt, base)
        return halt

    @model_validator(mode="after")
    def _plannable(self) -> ModbusConfig:
        if not self.map_:
            raise ValueError("has no tags: write some under tags, or name a profile")
        self._all_read()
        if self.shared and self.stream.scheme != "tcp":
            raise ValueError("shared is for tcp://; a serial line, and RTU over TCP, are shared anyway: leave it out")
        if self.unit_id == 0 and self.stream.scheme != "tcp":
            raise ValueError("unit_id 0 is the broadcast of a serial line: nobody answers it")
        if self.heartbeat is None and self.beat_s is not None:
            raise ValueError("beat needs a heartbeat register: heartbeat: {register: 100}")
        self._beats_where_it_must()
        if self.heartbeat is not None and self.budget(range(at := self.heartbeat.register_ - self.base, at + 1)):
            raise ValueError(f"heartbeat would wear holding register {at} out; give it one in RAM")
        _ = self.parts
        return self

    def _beats_where_it_must(self) -> None:
        """ValueError for a heartbeat that our halt writes over, and for one that is to be withheld and is not there."""
        if self.halt is None:
            return
        if self.heartbeat is None:
            if self.halt.action == "withhold":
                raise ValueError("halt by withhold needs a heartbeat to withhold: heartbeat: {register: 100}")
            return
        at = self.heartbeat.register_ - self.base
        if any(write.table == "holding" and at in write.span(self.base) for write in self.halt.writes):
            raise ValueError(f"heartbeat and halt both write holding register {at}")

    def _all_read(self) -> None:
        """ValueError for a tag that nothing would ever read, and where none would be polled."""
        confirms = self.halt.confirm.tag if self.halt is not None else None
        for name, tag in self.map_.items():
            if not tag.polled and name != confirms:
                raise ValueError(f"{name} is not polled and confirms no halt: nothing would ever read it")
        if not self.names:
            raise ValueError("has no tags that are polled")

    @cached_property
    def stream(self) -> StreamUrl:
        return parse_url(self.url, SCHEMES)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The tags of a reading, in their order."""
        return self.select or self._once("names", lambda: tuple(n for n, tag in self.map_.items() if tag.polled))

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """What is polled: the tags shown, those their quality depends on, and what confirms a halt."""
        wanted = self.names
        if self.halt is not None and self.halt.confirm.tag not in wanted and self.map_[self.halt.confirm.tag].polled:
            wanted = (*wanted, self.halt.confirm.tag)
        return self._once(("channels", wanted), lambda: channels(self.map_, wanted, self._defaults))

    def _once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Made once for all devices of this map that read it alike."""
        like = (key, self.table, self.base, self.word_order, self.byte_order)
        return self.map_.once(like, make) if isinstance(self.map_, TagMap) else make()

    @property
    def _defaults(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "base": self.base,
            "word_order": self.word_order,
            "byte_order": self.byte_order,
        }

    @cached_property
    def proof(self) -> Channel | None:
        """What confirms a halt, read for itself."""
        if self.halt is None:
            return None
        return channels(self.map_, (self.halt.confirm.tag,), self._defaults)[0]

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The requests of one poll, before the device refused any of them."""
        cost = self.request_cost
        if cost is None:
            cost = TCP_REQUEST_COST if self.stream.scheme == "tcp" else RTU_REQUEST_COST
        walls = tuple(address_span(each, self.base) for each in self.forbidden)
        caps = Caps(self.max_read, self.max_read_bits, cost, walls)
        return self._once(("parts", self.names, self.held, caps), lambda: planned(self.channels, caps))

    def budget(self, span: range) -> int | None:
        """Writes a day of these holding registers (PDU addresses); None where they do not wear."""
        walls = [address_span(each, self.base) for each in self.wearing]
        endures = [NVM_WRITES for wall in walls if _meet(span, range(wall.start, wall.end))]
        for tag in self.map_.values():
            at = tag.address - self.base
            if tag.nvm and (tag.table or self.table) == "holding" and _meet(span, range(at, at + tag.width)):
                endures.append(tag.nvm)
        return (self.nvm_writes_per_day or budget_a_day(min(endures))) if endures else None

    @cached_property
    def held(self) -> Held | None:
        """How a reading shows that the machine stands still; None where it does not."""
        if self.halt is None or not self.map_[self.halt.confirm.tag].polled:
            return None
        names = [channel.name for channel in self.channels]
        return Held(names.index(self.halt.confirm.tag), self.halt.confirm.values)

    def haltable(self) -> bool:
        return self.halt is not None

    @property
    def stands_within_s(self) -> float:
        within_s = self.halt.within_s if self.halt is not None else None
        return self.halt_budget_s if within_s is None else withheld_s(within_s, self.halt_budget_s)

    def tags(self) -> tuple[TagSpec, ...]:
        return self._once(("tags", self.names), self._specs)

    def _specs(self) -> tuple[TagSpec, ...]:
        kinds = {"ascii": "text", "bool": "bool"}
        return tuple(
            TagSpec(name, tag.unit, kinds.get(tag.kind_in(tag.table or self.table), "number"))
            for name, tag in ((name, self.map_[name]) for name in self.names)
        )

    def address(self) -> str:
        return f"{self.url} unit {self.unit_id}"

    def line(self) -> Line:
        """The line it stands on, and what all the devices there must agree on."""
        spans = [(each.table, each.span(self.base)) for each in (self.halt.writes if self.halt else ())]
        if self.heartbeat is not None:
            spans.append(("holding", range(at := self.heartbeat.register_ - self.base, at + 1)))
        writes = frozenset((table, at) for table, span in spans for at in span)
        return line_of(self.stream, self.unit_id, shared=self.shared, module=self.module, writes=writes)

    def share(self) -> float:
        """How much of its serial line's time it asks for; 1 is all of it."""
        return share_of(self)

    def preflight(self) -> list[str]:
        """Warnings that need a look at this machine: a serial port that is not there."""
        return preflight(self.stream)

    def preload(self) -> None:
        preload(self.stream)

    def connect(self, name: str) -> AbstractAsyncContextManager[ModbusDevice]:
        late_s = self.late_s or (SHARED_LATE_S if self.stream.scheme == "tcp" else RTU_LATE_S)
        manners = Manners(self.unit_id, max(self.min_gap_s, silence_s(self.stream)), late_s)
        where = f"{name} ({self.address()})"
        return opened(self, where, self.stream, manners, shared=self.line().shared)
