"""What the checks of a batch measured: each characteristic, subgroup by subgroup, from the records alone.  Pure.

All that was judged counts, also of trays that were rejected later: it is what the process made.  A sample that was
weighed again is superseded and does not count; one that was never judged is no value.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from gateway.batch.records import CheckStory, Log
from gateway.model import Json

_INDETERMINATE: Final = "indeterminate"


class Measured(msgspec.Struct):
    """One variable characteristic of one rule."""

    rule: str
    plan: str
    name: str
    unit: str
    limits: str
    """The set they are held against: specification where there is one, else the one that fails a sample; or nothing."""
    low: Decimal | None
    high: Decimal | None
    single: bool
    """False: each value is the mean of a group that was weighed together, and tells nothing of single units."""
    groups: list[list[Decimal]] = []
    """One for each judged check."""


class Counted(msgspec.Struct):
    """One attribute of one rule: units looked at, and defects among them."""

    rule: str
    plan: str
    name: str
    units: int = 0
    defects: int = 0


def measured(log: Log) -> tuple[list[Measured], list[Counted]]:
    """Of all judged checks, in the order they were judged."""
    variables: dict[tuple[str, str], Measured] = {}
    attributes: dict[tuple[str, str], Counted] = {}
    judged = [story for story in log.checks if story.judged is not None]
    for story in sorted(judged, key=lambda story: int((story.judged or {})["index"])):
        for asked in story.body.get("asks", ()):
            key = (str(story.body["rule"]), str(asked["name"]))
            if _is_count(asked):
                _count(attributes.setdefault(key, Counted(key[0], _plan(story), key[1])), story, asked)
            else:
                _take(variables.setdefault(key, _measured(story, asked)), story)
    return [each for each in variables.values() if each.groups], [each for each in attributes.values() if each.units]


def _is_count(asked: Json) -> bool:
    return bool(asked["source"] == "entry" and asked["unit"] == "{count}")


def _plan(story: CheckStory) -> str:
    return str(story.body.get("plan", "")).rpartition(".")[2]


def _measured(story: CheckStory, asked: Json) -> Measured:
    sets = [each for each in asked.get("limits", ()) if each["of"] == "each"]
    chosen = next((each for each in sets if each["name"] == "specification"), None)
    chosen = chosen or next((each for each in sets if each["fails"]), None) or {}
    low, high = (Decimal(str(chosen[end])) if chosen.get(end) is not None else None for end in ("low", "high"))
    return Measured(
        rule=str(story.body["rule"]),
        plan=_plan(story),
        name=str(asked["name"]),
        unit=str(asked["unit"]),
        limits=str(chosen.get("name", "")),
        low=low,
        high=high,
        single=asked.get("tare") != "group",
        groups=[],
    )


def _take(one: Measured, story: CheckStory) -> None:
    values = [Decimal(str(sample["value"])) for sample in _counting(story, one.name)]
    if values:
        one.groups.append(values)


def _count(one: Counted, story: CheckStory, asked: Json) -> None:
    for sample in _counting(story, one.name):
        one.units += int(asked.get("units") or 0)
        one.defects += int(sample["value"])


def _counting(story: CheckStory, name: str) -> list[Json]:
    return [
        sample
        for sample in story.body.get("samples", ())
        if sample["characteristic"] == name
        and not sample.get("superseded")
        and (sample["passed"] is not None or sample.get("verdict") == _INDETERMINATE)
    ]
