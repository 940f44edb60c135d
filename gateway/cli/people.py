"""Who may do what: added, changed, listed by an admin; one's own password."""

from __future__ import annotations

import getpass
import os
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gateway.cli.line import DEFAULT_STATE, State, Who, _client, _say
from gateway.client import Client
from gateway.errors import LinegateError

people_app = typer.Typer(no_args_is_help=True, help="Who may do what.")


def add_to(app: typer.Typer) -> None:
    """Hang these commands into the top-level one."""
    app.add_typer(people_app, name="people")


@people_app.command("add")
def people_add(
    name: str,
    full_name: Annotated[str, typer.Option(help="as it shall stand in signatures")] = "",
    role: Annotated[list[str], typer.Option(help="operator, technician, supervisor, qa, maintenance, mes, admin")] = [],  # noqa: B006
    qualified_until: Annotated[str | None, typer.Option(help="YYYY-MM-DD; after it no signature is taken")] = None,
    first_run: Annotated[str, typer.Option(help="the token shown at first run; makes the first person")] = "",
    state: State = DEFAULT_STATE,
    who: Who = "",
) -> None:
    """Add a person: by an admin, or the first one with the first-run token."""
    fresh = _new_password(name)
    facts: dict[str, Any] = {
        "name": name,
        "full_name": full_name or name,
        "roles": role or ["admin"],
        "password": fresh,
    }
    if qualified_until:
        facts["qualified_until"] = qualified_until
    if first_run:
        _say(Client(state / "console.token").command("people.first", token=first_run, **facts))
    else:
        _say(_client(state, who).command("people.add", signed=True, **facts))


@people_app.command("change")
def people_change(
    name: str,
    reason: Annotated[str, typer.Option(help="why; it is recorded")],
    role: Annotated[list[str], typer.Option(help="all roles from now on")] = [],  # noqa: B006
    qualified_until: Annotated[str, typer.Option(help="YYYY-MM-DD, or `never`: it does not end")] = "",
    full_name: Annotated[str, typer.Option(help="as it shall stand in signatures")] = "",
    disabled: Annotated[
        bool | None, typer.Option("--disable/--enable", help="who left signs and logs in no more")
    ] = None,
    new_password: Annotated[bool, typer.Option("--new-password", help="asked for, or LINEGATE_NEW_PASSWORD")] = False,
    state: State = DEFAULT_STATE,
    who: Who = "",
) -> None:
    """Change a person: by an admin.  What is not named stays; their sessions end."""
    facts: dict[str, Any] = {"roles": role, "full_name": full_name, "qualified_until": qualified_until}
    facts = {key: value for key, value in facts.items() if value}
    if qualified_until == "never":
        facts["qualified_until"] = None
    if disabled is not None:
        facts["disabled"] = disabled
    if new_password:
        facts["password"] = _new_password(name)
    _say(_client(state, who).command("people.change", signed=True, name=name, reason=reason, **facts))


@people_app.command("password")
def people_password(state: State = DEFAULT_STATE, who: Who = "") -> None:
    """Another password for yourself; the old one is asked for first."""
    client = _client(state, who)
    _say(client.command("people.password", signed=True, password=_new_password(who)))


@people_app.command("list")
def people_list(state: State = DEFAULT_STATE) -> None:
    """Who is known to the running gateway, as what, and until when."""
    table = Table("name", "full name", "roles", "qualified until", "")
    for each in _client(state).command("people.list"):
        note = "disabled" if each["disabled"] else "signs no more" if each["over"] else ""
        until = each["qualified_until"] or "-"
        table.add_row(each["person"], each["full_name"], ", ".join(each["roles"]), until, note)
    Console().print(table)


def _new_password(name: str) -> str:
    """Asked for twice, where the environment has none.  Raises LinegateError."""
    if given := os.environ.get("LINEGATE_NEW_PASSWORD", ""):
        return given
    typed = getpass.getpass(f"new password of {name}: ")
    if getpass.getpass("once more: ") != typed:
        raise LinegateError("the two are not the same; nothing was changed")
    return typed
