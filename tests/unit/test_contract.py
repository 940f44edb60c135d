"""The MQTT contract is what the sink sends, and the documents are what the contract says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
import yaml

from gateway.board import Board
from gateway.ledger.canonical import canonical
from gateway.model import Fault, Quality
from gateway.sinks.contract import CHANNELS, KINDS, Event, GatewayState, ScanMessage, ScansMessage
from gateway.sinks.encode import scans_json
from gateway.sinks.mqtt_sink import gateway_state
from tests.sink_fakes import ledger, make_ports, scan

ROOT = Path(__file__).parents[2]


def _maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_contract", ROOT / "docs" / "make_contract.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


maker = _maker()


@pytest.mark.parametrize(
    "path", [ROOT / "docs" / "mqtt.md", ROOT / "docs" / "asyncapi.yaml"], ids=lambda path: path.name
)
def test_documents_are_fresh(path: Path) -> None:
    """The documents in the tree are those that the models make now: else run `python docs/make_contract.py`."""
    assert path.read_text("utf-8") == maker.documents()[path]


def test_references_resolve() -> None:
    """Every $ref in the AsyncAPI document leads somewhere."""
    document = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text("utf-8"))
    references = re.findall(r"#/[\w/.\-]+", yaml.safe_dump(document))

    assert len(references) > 20
    for reference in references:
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_scan_keeps_the_contract() -> None:
    """A scan as sent decodes into its message type, with nothing left over."""
    faults = {0: Fault(Quality.BAD, "sensor break"), 1: Fault(Quality.UNCERTAIN, "dynamic")}
    one = msgspec.json.decode(scans_json([scan(1, (None, 65.0, "auto"), faults)], "boot-1"), type=ScanMessage)
    two = msgspec.json.decode(scans_json([scan(1), scan(2)], "boot-1"), type=ScansMessage)

    assert one.bad == {"temperature": "sensor break"}
    assert one.uncertain == {"setpoint": "dynamic"}
    assert [each.seq for each in two.scans] == [1, 2]


def test_record_keeps_the_contract() -> None:
    """A record's envelope decodes into Event, with nothing left over."""
    document = msgspec.json.decode(ledger(["halt.confirmed"])[0].payload)
    document["context"] = {"config": "c", "rules": "r", "recipe": None, "clock": "synchronised"}
    event = msgspec.json.decode(canonical(document), type=Event)

    assert event.kind == "halt.confirmed"


def test_gateway_state_keeps_the_contract() -> None:
    """The gateway's retained state and its will decode into GatewayState."""
    board = Board()
    board.set("gateway", {"started": "1", "online": "never"})
    ports = make_ports(board)

    assert msgspec.json.decode(gateway_state(ports, online=True), type=GatewayState).online is True
    assert msgspec.json.decode(gateway_state(ports, online=False), type=GatewayState).online is False


def test_every_kind_is_documented() -> None:
    """Each kind of record that the gateway's code names has its line in the contract."""
    named: set[str] = set()
    for path in (ROOT / "gateway").rglob("*.py"):
        named |= set(re.findall(r'(?:note|Draft)\(\s*"([a-z]+\.[a-z_]+)"', path.read_text("utf-8")))

    assert len(named) > 5
    assert named <= set(KINDS)


def test_topics_are_below_the_path() -> None:
    """No channel begins with a slash or a wildcard."""
    assert all(re.fullmatch(r"[a-z]+(/(\{[a-z]+\}|[a-z]+))?", channel.address) for channel in CHANNELS)
