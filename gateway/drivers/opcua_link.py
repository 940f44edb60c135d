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
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from asyncua import ua as _ua
from asyncua.client.client import Client
from asyncua.ua.ua_binary import struct_from_binary
from cryptography.exceptions import InvalidSignature

from gateway.drivers.opcua_nodes import NodeRef
from gateway.drivers.wire.opcua_publish import EPOCH_AS_FILETIME, Item, Notice, Unusual, decode
from gateway.errors import DeviceError, DeviceMisconfigured
from gateway.model import Value

ua: Any = _ua  # its names are re-exported implicitly, so to the type checker most of them do not exist
NodeId = Any
"""A node id in the library's own type, good for one connection: its namespace index may move."""

LIFETIME_S: Final = 30.0
"""A subscription whose publish requests stop is deleted by the server after this long."""
AT_ONCE: Final = 500
"""Nodes in one request: below the operation limits of common controllers (S7-1500: 1000)."""

# What asyncua logs (a traceback per lost request) says nothing that our errors do not say once.
logging.getLogger("asyncua").setLevel(logging.CRITICAL)

LIBRARY: Final = (ua.UaError, OSError, TimeoutError, ValueError, InvalidSignature, AssertionError)
"""What asyncua raises when the other side is gone, refuses or talks nonsense."""


class Watched(NamedTuple):
    """What the server made of our subscription."""

    id: int
    publishing_s: float
    keep_alive_s: float
    refused: dict[int, int]
    """Handle -> status code of the items it would not watch."""


def status_name(code: int) -> str:
    """`BadNodeIdUnknown`; the info bits below are not part of the name (10000-4 §7.39.1)."""
    return str(ua.status_codes.get_name_and_doc(code & 0xFFFF_0000)[0])


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
        self._session: Any = client.uaclient.session
        self._protocol: Any = client.uaclient.protocol

    def namespace(self, uri: str) -> int | None:
        """Index of a namespace on this connection; None where the server does not have it."""
        if not uri:
            return 0
        return self.namespaces.index(uri) if uri in self.namespaces else None

    async def resolve(self, refs: Sequence[NodeRef]) -> list[NodeId | str]:
        """Node ids, with today's namespace indexes; a text says why there is none."""
        found: list[NodeId | str] = [self._start(ref) for ref in refs]
        paths = [at for at, ref in enumerate(refs) if ref.path and isinstance(found[at], ua.NodeId)]
        for some in _portions(paths):
            asked = [self._browse_path(found[at], refs[at]) for at in some]
            with edge(self.where):
                answers = await self._session.translate_browsepaths_to_nodeids(asked)
            for at, answer in zip(some, answers, strict=True):
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

    async def read(self, nodes: Sequence[NodeId], first_handle: int = 0) -> list[Item]:
        """Values of these nodes, as items with handles counted from `first_handle`."""
        items: list[Item] = []
        for some in _portions(nodes):
            request = ua.ReadParameters(
                TimestampsToReturn=ua.TimestampsToReturn.Source,
                NodesToRead=[ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value) for node in some],
            )
            with edge(self.where):
                answers = await self._session.read(request)
            items += [_item(first_handle + len(items) + at, answer) for at, answer in enumerate(answers)]
        return items

    async def read_raw(self, node: NodeId) -> Any:
        """One value in the library's own types; None where it is bad."""
        with edge(self.where):
            (answer,) = await self._session.read_attributes([node], ua.AttributeIds.Value)
        return answer.Value.Value if answer.Value is not None and answer.StatusCode.is_good() else None

    async def type_of(self, node: NodeId) -> Any:
        """The type a write must have: of the value, else of the DataType attribute.  DeviceMisconfigured if neither."""
        with edge(self.where):
            (value,) = await self._session.read_attributes([node], ua.AttributeIds.Value)
            if value.Value is not None and value.Value.Value is not None and value.StatusCode.is_good():
                return value.Value.VariantType
            (declared,) = await self._session.read_attributes([node], ua.AttributeIds.DataType)
        kind: Any = declared.Value.Value if declared.Value is not None else None
        known = isinstance(kind, ua.NodeId) and kind.NamespaceIndex == 0 and isinstance(kind.Identifier, int)
        if known and 0 < kind.Identifier <= ua.VariantType.Variant.value:
            return ua.VariantType(kind.Identifier)
        name = status_name(value.StatusCode.value)
        raise DeviceMisconfigured(f"{self.where}: the type of {node.to_string()} cannot be read ({name}); give `type:`")

    async def write(self, node: NodeId, value: Value, kind: Any) -> str:
        """Write the value alone, without status and time stamps; "" if the server took it, else the status name."""
        data = ua.DataValue(ua.Variant(_as(value, kind), kind), StatusCode=None)
        with edge(self.where):
            (status,) = await self._session.write_attributes([node], [data])
        return "" if status.is_good() else status_name(status.value)

    async def call(self, target: NodeId, method: NodeId) -> str:
        """Call a method without arguments; "" if the server took it, else the status name."""
        request = ua.CallMethodRequest(ObjectId=target, MethodId=method, InputArguments=[])
        with edge(self.where):
            (result,) = await self._session.call([request])
        return "" if result.StatusCode.is_good() else status_name(result.StatusCode.value)

    async def subscribe(
        self, nodes: Sequence[tuple[int, NodeId]], publishing_s: float, sampling_s: float, quiet_s: float, queue: int
    ) -> Watched:
        """Have the server sample these (handle, node) and publish what changed; a keep-alive about each `quiet_s`."""
        beats = max(1, round(quiet_s / publishing_s))
        request = ua.CreateSubscriptionRequest()
        request.Parameters.RequestedPublishingInterval = publishing_s * 1000
        request.Parameters.RequestedMaxKeepAliveCount = beats
        request.Parameters.RequestedLifetimeCount = max(3 * beats, math.ceil(LIFETIME_S / publishing_s))
        request.Parameters.PublishingEnabled = True
        with edge(self.where):
            body = await self._protocol.send_request(request)
            made = struct_from_binary(ua.CreateSubscriptionResponse, body).Parameters
        refused: dict[int, int] = {}
        for some in _portions(nodes):
            refused |= await self._watch(made.SubscriptionId, some, sampling_s, queue)
        interval_s = made.RevisedPublishingInterval / 1000
        return Watched(made.SubscriptionId, interval_s, interval_s * max(1, made.RevisedMaxKeepAliveCount), refused)

    async def _watch(
        self, subscription: int, nodes: Sequence[tuple[int, NodeId]], sampling_s: float, queue: int
    ) -> dict[int, int]:
        request = ua.CreateMonitoredItemsParameters(
            SubscriptionId=subscription,
            TimestampsToReturn=ua.TimestampsToReturn.Source,
            ItemsToCreate=[_to_watch(handle, node, sampling_s, queue) for handle, node in nodes],
        )
        with edge(self.where):
            results = await self._session.create_monitored_items(request)
        return {
            handle: result.StatusCode.value
            for (handle, _), result in zip(nodes, results, strict=True)
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
                notice = _general(body)
            if notice.result:
                raise ua.UaStatusCodeError(notice.result)
        return notice


def _portions(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for at in range(0, len(items), AT_ONCE):
        yield items[at : at + AT_ONCE]


def _to_watch(handle: int, node: NodeId, sampling_s: float, queue: int) -> Any:
    request = ua.MonitoredItemCreateRequest()
    request.ItemToMonitor = ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value)
    request.MonitoringMode = ua.MonitoringMode.Reporting
    request.RequestedParameters = ua.MonitoringParameters(
        ClientHandle=handle, SamplingInterval=sampling_s * 1000, QueueSize=queue, DiscardOldest=True
    )
    return request


def _target(answer: Any, ref: NodeRef) -> NodeId | str:
    if not answer.StatusCode.is_good() or not answer.Targets:
        return f"BadNodeIdUnknown: {ref} is not there ({status_name(answer.StatusCode.value)})"
    target = answer.Targets[0].TargetId
    return ua.NodeId(target.Identifier, target.NamespaceIndex)


def _general(body: Any) -> Notice:
    """The library's decoder, for messages with anything but plain scalars and strings in them."""
    response = struct_from_binary(ua.PublishResponse, body)
    message = response.Parameters.NotificationMessage
    items: list[Item] = []
    status = 0
    for part in message.NotificationData or ():
        if isinstance(part, ua.DataChangeNotification):
            items += [_item(item.ClientHandle, item.Value) for item in part.MonitoredItems]
        elif isinstance(part, ua.StatusChangeNotification):
            status = part.Status.value
    return Notice(
        response.ResponseHeader.ServiceResult.value,
        response.Parameters.SubscriptionId,
        message.SequenceNumber,
        response.Parameters.MoreNotifications,
        items,
        status,
        not message.NotificationData,
    )


def _item(handle: int, data: Any) -> Item:
    status = data.StatusCode.value if data.StatusCode is not None else 0
    stamp = data.SourceTimestamp
    source_ns = (ua.datetime_to_win_epoch(stamp) - EPOCH_AS_FILETIME) * 100 if stamp is not None else 0
    value = data.Value.Value if data.Value is not None else None
    plain = _plain(value)
    if plain is None and value is not None:
        status = status or ua.StatusCodes.BadTypeMismatch
    return handle, plain, status, source_ns


def _plain(value: Any) -> Value:
    """What a tag can hold of an OPC UA value; None for arrays, structures and other things that are no value."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, ua.LocalizedText):
        return value.Text or ""
    if isinstance(value, ua.NodeId):
        return f"ns={value.NamespaceIndex};{re.sub(r'^ns=[0-9]+;', '', value.to_string())}"
    if isinstance(value, ua.QualifiedName):
        return str(value.Name)
    return value.isoformat() if hasattr(value, "isoformat") else None


def _as(value: Value, kind: Any) -> Value:
    """The value in the Python type that the variant type wants."""
    if kind is ua.VariantType.Boolean:
        return bool(value)
    if kind in (ua.VariantType.Float, ua.VariantType.Double):
        return float(value)  # type: ignore[arg-type]
    if kind is ua.VariantType.String:
        return str(value)
    return int(value)  # type: ignore[arg-type]
