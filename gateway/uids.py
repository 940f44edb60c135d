"""UIDs of seed-to-sale tags: 24 characters, 0-9 and A-Z, the last of them a number that counts.  Pure.

There is no public check digit (FACTS 7.5), so nothing but form, range and being used once can be told of one.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping, Sequence
from typing import Final

LENGTH: Final = 24
_FORM: Final = re.compile(r"[0-9A-Z]{24}")
_PARTS: Final = re.compile(r"(.*?)([0-9]{1,18})")


def wrong(uid: str) -> str:
    """What is wrong with its form; empty where nothing is."""
    if len(uid) != LENGTH:
        return f"has {len(uid)} characters, a UID has {LENGTH}"
    odd = sorted({each for each in uid if not (each.isascii() and (each.isdigit() or ("A" <= each <= "Z")))})
    return "" if not odd else f"has {', '.join(map(repr, odd))}; a UID is made of 0-9 and A-Z"


def serial(uid: str) -> tuple[str, int] | None:
    """(beginning, number at its end); None where it ends in a letter, or is no UID."""
    parts = _PARTS.fullmatch(uid) if _FORM.fullmatch(uid) else None
    return (parts[1], int(parts[2])) if parts else None


class Seen:
    """The UIDs of a batch that were seen: in runs, so that a hundred thousand in sequence are one."""

    def __init__(self, runs: Mapping[str, Sequence[Sequence[int]]] | None = None, others: Sequence[str] = ()) -> None:
        known = runs or {}
        self._runs: dict[str, list[list[int]]] = {key: [list(run) for run in each] for key, each in known.items()}
        self._others = set(others)

    def add(self, uid: str) -> bool:
        """True if it is new."""
        part = serial(uid)
        if part is None:
            new = uid not in self._others
            self._others.add(uid)
            return new
        return self._insert(self._runs.setdefault(part[0], []), part[1])

    @staticmethod
    def _insert(runs: list[list[int]], number: int) -> bool:
        at = bisect.bisect_right(runs, number, key=lambda run: run[0])
        before = runs[at - 1] if at else None
        after = runs[at] if at < len(runs) else None
        if before is not None and number <= before[1]:
            return False
        joins_before = before is not None and before[1] == number - 1
        joins_after = after is not None and after[0] == number + 1
        if joins_before and joins_after:
            assert before is not None
            assert after is not None
            before[1] = after[1]
            del runs[at]
        elif joins_before:
            assert before is not None
            before[1] = number
        elif joins_after:
            assert after is not None
            after[0] = number
        else:
            runs.insert(at, [number, number])
        return True

    def dump(self) -> list[object]:
        return [self._runs, sorted(self._others)]
