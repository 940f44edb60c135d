"""What is done once at each connect: finding every node, learning what may be written, asking who is there.

Imported inside connect().  Node ids hold for one connection only, so nothing of this is kept for the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, cast

from gateway.drivers.opcua.compose import Compound, PackmlState
from gateway.drivers.opcua.convert import status_name, ua
from gateway.drivers.opcua.halt import (
    CompanionController,
    CompanionState,
    Controller,
    PlainController,
    SilentController,
    TagsController,
    TagsState,
    TagState,
)
from gateway.drivers.opcua.link import Link, NodeId
from gateway.drivers.opcua.nodes import NodeRef
from gateway.drivers.opcua.packml import ENDING, MACHINES, SILENCE, URI, Motion, motion_of
from gateway.drivers.opcua.scale import PART_NAMES, Scale, ScaleTag, Which
from gateway.drivers.opcua.settings import STATE, OpcUaSettings
from gateway.drivers.opcua.values import Values
from gateway.errors import DeviceMisconfigured
from gateway.model import Value

BUILD: Final = ua.NodeId(ua.ObjectIds.Server_ServerStatus_BuildInfo)
_STATE_NAMES: Final = (("CurrentState", "Number"), ("CurrentState", "Id"), ("CurrentState",))
_NAMEPLATE: Final = {
    "maker": "Manufacturer",
    "model": "Model",
    "serial": "SerialNumber",
    "firmware": "SoftwareRevision",
}
_DI: Final = "http://opcfoundation.org/UA/DI/"


class Found(NamedTuple):
    """The nodes of one connection."""

    nodes: list[tuple[int, NodeId]]
    """Handle and node: the tags' own, then the parts of compounds."""
    values: Values
    confirms: int | None
    """Position of the tag that says whether the machine stands still."""


class Outputs(NamedTuple):
    """What we may write."""

    controller: Controller | None
    heartbeat: tuple[NodeId, ua.VariantType] | None


async def find_inputs(config: OpcUaSettings, link: Link) -> Found:
    """Today's node ids of all tags.  One that is missing is one bad tag, looked for again at the next connect.

    DeviceMisconfigured: none of them is there.
    """
    names = list(config.nodes)
    plain = [at for at, name in enumerate(names) if config.nodes[name].compose is None]
    found = await link.resolve([config.tag_ref(names[at]) for at in plain])
    missing = {at: node for at, node in zip(plain, found, strict=True) if isinstance(node, str)}
    nodes = [(at, node) for at, node in zip(plain, found, strict=True) if not isinstance(node, str)]
    compounds: list[Compound] = []
    first = len(names)
    for ref, positions in _composed(config).items():
        compound, parts = await _compound(config, link, ref, positions)
        present = [(first + part, node) for part, node in enumerate(parts) if node is not None]
        if parts[0] is None and (isinstance(compound, Scale) or not present):
            missing |= dict.fromkeys(positions, f"BadNodeIdUnknown: {_wanted(compound)} {ref}")
        else:
            nodes += present
        compounds.append(compound)
        first += compound.parts
    if missing and not nodes:
        raise DeviceMisconfigured(f"{link.where}: none of the tags is there: {next(iter(missing.values()))}")
    rest = _rest(config)
    sparse = config.subscribes and config.sparse
    values = Values(config.tags(), status_name, compounds, rest, sparse=sparse, passing=_passing(config))
    for handle, reason in missing.items():
        values.spoil(handle, reason)
    return Found(nodes, values, rest[0] if rest else None)


def _composed(config: OpcUaSettings) -> dict[NodeRef, list[int]]:
    """Composed tags by the node they are made from: the tags of one weight share its parts."""
    groups: dict[NodeRef, list[int]] = {}
    for at, (name, tag) in enumerate(config.nodes.items()):
        if tag.compose is not None:
            groups.setdefault(config.tag_ref(name), []).append(at)
    return groups


async def _compound(
    config: OpcUaSettings, link: Link, ref: NodeRef, positions: Sequence[int]
) -> tuple[Compound, list[NodeId | None]]:
    tags = [list(config.nodes.values())[at] for at in positions]
    if tags[0].compose == "packml-state":
        return PackmlState(positions, link.namespace(URI) or 0), await _state_parts(link, ref)
    wanted = [
        ScaleTag(at, cast("Which", tag.compose), tag.kind, tag.unit) for at, tag in zip(positions, tags, strict=True)
    ]
    found = await link.resolve([ref._replace(path=(*ref.path, *path)) for path in PART_NAMES])
    return Scale(wanted, status_name), [None if isinstance(node, str) else node for node in found]


def _wanted(compound: Compound) -> str:
    return "there is no weight at" if isinstance(compound, Scale) else "no PackML state machine below"


async def _state_parts(link: Link, root: NodeRef) -> list[NodeId | None]:
    """Number, Id and text of the three machines below a PackML object; None for what the server does not have."""
    refs = [_below(root, machine, tuple(("", name) for name in part)) for machine in MACHINES for part in _STATE_NAMES]
    return [None if isinstance(node, str) else node for node in await link.resolve(refs)]


def _rest(config: OpcUaSettings) -> tuple[int, frozenset[Value]] | None:
    """Which tag says that the machine stands still, and with which values."""
    names = list(config.nodes)
    halt = config.halt
    if halt is not None and halt.confirm is not None:
        return names.index(halt.confirm.tag), frozenset(halt.confirm.among)
    if STATE not in names or (config.dialect is None and halt is None):
        return None
    return names.index(STATE), frozenset(int(state) for state in motion_of(halt.action if halt else "hold").still)


def _passing(config: OpcUaSettings) -> frozenset[Value]:
    """States in which a machine says neither that it stands nor that it runs: Stop was pressed on a held one, say."""
    if config.halt is not None and config.halt.confirm is not None:
        return frozenset()
    still = motion_of(config.halt.action if config.halt else "hold").still
    return frozenset(int(state) for state, end in ENDING.items() if end in still)


# -- what we may write ------------------------------------------------------------------------------


async def find_outputs(config: OpcUaSettings, link: Link) -> Outputs:
    """The nodes we may write: what cannot be halted or beaten must not look ready.

    DeviceMisconfigured: the halt or the heartbeat has no node to write.
    """
    controller = await _controller(config, link) if config.halt is not None else None
    if config.heartbeat is None:
        return Outputs(controller, None)
    node = await _needed(link, config.ref(config.heartbeat.write), "heartbeat")
    return Outputs(controller, (node, await link.type_of(node)))


async def _needed(link: Link, ref: NodeRef, what: str) -> NodeId:
    (node,) = await link.resolve([ref])
    if isinstance(node, str):
        raise DeviceMisconfigured(f"{link.where}: {what}: {node}")
    return node


async def _controller(config: OpcUaSettings, link: Link) -> Controller:
    halt = config.halt
    assert halt is not None
    if halt.action == "withhold":
        return SilentController(await _silent(config, link))
    if halt.write is not None:
        return await _plain(config, link)
    dialect, place = config.halt_place()
    motion = motion_of(halt.action)
    if dialect == "companion":
        return await _companion(link, config.ref(place), motion)
    state, command, request = [
        await _needed(link, config.ref(f"{place}.{tag}"), "halt")
        for tag in ("Status.StateCurrent", "Command.CntrlCmd", "Command.CmdChangeRequest")
    ]
    return await TagsController(link, motion, state, command, request).prepare()


async def _silent(config: OpcUaSettings, link: Link) -> CompanionState | TagsState | TagState:
    """Only what is read: where nothing is asked, no node of a command need be there."""
    if config.halt is not None and config.halt.confirm is not None:
        return await _tag_state(config, link)
    dialect, place = config.halt_place()
    if dialect == "companion":
        return await _companion_state(link, config.ref(place), SILENCE)
    return TagsState(link, SILENCE, await _needed(link, config.ref(f"{place}.Status.StateCurrent"), "halt"))


async def _companion_state(link: Link, root: NodeRef, motion: Motion) -> CompanionState:
    parts = await _state_parts(link, root)
    if not any(parts):
        raise DeviceMisconfigured(f"{link.where}: halt: no PackML state machine below {root}")
    return CompanionState(link, motion, parts, link.namespace(URI) or 0)


async def _companion(link: Link, root: NodeRef, motion: Motion) -> Controller:
    state = await _companion_state(link, root, motion)
    machine = MACHINES[motion.machine]
    target = await _needed(link, _below(root, machine), "halt")
    (method,) = await link.resolve([_below(root, (*machine, motion.method))])
    if isinstance(method, str):  # 10000-4 §5.12.2: an instance may leave its methods to the type
        method = ua.NodeId(motion.method_id, link.namespace(URI) or 0)
    return CompanionController(link, motion, state, (target, method))


async def _tag_state(config: OpcUaSettings, link: Link) -> TagState:
    halt = config.halt
    assert halt is not None
    assert halt.confirm is not None
    confirm = await _needed(link, config.tag_ref(halt.confirm.tag), "halt.confirm")
    return TagState(link, (halt.confirm.tag, confirm, halt.confirm.among))


async def _plain(config: OpcUaSettings, link: Link) -> Controller:
    halt = config.halt
    assert halt is not None
    state = await _tag_state(config, link)
    writes: list[tuple[NodeId, Value, ua.VariantType]] = []
    for what in (halt.write, halt.release):
        if what is not None:
            node = await _needed(link, config.ref(what.node), "halt")
            kind = ua.VariantType[what.type] if what.type else await link.type_of(node)
            writes.append((node, what.value, kind))
    release = writes[1] if len(writes) > 1 else None
    if writes[0][0] == state.node and halt.confirm_same != "accepted":
        raise DeviceMisconfigured(f"{link.where}: halt: write and confirm are one node: that proves no standstill")
    return PlainController(link, state, writes[0], release)


# -- who is there -----------------------------------------------------------------------------------


async def identify(config: OpcUaSettings, link: Link) -> Mapping[str, str]:
    """The nameplate of the machine where it has one (DI Identification), else the server's build info."""
    identity = {}
    build = await link.read_raw(BUILD)
    if isinstance(build, ua.BuildInfo):
        identity = {"maker": build.ManufacturerName, "model": build.ProductName, "firmware": build.SoftwareVersion}
    place = config.identification or config.root
    if place is not None and link.namespace(_DI) is not None:
        identity |= await _nameplate(link, config.ref(config.with_alias(place)))
    return {key: str(value) for key, value in identity.items() if value}


async def _nameplate(link: Link, place: NodeRef) -> dict[str, str]:
    refs = [place._replace(path=(*place.path, (_DI, "Identification"), (_DI, name))) for name in _NAMEPLATE.values()]
    found = zip(_NAMEPLATE, await link.resolve(refs), strict=True)
    there = [(key, node) for key, node in found if not isinstance(node, str)]
    items = await link.read([node for _, node in there])
    return {key: str(item[1]) for (key, _), item in zip(there, items, strict=True) if item[1] is not None}


def _below(root: NodeRef, names: Sequence[str], rest: tuple[tuple[str, str], ...] = ()) -> NodeRef:
    return root._replace(path=(*root.path, *((URI, name) for name in names), *rest))
