"""Tare and zero of a balance."""

from __future__ import annotations

from typing import Final

import typer

from gateway.cli.line import DEFAULT_STATE, State, Who, _client, _say

PATIENCE_S: Final = 120.0
"""A pan may take long to come to rest: the gateway ends it by the device's `tare_budget`."""

balance_app = typer.Typer(no_args_is_help=True, help="Tare and zero a balance.")


def add_to(app: typer.Typer) -> None:
    """Hang these commands into the top-level one."""
    app.add_typer(balance_app, name="balance")


@balance_app.command("tare")
def tare(device: str, state: State = DEFAULT_STATE, who: Who = "") -> None:
    """Take off what lies on it; done once the balance itself shows it.  Not where the gateway takes the tare off."""
    _say(_client(state, who, PATIENCE_S).command("balance.tare", device=device))


@balance_app.command("zero")
def zero(device: str, state: State = DEFAULT_STATE, who: Who = "") -> None:
    """Call its empty pan zero; done once the balance itself shows it."""
    _say(_client(state, who, PATIENCE_S).command("balance.zero", device=device))
