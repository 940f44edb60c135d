"""What a batch is: one frozen value, and its state row.  Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from gateway.batch.counts import CountEntry, Counters
from gateway.batch.order import Order
from gateway.batch.reconcile import Tally
from gateway.batch.trays import Tray
from gateway.model import Draft, Json, Principal
from gateway.recipe import Step

VERIFIED: Final = "verified"
"""The meaning of a second person's signature."""


class BatchState(StrEnum):
    PLANNED = "planned"
    READY = "ready"
    RUNNING = "running"
    COMPLETE = "complete"
    CLOSED = "closed"
    ABORTED = "aborted"


OPEN: Final = (BatchState.PLANNED, BatchState.READY, BatchState.RUNNING, BatchState.COMPLETE)


OVER: Final = (BatchState.CLOSED, BatchState.ABORTED)


class Signature(msgspec.Struct, frozen=True):
    """Who meant what by a step (21 CFR 11.50: printed name, date and time, meaning)."""

    step: str
    text: str
    meaning: str
    person: str
    full_name: str
    role: str
    time_ns: int
    comment: str = ""


class Override(msgspec.Struct, frozen=True):
    """A person opened a gate for the problems that stood in its way then."""

    gate: str
    covers: tuple[str, ...]
    """Keys of the problems."""
    person: str
    full_name: str
    role: str
    reason: str
    time_ns: int


Somebody = Signature | Override | Principal


def same_person(a: Somebody, b: Somebody) -> bool:
    """By account, or by the name that a signature prints: one person with two accounts is one person."""
    return not _names(a).isdisjoint(_names(b))


def _names(one: Somebody) -> set[str]:
    account = one.name if isinstance(one, Principal) else one.person
    printed = " ".join(unicodedata.normalize("NFKC", one.full_name).split()).casefold()
    return {f"@{account.casefold()}", printed or account.casefold()}


class Batch(msgspec.Struct, frozen=True):
    """One run of a recipe on the line."""

    order: Order
    recipe_id: str
    recipe_version: str
    recipe_hash: str
    tray_size: int
    planned_ns: int
    state: BatchState = BatchState.PLANNED
    signatures: tuple[Signature, ...] = ()
    baseline: Counters | None = None
    """The machines' raw counters at the start."""
    tally: Tally = Tally()
    trays: tuple[Tray, ...] = ()
    awaited: tuple[tuple[str, str], ...] = ()
    """(tray, why) suspected before the machine named that tray."""
    started_ns: int | None = None
    completed_ns: int | None = None
    closed_ns: int | None = None
    disposition: str | None = None
    overrides: tuple[Override, ...] = ()
    setpoints: dict[str, str] = {}
    """Tag -> what the machine said at the start, or at its last recorded change."""
    labels_told: dict[str, str] = {}
    """Name of a label equation that does not hold -> what was told of it."""

    @property
    def number(self) -> str:
        return self.order.batch

    @property
    def recipe(self) -> str:
        """`id@version#hash`, as the context of every record names it."""
        return f"{self.recipe_id}@{self.recipe_version}#{self.recipe_hash}"

    @property
    def units(self) -> int:
        """Filled since the start, good or not."""
        return self.tally.units.total

    @property
    def rejects(self) -> int:
        return self.tally.rejects.total

    @property
    def spent(self) -> bool:
        """Its UIDs are used: all but those of a batch that was given up before it began."""
        return self.state is not BatchState.ABORTED or self.started_ns is not None

    @property
    def labels(self) -> int:
        """Applied since the start."""
        return self.tally.labels.total

    @property
    def entries(self) -> tuple[CountEntry, ...]:
        return self.tally.entries

    @property
    def tray(self) -> Tray | None:
        """The one being filled."""
        return self.trays[-1] if self.trays and not self.trays[-1].closed else None


Change = tuple[Batch, tuple[Draft, ...]]
"""The batch as it is now, and what to record of it."""


def missing_signatures(batch: Batch, steps: Sequence[Step]) -> list[tuple[Step, str, str]]:
    """(step, meaning, role) of every signature still to be made, in order."""
    have = [(one.step, one.meaning) for one in batch.signatures]
    missing = []
    for step in steps:
        signed = sum(1 for name, _ in have if name == step.id)
        if signed < 1:
            missing.append((step, step.meaning, step.role))
        if step.second_role is not None and signed < 2:
            missing.append((step, VERIFIED, step.second_role))
    return missing


def to_json(batch: Batch) -> Json:
    """The state row, exact: decimals as strings."""
    return msgspec.to_builtins(batch, enc_hook=_encode)


def from_json(document: Json) -> Batch:
    """Raises msgspec.ValidationError on a document that is not a batch."""
    return msgspec.convert(document, Batch, dec_hook=_decode)


def _encode(value: object) -> Json:
    if isinstance(value, Order):
        return value.model_dump(mode="json")
    raise NotImplementedError(f"{type(value)} in a batch")


def _decode(kind: type[Any], document: object) -> object:
    if kind is Order:
        return Order.model_validate(document)
    raise NotImplementedError(f"{kind} in a batch")
