"""What stands already when a batch begins: alarms and absent devices, whose own records are none of this batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.board import Board
from gateway.journal import Journal
from gateway.model import Json

_KEPT: Final = (
    "alarm", "occurrence", "state", "priority", "text", "subject", "acked_by", "acked_ns", "comment", "shelved",
    "out_of_service",
)  # fmt: skip
"""What the record of a start keeps of an alarm that stands."""


def alarms_then(board: Board) -> list[Json]:
    """Alarms whose condition holds, and those a person put aside, as the start finds them."""
    found = [*(board.get("alarms") or {}).values(), *(board.get("alarms/hidden") or {}).values()]
    return [{key: one[key] for key in _KEPT if key in one} for one in found if _concerns(one)]


def _concerns(alarm: Json) -> bool:
    """What is over was no part of the batch."""
    return alarm["state"] in ("unack", "acked") or "shelved" in alarm or "out_of_service" in alarm


def note_absent(journal: Journal, devices: Iterable[str], batch: str) -> None:
    """Lost before the start: the batch's own record must say so."""
    for name in devices:
        shown = journal.board.get(f"devices/{name}")
        if shown is None or shown["connected"]:
            continue
        reason = f"lost before the start: {shown.get('reason', '')}"
        body: dict[str, Json] = {"device": name, "text": f"{name} is away, {reason}", "reason": reason}
        journal.note("device.lost", body, batch=batch)
