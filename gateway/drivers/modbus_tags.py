"""What a Modbus configuration says of one tag, of quality, of halting and of the heartbeat."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, model_validator

from gateway.drivers.wire import modbus as wire
from gateway.drivers.wire.registers import WIDTHS
from gateway.recipe import Frozen
from gateway.units import linear

Table = Literal["holding", "input", "coil", "discrete"]
Type = Literal["u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bool", "ascii"]
Order = Literal["big", "little"]


_T = TypeVar("_T")
Several = Annotated[tuple[_T, ...], BeforeValidator(lambda given: [given] if isinstance(given, Mapping) else given)]
"""One, or a list of them."""


class Lazy(Frozen):
    """Its validator is built when first used: a line without Modbus devices does not pay for it."""

    model_config = ConfigDict(defer_build=True)


class Among(Lazy):
    """A tag that has to hold one value, or one of several: `{tag: state, equals: 11}`, `{tag: state, in: [9, 11]}`."""

    tag: str
    equals: bool | int | float | None = None
    among: tuple[bool | int | float, ...] = Field((), alias="in")

    @model_validator(mode="after")
    def _one_way(self) -> Among:
        if (self.equals is None) == (not self.among):
            raise ValueError("give exactly one of equals and in")
        return self

    @property
    def values(self) -> frozenset[bool | int | float]:
        return frozenset(self.among) if self.equals is None else frozenset((self.equals,))


class Bits(Lazy):
    """Bits of a status tag: any of them set means something for another tag."""

    tag: str
    mask: int = Field(ge=1)


class ModbusTag(Lazy):
    """Where a value stands and how it is read.

    value = (raw * scale + offset) in `device_unit`, converted to `unit`.
    """

    address: int = Field(ge=0, le=65536)
    """As the device's manual counts: from 0, or from 1 with the device's `base: 1`."""
    table: Table | None = None
    type: Type | None = None
    """u16 where nothing is said; bool in coils and discrete inputs."""
    bit: int | None = Field(None, ge=0, le=15)
    """The bit of a register that a bool is."""
    length: int = Field(0, ge=0, le=250)
    """Characters of an ascii text."""
    word_order: Order | None = None
    byte_order: Order | None = None
    scale: float = 1.0
    offset: float = 0.0
    unit: str = "1"
    device_unit: str | None = None
    """What the device counts in, where that is not `unit`."""
    bad_values: tuple[int | float, ...] = ()
    """Raw values that mean `no value`: 32767, -1."""
    polled: bool = True
    """False: in no scan; read only to confirm a halt, and as long as that halt stands."""
    good_when: Several[Among] = ()
    """What other tags must say for this one to be good."""
    bad_bits: Several[Bits] = ()
    uncertain_bits: Several[Bits] = ()
    bits: dict[int, str] = Field(default_factory=dict)
    """What the bits of this tag mean, for people."""
    meanings: dict[int, str] = Field(default_factory=dict)
    """What the values of this tag mean, for people."""

    @model_validator(mode="after")
    def _possible(self) -> ModbusTag:
        linear(self.device_unit or self.unit, self.unit)
        if self.scale == 0:
            raise ValueError("scale 0 makes every value 0")
        if (self.length > 0) != (self.type == "ascii"):
            raise ValueError("length goes with type: ascii, and only with it")
        if self.bit is not None and self.type not in (None, "bool"):
            raise ValueError(f"bit goes with type: bool, not with {self.type}")
        return self

    @property
    def conditions(self) -> tuple[Among | Bits, ...]:
        return (*self.good_when, *self.bad_bits, *self.uncertain_bits)

    def kind_in(self, table: str) -> str:
        """The type, with what is understood filled in.  ValueError where the table cannot hold it."""
        if table in ("coil", "discrete"):
            if self.type not in (None, "bool") or self.bit is not None:
                raise ValueError(f"a {table} is a bool without bit, not {self.type or 'a bit of a register'}")
            return "bool"
        if self.bit is not None:
            return "bool"
        if self.type == "bool":
            raise ValueError("a bool in a register needs bit, 0 (lowest) to 15")
        return self.type or "u16"

    def factors(self) -> tuple[float, float]:
        """(factor, offset) from the raw number to `unit`."""
        factor, offset = linear(self.device_unit or self.unit, self.unit)
        return self.scale * factor, self.offset * factor + offset

    @property
    def width(self) -> int:
        """Registers it takes; 1 in a table of bits."""
        return (self.length + 1) // 2 if self.type == "ascii" else WIDTHS.get(self.type or "u16", 1)


class TagMap(dict[str, ModbusTag]):
    """The tags of one map.  A hundred devices of one kind have one between them, and what is compiled of it."""

    def __init__(self, tags: Mapping[str, ModbusTag]) -> None:
        super().__init__(tags)
        self._made: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """What was made under this key; made now where it was not."""
        if key not in self._made:
            self._made[key] = make()
        return cast("_T", self._made[key])


class Write(Lazy):
    """The only writes there are: `{coil: 5, value: true}`, `{register: 1880, value: 62}`, or several values."""

    coil: int | None = Field(None, ge=0)
    register_: int | None = Field(None, ge=0, alias="register")
    value: StrictBool | StrictInt | tuple[StrictBool | StrictInt, ...]

    @model_validator(mode="after")
    def _possible(self) -> Write:
        if (self.coil is None) == (self.register_ is None):
            raise ValueError("give exactly one of coil and register")
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        if not values:
            raise ValueError("value is empty")
        if self.coil is not None and not all(isinstance(value, bool) for value in values):
            raise ValueError("a coil takes true or false")
        if self.register_ is not None and not all(type(value) is int and 0 <= value <= 0xFFFF for value in values):
            raise ValueError("a register takes a number from 0 to 65535; write a larger one as a list, word by word")
        return self

    @property
    def table(self) -> str:
        return "coil" if self.coil is not None else "holding"

    def span(self, base: int) -> range:
        """The PDU addresses it writes."""
        start = (self.coil if self.coil is not None else self.register_ or 0) - base
        return range(start, start + (len(self.value) if isinstance(self.value, tuple) else 1))

    def request(self, unit: int, base: int) -> wire.Request:
        """The frame to be sent.  ValueError for an address that cannot be."""
        at = self.span(base).start
        if isinstance(self.value, tuple):
            if self.coil is not None:
                return wire.write_coils(unit, at, [bool(value) for value in self.value])
            return wire.write_registers(unit, at, self.value)
        if self.coil is not None:
            return wire.write_coil(unit, at, bool(self.value))
        return wire.write_register(unit, at, int(self.value))


class HaltBy(Lazy):
    """How this machine is made to stand still, and by which of its own words we know that it does."""

    write: Write
    confirm: Among
    release: Write | None = None
    """Written when our hold is withdrawn; it must only take back, never start."""
    confirm_same: Literal["accepted"] | None = None
    """A machine that says of itself nothing but what was written to it: proves the write, not the standstill."""
    always: bool = False
    """Write even where the confirm tag says held already: a permissive relay's read-back may be a broken wire."""


class Heartbeat(Lazy):
    """The register our heartbeat counts in."""

    register_: int = Field(ge=0, alias="register")
