"""Pumps that speak Watson-Marlow ASCII: speed, direction, tacho pulses, and whether they run.

`url` is `serial:///dev/ttyS1?baudrate=9600` or `tcp://host:port` (a serial server); 9600 8N1 from the factory.
`number` is the pump's own, set at its keypad.  Serial control must be chosen there too; the keypad's Stop overrides it.

The pump can be held: `ST` is sent, and the halt is done only when the pump itself says stopped (`ZY`, and the run flag
of `RS`) and its tacho stands still between two looks.  Stop is the only thing with an effect that this driver can say.

`revolutions` is a tag only where `pulses_per_revolution` is given: count it.  The manuals say 10,982 (520, 620, 720),
10,892 (530), 800 and 1280 (505Di), and one of the first two must be a typing error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field

from gateway.drivers.base import DriverConfig, attempt_s
from gateway.drivers.pump.link import PumpLink
from gateway.drivers.transport import StreamUrl, open_stream, parse_url, preflight, preload
from gateway.drivers.wire.watson_marlow import MOST_PUMPS, Line, Status
from gateway.errors import NotHeld
from gateway.model import Fault, HaltOrder, HaltProof, Quality, Reading, TagSpec, Value

SCHEMES: Final = ("serial", "tcp")
_TAGS: Final = (
    TagSpec("running", "1", "bool"),
    TagSpec("speed", "/min"),
    TagSpec("direction", "1", "text"),
    TagSpec("pulses"),
    TagSpec("ml_per_revolution", "mL"),
    TagSpec("head", "1", "text"),
    TagSpec("tube", "1", "text"),
    TagSpec("model", "1", "text"),
)
_LOOK_SHARE: Final = 0.5
"""Part of a halt's budget for the first look; a pump that does not answer is told to stop all the same."""
_STILL_S: Final = 0.1
"""Between two looks at the tacho: at 0.1 rpm a pulse comes every 55 ms."""
_PAUSE_S: Final = 0.02


def _known_url(text: str) -> str:
    parse_url(text, SCHEMES)
    return text


class PumpConfig(DriverConfig):
    """A peristaltic pump."""

    halts: ClassVar[bool] = True

    model_config = ConfigDict(defer_build=True)  # built when first used: many lines have none

    driver: Literal["pump"] = "pump"
    dialect: Literal["watson-marlow"] = "watson-marlow"
    url: Annotated[str, AfterValidator(_known_url)]
    number: int = Field(1, ge=1, le=MOST_PUMPS)
    """The pump's own, 1 to 16 (32 on N models).  All pumps at once (#) cannot be read back: there is no such thing."""
    pulses_per_revolution: int | None = Field(None, ge=1)
    """Counted on this very pump; without it there is no tag `revolutions`."""

    @cached_property
    def stream(self) -> StreamUrl:
        return parse_url(self.url, SCHEMES)

    def tags(self) -> tuple[TagSpec, ...]:
        return _TAGS if self.pulses_per_revolution is None else (*_TAGS, TagSpec("revolutions"))

    def address(self) -> str:
        return f"{self.url} pump {self.number}"

    def preflight(self) -> list[str]:
        """Warnings that need a look at this machine: a serial port that is not there."""
        return preflight(self.stream)

    def preload(self) -> None:
        preload(self.stream)

    def connect(self, name: str) -> AbstractAsyncContextManager[Pump]:
        return _connect(self, name)


@asynccontextmanager
async def _connect(config: PumpConfig, name: str) -> AsyncIterator[Pump]:
    link = PumpLink(f"{name} ({config.address()})", config.number)
    async with open_stream(config.stream, link, config.timeout_s):
        try:
            async with asyncio.timeout(config.timeout_s):
                line = await link.status()
        except TimeoutError:
            raise link.failure(
                f"does not answer as pump {config.number} within {config.timeout_s:g} s; is it switched on, is serial "
                "control chosen at its keypad, and are its number and baud rate the ones of this configuration?"
                + (f" What came was {link.garbage}" if link.garbage else "")
            ) from None
        status = _ours(line, config.number)
        if isinstance(status, str):
            raise link.failure(status)
        identity = {"maker": "Watson-Marlow", "model": status.model, "head": status.head, "tube": status.tube}
        yield Pump(config, link, identity)


class Pump:
    """An open pump."""

    def __init__(self, config: PumpConfig, link: PumpLink, identity: Mapping[str, str]) -> None:
        self.identity = identity
        self._config = config
        self._link = link
        self._stood_at: int | None = None
        """The tacho of the last poll or proof, where the pump said stopped then."""
        self._runs = False
        """A poll came since the last attempt to halt, and said running."""

    async def poll(self) -> Reading:
        line = await self._link.status()
        status = _ours(line, self._config.number)
        self._runs = not isinstance(status, str) and status.running
        if isinstance(status, str):
            faults = dict.fromkeys(range(len(self._config.tags())), Fault(Quality.BAD, status))
            return Reading((None,) * len(faults), faults=faults, raw=line.raw)
        return Reading(self._values(status), raw=line.raw, held=self._stands_since(status))

    def _values(self, status: Status) -> tuple[Value, ...]:
        values: tuple[Value, ...] = (
            status.running,
            status.speed_rpm,
            status.direction,
            status.pulses,
            status.ml_per_revolution,
            status.head,
            status.tube,
            status.model,
        )
        per = self._config.pulses_per_revolution
        return values if per is None else (*values, status.pulses / per)

    def _stands_since(self, status: Status) -> bool:
        """It says stopped, and the tacho has not moved since it last said so.  Backwards: somebody cleared it."""
        turned = self._stood_at is not None and status.pulses > self._stood_at
        self._stood_at = None if status.running else status.pulses
        return not (status.running or turned)

    async def halt(self, order: HaltOrder) -> HaltProof:
        """See Haltable.  The pump is told to stop, and looked at until it says that it stands.

        It is looked at before, too, where the last poll did not say running: a status takes 60 ms at 9600 baud.
        """
        budget_s = self._config.halt_budget_s
        at_once, self._runs = self._runs, False
        state = "no answer"
        try:
            async with asyncio.timeout(attempt_s(budget_s)):
                if not at_once:
                    stands, state = await self._look_first(_LOOK_SHARE * budget_s)
                    if stands:
                        return HaltProof(state, wrote=False)
                await self._link.stop()
                while True:
                    if await self._link.running():
                        state = f"pump {self._config.number} says running (ZY 1)"
                    else:
                        stands, state = await self._look()
                        if stands:
                            return HaltProof(state, wrote=True)
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            text = f"halt {order.id}: ST sent, but after {budget_s:g} s: {state}"
            raise NotHeld(f"{self._link.where}: {text}") from None

    async def _look_first(self, within_s: float) -> tuple[bool, str]:
        """As `_look`; one that says nothing gives no proof, and no reason not to stop it."""
        try:
            async with asyncio.timeout(within_s):
                return await self._look()
        except TimeoutError:
            return False, "no answer"

    async def _look(self) -> tuple[bool, str]:
        """(does it stand still?, its own words).  Stopped is believed when the tacho stands too."""
        before = _ours(await self._link.status(), self._config.number)
        if isinstance(before, str) or before.running:
            return False, before if isinstance(before, str) else _words(before)
        await asyncio.sleep(_STILL_S)
        after = _ours(await self._link.status(), self._config.number)
        if isinstance(after, str) or after.running:
            return False, after if isinstance(after, str) else _words(after)
        if after.pulses != before.pulses:
            return False, f"{_words(after)}, but its tacho went on from {before.pulses}"
        self._stood_at = after.pulses
        return True, _words(after)

    async def withdraw(self) -> None:
        """Nothing of ours is left at the pump: whoever runs it starts it again."""


def _ours(line: Line, number: int) -> Status | str:
    """The status of the pump we asked, or why this line is not one."""
    if line.status is None:
        return line.reason or f"{line.raw!r} is no status"
    if line.status.number != number:
        return (
            f"pump {line.status.number} answered what pump {number} was asked; two pumps on one line need two numbers"
        )
    return line.status


def _words(status: Status) -> str:
    return f"pump {status.number} says {'running' if status.running else 'stopped'} at {status.pulses} pulses"
