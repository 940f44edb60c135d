"""Balances: the weight each period, to the digit, with the line it came in.

`url` is `serial:///dev/ttyS0?baudrate=9600&parity=N&stopbits=1` or `tcp://host:port`; baud rate, parity and handshake
differ from balance to balance.  `dialect` is the language it speaks: `mt-sics` (Mettler-Toledo), `sbi` (Sartorius),
`a-and-d`, `ohaus`; `linegate listen` names it.  `mode: request` asks for each weight; `mode: continuous` takes what the
balance sends by itself, the newest of each period, and a stream that stops is an error within `timeout`.  The weight is
good when stable, uncertain while the balance settles, and bad with the reason otherwise: overload, busy, no unit.
Masses convert between g, mg and kg by moving the point, from other units by multiplying with their exact gram; nothing
is rounded.  `prints` names a tag for the lines nobody asked for: what the operator printed since the last poll.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Context, Decimal, Inexact
from typing import Annotated, Any, ClassVar, Final, Literal

from msgspec import structs
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from gateway.drivers.balance.link import BalanceLink
from gateway.drivers.base import DriverConfig
from gateway.drivers.profiles.profile import load_profile, with_profile
from gateway.drivers.transport import StreamUrl, open_stream, parse_url, preflight, preload
from gateway.drivers.wire.aandd import AandD
from gateway.drivers.wire.mt_sics import MtSics
from gateway.drivers.wire.ohaus import Ohaus
from gateway.drivers.wire.sbi import Sbi
from gateway.drivers.wire.weighing import LONGEST, Dialect, Message, Question
from gateway.errors import NotDone
from gateway.model import NO_FAULTS, Fault, Quality, Reading, TagSpec
from gateway.units import Duration

SCHEMES: Final = ("serial", "tcp")
DIALECTS: Final[Mapping[str, Callable[[], Dialect]]] = {
    "mt-sics": MtSics,
    "sbi": Sbi,
    "a-and-d": AandD,
    "ohaus": Ohaus,
}

GRAMS: Final[Mapping[str, tuple[Decimal, int]]] = {
    "g": (Decimal(1), 0),
    "mg": (Decimal(1), -3),
    "kg": (Decimal(1), 3),
    "ct": (Decimal("0.2"), 0),
    "oz": (Decimal("28.349523125"), 0),
    "lb": (Decimal("453.59237"), 0),
    "ozt": (Decimal("31.1034768"), 0),
    "dwt": (Decimal("1.55517384"), 0),
    "GN": (Decimal("0.06479891"), 0),
}
"""A balance's unit -> (exact factor, power of ten) to grams.  All are exact by definition: ounce and pound avoirdupois,
ounce troy of 480 grains, pennyweight of 24, metric carat."""
_EXACT: Final = Context(prec=60, traps=[Inexact])
_ABOUT_ZERO: Final = 5
"""Of the last digit: a balance that counts in fives is at zero within one of its steps."""
_AGAIN_S: Final = 0.1
"""Between two readings that wait for a tare to show."""


def _known_url(text: str) -> str:
    parse_url(text, SCHEMES)
    return text


def _known_profile(name: str | None) -> str | None:
    if name is not None:
        load_profile(name, "balance")
    return name


class BalanceConfig(DriverConfig):
    """A balance."""

    model_config = ConfigDict(defer_build=True)  # built when first used: many lines have none

    driver: Literal["balance"] = "balance"
    tares: ClassVar[bool] = True
    profile: Annotated[str | None, AfterValidator(_known_profile)] = None
    """Brings the dialect and the serial settings of a known maker: mettler-toledo, sartorius, a-and-d, ohaus."""
    dialect: Literal["mt-sics", "sbi", "a-and-d", "ohaus"] = "mt-sics"
    mode: Literal["request", "continuous"] = "request"
    """Ask for each weight, or take what it sends by itself."""
    url: Annotated[str, AfterValidator(_known_url)]
    tag: str = Field("net", min_length=1)
    """What its weight is called."""
    unit: Literal["g", "mg", "kg"] = "g"
    prints: str | None = Field(None, min_length=1)
    """A second tag, of text: the lines that came unasked since the last poll."""
    es: Literal["syntax", "stability"] = "syntax"
    """Ohaus: what the answer ES means."""
    column: int | None = Field(None, ge=1, le=LONGEST)
    """MT-SICS, Ohaus: where the number's last digit stands in its line, from 1; a weight that ends elsewhere is bad."""
    tare_budget_s: Duration = Field(10.0, alias="tare_budget", gt=0)
    """How long a tare or zero may take until the balance shows it, settling included."""

    @model_validator(mode="before")
    @classmethod
    def _over_profile(cls, given: Any) -> Any:
        return with_profile(given, "balance")

    @model_validator(mode="after")
    def _fits(self) -> BalanceConfig:
        if self.es != "syntax" and self.dialect != "ohaus":
            raise ValueError(f"es: {self.es} is for dialect ohaus, not for {self.dialect}")
        if self.column is not None and self.dialect not in ("mt-sics", "ohaus"):
            raise ValueError(f"column is not for {self.dialect}, whose lines are of fixed width anyway")
        if self.prints == self.tag:
            raise ValueError(f"prints and tag are both called {self.tag}; give the printed lines a name of their own")
        return self

    @property
    def stream(self) -> StreamUrl:
        return parse_url(self.url, SCHEMES)

    @property
    def tare_within_s(self) -> float:
        return self.tare_budget_s

    def tags(self) -> tuple[TagSpec, ...]:
        weight = TagSpec(self.tag, self.unit, "decimal")
        return (weight,) if self.prints is None else (weight, TagSpec(self.prints, "1", "text"))

    def address(self) -> str:
        return self.url

    def codec(self) -> Dialect:
        """A fresh conversation in its dialect."""
        if self.dialect == "ohaus":
            return Ohaus(self.es, self.column or 0)
        return MtSics(self.column or 0) if self.dialect == "mt-sics" else DIALECTS[self.dialect]()

    def preflight(self) -> list[str]:
        """Warnings that need a look at this machine: a serial port that is not there."""
        return preflight(self.stream)

    def preload(self) -> None:
        preload(self.stream)

    def connect(self, name: str) -> AbstractAsyncContextManager[Balance]:
        return _connect(self, name)


@asynccontextmanager
async def _connect(config: BalanceConfig, name: str) -> AsyncIterator[Balance]:
    link = BalanceLink(f"{name} ({config.address()})", config.codec(), config.timeout_s)
    async with open_stream(config.stream, link, config.timeout_s):
        try:
            async with asyncio.timeout(config.timeout_s):
                await _meet(config, link)
        except TimeoutError:
            raise link.failure(
                f"does not answer {config.dialect} within {config.timeout_s:g} s; is it switched on, and are baud rate "
                "and parity the same on both sides?"
            ) from None
        if config.mode == "continuous":
            await link.follow()
            await link.streams()
        try:
            yield Balance(config, link)
        finally:
            link.hush()


async def _meet(config: BalanceConfig, link: BalanceLink) -> None:
    """Know who it is.  One that does not say must at least weigh; one that sends by itself need not listen."""
    if config.mode == "request" and link.dialect.stop and not link.dialect.always_introduces:
        link.transport.write(link.dialect.stop)  # whoever was here before may have left it streaming
    await link.introduce(must=config.mode == "request" and link.dialect.always_introduces)
    if config.mode == "request" and not link.identity:
        await link.settle_down()
        await link.weigh()


class Balance:
    """An open balance."""

    def __init__(self, config: BalanceConfig, link: BalanceLink) -> None:
        self.identity: Mapping[str, str] = link.identity
        self._config = config
        self._link = link
        self._unit = ""

    async def poll(self) -> Reading:
        found = reading(await self._weight(), self._config.unit)
        if self._config.prints is None:
            return found
        lines = [self._link.prints.popleft() for _ in range(len(self._link.prints))]
        text = "\n".join(line.decode("ascii", "backslashreplace") for line in lines)
        return Reading((*found.values, text), faults=found.faults, raw=found.raw)

    async def tare(self) -> Reading:
        return await self._ordered("tare", self._link.dialect.tare)

    async def zero(self) -> Reading:
        return await self._ordered("zero", self._link.dialect.zero)

    async def _ordered(self, what: str, question: Question) -> Reading:
        """Send it, and read again until the balance shows it: many say nothing, none is believed.

        Only to a pan at rest: a balance that waits for one would carry it out whenever the pan comes to rest, long
        after whoever asked was told that it is not done.
        """
        last: list[Message] = []
        sent = False
        try:
            async with asyncio.timeout(self._config.tare_budget_s):
                await self._at_rest(last)
                sent = True
                await self._carry_out(what, question)
                return await self._shown(what, last)
        except TimeoutError:
            seen = f"; it shows {last[-1].raw!r}" if last else ""
            why = f"{what} is not seen" if sent else f"no {what} was asked of it: the pan did not come to rest"
            within = f"within {self._config.tare_budget_s:g} s"
            raise NotDone(f"{self._link.where}: {why} {within}{seen}; look at the pan") from None

    async def _at_rest(self, last: list[Message]) -> None:
        """A weight that moves is waited for; one that is bad is the balance's own to refuse."""
        while True:
            message = await self._weight()
            last.append(message)
            if message.quality is not Quality.UNCERTAIN:
                return
            await asyncio.sleep(_AGAIN_S)

    async def _carry_out(self, what: str, question: Question) -> None:
        await self._link.order(what, question)
        if self._config.mode == "continuous":
            await self._link.follow()  # the question ended the stream

    async def _shown(self, what: str, last: list[Message]) -> Reading:
        while True:
            await asyncio.sleep(_AGAIN_S)
            message = await self._weight()
            last.append(message)
            self._link.object_to(what)
            if message.quality is Quality.GOOD and message.value is not None and _about_zero(message.value):
                return reading(message, self._config.unit)

    async def _weight(self) -> Message:
        """A moving weight without a unit (SBI) has that of the last stable one; before there was one it is bad."""
        message = await (self._link.newest() if self._config.mode == "continuous" else self._link.weigh())
        if message.unit:
            self._unit = message.unit
        elif message.quality is Quality.UNCERTAIN:
            return structs.replace(message, unit=self._unit)
        return message


def _about_zero(value: Decimal) -> bool:
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and abs(value) <= Decimal(_ABOUT_ZERO).scaleb(exponent)


def reading(message: Message, unit: str) -> Reading:
    """A weight line as a reading in `unit`; bad keeps its number in `raw` only."""
    if message.quality is Quality.BAD or message.value is None:
        return _bad(message, message.reason or f"no weight: {message.raw!r}")
    if not message.unit:
        return _bad(message, "no unit: the balance sent a number without one")
    if message.unit not in GRAMS:
        return _bad(message, f"no unit: {message.unit!r} is not a mass unit; known: {', '.join(GRAMS)}")
    faults = NO_FAULTS if message.quality is Quality.GOOD else {0: Fault(message.quality, message.reason)}
    return Reading((converted(message.value, message.unit, unit),), faults=faults, raw=message.raw)


def converted(value: Decimal, source: str, target: str) -> Decimal:
    """Between mass units, exactly; between g, mg and kg the digits stay what they were."""
    if source == target:
        return value
    factor, power = GRAMS[source]
    if factor != 1:
        value = _EXACT.multiply(value, factor)
    moved = value.scaleb(power - GRAMS[target][1], _EXACT)
    exponent = moved.as_tuple().exponent
    return moved.quantize(Decimal(1)) if isinstance(exponent, int) and exponent > 0 else moved


def _bad(message: Message, reason: str) -> Reading:
    return Reading((None,), faults={0: Fault(Quality.BAD, reason)}, raw=message.raw)
