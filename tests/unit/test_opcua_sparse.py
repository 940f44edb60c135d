"""A sparse scan, and the server's own time stamps, on their way to the sinks and the store."""

from __future__ import annotations

import json

import msgspec

from gateway.model import Fault, Quality, Scan
from gateway.sinks.encode import scans_json
from gateway.sinks.influx_lines import Lines
from gateway.store.scans import decode, encode
from tests.sink_fakes import IDENTITY, scan

BREAK = Fault(Quality.BAD, "sensor break")


def sparse(*changed: int) -> Scan:
    """Three tags, the first of them bad; only these are new."""
    whole = scan(1, (None, 65.0, "auto"), {0: BREAK})
    return msgspec.structs.replace(whole, changed=frozenset(changed))


def test_mqtt_carries_what_is_new() -> None:
    """The message says that it is sparse; a tag that became bad is told once."""
    assert json.loads(scans_json([sparse(1)], "b"))["values"] == {"setpoint": 65.0}
    first = json.loads(scans_json([sparse(0, 2)], "b"))
    assert (first["values"], first["bad"], first["sparse"]) == ({"mode": "auto"}, {"temperature": "sensor break"}, True)
    assert json.loads(scans_json([sparse()], "b"))["values"] == {}


def test_influx_carries_what_is_new() -> None:
    """Only new fields are written; the quality of the point is still that of the whole scan."""
    line = Lines(IDENTITY).scan(sparse(1))
    assert "setpoint=65.0" in line
    assert "mode" not in line
    assert "temperature" not in line
    assert "quality=2i" in line


def test_the_store_keeps_the_whole() -> None:
    """What comes back after an outage has every tag as it stood, and both times."""
    stamped = msgspec.structs.replace(sparse(1), source_ns={1: 5}, server_ns={1: 7})
    (found,) = decode(encode([stamped], lambda _: 1), lambda _: stamped.tagset)
    assert found.values == stamped.values
    assert found.changed is None
    assert (found.source_ns, found.server_ns) == ({1: 5}, {1: 7})


def test_server_times_alone_are_kept() -> None:
    """A scan without faults and without source times keeps the server's."""
    stamped = msgspec.structs.replace(scan(1, (1.0, 65.0, "auto")), server_ns={0: 9})
    (found,) = decode(encode([stamped], lambda _: 1), lambda _: stamped.tagset)
    assert (found.source_ns, found.server_ns) == ({}, {0: 9})
