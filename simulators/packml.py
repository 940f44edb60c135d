"""PackML's state model (OPC 30050 v1.01, ISA-TR88.00.02): states, legal commands, acting states that pass.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final


class State(IntEnum):
    """State numbers as the companion nodeset has them."""

    CLEARING = 1
    STOPPED = 2
    STARTING = 3
    IDLE = 4
    SUSPENDED = 5
    EXECUTE = 6
    STOPPING = 7
    ABORTING = 8
    ABORTED = 9
    HOLDING = 10
    HELD = 11
    UNHOLDING = 12
    SUSPENDING = 13
    UNSUSPENDING = 14
    RESETTING = 15
    COMPLETING = 16
    COMPLETE = 17


class Command(IntEnum):
    """`Command.CntrlCmd` numbers."""

    RESET = 1
    START = 2
    STOP = 3
    HOLD = 4
    UNHOLD = 5
    SUSPEND = 6
    UNSUSPEND = 7
    ABORT = 8
    CLEAR = 9
    COMPLETE = 10


S, C = State, Command
_EVERY: Final = frozenset(S)
LEGAL: Final[dict[Command, tuple[frozenset[State], State]]] = {
    C.RESET: (frozenset({S.STOPPED, S.COMPLETE}), S.RESETTING),
    C.START: (frozenset({S.IDLE}), S.STARTING),
    C.STOP: (_EVERY - {S.STOPPING, S.STOPPED, S.ABORTING, S.ABORTED, S.CLEARING}, S.STOPPING),
    C.HOLD: (
        frozenset({S.EXECUTE, S.STARTING, S.SUSPENDING, S.SUSPENDED, S.UNSUSPENDING, S.UNHOLDING}),
        S.HOLDING,
    ),
    C.UNHOLD: (frozenset({S.HELD}), S.UNHOLDING),
    C.SUSPEND: (frozenset({S.EXECUTE}), S.SUSPENDING),
    C.UNSUSPEND: (frozenset({S.SUSPENDED}), S.UNSUSPENDING),
    C.ABORT: (_EVERY - {S.ABORTING, S.ABORTED}, S.ABORTING),
    C.CLEAR: (frozenset({S.ABORTED}), S.CLEARING),
    C.COMPLETE: (frozenset({S.EXECUTE}), S.COMPLETING),
}
"""Command -> (states it is accepted in, acting state it leads to)."""

PASSING: Final[dict[State, tuple[State, float]]] = {
    S.CLEARING: (S.STOPPED, 0.2),
    S.STARTING: (S.EXECUTE, 0.3),
    S.STOPPING: (S.STOPPED, 0.2),
    S.ABORTING: (S.ABORTED, 0.1),
    S.HOLDING: (S.HELD, 0.15),
    S.UNHOLDING: (S.EXECUTE, 0.3),
    S.SUSPENDING: (S.SUSPENDED, 0.15),
    S.UNSUSPENDING: (S.EXECUTE, 0.2),
    S.RESETTING: (S.IDLE, 0.2),
    S.COMPLETING: (S.COMPLETE, 0.2),
}
"""Acting state -> (where it ends, after how many seconds)."""

CLEARED: Final = 19
RUNNING: Final = 18
"""Superstates that exist only in the companion model."""

_BASE: Final = frozenset({S.ABORTING, S.ABORTED})
_MACHINE: Final = frozenset({S.STOPPED, S.STOPPING, S.CLEARING})


def nested(state: State) -> tuple[int, int | None, int | None]:
    """State -> current state of (BaseStateMachine, MachineState, ExecuteState); None: that machine is not active."""
    if state in _BASE:
        return int(state), None, None
    if state in _MACHINE:
        return CLEARED, int(state), None
    return CLEARED, RUNNING, int(state)


class Machine:
    """One unit's state machine; `on_change` is told each new state at once."""

    def __init__(self, on_change: Callable[[State], None] = lambda _: None) -> None:
        self.state = State.STOPPED
        self.slow_s = 0.0
        """Each acting state takes so much longer."""
        self._left_s = 0.0
        self._on_change = on_change

    def accepts(self, command: Command) -> bool:
        return self.state in LEGAL[command][0]

    def command(self, command: Command) -> bool:
        """Carry it out if it is legal now; False: it is not, and nothing happened."""
        if not self.accepts(command):
            return False
        self._enter(LEGAL[command][1])
        return True

    def step(self, dt_s: float) -> None:
        """Let time pass: acting states end by themselves."""
        if self.state not in PASSING:
            return
        self._left_s -= dt_s
        if self._left_s <= 0:
            self._enter(PASSING[self.state][0])

    def reboot(self) -> None:
        """Power was gone: back in Stopped."""
        self._enter(State.STOPPED)

    def found(self, state: State) -> None:
        """It is simply so, whoever did it."""
        self._enter(state)

    def _enter(self, state: State) -> None:
        self.state = state
        self._left_s = PASSING[state][1] + self.slow_s if state in PASSING else 0.0
        self._on_change(state)
