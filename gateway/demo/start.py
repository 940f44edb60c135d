"""What people do before a start: sign, put the test weight on, and open a gate where the recipe lets them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from gateway.client import Client
from gateway.demo.stage import Simulators, wait_until
from gateway.errors import Refused
from gateway.model import Json

SETTLES_S: Final = 8.0
WEIGHT_G: Final = 20.0


class Asks(Protocol):
    """Somebody logged in."""

    def command(self, name: str, /, *, signed: bool = False, **arguments: Json) -> Json: ...


def sign(who: Asks, batch: str, step: str) -> None:
    """One signature; a label that was just loaded is read a moment later."""
    ends = time.monotonic() + SETTLES_S
    while True:
        try:
            who.command("batch.sign", signed=True, batch=batch, step=step)
        except Refused as refusal:
            if refusal.code != "label_wrong" or time.monotonic() > ends:
                raise
            time.sleep(0.1)
        else:
            return


def open_gates(
    people: Mapping[str, Client], sim: Simulators, batch: str, say: Callable[[str], None] = lambda _: None
) -> list[dict[str, Any]]:
    """Daily check and overrides, until nothing is in the way that people may take away; the gates as they stand."""
    for gate in shut(people["tom"], batch):
        if gate["gate"] == "instruments":
            say(f"tom checks the balance: {_check_balance(people['tom'], sim)}")
        elif gate["override"]:
            reason = f"a simulated line: {gate['problems'][0]}"
            people["sue"].command("gate.override", signed=True, batch=batch, gate=gate["gate"], reason=reason)
            say(f"sue overrides the gate {gate['gate']} ({'; '.join(gate['problems'])}), with a reason")
    gates: list[dict[str, Any]] = people["tom"].command("batch.gates", batch=batch)["gates"]
    return gates


def shut(who: Client, batch: str) -> list[dict[str, Any]]:
    """Gates in the way."""
    return [gate for gate in who.command("batch.gates", batch=batch)["gates"] if gate["state"] == "blocked"]


def _check_balance(tom: Client, sim: Simulators) -> str:
    """The test weight on the pan, read by the gateway itself."""
    sim("place", grams=WEIGHT_G)
    try:

        def settled() -> dict[str, Any] | None:
            shown = tom.status()["latest"].get("balance/net", {})
            near = shown.get("value") is not None and abs(float(shown["value"]) - WEIGHT_G) < 1
            return shown if near and "fault" not in shown else None

        wait_until("the test weight lies still", settled, SETTLES_S)
        return str(tom.command("instrument.check", instrument="balance")["text"])
    finally:
        sim("remove")
