"""Looking around in an OPC UA server: what there is below a node, with types, values and access.

For commissioning only: it reads, and nothing of it runs in a gateway.  Everything goes in requests of the size the
server takes, level by level, so that a server with ten thousand nodes is asked some hundred times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.drivers.opcua.convert import plain, status_name, ua
from gateway.drivers.opcua.link import Link, NodeId, edge
from gateway.drivers.wire.opcua_publish import Engineering, Structure
from gateway.errors import DeviceError, DeviceMisconfigured

SERVER: Final = ua.NodeId(ua.ObjectIds.Server)
"""Some three thousand nodes of diagnostics that are the same everywhere: not entered, unless asked for."""
OBJECT, VARIABLE, METHOD = 1, 2, 4
PAGE: Final = 1000
"""What is below one node comes in pages of so many."""
_AGAIN: Final = ua.StatusCodes.BadNoContinuationPoints
_READ, _WRITE = 0x01, 0x02
Progress = Callable[[int], None]


@dataclass
class Node:
    """One node found."""

    id: NodeId
    parent: Node | None
    depth: int
    name: str
    kind: int
    """OBJECT, VARIABLE or METHOD."""
    type: str = ""
    """Data type of a variable, `Double[]` where it is an array."""
    access: str = ""
    """rw, r, w or - : what this session may do."""
    value: str = ""
    status: str = ""
    """Why there is no value, or what is not good about it."""
    below: list[Node] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Names from the root on: `Objects/Filler/Status`."""
        return f"{self.parent.path}/{self.name}" if self.parent is not None else self.name

    def all(self) -> Iterator[Node]:
        """This one and all below, in the order of a tree."""
        yield self
        for node in self.below:
            yield from node.all()


async def walk(link: Link, root: NodeId, depth: int, most: int, progress: Progress) -> tuple[Node, bool]:
    """The tree below `root`, and whether `most` nodes cut it short.  DeviceMisconfigured: there is no such node."""
    top = await _top(link, root)
    seen, level, cut = {root}, [top], False
    for _ in range(depth):
        asked = [node for node in level if node.kind != METHOD and (node is top or node.id != SERVER)]
        found = await _children(link, [node.id for node in asked])
        level = []
        for parent, references in zip(asked, found, strict=True):
            for reference in references:
                node = _node(reference, parent)
                if node.id in seen:  # references may go in circles
                    continue
                if len(seen) >= most:
                    cut = True
                    break
                seen.add(node.id)
                parent.below.append(node)
                level.append(node)
        progress(len(seen))
        if cut or not level:
            break
    await _fill(link, [node for node in top.all() if node.kind == VARIABLE], progress)
    return top, cut


async def _top(link: Link, root: NodeId) -> Node:
    (name,) = await link.read_attribute([root], ua.AttributeIds.BrowseName)
    (kind,) = await link.read_attribute([root], ua.AttributeIds.NodeClass)
    if not name.StatusCode.is_good() or name.Value is None:
        raise DeviceMisconfigured(f"{link.where}: {text_of(link, root)}: {status_name(name.StatusCode.value)}")
    return Node(root, None, 0, str(name.Value.Value.Name), int(kind.Value.Value))


async def _children(link: Link, nodes: Sequence[NodeId]) -> list[list[Any]]:
    """What is below each, all pages of it."""

    async def ask(some: Sequence[NodeId]) -> Sequence[Any]:
        wanted = [_description(node) for node in some]
        asked = ua.BrowseParameters(View=ua.ViewDescription(), RequestedMaxReferencesPerNode=PAGE, NodesToBrowse=wanted)
        pages = [_Pages(result) for result in await link.session.browse(asked)]
        while any(each.more for each in pages):
            open_ones = [each for each in pages if each.more]
            again = ua.BrowseNextParameters(
                ReleaseContinuationPoints=False, ContinuationPoints=[each.more for each in open_ones]
            )
            for each, result in zip(open_ones, await link.session.browse_next(again), strict=True):
                each.add(result)
        return pages

    results = await link.in_parts("browse", nodes, ask)
    for at, pages in enumerate(results):
        if pages.status == _AGAIN:  # a server keeps a few of them open only: this node for itself
            with edge(link.where):
                (results[at],) = await ask([nodes[at]])
    return [pages.references for pages in results]


class _Pages:
    """What a server says of one node, page after page.  A bad status ends it: what was not shown is not there."""

    def __init__(self, result: Any) -> None:
        self.references: list[Any] = []
        self.more: bytes | None = None
        self.status = 0
        self.add(result)

    def add(self, result: Any) -> None:
        self.status = result.StatusCode.value
        self.references += result.References or []
        self.more = result.ContinuationPoint or None


def _description(node: NodeId) -> Any:
    return ua.BrowseDescription(
        NodeId=node,
        BrowseDirection=ua.BrowseDirection.Forward,
        ReferenceTypeId=ua.NodeId(ua.ObjectIds.HierarchicalReferences),
        IncludeSubtypes=True,
        NodeClassMask=OBJECT | VARIABLE | METHOD,
        ResultMask=ua.BrowseResultMask.BrowseName | ua.BrowseResultMask.NodeClass,
    )


def _node(reference: Any, parent: Node) -> Node:
    found = reference.NodeId
    bare = ua.NodeId(found.Identifier, found.NamespaceIndex, found.NodeIdType)
    return Node(bare, parent, parent.depth + 1, str(reference.BrowseName.Name), int(reference.NodeClass))


# -- types, access and values -----------------------------------------------------------------------


async def _fill(link: Link, variables: Sequence[Node], progress: Progress) -> None:
    ids = [node.id for node in variables]
    types = await link.read_attribute(ids, ua.AttributeIds.DataType)
    ranks = await link.read_attribute(ids, ua.AttributeIds.ValueRank)
    accesses = await link.read_attribute(ids, ua.AttributeIds.UserAccessLevel)
    names = await _type_names(link, [_value(answer) for answer in types])
    for node, kind, rank, access in zip(variables, types, ranks, accesses, strict=True):
        array = isinstance(_value(rank), int) and _value(rank) >= 0
        node.type = names.get(_value(kind), "?") + ("[]" if array else "")
        level = _value(access) or 0
        node.access = ("r" if level & _READ else "") + ("w" if level & _WRITE else "") or "-"
    readable = [node for node in variables if "r" in node.access]
    for node, answer in zip(readable, await _values(link, [node.id for node in readable]), strict=True):
        _show(node, answer)
    progress(len(variables))


def _value(answer: Any) -> Any:
    return answer.Value.Value if answer.Value is not None and answer.StatusCode.is_good() else None


async def _type_names(link: Link, types: Sequence[Any]) -> dict[Any, str]:
    ids = list({kind for kind in types if kind is not None})
    names = await link.read_attribute(ids, ua.AttributeIds.BrowseName)
    return {kind: str(_value(name).Name) for kind, name in zip(ids, names, strict=True) if _value(name) is not None}


async def _values(link: Link, nodes: Sequence[NodeId]) -> list[Any]:
    """One answer each; what the library cannot decode is found by halves, and is its error."""
    if not nodes:
        return []
    try:
        return await link.read_attribute(nodes, ua.AttributeIds.Value)
    except DeviceError as error:
        if isinstance(error.__cause__, (TimeoutError, OSError)):
            raise
        if len(nodes) == 1:
            return [error]
    half = len(nodes) // 2
    return [*await _values(link, nodes[:half]), *await _values(link, nodes[half:])]


def _show(node: Node, answer: Any) -> None:
    if isinstance(answer, DeviceError):
        node.status = f"cannot be read: {answer.__cause__ or answer}"
        return
    if not answer.StatusCode.is_good():
        node.status = status_name(answer.StatusCode.value)
    value = answer.Value.Value if answer.Value is not None else None
    node.value = "" if value is None else _short(value)


def _short(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"{len(value)} values"
    ours = plain(value)
    if isinstance(ours, Structure):
        return f"structure of {len(ours.body)} bytes"
    if isinstance(ours, Engineering):
        return ours.text
    if ours is None:
        return type(value).__name__
    text = repr(ours) if isinstance(ours, str) else str(ours)
    return text if len(text) <= 60 else f"{text[:57]}..."


# -- names ------------------------------------------------------------------------------------------


def text_of(link: Link, node: NodeId) -> str:
    """`nsu=URI;s=...`: good for the configuration, whatever index the namespace has tomorrow."""
    text: str = node.to_string()
    if node.NamespaceIndex == 0 or node.NamespaceIndex >= len(link.namespaces):
        return text
    return f"nsu={link.namespaces[node.NamespaceIndex]};{text.partition(';')[2]}"


async def unit_ids(link: Link, nodes: Sequence[NodeId]) -> list[Engineering | None]:
    """The engineering unit of each, where it has one."""
    wanted = [_unit_path(node) for node in nodes]
    found = await link.in_parts("translate", wanted, link.session.translate_browsepaths_to_nodeids)
    places = [each.Targets[0].TargetId if each.StatusCode.is_good() and each.Targets else None for each in found]
    there = [ua.NodeId(place.Identifier, place.NamespaceIndex) for place in places if place is not None]
    values = iter(await _values(link, there))
    units = [None if place is None else next(values) for place in places]
    said = [None if unit is None or isinstance(unit, DeviceError) else plain(_value(unit)) for unit in units]
    return [unit if isinstance(unit, Engineering) else None for unit in said]


def _unit_path(node: NodeId) -> Any:
    path = ua.BrowsePath(StartingNode=node)
    path.RelativePath.Elements.append(
        ua.RelativePathElement(
            ReferenceTypeId=ua.NodeId(ua.ObjectIds.HasProperty),
            IsInverse=False,
            IncludeSubtypes=True,
            TargetName=ua.QualifiedName("EngineeringUnits", 0),
        )
    )
    return path
