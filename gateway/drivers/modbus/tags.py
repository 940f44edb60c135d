"""What a Modbus configuration says of one tag, of quality, of halting and of the heartbeat."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BeforeValidator, ConfigDict, Field, FiniteFloat, StrictBool, StrictInt, model_validator

from gateway.drivers.wire import modbus as wire
from gateway.drivers.wire.registers import WIDTHS
from gateway.recipe import Frozen
from gateway.units import Duration, known, linear

Table = Literal["holding", "input", "coil", "discrete"]
Type = Literal["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bcd16", "bcd32", "bool", "ascii"]
Order = Literal["big", "little"]
_BITS_OF = {"bool": 16, "u16": 16, "u32": 32, "u64": 64}


_T = TypeVar("_T")
Several = Annotated[tuple[_T, ...], BeforeValidator(lambda given: [given] if isinstance(given, Mapping) else given)]
"""One, or a list of them."""


def _by_name(given: Any) -> Any:
    return {"tag": given} if isinstance(given, str) else given


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


class Decimals(Lazy):
    """Where the device says how many decimals a whole number has: `dp`, or `{tag: dp, codes: {0: 0, 1: 1}}`."""

    tag: str
    codes: dict[int, Annotated[int, Field(ge=-9, le=9)]] = Field(default_factory=lambda: {at: at for at in range(7)})
    """What the register holds -> decimals."""


class UnitFrom(Lazy):
    """Where the device says in which unit it counts: `{tag: wire_unit, codes: {15: Cel, 30: "[degF]"}}`."""

    tag: str
    codes: dict[int, str] = Field(min_length=1)
    """What the register holds -> UCUM code."""


class ModbusTag(Lazy):
    """Where a value stands and how it is read.

    value = (raw * scale + offset) in `device_unit`, converted to `unit`.  `decimals` and `unit_from` name other tags
    that say, in the same poll, how the raw number is to be read; what they say and nobody knows makes the value bad.
    """

    address: int = Field(ge=0, le=65536)
    """As the device's manual counts: from 0, or from 1 with the device's `base: 1`."""
    table: Table | None = None
    type: Type | None = None
    """u16 where nothing is said; bool in coils and discrete inputs."""
    bit: int | None = Field(None, ge=0, le=63)
    """The bit that a bool is, or the lowest of a bit field: 0 to 15, in a u32 to 31, in a u64 to 63."""
    bits_wide: int | None = Field(None, ge=1, le=63)
    """How many bits from `bit` make a number: a bit field."""
    half: Literal["low", "high"] | None = None
    """Which byte of its register a u8 or i8 is; the low one where nothing is said."""
    length: int = Field(0, ge=0, le=250)
    """Characters of an ascii text."""
    word_order: Order | None = None
    byte_order: Order | None = None
    scale: FiniteFloat = 1.0
    offset: FiniteFloat = 0.0
    unit: str = "1"
    device_unit: str | None = None
    """What the device counts in, where that is not `unit`."""
    decimals: Annotated[Decimals | None, BeforeValidator(_by_name)] = None
    unit_from: UnitFrom | None = None
    bad_values: tuple[int | float, ...] = ()
    """Raw values that mean `no value`: 32767, -1."""
    valid: tuple[float, float] | None = None
    """Lowest and highest value, in `unit`, that can be; anything else is a broken sensor's, and bad."""
    nvm: int | None = Field(None, ge=1)
    """Writes its memory endures, where writing wears it (EEPROM, flash): 100000."""
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
        linear(self.device_unit or self.unit, known(self.unit))
        if self.scale == 0:
            raise ValueError("scale 0 makes every value 0")
        if (self.length > 0) != (self.type == "ascii"):
            raise ValueError("length goes with type: ascii, and only with it")
        if self.half is not None and self.type not in ("u8", "i8"):
            raise ValueError("half goes with type: u8 or i8")
        if self.valid is not None and not self.valid[0] < self.valid[1]:
            raise ValueError("valid: write the lowest value first, like [-50, 200]")
        self._possible_bits()
        self._possible_links()
        return self

    def _possible_bits(self) -> None:
        wide = _BITS_OF.get(self.type or "u16")
        highest = (self.bit or 0) + (self.bits_wide or 1) - 1
        if self.bit is None:
            if self.bits_wide is not None:
                raise ValueError("bits_wide needs bit, the lowest of them")
        elif wide is None:
            raise ValueError(f"bit goes with type: bool, u16, u32 or u64, not with {self.type}")
        elif highest >= wide:
            raise ValueError(f"bit {highest} is beyond the {wide} bits of {self.type or 'u16'}")
        if self.bits_wide is not None and self.type == "bool":
            raise ValueError("a bool is one bit; leave out type, or bits_wide")

    def _possible_links(self) -> None:
        number = self.type not in ("bool", "ascii") and (self.bit is None or self.bits_wide is not None)
        if not number and (self.decimals or self.unit_from or self.valid):
            raise ValueError("decimals, unit_from and valid are for numbers")
        if self.decimals is not None and self.type in ("f32", "f64"):
            raise ValueError("decimals are for whole numbers; a float has its own")
        if self.unit_from is not None:
            if self.device_unit is not None:
                raise ValueError("give device_unit or unit_from, not both")
            for unit in self.unit_from.codes.values():
                linear(unit, self.unit)

    @property
    def conditions(self) -> tuple[Among | Bits, ...]:
        return (*self.good_when, *self.bad_bits, *self.uncertain_bits)

    @property
    def links(self) -> tuple[Decimals | UnitFrom, ...]:
        """Other tags that say how this one is read."""
        return tuple(link for link in (self.decimals, self.unit_from) if link is not None)

    def kind_in(self, table: str) -> str:
        """The type, with what is understood filled in.  ValueError where the table cannot hold it."""
        if table in ("coil", "discrete"):
            if self.type not in (None, "bool") or self.bit is not None:
                raise ValueError(f"a {table} is a bool without bit, not {self.type or 'a bit of a register'}")
            return "bool"
        if self.bit is not None:
            return "bool" if self.bits_wide is None else "bits"
        if self.type == "bool":
            raise ValueError("a bool in a register needs bit, 0 (lowest) to 15")
        return self.type or "u16"

    @property
    def carrier(self) -> str:
        """The type of what is taken from the registers, before a bit or digits are cut out of it."""
        if self.type in ("bcd16", "bcd32"):
            return "u" + self.type[3:]
        return "u16" if self.type in (None, "bool") else self.type

    def factors(self, device_unit: str | None = None) -> tuple[float, float]:
        """(factor, offset) from the raw number to `unit`."""
        factor, offset = linear(device_unit or self.device_unit or self.unit, self.unit)
        return self.scale * factor, self.offset * factor + offset

    @property
    def width(self) -> int:
        """Registers it takes; 1 in a table of bits."""
        return (self.length + 1) // 2 if self.type == "ascii" else WIDTHS.get(self.carrier, 1)


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

    action: Literal["write", "withhold"] = "write"
    """withhold: nothing is written; our heartbeat stops, and the controller's own watch over it holds the machine."""
    write: Write | None = None
    confirm: Among
    within_s: Duration | None = Field(None, alias="within", gt=0)
    """withhold: from our last beat until the controller has the machine standing, at worst."""
    release: Write | None = None
    """Written when our hold is withdrawn; it must only take back, never start."""
    confirm_same: Literal["accepted"] | None = None
    """A machine that says of itself nothing but what was written to it: proves the write, not the standstill."""
    always: bool = False
    """Write even where the confirm tag says held already: a permissive relay's read-back may be a broken wire."""

    @model_validator(mode="after")
    def _one_way(self) -> HaltBy:
        if self.action == "write":
            if self.write is None:
                raise ValueError("say what to write: {register: 100, value: 1}; or action: withhold")
            if self.within_s is not None:
                raise ValueError("within is for action: withhold; a write has the device's halt_budget")
        elif self.write is not None or self.release is not None or self.always:
            raise ValueError("action withhold writes nothing: leave out write, release and always")
        elif self.within_s is None:
            raise ValueError("action withhold needs within: how long after our last beat the machine stands at worst")
        return self

    @property
    def writes(self) -> tuple[Write, ...]:
        """All it may ever write."""
        return tuple(each for each in (self.write, self.release) if each is not None)


class Heartbeat(Lazy):
    """The register our heartbeat counts in."""

    register_: int = Field(ge=0, alias="register")
