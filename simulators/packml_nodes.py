"""The PackML companion model (OPC 30050 v1.01) as nodes: three nested state machines, their states and their methods.

Type, state and method numbers and browse names are those of the published nodeset; transitions are left out.  The
current state must be composed from the deepest active machine: `BaseStateMachine` alone says only `Cleared`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from asyncua import ua

from simulators.opcua_server import OpcUaLink
from simulators.packml import CLEARED, RUNNING, Command, State, nested
from simulators.ua_edge import (
    BAD_INVALID_STATE,
    FINITE_STATE_VARIABLE,
    GOOD,
    HAS_TYPE_DEFINITION,
    OBJECTS_FOLDER,
    STATE_TYPE,
    node_id,
    status,
)

URI: Final = "http://opcfoundation.org/UA/PackML/"
VERSION: Final = "TR88.00.02-2015"
BASE_OBJECT, STATUS, ADMIN = 6, 4, 5
EXECUTE_MACHINE, MACHINE_MACHINE, BASE_MACHINE = 1, 2, 3
TYPES: Final = (
    (EXECUTE_MACHINE, "PackMLExecuteStateMachineType", 2771),
    (MACHINE_MACHINE, "PackMLMachineStateMachineType", 2771),
    (BASE_MACHINE, "PackMLBaseStateMachineType", 2771),
    (STATUS, "PackMLStatusObjectType", 58),
    (ADMIN, "PackMLAdminObjectType", 58),
    (BASE_OBJECT, "PackMLBaseObjectType", 58),
)
STATES: Final = {
    EXECUTE_MACHINE: (
        (27, State.RESETTING),
        (28, State.IDLE),
        (29, State.STARTING),
        (30, State.SUSPENDING),
        (31, State.SUSPENDED),
        (32, State.UNSUSPENDING),
        (33, State.HOLDING),
        (34, State.HELD),
        (35, State.UNHOLDING),
        (36, State.EXECUTE),
        (37, State.COMPLETING),
        (38, State.COMPLETE),
    ),
    MACHINE_MACHINE: ((53, State.STOPPED), (54, State.STOPPING), (55, State.CLEARING), (75, RUNNING)),
    BASE_MACHINE: ((61, State.ABORTING), (62, State.ABORTED), (71, CLEARED)),
}
"""Machine type -> (node number of the state on the type, state number)."""
METHODS: Final = {
    BASE_MACHINE: (("Clear", Command.CLEAR), ("Abort", Command.ABORT)),
    MACHINE_MACHINE: (("Stop", Command.STOP), ("Reset", Command.RESET)),
    EXECUTE_MACHINE: (
        ("Reset", Command.RESET),
        ("Start", Command.START),
        ("Hold", Command.HOLD),
        ("Unhold", Command.UNHOLD),
        ("Suspend", Command.SUSPEND),
        ("Unsuspend", Command.UNSUSPEND),
        ("ToComplete", Command.COMPLETE),
    ),
}
LEVELS: Final = (
    (BASE_MACHINE, "BaseStateMachine"),
    (MACHINE_MACHINE, "MachineState"),
    (EXECUTE_MACHINE, "ExecuteState"),
)


def state_name(number: int) -> str:
    """Browse name of a state."""
    return {CLEARED: "Cleared", RUNNING: "Running"}.get(number) or State(number).name.capitalize()


class Companion:
    """The PackML object of one machine, `<Object>.PackML` under `PackMLObjects`."""

    def __init__(self, link: OpcUaLink, parent: str, command: Callable[[Command, str], bool]) -> None:
        self._link = link
        self._parent = parent
        self._command = command
        self._numbers: dict[int, ua.NodeId] = {}
        """State number -> node of the state on the type, what CurrentState.Id says."""
        self._current: list[tuple[ua.NodeId, ua.NodeId, ua.NodeId]] = []

    async def build(self) -> None:
        """Make types, states, object, machines and methods."""
        self._index = await self._link.server.register_namespace(URI)
        await self._types()
        await self._states()
        root = await self._object()
        above = root
        path = f"{self._parent}.PackML"
        for kind, name in LEVELS:
            path = f"{path}.{name}"
            above = await self._machine(above, path, name, kind)

    async def show(self, state: State) -> None:
        """Publish a state on all three machines; those not active say Bad_StateNotActive."""
        for (current, identifier, numbered), number in zip(self._current, nested(state), strict=True):
            text = None if number is None else ua.LocalizedText(state_name(number))
            await self._link.show(current, text)
            await self._link.show(identifier, None if number is None else self._numbers[number])
            await self._link.show(numbered, number)

    def _named(self, name: str) -> ua.QualifiedName:
        return ua.QualifiedName(name, self._index)

    async def _types(self) -> None:
        for number, name, base in TYPES:
            node = self._link.server.get_node(node_id(base))
            await node.add_object_type(node_id(number, self._index), self._named(name))

    async def _states(self) -> None:
        for kind, states in STATES.items():
            home = self._link.server.get_node(node_id(kind, self._index))
            for number, state in states:
                node = node_id(number, self._index)
                name = state_name(int(state))
                made = await home.add_object(node, self._named(name), node_id(STATE_TYPE))
                prop = self._link.node(f"{self._parent}.PackML.Type{kind}.{name}.StateNumber")
                value = ua.Variant(int(state), ua.VariantType.UInt32)
                await made.add_property(prop, ua.QualifiedName("StateNumber", 0), value)
                self._numbers[int(state)] = node

    async def _object(self) -> ua.NodeId:
        objects = self._link.server.get_node(node_id(OBJECTS_FOLDER))
        folder = await objects.add_folder(node_id(72, self._index), self._named("PackMLObjects"))
        node = self._link.node(f"{self._parent}.PackML")
        name = ua.QualifiedName(self._parent, self._link.index)
        made = await folder.add_object(node, name, node_id(BASE_OBJECT, self._index), instantiate_optional=False)
        version = self._link.node(f"{self._parent}.PackML.PackMLVersion")
        await made.add_property(version, self._named("PackMLVersion"), ua.Variant(VERSION, ua.VariantType.String))
        return node

    async def _machine(self, above: ua.NodeId, path: str, name: str, kind: int) -> ua.NodeId:
        server, link = self._link.server, self._link
        node = link.node(path)
        blank: list[ua.NodeId] = []
        made = await server.get_node(above).add_object(node, self._named(name))
        await self._retype(made.nodeid, node_id(kind, self._index))
        text = ua.Variant(ua.LocalizedText(""), ua.VariantType.LocalizedText)
        current = await made.add_variable(link.node(f"{path}.CurrentState"), ua.QualifiedName("CurrentState", 0), text)
        await self._retype(current.nodeid, node_id(FINITE_STATE_VARIABLE))
        for prop, value, variant in (
            ("Id", ua.NodeId(), ua.VariantType.NodeId),
            ("Number", 0, ua.VariantType.UInt32),
        ):
            child = link.node(f"{path}.CurrentState.{prop}")
            await current.add_property(child, ua.QualifiedName(prop, 0), ua.Variant(value, variant))
            link.typed(child, variant)
            blank.append(child)
        link.typed(current.nodeid, ua.VariantType.LocalizedText)
        self._current.append((current.nodeid, blank[0], blank[1]))
        await self._available(made.nodeid, path, kind)
        for method, command in METHODS[kind]:
            await made.add_method(link.node(f"{path}.{method}"), self._named(method), self._callback(command), [], [])
        return node

    async def _available(self, machine: ua.NodeId, path: str, kind: int) -> None:
        states = ua.Variant([self._numbers[int(state)] for _, state in STATES[kind]], ua.VariantType.NodeId)
        node = self._link.node(f"{path}.AvailableStates")
        await self._link.server.get_node(machine).add_variable(node, ua.QualifiedName("AvailableStates", 0), states)

    async def _retype(self, node: ua.NodeId, kind: ua.NodeId) -> None:
        """Give a node its type; asyncua would copy the type's states into each instance."""
        for reference in self._link.server.iserver.aspace[node].references:
            if reference.ReferenceTypeId == node_id(HAS_TYPE_DEFINITION):
                reference.NodeId = kind

    def _callback(self, command: Command) -> Callable[..., object]:
        async def called(_parent: ua.NodeId, *_arguments: ua.Variant) -> ua.StatusCode:
            good = self._command(command, f"method {command.name.capitalize()}")
            return status(GOOD if good else BAD_INVALID_STATE)

        return called
