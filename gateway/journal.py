"""One event, one transaction: the records and the changed state of an event go to the store together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from gateway.board import Board
from gateway.ledger.canonical import canonical
from gateway.ledger.mend import mended
from gateway.model import Draft, Json, Lane
from gateway.store.evidence import Evidence

log = structlog.get_logger()

WITNESSED: Final = frozenset({"batch.started", "batch.completed", "batch.closed", "halt.confirmed", "halt.released"})

State = Mapping[tuple[str, str], Json | None]


class Journal:
    """Gathers what an event leaves behind; `commit` hands it to the evidence store without waiting."""

    def __init__(self, evidence: Evidence, board: Board) -> None:
        self.board = board
        self._evidence = evidence
        self._drafts: list[Draft] = []
        self._state: dict[tuple[str, str], Json | None] = {}
        self._urgent = False
        self._worth = ""
        """The newest event that deserves a signed checkpoint and has none yet."""
        self._called = asyncio.Event()
        self._last: asyncio.Future[None] | None = None
        self.before: list[Callable[[], None]] = []
        """Called before each commit: owners of state put their changed rows in, once for many changes."""
        self.on_mended: Callable[[str], None] = lambda _: None
        """Told what could only be recorded as text, or not be kept at all: a bug of ours that cost nothing."""

    def note(
        self, kind: str, body: dict[str, Json], *, batch: str | None, by: str = "gateway", lane: Lane = Lane.EVIDENCE
    ) -> None:
        """A record of what happened.  The alarm lane commits at once."""
        self.add((Draft(kind, body, batch, by, lane),))

    def add(self, drafts: Sequence[Draft]) -> None:
        self._drafts.extend(drafts)
        self._urgent = self._urgent or any(draft.lane is Lane.ALARMS for draft in drafts)

    def keep(self, kind: str, key: str, document: Json | None) -> None:
        """The new state row; None deletes it."""
        self._state[(kind, key)] = document

    def commit(self, *, urgent: bool = False) -> asyncio.Future[None] | None:
        """Seal and queue; the future is done when it is durable.  None if there was nothing.

        Never raises: what has no canonical form is recorded as text, and the rest of the event with it.
        """
        for gather in self.before:
            gather()
        if not self._drafts and not self._state:
            return None
        drafts, state = self._drafts, self._state
        self._drafts, self._state = [], {}
        self._call_witness(drafts)
        urgent, self._urgent = urgent or self._urgent, False
        try:
            sealed = self._evidence.submit(drafts, state, urgent=urgent)
        except (ValueError, TypeError, OverflowError, RecursionError):
            log.exception("an event cannot be recorded as it is", next="what cannot is recorded as text")
            sealed = self._evidence.submit(self._sealable(drafts), self._storable(state), urgent=urgent)
        self._last = sealed.committed
        return sealed.committed

    def _sealable(self, drafts: Sequence[Draft]) -> list[Draft]:
        """The same drafts, in their order; a bad one with text for what is bad in it, and a word that says so."""
        return [draft if _has_form(draft) else self._mend(draft) for draft in drafts]

    def _mend(self, draft: Draft) -> Draft:
        self.on_mended(f"a record {draft.kind} held a value that has no canonical form; it stands there as text")
        body = {**mended(draft.body), "mended": "a value without a canonical form was recorded as text"}
        return Draft(str(draft.kind), body, mended(draft.batch), mended(draft.by), draft.lane)

    def _storable(self, state: State) -> dict[tuple[str, str], Json | None]:
        """Rows that can be stored.  One that cannot keeps what it held before: after a restart that can be read."""
        good: dict[tuple[str, str], Json | None] = {}
        for at, document in state.items():
            try:
                msgspec.json.encode((at, document))
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                self.on_mended(f"the state of {mended(' '.join(at))} cannot be stored ({error}); the one before stands")
            else:
                good[at] = document
        return good

    def _call_witness(self, drafts: Sequence[Draft]) -> None:
        worth = next((draft for draft in reversed(drafts) if draft.kind in WITNESSED), None)
        if worth is not None:
            self._worth = f"{worth.kind} {worth.batch or ''}".strip()
            self._called.set()

    async def witnessed(self) -> str:
        """Wait for an event that deserves a signed checkpoint at once; the kind and batch of the newest.

        What happened since the last call counts: an event during a signing is witnessed by the next one.
        """
        await self._called.wait()
        self._called.clear()
        return self._worth

    async def durable(self) -> None:
        """Wait until everything handed over so far is committed.  StoreError if it cannot be."""
        self.commit(urgent=True)
        if self._last is not None:
            await asyncio.shield(self._last)


def _has_form(draft: Draft) -> bool:
    try:
        canonical({"kind": draft.kind, "body": dict(draft.body), "batch": draft.batch, "by": draft.by})
    except (ValueError, TypeError, RecursionError):
        return False
    return True


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
