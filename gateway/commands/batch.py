"""What people and the MES may ask about a batch: order, signatures, counts, labels, materials, disposition, report."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gateway.batch.counts import CountEntry
from gateway.commands.base import BatchArguments
from gateway.desk import Desk
from gateway.errors import Refused
from gateway.model import Json, Principal
from gateway.window import Exact, Frozen


class OrderArguments(Frozen):
    order: dict[str, Any]


class SignArguments(Frozen):
    batch: str
    step: str
    comment: str = ""


class EnterArguments(Frozen):
    batch: str
    name: str
    """labels_issued, labels_damaged, oil_charged, units_rejected ...: docs/batch-record.md lists them."""
    value: Exact
    unit: str
    comment: str = ""
    corrects: str | None = None
    roll: str = ""
    """Of labels: the roll they are of."""


class RollArguments(Frozen):
    batch: str
    roll: str
    labels: Exact
    """How many are on it."""
    lot: str = ""
    """Of the order's label lots; not needed where it brings one."""


class ScanArguments(Frozen):
    batch: str
    code: str


class CloseArguments(Frozen):
    batch: str
    disposition: str
    reason: str = ""
    reasons: dict[str, str] = Field(default_factory=dict)
    """By a finding's id, where one word does not do for all: labels that do not reconcile."""


class AbortArguments(Frozen):
    batch: str
    reason: str


class TrayArguments(Frozen):
    batch: str
    tray: str
    disposition: str
    reason: str


async def order(desk: Desk, who: Principal, ask: OrderArguments) -> Json:
    """An order from the MES: a batch is planned."""
    return desk.run.order(ask.order, who.name)


async def sign(desk: Desk, who: Principal, ask: SignArguments) -> Json:
    """A signature under a step, with its meaning."""
    return desk.sign(ask.batch, ask.step, who, ask.comment)


async def start(desk: Desk, who: Principal, ask: BatchArguments) -> Json:
    return desk.gates.start(ask.batch, who)


async def enter(desk: Desk, who: Principal, ask: EnterArguments) -> Json:
    """A count or quantity by a person; a correction supersedes, it never overwrites."""
    corrects = int(ask.corrects) if ask.corrects and ask.corrects.isdecimal() else None
    if ask.corrects and corrects is None:
        raise Refused("no_such_entry", f"{ask.corrects!r} is no entry; give its number")
    entry = CountEntry(ask.name, ask.value, ask.unit, ask.comment, corrects, ask.roll)
    return desk.gates.enter(ask.batch, entry, who)


async def roll(desk: Desk, who: Principal, ask: RollArguments) -> Json:
    """A roll of labels goes onto the applicator."""
    return desk.gates.load_roll(ask.batch, ask.roll, ask.lot, ask.labels, who)


async def scan(desk: Desk, who: Principal, ask: ScanArguments) -> Json:
    """A material scanned by a person: recorded whether it is of this batch or not; `ok` says which."""
    return desk.scans.enter(ask.batch, ask.code, who.name)


async def complete(desk: Desk, who: Principal, ask: BatchArguments) -> Json:
    return desk.gates.complete(ask.batch, who)


async def close(desk: Desk, who: Principal, ask: CloseArguments) -> Json:
    """Disposition: always a person's."""
    reasons = {**({"*": ask.reason} if ask.reason else {}), **ask.reasons}
    return await desk.close(ask.batch, ask.disposition, reasons, who)


async def abort(desk: Desk, who: Principal, ask: AbortArguments) -> Json:
    return desk.run.abort(ask.batch, ask.reason, who)


async def tray(desk: Desk, who: Principal, ask: TrayArguments) -> Json:
    """What becomes of a suspect tray."""
    return desk.dispose_tray(ask.batch, ask.tray, ask.disposition, ask.reason, who)


async def report(desk: Desk, who: Principal, ask: BatchArguments) -> Json:
    """The batch report and the evidence bundle, written to files; answers with their paths."""
    del who
    return await desk.export(ask.batch)


async def capability(desk: Desk, who: Principal, ask: BatchArguments) -> Json:
    """What the checks of a batch say of the process: Cp, Cpk, Pp, Ppk, or why not."""
    del who
    return await desk.capability(ask.batch)
