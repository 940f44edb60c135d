"""What goes on the wire: telemetry JSON, CloudEvents, MQTT properties, line protocol."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.model import Fault, Quality, TagSet, TagSpec
from gateway.sinks.encode import (
    cloud_event,
    event_topic,
    publish_properties,
    rfc3339,
    scans_json,
    to_json,
    varint,
)
from gateway.sinks.influx_lines import Lines, field, key, measurement
from gateway.sinks.mqtt_sink import SCANS_PER_MESSAGE, by_device
from tests.sink_fakes import IDENTITY, LEDGER, START_NS, ledger, scan

BREAK = Fault(Quality.BAD, "sensor break")
PLAIN = st.characters(exclude_characters="\0", exclude_categories=("C", "Z"))
DYNAMIC = Fault(Quality.UNCERTAIN, "dynamic")


def test_scan_as_json() -> None:
    """A scan is one object of plain values by tag; a Decimal keeps its digits."""
    text = scans_json([scan(7, (65.5, Decimal("65.00"), "auto"))], "boot-1")

    assert text == (
        b'{"boot":"boot-1","seq":7,"time":"1790000000700000000",'
        b'"values":{"temperature":65.5,"setpoint":65.00,"mode":"auto"}}'
    )


def test_bad_is_never_a_number() -> None:
    """Bad values stand apart with their reason, uncertain ones are values with a reason beside them."""
    document = json.loads(scans_json([scan(1, (None, Decimal(65), "auto"), {0: BREAK, 1: DYNAMIC})], "boot-1"))

    assert document["values"] == {"setpoint": 65, "mode": "auto"}
    assert document["bad"] == {"temperature": "sensor break"}
    assert document["uncertain"] == {"setpoint": "dynamic"}


def test_bad_with_a_held_value() -> None:
    """A value that a driver left beside a bad quality is not sent."""
    document = json.loads(scans_json([scan(1, (65.5, Decimal(65), "auto"), {0: BREAK})], "boot-1"))

    assert "temperature" not in document["values"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), Decimal("Infinity")])
def test_no_number_is_null(value: float | Decimal) -> None:
    """NaN and infinities are no JSON; they become null, never text."""
    assert to_json({"x": value}) == b'{"x":null}'


def test_several_scans() -> None:
    """Scans of one device under load go in one message, each with its own boot, number and time."""
    older = scan(1)
    document = json.loads(scans_json([older, scan(2)], "boot-1"))

    assert [each["seq"] for each in document["scans"]] == [1, 2]
    assert document["scans"][0]["values"]["temperature"] == 65.5


def test_grouping_keeps_order() -> None:
    """Scans are grouped by device, in order, and no message is longer than the limit."""
    other = TagSet("filler", [TagSpec("state"), TagSpec("mode"), TagSpec("speed")])
    scans = [scan(seq, (1.0, 2.0, 3.0), tagset=other if seq % 2 else scan(1).tagset) for seq in range(1, 101)]
    groups = by_device(scans)

    assert sorted(position for group in groups for position in group) == list(range(100))
    for group in groups:
        assert len(group) <= SCANS_PER_MESSAGE
        assert len({scans[position].device for position in group}) == 1
        assert group == sorted(group)


def test_event_topic() -> None:
    """A record's kind becomes topic levels."""
    assert event_topic("acme/line3", "halt.confirmed") == "acme/line3/event/halt/confirmed"


def test_cloud_event_attributes() -> None:
    """Source and id are the key a consumer inserts by; time has all nine digits."""
    [record] = ledger(["halt.confirmed"])
    attributes = cloud_event(record, IDENTITY, LEDGER)

    assert attributes["id"] == "ledger-1:0"
    assert attributes["source"] == "urn:linegate:line3-gw1"
    assert attributes["type"] == "linegate.halt.confirmed.v1"
    assert attributes["subject"] == "B-1"
    assert attributes["hash"] == record.hash.hex()
    assert rfc3339(START_NS + 5) == "2026-09-21T14:13:20.000000005Z"


@given(
    st.dictionaries(st.text(PLAIN, min_size=1, max_size=20), st.text(PLAIN, max_size=50), max_size=8),
    st.none() | st.integers(0, 2**32 - 1),
    st.none() | st.binary(max_size=40),
)
def test_properties_unpack_in_paho(user: dict[str, str], expiry_s: int | None, correlation: bytes | None) -> None:
    """What we pack by hand, paho unpacks to the same properties."""
    packed = publish_properties(user=user, expiry_s=expiry_s, correlation=correlation).pack()
    properties = Properties(PacketTypes.PUBLISH)
    _, length = properties.unpack(packed)

    assert length == len(packed)
    assert properties.ContentType == "application/json"
    assert dict(getattr(properties, "UserProperty", [])) == user
    assert getattr(properties, "MessageExpiryInterval", None) == expiry_s
    assert getattr(properties, "CorrelationData", None) == correlation


@pytest.mark.parametrize(
    "forbidden", ["\0", "\ud800", "\t", "\x1f", "\x7f", "\x85", "\ufdd0", "\uffff", "\U0010ffff", "\ufeff"]
)
def test_forbidden_characters(forbidden: str) -> None:
    """What a broker or a consumer hangs up on, in a batch's name, is shown as what it is: no character."""
    packed = publish_properties(user={"subject": f"B {forbidden}ü"}).pack()
    properties = Properties(PacketTypes.PUBLISH)
    properties.unpack(packed)

    assert properties.UserProperty == [("subject", "B \ufffdü")]


@pytest.mark.parametrize(
    ("number", "coded"), [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (16384, b"\x80\x80\x01")]
)
def test_varint(number: int, coded: bytes) -> None:
    """The standard's own examples (MQTT 5, table 1-1)."""
    assert varint(number) == coded


def test_scan_as_line() -> None:
    """A scan is one point: floats, quoted text, the worst quality, nanoseconds."""
    line = Lines(IDENTITY).scan(scan(1, (65, Decimal("65.50"), 'say "hi" \\')))

    assert line == (
        "reservoir,gateway=line3-gw1,path=acme/denver/filling/line3/cell1 "
        r'temperature=65.0,setpoint=65.5,mode="say \"hi\" \\",quality=0i 1790000000100000000'
    )


def test_bad_line_has_no_number() -> None:
    """Bad and NaN are written as quality, never as a value; a scan with nothing good still is a point."""
    line = Lines(IDENTITY).scan(scan(1, (None, float("nan"), None), {0: BREAK, 2: BREAK}))

    fields = line.split(" ", 1)[1].rsplit(" ", 1)[0]
    assert fields == (
        'temperature_quality="bad: sensor break",setpoint_quality="bad: not a number",'
        'mode_quality="bad: sensor break",quality=2i'
    )


def test_uncertain_line_has_both() -> None:
    """An uncertain value is written, and said to be uncertain."""
    line = Lines(IDENTITY).scan(scan(1, faults={0: DYNAMIC}))

    assert 'temperature=65.5,temperature_quality="uncertain: dynamic"' in line
    assert ",quality=1i " in line


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("a b", r"a\ b"),
        ("a,b", r"a\,b"),
        ("a=b", r"a\=b"),
        ("end\\", "end/"),
        ("two\\\\", "two//"),
        ("in\\side", "in\\side"),
    ],
)
def test_key_escaping(name: str, escaped: str) -> None:
    """Separators are escaped, and a last backslash cannot swallow the one behind it."""
    assert key(name) == escaped


def test_measurement_escaping() -> None:
    """An equals sign is plain in a measurement's name."""
    assert measurement("a=b c,d") == r"a=b\ c\,d"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (True, "t"),
        (3, "3.0"),
        (10**20, "1e+20"),
        (0.1, "0.1"),
        (Decimal("1E+3"), "1000.0"),
        (float("-inf"), None),
        (None, None),
    ],
)
def test_field_values(value: float | Decimal | None, written: str | None) -> None:
    """Numbers are always floats; what is no number has no value."""
    assert field(value) == written


def test_reserved_names() -> None:
    """A tag called `time` or `quality` gets a mark behind it instead of being lost."""
    tagset = TagSet("clock", [TagSpec("time"), TagSpec("quality")])
    line = Lines(IDENTITY).scan(scan(1, (1.0, 2.0), tagset=tagset))

    assert "time_=1.0,quality_=2.0,quality=0i" in line


def test_weighing_as_line() -> None:
    """A weighing is a number with its check and whether it was judged, at the time it was taken."""
    body = {"value": "1.012", "unit": "g", "passed": True, "rule": "fill", "characteristic": "net", "check": "fill#1"}
    [record] = ledger(["weighing.recorded"], start=5, body={**body, "time_ns": str(START_NS)})
    line = Lines(IDENTITY).record(record)

    assert line is not None
    assert line.startswith("weighing,gateway=line3-gw1,path=acme/denver/filling/line3/cell1,rule=fill,")
    assert 'value=1.012,unit="g",check="fill#1",batch="B-1",judged=t,passed=t,index=5i' in line
    assert line.endswith(str(START_NS + 5))


def test_events_of_one_instant_stay_two() -> None:
    """Records of the same nanosecond get different points; kinds without a place on a time axis get none."""
    first, second = (ledger(["alarm.raised"], start=index)[0] for index in (1, 2))
    second = type(second)(second.index, second.kind, None, first.time_ns, second.lane, second.hash, second.payload)
    lines = Lines(IDENTITY)

    assert str(lines.record(first)).rsplit(" ", 1)[1] != str(lines.record(second)).rsplit(" ", 1)[1]
    assert lines.record(ledger(["gateway.started"])[0]) is None
