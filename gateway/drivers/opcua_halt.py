"""Making an OPC UA machine stand still, and believing only its own state.  Imported inside connect().

Three ways to ask (PackTags, PackML methods, one plain write), one way to be sure: read the machine's state until it
says that it stands still.  A good answer to a write or a call proves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from gateway.drivers.opcua_compose import STATE_PARTS, levels, quality
from gateway.drivers.opcua_link import Link, NodeId
from gateway.drivers.opcua_packml import Motion, State, compose, state_of
from gateway.drivers.wire.opcua_publish import Item
from gateway.errors import NotHeld
from gateway.model import HaltProof, Quality, Value

LOOK_S: Final = 0.01
"""Between two looks at the state while it is on its way."""
MARGIN_S: Final = 0.02
"""We give up so long before the station does, so that the state we saw is in the error."""


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


class Controller(Protocol):
    """One way to ask one machine."""

    async def look(self) -> Seen: ...

    async def command(self) -> str:
        """Ask it to stand still; "" if the request was taken, else why not."""
        ...

    async def withdraw(self) -> None:
        """Take our request back.  Never starts anything."""
        ...


async def bring_to_rest(controller: Controller, budget_s: float, name: str) -> tuple[HaltProof, Seen]:
    """Look; command where it is taken; look until it stands still.  NotHeld names the state seen last.

    The command is given again only where the machine moved on into another state that takes it (a Hold refused
    while Starting is due once more in Execute).
    """
    seen: Seen | None = None
    asked: Seen | None = None
    refusal = ""
    try:
        async with asyncio.timeout(max(budget_s - MARGIN_S, budget_s / 2)):
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
        raise NotHeld(f"{name}: {_why(seen, asked, refusal, budget_s)}") from None


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
    """PackTags: `CntrlCmd` is only looked at when `CmdChangeRequest` becomes TRUE (ISA-TR88.00.02)."""

    def __init__(self, link: Link, motion: Motion, state: NodeId, command: NodeId, request: NodeId) -> None:
        self._link, self._motion = link, motion
        self._state, self._command, self._request = state, command, request
        self._pending = False

    async def prepare(self) -> TagsController:
        """Read once which types the controller wants.  DeviceMisconfigured if it does not say."""
        self._command_type = await self._link.type_of(self._command)
        self._request_type = await self._link.type_of(self._request)
        return self

    async def look(self) -> Seen:
        state, request = await self._link.read([self._state, self._request])
        self._pending = request[1] is True or request[1] == 1
        return _packml(state_of(_good(state)), self._motion, state[3])

    async def command(self) -> str:
        if self._pending:  # never taken: the edge has to come again
            refusal = await self._link.write(self._request, False, self._request_type)
            if refusal:
                return f"CmdChangeRequest: {refusal}"
        for what, node, value, kind in (
            ("CntrlCmd", self._command, self._motion.command, self._command_type),
            ("CmdChangeRequest", self._request, True, self._request_type),
        ):
            refusal = await self._link.write(node, value, kind)
            if refusal:
                return f"{what}: {refusal}"
        return ""

    async def withdraw(self) -> None:
        """A request that is still pending would hold the machine again; 0 is no command."""
        await self._link.write(self._request, False, self._request_type)
        await self._link.write(self._command, 0, self._command_type)


class CompanionController:
    """OPC 30050: a method on one of the three nested machines, the state composed of all three."""

    def __init__(
        self, link: Link, motion: Motion, parts: Sequence[NodeId | None], packml: int, method: tuple[NodeId, NodeId]
    ) -> None:
        """`packml`: index of its namespace here; `method`: the object to call it on, and the method."""
        self._link, self._motion, self._packml = link, motion, packml
        self._where = [at for at, node in enumerate(parts) if node is not None]
        self._nodes = [node for node in parts if node is not None]
        self._target, self._method = method

    async def look(self) -> Seen:
        values: list[Value] = [None] * STATE_PARTS
        items = await self._link.read(self._nodes)
        for at, item in zip(self._where, items, strict=True):
            values[at] = _good(item)
        state = compose(*levels(values, self._packml))
        return _packml(state, self._motion, max(item[3] for item in items))

    async def command(self) -> str:
        refusal = await self._link.call(self._target, self._method)
        return f"{self._motion.method}: {refusal}" if refusal else ""

    async def withdraw(self) -> None:
        """A method call leaves nothing behind."""


class PlainController:
    """Any machine: write one value, and wait for one tag to say one of the values that mean standing still."""

    def __init__(
        self,
        link: Link,
        confirm: tuple[str, NodeId, Sequence[Value]],
        write: tuple[NodeId, Value, object],
        release: tuple[NodeId, Value, object] | None,
    ) -> None:
        self._link, self._confirm, self._write, self._release = link, confirm, write, release

    async def look(self) -> Seen:
        tag, node, still = self._confirm
        (item,) = await self._link.read([node])
        value = _good(item)
        return Seen(value, f"{tag} = {value}", value is not None and value in still, True, item[3])

    async def command(self) -> str:
        return await self._link.write(*self._write)

    async def withdraw(self) -> None:
        if self._release is not None:
            await self._link.write(*self._release)


def _good(item: Item) -> Value:
    """The value, unless its status says that it is none, or it is no plain one."""
    return None if quality(item[2]) is Quality.BAD or isinstance(item[1], tuple) else item[1]


def _packml(state: State | None, motion: Motion, source_ns: int) -> Seen:
    if state is None:  # unknown is not still; ask, as a machine that says nothing may yet obey
        return Seen(None, "no PackML state", False, True, source_ns)
    return Seen(int(state), f"PackML {state.text}", state in motion.still, state in motion.accepts, source_ns)
