"""The latch, as a pure state machine."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway import halts
from gateway.errors import Refused
from gateway.halts import Halt, HaltState, Needs
from gateway.model import HaltProof, Severity
from gateway.verdicts import Verdict

VERDICT = Verdict("fill", Severity.HALT, "check 3", "0.912 g is below 0.95 g", halts=("filler",), suspects=("T003",))


def fresh(needs: Needs = Needs.RECALIBRATION) -> Halt:
    return halts.requested(None, VERDICT, "filler", needs, "B1", 100, 110)


def release(halt: Halt | None, **changed: object) -> Halt:
    asked: dict[str, object] = {
        "seen_version": halt.version if halt else 1,
        "reason": "nozzle cleaned",
        "condition_stands": "",
        "acknowledged": True,
        "recalibration": "pump set to 1.000 g",
    }
    asked.update(changed)
    return halts.check_release(halt, **asked)  # type: ignore[arg-type]


def test_the_four_stamps_are_those_of_the_first_occurrence() -> None:
    """Sampled, judged, commanded and confirmed stay as they were when the rule asks again."""
    halt = halts.confirmed(halts.commanded(fresh(), 120), HaltProof("Held", wrote=True), 130)
    again = halts.requested(halt, VERDICT, "filler", Needs.RECALIBRATION, "B1", 500, 510)

    assert (again.sampled_ns, again.judged_ns, again.commanded_ns, again.confirmed_ns) == (100, 110, 120, 130)
    assert again.version == halt.version + 1
    assert again.state is HaltState.CONFIRMED


def test_a_failed_halt_that_is_confirmed_late_is_confirmed() -> None:
    """HALT FAILED ends when the machine at last says that it stands."""
    failed = halts.commanded(halts.failed(halts.commanded(fresh(), 1)), 2)

    assert failed.state is HaltState.FAILED
    assert halts.confirmed(failed, HaltProof("Held", wrote=False), 3).state is HaltState.CONFIRMED


def test_a_latch_survives_json() -> None:
    """What the state row and the latch file hold is the latch, whole."""
    halt = halts.confirmed(halts.commanded(fresh(), 120), HaltProof("Held", wrote=True), 130)

    assert halts.from_json(halts.to_json(halt)) == halt


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"seen_version": 99}, "changed"),
        ({"reason": "  "}, "reason_missing"),
        ({"acknowledged": False}, "not_acknowledged"),
        ({"recalibration": ""}, "recalibration_missing"),
    ],
)
def test_a_release_names_what_is_missing(changed: dict[str, object], code: str) -> None:
    """Version seen, reason, acknowledgement and recalibration are each asked for."""
    with pytest.raises(Refused) as refused:
        release(fresh(), **changed)

    assert refused.value.code == code


def test_a_standing_condition_is_not_released() -> None:
    """For a continuous input the condition must be gone."""
    with pytest.raises(Refused) as refused:
        release(fresh(Needs.CONDITION_GONE), condition_stands="oil is 55 Cel", recalibration="")

    assert refused.value.code == "condition_stands"


def test_what_is_not_latched_cannot_be_released() -> None:
    """An unknown halt is refused, not ignored."""
    with pytest.raises(Refused):
        release(None)


class Latch(RuleBasedStateMachine):
    """Whatever happens in whatever order, the latch goes only by a right release."""

    def __init__(self) -> None:
        super().__init__()
        self.halt: Halt | None = fresh()
        self.released_rightly = False

    @rule()
    def occurs_again(self) -> None:
        self.halt = halts.requested(self.halt, VERDICT, "filler", Needs.RECALIBRATION, "B1", 1, 2)
        self.released_rightly = False

    @rule()
    def commanded(self) -> None:
        if self.halt:
            self.halt = halts.commanded(self.halt, 3)

    @rule()
    def confirmed(self) -> None:
        if self.halt:
            self.halt = halts.confirmed(self.halt, HaltProof("Held", wrote=True), 4)

    @rule()
    def failed(self) -> None:
        if self.halt:
            self.halt = halts.failed(self.halt)

    @rule()
    def restarted(self) -> None:
        if self.halt:
            self.halt = halts.reasserted(halts.from_json(halts.to_json(self.halt)), "restart")

    @rule(version=st.integers(0, 6), acknowledged=st.booleans(), reason=st.sampled_from(["", "done"]))
    def tries_release(self, version: int, acknowledged: bool, reason: str) -> None:
        right = self.halt is not None and version == self.halt.version and acknowledged and bool(reason)
        try:
            release(self.halt, seen_version=version, acknowledged=acknowledged, reason=reason)
        except Refused:
            assert not right
        else:
            assert right
            self.halt, self.released_rightly = None, True

    @invariant()
    def stands_until_released(self) -> None:
        assert (self.halt is None) == self.released_rightly


Latch.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestLatch = Latch.TestCase
