"""Everything a person or the MES may ask: one set of functions for MQTT, HTTP and CLI.

Each command says who may give it (roles), by which door, and whether the person must prove itself at that very
moment (21 CFR 11.200).  `execute` checks all of it, runs the command, and answers only after the commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from gateway.commands import alarms, balances, batch, checks, gates, people
from gateway.commands.base import (
    ALL_OF_US,
    BOTH,
    DECIDES,
    FLOOR,
    STARTS,
    UPKEEP,
    A,
    BatchArguments,
    Command,
    NoArguments,
)
from gateway.desk import Desk
from gateway.errors import ConfigError, Refused, StoreError
from gateway.ledger.canonical import canonical
from gateway.model import Json, Principal
from gateway.window import Frozen


class StatusArguments(Frozen):
    of: tuple[str, ...] = ()


async def status(desk: Desk, who: Principal, ask: StatusArguments) -> Json:
    del who
    return await desk.glance.document(ask.of)


COMMANDS: Final[Mapping[str, Command[Any]]] = {
    each.name: each
    for each in (
        Command("batch.order", batch.OrderArguments, batch.order, frozenset({"mes", "supervisor"}), BOTH),
        Command("batch.sign", batch.SignArguments, batch.sign, signed=True),
        Command("batch.start", BatchArguments, batch.start, STARTS),
        Command("batch.enter", batch.EnterArguments, batch.enter, FLOOR | {"mes"}, BOTH),
        Command("batch.scan", batch.ScanArguments, batch.scan, FLOOR | {"qa"}),
        Command("label.roll", batch.RollArguments, batch.roll, FLOOR),
        Command("batch.complete", BatchArguments, batch.complete, STARTS),
        Command("batch.close", batch.CloseArguments, batch.close, frozenset({"qa"}), signed=True),
        Command("batch.abort", batch.AbortArguments, batch.abort, DECIDES, signed=True),
        Command("batch.tray", batch.TrayArguments, batch.tray, DECIDES, signed=True),
        Command("batch.report", BatchArguments, batch.report),
        Command("batch.capability", BatchArguments, batch.capability, changes=False),
        Command("batch.gates", BatchArguments, gates.gates, changes=False),
        Command("gate.override", gates.GateArguments, gates.open_gate, signed=True),
        Command("instrument.check", gates.InstrumentArguments, gates.instrument, FLOOR | {"qa"}),
        Command("instrument.list", NoArguments, gates.instruments, changes=False),
        Command("check.take", checks.TakeArguments, checks.take, FLOOR),
        Command("check.reweigh", checks.ReweighArguments, checks.reweigh, FLOOR),
        Command("check.value", checks.ValueArguments, checks.value, FLOOR),
        Command("balance.tare", balances.BalanceArguments, balances.tare, FLOOR),
        Command("balance.zero", balances.BalanceArguments, balances.zero, FLOOR),
        Command("process.adjusted", checks.AdjustedArguments, checks.adjusted, FLOOR),
        Command("scale.repeatability", checks.RepeatabilityArguments, checks.repeatability, FLOOR | {"qa"}),
        Command("alarm.acknowledge", alarms.AcknowledgeArguments, alarms.acknowledge, ALL_OF_US | {"mes"}, BOTH),
        Command("alarm.reset", alarms.ResetArguments, alarms.reset, ALL_OF_US),
        Command("alarm.shelve", alarms.ShelveArguments, alarms.shelve, FLOOR | UPKEEP),
        Command("alarm.unshelve", alarms.AlarmArguments, alarms.unshelve, FLOOR | UPKEEP),
        Command("alarm.remove", alarms.RemoveArguments, alarms.remove, UPKEEP, signed=True),
        Command("alarm.return", alarms.AlarmArguments, alarms.return_to_service, UPKEEP, signed=True),
        Command("alarm.stats", alarms.StatsArguments, alarms.alarm_stats, changes=False),
        Command("halt.release", alarms.ReleaseArguments, alarms.release, DECIDES | {"technician"}, signed=True),
        Command("people.add", people.PersonArguments, people.person, frozenset({"admin"}), signed=True, ever=True),
        Command("people.change", people.ChangeArguments, people.change, frozenset({"admin"}), signed=True, ever=True),
        Command("people.password", people.PasswordArguments, people.password, signed=True, ever=True),
        Command("people.list", NoArguments, people.people, changes=False),
        Command("people.first", people.FirstPersonArguments, people.first),
        Command("status", StatusArguments, status, doors=BOTH, changes=False),
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
        if command.signed and not command.ever:
            desk.people.still_qualified(who.name)
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
