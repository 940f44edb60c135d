"""The line at a glance, drawn in pieces: who looks at ten thousand values holds up none that is judged meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from itertools import islice
from typing import Final

import msgspec

from gateway.board import Board
from gateway.errors import Refused
from gateway.model import Json, Scan

ROWS: Final = 100
"""Of a document, drawn in one go: some 0.1 ms."""
NOTE: Final = "A halt is a quality hold request to the machine's controller, not a safety function."
PARTS: Final = ("gateway", "latest")
"""Beside the topics of the board."""
TOPICS: Final = ("batch", "halts", "alarms", "alarms/hidden", "checks", "gates", "mes")
"""Of those, what may be asked for before there is anything in them: the answer is null."""


class Glance:
    """Topics of the board, the gateway itself, and the newest value of every tag."""

    def __init__(self, board: Board, gateway: Callable[[], dict[str, Json]], latest: Mapping[str, Scan]) -> None:
        self._board = board
        self._gateway = gateway
        self._latest = latest

    async def document(self, of: Collection[str] = ()) -> dict[str, Json]:
        """All of it, or the parts named.  Refused `bad_arguments`: a part there is not."""
        return {part: _merged([rows async for rows in self._pieces(part)]) for part in self._asked(of)}

    async def text(self, of: Collection[str] = ()) -> bytes:
        """The same as JSON, encoded piece by piece.  Refused as `document`."""
        parts: list[bytes] = []
        for part in self._asked(of):
            pieces = [_encode(rows) async for rows in self._pieces(part)]
            parts.append(_encode(part) + b":" + _joined(pieces))
        return b"{" + b",".join(parts) + b"}"

    def _asked(self, of: Collection[str]) -> Collection[str]:
        known = dict.fromkeys((*self._board, *PARTS))
        unknown = [part for part in of if part not in known and part not in TOPICS]
        if unknown:
            there = ", ".join(sorted({*known, *TOPICS}))
            raise Refused("bad_arguments", f"the status has no part {', '.join(map(repr, unknown))}; there are {there}")
        return tuple(dict.fromkeys(of)) or tuple(known)

    async def _pieces(self, part: str) -> AsyncIterator[Json]:
        """A document, in one piece or several; others have their turn between two."""
        if part == "gateway":
            yield self._gateway()
            return
        document = self._board.get(part)
        if part != "latest" and not isinstance(document, dict):
            yield document
            return
        rows = self._newest() if part == "latest" else iter(list(document.items()))
        while True:
            some = dict(islice(rows, ROWS))
            yield some
            if len(some) < ROWS:
                return
            await asyncio.sleep(0)

    def _newest(self) -> Iterator[tuple[str, Json]]:
        for scan in list(self._latest.values()):
            yield from _rows(scan)


def _rows(scan: Scan) -> Iterator[tuple[str, Json]]:
    tagset = scan.tagset
    for position, name in enumerate(tagset.names):
        value = scan.values[position]
        shown = value if isinstance(value, (int, float, str, bool)) or value is None else str(value)
        row: dict[str, Json] = {"value": shown, "unit": tagset.units[position], "time": str(scan.time_ns)}
        fault = scan.faults.get(position)
        if fault is not None:
            row["fault"] = f"{fault.quality.name.lower()}: {fault.reason}"
        yield name, row


def _merged(pieces: list[Json]) -> Json:
    if len(pieces) == 1:
        return pieces[0]
    return {name: row for rows in pieces for name, row in rows.items()}


def _joined(pieces: list[bytes]) -> bytes:
    if len(pieces) == 1:
        return pieces[0]
    return b"{" + b",".join(piece[1:-1] for piece in pieces if len(piece) > 2) + b"}"


def _encode(document: Json) -> bytes:
    return msgspec.json.encode(document)
