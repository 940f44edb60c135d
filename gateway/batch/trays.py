"""Trays: which units lie in which tray, and which trays are under suspicion.  Pure.

The machine names the tray under its nozzle; unit count, tray and position may arrive in separate notifications, so a
boundary within SKEW units of a full tray is taken as that of a full tray.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import msgspec

from gateway.counting import SKEW
from gateway.model import Json


class Tray(msgspec.Struct, frozen=True):
    """A tray and the units in it, counted from 1 in the batch."""

    id: str
    first_unit: int
    last_unit: int
    """So far; first_unit - 1 while it is empty."""
    closed: bool = False
    seen: bool = True
    """False: the machine's name for these units never reached us."""
    suspect: tuple[str, ...] = ()
    """Why it is under suspicion."""
    disposition: str | None = None
    disposed_by: str | None = None
    reason: str = ""

    @property
    def held(self) -> bool:
        """On hold: suspect, and nobody decided since."""
        return bool(self.suspect) and self.disposition is None

    @property
    def count(self) -> int:
        return self.last_unit - self.first_unit + 1


Trays = tuple[Tray, ...]
Events = list[tuple[str, Tray]]
"""(what happened to it, the tray as it is now): opened, closed, unseen, suspect, disposed."""


def follow(trays: Trays, name: str | None, units: int, position: int | None, size: int) -> tuple[Trays, Events]:
    """The trays after a scan: unit count, the tray's name (None or empty: unknown) and the position in it."""
    if trays and not trays[-1].closed and (not name or name == trays[-1].id):
        return _grown(trays, units), []
    if not name:
        return trays, []
    return _changed(trays, name, units, position, size)


def close(trays: Trays, units: int) -> tuple[Trays, Events]:
    """The trays at the end of the batch: the open one ends with its last unit."""
    if not trays or trays[-1].closed:
        return trays, []
    last = msgspec.structs.replace(trays[-1], last_unit=max(trays[-1].first_unit - 1, units), closed=True)
    return (*trays[:-1], last), [("closed", last)]


def suspected(trays: Trays, names: Sequence[str], why: str) -> tuple[Trays, Events]:
    """Those trays under suspicion for one more reason; with each, what was filled unseen just before it."""
    unseen = [before.id for before, tray in pairwise(trays) if not before.seen and tray.id in names]
    return _each(trays, [*names, *unseen], "suspect", lambda tray: _with_reason(tray, why))


def disposed(trays: Trays, name: str, disposition: str, by: str, reason: str) -> tuple[Trays, Events]:
    """A person's word on a tray; the suspicion and its reasons stay on it."""
    return _each(
        trays,
        [name],
        "disposed",
        lambda tray: msgspec.structs.replace(tray, disposition=disposition, disposed_by=by, reason=reason),
    )


def body(what: str, tray: Tray) -> dict[str, Json]:
    """The body of `batch.tray`."""
    return {
        "tray": tray.id,
        "state": what,
        "first_unit": str(tray.first_unit),
        "last_unit": str(tray.last_unit) if tray.closed else None,
        "seen": tray.seen,
        "suspect": list(tray.suspect),
        "held": tray.held,
        "disposition": tray.disposition,
        "reason": tray.reason,
    }


def _grown(trays: Trays, units: int) -> Trays:
    last = trays[-1]
    if units <= last.last_unit:
        return trays
    return (*trays[:-1], msgspec.structs.replace(last, last_unit=units))


def _changed(trays: Trays, name: str, units: int, position: int | None, size: int) -> tuple[Trays, Events]:
    before = trays[-1].last_unit if trays else 0
    full = trays[-1].first_unit + size if trays and not trays[-1].closed else before + 1
    first = _boundary(full, before, units, position, size)
    events: Events = []
    if trays and not trays[-1].closed:
        ended = msgspec.structs.replace(trays[-1], last_unit=min(first, full) - 1, closed=True)
        trays = (*trays[:-1], ended)
        events.append(("closed", ended))
    if first > full:
        lost = Tray(f"unseen-{full}-{first - 1}", full, first - 1, closed=True, seen=False)
        trays = (*trays, lost)
        events.append(("unseen", lost))
    opened = Tray(name, first, max(first - 1, units))
    return (*trays, opened), [*events, ("opened", opened)]


def _boundary(full: int, before: int, units: int, position: int | None, size: int) -> int:
    """The first unit of the new tray.  `full`: where it begins if the last one was filled to the brim."""
    if position is not None:
        here = units - position + 1
        if abs(here - full) > SKEW and before < here <= units + 1:
            return here
    if before + 1 - SKEW <= full <= units + 1 + SKEW:
        return full if position is not None else full + max(0, units - full) // size * size
    return before + 1


def _with_reason(tray: Tray, why: str) -> Tray:
    """A new suspicion puts it on hold again, whatever was decided before."""
    if why in tray.suspect:
        return tray
    suspect = (*tray.suspect, why)
    return msgspec.structs.replace(tray, suspect=suspect, disposition=None, disposed_by=None, reason="")


def _each(trays: Trays, names: Sequence[str], what: str, change: Callable[[Tray], Tray]) -> tuple[Trays, Events]:
    wanted = set(names)
    after = tuple(change(tray) if tray.id in wanted else tray for tray in trays)
    return after, [(what, new) for old, new in zip(trays, after, strict=True) if new is not old]
