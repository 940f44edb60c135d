"""The engine: which judges see an event, what is said of it, what changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from rules_kit import BALANCE, CONTEXT, FILLER, LABELLER, RESERVOIR, TAGSETS, WALL, S, bad, grams, scan

from gateway.config.kinds import House
from gateway.errors import Refused
from gateway.model import Entry, Json, Scan, Severity, TagSet, TagSpec, Tick
from gateway.rules.base import NOTHING, Closure, Judge
from gateway.rules.engine import Engine
from gateway.rules.kinds import BUILT_IN
from gateway.rules.limit import LimitConfig
from gateway.rules.stale import StaleConfig
from gateway.verdicts import Finding, Verdict


class Probe:
    """A judge of its own kind that notes what it is asked."""

    def __init__(self, device: str, says: Sequence[Finding] = NOTHING) -> None:
        self.dirty = False
        self.seen: list[Any] = []
        self._device = device
        self._says = says

    def plan(self, tagset: TagSet) -> Closure | None:
        return self._scan if tagset.device == self._device else None

    def _scan(self, event: Scan, now_ns: int) -> Sequence[Finding]:
        self.seen.append((event, now_ns))
        return self._says

    def tick(self, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        self.seen.append((now_ns, wall_ns))
        return self._says

    def enter(self, entry: Entry, now_ns: int, wall_ns: int) -> Sequence[Finding]:
        self.seen.append((entry, now_ns, wall_ns))
        return self._says

    def current(self) -> Verdict | None:
        return None

    def dump(self) -> Json:
        return {"seen": len(self.seen)} if self.seen else None

    def load(self, state: Json) -> None:
        self.seen = [None] * state["seen"]


def says(rule: str) -> tuple[Verdict, ...]:
    return (Verdict(rule, Severity.ALARM, "x", "x"),)


def engine(**judges: Judge) -> Engine:
    return Engine(judges, TAGSETS.values())


def test_a_scan_reaches_the_judges_of_its_tag_set_in_their_order() -> None:
    """Others do not hear of it; findings come in the order of the rules."""
    first, second, other = Probe("balance", says("a")), Probe("balance", says("b")), Probe("filler", says("c"))
    event = scan(BALANCE, 1, grams("1.0"))
    found = engine(a=first, b=second, c=other).judge(event, S, WALL)
    assert [each.rule for each in found] == ["a", "b"]  # type: ignore[union-attr]
    assert first.seen == second.seen == [(event, S)]
    assert not other.seen


def test_nothing_is_the_one_shared_empty_tuple() -> None:
    """Judged or not, a scan without news allocates no answer."""
    probe = Probe("balance")
    line = engine(a=probe, b=Probe("balance"))
    assert line.judge(scan(BALANCE, 1, grams("1.0")), S, WALL) is NOTHING
    assert line.judge(scan(RESERVOIR, 1, 60.0, 1.0), S, WALL) is NOTHING
    assert line.judge(Tick(), S, WALL) is NOTHING
    stranger = TagSet("stranger", [TagSpec("x")])
    assert line.judge(scan(stranger, 1, 1.0), S, WALL) is NOTHING


def test_a_tick_reaches_every_judge_once() -> None:
    """Grouped or not."""
    probe = Probe("balance", says("p"))
    limits = LimitConfig.model_validate({"input": "balance/net", "limits": {"unit": "g", "low": 1}, "bad_for": "0s"})
    line = engine(p=probe, one=limits.build("one", CONTEXT), two=limits.build("two", CONTEXT))
    line.judge(Tick(), 0, WALL)
    found = line.judge(Tick(), S, WALL)
    assert sorted(each.rule for each in found) == ["p"]  # type: ignore[union-attr]
    assert probe.seen == [(0, WALL), (S, WALL)]


def test_an_entry_goes_to_its_rule_alone() -> None:
    """An unknown rule is refused with the known ones."""
    mine, other = Probe("balance"), Probe("balance")
    line = engine(mine=mine, other=other)
    entry = Entry("take", "mine", "anna")
    line.judge(entry, S, WALL)
    assert mine.seen == [(entry, S, WALL)]
    assert not other.seen
    with pytest.raises(Refused, match="mine, other") as refusal:
        line.judge(Entry("take", "mime", "anna"), S, WALL)
    assert refusal.value.code == "no_such_rule"


def test_state_is_dumped_told_when_it_changed_and_loaded() -> None:
    """Judges without state are left out; a change is told once; unknown rules are ignored on load."""
    a, b = Probe("balance"), Probe("filler")
    line = engine(a=a, b=b)
    line.judge(scan(BALANCE, 1, grams("1.0")), S, WALL)
    assert line.dump() == {"a": {"seen": 1}}
    a.dirty = True
    assert line.changed() == {"a": {"seen": 1}}
    assert line.changed() == {}
    fresh = Probe("balance")
    engine(a=fresh).load({"a": {"seen": 3}, "gone": {"seen": 9}})
    assert len(fresh.seen) == 3


def test_current_of_a_rule_that_does_not_judge_now_is_none() -> None:
    """No batch, no rule: nothing stands."""
    assert engine().current("fill-weight") is None


def test_a_judge_that_lives_on_keeps_what_it_knew_in_the_next_engine() -> None:
    """Rules that did not change are taken over when a batch starts: missing input is timed across."""
    config = LimitConfig.model_validate({"input": "reservoir/temperature", "limits": {"unit": "Cel", "low": 58}})
    judge = config.build("oil", CONTEXT)
    first = engine(oil=judge)
    first.judge(scan(RESERVOIR, 0, 60.0, 1.0), 0, WALL)
    first.judge(scan(RESERVOIR, 1, 60.0, 1.0), S, WALL)
    second = engine(oil=judge)
    assert not second.judge(Tick(), S + 1_400_000_000, WALL)
    (verdict,) = second.judge(Tick(), S + 1_500_000_000, WALL)
    assert isinstance(verdict, Verdict)
    assert verdict.severity is Severity.ALARM


def test_one_device_that_dies_says_nothing_about_the_others() -> None:
    """Each rule has its own patience and its own input."""
    stale = {
        name: StaleConfig.model_validate({"input": name, "after": "1s"}).build(name, CONTEXT)
        for name in ("balance", "reservoir")
    }
    line = engine(**stale)
    for at_s in (0, 1, 2):
        line.judge(scan(RESERVOIR, at_s, 60.0, 1.0), at_s * S, WALL)
        found = line.judge(scan(BALANCE, at_s, None, faults={0: bad()}), at_s * S, WALL)
    assert line.current("reservoir").severity is Severity.NORMAL  # type: ignore[union-attr]
    assert line.current("balance").severity is Severity.ALARM  # type: ignore[union-attr]
    assert not found


def test_which_built_in_kinds_need_a_batch() -> None:
    """Those that judge what is made, and no others."""
    needy = [word for word in BUILT_IN if House().rules.find(word).needs_batch]  # type: ignore[union-attr]
    assert needy == ["sampling", "match"]


def test_tag_sets_are_told_apart_by_identity() -> None:
    """The same names on another object are another device's life: nobody judges them."""
    probe = Probe("labeller", says("x"))
    line = Engine({"x": probe}, [LABELLER, FILLER])
    twin = TagSet("labeller", LABELLER.specs)
    assert line.judge(scan(twin, 0, 1, "B", 1.0, 1.0, True), 0, WALL) is NOTHING
