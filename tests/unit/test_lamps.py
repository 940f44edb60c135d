"""What a line has to show, from alarms, halts, checks and batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alarms import Alarm, AlarmState
from gateway.drivers.base import Sign
from gateway.halts import Halt, HaltState, Needs
from gateway.lamps import signs
from gateway.model import Priority, Severity
from gateway.verdicts import CheckState

STANDING = [state for state in AlarmState if state is not AlarmState.NORMAL]


def alarm(
    state: str = "unack", priority: Priority = Priority.MEDIUM, severity: Severity = Severity.ALARM, rule: str = "r"
) -> Alarm:
    return Alarm(rule, 1, AlarmState(state), priority, severity, "x/y", "text", None, None, "1", 0)


def halt(state: HaltState = HaltState.CONFIRMED) -> Halt:
    return Halt("filler:r", "filler", "r", "text", Needs.CORRECTION, state, 1, None, 0, 0)


S = Sign
TABLE: list[tuple[str, dict[str, object], set[Sign]]] = [
    ("nothing runs", {"producing": False}, set()),
    ("a batch runs, all is well", {}, {S.RUNNING, S.NORMAL}),
    ("a check is due: that is normal", {"checks": [CheckState.DUE]}, {S.RUNNING, S.NORMAL, S.CHECK_DUE}),
    ("taken in part, still due", {"checks": [CheckState.TAKEN]}, {S.RUNNING, S.NORMAL, S.CHECK_DUE}),
    ("a check was missed", {"checks": [CheckState.MISSED]}, {S.RUNNING, S.CHECK_MISSED}),
    ("a new medium alarm", {"alarms": [alarm()]}, {S.RUNNING, S.ALARM, S.ALARM_NEW}),
    ("acknowledged, and still there", {"alarms": [alarm("acked")]}, {S.RUNNING, S.ALARM}),
    ("over, and not acknowledged", {"alarms": [alarm("rtn_unack")]}, {S.RUNNING, S.ALARM, S.ALARM_NEW}),
    ("a new high alarm sounds", {"alarms": [alarm(priority=Priority.HIGH)]}, {S.RUNNING, S.ALARM, S.ALARM_NEW, S.HORN}),
    ("acknowledged: silence", {"alarms": [alarm("acked", Priority.HIGH)]}, {S.RUNNING, S.ALARM}),
    (
        "a new critical alarm",
        {"alarms": [alarm(priority=Priority.CRITICAL)]},
        {S.RUNNING, S.ALARM, S.ALARM_NEW, S.CRITICAL, S.CRITICAL_NEW, S.HORN},
    ),
    (
        "a critical one acknowledged",
        {"alarms": [alarm("acked", Priority.CRITICAL)]},
        {S.RUNNING, S.ALARM, S.CRITICAL},
    ),
    (
        "a halt's alarm sounds whatever its priority",
        {"alarms": [alarm(severity=Severity.HALT)], "halts": [halt()]},
        {S.RUNNING, S.ALARM, S.ALARM_NEW, S.HALT, S.HORN},
    ),
    ("a latch whose alarm was seen", {"halts": [halt()], "producing": False}, {S.HALT}),
    ("ordered, not confirmed yet", {"halts": [halt(HaltState.COMMANDED)]}, {S.RUNNING, S.HALT}),
    ("a machine that does not stand", {"halts": [halt(HaltState.FAILED)]}, {S.RUNNING, S.HALT, S.HALT_FAILED}),
]


@pytest.mark.parametrize(("given_", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_table(given_: dict[str, object], expected: set[Sign]) -> None:
    """Each situation of the line shows what the table says, and nothing else."""
    whole = {"alarms": [], "halts": [], "checks": [], "producing": True, **given_}

    assert signs(**whole) == expected  # type: ignore[arg-type]


some = st.lists(st.builds(alarm, st.sampled_from([s.value for s in STANDING]), st.sampled_from(Priority)), max_size=4)
held = st.lists(st.builds(halt, st.sampled_from(HaltState)), max_size=2)
due = st.lists(st.sampled_from([CheckState.DUE, CheckState.TAKEN, CheckState.MISSED]), max_size=3)


@given(some, held, due, st.booleans())
def test_what_always_holds(alarms: list[Alarm], halts: list[Halt], checks: list[CheckState], producing: bool) -> None:
    """Normal is never shown beside trouble; the horn is silent once all is acknowledged; new implies standing."""
    shown = signs(alarms, halts, checks, producing=producing)

    assert (S.NORMAL in shown) == (producing and not shown & {S.ALARM, S.HALT, S.CHECK_MISSED})
    assert S.HORN not in shown or S.ALARM_NEW in shown
    assert S.ALARM_NEW not in shown or S.ALARM in shown
    assert S.CRITICAL_NEW not in shown or S.CRITICAL in shown
    assert S.HALT_FAILED not in shown or S.HALT in shown
