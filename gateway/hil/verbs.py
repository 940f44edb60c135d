"""What can be done in a step: one word, one model.  The docstrings are the manual (docs/scenarios.md, kept by a test).

On a simulated line `hands.py` does it; on a real one `people.py` asks a person, moves a relay, or gives the command.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from gateway.hil.matching import Word
from gateway.model import Json
from gateway.units import Duration, duration_s

Part = Literal["gateway", "broker", "mes", "simulators"]


class Nothing(Word):
    """Takes no words."""


# -- the equipment ---------------------------------------------------------------------------------------


class Fault(Word):
    """A device fails: `cut` (cable), `silent` (half-open), `frozen`, `reboot`, or one of its own; until healed."""

    device: str
    name: str
    arguments: dict[str, Json] = Field(default_factory=dict)


class Heal(Word):
    """The fault ends; without `name` every fault and forced value of the device."""

    device: str
    name: str = "all"


class Deviate(Word):
    """The device says so from now on, whatever is true; `value: null` is the truth again."""

    tag: str
    value: Json


class Key(Word):
    """Somebody presses a key at the machine's own panel: hold, unhold, stop, reset, start, print, tare, zero."""

    device: str
    key: str
    until: str = ""
    """PackML state to wait for."""


class Roll(Word):
    """A label roll is loaded; without words the batch's right one, each word given makes it wrong."""

    uid: str | None = None
    batch: str | None = None
    thc: float | None = None
    warning: str | None = None


class Oil(Word):
    """The oil itself changes: temperature in Cel."""

    cel: float


class Rate(Word):
    """Units the filler makes in a second."""

    per_s: float = Field(gt=0)


# -- people ----------------------------------------------------------------------------------------------


class Acknowledge(Word):
    """Somebody acknowledges an alarm, or all that stand."""

    alarm: str = "all"
    by: str = "tom"
    comment: str = "seen"


class Release(Word):
    """The alarms are acknowledged and the latches of a device taken off; the machine stays where it is."""

    device: str
    reason: str = "cause found and mended"
    recalibration: str = ""
    by: str = "tom"
    refused: str = ""
    """The code it must be refused with."""


class Sign(Word):
    """A step of the batch is signed; `all`: each by whoever may."""

    step: str = "all"


class Take(Word):
    """The next stable weight is bound to the rule's check, this unit and its tray."""

    rule: str
    unit: Json
    check: str = ""
    by: str = "tom"


class Place(Word):
    """A cartridge is put on the balance, tared with its own empty weight."""

    unit: Json


class Remove(Word):
    """The pan is emptied."""


class Weigh(Word):
    """Taken, placed, weighed, removed: a whole weighing."""

    rule: str
    unit: Json
    check: str = ""
    by: str = "tom"


class Enter(Word):
    """A value that no device measures is entered for a check."""

    check: Json
    characteristic: str
    value: Json
    unit: str = "1"
    by: str = "tom"


class Technician(Word):
    """A technician comes and does every check that falls due, or leaves."""

    comes: bool = True


class Command(Word):
    """Any command of docs/commands.md, given by a person; with `refused` it must be refused with that code."""

    name: str
    by: str = "tom"
    signed: bool = False
    arguments: dict[str, Json] = Field(default_factory=dict)
    refused: str = ""


class MesCommand(Word):
    """A command by MQTT, as the MES gives it; with `refused` it must be refused with that code."""

    name: str
    arguments: dict[str, Json] = Field(default_factory=dict)
    refused: str = ""


class Order(Word):
    """The MES orders a batch."""

    batch: str
    recipe: str
    units: int = 100
    refused: str = ""


class Complete(Word):
    """Machines are run to their end, all is labelled, counted and reconciled."""


class Close(Word):
    """What is missing is signed and acknowledged, suspect trays are rejected, QA gives its disposition."""

    reason: str = ""
    refused: str = ""


# -- the parts -------------------------------------------------------------------------------------------


class Start(Word):
    """A part begins again after it was stopped or killed; people log in anew with the gateway."""

    part: Part


class Stop(Word):
    """A part is ended in order (SIGTERM)."""

    part: Part


class Kill(Word):
    """A part is gone without a word (SIGKILL)."""

    part: Part


class Pause(Word):
    """A part keeps its ports and does nothing (SIGSTOP)."""

    part: Part


class GoOn(Word):
    """A paused part goes on (SIGCONT)."""

    part: Part


class SecondGateway(Word):
    """A second gateway is started on the same state folder; waits until it ends, `ended` sees how."""

    console: Literal["own", "same"] = "own"


def _signed_s(text: object) -> float:
    """`1h`, `-2h` -> seconds."""
    if type(text) is float:  # already seconds
        return text
    said = str(text).strip()
    unsigned_s = duration_s(said[1:] if said[:1] in ("+", "-") else said)
    return -unsigned_s if said.startswith("-") else unsigned_s


class Clock(Word):
    """The gateway's wall clock is set forward or back by `step` (`1h`, `-2h`); after the scenario it is right again."""

    step: Annotated[float, BeforeValidator(_signed_s)]


class Recipe(Word):
    """The file of a recipe is changed while the line runs; `restore` puts it back."""

    name: str
    change: dict[str, Json] = Field(default_factory=dict)
    restore: bool = False


class Do(Word):
    """Exactly one verb."""

    fault: Fault | None = None
    heal: Heal | None = None
    deviate: Deviate | None = None
    key: Key | None = None
    roll: Roll | None = None
    recalibrate: Nothing | None = Field(None, description="Nozzle cleaned, dose trimmed to target in the oil as it is.")
    oil: Oil | None = None
    rate: Rate | None = None
    acknowledge: Acknowledge | None = None
    release: Release | None = None
    sign: Sign | None = None
    take: Take | None = None
    place: Place | None = None
    remove: Remove | None = None
    weigh: Weigh | None = None
    enter: Enter | None = None
    technician: Technician | None = None
    command: Command | None = None
    mes: MesCommand | None = None
    order: Order | None = None
    complete: Complete | None = None
    close: Close | None = None
    start: Start | None = None
    stop: Stop | None = None
    kill: Kill | None = None
    pause: Pause | None = None
    go_on: GoOn | None = None
    second_gateway: SecondGateway | None = None
    recipe: Recipe | None = None
    clock: Clock | None = None
    wait: Duration | None = Field(None, description="Nothing is done for so long.")

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        """`do: complete` is `do: {complete: {}}`, and `recalibrate:` is `recalibrate: {}`."""
        if isinstance(value, str):
            return {value: {}}
        if isinstance(value, dict):
            return {key: {} if one is None else one for key, one in value.items()}
        return value

    @model_validator(mode="after")
    def _one(self) -> Do:
        if len(self.model_fields_set) != 1:
            said = ", ".join(sorted(self.model_fields_set)) or "none"
            raise ValueError(f"one verb, not {said}; several things to do are a list")
        return self

    @property
    def verb(self) -> str:
        return next(iter(self.model_fields_set))

    @property
    def words(self) -> Any:
        """The verb's own model; for `wait` its seconds."""
        return getattr(self, self.verb)
