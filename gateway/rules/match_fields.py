"""The fields of a label: what each must say, and how what was read is compared with it.  Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import msgspec
from pydantic import BeforeValidator, Field, model_validator

from gateway.model import Severity, TagSpec, Value
from gateway.recipe import Exact, Frozen, Window
from gateway.rules.base import RuleContext
from gateway.rules.inputs import Bounds, bounds, locate, measure


def _scalar(value: object) -> object:
    return Decimal(str(value)) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


class Expected(Frozen):
    """What a field must say: a value (text to the letter, a number within a tolerance) or a window."""

    value: Annotated[bool | Decimal | str | None, BeforeValidator(_scalar)] = None
    tolerance: Exact = Field(Decimal(0), ge=0)
    """In the field's own unit."""
    window: Window | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        return data if isinstance(data, (dict, Expected)) else {"value": data}

    @model_validator(mode="after")
    def _one(self) -> Expected:
        if (self.value is None) == (self.window is None):
            raise ValueError("give either a value or a window")
        return self


class Place(msgspec.Struct, frozen=True):
    """One field of the label, ready to compare."""

    position: int
    name: str
    unit: str
    value: Value = None
    tolerance: Decimal = Decimal(0)
    within: Bounds | None = None


class Mismatch(msgspec.Struct, frozen=True):
    """What is wrong with one field."""

    severity: Severity
    text: str
    read: Value
    expected: Value
    field: Place


def flag(context: RuleContext, name: str) -> int:
    """Position of a tag that is true or false.  ValueError if it is not."""
    tagset, position = locate(context, name)
    if tagset.specs[position].kind != "bool":
        raise ValueError(f"{name} is {tagset.specs[position].kind}; `read` needs a tag that is true or false")
    return position


def text_at(context: RuleContext, name: str) -> Place:
    """The place of a tag that is text.  ValueError if it is not."""
    tagset, position = locate(context, name)
    if tagset.specs[position].kind != "text":
        raise ValueError(f"{name} is {tagset.specs[position].kind}; a UID is text")
    return Place(position, name, "1")


def wanted(field: Place) -> str:
    """What a field must say, as people read it."""
    if field.within is None:
        return measure(field.value, field.unit) + (f" within {field.tolerance}" if field.tolerance else "")
    ends = (measure(end, field.unit) for end in (field.within.low, field.within.high))
    return " to ".join(ends)


def equal(read: Value, field: Place) -> bool:
    if isinstance(field.value, Decimal):
        return abs(Decimal(str(read)) - field.value) <= field.tolerance
    return type(read) is type(field.value) and read == field.value


def field_at(context: RuleContext, name: str, expected: Expected) -> Place:
    tagset, position = locate(context, name)
    spec = tagset.specs[position]
    if expected.window is not None:
        return Place(position, name, spec.unit, within=bounds(expected.window, spec))
    value = _as_kind(expected.value, spec)
    if expected.tolerance and not isinstance(value, Decimal):
        raise ValueError(f"{name} is {spec.kind}; a tolerance needs a number")
    return Place(position, name, spec.unit, value, expected.tolerance)


def _as_kind(value: Value, spec: TagSpec) -> Value:
    """What is expected, as the kind of value that the tag brings.  ValueError if it cannot be one."""
    if spec.kind == "text":
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    if spec.kind == "bool":
        if not isinstance(value, bool):
            raise ValueError(f"{spec.name} is true or false; {measure(value)} is neither")
        return value
    try:
        return Decimal(str(value))
    except ArithmeticError:
        raise ValueError(f"{spec.name} is a number; {measure(value)} is none") from None
