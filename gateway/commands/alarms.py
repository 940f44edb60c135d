"""What people and the MES may ask about alarms, and about halts: to take a latch off."""

from __future__ import annotations

from pydantic import Field

from gateway.alarms import Alarm
from gateway.desk import Desk
from gateway.model import Json, Principal
from gateway.window import Frozen


class AcknowledgeArguments(Frozen):
    alarm: str
    occurrence: int
    comment: str = ""


class ResetArguments(Frozen):
    alarm: str
    occurrence: int


class ShelveArguments(Frozen):
    alarm: str
    seconds: float
    """At most `gateway.alarms.longest_shelf`."""
    reason: str


class AlarmArguments(Frozen):
    alarm: str


class RemoveArguments(Frozen):
    alarm: str
    reason: str


class StatsArguments(Frozen):
    from_ns: str = Field(pattern=r"^\d{1,19}$")
    """Wall clock, Unix ns, as a decimal string."""
    to_ns: str = Field(pattern=r"^\d{1,19}$")


class ReleaseArguments(Frozen):
    halt: str
    version: int
    """The one the person saw."""
    reason: str
    recalibration: str = ""


async def acknowledge(desk: Desk, who: Principal, ask: AcknowledgeArguments) -> Json:
    return _told(desk.line.asked().acknowledge(ask.alarm, ask.occurrence, who.name, ask.comment))


async def reset(desk: Desk, who: Principal, ask: ResetArguments) -> Json:
    """Unlatch an alarm whose condition is gone."""
    return _told(desk.line.asked().reset(ask.alarm, ask.occurrence, who.name))


async def shelve(desk: Desk, who: Principal, ask: ShelveArguments) -> Json:
    """Put an alarm aside for a while; it is judged on, and halts as ever."""
    return _told(desk.line.asked().shelve(ask.alarm, ask.seconds, who.name, ask.reason))


async def unshelve(desk: Desk, who: Principal, ask: AlarmArguments) -> Json:
    return _told(desk.line.asked().unshelve(ask.alarm, who.name))


async def remove(desk: Desk, who: Principal, ask: RemoveArguments) -> Json:
    """Take an alarm out of service; it is judged on, and halts as ever."""
    return _told(desk.line.asked().remove(ask.alarm, who.name, ask.reason))


async def return_to_service(desk: Desk, who: Principal, ask: AlarmArguments) -> Json:
    return _told(desk.line.asked().return_to_service(ask.alarm, who.name))


async def alarm_stats(desk: Desk, who: Principal, ask: StatsArguments) -> Json:
    """The figures of ISA-18.2 over a window, from the records."""
    del who
    return await desk.alarm_stats(int(ask.from_ns), int(ask.to_ns))


async def release(desk: Desk, who: Principal, ask: ReleaseArguments) -> Json:
    """Take a latch off.  The operator restarts at the machine: nothing is started here."""
    await desk.line.release(ask.halt, ask.version, who.name, ask.reason, ask.recalibration)
    return {"released": ask.halt, "next": "restart at the machine; the gateway never starts anything"}


def _told(alarm: Alarm) -> Json:
    return {"alarm": alarm.rule, "occurrence": alarm.occurrence, "state": alarm.state.value}
