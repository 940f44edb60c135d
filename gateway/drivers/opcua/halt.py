"""Making an OPC UA machine stand still, and believing only its own state.  Imported inside connect().

Four ways to ask (PackTags, PackML methods, one plain write, or not at all: our heartbeat is withheld), one way to be
sure: read the machine's state until it says that it stands still.  A good answer to a write or a call proves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from gateway.drivers.base import attempt_s
from gateway.drivers.opcua.compose import STATE_PARTS, levels, quality
from gateway.drivers.opcua.convert import status_name
from gateway.drivers.opcua.link import Link, NodeId
from gateway.drivers.opcua.packml import Motion, State, compose, state_of
from gateway.drivers.wire.opcua_publish import Item
from gateway.errors import NotHeld
from gateway.model import HaltProof, Quality, Value

LOOK_S: Final = 0.01
"""Between two looks at the state while it is on its way."""


class Seen(NamedTuple):
    """One look at the machine."""

    value: Value
    """State number, or the value of the confirming tag; None where the machine does not say."""
    text: str
    """For people: `PackML Held (11)`."""
    still: bool
    accepts: bool
    """The command would be taken now."""
    source_ns: int = 0
    note: str = ""
    """What else was seen, where it explains why the machine goes on."""


class Controller(Protocol):
    """One way to ask one machine."""

    async def look(self) -> Seen: ...

    def was(self, state: Value) -> Seen:
        """What the machine said earlier, in a reading."""
        ...

    async def command(self) -> str:
        """Ask it to stand still; "" if the request was taken, else why not."""
        ...

    async def withdraw(self) -> str:
        """Take our request back; "" if that was taken, else why not.  Never starts anything."""
        ...


async def bring_to_rest(
    controller: Controller, budget_s: float, name: str, before: Seen | None = None
) -> tuple[HaltProof, Seen]:
    """Look; command where it is taken; look until it stands still.  NotHeld names the state seen last.

    `before`: the last reading, where it is news: a command that was taken in that state is given without a look.  It is
    given again only where the machine moved on into another state that takes it (a Hold refused while Starting is due
    once more in Execute).
    """
    seen: Seen | None = None
    asked: Seen | None = None
    refusal = ""
    try:
        async with asyncio.timeout(attempt_s(budget_s)):
            if before is not None and before.accepts and not before.still:
                refusal = await controller.command()
                asked = None if refusal else before  # refused: it moved on since, and where to is to be seen
            while True:
                seen = await controller.look()
                if seen.still:
                    return HaltProof(seen.text, asked is not None), seen
                if seen.accepts and (asked is None or asked.value != seen.value):
                    asked = seen
                    refusal = await controller.command()
                else:
                    await asyncio.sleep(LOOK_S)
    except TimeoutError:
        note = f"; {seen.note}" if seen is not None and seen.note else ""
        raise NotHeld(f"{name}: {_why(seen, asked, refusal, budget_s)}{note}") from None


def _why(seen: Seen | None, asked: Seen | None, refusal: str, budget_s: float) -> str:
    if seen is None:
        return f"the machine's state could not be read within {budget_s:g} s"
    if refusal:
        return f"the request was refused ({refusal}) and the machine says {seen.text}"
    if asked is None:
        return (
            f"the machine says {seen.text}, where it takes no such request, and did not come to rest in {budget_s:g} s"
        )
    return f"requested in {asked.text}, but after {budget_s:g} s the machine says {seen.text}"


class TagsController:
    """PackTags: `CntrlCmd` is only looked at when `CmdChangeRequest` becomes TRUE (ISA-TR88.00.02).

    The machine takes the request back once it has looked.  Between the two writes command and state are read back:
    where somebody else (a panel) put another command there, our TRUE would carry that out, and it might be a Start;
    where the machine moved on into a state that does not take ours, the request would wait there for another one.
    """

    def __init__(self, link: Link, motion: Motion, state: NodeId, command: NodeId, request: NodeId) -> None:
        self._link, self._motion = link, motion
        self._state, self._command, self._request = state, command, request

    async def prepare(self) -> TagsController:
        """Read once which types the controller wants.  DeviceMisconfigured if it does not say."""
        self._command_type = await self._link.type_of(self._command)
        self._request_type = await self._link.type_of(self._request)
        return self

    async def look(self) -> Seen:
        state, request = await self._link.read([self._state, self._request])
        seen = _packml(state_of(_good(state)), self._motion, state[3], _doubt([state]))
        note = "CmdChangeRequest is still TRUE: the machine's program has not taken it" if _is_true(request) else ""
        return seen._replace(note=note)

    def was(self, state: Value) -> Seen:
        return _packml(state_of(state), self._motion, 0)

    async def command(self) -> str:
        refusal = await self._link.write(self._command, self._motion.command, self._command_type)
        if refusal:
            return f"CntrlCmd: {refusal}"
        there, state, request = await self._link.read([self._command, self._state, self._request])
        if _is_true(request):  # never taken: the edge has to come again
            refusal = await self._link.write(self._request, False, self._request_type)
            if refusal:
                return f"CmdChangeRequest: {refusal}"
            there, state = await self._link.read([self._command, self._state])
        seen = self.was(_good(state))
        if not seen.accepts:
            return f"CmdChangeRequest: not given in {seen.text}"
        if _good(there) not in (self._motion.command, 0, None):  # 0, None: it is cleared at once, or cannot be read
            return f"CntrlCmd: {self._motion.command} was written and {there[1]} is there: somebody else commands, too"
        refusal = await self._link.write(self._request, True, self._request_type)
        return f"CmdChangeRequest: {refusal}" if refusal else ""

    async def withdraw(self) -> str:
        """A request of ours that is still pending would hold the machine again; 0 is no command.

        What somebody else has put there meanwhile (a panel's Reset) is theirs, and left alone.
        """
        (there,) = await self._link.read([self._command])
        if _good(there) not in (self._motion.command, 0, None):
            return ""
        for node, value, kind in ((self._request, False, self._request_type), (self._command, 0, self._command_type)):
            refusal = await self._link.write(node, value, kind)
            if refusal:
                return f"{'CntrlCmd' if node is self._command else 'CmdChangeRequest'}: {refusal}"
        return ""


class CompanionState:
    """OPC 30050: one state, composed of three nested machines."""

    def __init__(self, link: Link, motion: Motion, parts: Sequence[NodeId | None], packml: int) -> None:
        """`packml`: index of its namespace here."""
        self._link, self._motion, self._packml = link, motion, packml
        self._where = [at for at, node in enumerate(parts) if node is not None]
        self._nodes = [node for node in parts if node is not None]

    async def look(self) -> Seen:
        values: list[Value] = [None] * STATE_PARTS
        items = await self._link.read(self._nodes)
        for at, item in zip(self._where, items, strict=True):
            values[at] = _good(item)
        state = compose(*levels(values, self._packml))
        doubt = "" if state is not None else _doubt(items)
        return _packml(state, self._motion, max(item[3] for item in items), doubt)

    def was(self, state: Value) -> Seen:
        return _packml(state_of(state), self._motion, 0)


class CompanionController:
    """OPC 30050: a method on one of the three nested machines."""

    def __init__(self, link: Link, motion: Motion, state: CompanionState, method: tuple[NodeId, NodeId]) -> None:
        """`method`: the object to call it on, and the method."""
        self._link, self._motion, self._state = link, motion, state
        self._target, self._method = method

    async def look(self) -> Seen:
        return await self._state.look()

    def was(self, state: Value) -> Seen:
        return self._state.was(state)

    async def command(self) -> str:
        refusal = await self._link.call(self._target, self._method)
        return f"{self._motion.method}: {refusal}" if refusal else ""

    async def withdraw(self) -> str:
        """A method call leaves nothing behind."""
        return ""


class TagsState:
    """PackTags: `Status.StateCurrent` alone."""

    def __init__(self, link: Link, motion: Motion, state: NodeId) -> None:
        self._link, self._motion, self._state = link, motion, state

    async def look(self) -> Seen:
        (state,) = await self._link.read([self._state])
        return _packml(state_of(_good(state)), self._motion, state[3], _doubt([state]))

    def was(self, state: Value) -> Seen:
        return _packml(state_of(state), self._motion, 0)


class TagState:
    """Any machine: one tag, and the values of it that mean standing still."""

    def __init__(self, link: Link, confirm: tuple[str, NodeId, Sequence[Value]]) -> None:
        self._link, self._confirm = link, confirm
        self.node = confirm[1]

    async def look(self) -> Seen:
        (item,) = await self._link.read([self._confirm[1]])
        doubt = _doubt([item])
        seen = self.was(_good(item))._replace(source_ns=item[3])
        return seen._replace(text=f"{self._confirm[0]}: {doubt}") if doubt else seen

    def was(self, state: Value) -> Seen:
        tag, _, still = self._confirm
        return Seen(state, f"{tag} = {state}", state is not None and state in still, True)


class PlainController:
    """Any machine: write one value, and wait for one tag to say one of the values that mean standing still."""

    def __init__(
        self,
        link: Link,
        state: TagState,
        write: tuple[NodeId, Value, object],
        release: tuple[NodeId, Value, object] | None,
    ) -> None:
        self._link, self._state, self._write, self._release = link, state, write, release

    async def look(self) -> Seen:
        return await self._state.look()

    def was(self, state: Value) -> Seen:
        return self._state.was(state)

    async def command(self) -> str:
        return await self._link.write(*self._write)

    async def withdraw(self) -> str:
        return "" if self._release is None else await self._link.write(*self._release)


class SilentController:
    """Nothing is asked: our heartbeat is withheld meanwhile, and the controller's own watch holds the machine."""

    def __init__(self, state: CompanionState | TagsState | TagState) -> None:
        self._state = state

    async def look(self) -> Seen:
        seen = await self._state.look()
        return seen._replace(accepts=False, note="" if seen.still else "our heartbeat to it is withheld")

    def was(self, state: Value) -> Seen:
        return self._state.was(state)._replace(accepts=False)

    async def command(self) -> str:
        """Never asked for: it takes none."""
        return "a withheld heartbeat is no command"

    async def withdraw(self) -> str:
        """The heartbeat goes on by itself; a controller that starts a machine for that is wrong (docs/halts.md)."""
        return ""


def _good(item: Item) -> Value:
    """The value where its status is good, and it is a plain one.

    An uncertain one proves nothing: a server that lost its controller shows the last state it knew as
    UncertainLastUsableValue (10000-8 §7.3), and that may be Held while the machine runs.
    """
    return item[1] if quality(item[2]) is Quality.GOOD and not isinstance(item[1], tuple) else None


def _doubt(items: Sequence[Item]) -> str:
    """What stands against the first of them that is not good."""
    return next((status_name(item[2]) for item in items if quality(item[2]) is not Quality.GOOD), "")


def _is_true(item: Item) -> bool:
    return item[1] is True or item[1] == 1


def _packml(state: State | None, motion: Motion, source_ns: int, doubt: str = "") -> Seen:
    if state is None:  # unknown is not still; ask, as a machine that says nothing may yet obey
        return Seen(None, f"no PackML state{doubt and f' ({doubt})'}", False, True, source_ns)
    return Seen(int(state), f"PackML {state.text}", state in motion.still, state in motion.accepts, source_ns)
