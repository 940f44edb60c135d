"""What has no canonical form, as text that has one: an event with one bad value in it is recorded all the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from gateway.model import Json

SAFE: Final = 2**53 - 1
DEEPEST: Final = 32
"""Beyond it a document is written as text: RFC 8785 writers recurse."""


def mended(value: Json, depth: int = 0) -> Json:
    """The same document, with text in place of every part that RFC 8785 cannot write.

    Integers beyond 2**53 - 1 and numbers that are none become decimal strings, lone surrogates become escapes, foreign
    objects their ASCII representation.  Never raises.
    """
    if isinstance(value, Mapping) and depth < DEEPEST:
        return {_text(key): mended(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth < DEEPEST:
        return [mended(item, depth + 1) for item in value]
    return value if _fits(value) else _text(value)


def _fits(value: Json) -> bool:
    """A leaf that stands in canonical JSON as it is."""
    if isinstance(value, str):
        return value.isascii()
    if isinstance(value, int):
        return -SAFE <= value <= SAFE
    return value is None or (isinstance(value, float) and math.isfinite(value))


def _text(value: object) -> str:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping | list | tuple):
        return f"a {type(value).__name__} deeper than {DEEPEST} levels"
    return str(value) if isinstance(value, int | float) else ascii(value)
