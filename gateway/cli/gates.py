"""Commands about the start: its gates, and the instruments it needs."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gateway.cli.line import DEFAULT_STATE, State, Who, _client, batch_app
from gateway.errors import Refused

instruments_app = typer.Typer(invoke_without_command=True, help="Calibration and daily checks of instruments.")


def add_to(app: typer.Typer) -> None:
    """Hang these commands into the top-level one."""
    app.add_typer(instruments_app, name="instruments")


@batch_app.command("gates")
def batch_gates(
    batch: str,
    as_json: Annotated[bool, typer.Option("--json", help="for other programs")] = False,
    state: State = DEFAULT_STATE,
) -> None:
    """What must hold before the start, and what stands in its way.  Exit code 3 while a gate is shut."""
    said = _client(state).command("batch.gates", batch=batch)
    if as_json:
        print(json.dumps(said, indent=2, ensure_ascii=False))
        return
    table = Table("gate", "state", "asks", "what stands in its way", "may override")
    for each in said["gates"]:
        why = "\n".join(each["problems"]) or "-"
        if each["opened_by"]:
            why += f"\noverridden by {each['opened_by']}: {each['reason']}"
        table.add_row(each["gate"], each["state"], each["asks"], why, ", ".join(each["override"]) or "nobody")
    Console().print(table)
    if not said["open"]:
        shut = [each["gate"] for each in said["gates"] if each["state"] == "blocked"]
        raise Refused("gates_blocked", f"batch {batch} may not start: {', '.join(shut)}")


@batch_app.command("override")
def batch_override(batch: str, gate: str, reason: str, state: State = DEFAULT_STATE, who: Who = "") -> None:
    """Open a gate all the same, where the recipe lets you, with a reason.  Name and password, each time."""
    arguments: dict[str, Any] = {"batch": batch, "gate": gate, "reason": reason}
    _say(_client(state, who).command("gate.override", signed=True, **arguments))


@batch_app.command("roll")
def batch_roll(batch: str, roll: str, labels: str, lot: str = "", state: State = DEFAULT_STATE, who: Who = "") -> None:
    """A roll of labels goes onto the applicator: its labels are issued, what is applied from now on is its."""
    arguments: dict[str, Any] = {"batch": batch, "roll": roll, "labels": labels, "lot": lot}
    _say(_client(state, who).command("label.roll", **arguments))


@instruments_app.callback()
def instruments(context: typer.Context, state: State = DEFAULT_STATE) -> None:
    """The register: due dates, last checks, what may not be used."""
    if context.invoked_subcommand:
        return
    said = _client(state).command("instrument.list")
    table = Table("instrument", "kind", "serial", "due", "usable", "what is known")
    for each in said["instruments"]:
        known = "\n".join(each["troubles"]) or each["says"]
        usable = "yes" if each["usable"] else "NO"
        table.add_row(each["instrument"], each["kind"], each["serial"], each["due"], usable, known)
    Console().print(table)
    if said["trouble"]:
        raise Refused("no_register", said["trouble"])


@instruments_app.command("check")
def instruments_check(
    instrument: str,
    value: Annotated[
        str | None, typer.Option(help="what it reads on its standard; without it, what it shows now")
    ] = None,
    unit: Annotated[str, typer.Option(help="UCUM code; the standard's own if not given")] = "",
    comment: str = "",
    state: State = DEFAULT_STATE,
    who: Who = "",
) -> None:
    """The daily check: put the standard on, wait for it to settle.  Exit code 3 where it fails."""
    arguments: dict[str, Any] = {"instrument": instrument, "value": value, "unit": unit, "comment": comment}
    said = _client(state, who).command("instrument.check", **arguments)
    _say(said)
    if not said["passed"]:
        raise Refused("check_failed", str(said["text"]))


def _say(document: Any) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False))
