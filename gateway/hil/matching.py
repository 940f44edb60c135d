"""When a value is the one that was meant: equal, above, near, containing; and words that name what was seen before.

Pure.  Numbers are compared as decimals, so `1.0`, `1` and the record's text "1.000" are one value.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from gateway.errors import LinegateError
from gateway.model import Json


class Word(BaseModel):
    """What every part of a scenario is: frozen, and an unknown key is an error."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Matcher(Word):
    """What a value must be; several together must all hold."""

    equals: Json = None
    above: Json = None
    below: Json = None
    at_least: Json = None
    at_most: Json = None
    contains: str | None = None
    one_of: tuple[Json, ...] | None = None
    differs: Json = None
    """Anything but this."""
    near: Json = None
    """At most `by` away from it."""
    by: float = 0.0

    @model_validator(mode="after")
    def _says_something(self) -> Matcher:
        if not self.model_fields_set - {"by"}:
            raise ValueError("says nothing; write above, below, at_least, at_most, contains, one_of, differs or near")
        return self

    def wrong(self, value: Json, saved: Mapping[str, Json]) -> str:
        """Why the value is not the one; empty when it is."""
        for name in type(self).model_fields:
            if name == "by" or name not in self.model_fields_set:
                continue
            wanted = resolve(getattr(self, name), saved)
            if not _TESTS[name](value, wanted, self.by):
                said = "" if name == "equals" else f"{name.replace('_', ' ')} "
                return f"{shown(value)} instead of {said}{shown(wanted)}"
        return ""

    def __str__(self) -> str:
        parts = [
            f"{'' if name == 'equals' else name.replace('_', ' ') + ' '}{shown(getattr(self, name))}"
            for name in type(self).model_fields
            if name in self.model_fields_set and name != "by"
        ]
        return " and ".join(parts) + (f" ± {self.by:g}" if "by" in self.model_fields_set else "")


def _as_matcher(value: Json) -> Json:
    """A plain value means: equal to it."""
    return value if isinstance(value, dict | Matcher) else {"equals": value}


Match = Annotated[Matcher, BeforeValidator(_as_matcher)]


def number(value: Json) -> Decimal | None:
    """The value as a number, if it is one or the text of one."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def same(value: Json, wanted: Json) -> bool:
    left, right = number(value), number(wanted)
    if left is not None and right is not None:
        return left == right
    return isinstance(value, bool) is isinstance(wanted, bool) and bool(value == wanted)


def _far(value: Json, wanted: Json) -> Decimal | None:
    """`value - wanted`; None where one of them is no number."""
    left, right = number(value), number(wanted)
    return None if left is None or right is None else left - right


def _near(value: Json, wanted: Json, by: float) -> bool:
    far = _far(value, wanted)
    return far is not None and abs(far) <= Decimal(str(by))


def _sign(value: Json, wanted: Json) -> int | None:
    far = _far(value, wanted)
    return None if far is None else (far > 0) - (far < 0)


def _has(value: Json, wanted: Json) -> bool:
    if isinstance(value, list | tuple | dict):
        return any(same(one, wanted) or str(wanted) in str(one) for one in value)
    return value is not None and str(wanted) in str(value)


_TESTS: dict[str, Any] = {
    "equals": lambda value, wanted, _: same(value, wanted),
    "above": lambda value, wanted, _: _sign(value, wanted) == 1,
    "below": lambda value, wanted, _: _sign(value, wanted) == -1,
    "at_least": lambda value, wanted, _: _sign(value, wanted) in (0, 1),
    "at_most": lambda value, wanted, _: _sign(value, wanted) in (0, -1),
    "contains": lambda value, wanted, _: _has(value, wanted),
    "one_of": lambda value, wanted, _: any(same(value, one) for one in wanted),
    "differs": lambda value, wanted, _: not same(value, wanted),
    "near": _near,
}


def pick(document: Json, path: str) -> Json:
    """What stands at `samples.0.value` or `reconciliation.labels.ok`; None where there is nothing.

    In a list a word means the entry of that name; a key may itself hold dots.
    """
    if not path:
        return document
    if isinstance(document, Mapping) and path in document:
        return document[path]
    head, _, rest = path.partition(".")
    if isinstance(document, Mapping):
        return pick(document[head], rest) if head in document else None
    if (
        isinstance(document, list | tuple)
        and head.lstrip("-").isdigit()
        and -len(document) <= int(head) < len(document)
    ):
        return pick(document[int(head)], rest)
    if isinstance(document, list | tuple):
        named = [one for one in document if isinstance(one, Mapping) and head in (one.get("name"), one.get("id"))]
        return pick(named[0], rest) if named else None
    return None


def resolve(value: Json, saved: Mapping[str, Json]) -> Json:
    """`$latch.halt`: what was saved under that name; the same inside lists and mappings.

    LinegateError: nothing was saved there.
    """
    if isinstance(value, str) and value.startswith("$"):
        found = pick(saved, value[1:])
        if found is None:
            raise LinegateError(f"{value} was not seen: there is {', '.join(saved) or 'nothing saved'}")
        return found
    if isinstance(value, Mapping):
        return {key: resolve(one, saved) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [resolve(one, saved) for one in value]
    return value


def names_in(value: Json) -> set[str]:
    """Names that a value's `$...` words refer to."""
    if isinstance(value, str):
        return {value[1:].partition(".")[0]} if value.startswith("$") else set()
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Mapping):
        return set().union(*(names_in(one) for one in value.values())) if value else set()
    if isinstance(value, list | tuple):
        return set().union(*(names_in(one) for one in value)) if value else set()
    return set()


def shown(value: Json) -> str:
    """For a sentence; long things shortened."""
    if value is None:
        return "nothing"
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
