"""The InfluxDB sink on a real InfluxDB 1.6 (v1, queried back) and VictoriaMetrics (v2, transport)."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.demo.ports import free_port
from gateway.errors import Rejected, SinkError
from gateway.forwarder import Forwarder
from gateway.model import Fault, Quality, Record, Scan, TagSet, TagSpec
from gateway.sinks.influx import InfluxConfig
from gateway.world import World
from tests.influx_client import query, rows
from tests.servers import Server, influxd, victoria_metrics
from tests.sink_fakes import START_NS, FakeEvidence, FakeTelemetry, ledger, make_ports, scan


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with influxd(tmp_path_factory.mktemp("influx"), "line", "other") as server:
        yield server


def v1(server: Server, **more: Any) -> InfluxConfig:
    return InfluxConfig.model_validate(
        {"url": f"http://127.0.0.1:{server.port}", "api": "v1", "database": "line", "timeout": 20.0, **more}
    )


async def written(config: InfluxConfig, items: Sequence[Record | Scan]) -> None:
    async with config.connect("influx", make_ports()) as sink:
        await sink.deliver(items)


def device(name: str) -> TagSet:
    return TagSet(name, [TagSpec("temperature", "Cel"), TagSpec("setpoint", "Cel"), TagSpec("mode", kind="text")])


async def test_written_is_read_back(server: Server) -> None:
    """Each scan is one point with its own nanosecond, numbers as floats, texts as texts; gzip or not."""
    tagset = device("oil, tank=1")
    scans = [scan(seq, (60 + seq, Decimal("65.50"), 'say "hi"'), tagset=tagset) for seq in range(1, 101)]
    await written(v1(server), scans[:50])
    await written(v1(server, gzip=False), scans[50:])

    found = rows(server.port, 'SELECT temperature, setpoint, mode, quality FROM "oil, tank=1"')
    assert [row["temperature"] for row in found] == [60 + seq for seq in range(1, 101)]
    assert found[0] == {
        "time": START_NS + 100_000_000,
        "temperature": 61,
        "setpoint": 65.5,
        "mode": 'say "hi"',
        "quality": 0,
    }


async def test_twice_is_once(server: Server) -> None:
    """Delivering the same scans again changes nothing: at-least-once is exactly-once here."""
    scans = [scan(seq, tagset=device("twice")) for seq in range(1, 51)]
    await written(v1(server), scans)
    await written(v1(server), scans)

    assert rows(server.port, "SELECT count(temperature) FROM twice")[0]["count"] == 50


async def test_bad_is_quality_not_value(server: Server) -> None:
    """A bad value leaves a gap in the value and a point in the quality."""
    tagset = device("broken")
    bad = {0: Fault(Quality.BAD, "sensor break")}
    await written(v1(server), [scan(1, tagset=tagset), scan(2, (None, 65.0, "auto"), bad, tagset)])

    found = rows(server.port, "SELECT temperature, temperature_quality, quality FROM broken")
    assert [row["temperature"] for row in found] == [65.5, None]
    assert found[1]["temperature_quality"] == "bad: sensor break"
    assert [row["quality"] for row in found] == [0, 2]


async def test_conflict_is_rejected_alone(server: Server) -> None:
    """A field that was a number and is text now is rejected by its position; the rest of the batch is written."""
    tagset = device("conflict")
    await written(v1(server), [scan(1, tagset=tagset)])
    batch = [scan(seq, tagset=tagset) for seq in range(2, 12)]
    batch[3] = scan(5, ("hot", 65.0, "auto"), tagset=tagset)
    batch[7] = scan(9, ("hot", 65.0, "auto"), tagset=tagset)
    with pytest.raises(Rejected) as refusal:
        await written(v1(server), batch)

    assert refusal.value.positions == (3, 7)
    assert "field type conflict" in refusal.value.reason
    assert rows(server.port, "SELECT count(temperature) FROM conflict")[0]["count"] == 9


async def test_missing_database(server: Server) -> None:
    """A database that does not exist is found when connecting, by its name."""
    with pytest.raises(SinkError, match="database not found"):
        await written(v1(server, database="nowhere"), [scan(1)])


async def test_v2_against_1_6(server: Server) -> None:
    """InfluxDB before 1.8 has no v2 API: the error says what to write instead."""
    config = InfluxConfig(url=f"http://127.0.0.1:{server.port}", api="v2", bucket="line")
    with pytest.raises(SinkError, match="write api: v1"):
        await written(config, [scan(1)])


async def test_nobody_there() -> None:
    """A closed port is a SinkError, in both dialects."""
    url = f"http://127.0.0.1:{free_port()}"
    for config in (InfluxConfig(url=url, api="v1", database="line"), InfluxConfig(url=url, bucket="line")):
        with pytest.raises(SinkError, match="refused"):
            await written(config, [scan(1)])


async def test_records_become_points(server: Server) -> None:
    """Weighings and what belongs on a time axis are written; what does not is taken and left out."""
    body = {"value": "1.012", "unit": "g", "passed": True, "rule": "fill", "characteristic": "net", "check": "fill#1"}
    records = [
        *ledger(["gateway.started"]),
        *ledger(["alarm.raised"], start=1, body={"alarm": "oil-temperature", "priority": "high", "value": "71.5"}),
        *ledger(["weighing.recorded"], start=2, body=body),
    ]
    await written(v1(server, database="other"), records)

    [event] = rows(server.port, "SELECT * FROM events", "other")
    assert (event["kind"], event["title"], event["value"]) == ("alarm.raised", "alarm raised: oil-temperature", 71.5)
    [weighing] = rows(server.port, "SELECT * FROM weighing", "other")
    assert (weighing["value"], weighing["rule"], weighing["passed"]) == (1.012, "fill", True)


@asynccontextmanager
async def _running(forwarder: Forwarder) -> Any:
    task = asyncio.create_task(forwarder.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_server_away_and_back(tmp_path: Path) -> None:
    """A server that was killed and comes back has every scan once, counted as points."""
    telemetry, tagset = FakeTelemetry(), device("away")
    with influxd(tmp_path, "line") as server:
        config = v1(server, timeout=2.0, linger=0.05)
        forwarder = Forwarder("influx", config, FakeEvidence(), telemetry, make_ports(), World(seed=5))

        def live(*seqs: int) -> None:
            for seq in seqs:
                telemetry.put(scan(seq, tagset=tagset))
                forwarder.offer(scan(seq, tagset=tagset))

        async with _running(forwarder), asyncio.timeout(100):
            live(*range(1, 201))
            await _drained(telemetry)
            server.kill()
            live(*range(201, 401))
            while forwarder.status().connected:  # noqa: ASYNC110  # a server sets no event
                await asyncio.sleep(0.05)
            server.start()
            live(*range(401, 501))
            await _drained(telemetry)
        found = rows(server.port, "SELECT count(temperature) FROM away")

    assert found[0]["count"] == 500


async def _drained(telemetry: FakeTelemetry) -> None:
    while telemetry.pending("influx"):  # noqa: ASYNC110  # a server sets no event
        await asyncio.sleep(0.05)


async def test_victoria_metrics_v2(tmp_path: Path) -> None:
    """The v2 API through influxdb-client reaches VictoriaMetrics: the numbers are there, to the millisecond."""
    with victoria_metrics(tmp_path) as server:
        config = InfluxConfig(url=f"http://127.0.0.1:{server.port}", bucket="line")
        tagset = device("reservoir")
        await written(config, [scan(seq, (60.0 + seq, 65.0, "auto"), tagset=tagset) for seq in range(1, 21)])
        samples = await asyncio.to_thread(_exported, server.port, "reservoir_temperature")

    assert samples["values"] == [60 + seq for seq in range(1, 21)]
    assert samples["timestamps"][0] == (START_NS + 100_000_000) // 1_000_000
    assert samples["metric"]["gateway"] == "line3-gw1"


async def test_victoria_metrics_v1(tmp_path: Path) -> None:
    """The v1 API reaches it too."""
    with victoria_metrics(tmp_path) as server:
        await written(v1(server), [scan(seq, tagset=device("filler")) for seq in range(1, 4)])
        samples = await asyncio.to_thread(_exported, server.port, "filler_temperature")

    assert len(samples["values"]) == 3


def _exported(port: int, name: str) -> dict[str, Any]:
    """What VictoriaMetrics holds of one metric; it shows new points a moment later unless it is told to flush."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/internal/force_flush")
    connection.getresponse().read()
    connection.request("GET", f"/api/v1/export?match[]={name}")
    body = connection.getresponse().read()
    connection.close()
    document: dict[str, Any] = json.loads(body.splitlines()[0])
    return document


def test_query_helper_shows_errors(server: Server) -> None:
    """A refused query is an assertion, so that no test passes over it."""
    with pytest.raises(AssertionError, match="error parsing"):
        query(server.port, "SELECT nonsense FROM")
