"""One open OPC UA session over asyncua: read, write, call, subscribe.  Imported inside connect().

Known ways of asyncua 2.1 that this file answers for:
- a write carries the value alone: open62541, S7 and Kepware refuse one with a time stamp (BadWriteNotSupported);
- `Subscription` starts one task per value and its publish loop hides a lost subscription behind a log line and a
  second of sleep; here a publish response is one call, and whatever ends the loop is an error of the next poll.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from asyncua.client.client import Client
from asyncua.ua.ua_binary import struct_from_binary
from cryptography.exceptions import InvalidSignature

from gateway.drivers.opcua.convert import as_type, general, item_of, server_ns, status_name, ua
from gateway.drivers.opcua.nodes import NodeRef
from gateway.drivers.wire.opcua_publish import Item, Notice, Unusual, decode
from gateway.errors import DeviceError, DeviceMisconfigured
from gateway.model import Value

NodeId = Any
"""A node id in the library's own type, good for one connection: its namespace index may move."""

LIFETIME_S: Final = 30.0
"""A subscription whose publish requests stop is deleted by the server after this long."""
AT_ONCE: Final = 500
"""Nodes in one request where the server names no limit: below those of common controllers (S7-1500: 1000)."""
MOST_AT_ONCE: Final = 2000
"""However much a server allows: one answer shall not hold up the loop."""
LIMITS: Final = {
    "read": "Server_ServerCapabilities_OperationLimits_MaxNodesPerRead",
    "browse": "Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse",
    "translate": "Server_ServerCapabilities_OperationLimits_MaxNodesPerTranslateBrowsePathsToNodeIds",
    "watch": "Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall",
}
"""Service -> the node with the server's own limit (10000-5 §6.3.11); 0 there means none."""
TOO_MUCH: Final = frozenset(
    getattr(ua.StatusCodes, name)
    for name in (
        "BadTooManyOperations",
        "BadRequestTooLarge",
        "BadResponseTooLarge",
        "BadEncodingLimitsExceeded",
        "BadTcpMessageTooLarge",
    )
)
"""What servers say to a request that asks for too many things at once: it is asked again in halves."""
NO_DEADBAND: Final = frozenset(
    getattr(ua.StatusCodes, name)
    for name in (
        "BadMonitoredItemFilterUnsupported",
        "BadMonitoredItemFilterInvalid",
        "BadDeadbandFilterInvalid",
        "BadFilterNotAllowed",
    )
)
"""What servers say of a node that cannot have our deadband: it is watched without."""

# What asyncua logs (a traceback per lost request) says nothing that our errors do not say once.
logging.getLogger("asyncua").setLevel(logging.CRITICAL)

LIBRARY: Final = (ua.UaError, OSError, TimeoutError, ValueError, InvalidSignature, AssertionError)
"""What asyncua raises when the other side is gone, refuses or talks nonsense."""


class Watch(NamedTuple):
    """One node to be watched."""

    handle: int
    node: NodeId
    sampling_s: float
    queue: int
    deadband: tuple[float, bool] | None = None
    """The figure, and whether it is percent of the node's EURange."""


class Subscribed(NamedTuple):
    """What the server made of our subscription."""

    id: int
    publishing_s: float
    keep_alive_s: float


class Watched(NamedTuple):
    """What the server made of what we want to watch."""

    refused: dict[int, int]
    """Handle -> status code of the items it would not watch."""
    unfiltered: dict[int, int]
    """Handle -> why, of the items it watches without the deadband that was asked for."""


@contextmanager
def edge(what: str) -> Iterator[None]:
    """Library errors become DeviceError here, with one sentence and the device; ours get the device, bugs pass."""
    try:
        yield
    except asyncio.CancelledError as exc:
        # asyncua waits with wait_for2, whose CancelledWithResultError (an answer that came together with the
        # cancellation) no asyncio.timeout knows as its own: it would end the station instead of the poll.
        if type(exc) is not asyncio.CancelledError:
            raise asyncio.CancelledError from exc
        raise
    except DeviceMisconfigured as exc:
        if str(exc).startswith(what):
            raise
        raise DeviceMisconfigured(f"{what}: {exc}") from exc
    except TimeoutError as exc:
        raise DeviceError(f"{what}: no answer in time") from exc
    except ua.UaStatusCodeError as exc:
        raise DeviceError(f"{what}: {status_name(exc.code)}") from exc
    except LIBRARY as exc:
        raise DeviceError(f"{what}: {exc or type(exc).__name__}") from exc


class Link:
    """An open session.  Every method raises DeviceError if the link fails; refused items come back as status codes."""

    def __init__(self, client: Client, where: str, namespaces: Sequence[str]) -> None:
        self.where = where
        """Device and address, for error texts."""
        self.namespaces = list(namespaces)
        self.session: Any = client.uaclient.session
        """The library's own services."""
        self._protocol: Any = client.uaclient.protocol
        self.at_once = dict.fromkeys(LIMITS, AT_ONCE)
        """Service -> things in one request."""

    async def learn_limits(self) -> None:
        """The server's own word on how much it takes at once; a server may have none."""
        items = await self.read([ua.NodeId(getattr(ua.ObjectIds, node)) for node in LIMITS.values()])
        for service, (_, most, status, _) in zip(LIMITS, items, strict=True):
            if not status and isinstance(most, int) and most > 0:
                self.at_once[service] = min(most, MOST_AT_ONCE)

    async def in_parts(
        self, service: str, things: Sequence[Any], ask: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]
    ) -> list[Any]:
        """One answer to each thing, asked for in requests that the server takes.  DeviceError if it answers fewer."""
        answers: list[Any] = []
        while len(answers) < len(things):
            some = things[len(answers) : len(answers) + self.at_once[service]]
            try:
                with edge(self.where):
                    got = await ask(some)
            except DeviceError as exc:
                if len(some) > 1 and getattr(exc.__cause__, "code", None) in TOO_MUCH:
                    self.at_once[service] = len(some) // 2
                    continue
                raise
            if len(got) != len(some):
                raise DeviceError(f"{self.where}: {len(got)} answers to {len(some)} things asked for ({service})")
            answers += got
        return answers

    def namespace(self, uri: str) -> int | None:
        """Index of a namespace on this connection; None where the server does not have it."""
        if not uri:
            return 0
        return self.namespaces.index(uri) if uri in self.namespaces else None

    async def resolve(self, refs: Sequence[NodeRef]) -> list[NodeId | str]:
        """Node ids, with today's namespace indexes; a text says why there is none."""
        found: list[NodeId | str] = [self._start(ref) for ref in refs]
        paths = [at for at, ref in enumerate(refs) if ref.path and isinstance(found[at], ua.NodeId)]
        asked = [self._browse_path(found[at], refs[at]) for at in paths]
        answers = await self.in_parts("translate", asked, self.session.translate_browsepaths_to_nodeids)
        for at, answer in zip(paths, answers, strict=True):
            found[at] = _target(answer, refs[at])
        return found

    def _start(self, ref: NodeRef) -> NodeId | str:
        for uri in (ref.uri, *(uri for uri, _ in ref.path)):
            if self.namespace(uri) is None:
                return f"BadNodeIdUnknown: the server has no namespace {uri}"
        index = self.namespace(ref.uri)
        try:
            return ua.NodeId.from_string(f"ns={index};{ref.kind}={ref.id}")
        except (ua.UaError, ValueError) as exc:
            return f"BadNodeIdInvalid: {ref}: {exc}"

    def _browse_path(self, start: Any, ref: NodeRef) -> Any:
        path = ua.BrowsePath(StartingNode=start)
        for uri, name in ref.path:
            path.RelativePath.Elements.append(
                ua.RelativePathElement(
                    ReferenceTypeId=ua.NodeId(ua.ObjectIds.HierarchicalReferences),
                    IsInverse=False,
                    IncludeSubtypes=True,
                    TargetName=ua.QualifiedName(name, self.namespace(uri) or 0),
                )
            )
        return path

    async def read(self, nodes: Sequence[NodeId], stamps: dict[int, int] | None = None) -> list[Item]:
        """Values of these nodes, as items with their places here as handles.

        `stamps` takes the server's own time stamps, place -> Unix nanoseconds; without it they are not asked for.
        """
        answers = await self.read_attribute(nodes, ua.AttributeIds.Value, both=stamps is not None)
        if stamps is not None:
            stamps |= {at: server_ns(answer) for at, answer in enumerate(answers)}
        return [item_of(at, answer) for at, answer in enumerate(answers)]

    async def read_attribute(self, nodes: Sequence[NodeId], attribute: Any, *, both: bool = False) -> list[Any]:
        """One attribute of each, in the library's own types."""
        stamps = ua.TimestampsToReturn.Both if both else ua.TimestampsToReturn.Source

        async def ask(some: Sequence[NodeId]) -> Sequence[Any]:
            wanted = [ua.ReadValueId(NodeId=node, AttributeId=attribute) for node in some]
            return list(await self.session.read(ua.ReadParameters(TimestampsToReturn=stamps, NodesToRead=wanted)))

        return await self.in_parts("read", nodes, ask)

    async def read_raw(self, node: NodeId) -> Any:
        """One value in the library's own types; None where it is bad."""
        with edge(self.where):
            (answer,) = await self.session.read_attributes([node], ua.AttributeIds.Value)
        return answer.Value.Value if answer.Value is not None and answer.StatusCode.is_good() else None

    async def type_of(self, node: NodeId) -> Any:
        """The type a write must have: of the value, else of the DataType attribute.  DeviceMisconfigured if neither."""
        with edge(self.where):
            (value,) = await self.session.read_attributes([node], ua.AttributeIds.Value)
            if value.Value is not None and value.Value.Value is not None and value.StatusCode.is_good():
                return value.Value.VariantType
            (declared,) = await self.session.read_attributes([node], ua.AttributeIds.DataType)
        kind: Any = declared.Value.Value if declared.Value is not None else None
        known = isinstance(kind, ua.NodeId) and kind.NamespaceIndex == 0 and isinstance(kind.Identifier, int)
        if known and 0 < kind.Identifier <= ua.VariantType.Variant.value:
            return ua.VariantType(kind.Identifier)
        name = status_name(value.StatusCode.value)
        raise DeviceMisconfigured(f"{self.where}: the type of {node.to_string()} cannot be read ({name}); give `type:`")

    async def write(self, node: NodeId, value: Value, kind: Any) -> str:
        """Write the value alone, without status and time stamps; "" if the server took it, else the status name."""
        data = ua.DataValue(ua.Variant(as_type(value, kind), kind), StatusCode=None)
        with edge(self.where):
            (status,) = await self.session.write_attributes([node], [data])
        return "" if status.is_good() else status_name(status.value)

    async def call(self, target: NodeId, method: NodeId) -> str:
        """Call a method without arguments; "" if the server took it, else the status name."""
        request = ua.CallMethodRequest(ObjectId=target, MethodId=method, InputArguments=[])
        with edge(self.where):
            (result,) = await self.session.call([request])
        return "" if result.StatusCode.is_good() else status_name(result.StatusCode.value)

    async def subscribe(self, publishing_s: float, quiet_s: float) -> Subscribed:
        """Have the server publish; a keep-alive about each `quiet_s`.  Nothing is watched yet."""
        beats = max(1, round(quiet_s / publishing_s))
        request = ua.CreateSubscriptionRequest()
        request.Parameters.RequestedPublishingInterval = publishing_s * 1000
        request.Parameters.RequestedMaxKeepAliveCount = beats
        request.Parameters.RequestedLifetimeCount = max(3 * beats, math.ceil(LIFETIME_S / publishing_s))
        request.Parameters.PublishingEnabled = True
        with edge(self.where):
            body = await self._protocol.send_request(request)
            made = struct_from_binary(ua.CreateSubscriptionResponse, body).Parameters
        interval_s = made.RevisedPublishingInterval / 1000
        return Subscribed(made.SubscriptionId, interval_s, interval_s * max(1, made.RevisedMaxKeepAliveCount))

    async def watch(self, subscription: int, wanted: Sequence[Watch], *, both: bool) -> Watched:
        """Have the server sample these.  `both`: with the server's own time stamps."""
        refused = await self._watch(subscription, wanted, both=both)
        again = [watch for watch in wanted if watch.deadband is not None and refused.get(watch.handle) in NO_DEADBAND]
        unfiltered = {watch.handle: refused.pop(watch.handle) for watch in again}
        refused |= await self._watch(subscription, [watch._replace(deadband=None) for watch in again], both=both)
        return Watched(refused, unfiltered)

    async def _watch(self, subscription: int, wanted: Sequence[Watch], *, both: bool) -> dict[int, int]:
        """Handle -> status code, of those the server would not watch."""
        stamps = ua.TimestampsToReturn.Both if both else ua.TimestampsToReturn.Source

        async def ask(some: Sequence[Watch]) -> Sequence[Any]:
            request = ua.CreateMonitoredItemsParameters(
                SubscriptionId=subscription, TimestampsToReturn=stamps, ItemsToCreate=[_to_watch(each) for each in some]
            )
            return list(await self.session.create_monitored_items(request))

        results = await self.in_parts("watch", wanted, ask)
        return {
            watch.handle: result.StatusCode.value
            for watch, result in zip(wanted, results, strict=True)
            if not result.StatusCode.is_good()
        }

    async def publish(self, sequence: int | None, subscription: int) -> Notice:
        """Wait for the next publish response, acknowledging the one before.  As long as it takes."""
        request = ua.PublishRequest()
        if sequence is not None:
            request.Parameters.SubscriptionAcknowledgements = [
                ua.SubscriptionAcknowledgement(SubscriptionId=subscription, SequenceNumber=sequence)
            ]
        with edge(self.where):
            body = await self._protocol.send_request(request, timeout=0)
            try:
                notice = decode(bytes(body))
            except Unusual:
                notice = general(body)
            if notice.result:
                raise ua.UaStatusCodeError(notice.result)
        return notice


def _to_watch(watch: Watch) -> Any:
    request = ua.MonitoredItemCreateRequest()
    request.ItemToMonitor = ua.ReadValueId(NodeId=watch.node, AttributeId=ua.AttributeIds.Value)
    request.MonitoringMode = ua.MonitoringMode.Reporting
    request.RequestedParameters = ua.MonitoringParameters(
        ClientHandle=watch.handle, SamplingInterval=watch.sampling_s * 1000, QueueSize=watch.queue, DiscardOldest=True
    )
    if watch.deadband is not None:
        figure, percent = watch.deadband
        kind = ua.DeadbandType.Percent if percent else ua.DeadbandType.Absolute
        request.RequestedParameters.Filter = ua.DataChangeFilter(
            Trigger=ua.DataChangeTrigger.StatusValue, DeadbandType=kind, DeadbandValue=figure
        )
    return request


def _target(answer: Any, ref: NodeRef) -> NodeId | str:
    if not answer.StatusCode.is_good() or not answer.Targets:
        return f"BadNodeIdUnknown: {ref} is not there ({status_name(answer.StatusCode.value)})"
    target = answer.Targets[0].TargetId
    return ua.NodeId(target.Identifier, target.NamespaceIndex)
