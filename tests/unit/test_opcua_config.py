"""What an OPC UA configuration may say."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from gateway.drivers.opcua.kind import OpcUaConfig
from gateway.drivers.opcua.settings import deadband_of

OPEN = {"policy": "None", "mode": "None", "waiver": "bench without a network"}

PLAIN: dict[str, Any] = {"write": {"node": "f:W", "value": 1}, "confirm": {"tag": "a", "in": [1]}}
HALTED: dict[str, Any] = {"tags": {"a": {"node": "f:A"}}}


def config(**more: Any) -> OpcUaConfig:
    given: dict[str, Any] = {
        "driver": "opcua",
        "url": "opc.tcp://10.0.0.1:4840",
        "namespace": {"f": "urn:sim:filler"},
        "security": OPEN,
        **more,
    }
    return OpcUaConfig.model_validate(given)


def test_tags_profile() -> None:
    """The PackTags profile and a prefix give five tags; more stand beside them, and may change a profile's unit."""
    made = config(
        profile="packml-tags",
        prefix="Filler",
        tags={"dose": {"node": "f:Filler.Dose.Setpoint", "unit": "g"}, "speed": {"unit": "/s"}},
    )
    assert [(tag.name, tag.unit) for tag in made.tags()] == [
        ("state", "1"),
        ("mode", "1"),
        ("speed", "/s"),
        ("units", "{count}"),
        ("rejects", "{count}"),
        ("dose", "g"),
    ]
    assert str(made.tag_ref("units")) == "nsu=urn:sim:filler;s=Filler.Admin.ProdProcessedCount"
    assert made.subscribes
    assert not made.haltable()


def test_companion_profile() -> None:
    """The companion profile composes the state and can be halted by its methods."""
    made = config(profile="packml-companion", root="f:Filler", halt={"action": "hold"})
    assert made.nodes["state"].compose == "packml-state"
    assert made.halt_place() == ("companion", "f:Filler")
    assert made.haltable()


def test_heartbeat_beats_each_second_by_default() -> None:
    """Where there is a place for the heartbeat it is written."""
    made = config(profile="packml-tags", prefix="Filler", heartbeat={"write": "f:Filler.Heartbeat.In"})
    assert made.beat_s == 1.0


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"profile": "packml-tag", "prefix": "F"}, "nearest: packml-tags"),
        ({"profile": "packml-tags"}, "needs `prefix:`"),
        ({"profile": "packml-companion"}, "needs `root:`"),
        ({}, "has no tags"),
        ({"tags": {"a": {"node": "ns=2;s=A"}}}, "tags.a: .*may move"),
        ({"tags": {"a": {"node": "g:A"}}}, "no namespace I know"),
        ({"tags": {"a": {"node": "f:A"}}, "url": "http://x:1"}, "is no endpoint"),
        ({"tags": {"a": {"node": "f:A"}}, "url": "opc.tcp://u:p@x:1"}, "write them under security"),
        ({"tags": {"a": {"node": "f:A"}}, "halt": {}}, "say `dialect: tags`"),
        ({"tags": {"a": {"node": "f:A"}}, "halt": {"dialect": "tags"}}, "needs `prefix:`"),
        ({"tags": {"a": {"node": "f:A"}}, "halt": {"write": {"node": "f:W", "value": 1}}}, "proves nothing"),
        (
            {
                "tags": {"a": {"node": "f:A"}},
                "halt": {"write": {"node": "f:W", "value": 1}, "confirm": {"tag": "b", "in": [1]}},
            },
            "none of the tags",
        ),
        ({**HALTED, "halt": {**PLAIN, "write": {"node": "nsu=urn:sim:filler;s=A", "value": 1}}}, "the very one"),
        ({**HALTED, "halt": {**PLAIN, "release": {"node": "f:Start", "value": 0}}}, "is another node"),
        ({**HALTED, "halt": {**PLAIN, "release": {"node": "f:W", "value": 1}}}, "takes nothing back"),
        ({**HALTED, "halt": {**PLAIN, "write": {"node": "f:F.Command.CntrlCmd", "value": 4}}}, "say dialect: tags"),
        ({**HALTED, "halt": PLAIN, "heartbeat": {"write": "f:W"}}, "our count would be a command"),
        (
            {**HALTED, "halt": {"dialect": "tags", "prefix": "F"}, "heartbeat": {"write": "f:F.Command.CntrlCmd"}},
            "our count would be a command",
        ),
        ({"tags": {"a": {"node": "f:A"}}, "heartbeat": {"write": "f:H", "read": "z"}}, "none of the tags"),
        ({"tags": {"a": {"node": "f:A"}}, "beat": "1s"}, "beat needs"),
        ({"tags": {"a": {"node": "f:A"}}, "security": {"policy": "None", "mode": "None"}}, "waiver"),
        ({"tags": {"a": {"node": "f:A"}}, "security": {"policy": "None", "mode": "None", "waiver": " "}}, "waiver"),
        ({"tags": {"a": {"node": "f:A"}}, "security": {"policy": "Basic256", "pki": "p"}}, "deprecated"),
        ({"tags": {"a": {"node": "f:A"}}, "security": {}}, "needs our certificate"),
        (
            {"tags": {"a": {"node": "f:A"}}, "security": {"certificate": "c.der", "key": "c.pem"}},
            "server's certificate is not checked",
        ),
        ({"tags": {"a": {"node": "f:A"}}, "security": {"policy": "None"}}, "belong together"),
        ({"tags": {"a": {"node": "f:A", "deadband": "2 g"}}}, "is no deadband"),
        ({"tags": {"a": {"node": "f:A", "deadband": True}}}, "is no deadband"),
        ({"tags": {"a": {"node": "f:A", "deadband": "200%"}}}, "more than the whole range"),
        ({"tags": {"a": {"node": "f:A", "compose": "packml-state", "deadband": 1}}}, "no deadband for"),
        ({"tags": {"a": {"node": "f:A", "compose": "scale-net", "unit": "mm"}}}, "needs a unit of mass"),
        ({"tags": {"a": {"node": "f:A", "compose": "scale-net", "unit": "g", "kind": "text"}}}, "not text"),
        ({"tags": {"a": {"node": "f:A", "compose": "scale-status"}}}, "needs `kind: text`"),
        ({"profile": "opc40200-scale"}, "needs `root:`"),
    ],
)
def test_refused(more: dict[str, Any], says: str) -> None:
    """What cannot work, or is weak without a reason, is refused with what to do."""
    with pytest.raises(ValidationError, match=says):
        config(**more)


@pytest.mark.parametrize(
    ("written", "read"), [(0.5, (0.5, False)), ("0.5", (0.5, False)), ("2%", (2.0, True)), (" 2.5 % ", (2.5, True))]
)
def test_deadbands(written: object, read: tuple[float, bool]) -> None:
    """A figure in the server's unit, or percent of the node's range."""
    tag = config(tags={"a": {"node": "f:A", "deadband": written}}).nodes["a"]
    assert tag.deadband is not None
    assert deadband_of(tag.deadband) == read


def test_scale_profile() -> None:
    """The profile and a root give a balance's tags; the weights are decimals in grams."""
    made = config(profile="opc40200-scale", root="f:Scale1")
    assert [(spec.name, spec.unit, spec.kind) for spec in made.tags()][:4] == [
        ("net", "g", "decimal"),
        ("gross", "g", "decimal"),
        ("tare", "g", "decimal"),
        ("status", "1", "text"),
    ]
    assert str(made.tag_ref("net")).endswith("s=Scale1/CurrentWeight")


def test_a_password_in_the_clear_is_named() -> None:
    """A waived link says that the password travels on it."""
    weak = {"policy": "None", "mode": "None", "waiver": "bench", "user": "line", "password": "x"}
    assert "password of line" in config(tags={"a": {"node": "f:A"}}, security=weak).waivers()[0]


def test_security_is_not_optional() -> None:
    """A device without a word on security is refused."""
    with pytest.raises(ValidationError, match="security"):
        OpcUaConfig.model_validate({"driver": "opcua", "url": "opc.tcp://x:1", "tags": {"a": {"node": "i=1"}}})


def test_waivers_are_shown() -> None:
    """A waiver is listed with what it waives; a strong link has none."""
    assert config(tags={"a": {"node": "f:A"}}).waivers() == [
        "the link is neither signed nor encrypted (security None): bench without a network"
    ]
    assert config(tags={"a": {"node": "f:A"}}, security={"pki": "pki"}).waivers() == []


def test_example_loads() -> None:
    """The example beside the driver is a valid configuration of it."""
    text = (Path(__file__).parents[2] / "config/examples/opcua.yaml").read_text()
    for device in yaml.safe_load(text)["devices"].values():
        OpcUaConfig.model_validate(device)


def test_configuration_alone_loads_no_asyncua() -> None:
    """A line that uses no OPC UA does not pay for the library."""
    code = "import sys, gateway.drivers.opcua.kind; sys.exit('asyncua' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
