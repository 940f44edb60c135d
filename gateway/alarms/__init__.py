"""Alarms as ISA-18.2 / IEC 62682 has them.  Pure: an alarm and what happened in, an alarm out.

`table`: states, events, transitions.  `alarm`: the alarm of one rule, and what verdicts make of it.  `asked`: what
people and logic do with it.  `stats`: the standard's figures.
"""

from gateway.alarms.alarm import (
    Alarm,
    Shelf,
    Withdrawal,
    blank,
    body,
    cleared,
    from_json,
    is_acknowledged,
    is_active,
    is_hidden,
    is_normal,
    raised,
    to_json,
)
from gateway.alarms.asked import acknowledged, expired, removed, reset, returned, shelved, suppressed, unshelved
from gateway.alarms.table import HIDDEN, TRANSITIONS, AlarmEvent, AlarmState

__all__ = [
    "HIDDEN",
    "TRANSITIONS",
    "Alarm",
    "AlarmEvent",
    "AlarmState",
    "Shelf",
    "Withdrawal",
    "acknowledged",
    "blank",
    "body",
    "cleared",
    "expired",
    "from_json",
    "is_acknowledged",
    "is_active",
    "is_hidden",
    "is_normal",
    "raised",
    "removed",
    "reset",
    "returned",
    "shelved",
    "suppressed",
    "to_json",
    "unshelved",
]
