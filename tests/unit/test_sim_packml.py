"""PackML: what is legal, what is not, what passes by itself."""

from __future__ import annotations

import pytest

from simulators.packml import CLEARED, LEGAL, PASSING, RUNNING, Command, Machine, State, nested


def _in(state: State) -> Machine:
    machine = Machine()
    machine._enter(state)
    return machine


def _settle(machine: Machine) -> list[State]:
    seen = []
    for _ in range(200):
        machine.step(0.01)
        if not seen or seen[-1] is not machine.state:
            seen.append(machine.state)
    return seen


def test_numbers_of_the_companion_nodeset() -> None:
    """The numbers everybody else reads: 2 Stopped, 4 Idle, 6 Execute, 9 Aborted, 10 Holding, 11 Held, 17 Complete."""
    assert [state.value for state in State] == list(range(1, 18))
    assert State.STOPPED == 2
    assert State.IDLE == 4
    assert State.EXECUTE == 6
    assert State.ABORTED == 9
    assert State.HOLDING == 10
    assert State.HELD == 11
    assert State.COMPLETE == 17


def test_a_morning() -> None:
    """Stopped, reset, start, hold, unhold, complete, reset: each acting state passes by itself."""
    seen: list[State] = []
    machine = Machine(seen.append)
    for command in (Command.RESET, Command.START, Command.HOLD, Command.UNHOLD, Command.COMPLETE, Command.RESET):
        assert machine.command(command)
        _settle(machine)
    names = [state.name for state in seen]
    assert names == [
        "RESETTING", "IDLE", "STARTING", "EXECUTE", "HOLDING", "HELD", "UNHOLDING", "EXECUTE", "COMPLETING",
        "COMPLETE", "RESETTING", "IDLE",
    ]  # fmt: skip


@pytest.mark.parametrize("state", State)
def test_abort_from_each_state(state: State) -> None:
    """Abort works from everywhere but Aborting and Aborted, and only Clear and Reset lead out of it."""
    machine = _in(state)
    accepted = machine.command(Command.ABORT)
    assert accepted == (state not in (State.ABORTING, State.ABORTED))
    _settle(machine)
    assert machine.state is State.ABORTED
    assert not machine.command(Command.START)
    assert not machine.command(Command.RESET)
    assert machine.command(Command.CLEAR)
    _settle(machine)
    assert machine.state is State.STOPPED


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("command", Command)
def test_illegal_commands_change_nothing(state: State, command: Command) -> None:
    """A command not accepted in a state leaves it as it was; an accepted one enters its acting state."""
    machine = _in(state)
    legal, target = LEGAL[command]
    assert machine.command(command) == (state in legal)
    assert machine.state is (target if state in legal else state)


def test_hold_is_accepted_where_the_nodeset_has_a_transition() -> None:
    """Hold works from six states, as in the nodeset; not from Held, Idle or Stopped."""
    assert {state.name for state in LEGAL[Command.HOLD][0]} == {
        "EXECUTE", "STARTING", "SUSPENDING", "SUSPENDED", "UNSUSPENDING", "UNHOLDING",
    }  # fmt: skip


def test_every_acting_state_ends() -> None:
    """The states named -ing are exactly those that pass by themselves."""
    assert {state.name for state in PASSING} == {state.name for state in State if state.name.endswith("ING")}


def test_nested_machines() -> None:
    """The state is composed from the deepest active machine; the base machine alone says Cleared."""
    assert nested(State.HELD) == (CLEARED, RUNNING, 11)
    assert nested(State.STOPPED) == (CLEARED, 2, None)
    assert nested(State.ABORTED) == (9, None, None)
