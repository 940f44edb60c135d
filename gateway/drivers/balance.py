"""Balances: the weight each period, to the digit, with the line it came in.

`url` is `serial:///dev/ttyS0?baudrate=9600&parity=N&stopbits=1` or `tcp://host:port`; baud rate, parity and handshake
differ from balance to balance.  `dialect` is the language it speaks: `mt-sics`.  The weight is good when stable,
uncertain while the balance settles, and bad with the reason otherwise: overload, busy, no unit.  Masses convert between
g, mg and kg by moving the point, from oz and lb by multiplying with their exact gram; nothing is rounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Context, Decimal, Inexact
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field

from gateway.drivers.base import DriverConfig
from gateway.drivers.transport import Stream, StreamUrl, open_stream, parse_url, preflight, preload
from gateway.drivers.wire.mt_sics import MtSics
from gateway.drivers.wire.weighing import Dialect, Message
from gateway.errors import DeviceError
from gateway.model import NO_FAULTS, Fault, Quality, Reading, TagSpec

SCHEMES: Final = ("serial", "tcp")
_DIALECTS: Final[Mapping[str, Callable[[], Dialect]]] = {"mt-sics": MtSics}

GRAMS: Final[Mapping[str, tuple[Decimal, int]]] = {
    "g": (Decimal(1), 0),
    "mg": (Decimal(1), -3),
    "kg": (Decimal(1), 3),
    "oz": (Decimal("28.349523125"), 0),
    "lb": (Decimal("453.59237"), 0),
}
"""A balance's unit -> (exact factor, power of ten) to grams.  Ounce and pound avoirdupois are exact by definition."""
_EXACT: Final = Context(prec=60, traps=[Inexact])


def _known_url(text: str) -> str:
    parse_url(text, SCHEMES)
    return text


class BalanceConfig(DriverConfig):
    """A balance."""

    model_config = ConfigDict(defer_build=True)  # built when first used: many lines have none

    driver: Literal["balance"] = "balance"
    dialect: Literal["mt-sics"] = "mt-sics"
    url: Annotated[str, AfterValidator(_known_url)]
    tag: str = Field("net", min_length=1)
    """What its weight is called."""
    unit: Literal["g", "mg", "kg"] = "g"

    @property
    def stream(self) -> StreamUrl:
        return parse_url(self.url, SCHEMES)

    def tags(self) -> tuple[TagSpec, ...]:
        return (TagSpec(self.tag, self.unit, "decimal"),)

    def address(self) -> str:
        return self.url

    def preflight(self) -> list[str]:
        """Warnings that need a look at this machine: a serial port that is not there."""
        return preflight(self.stream)

    def preload(self) -> None:
        preload(self.stream)

    def connect(self, name: str) -> AbstractAsyncContextManager[Balance]:
        return _connect(self, name)


@asynccontextmanager
async def _connect(config: BalanceConfig, name: str) -> AsyncIterator[Balance]:
    link = BalanceLink(f"{name} ({config.address()})", _DIALECTS[config.dialect]())
    async with open_stream(config.stream, link, config.timeout_s):
        try:
            async with asyncio.timeout(config.timeout_s):
                identity = await link.introduce()
        except TimeoutError:
            raise link.failure(
                f"does not answer {config.dialect} within {config.timeout_s:g} s; is it switched on, and are baud rate "
                "and parity the same on both sides?"
            ) from None
        yield Balance(config, link, identity)


class BalanceLink(Stream):
    """Asks one thing at a time.  A late answer never answers the next question.

    Lines come in the order of the questions: after a cancelled call the first question of the identity is asked, and
    whatever comes before its answer is old.
    """

    def __init__(self, where: str, dialect: Dialect) -> None:
        super().__init__(where)
        self.dialect = dialect
        self._future: asyncio.Future[Message] | None = None
        self._wanted: frozenset[str] = frozenset()
        self._stale = True
        self.unasked = 0
        """Lines nobody asked for: the operator pressed PRINT, or an old answer."""

    async def introduce(self) -> dict[str, str]:
        """What the balance says of itself.  An error the first time may belong to noise sent before: asked twice."""
        identity: dict[str, str] = {}
        for name, question in self.dialect.questions.items():
            wanted = frozenset((self.dialect.answers[name], ""))
            message = await self._exchange(question, wanted)
            if message.id == "":
                message = await self._exchange(question, wanted)
            if message.text:
                identity[name] = message.text
        self._stale = False
        return identity

    async def weigh(self) -> Message:
        """The weight now: stable, dynamic, or why there is none.  DeviceError: the link is lost."""
        if self._stale:
            first = next(iter(self.dialect.questions))
            await self._exchange(self.dialect.questions[first], frozenset((self.dialect.answers[first],)))
            self._stale = False
        return await self._exchange(self.dialect.weigh, frozenset((self.dialect.weight, "")))

    async def _exchange(self, question: bytes, wanted: frozenset[str]) -> Message:
        await asyncio.sleep(0)  # what the kernel has already: one turn to hear of it,
        await asyncio.sleep(0)  # one to read it
        self.dialect.clear()
        if self.lost is not None:
            raise self.failure()
        self._wanted = wanted
        self._future = future = self.loop.create_future()
        self.transport.write(question)
        try:
            message: Message = await future
        except asyncio.CancelledError:
            self._stale = True
            raise
        finally:
            self._future = None
        return message

    def data_received(self, data: bytes) -> None:
        for message in self.dialect.feed(data):
            if self._future is not None and not self._future.done() and message.id in self._wanted:
                self._future.set_result(message)
            else:
                self.unasked += 1

    def dropped(self, error: DeviceError) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_exception(error)


class Balance:
    """An open balance."""

    def __init__(self, config: BalanceConfig, link: BalanceLink, identity: Mapping[str, str]) -> None:
        self.identity = identity
        self._unit = config.unit
        self._link = link

    async def poll(self) -> Reading:
        return reading(await self._link.weigh(), self._unit)


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
