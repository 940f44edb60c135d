"""What people may ask about the gates before a batch, and the instruments that one of them looks at."""

from __future__ import annotations

from gateway.commands.base import BatchArguments, NoArguments
from gateway.desk import Desk
from gateway.model import Json, Principal
from gateway.window import Exact, Frozen


class GateArguments(Frozen):
    batch: str
    gate: str
    reason: str


class InstrumentArguments(Frozen):
    instrument: str
    value: Exact | None = None
    """Without it: what the instrument shows now."""
    unit: str = ""
    comment: str = ""


async def gates(desk: Desk, who: Principal, ask: BatchArguments) -> Json:
    """What must hold before the start, and what stands in its way."""
    del who
    return desk.gates.show(ask.batch)


async def open_gate(desk: Desk, who: Principal, ask: GateArguments) -> Json:
    """A gate opened all the same, where the recipe lets this person."""
    return desk.open_gate(ask.batch, ask.gate, ask.reason, who)


async def instrument(desk: Desk, who: Principal, ask: InstrumentArguments) -> Json:
    """The daily check of an instrument against its standard."""
    return desk.gates.check(ask.instrument, ask.value, ask.unit, ask.comment, who)


async def instruments(desk: Desk, who: Principal, ask: NoArguments) -> Json:
    """The register: due dates, last checks, what may not be used."""
    del who, ask
    return desk.gates.instruments.registered()
