"""PackML: states, composition, what stands still.  Numbers and node ids typed off the nodeset Opc.Ua.PackML 1.01."""

from __future__ import annotations

import pytest

from gateway.drivers.opcua.packml import MOTIONS, NODE_STATES, Level, State, compose, level_state, state_of

NODESET = {
    27: (15, "Resetting"),
    28: (4, "Idle"),
    29: (3, "Starting"),
    30: (13, "Suspending"),
    31: (5, "Suspended"),
    32: (14, "Unsuspending"),
    33: (10, "Holding"),
    34: (11, "Held"),
    35: (12, "Unholding"),
    36: (6, "Execute"),
    37: (16, "Completing"),
    38: (17, "Complete"),
    53: (2, "Stopped"),
    54: (7, "Stopping"),
    55: (1, "Clearing"),
    61: (8, "Aborting"),
    62: (9, "Aborted"),
    71: (19, "Cleared"),
    75: (18, "Running"),
}
HOLD_CAUSES = {"Execute", "Starting", "Unsuspending", "Suspended", "Suspending", "Unholding"}
INNER = [number for number, _ in NODESET.values() if number in {3, 4, 5, 6, *range(10, 18)}]


def level(number: int) -> Level:
    """A machine that shows its state by the node id alone."""
    return Level(node=next(node for node, (found, _) in NODESET.items() if found == number))


def test_node_ids_are_the_nodesets() -> None:
    """Every state node of the nodeset maps to its StateNumber and name, and nothing else does."""
    assert {node: (int(state), state.name.capitalize()) for node, state in NODE_STATES.items()} == NODESET


@pytest.mark.parametrize("number", INNER)
def test_inner_states_come_through(number: int) -> None:
    """A running machine is in the state of the deepest machine, not Cleared."""
    assert compose(level(19), level(18), level(number)) == number


@pytest.mark.parametrize("number", [1, 2, 7])
def test_middle_states_hide_the_inner_machine(number: int) -> None:
    """A machine that is not Running is in the middle state, whatever the inner one still shows."""
    assert compose(level(19), level(number), level(11)) == number


@pytest.mark.parametrize("stale", INNER)
def test_abort_from_each_state(stale: int) -> None:
    """After an Abort from anywhere, inner machines left as they were do not count."""
    assert compose(level(8), level(18), level(stale)) is State.ABORTING
    assert compose(level(9), level(18), level(stale)) is State.ABORTED


def test_silence_is_no_state() -> None:
    """Where an active machine says nothing the state is unknown, never Cleared or Running."""
    assert compose(Level(), level(18), level(11)) is None
    assert compose(level(19), Level(), level(11)) is None
    assert compose(level(19), level(18), Level()) is None


def test_number_then_node_then_name() -> None:
    """The least ambiguous word counts: a localized name only where there is nothing else."""
    assert level_state(Level(11, 36, "Execute")) is State.HELD
    assert level_state(Level(None, 36, "Held")) is State.EXECUTE
    assert level_state(Level(None, None, "held")) is State.HELD
    assert level_state(Level(None, None, "Gehalten")) is None


@pytest.mark.parametrize("value", [0, -1, 20, True, 11.0, "11", None])
def test_what_is_no_state_number(value: object) -> None:
    """Only 1 to 19 are states: a boolean, a text or 0 (Undefined) never counts as one."""
    assert state_of(value) is None


def test_hold_is_taken_where_the_nodeset_says() -> None:
    """Hold is commanded in exactly the states that have a transition caused by it."""
    assert {state.name.capitalize() for state in MOTIONS["hold"].accepts} == HOLD_CAUSES


@pytest.mark.parametrize("action", MOTIONS)
def test_still_and_accepting_are_apart(action: str) -> None:
    """No state is proof and a reason to command at once, and a moving state is never proof."""
    motion = MOTIONS[action]  # type: ignore[index]
    assert not motion.still & motion.accepts
    assert not motion.still & {state for state in State if state.name.endswith("ING") or state is State.EXECUTE}


def test_command_numbers() -> None:
    """CntrlCmd: 3 Stop, 4 Hold, 6 Suspend, 8 Abort."""
    assert {action: motion.command for action, motion in MOTIONS.items()} == {
        "hold": 4,
        "suspend": 6,
        "stop": 3,
        "abort": 8,
    }
