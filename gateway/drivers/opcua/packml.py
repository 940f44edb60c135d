"""PackML as OPC UA machines speak it: states, what counts as standing still, and how to ask for it.  Pure.

Sources: OPC 30050 v1.01 (nodeset 1.01, TR88.00.02-2015) for state numbers, node ids, methods and transitions;
ISA-TR88.00.02 for the PackTags `Command.CntrlCmd` and `Command.CmdChangeRequest`.

Two dialects.  `tags`: plain PackTags, `Status.StateCurrent` is one number and a command is a number with a
handshake.  `companion`: three state machines one inside the other and methods on each of them; there is no state
number anywhere, it has to be composed.  Reading only the outer machine says "Cleared" whatever the machine does.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal, NamedTuple

URI: Final = "http://opcfoundation.org/UA/PackML/"

Action = Literal["hold", "stop", "suspend", "abort"]
Dialect = Literal["tags", "companion"]


class State(IntEnum):
    """PackML state numbers; 18 and 19 are superstates that exist only in the companion model."""

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
    RUNNING = 18
    CLEARED = 19

    @property
    def text(self) -> str:
        """`Held (11)`."""
        return f"{self.name.capitalize()} ({self.value})"


NODE_STATES: Final[dict[int, State]] = {
    27: State.RESETTING,
    28: State.IDLE,
    29: State.STARTING,
    30: State.SUSPENDING,
    31: State.SUSPENDED,
    32: State.UNSUSPENDING,
    33: State.HOLDING,
    34: State.HELD,
    35: State.UNHOLDING,
    36: State.EXECUTE,
    37: State.COMPLETING,
    38: State.COMPLETE,
    53: State.STOPPED,
    54: State.STOPPING,
    55: State.CLEARING,
    61: State.ABORTING,
    62: State.ABORTED,
    71: State.CLEARED,
    75: State.RUNNING,
}
"""Numeric node id in the PackML namespace -> state: what `CurrentState/Id` points at in servers that share the type's
state nodes."""

_NAMES: Final = {state.name: state for state in State}

MACHINES: Final = (
    ("BaseStateMachine",),
    ("BaseStateMachine", "MachineState"),
    ("BaseStateMachine", "MachineState", "ExecuteState"),
)
"""Browse names of the three state machines below the PackML object, outermost first."""


class Motion(NamedTuple):
    """How one action is asked for, and what the machine may be found in."""

    command: int
    """CntrlCmd."""
    method: str
    machine: int
    """Index in MACHINES of the object that has the method."""
    method_id: int
    """Node id of the method on the type, for instances that do not carry their own."""
    still: frozenset[State]
    """It stands still already: proof, nothing is written."""
    accepts: frozenset[State]
    """The command is taken here; in all other states we wait for the machine to pass through."""


_ALL: Final = frozenset(state for state in State if state < State.RUNNING)
_AT_REST: Final = frozenset({State.IDLE, State.STOPPED, State.ABORTED, State.COMPLETE})
"""Nothing moves, and only a person's Reset or Start at the machine changes that."""

ENDING: Final = {
    State.STOPPING: State.STOPPED,
    State.ABORTING: State.ABORTED,
    State.CLEARING: State.STOPPED,
}
"""States that end by themselves in one at rest; no request is taken in them that would bring it sooner."""

# Suspended does not stand still for `hold`: a machine leaves it by itself when the material is back, so it is held
# out of Suspended.  Completing and Resetting take no Hold (nodeset: no such transition) and end at rest by themselves.
_HOLDABLE: Final = frozenset(
    {State.STARTING, State.EXECUTE, State.UNHOLDING, State.SUSPENDING, State.SUSPENDED, State.UNSUSPENDING}
)
MOTIONS: Final[dict[Action, Motion]] = {
    "hold": Motion(4, "Hold", 2, 366, _AT_REST | {State.HELD}, _HOLDABLE),
    "suspend": Motion(6, "Suspend", 2, 367, _AT_REST | {State.HELD, State.SUSPENDED}, frozenset({State.EXECUTE})),
    "stop": Motion(
        3,
        "Stop",
        1,
        375,
        frozenset({State.STOPPED, State.ABORTED}),
        _ALL - {State.STOPPING, State.STOPPED, State.ABORTING, State.ABORTED, State.CLEARING},
    ),
    "abort": Motion(8, "Abort", 0, 364, frozenset({State.ABORTED}), _ALL - {State.ABORTING, State.ABORTED}),
}

SILENCE: Final = MOTIONS["hold"]._replace(command=0, method="", accepts=frozenset())
"""Nothing is asked: our heartbeat is withheld, and the controller brings the machine to rest as it sees fit."""


def motion_of(action: str) -> Motion:
    """What an action of the configuration means; `withhold` asks for nothing."""
    return next((motion for name, motion in MOTIONS.items() if name == action), SILENCE)


def state_of(value: object) -> State | None:
    """A state number as `Status.StateCurrent` gives it; None for anything that is none (0 is Undefined)."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= State.CLEARED:
        return None
    return State(value)


class Level(NamedTuple):
    """What one of the three machines says of itself; None where it says nothing (inactive, or not there)."""

    number: object = None
    """CurrentState/Number."""
    node: int | None = None
    """CurrentState/Id, if it is a numeric node id in the PackML namespace."""
    text: str | None = None
    """CurrentState: a localized text, so the last resort."""


def level_state(level: Level) -> State | None:
    """The state of one machine, by the least ambiguous of its words: number, then node id, then name."""
    found = state_of(level.number)
    if found is None and level.node is not None:
        found = NODE_STATES.get(level.node)
    if found is None and level.text:
        found = _NAMES.get(level.text.replace(" ", "").upper())
    return found


def compose(base: Level, machine: Level, execute: Level) -> State | None:
    """One PackML state out of the three nested machines: the deepest *active* one wins.

    A machine counts only while the one around it is in the superstate it refines: after an Abort the inner machines
    of many servers still show the state they were left in.  None: the machines do not say.
    """
    outer = level_state(base)
    if outer is not State.CLEARED:
        return outer
    middle = level_state(machine)
    return level_state(execute) if middle is State.RUNNING else middle
