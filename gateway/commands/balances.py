"""What people may ask of a balance: to take off what lies on it, and to call its empty pan zero."""

from __future__ import annotations

from gateway.desk import Desk
from gateway.line.balances import TARE, ZERO
from gateway.model import Json, Principal
from gateway.window import Frozen


class BalanceArguments(Frozen):
    device: str


async def tare(desk: Desk, who: Principal, ask: BalanceArguments) -> Json:
    """Carried out between two polls, within the balance's own budget or not at all; answers with what it shows."""
    return await desk.balances.order(TARE, ask.device, who.name)


async def zero(desk: Desk, who: Principal, ask: BalanceArguments) -> Json:
    """Of an empty pan; as for `tare`."""
    return await desk.balances.order(ZERO, ask.device, who.name)
