"""How long a regular expression may take for one line, told before any line comes.

Python's engine tries one way after the other, and some patterns have more ways than there are seconds: `(a+)+b` on
forty a's is busy for hours, and so is the whole gateway.  Where two parts of a pattern can divide the same characters
among them, each division is a way; the ways of all such places multiply.  Where what comes next can begin with nothing
that the part before it takes (`[^;]+;`), there is one way only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from re import _constants as code  # type: ignore[attr-defined]  # the parser of `re` itself: no second grammar
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final

MOST_STEPS: Final = 2_000_000
"""A line that does not fit is given up after some 50 ms."""
ENDLESS: Final = float("inf")
_ABOVE: Final = frozenset((0x3A9, 0x663, 0x2028, 0x20AC))
"""A letter, a digit, a space and a sign: they stand for every character above Latin-1."""
_FEW: Final = 8
_ALL: Final = frozenset(range(256)) | _ABOVE
_OTHER_CASE: Final = frozenset(b"iIkKsS\xb5\xc5\xe5\xdf\xff")
"""Letters whose other case may stand above Latin-1: K and the Kelvin sign."""
_CLASSES: Final[Mapping[Any, str]] = {
    code.CATEGORY_DIGIT: r"\d",
    code.CATEGORY_NOT_DIGIT: r"\D",
    code.CATEGORY_SPACE: r"\s",
    code.CATEGORY_NOT_SPACE: r"\S",
    code.CATEGORY_WORD: r"\w",
    code.CATEGORY_NOT_WORD: r"\W",
}

Chars = frozenset[int]
Item = tuple[Any, Any]


class RefusedError(ValueError):
    """A pattern that has no bound, or too high a one."""


def steps(pattern: str, longest: int) -> float:
    """An upper bound for the steps of one `fullmatch` over so many characters.  RefusedError: it cannot be told."""
    parsed = _parser.parse(pattern)
    look = _Look(longest, parsed.state.flags)
    return longest * look.ways(list(parsed), frozenset())


def bounded(pattern: str, longest: int) -> None:
    """RefusedError with a sentence where a line of so many bytes could keep the gateway busy."""
    found = steps(pattern, longest)
    if found == ENDLESS:
        raise RefusedError(
            "could be busy for hours on a line that does not fit: it repeats a part that can itself take the same "
            "characters in several ways, like (a+)+; take one of the two repeats away"
        )
    if found > MOST_STEPS:
        raise RefusedError(
            f"could need {found:.1g} steps for a line of {longest} bytes: write [^;]+ where .* stands before a ;, "
            "or set longest to what the reader really sends"
        )


class _Look:
    """Walks a parsed pattern.  `follow` is what may come after a part: the characters it may begin with."""

    def __init__(self, longest: int, flags: int) -> None:
        self._longest = longest
        self._fold = bool(flags & re.IGNORECASE)
        self._ascii = flags & re.ASCII
        self._by: Mapping[Any, Callable[[Any, Chars], float]] = {
            code.SUBPATTERN: self._group,
            code.ATOMIC_GROUP: lambda value, follow: self.ways(list(value), follow),
            code.ASSERT: self._ahead,
            code.ASSERT_NOT: self._ahead,
            code.BRANCH: self._branch,
            code.MAX_REPEAT: self._repeat,
            code.MIN_REPEAT: self._repeat,
            code.POSSESSIVE_REPEAT: self._possessive,
        }

    def ways(self, items: Sequence[Item], follow: Chars) -> float:
        """In how many ways these parts, one after the other, can take the same characters."""
        found = 1.0
        for at, (kind, value) in enumerate(items):
            if kind in (code.GROUPREF, code.GROUPREF_EXISTS):
                raise RefusedError("refers back to one of its own groups: how long that takes cannot be told")
            if kind in self._by:
                found *= self._by[kind](value, self.first(items[at + 1 :], follow))
        return found

    def _group(self, value: Any, follow: Chars) -> float:
        if value[1] or value[2]:
            raise RefusedError("sets flags for a part of it only: set them for the whole, at its beginning")
        return self.ways(list(value[3]), follow)

    def _ahead(self, value: Any, follow: Chars) -> float:
        del follow
        return self._longest * self.ways(list(value[1]), _ALL)

    def _branch(self, value: Any, follow: Chars) -> float:
        """One of several: where two may begin alike, both are tried."""
        arms = [list(arm) for arm in value[1]]
        firsts = [self.first(arm, follow) for arm in arms]
        each = [self.ways(arm, follow) for arm in arms]
        alike = any(a & b for at, a in enumerate(firsts) for b in firsts[at + 1 :])
        return sum(each) if alike else max(each)

    def _repeat(self, value: Any, follow: Chars) -> float:
        least, most, body = value[0], min(int(value[1]), self._longest), list(value[2])
        begins = self.first(body, frozenset())
        inside = self.ways(body, begins | follow if most > 1 else follow)
        if inside > 1 and most > 1:
            return ENDLESS if most > _FEW else float(inside**most * (most - least + 1))
        return inside * (most - least + 1 if begins & follow or self.empty(body) else 1)

    def _possessive(self, value: Any, follow: Chars) -> float:
        """What it took it does not give back: only what is inside can have several ways."""
        body = list(value[2])
        inside = self.ways(body, self.first(body, frozenset()) | follow)
        return ENDLESS if inside > 1 and int(value[1]) > 1 else inside

    # -- what a part can begin with -------------------------------------------------------------------

    def first(self, items: Sequence[Item], follow: Chars) -> Chars:
        """Characters that these parts, and then what follows, can begin with."""
        found: Chars = frozenset()
        for kind, value in items:
            found |= self._first(kind, value)
            if not self._empty(kind, value):
                return found
        return found | follow

    def empty(self, items: Sequence[Item]) -> bool:
        """Can they take nothing?"""
        return all(self._empty(kind, value) for kind, value in items)

    def _empty(self, kind: Any, value: Any) -> bool:
        if kind in (code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT):
            return value[0] == 0 or self.empty(list(value[2]))
        if kind is code.SUBPATTERN:
            return self.empty(list(value[3]))
        if kind is code.ATOMIC_GROUP:
            return self.empty(list(value))
        if kind is code.BRANCH:
            return any(self.empty(list(arm)) for arm in value[1])
        return kind in (code.AT, code.ASSERT, code.ASSERT_NOT)

    def _first(self, kind: Any, value: Any) -> Chars:
        if kind in (code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT):
            return self.first(list(value[2]), frozenset())
        if kind is code.SUBPATTERN:
            return self.first(list(value[3]), frozenset())
        if kind is code.ATOMIC_GROUP:
            return self.first(list(value), frozenset())
        if kind is code.BRANCH:
            return frozenset().union(*(self.first(list(arm), frozenset()) for arm in value[1]))
        return self._chars(kind, value)

    def _chars(self, kind: Any, value: Any) -> Chars:
        """The characters one place takes; rather too many than too few."""
        if kind is code.ANY:
            return _ALL
        if kind is code.LITERAL:
            return self._folded(_one(value))
        if kind is code.NOT_LITERAL:
            return _ALL - _one(value) | _ABOVE
        if kind is code.IN:
            return self._set(value)
        return frozenset()

    def _set(self, members: Sequence[Item]) -> Chars:
        found: Chars = frozenset()
        foreign: Chars = frozenset()  # what is named above Latin-1: it leaves others of its sort in the complement
        for kind, value in members:
            low, high = (value, value) if kind is code.LITERAL else value if kind is code.RANGE else (1, 0)
            found |= frozenset(range(low, min(high, 255) + 1))
            foreign |= _ABOVE if high > 255 else frozenset()
            if kind is code.CATEGORY:
                word = re.compile(_CLASSES[value], self._ascii)
                found |= frozenset(at for at in _ALL if word.match(chr(at)))
        if members and members[0][0] is code.NEGATE:
            return _ALL - found | foreign
        return self._folded(found | foreign)

    def _folded(self, chars: Chars) -> Chars:
        if not self._fold:
            return chars
        other = {ord(each) for at in chars if at < 256 for each in (chr(at).lower(), chr(at).upper()) if len(each) == 1}
        return chars | frozenset(at for at in other if at < 256) | (_ABOVE if chars & _OTHER_CASE else frozenset())


def _one(point: int) -> Chars:
    return frozenset({point}) if point < 256 else _ABOVE
