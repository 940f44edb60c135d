"""When a value is the one that was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import TypeAdapter

from gateway.errors import LinegateError
from gateway.hil.matching import Match, Matcher, names_in, pick, resolve

MATCH: TypeAdapter[Matcher] = TypeAdapter(Match)


@pytest.mark.parametrize(
    ("match", "good", "bad"),
    [
        (1.0, ["1", 1, "1.000"], [True, None, "one", 1.01]),
        (True, [True], ["true", None, False]),
        ("on", ["on"], ["On", None]),
        (None, [None], [0, "", False]),
        ({"above": 2}, [2.1, "3"], [2, None, "x", float("nan"), True]),
        ({"at_least": 2, "below": 3}, [2, "2.9"], [1.9, 3]),
        ({"contains": "uid"}, ["wrong uid", ["uid"], [{"kind": "uid"}]], [None, "thc", []]),
        ({"one_of": [1, "a"]}, ["1.0", "a"], ["b", None]),
        ({"differs": None}, [0, ""], [None]),
        ({"near": 1, "by": 0.1}, ["1.1", 0.9], [1.11, None]),
    ],
)
def test_what_matches(match: object, good: list[object], bad: list[object]) -> None:
    """Numbers are one whether they come as text or not; true is no 1, nothing is nothing."""
    matcher = MATCH.validate_python(match)

    assert [value for value in good if matcher.wrong(value, {})] == []
    assert [value for value in bad if not matcher.wrong(value, {})] == []


@given(some.floats(allow_nan=False, allow_infinity=False), some.floats(allow_nan=False, allow_infinity=False))
def test_above_below_and_equal_are_one_order(value: float, limit: float) -> None:
    """Of any two numbers exactly one of the three is true, as numbers or as the text of numbers."""
    said = [not Matcher(**{word: limit}).wrong(str(value), {}) for word in ("above", "below", "equals")]

    assert said.count(True) == 1


def test_words_that_mean_what_was_seen() -> None:
    """`$name.field` is what was saved, in lists and mappings too; what was not seen is an error that says so."""
    saved = {"latch": {"version": 2, "samples": [{"name": "net", "value": "1.00"}]}}

    assert resolve({"a": ["$latch.version"]}, saved) == {"a": [2]}
    assert pick(saved, "latch.samples.0.value") == pick(saved, "latch.samples.net.value") == "1.00"
    assert pick(saved, "latch.samples.9.value") is None
    assert names_in([{"x": "$latch.a"}, "$b", "c"]) == {"latch", "b"}
    with pytest.raises(LinegateError, match="was not seen"):
        resolve("$other.x", saved)
