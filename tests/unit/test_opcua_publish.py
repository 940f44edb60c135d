"""The publish decoder against asyncua's own encoder and decoder."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from hypothesis import given
from hypothesis import strategies as st

from gateway.drivers.wire.opcua_publish import Unusual, decode

V = ua.VariantType
RANGES = {V.SByte: 7, V.Int16: 15, V.Int32: 31, V.Int64: 63}
UNSIGNED = {V.Byte: 8, V.UInt16: 16, V.UInt32: 32, V.UInt64: 64}
variants = st.one_of(
    st.booleans().map(lambda value: ua.Variant(value, V.Boolean)),
    st.floats(width=32).map(lambda value: ua.Variant(value, V.Float)),
    st.floats().map(lambda value: ua.Variant(value, V.Double)),
    st.one_of(st.none(), st.text(st.characters(codec="utf-8"))).map(lambda value: ua.Variant(value, V.String)),
    *(
        st.integers(-(2**bits), 2**bits - 1).map(lambda value, kind=kind: ua.Variant(value, kind))
        for kind, bits in RANGES.items()
    ),
    *(
        st.integers(0, 2**bits - 1).map(lambda value, kind=kind: ua.Variant(value, kind))
        for kind, bits in UNSIGNED.items()
    ),
)
stamps = st.one_of(st.none(), st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
pico = st.one_of(st.none(), st.integers(0, 9999))
data_values = st.builds(
    ua.DataValue,
    Value=variants,
    StatusCode=st.sampled_from([None, ua.StatusCode(0), ua.StatusCode(0x80310000), ua.StatusCode(0x40900000)]),
    SourceTimestamp=stamps,
    ServerTimestamp=stamps,
    SourcePicoseconds=pico,
    ServerPicoseconds=pico,
)


def response(values: list[Any], more: bool = False, sequence: int = 9) -> bytes:
    made = ua.PublishResponse()
    made.Parameters.SubscriptionId = 77
    made.Parameters.AvailableSequenceNumbers = [sequence]
    made.Parameters.MoreNotifications = more
    made.Parameters.NotificationMessage.SequenceNumber = sequence
    if values:
        changes = ua.DataChangeNotification()
        changes.MonitoredItems = [
            ua.MonitoredItemNotification(ClientHandle=at, Value=value) for at, value in enumerate(values)
        ]
        made.Parameters.NotificationMessage.NotificationData = [changes]
    return bytes(struct_to_binary(made))


@given(st.lists(data_values, min_size=1, max_size=6), st.booleans())
def test_reads_what_the_library_reads(values: list[Any], more: bool) -> None:
    """Handles, values, statuses and both times are those that the general decoder finds."""
    agrees(values, more)


@given(st.integers(8, 20), data_values.filter(lambda value: value.SourceTimestamp is not None), st.data())
def test_reads_many_alike(count: int, one: Any, data: st.DataObject) -> None:
    """Many values of one type are read in one go, and one odd value among them spoils none."""
    plain = ua.DataValue(one.Value, StatusCode=None, SourceTimestamp=one.SourceTimestamp)
    values = [plain] * count
    agrees(values)
    values[data.draw(st.integers(0, count - 1))] = data.draw(data_values)
    agrees(values)


def agrees(values: list[Any], more: bool = False) -> None:
    data = response(values, more)
    general = struct_from_binary(ua.PublishResponse, Buffer(data)).Parameters.NotificationMessage.NotificationData[0]

    notice = decode(data)

    assert (notice.subscription, notice.sequence, notice.more, notice.empty) == (77, 9, more, False)
    for item, expected in zip(notice.items, general.MonitoredItems, strict=True):
        stamp = expected.Value.SourceTimestamp
        assert item[0] == expected.ClientHandle
        assert repr(item[1]) == repr(expected.Value.Value.Value)
        assert item[2] == expected.Value.StatusCode.value
        assert item[3] == unix_ns(stamp)
        if expected.Value.SourcePicoseconds is None:  # the library puts them behind the server's time (10000-6: before)
            assert notice.server_ns.get(item[0], 0) == unix_ns(expected.Value.ServerTimestamp)


def unix_ns(stamp: datetime | None) -> int:
    return int((ua.datetime_to_win_epoch(stamp) - 116444736000000000) * 100) if stamp else 0


def test_keep_alive() -> None:
    """A response without notifications is a keep-alive and is not to be acknowledged."""
    assert decode(response([])).empty


def test_the_end_of_a_subscription() -> None:
    """A status change notification carries its status."""
    made = ua.PublishResponse()
    made.Parameters.NotificationMessage.NotificationData = [
        ua.StatusChangeNotification(Status=ua.StatusCode(ua.StatusCodes.BadTimeout))
    ]
    assert decode(bytes(struct_to_binary(made))).status == ua.StatusCodes.BadTimeout


@pytest.mark.parametrize(
    "value",
    [
        ua.Variant([1, 2], V.Int32),
        ua.Variant(ua.LocalizedText("Held"), V.LocalizedText),
        ua.Variant(ua.NodeId(34, 2), V.NodeId),
    ],
)
def test_the_unusual_is_left_to_the_library(value: Any) -> None:
    """Arrays, texts with a language and node ids are not guessed at."""
    with pytest.raises(Unusual):
        decode(response([ua.DataValue(value)]))


def test_a_fault_response_is_left_to_the_library() -> None:
    """Whatever is not a PublishResponse is not read as one."""
    with pytest.raises(Unusual):
        decode(bytes(struct_to_binary(ua.ServiceFault())) + bytes(64))


@given(st.data())
def test_a_cut_message_is_an_error(data: st.DataObject) -> None:
    """A message that ends too early is a ValueError, never a shorter list of values."""
    whole = response([ua.DataValue(ua.Variant(5, V.UInt16)), ua.DataValue(ua.Variant("abc", V.String))])
    cut = data.draw(st.integers(0, len(whole) - 12))
    with pytest.raises((ValueError, Unusual)):
        decode(whole[:cut])


@given(st.binary(max_size=200))
def test_noise_is_an_error(noise: bytes) -> None:
    """Bytes that are no message raise ValueError or Unusual, and nothing else."""
    with pytest.raises((ValueError, Unusual)):
        decode(b"\x01\x00\x3d\x03" + noise[:40])
