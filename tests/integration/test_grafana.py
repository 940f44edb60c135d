"""Every query of every dashboard, executed on a real InfluxDB that the sink itself has filled."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.model import Fault, Quality, Scan, TagSet, TagSpec
from gateway.sinks.influx import InfluxConfig
from tests.influx_client import query
from tests.servers import Server, influxd
from tests.sink_fakes import IDENTITY, START_NS, ledger, make_ports

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
TAGS = {
    "reservoir": {"temperature": 65.2, "setpoint": 65.0, "power": 40.0, "sensor_status": 0, "control_mode": 1},
    "viscometer": {"viscosity": 480.0, "density": 0.98, "temperature": 64.8},
    "balance": {"net": 1.003},
    "filler": {"state": 6, "mode": 1, "speed": 60.0, "units": 120, "rejects": 1, "tray": "T-1", "position": 20},
    "labeller": {"state": 6, "labels": 118, "issued": 120, "offset": 0.1, "verified": True},
}
EVENTS = {
    "halt.requested": {"halt": "filler:fill-weight", "device": "filler"},
    "alarm.raised": {"alarm": "oil-temperature", "priority": "high", "subject": "reservoir/temperature"},
    "alarm.cleared": {"alarm": "oil-temperature", "priority": "high"},
    "check.judged": {"id": "fill-weight#3", "state": "failed"},
    "batch.started": {},
}
WEIGHING = {"unit": "g", "rule": "fill-weight", "characteristic": "net", "check": "fill-weight#3"}


def sample_scans() -> list[Scan]:
    """Two minutes of the line, one scan a second of each device; the reservoir's sensor breaks for a while."""
    scans = []
    for name, values in TAGS.items():
        tagset = TagSet(name, [TagSpec(tag) for tag in values])
        for second in range(120):
            broken = name == "reservoir" and 40 <= second < 60
            faults = {0: Fault(Quality.BAD, "sensor break")} if broken else {}
            row = (None, *list(values.values())[1:]) if broken else tuple(values.values())
            scans.append(Scan(tagset, second, START_NS + second * 1_000_000_000, 0, row, faults))
    return scans


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with influxd(tmp_path_factory.mktemp("grafana"), "line") as server:
        yield server


@pytest.fixture
async def filled(server: Server) -> Server:
    """The sample data, written by the sink."""
    config = InfluxConfig(url=f"http://127.0.0.1:{server.port}", api="v1", database="line")
    records = [ledger([kind], start=at, body=body)[0] for at, (kind, body) in enumerate(EVENTS.items())]
    for at, (value, passed) in enumerate([("1.003", True), ("0.998", True), ("0.941", False), ("1.1", None)], 10):
        time_ns = str(START_NS + at * 1_000_000_000)
        body = {**WEIGHING, "value": value, "passed": passed, "time_ns": time_ns}
        records += ledger(["weighing.recorded"], start=at, body=body)
    async with config.connect("influx", make_ports()) as sink:
        await sink.deliver(sample_scans())
        await sink.deliver(records)
    return server


def interpolated(text: str, gateway: str = ".*") -> str:
    """Grafana's macros and the dashboard's variables, as Grafana fills them in."""
    start, end = START_NS - 60_000_000_000, START_NS + 300_000_000_000
    text = text.replace("$timeFilter", f"time >= {start} AND time <= {end}").replace("$__interval", "5s")
    text = re.sub(r"\$\{?gateway\}?", gateway, text)
    text = text.replace("${target_g}", "1.00").replace("${tolerance_g}", "0.05")
    assert "$" not in text.replace("$/", ""), text
    return text


def queries(path: Path) -> Iterator[tuple[str, str]]:
    """(name, query) of each panel's targets, annotations and variables."""
    dashboard = json.loads(path.read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["query"]
    for annotation in dashboard["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation["query"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"]


ALL = [pytest.param(text, id=f"{path.stem}: {name}") for path in DASHBOARDS for name, text in queries(path)]


@pytest.mark.parametrize("text", ALL)
async def test_query_brings_data(filled: Server, text: str) -> None:
    """Each query of the dashboard is understood by a real InfluxDB and brings something of what the sink wrote."""
    series = query(filled.port, interpolated(text))

    assert series
    assert any(value is not None for each in series for row in each["values"] for value in row[1:])


async def test_gap_is_a_gap(filled: Server) -> None:
    """Where the sensor was broken the temperature's query brings nothing to draw, and the link panel says bad."""
    found = dict(queries(DASHBOARDS[0]))
    [oil] = query(filled.port, interpolated(found["Oil temperature A"]))
    broken = [value for time_ns, value in oil["values"] if 40 <= (time_ns - START_NS) / 1e9 < 55]
    link = next(
        each for each in query(filled.port, interpolated(found["Link and quality A"])) if each["name"] == "reservoir"
    )

    assert len(broken) == 3
    assert set(broken) == {None}
    assert max(value for _, value in link["values"]) == 2


async def test_unjudged_weighing_is_not_charted(filled: Server) -> None:
    """A weighing that was recorded and not judged is not drawn among those that count."""
    found = dict(queries(DASHBOARDS[0]))
    [weights] = query(filled.port, interpolated(found["Fill weights A"]))

    assert [value for _, value in weights["values"]] == [1.003, 0.998, 0.941]


async def test_other_gateway_is_not_mixed_in(filled: Server) -> None:
    """The gateway variable narrows every panel to one gateway."""
    for name, text in queries(DASHBOARDS[0]):
        if not name.startswith("variable"):
            assert query(filled.port, interpolated(text, gateway="somebody-else")) == [], name
            assert "$gateway" in text, name


def _documents() -> dict[str, Any]:
    folder = GRAFANA / "provisioning"
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted(folder.rglob("*.yaml"))}


def test_provisioning_fits() -> None:
    """Every panel names the data source that is provisioned, and no line is drawn over a gap."""
    source = _documents()["influxdb"]["datasources"][0]
    assert source["type"] == "influxdb"
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            assert panel["datasource"] == {"type": "influxdb", "uid": source["uid"]}
            assert panel["fieldConfig"]["defaults"]["custom"]["spanNulls"] is False
    assert IDENTITY.gateway_id not in DASHBOARDS[0].read_text()
