"""OPC UA PublishResponse: bytes in, values out.  OPC 10000-6 §5.2 (binary encoding), 10000-4 §5.14.5 (Publish).

The library's general decoder takes 17-19 us for each value of a notification (measured: 1000 UInt16 with source
timestamp), which is two thirds of what a bare asyncua client costs altogether.  This one takes about 1 us, because
it knows one message, the twelve scalar types that machines publish, and nothing else: whatever it does not know is
`Unusual`, and the caller gives that message to the library instead.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from gateway.model import Value

EPOCH_AS_FILETIME: Final = 116_444_736_000_000_000
"""1970-01-01 in 100 ns ticks since 1601-01-01, the zero of an OPC UA DateTime (10000-6 §5.2.2.5)."""


class Structure(NamedTuple):
    """A structured value, still in its binary form: whoever knows its type reads it."""

    type: str
    """Node id of its encoding, `ns=2;i=88`: the index is that of this connection."""
    body: bytes


class Engineering(NamedTuple):
    """An engineering unit (10000-8 §5.6.3)."""

    unit_id: int
    text: str


Item = tuple[int, Value | Structure | Engineering, int, int]
"""Client handle, value, status code (0: good), source timestamp in Unix nanoseconds (0: none)."""


class Unusual(Exception):  # noqa: N818  # not an error: it says who has to read the message
    """Not a message this decoder knows; the general one may."""


class Notice(NamedTuple):
    """One publish response, as far as a subscription to values needs it."""

    result: int
    """Service result; 0 is good."""
    subscription: int
    sequence: int
    more: bool
    """The server has more for this publishing cycle: what belongs together is not complete yet."""
    items: list[Item]
    status: int
    """Of a StatusChangeNotification (the subscription itself ended); 0 where there is none."""
    empty: bool
    """A keep-alive: nothing changed, the subscription lives.  Not to be acknowledged."""
    server_ns: Mapping[int, int]
    """Handle -> the server's own time stamp in Unix nanoseconds, where it was asked for."""


# Built-in type id (10000-6 §5.1.2) -> struct code of its one value.
_SCALARS: Final = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d"}
_STRING: Final = 12
_STATUS, _SOURCE, _SERVER = 0x02, 0x04, 0x08
"""Bits of a DataValue's mask (10000-6 §5.2.2.17)."""
_DATA_CHANGE: Final = b"\x01\x00\x2b\x03\x01"  # four-byte NodeId i=811, body is a byte string
_STATUS_CHANGE: Final = b"\x01\x00\x34\x03\x01"  # i=820
_PUBLISH_RESPONSE: Final = b"\x01\x00\x3d\x03"  # i=829

_HEADER: Final = struct.Struct("<4sqIIBi2sBIi")  # type, response header (no diagnostics, no strings), subscription, n
_ITEM: Final = struct.Struct("<IBB")
_U32: Final = struct.Struct("<I")
_I32: Final = struct.Struct("<i")
_MESSAGE: Final = struct.Struct("<?Iqi")

Layout = tuple[Callable[..., tuple[Any, ...]], int, int, int, int]
"""unpack_from, size, then the positions of status, source timestamp and server timestamp (or -1)."""


def _layout(mask: int, value: str) -> Layout:
    """What follows the encoding byte of a DataValue (10000-6 §5.2.2.17), as one struct."""
    codes, at = "<" + value, len(value)
    where = {}
    for bit, code in ((_STATUS, "I"), (_SOURCE, "q"), (0x10, "H"), (_SERVER, "q"), (0x20, "H")):
        if mask & bit:
            where[bit] = at
            codes, at = codes + code, at + 1
    whole = struct.Struct(codes)
    return whole.unpack_from, whole.size, where.get(_STATUS, -1), where.get(_SOURCE, -1), where.get(_SERVER, -1)


_REST: Final[dict[int, Layout]] = {mask: _layout(mask, "") for mask in range(64)}
_WHOLE: Final[dict[int, Layout]] = {
    mask << 8 | kind: _layout(mask, code) for mask in range(1, 64, 2) for kind, code in _SCALARS.items()
}


ALIKE: Final = 8
"""From so many items on it pays to try whether they are all alike."""
_PLAIN_MASK: Final = 0x01 | _SOURCE
_ALIKE: Final = {code: struct.Struct(f"<IH{code}q") for code in _SCALARS.values()}


def decode(data: bytes) -> Notice:
    """Read one PublishResponse.  Unusual: for the general decoder.  ValueError: not a whole message."""
    try:
        return _decode(data)
    except (struct.error, IndexError) as exc:
        raise ValueError(f"publish response of {len(data)} bytes ends too early: {exc}") from exc


def _decode(data: bytes) -> Notice:
    kind, _, _, result, diagnostics, strings, extra, extra_body, subscription, count = _HEADER.unpack_from(data)
    if kind != _PUBLISH_RESPONSE or diagnostics or strings > 0 or extra != b"\0\0" or extra_body:
        raise Unusual
    at = _HEADER.size + 4 * max(count, 0)
    more, sequence, _, parts = _MESSAGE.unpack_from(data, at)
    at += _MESSAGE.size
    items: list[Item] = []
    server: dict[int, int] = {}
    status = 0
    for _ in range(parts):
        head, at = data[at : at + 5], at + 5
        (size,) = _I32.unpack_from(data, at)
        at += 4
        if not 0 <= size <= len(data) - at:
            raise ValueError(f"a notification of {size} bytes does not fit into the message")
        if head == _DATA_CHANGE:
            _read_items(data, at, items, server)
        elif head == _STATUS_CHANGE:
            (status,) = _U32.unpack_from(data, at)
        else:
            raise Unusual
        at += size
    return Notice(result, subscription, sequence, more, items, status, parts <= 0, server)


def _read_items(data: bytes, at: int, items: list[Item], server: dict[int, int]) -> None:
    """The hot loop: one struct per value, chosen by the two bytes that say what is there."""
    (count,) = _I32.unpack_from(data, at)
    at += 4
    if count >= ALIKE and _read_alike(data, at, count, items):
        return
    head, whole, add = _ITEM.unpack_from, _WHOLE, items.append
    for _ in range(count):
        handle, mask, kind = head(data, at)
        layout = whole.get(mask << 8 | kind)
        if layout is None:
            at = _odd_item(data, at, items, server)
            continue
        unpack, size, status_at, source_at, server_at = layout
        fields = unpack(data, at + 6)
        at += 6 + size
        add(
            (
                handle,
                fields[0],
                fields[status_at] if status_at > 0 else 0,
                (fields[source_at] - EPOCH_AS_FILETIME) * 100 if source_at > 0 else 0,
            )
        )
        if server_at > 0:
            server[handle] = (fields[server_at] - EPOCH_AS_FILETIME) * 100


def _read_alike(data: bytes, at: int, count: int, items: list[Item]) -> bool:
    """All items of one type, with a source time and no status: one pass of C.  False: they are not all alike.

    Each item's mask and type are compared with the first one's, so each begins where the one before ends.
    """
    _, mask, kind = _ITEM.unpack_from(data, at)
    code = _SCALARS.get(kind)
    if mask != _PLAIN_MASK or code is None:
        return False
    alike = _ALIKE[code]
    end = at + alike.size * count
    if count < 0 or end > len(data):
        return False
    wanted, zero = mask | kind << 8, EPOCH_AS_FILETIME
    found = [
        (handle, value, 0, (stamp - zero) * 100)
        for handle, shape, value, stamp in alike.iter_unpack(memoryview(data)[at:end])
        if shape == wanted
    ]
    if len(found) != count:
        return False
    items += found
    return True


def _odd_item(data: bytes, at: int, items: list[Item], server: dict[int, int]) -> int:
    """A value that is a string, or no value at all; returns where the next item begins."""
    (handle,) = _U32.unpack_from(data, at)
    mask, value = data[at + 4], None
    at += 5
    if mask & ~0x3F or (mask & 1 and data[at] not in (0, _STRING)):
        raise Unusual
    if mask & 1:
        kind, at = data[at], at + 1
        if kind == _STRING:
            value, at = _string(data, at)
    unpack, size, status_at, source_at, server_at = _REST[mask & 0x3E]
    fields = unpack(data, at)
    status = fields[status_at] if status_at >= 0 else 0
    source = (fields[source_at] - EPOCH_AS_FILETIME) * 100 if source_at >= 0 else 0
    items.append((handle, value, status, source))
    if server_at >= 0:
        server[handle] = (fields[server_at] - EPOCH_AS_FILETIME) * 100
    return at + size


def _string(data: bytes, at: int) -> tuple[str | None, int]:
    (size,) = _I32.unpack_from(data, at)
    at += 4
    if size < 0:
        return None, at
    if at + size > len(data):
        raise ValueError(f"a string of {size} bytes does not fit into the message")
    return data[at : at + size].decode("utf-8", "replace"), at + size
