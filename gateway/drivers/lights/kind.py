"""Stack lights and horns on remote I/O: where a headless line shows its alarms.

    lamps:
      red:   {coil: 0}
      amber: {coil: 1}
      green: {coil: 2, confirm: {discrete: 2}}
      horn:  {coil: 4}

`red`, `amber`, `blue`, `green` and `horn` show what such lamps mostly show; any lamp says for itself what it shows by
`steady` and `flash` (lists of signs: halt, halt-failed, critical, critical-new, alarm, alarm-new, check-due,
check-missed, running, normal, horn).  Where both hold it flashes.  A lamp is a `coil`, or a `bit` of a holding
`register` that belongs to the lights, or a register that takes `codes` for out, steady and flash.  Flashing is made
here, a change each period, or by the module, with `flash_coil` or codes.

Each period all lamps are written and read back.  A lamp that does not follow twice is bad; `confirm` reads another
input, a current monitor or an auxiliary contact, that proves more than the coil does.  Once connected all lamps are lit
for `lamp_test`, the audible ones apart.

A gateway that died must not leave a green lamp behind.  When it stops it puts the lamps out; when it is killed, or its
cable pulled, only the module can: by its own communication `watchdog`, or by the `heartbeat` that its program looks at.

Sources: IEC 60073 (colours and flashing), ISA-18.2 (new alarms flash), Modbus Application Protocol V1.1b3.  Modules
hold their outputs when the master is gone unless told otherwise (Turck FGEN: watchdog register 1120 hex, 0 by default;
Moxa ioThinx and ICP DAS ET-7000: host watchdog with safe values).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from gateway.drivers.base import DriverConfig, Sign
from gateway.drivers.lights.device import Lights
from gateway.drivers.modbus.bus import Manners, shared_line
from gateway.drivers.modbus.link import ModbusLink
from gateway.drivers.modbus.open import RTU_LATE_S, SHARED_LATE_S, Line, line_of, silence_s
from gateway.drivers.transport import StreamUrl, open_stream, parse_url, preflight, preload
from gateway.drivers.wire.modbus import TcpFraming
from gateway.model import TagSpec
from gateway.recipe import Frozen
from gateway.units import Duration

SCHEMES: Final = ("tcp", "serial", "rtu+tcp")
USUAL: Final[dict[str, tuple[tuple[Sign, ...], tuple[Sign, ...]]]] = {
    "red": ((Sign.HALT, Sign.CRITICAL), (Sign.HALT_FAILED, Sign.CRITICAL_NEW)),
    "amber": ((Sign.ALARM,), (Sign.ALARM_NEW,)),
    "yellow": ((Sign.ALARM,), (Sign.ALARM_NEW,)),
    "blue": ((Sign.CHECK_DUE,), (Sign.CHECK_MISSED,)),
    "green": ((Sign.NORMAL,), ()),
    "white": ((Sign.RUNNING,), ()),
    "horn": ((Sign.HORN,), ()),
    "buzzer": ((Sign.HORN,), ()),
}
"""What a lamp of this name shows where nothing else is said: steady, flashing."""
AUDIBLE: Final = frozenset({"horn", "buzzer", "siren"})


def _known_url(text: str) -> str:
    parse_url(text, SCHEMES)
    return text


Address = Annotated[int, Field(ge=0, le=0xFFFF)]


class Confirm(Frozen):
    """Another place that says whether the lamp really burns."""

    discrete: Address | None = None
    coil: Address | None = None

    @model_validator(mode="after")
    def _one(self) -> Confirm:
        if (self.discrete is None) == (self.coil is None):
            raise ValueError("give exactly one of discrete and coil")
        return self


class Codes(Frozen):
    """What a register takes for each way of a lamp."""

    out: int = Field(0, ge=0, le=0xFFFF)
    steady: int = Field(1, ge=0, le=0xFFFF)
    flash: int = Field(2, ge=0, le=0xFFFF)


class Lamp(Frozen):
    """One lamp, or horn: where it is, and what it shows."""

    coil: Address | None = None
    flash_coil: Address | None = None
    """A coil by which the module itself makes the lamp flash."""
    register_: Address | None = Field(None, alias="register")
    bit: int | None = Field(None, ge=0, le=15)
    codes: Codes | None = None
    confirm: Confirm | None = None
    steady: tuple[Sign, ...] | None = None
    flash: tuple[Sign, ...] | None = None
    audible: bool | None = None
    """Left out of the lamp test; true of a horn, a buzzer or a siren where nothing is said."""

    @model_validator(mode="after")
    def _somewhere(self) -> Lamp:
        if (self.coil is None) == (self.register_ is None):
            raise ValueError("a lamp is either a coil or (part of) a register")
        if self.register_ is not None and (self.bit is None) == (self.codes is None):
            raise ValueError("a lamp in a register needs either bit (0 to 15) or codes")
        if self.coil is not None and (self.bit is not None or self.codes is not None):
            raise ValueError("bit and codes belong to a register")
        if self.flash_coil is not None and self.coil is None:
            raise ValueError("flash_coil belongs to a coil")
        return self

    @property
    def places(self) -> tuple[str, ...]:
        """What it writes, for people, and to tell two lamps apart."""
        if self.register_ is not None:
            bit = f" bit {self.bit}" if self.bit is not None else ""
            return (f"register {self.register_}{bit}",)
        return tuple(f"coil {at}" for at in (self.coil, self.flash_coil) if at is not None)


class Watchdog(Frozen):
    """The module's own: its outputs fall when nobody writes for so long.  Written once connected, in its own unit."""

    register_: Address = Field(alias="register")
    value: int = Field(ge=1, le=0xFFFF)


class Alive(Frozen):
    """Where the module's program sees that we live: a coil that changes, or a register that counts, each period."""

    coil: Address | None = None
    register_: Address | None = Field(None, alias="register")

    @model_validator(mode="after")
    def _one(self) -> Alive:
        if (self.coil is None) == (self.register_ is None):
            raise ValueError("give exactly one of coil and register")
        return self

    @property
    def place(self) -> str:
        return f"coil {self.coil}" if self.coil is not None else f"register {self.register_}"


class LightsConfig(DriverConfig):
    """A stack light and horn on remote I/O."""

    model_config = ConfigDict(defer_build=True)  # built when first used: many lines have none

    shows: ClassVar[bool] = True

    driver: Literal["lights"] = "lights"
    url: Annotated[str, AfterValidator(_known_url)]
    unit_id: int = Field(1, ge=0, le=255)
    period_s: Duration = Field(0.25, alias="period", gt=0)
    """How often the lamps are written and read; a flashing one changes as often."""
    shared: bool = False
    """TCP: other units behind the same port are devices of this line too."""
    module: str = ""
    """Where other devices, like a relay, are parts of the same unit: a name that all of them say."""
    late_s: Duration | None = Field(None, alias="late", ge=0)
    """How long after a request an answer may still come, on a line of several units."""
    lamps: dict[str, Lamp] = Field(min_length=1)
    lamp_test_s: Duration = Field(1.0, alias="lamp_test", ge=0)
    """So long all lamps burn once connected; 0: no test."""
    one_by_one: bool = False
    """The module does not know function 15: each coil is written by itself."""
    watchdog: Watchdog | Literal["module"] | None = None
    """`module`: its own watchdog was set with its maker's tool."""
    heartbeat: Alive | None = None

    @model_validator(mode="after")
    def _fits(self) -> LightsConfig:
        for name, lamp in self.lamps.items():
            if lamp.steady is None and lamp.flash is None and name not in USUAL:
                raise ValueError(f"{name}: say what it shows, by steady or flash; only {', '.join(USUAL)} know it")
        places = [place for lamp in self.lamps.values() for place in lamp.places]
        places += [self.heartbeat.place] if self.heartbeat else []
        places += [f"register {self.watchdog.register_}"] if isinstance(self.watchdog, Watchdog) else []
        if twice := [place for place, count in Counter(places).items() if count > 1]:
            raise ValueError(f"{twice[0]} is taken twice")
        whole = {place for place in places if place.startswith("register") and "bit" not in place}
        if mixed := [place for place in places if place.partition(" bit")[0] in whole - {place}]:
            raise ValueError(f"{mixed[0]} lies in a register that is taken as a whole")
        return self

    @cached_property
    def stream(self) -> StreamUrl:
        return parse_url(self.url, SCHEMES)

    def line(self) -> Line:
        """The line it stands on, and what all the devices there must agree on."""
        return line_of(self.stream, self.unit_id, shared=self.shared, module=self.module, writes=self._written())

    def _written(self) -> frozenset[tuple[str, int]]:
        found = {("coil", at) for lamp in self.lamps.values() for at in (lamp.coil, lamp.flash_coil) if at is not None}
        found |= {("holding", lamp.register_) for lamp in self.lamps.values() if lamp.register_ is not None}
        if self.heartbeat is not None:
            coil = self.heartbeat.coil
            found.add(("coil", coil) if coil is not None else ("holding", self.heartbeat.register_ or 0))
        if isinstance(self.watchdog, Watchdog):
            found.add(("holding", self.watchdog.register_))
        return frozenset(found)

    def shown_by(self, name: str) -> tuple[frozenset[Sign], frozenset[Sign]]:
        """Signs for which a lamp is steady, and for which it flashes."""
        lamp = self.lamps[name]
        if lamp.steady is None and lamp.flash is None:
            steady, flash = USUAL[name]
        else:
            steady, flash = lamp.steady or (), lamp.flash or ()
        return frozenset(steady), frozenset(flash)

    def is_audible(self, name: str) -> bool:
        said = self.lamps[name].audible
        return name in AUDIBLE if said is None else said

    def tags(self) -> tuple[TagSpec, ...]:
        return tuple(TagSpec(name, kind="text") for name in self.lamps)

    def address(self) -> str:
        return f"{self.url} unit {self.unit_id}"

    def preflight(self) -> list[str]:
        """Warnings: a serial port that is not there, lamps that would outlive the gateway."""
        found = preflight(self.stream)
        if self.watchdog is None and self.heartbeat is None:
            found.append(
                "nothing puts these lamps out when the gateway dies: give watchdog or heartbeat, or set the module's "
                "own communication watchdog and say watchdog: module"
            )
        return found

    def preload(self) -> None:
        preload(self.stream)

    def connect(self, name: str) -> AbstractAsyncContextManager[Lights]:
        return _connect(self, name)


@asynccontextmanager
async def _connect(config: LightsConfig, name: str) -> AsyncIterator[Lights]:
    url, where = config.stream, f"{name} ({config.address()})"
    late_s = config.late_s or (SHARED_LATE_S if url.scheme == "tcp" else RTU_LATE_S)
    if config.line().shared:
        manners = Manners(config.unit_id, silence_s(url), late_s)
        async with shared_line(url, where, manners, config.timeout_s) as port, Lights(config, port).burning() as lights:
            yield lights
        return
    link = ModbusLink(where, TcpFraming(), 0.0, late_s)
    async with open_stream(url, link, config.timeout_s), Lights(config, link).burning() as lights:
        yield lights
