"""Trays on hold: suspect since a bad check, and nobody decided on them yet.  Pure.

Each hold and each decision is a record of its own beside `batch.tray`, so that whoever moves trays need not read
anything else.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.batch.state import Batch
from gateway.errors import Refused
from gateway.model import Draft, Json, Principal

RELEASED = "released"
QA = "qa"


def undecided(batch: Batch) -> tuple[str, ...]:
    """Trays nobody decided on: those on hold, and those suspected that the machine never named."""
    held = [tray.id for tray in batch.trays if tray.held]
    return tuple(dict.fromkeys([*held, *(name for name, _ in batch.awaited)]))


def refuse_undecided(batch: Batch) -> None:
    """Refused: a batch is not closed over a tray on hold."""
    names = undecided(batch)
    if names:
        text = f"trays on hold: {', '.join(names)}; QA decides on each of them first, with a reason"
        raise Refused("trays_undecided", text, trays=list(names))


def refuse_release(batch: Batch, name: str, disposition: str, person: Principal) -> None:
    """Refused: what is on hold is released by QA only; to reject or quarantine it is no release."""
    if disposition == RELEASED and name in undecided(batch) and QA not in person.roles:
        raise Refused("role_missing", f"tray {name} is on hold: it is released by QA, and {person.name} is not")


def decide_awaited(batch: Batch, name: str, disposition: str, reason: str) -> tuple[Batch, dict[str, Json]] | None:
    """The word on a suspected tray that the machine never named: the batch, and the body of its record."""
    why = [one for awaited, one in batch.awaited if awaited == name]
    if not why:
        return None
    left = tuple(one for one in batch.awaited if one[0] != name)
    body: dict[str, Json] = {
        "tray": name,
        "state": "disposed",
        "first_unit": None,
        "last_unit": None,
        "seen": True,
        "suspect": why,
        "held": False,
        "disposition": disposition,
        "reason": reason,
    }
    return msgspec.structs.replace(batch, awaited=left), body


def records(drafts: Iterable[Draft]) -> tuple[Draft, ...]:
    """`tray.held` for each that comes under suspicion, `tray.released` (rejected, quarantined) for each decision."""
    return tuple(one for draft in drafts if draft.kind == "batch.tray" and (one := _record(draft)) is not None)


def awaited(batch: Batch, names: Iterable[str], why: str) -> tuple[Draft, ...]:
    """`tray.held` of those suspected that the machine has not named (yet)."""
    known = {tray.id for tray in batch.trays}
    new = [name for name in dict.fromkeys(names) if name not in known and (name, why) not in batch.awaited]
    body: dict[str, Json] = {"first_unit": None, "last_unit": None, "suspect": [why], "state": "held", "reason": ""}
    return tuple(Draft("tray.held", {"tray": name, **body}, batch.number) for name in new)


def _record(draft: Draft) -> Draft | None:
    body, state = draft.body, draft.body["state"]
    if state not in {"suspect", "disposed"}:
        return None
    word = "held" if state == "suspect" else str(body["disposition"])
    told = {key: body[key] for key in ("tray", "first_unit", "last_unit", "suspect", "reason")}
    return Draft(f"tray.{word}", {**told, "state": word}, draft.batch, draft.by)
