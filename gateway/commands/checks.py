"""What people may ask about checks: a take, a value, weigh again, an adjustment, the scale's repeatability."""

from __future__ import annotations

from pydantic import Field

from gateway.desk import Desk
from gateway.model import Entry, Json, Principal
from gateway.window import Exact, Frozen


class TakeArguments(Frozen):
    rule: str
    check: str | None = None
    unit_no: int | None = None
    tray: str | None = None
    characteristic: str | None = None
    item: str = ""
    """The tracked cartridge or group, where a tare is taken off."""
    stage: str = Field("", pattern="^(tare)?$")
    """`tare`: the empty one."""


class ValueArguments(Frozen):
    check: str
    characteristic: str
    value: str
    unit: str = "1"
    unit_no: int | None = None


class ReweighArguments(Frozen):
    rule: str
    reason: str
    check: str | None = None
    characteristic: str | None = None
    unit_no: int | None = None
    item: str = ""


class AdjustedArguments(Frozen):
    text: str = Field(min_length=1)
    """What was adjusted, from what to what."""
    device: str = ""
    """The machine; empty: all of the line."""


class RepeatabilityArguments(Frozen):
    device: str
    weighings: tuple[Exact, ...]
    """At least ten, of one weight."""
    unit: str = "g"


async def take(desk: Desk, who: Principal, ask: TakeArguments) -> Json:
    """Bind the next stable weight to check, unit and tray; with `stage: tare` to the empty cartridge `item`."""
    entry = Entry(
        "take",
        ask.rule,
        who.name,
        check=ask.check,
        characteristic=ask.characteristic,
        unit_no=ask.unit_no,
        tray=ask.tray,
        item=ask.item,
        stage=ask.stage,
    )
    desk.line.enter(entry)
    return {"armed": ask.rule}


async def value(desk: Desk, who: Principal, ask: ValueArguments) -> Json:
    """An entered value of a check's characteristic."""
    rule = ask.check.split("#", maxsplit=1)[0]
    desk.line.enter(
        Entry(
            "value",
            rule,
            who.name,
            check=ask.check,
            characteristic=ask.characteristic,
            value=ask.value,
            unit=ask.unit,
            unit_no=ask.unit_no,
        )
    )
    return {"check": ask.check}


async def reweigh(desk: Desk, who: Principal, ask: ReweighArguments) -> Json:
    """Weigh a sample of the open check once more: recorded, limited by the plan, with a reason."""
    entry = Entry(
        "reweigh",
        ask.rule,
        who.name,
        check=ask.check,
        characteristic=ask.characteristic,
        unit_no=ask.unit_no,
        text=ask.reason,
        item=ask.item,
    )
    desk.line.enter(entry)
    return {"armed": ask.rule}


async def adjusted(desk: Desk, who: Principal, ask: AdjustedArguments) -> Json:
    """A machine was adjusted: recorded, and plans that check after an adjustment fall due."""
    return {"rules": desk.line.acts.adjusted(ask.text, ask.device, who.name)}


async def repeatability(desk: Desk, who: Principal, ask: RepeatabilityArguments) -> Json:
    """At least ten weighings of one weight: rules on this balance judge by their spread from now on."""
    return {"repeatability": str(desk.line.acts.repeatability(ask.device, ask.weighings, ask.unit, who.name))}
