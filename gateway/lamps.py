"""What a headless line has to show: alarms, halts, checks and batch in, signs out.  Pure.

The signs follow the practice of stack lights (IEC 60073: red danger, yellow abnormal, blue to be acted upon, green
normal; flashing asks for attention, steady was seen) and ISA-18.2 (unacknowledged flashes, acknowledged is steady).
Which lamp shows which sign is the lights' own configuration.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from gateway.alarms import Alarm, is_acknowledged
from gateway.drivers.base import Pattern, Sign
from gateway.halts import Halt, HaltState
from gateway.model import Priority, Severity
from gateway.verdicts import CheckState

LOUD: Final = frozenset({Priority.HIGH, Priority.CRITICAL})
"""Priorities for which the horn sounds."""
OPEN_CHECKS: Final = frozenset({CheckState.DUE, CheckState.TAKEN})


def signs(
    alarms: Collection[Alarm], halts: Collection[Halt], checks: Iterable[CheckState], *, producing: bool
) -> Pattern:
    """All that is to be shown now.

    `alarms` and `halts` are those that stand, `checks` how those not done stand; `producing`: a batch is being made.
    """
    new = [alarm for alarm in alarms if not is_acknowledged(alarm)]
    states = set(checks)
    against = bool(alarms or halts or CheckState.MISSED in states)
    holds = {
        Sign.HALT: bool(halts),
        Sign.HALT_FAILED: any(halt.state is HaltState.FAILED for halt in halts),
        Sign.CRITICAL: any(alarm.priority is Priority.CRITICAL for alarm in alarms),
        Sign.CRITICAL_NEW: any(alarm.priority is Priority.CRITICAL for alarm in new),
        Sign.ALARM: bool(alarms),
        Sign.ALARM_NEW: bool(new),
        Sign.CHECK_DUE: not states.isdisjoint(OPEN_CHECKS),
        Sign.CHECK_MISSED: CheckState.MISSED in states,
        Sign.RUNNING: producing,
        Sign.NORMAL: producing and not against,
        Sign.HORN: any(alarm.priority in LOUD or alarm.severity is Severity.HALT for alarm in new),
    }
    return frozenset(sign for sign, now in holds.items() if now)
