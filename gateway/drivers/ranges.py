"""Many tags in one line: `r[0..99]: {address: 100}` is r0 at 100, r1 at 101 ...; texts may hold `{i}`.

With `step` the addresses are that far apart (a float32 stands every two registers).  A name that comes again further
down is laid over what it was, key by key: `r3: {unit: g}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from gateway.drivers.profiles.profile import merge

_RANGE: Final = re.compile(r"^([A-Za-z_][A-Za-z0-9_-]*)\[([0-9]{1,5})\.\.([0-9]{1,5})\]$")
MOST: Final = 10_000


def expand(tags: Any) -> Any:
    """Every range as its single tags, in order.  ValueError for one that is upside down or too long."""
    if not isinstance(tags, Mapping) or not any("[" in str(name) for name in tags):
        return tags
    single: dict[str, Any] = {}
    for name, tag in tags.items():
        for each, settings in _members(str(name), tag):
            before = single.get(each)
            both = isinstance(before, Mapping) and isinstance(settings, Mapping)
            single[each] = merge(cast("Mapping[str, Any]", before), settings) if both else settings
    return single


def _members(name: str, tag: Any) -> list[tuple[str, Any]]:
    match = _RANGE.match(name)
    if match is None or not isinstance(tag, Mapping):
        return [(name, tag)]
    first, last = int(match[2]), int(match[3])
    if not first <= last < first + MOST:
        raise ValueError(f"{name}: write the smaller number first, at most {MOST} tags")
    step = tag.get("step", 1)
    if type(step) is not int or step < 1:
        raise ValueError(f"{name}: step is a whole number of addresses, not {step!r}")
    common = {key: value for key, value in tag.items() if key != "step"}
    return [(f"{match[1]}{i}", _one(common, i, (i - first) * step)) for i in range(first, last + 1)]


def _one(tag: Mapping[str, Any], i: int, shift: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        key: value.replace("{i}", str(i)) if isinstance(value, str) else value for key, value in tag.items()
    }
    if isinstance(made.get("address"), int):
        made["address"] += shift
    return made
