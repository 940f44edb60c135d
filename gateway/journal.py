"""One event, one transaction: the records and the changed state of an event go to the store together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from gateway.board import Board
from gateway.model import Draft, Json, Lane
from gateway.store.evidence import Evidence

WITNESSED: Final = frozenset({"batch.started", "batch.completed", "batch.closed", "halt.confirmed", "halt.released"})


class Journal:
    """Gathers what an event leaves behind; `commit` hands it to the evidence store without waiting."""

    def __init__(self, evidence: Evidence, board: Board) -> None:
        self.board = board
        self._evidence = evidence
        self._drafts: list[Draft] = []
        self._state: dict[tuple[str, str], Json | None] = {}
        self._urgent = False
        self._witness: asyncio.Future[str] | None = None
        self._last: asyncio.Future[None] | None = None
        self.before: list[Callable[[], None]] = []
        """Called before each commit: owners of state put their changed rows in, once for many changes."""

    def note(
        self, kind: str, body: dict[str, Json], *, batch: str | None, by: str = "gateway", lane: Lane = Lane.EVIDENCE
    ) -> None:
        """A record of what happened.  The alarm lane commits at once."""
        self._drafts.append(Draft(kind, body, batch, by, lane))
        self._urgent = self._urgent or lane is Lane.ALARMS

    def add(self, drafts: Sequence[Draft]) -> None:
        self._drafts.extend(drafts)

    def keep(self, kind: str, key: str, document: Json | None) -> None:
        """The new state row; None deletes it."""
        self._state[(kind, key)] = document

    def commit(self, *, urgent: bool = False) -> asyncio.Future[None] | None:
        """Seal and queue; the future is done when it is durable.  None if there was nothing."""
        for gather in self.before:
            gather()
        if not self._drafts and not self._state:
            return None
        drafts, state = self._drafts, self._state
        self._drafts, self._state = [], {}
        self._call_witness(drafts)
        sealed = self._evidence.submit(drafts, state, urgent=urgent or self._urgent)
        self._urgent = False
        self._last = sealed.committed
        return sealed.committed

    def _call_witness(self, drafts: Sequence[Draft]) -> None:
        worth = next((draft for draft in drafts if draft.kind in WITNESSED), None)
        if worth is not None and self._witness is not None and not self._witness.done():
            self._witness.set_result(f"{worth.kind} {worth.batch or ''}".strip())

    async def witnessed(self) -> str:
        """Wait for the next event that deserves a signed checkpoint at once; its kind and batch."""
        self._witness = asyncio.get_running_loop().create_future()
        return await self._witness

    async def durable(self) -> None:
        """Wait until everything handed over so far is committed.  StoreError if it cannot be."""
        self.commit(urgent=True)
        if self._last is not None:
            await asyncio.shield(self._last)


def body_of(what: Any) -> dict[str, Json]:
    """A struct as the body of a record: decimals and nanosecond stamps as strings."""
    document = msgspec.to_builtins(what, str_keys=True)
    return {key: _stringed(key, value) for key, value in document.items()}


def _stringed(key: str, value: Json) -> Json:
    if isinstance(value, (list, tuple)):
        return [{k: _stringed(k, v) for k, v in item.items()} if isinstance(item, dict) else item for item in value]
    if key in ("value", "limit") and value is not None and not isinstance(value, (bool, str)):
        return str(value)
    return str(value) if key.endswith("_ns") and value is not None else value
