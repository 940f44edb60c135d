"""What is that on the line?  Listens, lets every dialect read it, and says which one reads most of it.

Nothing is written to the line unless questions are given.  Only dialects that read a line as a weight win by it: an
error or a name may belong to several.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.drivers.balance.kind import DIALECTS, SCHEMES
from gateway.drivers.transport import Stream, StreamUrl, open_stream, parse_url
from gateway.drivers.wire.weighing import Message
from gateway.errors import DeviceError
from gateway.model import Quality

MOST: Final = 1 << 20
"""Bytes that are kept; who listens longer judges by the beginning."""
OPEN_S: Final = 5.0
ENOUGH: Final = 0.5
"""Share of the lines that a dialect must read as weights, to be named."""
_OTHER: Final = 0.5
"""What a line counts that is no weight, but has this dialect's form."""
NAMES: Final = frozenset({"text", "digits"})
"""Ids of lines that may belong to any dialect."""
STRICTEST: Final = ("mt-sics", "a-and-d", "sbi", "ohaus")
"""Where two read the same lines the stricter is right: a line of SBI looks like one of Ohaus, not the other way."""
QUESTIONS: Final[Mapping[str, Sequence[bytes]]] = {
    name: (codec().weigh.ask, next(iter(codec().identity.values())).ask) for name, codec in DIALECTS.items()
}
"""What `ask` sends: the weight, and a name.  Nothing that tares, zeroes, resets or adjusts."""
USUAL: Final[Sequence[Mapping[str, Any]]] = (
    {"baudrate": 9600},
    {"baudrate": 9600, "bytesize": 7, "parity": "E"},
    {"baudrate": 2400, "bytesize": 7, "parity": "E"},
    {"baudrate": 1200, "bytesize": 7, "parity": "O"},
    {"baudrate": 9600, "parity": "O"},
    {"baudrate": 9600, "bytesize": 7, "parity": "O"},
    {"baudrate": 2400},
    {"baudrate": 4800},
    {"baudrate": 4800, "bytesize": 7, "parity": "E"},
    {"baudrate": 19200},
    {"baudrate": 38400},
    {"baudrate": 57600},
    {"baudrate": 115200},
)
"""Settings balances are delivered with, the commonest first."""


class Opinion(msgspec.Struct, frozen=True):
    """What one dialect makes of all that came."""

    dialect: str
    weights: int
    lines: int
    """Those that say something about the dialect."""
    score: float
    """0 to 1: share of the lines that it reads."""


def readings(line: bytes) -> dict[str, Message]:
    """One line, without its end, as each dialect reads it."""
    return {name: message for name, codec in DIALECTS.items() for message in codec().feed(line + b"\n")}


def opinions(data: bytes) -> list[Opinion]:
    """Every dialect's, the likeliest first."""
    found = [_opinion(name, data) for name in STRICTEST]
    return sorted(found, key=lambda opinion: -opinion.score)


def verdict(data: bytes) -> Opinion | None:
    """The one dialect that reads it; None: too little came, or nobody reads it."""
    best = opinions(data)[0]
    return best if best.weights and best.score >= ENOUGH else None


def _opinion(name: str, data: bytes) -> Opinion:
    """Refusals and plain texts say nothing: `ES` may answer another dialect's question."""
    codec = DIALECTS[name]()
    messages = [message for message in codec.feed(data) if message.id not in NAMES and not message.error]
    weights = sum(message.id in codec.weights and message.quality is not Quality.BAD for message in messages)
    read = sum(bool(message.id) for message in messages)
    score = (weights + _OTHER * (read - weights)) / max(1, len(messages))
    return Opinion(name, weights, len(messages), score)


class Ear(Stream):
    """Hears, and says nothing by itself."""

    def __init__(self, where: str, hear: Callable[[bytes], None]) -> None:
        super().__init__(where)
        self._hear = hear
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._hear(data)

    def dropped(self, error: DeviceError) -> None:
        del error  # `lost` says it
        self.ended.set()


async def listen(url: StreamUrl, seconds: float, hear: Callable[[bytes], None], ask: Sequence[bytes] = ()) -> None:
    """Hear what comes for so long; each question is sent after an equal share of it.  DeviceError: the line is lost."""
    ear = Ear(shown(url), hear)
    async with open_stream(url, ear, OPEN_S):
        for question in (b"", *ask):
            if question:
                ear.transport.write(question)
            try:
                async with asyncio.timeout(seconds / (len(ask) + 1)):
                    await ear.ended.wait()
            except TimeoutError:
                continue
            raise ear.failure()


def settings(url: StreamUrl) -> list[StreamUrl]:
    """The same port with every usual setting: its own first."""
    others = [parse_url(shown(msgspec.structs.replace(url, settings=each)), SCHEMES) for each in USUAL]
    return [url, *(other for other in others if other != url)]


def shown(url: StreamUrl) -> str:
    """The URL as configuration writes it, without what goes without saying."""
    if not url.serial:
        return f"{url.scheme}://{url.host}:{url.port}"
    usual = parse_url(f"serial://{url.path}", SCHEMES).settings
    given = [f"{name}={value}" for name, value in url.settings.items() if value != usual[name] or name == "baudrate"]
    return f"serial://{url.path}?{'&'.join(given).replace('=True', '=1')}"


def column(dialect: str, data: bytes) -> int:
    """Where most numbers end in their lines; 0 where the dialect's columns are fixed anyway."""
    found = Counter(message.columns[0] for message in DIALECTS[dialect]().feed(data) if message.columns[0])
    return found.most_common(1)[0][0] if found else 0


def snippet(url: StreamUrl, dialect: str, data: bytes, *, streams: bool) -> str:
    """A device for `line.yaml`."""
    mode, at = "continuous" if streams else "", column(dialect, data)
    keys = {"driver": "balance", "dialect": dialect, "mode": mode, "column": str(at or ""), "url": shown(url)}
    return "devices:\n  balance:\n" + "".join(f"    {key}: {value}\n" for key, value in keys.items() if value)
