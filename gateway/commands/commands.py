"""Everything a person or the MES may ask: one set of functions for MQTT, HTTP and CLI.

Each command says who may give it (roles), by which door, and whether the person must prove itself at that very
moment (21 CFR 11.200).  `execute` checks all of it, runs the command, and answers only after the commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import structlog
from pydantic import Field, ValidationError

from gateway.alarms import Alarm
from gateway.batch.counts import CountEntry
from gateway.commands.checks import (
    AdjustedArguments,
    RepeatabilityArguments,
    ReweighArguments,
    TakeArguments,
    adjusted,
    repeatability,
    reweigh,
    take,
)
from gateway.desk import Desk
from gateway.errors import ConfigError, Refused, StoreError
from gateway.ledger.canonical import canonical
from gateway.model import Entry, Json, Principal
from gateway.recipe import Exact, Frozen

log = structlog.get_logger()

ANYONE: Final[frozenset[str]] = frozenset()
HTTP: Final = frozenset({"http"})
BOTH: Final = frozenset({"http", "mqtt"})
FLOOR: Final = frozenset({"operator", "technician", "supervisor"})


class NoArguments(Frozen):
    """None."""


A = TypeVar("A", bound=Frozen)


@dataclass(frozen=True)
class Command(Generic[A]):
    """One thing that may be asked."""

    name: str
    arguments: type[A]
    run: Callable[[Desk, Principal, A], Awaitable[Json]]
    roles: frozenset[str] = ANYONE
    """Any one of them suffices; empty: whoever came through the door."""
    doors: frozenset[str] = HTTP
    signed: bool = False
    """Name and password in this very request."""
    changes: bool = True
    """False: it only shows something, and is answered also while nothing can be recorded."""


class OrderArguments(Frozen):
    order: dict[str, Any]


class BatchArguments(Frozen):
    batch: str


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


class ValueArguments(Frozen):
    check: str
    characteristic: str
    value: str
    unit: str = "1"
    unit_no: int | None = None


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


class PersonArguments(Frozen):
    name: str
    full_name: str
    roles: tuple[str, ...]
    password: str
    qualified_until: str | None = None


class FirstPersonArguments(PersonArguments):
    token: str


async def order(desk: Desk, who: Principal, ask: OrderArguments) -> Json:
    """An order from the MES: a batch is planned."""
    return desk.run.order(ask.order, who.name)


async def sign(desk: Desk, who: Principal, ask: SignArguments) -> Json:
    """A signature under a step, with its meaning."""
    return desk.sign(ask.batch, ask.step, who, ask.comment)


async def start(desk: Desk, who: Principal, ask: BatchArguments) -> Json:
    return desk.gates.start(ask.batch, who)


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
    return desk.gates.registered()


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
    return desk.run.dispose_tray(ask.batch, ask.tray, ask.disposition, ask.reason, who)


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


def _told(alarm: Alarm) -> Json:
    return {"alarm": alarm.rule, "occurrence": alarm.occurrence, "state": alarm.state.value}


async def release(desk: Desk, who: Principal, ask: ReleaseArguments) -> Json:
    """Take a latch off.  The operator restarts at the machine: nothing is started here."""
    await desk.line.release(ask.halt, ask.version, who.name, ask.reason, ask.recalibration)
    return {"released": ask.halt, "next": "restart at the machine; the gateway never starts anything"}


async def person(desk: Desk, who: Principal, ask: PersonArguments) -> Json:
    return await desk.add_person(who, **ask.model_dump())


async def first(desk: Desk, who: Principal, ask: FirstPersonArguments) -> Json:
    """The first person, by the token that the gateway printed at its first run."""
    del who
    return await desk.add_first_person(**ask.model_dump())


async def report(desk: Desk, who: Principal, ask: BatchArguments) -> Json:
    """The batch report and the evidence bundle, written to files; answers with their paths."""
    del who
    return await desk.export(ask.batch)


async def capability(desk: Desk, who: Principal, ask: BatchArguments) -> Json:
    """What the checks of a batch say of the process: Cp, Cpk, Pp, Ppk, or why not."""
    del who
    return await desk.capability(ask.batch)


async def status(desk: Desk, who: Principal, ask: NoArguments) -> Json:
    del who, ask
    return desk.status()


COMMANDS: Final[Mapping[str, Command[Any]]] = {
    each.name: each
    for each in (
        Command("batch.order", OrderArguments, order, frozenset({"mes", "supervisor"}), BOTH),
        Command("batch.sign", SignArguments, sign, signed=True),
        Command("batch.start", BatchArguments, start, frozenset({"operator", "supervisor"})),
        Command("batch.gates", BatchArguments, gates, changes=False),
        Command("gate.override", GateArguments, open_gate, signed=True),
        Command("instrument.check", InstrumentArguments, instrument, FLOOR | {"qa"}),
        Command("instrument.list", NoArguments, instruments, changes=False),
        Command("batch.enter", EnterArguments, enter, FLOOR | {"mes"}, BOTH),
        Command("label.roll", RollArguments, roll, FLOOR),
        Command("batch.scan", ScanArguments, scan, FLOOR | {"qa"}),
        Command("batch.complete", BatchArguments, complete, frozenset({"operator", "supervisor"})),
        Command("batch.close", CloseArguments, close, frozenset({"qa"}), signed=True),
        Command("batch.abort", AbortArguments, abort, frozenset({"supervisor", "qa"}), signed=True),
        Command("batch.tray", TrayArguments, tray, frozenset({"supervisor", "qa"}), signed=True),
        Command("batch.report", BatchArguments, report),
        Command("batch.capability", BatchArguments, capability, changes=False),
        Command("check.take", TakeArguments, take, FLOOR),
        Command("check.reweigh", ReweighArguments, reweigh, FLOOR),
        Command("process.adjusted", AdjustedArguments, adjusted, FLOOR),
        Command("scale.repeatability", RepeatabilityArguments, repeatability, FLOOR | {"qa"}),
        Command("check.value", ValueArguments, value, FLOOR),
        Command("alarm.acknowledge", AcknowledgeArguments, acknowledge, FLOOR | {"maintenance", "qa", "mes"}, BOTH),
        Command("alarm.reset", ResetArguments, reset, FLOOR | {"maintenance", "qa"}),
        Command("alarm.shelve", ShelveArguments, shelve, FLOOR | {"maintenance"}),
        Command("alarm.unshelve", AlarmArguments, unshelve, FLOOR | {"maintenance"}),
        Command("alarm.remove", RemoveArguments, remove, frozenset({"maintenance"}), signed=True),
        Command("alarm.return", AlarmArguments, return_to_service, frozenset({"maintenance"}), signed=True),
        Command("alarm.stats", StatsArguments, alarm_stats, changes=False),
        Command("halt.release", ReleaseArguments, release, frozenset({"technician", "supervisor", "qa"}), signed=True),
        Command("people.add", PersonArguments, person, frozenset({"admin"}), signed=True),
        Command("people.first", FirstPersonArguments, first),
        Command("status", NoArguments, status, doors=BOTH, changes=False),
    )
}


async def execute(
    desk: Desk, name: str, arguments: Mapping[str, Json], who: Principal, *, proven: bool = False
) -> Json:
    """Run a command.  Raises Refused; returns its answer after everything it changed is durable.

    `proven`: this request itself carried name and password.
    """
    try:
        command = _allowed(name, who, proven=proven)
        asked = _parse(command, arguments)
        if command.changes:
            desk.records_now()
        answer = await command.run(desk, who, asked)
        if command.changes:
            await desk.recorded()
    except Refused as refusal:
        desk.refused(name, who, refusal)
        raise
    except ConfigError as error:
        unusable = Refused("bad_configuration", f"a file that {name} needs cannot be used: {error}")
        desk.refused(name, who, unusable)
        raise unusable from error
    except StoreError as error:
        raise Refused("not_recorded", f"not carried out for good: it could not be recorded ({error})") from error
    return answer


def _allowed(name: str, who: Principal, *, proven: bool) -> Command[Any]:
    command = COMMANDS.get(name)
    if command is None:
        raise Refused("unknown_command", f"there is no command {name!r}; there are: {', '.join(COMMANDS)}")
    if who.door not in command.doors:
        raise Refused("wrong_door", f"{name} is not taken by {who.door}; give it at the line")
    if command.roles and not command.roles & who.roles:
        needed = " or ".join(sorted(command.roles))
        lacks = f"{who.name} does not have it" if who.name else "say who you are, with name and password"
        raise Refused("not_allowed", f"{name} needs the role {needed}; {lacks}")
    if command.signed and not proven:
        raise Refused("password_needed", f"{name} is signed: give name and password with it")
    return command


def _parse(command: Command[A], arguments: Mapping[str, Json]) -> A:
    try:
        canonical(dict(arguments))
    except ValueError as error:
        raise Refused("bad_arguments", f"{command.name}: what is asked could not be recorded: {error}") from None
    try:
        return command.arguments.model_validate(dict(arguments))
    except ValidationError as error:
        text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise Refused("bad_arguments", f"{command.name}: {text}") from None
