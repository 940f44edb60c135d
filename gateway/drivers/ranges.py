"""Many tags in one line: `r[0..99]: {address: 100}` is r0 at 100, r1 at 101 ...; texts may hold `{i}`.

With `step` the addresses are that far apart (a float32 stands every two registers).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_RANGE: Final = re.compile(r"^([A-Za-z_][A-Za-z0-9_-]*)\[(\d{1,5})\.\.(\d{1,5})\]$")
MOST: Final = 10_000


def expand(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Every range as its single tags, in order.  ValueError for one that is upside down or too long."""
    single: dict[str, Any] = {}
    for name, tag in tags.items():
        match = _RANGE.match(name)
        if match is None or not isinstance(tag, Mapping):
            single[name] = tag
            continue
        first, last = int(match[2]), int(match[3])
        if not first <= last < first + MOST:
            raise ValueError(f"{name}: write the smaller number first, at most {MOST} tags")
        step = int(tag.get("step", 1))
        common = {key: value for key, value in tag.items() if key != "step"}
        single.update({f"{match[1]}{i}": _one(common, i, (i - first) * step) for i in range(first, last + 1)})
    return single


def _one(tag: Mapping[str, Any], i: int, shift: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        key: value.replace("{i}", str(i)) if isinstance(value, str) else value for key, value in tag.items()
    }
    if isinstance(made.get("address"), int):
        made["address"] += shift
    return made
