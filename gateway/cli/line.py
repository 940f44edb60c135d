"""The commands that talk to the running gateway: batch, take, sign, alarms, halts."""

from __future__ import annotations

import getpass
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gateway.client import Client
from gateway.errors import LinegateError, Refused

State = Annotated[Path, typer.Option("--state", envvar="LINEGATE_STATE", help="state folder of the running gateway")]
Who = Annotated[str, typer.Option("--as", envvar="LINEGATE_PERSON", help="your name in the people file")]
DEFAULT_STATE = Path("run/state")

batch_app = typer.Typer(no_args_is_help=True, help="Orders, start, counts, completion, report of a batch.")
halts_app = typer.Typer(invoke_without_command=True, help="Halts that stand, and their release.")
alarms_app = typer.Typer(invoke_without_command=True, help="Alarms that stand, and their acknowledgement.")


def add_to(app: typer.Typer) -> None:
    """Hang these commands into the top-level one."""
    app.add_typer(batch_app, name="batch")
    app.add_typer(halts_app, name="halts")
    app.add_typer(alarms_app, name="alarms")
    app.command("take")(take)
    app.command("value")(value)
    app.command("scan")(scan)
    app.command("sign")(sign)
    app.command("status")(status)


def _client(state: Path, who: str = "", timeout_s: float = 15.0) -> Client:
    """With `who`: the password comes from LINEGATE_PASSWORD, LINEGATE_PASSWORD_FILE, or is asked for."""
    password = ""
    if who:
        password = os.environ.get("LINEGATE_PASSWORD", "") or _from_file(os.environ.get("LINEGATE_PASSWORD_FILE"))
        password = password or getpass.getpass(f"password of {who}: ")
    return Client(state / "console.token", person=who, password=password, timeout_s=timeout_s)


def _from_file(path: str | None) -> str:
    return _read(Path(path)).strip() if path else ""


def _read(path: Path) -> str:
    """A small text file.  Raises LinegateError in words."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LinegateError(f"{path} cannot be read: {error}") from None


def _document(path: Path) -> Any:
    """A JSON file.  Raises LinegateError with line and column."""
    try:
        return json.loads(_read(path))
    except ValueError as error:
        raise LinegateError(f"{path} is not JSON: {error}") from None


def _say(document: Any) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False))


def _at(stamp: str | int | None) -> str:
    if not stamp:
        return "-"
    return datetime.fromtimestamp(int(stamp) / 1e9, tz=UTC).strftime("%H:%M:%S.%f")[:-3] + "Z"


# -- batch -------------------------------------------------------------------------------------------


@batch_app.command("order")
def batch_order(file: Path, state: State = DEFAULT_STATE, who: Who = "") -> None:
    """Take an order from a JSON file, as the MES would send it."""
    _say(_client(state, who).command("batch.order", order=_document(file)))


@batch_app.command("show")
def batch_show(state: State = DEFAULT_STATE) -> None:
    """The batch as it stands: state, signatures, counts, what is missing."""
    _say(_client(state).status("batch").get("batch"))


@batch_app.command("start")
def batch_start(batch: str, state: State = DEFAULT_STATE, who: Who = "") -> None:
    """Start it; refused while a signature is missing."""
    _say(_client(state, who).command("batch.start", batch=batch))


@batch_app.command("enter")
def batch_enter(
    batch: str,
    name: str,
    value: str,
    unit: str = "1",
    comment: str = "",
    corrects: str | None = None,
    roll: Annotated[str, typer.Option(help="of labels: the roll they are of")] = "",
    state: State = DEFAULT_STATE,
    who: Who = "",
) -> None:
    """Enter a count or quantity: labels_damaged 3, oil_remaining 12.5 --unit g."""
    arguments: dict[str, Any] = {
        "batch": batch,
        "name": name,
        "value": value,
        "unit": unit,
        "comment": comment,
        "corrects": corrects,
        "roll": roll,
    }
    _say(_client(state, who).command("batch.enter", **arguments))


@batch_app.command("complete")
def batch_complete(batch: str, state: State = DEFAULT_STATE, who: Who = "") -> None:
    """End it: counting stops, everything is reconciled."""
    _say(_client(state, who).command("batch.complete", batch=batch))


@batch_app.command("close")
def batch_close(
    batch: str,
    disposition: str,
    reason: str = "",
    why: Annotated[list[str], typer.Option(help="FINDING=REASON, for a finding that needs its own")] = [],  # noqa: B006
    state: State = DEFAULT_STATE,
    who: Who = "",
) -> None:
    """Disposition by QA: released, rejected or quarantined."""
    reasons = {finding: text for each in why for finding, _, text in [each.partition("=")]}
    arguments: dict[str, Any] = {"batch": batch, "disposition": disposition, "reason": reason, "reasons": reasons}
    _say(_client(state, who).command("batch.close", signed=True, **arguments))


@batch_app.command("abort")
def batch_abort(batch: str, reason: str, state: State = DEFAULT_STATE, who: Who = "") -> None:
    """Give it up, with a reason."""
    _say(_client(state, who).command("batch.abort", signed=True, batch=batch, reason=reason))


@batch_app.command("tray")
def batch_tray(
    batch: str, tray: str, disposition: str, reason: str, state: State = DEFAULT_STATE, who: Who = ""
) -> None:
    """What becomes of a suspect tray."""
    arguments: dict[str, Any] = {"batch": batch, "tray": tray, "disposition": disposition, "reason": reason}
    _say(_client(state, who).command("batch.tray", signed=True, **arguments))


@batch_app.command("report")
def batch_report(batch: str, state: State = DEFAULT_STATE) -> None:
    """Write the batch report (HTML) and the evidence bundle; prints where they are."""
    _say(Client(state / "console.token", timeout_s=120).command("batch.report", batch=batch))


def sign(batch: str, step: str, comment: str = "", state: State = DEFAULT_STATE, who: Who = "") -> None:
    """Sign a step of a batch: name and password, each time."""
    _say(_client(state, who).command("batch.sign", signed=True, batch=batch, step=step, comment=comment))


# -- checks ------------------------------------------------------------------------------------------


def take(
    rule: str,
    check: str | None = None,
    unit_no: int | None = None,
    tray: str | None = None,
    item: Annotated[str, typer.Option(help="the cartridge or group that was weighed empty")] = "",
    state: State = DEFAULT_STATE,
    who: Who = "",
) -> None:
    """Bind the next stable weight to the rule's check, unit and tray."""
    arguments: dict[str, Any] = {"rule": rule, "check": check, "unit_no": unit_no, "tray": tray}
    arguments |= {"item": item} if item else {}
    _say(_client(state, who).command("check.take", **arguments))


def value(
    check: str, characteristic: str, value: str, unit: str = "1", state: State = DEFAULT_STATE, who: Who = ""
) -> None:
    """Enter a value of a check: leaks 0, torque 0.42 --unit N.m."""
    arguments: dict[str, Any] = {"check": check, "characteristic": characteristic, "value": value, "unit": unit}
    _say(_client(state, who).command("check.value", **arguments))


def scan(batch: str, code: str, state: State = DEFAULT_STATE, who: Who = "") -> None:
    """Scan a material for a batch: its UID or lot.  Recorded in any case; exit code 3 where it is not of the batch."""
    said = _client(state, who).command("batch.scan", batch=batch, code=code)
    _say(said)
    if said.get("ok") is False:
        raise Refused("not_of_this_batch", str(said["text"]))


# -- alarms and halts --------------------------------------------------------------------------------


@alarms_app.callback()
def alarms(context: typer.Context, state: State = DEFAULT_STATE) -> None:
    """Alarms that stand."""
    if context.invoked_subcommand:
        return
    shown = _client(state).status("alarms", "alarms/hidden")
    table = Table("alarm", "#", "state", "priority", "raised", "what")
    for each in (shown.get("alarms") or {}).values():
        raised = _at(each["raised_ns"])
        cells = (each["alarm"], each["occurrence"], each["state"], each["priority"], raised, each["text"])
        table.add_row(*map(str, cells))
    Console().print(table)
    hidden = shown.get("alarms/hidden") or {}
    if hidden:
        aside = Table("not shown", "state", "condition", "why", "what")
        for each in hidden.values():
            aside.add_row(each["alarm"], each["state"], "holds" if each["active"] else "gone", _why(each), each["text"])
        Console().print(aside)


def _why(alarm: Any) -> str:
    """Who hid it, or what, until when, and the reason."""
    said = [f"suppressed by {', '.join(alarm['suppressed_by'])}"] if "suppressed_by" in alarm else []
    for key, verb in (("shelved", "shelved"), ("out_of_service", "taken out")):
        if key in alarm:
            what = alarm[key]
            until = f" until {_at(what['until_ns'])}" if "until_ns" in what else ""
            said.append(f"{verb} by {what['by']}{until}: {what['reason']}")
    return "; ".join(said)


@alarms_app.command("ack")
def alarms_ack(alarm: str, occurrence: int, comment: str = "", state: State = DEFAULT_STATE, who: Who = "") -> None:
    """Acknowledge the occurrence you saw."""
    _say(_client(state, who).command("alarm.acknowledge", alarm=alarm, occurrence=occurrence, comment=comment))


@halts_app.callback()
def halts(context: typer.Context, state: State = DEFAULT_STATE) -> None:
    """Halts that stand.  A halt is a quality hold request, not a safety function."""
    if context.invoked_subcommand:
        return
    table = Table("halt", "version", "state", "judged", "confirmed", "needs", "why")
    for each in (_client(state).status("halts").get("halts") or {}).values():
        stamps = (_at(each["judged"]), _at(each["confirmed"]))
        table.add_row(each["halt"], str(each["version"]), each["state"], *stamps, each["needs"], each["text"])
    Console().print(table)


@halts_app.command("release")
def halts_release(
    halt: str,
    version: Annotated[int, typer.Option(help="the version you saw in `linegate halts`")],
    reason: Annotated[str, typer.Option(help="what was found and what was done")],
    recalibration: Annotated[str, typer.Option(help="after a failed check: what was recalibrated")] = "",
    state: State = DEFAULT_STATE,
    who: Who = "",
) -> None:
    """Take a latch off; then restart at the machine."""
    if not who:
        raise Refused("password_needed", "say who you are with --as NAME")
    arguments: dict[str, Any] = {"halt": halt, "version": version, "reason": reason, "recalibration": recalibration}
    _say(_client(state, who).command("halt.release", signed=True, **arguments))


def status(of: Annotated[list[str] | None, typer.Argument()] = None, state: State = DEFAULT_STATE) -> None:
    """The line at a glance, as JSON; or only the parts named: batch, halts, alarms, checks, gates, latest..."""
    _say(_client(state).status(*of or ()))
