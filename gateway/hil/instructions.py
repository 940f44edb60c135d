"""What a person is told on a real line, verb by verb, where the scenario does not say it better (`tell:`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.hil.target import Target
from gateway.hil.verbs import Do
from gateway.units import duration_text

_FAULTS: Final = {
    "cut": "Pull the cable of {device}{where}.",
    "silent": "Make {device}{where} silent without closing its connection: block it at the switch, or pull its uplink.",
    "reboot": "Switch {device}{where} off and on again.",
    "frozen": "Make the values of {device}{where} stand still.",
    "heater_failure": "Switch the heater of {device}{where} off at its breaker.",
    "sensor_break": "Disconnect the sensor of {device}{where}.",
}
_MENDS: Final = {
    "cut": "Plug the cable of {device}{where} in again.",
    "silent": "Let {device}{where} answer again.",
    "heater_failure": "Switch the heater of {device}{where} on again.",
    "sensor_break": "Connect the sensor of {device}{where} again.",
}
_OTHERS: Final[Mapping[str, Callable[[Any], str]]] = {
    "deviate": lambda w: (
        f"Let {w.tag} read the truth again." if w.value is None else f"Make {w.tag} read {w.value}, or as good as."
    ),
    "key": lambda w: f"At the panel of {w.device}: press {w.key}" + (f", until it is {w.until}." if w.until else "."),
    "roll": lambda w: (
        "Load a label roll that is wrong: " + ", ".join(f"{k} {v}" for k, v in w.model_dump(exclude_none=True).items())
        if w.model_dump(exclude_none=True)
        else "Load the batch's right label roll."
    ),
    "recalibrate": lambda _: "Clean the nozzle and trim the dose to its target.",
    "oil": lambda w: f"Bring the oil to {w.cel:g} Cel.",
    "rate": lambda w: f"Set the filler to {w.per_s:g} units a second.",
    "acknowledge": lambda w: f"{w.by}: acknowledge {'every alarm' if w.alarm == 'all' else w.alarm}.",
    "release": lambda w: f"{w.by}: release the halt of {w.device}, reason `{w.reason}`{_refused(w)}.",
    "sign": lambda w: f"Sign {'every step that is missing' if w.step == 'all' else w.step}.",
    "take": lambda w: f"{w.by}: take unit {w.unit} for {w.rule}.",
    "place": lambda w: f"Put unit {w.unit} on the balance, tared with its empty weight.",
    "remove": lambda _: "Empty the pan of the balance.",
    "weigh": lambda w: f"{w.by}: take and weigh unit {w.unit} for {w.rule}, then empty the pan.",
    "enter": lambda w: f"{w.by}: enter {w.characteristic} {w.value} for check {w.check}.",
    "technician": lambda w: "Do every check that falls due from now on." if w.comes else "Do no more checks.",
    "command": lambda w: f"{w.by}: give the command {w.name} {w.arguments}{_refused(w)}.",
    "mes": lambda w: f"Have the MES give {w.name} {w.arguments}{_refused(w)}.",
    "order": lambda w: f"Have the MES order batch {w.batch}, recipe {w.recipe}, {w.units} units{_refused(w)}.",
    "complete": lambda _: "Run the machines to their end, enter all counts, and complete the batch.",
    "close": lambda w: f"Sign what is missing; QA closes the batch, reason `{w.reason}`{_refused(w)}.",
    "start": lambda w: f"Start the {w.part} again.",
    "stop": lambda w: f"Stop the {w.part} in order (systemctl stop).",
    "kill": lambda w: f"Kill the {w.part} (systemctl kill -s KILL).",
    "pause": lambda w: f"Pause the {w.part} (kill -STOP).",
    "go_on": lambda w: f"Let the {w.part} go on (kill -CONT).",
    "second_gateway": lambda _: "Start a second gateway on the same state folder and wait until it ends.",
    "clock": lambda w: (
        f"Stop the time service of the gateway's computer and set its clock {'back' if w.step < 0 else 'forward'} by "
        f"{duration_text(abs(w.step))}."
    ),
    "recipe": lambda w: f"{'Put back' if w.restore else 'Change'} the file of recipe {w.name}.",
}


def instruction(do: Do, target: Target) -> str:
    """One or two sentences."""
    words = do.words
    if do.verb in ("fault", "heal"):
        where = target.named(words.device).where
        place = {"device": words.device, "where": f" ({where})" if where else ""}
        default = (
            "Make this fault at {device}{where}: " if do.verb == "fault" else "End this fault at {device}{where}: "
        )
        known = _FAULTS if do.verb == "fault" else _MENDS
        return known.get(words.name, f"{default}{words.name.replace('_', ' ')}.").format(**place)
    return _OTHERS[do.verb](words)


def _refused(words: Any) -> str:
    return f"; it must be refused with {words.refused}" if words.refused else ""
