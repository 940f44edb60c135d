"""Commands about checks beyond a take and a value: tares, re-weighing, adjustments, the scale's repeatability."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli.line import DEFAULT_STATE, State, Who, _client, _say


def add_to(app: typer.Typer) -> None:
    """Hang these commands into the top-level one."""
    app.command("tare")(tare)
    app.command("reweigh")(reweigh)
    app.command("adjusted")(adjusted)
    app.command("repeatability")(repeatability)


Characteristic = Annotated[str | None, typer.Option(help="where the rule weighs more than one")]


def tare(
    rule: str,
    item: Annotated[str, typer.Argument(help="the cartridge or group; nothing for a fixed tare")] = "",
    characteristic: Characteristic = None,
    state: State = DEFAULT_STATE,
    who: Who = "",
) -> None:
    """Bind the next stable weight as the empty weight of this cartridge or group."""
    arguments: dict[str, Any] = {"rule": rule, "item": item, "stage": "tare", "characteristic": characteristic}
    _say(_client(state, who).command("check.take", **arguments))


def reweigh(
    rule: str,
    reason: str,
    check: str | None = None,
    characteristic: Characteristic = None,
    unit_no: int | None = None,
    item: str = "",
    state: State = DEFAULT_STATE,
    who: Who = "",
) -> None:
    """Weigh a sample of the open check once more, with the reason; the plan says how often."""
    arguments: dict[str, Any] = {
        "rule": rule,
        "reason": reason,
        "check": check,
        "characteristic": characteristic,
        "unit_no": unit_no,
        "item": item,
    }
    _say(_client(state, who).command("check.reweigh", **arguments))


def adjusted(
    text: str,
    device: Annotated[str, typer.Option(help="the machine; without it all plans of the line are told")] = "",
    state: State = DEFAULT_STATE,
    who: Who = "",
) -> None:
    """Record an adjustment: what, from what to what.  Plans that check after one fall due."""
    _say(_client(state, who).command("process.adjusted", text=text, device=device))


def repeatability(
    device: str,
    weighings: Annotated[list[str], typer.Argument(help="at least ten weighings of one weight, as shown")],
    unit: str = "g",
    state: State = DEFAULT_STATE,
    who: Who = "",
) -> None:
    """The spread of a balance (USP <41>): its rules judge by it from now on."""
    _say(_client(state, who).command("scale.repeatability", device=device, weighings=weighings, unit=unit))
