"""OPC UA values in the library's types and in ours, and the library's decoder for the messages ours leaves to it.

Imported inside connect().
"""

from __future__ import annotations

import re
from typing import Any

from asyncua import ua as _ua
from asyncua.ua.ua_binary import struct_from_binary

from gateway.drivers.wire.opcua_publish import EPOCH_AS_FILETIME, Engineering, Item, Notice, Structure
from gateway.model import Value

ua: Any = _ua  # its names are re-exported implicitly, so to the type checker most of them do not exist


def status_name(code: int) -> str:
    """`BadNodeIdUnknown`; the info bits below are not part of the name (10000-4 §7.39.1)."""
    return str(ua.status_codes.get_name_and_doc(code & 0xFFFF_0000)[0])


def general(body: Any) -> Notice:
    """The library's decoder, for messages with anything but plain scalars and strings in them."""
    response = struct_from_binary(ua.PublishResponse, body)
    message = response.Parameters.NotificationMessage
    items: list[Item] = []
    server: dict[int, int] = {}
    status = 0
    for part in message.NotificationData or ():
        if isinstance(part, ua.DataChangeNotification):
            items += [item_of(each.ClientHandle, each.Value) for each in part.MonitoredItems]
            server |= {each.ClientHandle: server_ns(each.Value) for each in part.MonitoredItems}
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
        {handle: ns for handle, ns in server.items() if ns},
    )


def item_of(handle: int, data: Any) -> Item:
    status = data.StatusCode.value if data.StatusCode is not None else 0
    source_ns = _unix_ns(data.SourceTimestamp)
    value = data.Value.Value if data.Value is not None else None
    ours = plain(value)
    if ours is None and value is not None:
        status = status or ua.StatusCodes.BadTypeMismatch
    return handle, ours, status, source_ns


def server_ns(data: Any) -> int:
    """The server's own time stamp, Unix nanoseconds; 0 where there is none."""
    return _unix_ns(data.ServerTimestamp)


def _unix_ns(stamp: Any) -> int:
    return (ua.datetime_to_win_epoch(stamp) - EPOCH_AS_FILETIME) * 100 if stamp is not None else 0


def plain(value: Any) -> Value | Structure | Engineering:  # noqa: PLR0911  # a table, read as one
    """What we can hold of an OPC UA value; None for arrays, variants and other things that are no value."""
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
    if isinstance(value, ua.EUInformation):
        return Engineering(value.UnitId, value.DisplayName.Text or "")
    if isinstance(value, ua.ExtensionObject) and value.Body is not None:
        return Structure(value.TypeId.to_string(), bytes(value.Body))
    return value.isoformat() if hasattr(value, "isoformat") else None


def as_type(value: Value, kind: Any) -> Value:
    """The value in the Python type that the variant type wants."""
    if kind is ua.VariantType.Boolean:
        return bool(value)
    if kind in (ua.VariantType.Float, ua.VariantType.Double):
        return float(value)  # type: ignore[arg-type]
    if kind is ua.VariantType.String:
        return str(value)
    return int(value)  # type: ignore[arg-type]
