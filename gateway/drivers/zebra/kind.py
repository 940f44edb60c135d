"""Zebra printers and print engines: `~HS` over TCP 9100 (or a serial port), as common inside labellers.

`url` is `tcp://host:9100` or `serial:///dev/ttyS1?baudrate=9600`.

**Silence.**  A Zebra does not answer `~HS` while media or ribbon are out, the head is open, the rewinder is full or the
head is too hot: the very moments one wants to know of.  So no answer within `answer` is neither "not connected" nor any
of these: all tags are bad, and the reason says what it can be.  While it lasts, `~HI` is asked too: a printer that
answers that has a live link, and the fault is at the printer.  A link that is dead for the network (nothing comes back
for `dead_after`) is lost like any other.  What a Zebra is silent about it cannot be asked: bring its end-print and
media-out lines (applicator port) to remote I/O where that matters.

The printer can be held: `~PP` pauses it after the label being printed; the halt is done only when `~HS` says paused.
Nothing takes the pause back but its PAUSE key (or whoever drives the printer): a release withdraws nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from operator import attrgetter
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from gateway.drivers.base import DriverConfig, attempt_s
from gateway.drivers.transport import StreamUrl, open_stream, parse_url, preflight, preload
from gateway.drivers.wire.zebra_hs import Message, Status
from gateway.drivers.zebra.link import ZebraLink
from gateway.errors import NotHeld
from gateway.model import Fault, HaltOrder, HaltProof, Quality, Reading, TagSpec, Value
from gateway.units import Duration

SCHEMES: Final = ("tcp", "serial")
_FLAGS: Final = (
    "paper_out",
    "paused",
    "head_open",
    "ribbon_out",
    "buffer_full",
    "label_waiting",
    "partial_format",
    "under_temperature",
    "over_temperature",
    "corrupt_ram",
    "diagnostic_mode",
)
_COUNTS: Final = ("labels_remaining", "formats_waiting")
_TAGS: Final = (
    *(TagSpec(name, "1", "bool") for name in _FLAGS),
    *(TagSpec(name, "{count}") for name in _COUNTS),
    TagSpec("print_mode", "1", "text"),
)
_VALUES: Final = attrgetter(*(spec.name for spec in _TAGS))
_LOOK_SHARE: Final = 0.4
"""Part of a halt's budget for the first look; a printer that does not answer is paused all the same."""
_PAUSE_S: Final = 0.02
SILENCE: Final = "media or ribbon out, head open, rewinder full or head too hot"
"""When a Zebra does not answer ~HS (ZPL guide, ~HS)."""
_SILENT: Final = f"no answer to ~HS: {SILENCE}, or the printer or the link is dead"


def _known_url(text: str) -> str:
    parse_url(text, SCHEMES)
    return text


class ZebraConfig(DriverConfig):
    """A Zebra printer or print engine."""

    halts: ClassVar[bool] = True

    model_config = ConfigDict(defer_build=True)  # built when first used: many lines have none

    driver: Literal["zebra"] = "zebra"
    url: Annotated[str, AfterValidator(_known_url)]
    halt_budget_s: Duration = Field(1.0, alias="halt_budget", gt=0)
    """Budget of one attempt to halt, read-back included; the label being printed is finished first."""
    answer_s: Duration | None = Field(None, alias="answer", gt=0)
    """After so long without an answer the printer counts as silent; less than `timeout`, 0.7 of it by itself."""
    dead_after_s: Duration = Field(10.0, alias="dead_after", ge=1)
    """TCP: what was sent and is not acknowledged by the printer's network for so long means that the link is dead."""

    @model_validator(mode="after")
    def _answer_in_time(self) -> ZebraConfig:
        if self.answer_s is not None and self.answer_s >= self.timeout_s:
            raise ValueError(f"answer ({self.answer_s:g} s) has to be shorter than timeout ({self.timeout_s:g} s)")
        return self

    @property
    def patience_s(self) -> float:
        """How long an answer is waited for."""
        return 0.7 * self.timeout_s if self.answer_s is None else self.answer_s

    @cached_property
    def stream(self) -> StreamUrl:
        return parse_url(self.url, SCHEMES)

    def tags(self) -> tuple[TagSpec, ...]:
        return _TAGS

    def address(self) -> str:
        return self.url

    def preflight(self) -> list[str]:
        """Warnings that need a look at this machine: a serial port that is not there."""
        return preflight(self.stream)

    def preload(self) -> None:
        preload(self.stream)

    def connect(self, name: str) -> AbstractAsyncContextManager[Zebra]:
        return _connect(self, name)


@asynccontextmanager
async def _connect(config: ZebraConfig, name: str) -> AsyncIterator[Zebra]:
    link = ZebraLink(f"{name} ({config.address()})")
    async with open_stream(config.stream, link, config.timeout_s):
        link.watch_network(config.dead_after_s)
        identity: dict[str, str] = {}
        try:
            async with asyncio.timeout(config.patience_s):
                said = await link.identity()
            identity = {"maker": "Zebra", "model": said.model, "firmware": said.firmware}
        except TimeoutError:  # silent from the start: the polls say what that can mean
            pass
        yield Zebra(config, link, identity)


class Zebra:
    """An open printer."""

    def __init__(self, config: ZebraConfig, link: ZebraLink, identity: Mapping[str, str]) -> None:
        self.identity = identity
        self._config = config
        self._link = link
        self._silent_since = link.loop.time()
        """When it last answered ~HS, or when it was connected."""
        self._runs = False
        """A poll came since the last attempt to halt, and said not paused."""

    async def poll(self) -> Reading:
        """All tags, or all bad with what the silence can mean: a silent printer is no lost link."""
        began = self._link.loop.time()
        try:
            async with asyncio.timeout(self._config.patience_s):
                message = await self._link.status()
        except TimeoutError:
            self._runs = False
            return _bad(self._silence(alive=self._link.alive_at >= began))
        self._silent_since = self._link.loop.time()
        self._runs = message.status is not None and not message.status.paused
        if message.status is None:
            return _bad(message.reason, message.raw)
        return Reading(values(message.status), raw=message.raw, held=message.status.paused)

    def _silence(self, *, alive: bool) -> str:
        """What the silence can mean; alive: ~HI was answered meanwhile."""
        seconds = self._link.loop.time() - self._silent_since
        if alive:
            cause = f"it answers ~HI, so the link is alive and the fault is at the printer: {SILENCE}"
        else:
            cause = f"either {SILENCE}, or the printer or the link is dead"
        return f"no answer to ~HS for {seconds:.1f} s: {cause}; look at the printer"

    async def halt(self, order: HaltOrder) -> HaltProof:
        """See Haltable.  The printer is told to pause, and asked until it says that it is paused.

        It is looked at before, too, where the last poll did not say that it runs.
        """
        budget_s = self._config.halt_budget_s
        at_once, self._runs = self._runs, False
        state = _SILENT
        try:
            async with asyncio.timeout(attempt_s(budget_s)):
                if not at_once:
                    paused, state = await self._look_first(_LOOK_SHARE * budget_s)
                    if paused:
                        return HaltProof(state, wrote=False)
                await self._link.pause()
                while True:
                    paused, state = _paused(await self._link.status())
                    if paused:
                        return HaltProof(state, wrote=True)
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            raise NotHeld(f"{self._link.where}: halt {order.id}: ~PP sent, but after {budget_s:g} s: {state}") from None

    async def _look_first(self, within_s: float) -> tuple[bool, str]:
        """(is it paused?, its own words); silence is no proof, and no reason not to pause it."""
        try:
            async with asyncio.timeout(within_s):
                return _paused(await self._link.status())
        except TimeoutError:
            return False, _SILENT

    async def withdraw(self) -> None:
        """Nothing of ours is left at the printer: its operator presses PAUSE."""


def values(status: Status) -> tuple[Value, ...]:
    """In the order of the tags."""
    found: tuple[Value, ...] = _VALUES(status)
    return found


def _paused(message: Message) -> tuple[bool, str]:
    """(is it paused?, its own words)."""
    if message.status is None:
        return False, message.reason
    return message.status.paused, "~HS says paused" if message.status.paused else "~HS says not paused"


def _bad(reason: str, raw: bytes | None = None) -> Reading:
    faults = dict.fromkeys(range(len(_TAGS)), Fault(Quality.BAD, reason))
    return Reading((None,) * len(_TAGS), faults=faults, raw=raw)
