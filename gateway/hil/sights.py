"""What can be seen, and where: one word names the place, `with` and `is` say what must stand there.

The docstrings of the fields are the manual (docs/scenarios.md, kept by a test).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from gateway.config.explain import hint
from gateway.hil.matching import Match, Matcher, Word
from gateway.model import Json
from gateway.sinks.contract import KINDS

EVENTS: Final = ("record", "holds", "writes")
"""Places that hold a list of things that happened; the others hold what is so now."""


def _counted(value: Json) -> Json:
    return value if isinstance(value, dict | Matcher) else {"equals": value}


BLIND: Final = ("truth", "holds", "writes", "heartbeat", "ended", "bundle", "machine", "status", "suspects", "weights")
"""Places that a real line may not show to us: a person is asked."""


class Sight(Word):
    """Exactly one place."""

    record: str | None = Field(None, description="A record of this kind came by MQTT since the step began.")
    alarm: str | None = Field(None, description="The alarm stands, as retained for everybody.")
    halt: str | None = Field(None, description="A halt of this device stands, as retained for everybody.")
    state: str | None = Field(None, description="A retained document below `state/`: `batch`, `devices/filler`, `mes`.")
    telemetry: str | None = Field(
        None,
        description="A value of this tag came by MQTT since the step began; `bad: reason` where it must have none.",
    )
    machine: str | None = Field(None, description="The PackML state at the machine itself: `is: Held`.")
    truth: str | None = Field(
        None, description="What the simulators know and nobody else: `plant.dose_g`, `devices.filler.notes`."
    )
    holds: str | None = Field(None, description="Commands to stand still that this machine met since the step began.")
    writes: str | None = Field(None, description="What this machine was written over the network since the step began.")
    heartbeat: str | None = Field(None, description="The gateway's heartbeat at this machine: `is: moving` or `still`.")
    rhythm: str | None = Field(
        None, description="95th percentile of the pauses between polls of this device since the step began, seconds."
    )
    pause: str | None = Field(
        None,
        description="The longest pause between scans of this device as they came since the step began, seconds; "
        "of 10 at least.",
    )
    status: str | None = Field(
        None, description="A place in the gateway's own status, by HTTP: `checks`, `batch.state`."
    )
    ended: str | None = Field(None, description="How a second gateway ended: `code` and its last sentence `said`.")
    consumer: Literal["whole"] | None = Field(
        None, description="The reference consumer has every record once and without a gap, and raised no alarm."
    )
    drained: str | None = Field(
        None, description="Telemetry of this device is live and without a hole in its sequence."
    )
    urgent_first: Literal["alarms"] | None = Field(
        None, description="Of the records that waited for the broker, alarms and halts came before all others."
    )
    bundle: Literal["verifies"] | None = Field(
        None, description="The batch's evidence bundle verifies against the checkpoint that the MES kept."
    )
    suspects: str | None = Field(
        None,
        description="After a failed check of this rule each tray no good check vouches for is suspect, and no other.",
    )
    weights: str | None = Field(
        None,
        description="Every weight taken for this rule is that of the unit it names, by the filler's truth.",
    )
    with_: dict[str, Match] = Field({}, alias="with")
    """Fields of what is seen; dotted paths."""
    is_: Match | None = Field(None, alias="is")
    """The value itself."""
    bad: str | None = None
    """The tag has no value, and this is in its reason."""
    gone: bool = False
    """It is not there (any more)."""
    count: Annotated[Matcher, BeforeValidator(_counted)] | None = None
    """How many of them; at least one where this is not said."""

    @field_validator("record")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in KINDS:
            raise ValueError(f"no record is of kind {value!r}{hint(value, KINDS)}")
        return value

    @model_validator(mode="after")
    def _one_place(self) -> Sight:
        named = self.model_fields_set & set(PLACES)
        if len(named) != 1:
            said = ", ".join(sorted(named)) or "none"
            raise ValueError(f"one place to look at, not {said}; there are {', '.join(PLACES)}")
        if self.count is not None and self.place not in EVENTS:
            raise ValueError(f"only {', '.join(EVENTS)} can be counted")
        return self

    @property
    def place(self) -> str:
        return next(iter(self.model_fields_set & set(PLACES)))

    @property
    def name(self) -> str:
        return str(getattr(self, self.place))

    def __str__(self) -> str:
        words = [f"{self.place.replace('_', ' ')} {self.name}"]
        words += [f"{key} {match}" for key, match in self.with_.items()]
        words += [f"is {self.is_}"] if self.is_ else []
        words += [f"bad: {self.bad}"] if self.bad is not None else []
        words += ["gone"] if self.gone else []
        words += [f"count {self.count}"] if self.count else []
        return ", ".join(words)


PLACES: Final = tuple(name for name, field in Sight.model_fields.items() if field.description is not None)
"""The fields that name a place are those with a sentence about it."""
