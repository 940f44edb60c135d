"""The table of ISA-18.2 / IEC 62682: every state, every event, and where it leads.  docs/alarms.md shows the same.

An alarm that is raised wants to be acknowledged, and is over when its condition is gone; one that latches wants a reset
as well.  From any state it may be shelved, suppressed or taken out of service, and it comes back by what holds then.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class AlarmState(StrEnum):
    NORMAL = "normal"
    UNACK = "unack"
    ACKED = "acked"
    RTN_UNACK = "rtn_unack"
    """The condition is gone; nobody acknowledged it yet."""
    LATCHED_UNACK = "latched_unack"
    """The condition is gone; it wants to be acknowledged and reset."""
    LATCHED_ACKED = "latched_acked"
    """The condition is gone, and it was acknowledged; it wants to be reset."""
    SHELVED = "shelved"
    """Put aside by a person, for a reason and a time."""
    SUPPRESSED = "suppressed"
    """By design: by the rule's configuration, or by a lost link."""
    OUT_OF_SERVICE = "out_of_service"
    """Taken out by maintenance, until maintenance returns it."""


class AlarmEvent(StrEnum):
    RAISE = "raise"
    """The condition began, again, or became more severe."""
    HALT = "halt"
    """The same by a judgement that halts: nothing hides that."""
    FLASH = "flash"
    """A single judgement: raised, and over at once."""
    FLASH_HALT = "flash_halt"
    CLEAR = "clear"
    ACK = "ack"
    RESET = "reset"
    SHELVE = "shelve"
    UNSHELVE = "unshelve"
    """By a person, or because its time is over."""
    SUPPRESS = "suppress"
    UNSUPPRESS = "unsuppress"
    REMOVE = "remove"
    """From service."""
    RETURN = "return"
    """To service."""


_S, _E = AlarmState, AlarmEvent

ACTIVE: Final = frozenset({_S.UNACK, _S.ACKED})
LATCHED: Final = frozenset({_S.LATCHED_UNACK, _S.LATCHED_ACKED})
HIDDEN: Final = frozenset({_S.SHELVED, _S.SUPPRESSED, _S.OUT_OF_SERVICE})
"""The condition is judged as ever; nothing of it is shown."""
SHOWN: Final = frozenset(_S) - HIDDEN

TRANSITIONS: Final[dict[tuple[AlarmState, AlarmEvent], AlarmState]] = {
    **{(state, event): _S.UNACK for state in _S for event in (_E.RAISE, _E.HALT)},
    **{(state, event): _S.RTN_UNACK for state in _S for event in (_E.FLASH, _E.FLASH_HALT)},
    **{(state, event): state for state in HIDDEN for event in (_E.RAISE, _E.FLASH)},
    **{(state, _E.CLEAR): state for state in _S},
    (_S.UNACK, _E.CLEAR): _S.RTN_UNACK,
    (_S.ACKED, _E.CLEAR): _S.NORMAL,
    (_S.UNACK, _E.ACK): _S.ACKED,
    (_S.RTN_UNACK, _E.ACK): _S.NORMAL,
    (_S.LATCHED_UNACK, _E.ACK): _S.LATCHED_ACKED,
    (_S.LATCHED_UNACK, _E.RESET): _S.RTN_UNACK,
    (_S.LATCHED_ACKED, _E.RESET): _S.NORMAL,
    **{(state, _E.SHELVE): _S.SHELVED for state in _S if state is not _S.OUT_OF_SERVICE},
    **{(state, _E.REMOVE): _S.OUT_OF_SERVICE for state in _S if state is not _S.OUT_OF_SERVICE},
    **{(state, _E.SUPPRESS): _S.SUPPRESSED for state in SHOWN},
    **{(state, _E.SUPPRESS): state for state in HIDDEN},
    **{(state, _E.UNSUPPRESS): state for state in _S if state is not _S.SUPPRESSED},
}
"""What is neither here nor in `RETURNS` is refused: nothing to acknowledge, to reset, to take back."""

LATCHING: Final[dict[tuple[AlarmState, AlarmEvent], AlarmState]] = {
    (_S.UNACK, _E.CLEAR): _S.LATCHED_UNACK,
    (_S.ACKED, _E.CLEAR): _S.LATCHED_ACKED,
    **{(state, _E.FLASH): _S.LATCHED_UNACK for state in SHOWN},
    **{(state, _E.FLASH_HALT): _S.LATCHED_UNACK for state in _S},
}
"""Where an alarm that latches goes elsewhere."""

RETURNS: Final = frozenset({(_S.SHELVED, _E.UNSHELVE), (_S.SUPPRESSED, _E.UNSUPPRESS), (_S.OUT_OF_SERVICE, _E.RETURN)})
"""Back among those that are shown, by what holds then; where something else hides it still, to that."""


def entry(*, active: bool, latched: bool, owed: bool) -> AlarmState:
    """Where an alarm comes back to that nothing hides any more.

    `active`: its condition holds now.  `latched`: it latches, and its condition held at some time since it was last
    reset.  `owed`: it was shown when logic hid it, and nobody had acknowledged it.
    """
    if active:
        return _S.UNACK
    if latched:
        return _S.LATCHED_UNACK
    return _S.RTN_UNACK if owed else _S.NORMAL


def following(state: AlarmState, event: AlarmEvent, *, latches: bool = False) -> AlarmState | None:
    """The next state; None where the event is refused.  Not for `RETURNS`."""
    plain = TRANSITIONS.get((state, event))
    return LATCHING.get((state, event), plain) if latches else plain
