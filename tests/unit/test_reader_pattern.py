"""A reader's regular expression is judged before any line comes: what could be busy for hours is refused."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.drivers.reader.kind import ReaderConfig
from gateway.drivers.reader.pattern import MOST_STEPS, RefusedError, bounded, steps

LONGEST = 1024


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?P<code>\d{24}) \[(?P<grade>[A-F])\]",
        r"(?P<code>[^;]+);(?P<grade>[^;]+);(?P<angle>[^;]+)",
        r"(?P<code>\S+)\s+(?P<grade>[A-F])\s+(?P<angle>-?\d+(?:\.\d+)?)",
        r"(?P<code>[!-~]+)(?: (?P<grade>[A-F]))?",
        r"(?P<code>.*);(?P<grade>.*)",
        r"(?:[A-Z]{2}\d+,)*(?P<code>\d+)",
        r"(?P<code>(?:cat|dog)+)",
        r"(?P<code>(?>a+)b)",
        r"(?P<code>(?:a++)+b)",
        r"(?i)(?P<code>[a-f]+);x",
        r"",
    ],
)
def test_what_people_write_is_taken(pattern: str) -> None:
    """Fields between separators, fixed lengths, sets: all of them have a bound."""
    assert steps(pattern, LONGEST) <= MOST_STEPS
    bounded(pattern, LONGEST)


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        (r"(?P<code>(a+)+)b", "busy for hours"),
        (r"(?P<code>(?:a|a)*)b", "busy for hours"),
        (r"(?P<code>(?:\w+\s?)*)!", "busy for hours"),
        (r"(?P<code>(?:a*)*)b", "busy for hours"),
        (r"(?P<code>(?:.*,){11}P)", "busy for hours"),
        (r"(?P<code>(?:(?:a+)+b)?a*)", "busy for hours"),
        (r"(?P<code>(?i:a)*A*A*A*b)", "flags for a part"),
        (r"(?i)(?P<code>a*A*a*A*)b", "1e+12 steps"),
        (r"(?P<code>.*);(?P<b>.*);(?P<c>.*)", "1e+09 steps for a line of 1024 bytes"),
        (r"(?P<code>.*)\s*(?P<b>.*)x", "1e+12 steps"),
        (r"(?P<code>\w+) \1", "refers back"),
        (r"(?P<code>(?=.*x)(?=.*y).*)", "steps"),
    ],
)
def test_what_could_be_busy_for_hours_is_refused(pattern: str, told: str) -> None:
    """The configuration says so in words, with what to write instead; the gateway does not start on it."""
    with pytest.raises(ValidationError, match=re.escape(told)):
        ReaderConfig.model_validate({"url": "tcp://192.0.2.1:2112", "pattern": pattern, "longest": LONGEST})


def test_shorter_lines_allow_more() -> None:
    """The bound is one of pattern and line together: what is refused for a kilobyte is taken for a hundred bytes."""
    with pytest.raises(RefusedError, match="set longest to what the reader really sends"):
        bounded(r"(.*);(.*);(.*)", LONGEST)
    bounded(r"(.*);(.*);(.*)", 100)


_PIECE = st.sampled_from(["a", "b", "[ab]", ".", "[^a]", r"\w", r"\d", "ab", "(?:a|ab)", "(?:a|b)", ";", r"\s"])
_REPEAT = st.sampled_from(["", "*", "+", "?", "{2,9}", "*?", "++"])
_FLAT = st.lists(st.builds("{}{}".format, _PIECE, _REPEAT), min_size=1, max_size=4).map("".join)
_NESTED = st.builds("(?:{}){}".format, _FLAT, _REPEAT)
PATTERNS = st.lists(_FLAT | _NESTED, min_size=1, max_size=3).map("".join)
LINES = st.builds(
    lambda unit, times, end: (unit * times)[:120] + end,
    st.sampled_from(["a", "ab", "aab", "a;", "b", "a1 ", "aB"]),
    st.integers(20, 120),
    st.sampled_from(["", "!", ";", "\n", "c"]),
)


@settings(max_examples=300, deadline=None)
@given(PATTERNS, LINES)
def test_the_bound_holds(pattern: str, line: str) -> None:
    """Whatever was taken is done with any line in its time: 100 ns of processor a step, and a millisecond to begin."""
    try:
        found = steps(pattern, len(line))
    except RefusedError:
        return
    if found > 200_000:
        return
    engine = re.compile(pattern)
    before = time.thread_time()
    engine.fullmatch(line)
    assert time.thread_time() - before < found * 100e-9 + 1e-3, pattern
