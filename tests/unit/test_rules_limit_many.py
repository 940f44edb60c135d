"""Many limit rules over one device are compared together; each must say what it says alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_kit import S, bad, uncertain

from gateway.model import NO_FAULTS, Fault, Scan, Severity, TagSet, TagSpec, Tick, Value
from gateway.rules.base import RuleContext
from gateway.rules.engine import Engine
from gateway.rules.limit import LimitConfig
from gateway.rules.limit_group import MANY
from gateway.verdicts import Finding, Verdict

TAGS = 2 * MANY
ZONES = TagSet("oven", [TagSpec(f"zone{at}", "Cel") for at in range(TAGS)])
CONTEXT = RuleContext({"oven": ZONES}, {"oven": 1.0})
VALUES = st.one_of(
    st.floats(40, 90),
    st.integers(40, 90),
    st.sampled_from([math.nan, math.inf, -math.inf, None, "warm", Decimal("NaN")]),
)


def rules(only: int | None = None) -> Engine:
    """A pattern's rule for each tag and a closer one for the first; or one of them for itself."""
    wide = {"unit": "Cel", "low": 50, "high": 80}
    configs = {f"zone{at}": {"input": f"oven/zone{at}", "limits": wide} for at in range(TAGS)}
    configs["close"] = {"input": "oven/zone0", "limits": {"unit": "Cel", "low": 55, "high": 75}, "halt": "oven"}
    chosen = list(configs)[only : only + 1] if only is not None else list(configs)
    return Engine({name: LimitConfig.model_validate(configs[name]).build(name, CONTEXT) for name in chosen}, [ZONES])


def at(second: int, values: Sequence[Value], faults: dict[int, Fault] | None = None) -> Scan:
    return Scan(ZONES, second, second * S, second * S, tuple(values), faults or NO_FAULTS)


def said(findings: Sequence[Finding]) -> list[tuple[str, Severity, str]]:
    assert all(isinstance(finding, Verdict) for finding in findings)
    return [(each.rule, each.severity, each.text) for each in findings if isinstance(each, Verdict)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.integers(0, TAGS - 1), VALUES, max_size=4),
            st.dictionaries(st.integers(0, TAGS - 1), st.sampled_from([bad(), uncertain()]), max_size=2),
            st.sampled_from([1, 1, 1, 5]),
        ),
        max_size=12,
    )
)
def test_together_as_alone(story: list[tuple[dict[int, Value], dict[int, Fault], int]]) -> None:
    """Whatever comes, good, bad or no number at all: the rules together say what each says alone, in their order."""
    together, alone = rules(), [rules(only) for only in range(TAGS + 1)]
    now = 0
    for odd, faults, pause in story:
        now += pause
        scan = at(now, [odd.get(position, 60 + position / 10) for position in range(TAGS)], faults)
        for event in (Tick(), scan):
            each = [finding for engine in alone for finding in said(engine.judge(event, now * S, 0))]
            assert said(together.judge(event, now * S, 0)) == each


@pytest.mark.parametrize("place", [0, 1, TAGS - 1])
@pytest.mark.parametrize("value", [math.nan, math.inf, None, "warm"])
def test_no_number_hides_among_many(place: int, value: Value) -> None:
    """One value that is no number, anywhere among good ones, is bad input of its own rule after three periods."""
    engine = rules()
    good = [60.0] * TAGS
    engine.judge(at(0, good), 0, 0)
    odd = [value if position == place else 60.0 for position in range(TAGS)]
    engine.judge(at(1, odd), S, 0)
    found = said(engine.judge(at(4, odd), 4 * S, 0))

    assert {rule for rule, severity, _ in found if severity is not Severity.NORMAL} == (
        {f"zone{place}", "close"} if place == 0 else {f"zone{place}"}
    )


def test_quiet_rules_keep_nothing() -> None:
    """Of rules that are and were normal there is no state to store; of one that alarmed there is, and then its end."""
    engine = rules()
    engine.judge(at(0, [60.0] * TAGS), 0, 0)
    assert engine.changed() == {}

    engine.judge(at(1, [*[60.0] * (TAGS - 1), 90.0]), S, 0)
    assert list(engine.changed()) == [f"zone{TAGS - 1}"]

    engine.judge(at(2, [60.0] * TAGS), 2 * S, 0)
    assert engine.changed() == {f"zone{TAGS - 1}": None}


def test_a_state_of_the_last_run_is_taken_back() -> None:
    """A rule that stood at an alarm before the restart and finds its input normal says so, and its row goes."""
    engine = rules()
    engine.load({"zone3": {"severity": 2, "above": True, "value": "90.0"}})
    engine.judge(at(0, [60.0] * TAGS), 0, 0)

    assert engine.changed() == {"zone3": None}
