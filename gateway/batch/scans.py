"""A lot, or a package, that was scanned: does it belong to this batch?  Pure.

A code is a line of the order where it is that line's UID or lot, or says that lot in its GS1 element string; the
package UID of the order is the batch itself.  Everything scanned is recorded, what does not belong most of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final

import msgspec

from gateway.batch.order import Material
from gateway.batch.state import OPEN, Batch
from gateway.errors import Refused
from gateway.model import Draft, Json

PACKAGE: Final = "package"
LONGEST: Final = 1024
"""Characters of a code."""


class Code(msgspec.Struct, frozen=True):
    """What was scanned, and what it says of itself."""

    text: str
    """Empty where it could not be read."""
    reader: str
    """The device; `person` where somebody typed or scanned it at the console."""
    lot: str = ""
    expires: str = ""
    """ISO date."""
    unread: str = ""
    """Why it could not be read."""
    repeats: int = 0
    """How often the same code had been read again just before, and was not recorded."""


class Match(msgspec.Struct, frozen=True):
    """What became of it."""

    ok: bool
    text: str
    """One sentence for a person."""
    draft: Draft


def lines(batch: Batch, code: Code) -> list[Material]:
    """The order's materials that this code names: by UID, which is used once, else by lot."""
    materials = batch.order.materials
    by_uid = [one for one in materials if code.text and one.uid == code.text]
    return by_uid or [one for one in materials if one.lot and one.lot in {code.text, code.lot}]


def scanned(batch: Batch, code: Code, by: str, today: date, now_ns: int) -> Match:
    """Compare and record.  Refused `wrong_state`: the batch is over."""
    if batch.state not in OPEN:
        raise Refused("wrong_state", f"batch {batch.number} is {batch.state.value}; nothing is scanned for it any more")
    found = lines(batch, code)
    package = not found and bool(code.text) and code.text == batch.order.uid
    problems = list(_problems(batch, code, found, today, package=package))
    what = " and ".join(f"{one.kind} lot {one.lot}" for one in found) or (PACKAGE if package else "")
    text = "; ".join(problems) or f"{code.text} is {what} of batch {batch.number}"
    body: dict[str, Json] = {
        "code": code.text,
        "reader": code.reader,
        "lot": code.lot,
        "expires": code.expires,
        "matched": [_line(one) for one in found] or ([{"kind": PACKAGE, "uid": batch.order.uid}] if package else []),
        "ok": not problems,
        "text": text,
        "repeats": str(code.repeats),
        "state": batch.state.value,
        "time": str(now_ns),
    }
    return Match(not problems, text, Draft("material.scanned", body, batch.number, by))


def stray(code: Code, why: str, by: str, now_ns: int) -> Match:
    """Scanned while there is no batch it could belong to."""
    body: dict[str, Json] = {
        "code": code.text,
        "reader": code.reader,
        "lot": code.lot,
        "expires": code.expires,
        "matched": [],
        "ok": False,
        "text": why,
        "repeats": str(code.repeats),
        "state": None,
        "time": str(now_ns),
    }
    return Match(False, why, Draft("material.scanned", body, None, by))


def _problems(batch: Batch, code: Code, found: Sequence[Material], today: date, *, package: bool) -> Iterator[str]:
    if code.unread:
        yield f"what was scanned could not be read ({code.unread}); scan it again"
    elif not found and not package:
        lot = f" (lot {code.lot})" if code.lot and code.lot != code.text else ""
        known = ", ".join(f"{one.kind} {one.lot}" for one in batch.order.materials) or "none"
        yield f"{code.text!r}{lot} is not of batch {batch.number}; its order brings: {known}"
    for one in found:
        if one.expires is not None and one.expires < today:
            yield f"{one.kind} lot {one.lot} expired on {one.expires}"
        if one.expires is not None and code.expires and code.expires != one.expires.isoformat():
            yield f"{one.kind} lot {one.lot} expires on {code.expires} by its code, on {one.expires} by the order"


def _line(one: Material) -> Json:
    return {"kind": one.kind, "lot": one.lot, "uid": one.uid}
