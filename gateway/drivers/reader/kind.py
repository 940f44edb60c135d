r"""Barcode and vision readers: what was read, what was not, each read a scan of its own.

`url` is `tcp://host:port` (the reader listens), `tcp+listen://host:port` (the reader connects to us) or
`serial:///dev/ttyS2?baudrate=9600`.  How its lines look is set in the reader, and so here: `prefix`, `suffix` and
`terminator` (empty: CR, LF or both), `no_read` (the texts by which it says that it read nothing), then either
`separator` and `fields` or a `pattern` with named groups; the code itself is `code`.  `numbers` are fields that are
numbers, with their unit.  `aim` takes symbology identifiers off, `gs1` reads GTIN, lot, expiry and serial from a code.

`count` grows with each line of one connection and begins again at 0 with the next, so that rules may stand on it.  Two
reads within one period are two scans; what the bounded `queue` could not take is counted in `lost`, and missing in
`count`.  A reader that sends nothing is well; one that is not there is bad.  With a `heartbeat` line, silence is a lost
link after `silence`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator

from gateway.drivers.base import DriverConfig
from gateway.drivers.reader.link import Listener, Reader, ReaderLink
from gateway.drivers.transport import StreamUrl, open_stream, parse_url, preflight, preload
from gateway.drivers.wire.reader_lines import ELEMENTS, Form
from gateway.model import TagSpec
from gateway.units import Duration

LISTEN: Final = "tcp+listen"
SCHEMES: Final = ("tcp", LISTEN, "serial")
COUNTS: Final = ("count", "reads", "no_reads", "garbled", "lost")
_TAKEN: Final = frozenset({*COUNTS, *ELEMENTS, "read", "symbology"})


def _known_url(text: str) -> str:
    parse_url(text, SCHEMES)
    return text


def _compiles(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return text


def _bounded(pattern: str, longest: int) -> None:
    """Here, not above: only lines whose readers have a pattern pay for the look at it."""
    from gateway.drivers.reader.pattern import bounded  # noqa: PLC0415

    try:
        bounded(pattern, longest)
    except ValueError as error:
        raise ValueError(f"pattern {error}") from None


class ReaderConfig(DriverConfig):
    """A barcode or vision reader."""

    model_config = ConfigDict(defer_build=True)  # built when first used: many lines have none

    driver: Literal["reader"] = "reader"
    url: Annotated[str, AfterValidator(_known_url)]
    prefix: str = ""
    """How every line begins; with one, half a line is told from a whole one."""
    suffix: str = ""
    """What stands before the terminator."""
    terminator: str = ""
    """What ends a line; empty: CR, LF or both."""
    encoding: Literal["ascii", "utf-8", "latin-1"] = "utf-8"
    no_read: tuple[str, ...] = ("NOREAD",)
    """How the reader says that it read nothing."""
    separator: str = ""
    fields: tuple[str, ...] = ()
    """Names of the parts between separators, `code` among them."""
    pattern: Annotated[str, AfterValidator(_compiles)] = ""
    """A regular expression for the whole line, its parts as named groups, `code` among them."""
    numbers: dict[str, str] = Field(default_factory=dict)
    """Fields that are numbers -> their unit."""
    aim: bool = False
    """Lines begin with an AIM symbology identifier, `]d2`."""
    gs1: bool = False
    """Codes are GS1 element strings: tags gtin, lot, expiry, serial."""
    heartbeat: str = ""
    """A line that the reader sends now and then to show that it lives."""
    silence_s: Duration = Field(30.0, alias="silence", gt=0)
    """With a heartbeat: the link counts as lost when nothing came for so long."""
    greeting: str = ""
    """Sent once connected, as `LON\\r`, where the reader must be told to read."""
    queue: int = Field(256, ge=1, le=100_000)
    """Reads that wait while the gateway is busy; beyond it the oldest are lost, and counted."""
    longest: int = Field(1024, ge=16, le=65536)
    """Bytes of a line at most."""

    @field_validator("no_read", mode="before")
    @classmethod
    def _texts(cls, given: object) -> object:
        return (given,) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _fits(self) -> ReaderConfig:
        if self.pattern:
            _bounded(self.pattern, self.longest)
        if self.pattern and (self.fields or self.separator):
            raise ValueError("give either a pattern or separator and fields")
        if bool(self.fields) != bool(self.separator):
            raise ValueError("separator and fields belong together: separator: ';', fields: [code, grade]")
        if (self.fields or self.pattern) and "code" not in self._names:
            raise ValueError("one of the fields must be called code")
        if len(set(self._names)) != len(self._names) or set(self._names) & _TAKEN:
            raise ValueError(f"fields need names of their own, and not {', '.join(sorted(_TAKEN))}")
        if strange := set(self.numbers) - set(self.extra):
            raise ValueError(f"numbers: there is no field {min(strange)!r} beside the code; known: {list(self.extra)}")
        _ = self.form
        return self

    @property
    def _names(self) -> tuple[str, ...]:
        return self.fields or tuple(re.compile(self.pattern).groupindex)

    @property
    def extra(self) -> tuple[str, ...]:
        """Fields beside the code."""
        return tuple(name for name in self._names if name != "code")

    @cached_property
    def form(self) -> Form:
        def raw(text: str) -> bytes:
            return text.encode("utf-8" if self.encoding == "utf-8" else "latin-1")

        return Form(
            prefix=raw(self.prefix),
            suffix=raw(self.suffix),
            terminator=raw(self.terminator),
            encoding=self.encoding,
            no_read=self.no_read,
            separator=self.separator,
            fields=self.fields,
            pattern=re.compile(self.pattern) if self.pattern else None,
            aim=self.aim,
            gs1=self.gs1,
            heartbeat=raw(self.heartbeat),
            longest=self.longest,
        )

    @cached_property
    def stream(self) -> StreamUrl:
        return parse_url(self.url, SCHEMES)

    @property
    def subscribes(self) -> bool:
        return True

    def tags(self) -> tuple[TagSpec, ...]:
        fields = (
            TagSpec(name, self.numbers.get(name, "1"), "decimal" if name in self.numbers else "text")
            for name in self.extra
        )
        symbology = (TagSpec("symbology", kind="text"),) if self.aim else ()
        said = tuple(TagSpec(name, kind="text") for name in ELEMENTS) if self.gs1 else ()
        counts = tuple(TagSpec(name, "{count}") for name in COUNTS)
        return (TagSpec("code", kind="text"), TagSpec("read", kind="bool"), *counts, *fields, *symbology, *said)

    def address(self) -> str:
        return self.url

    def preflight(self) -> list[str]:
        """Warnings that need a look at this machine: a serial port that is not there."""
        return preflight(self.stream)

    def preload(self) -> None:
        preload(self.stream)

    def connect(self, name: str) -> AbstractAsyncContextManager[Reader]:
        return _listen(self, name) if self.stream.scheme == LISTEN else _connect(self, name)


@asynccontextmanager
async def _connect(config: ReaderConfig, name: str) -> AsyncIterator[Reader]:
    link = ReaderLink(f"{name} ({config.address()})", config)
    async with open_stream(config.stream, link, config.timeout_s):
        yield Reader(config, link)


@asynccontextmanager
async def _listen(config: ReaderConfig, name: str) -> AsyncIterator[Reader]:
    listener = Listener(f"{name} ({config.address()})", config)
    await listener.open(config.stream)
    try:
        yield Reader(config, listener.link)
    finally:
        await listener.aclose()
