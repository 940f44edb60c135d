"""What recipes and configurations are made of: exact numbers, frozen models, limits of a value."""

from __future__ import annotations

import itertools
from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator


def _exact(value: object) -> Decimal:
    """As written, to the digit.  ValueError if it is no number (InvalidOperation would escape pydantic)."""
    text = str(value)
    try:
        if isinstance(value, bool) or "_" in text or not text.isascii():
            raise InvalidOperation
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a number; write digits and one point, like 1000.5") from None


Exact = Annotated[Decimal, BeforeValidator(_exact, json_schema_input_type=float | str)]
"""A number as it was written: 0.05 is 0.05."""


class Frozen(BaseModel):
    """Immutable; an unknown key is an error, and so is a number that is none (.nan, .inf).

    Its validator is built when first used: most lines use few.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True, allow_inf_nan=False)


class Window(Frozen):
    """Limits of a continuous value.  Outside low..high is an alarm, outside warn_low..warn_high a warning."""

    unit: str
    target: Exact | None = None
    low: Exact | None = None
    high: Exact | None = None
    warn_low: Exact | None = None
    warn_high: Exact | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Window:
        ordered = [
            (name, getattr(self, name))
            for name in ("low", "warn_low", "target", "warn_high", "high")
            if getattr(self, name) is not None
        ]
        for (name_a, a), (name_b, b) in itertools.pairwise(ordered):
            if a > b:
                raise ValueError(f"{name_a} {a} is above {name_b} {b}: limits the wrong way round")
        if all(getattr(self, name) is None for name in ("low", "high", "warn_low", "warn_high")):
            raise ValueError("has no limit: give at least one of low, high, warn_low, warn_high")
        return self
