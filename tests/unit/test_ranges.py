"""Many tags in one line of configuration."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.drivers.modbus.kind import ModbusConfig
from gateway.drivers.opcua.kind import OpcUaConfig
from gateway.drivers.ranges import MOST, expand


def modbus(**tags: Any) -> ModbusConfig:
    return ModbusConfig.model_validate({"url": "tcp://127.0.0.1:502", "tags": tags})


def test_registers_in_a_row() -> None:
    """A range is its single tags in order, one address further each."""
    assert expand({"r[2..4]": {"address": 10}}) == {
        "r2": {"address": 10},
        "r3": {"address": 11},
        "r4": {"address": 12},
    }


def test_a_step() -> None:
    """With a step the addresses are that far apart."""
    made = expand({"t[0..2]": {"address": 100, "step": 2, "type": "f32"}})

    assert [tag["address"] for tag in made.values()] == [100, 102, 104]
    assert all(tag["type"] == "f32" and "step" not in tag for tag in made.values())


def test_one_of_them_differs() -> None:
    """A name that comes again is laid over the range's tag, key by key."""
    made = expand({"r[0..2]": {"address": 0, "unit": "g"}, "r1": {"unit": "Cel"}})

    assert made["r1"] == {"address": 1, "unit": "Cel"}
    assert made["r2"] == {"address": 2, "unit": "g"}


def test_a_modbus_device() -> None:
    """A Modbus device takes ranges, and reads them as one block."""
    made = modbus(**{"r[0..99]": {"address": 0, "type": "u16"}, "state": {"address": 100}})

    assert [tag.name for tag in made.tags()] == [*(f"r{i}" for i in range(100)), "state"]
    assert [(part.block.start, part.block.count) for part in made.parts] == [(0, 101)]


def test_an_opcua_server() -> None:
    """In an OPC UA device's texts `{i}` is the number."""
    made = OpcUaConfig.model_validate(
        {
            "url": "opc.tcp://127.0.0.1:4840",
            "security": {"policy": "None", "mode": "None", "waiver": "a test"},
            "tags": {"v[7..9]": {"node": "nsu=urn:m;s=v{i}", "unit": "g"}},
        }
    )

    assert {name: tag.node for name, tag in made.nodes.items()} == {f"v{i}": f"nsu=urn:m;s=v{i}" for i in (7, 8, 9)}


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"r[9..0]": {"address": 0}}, r"r\[9..0\]: write the smaller number first"),
        ({f"r[0..{MOST}]": {"address": 0}}, f"at most {MOST} tags"),
        ({"r[0..9]": {"address": 0, "step": 0}}, "step is a whole number of addresses, not 0"),
        ({"r[0..9]": {"address": 65530}}, "less than or equal to 65536"),
        ({"r[0..9": {"addres": 0}}, "Extra inputs"),
    ],
)
def test_refusals(tags: dict[str, Any], words: str) -> None:
    """A range that is none is refused with its own name, as is what its tags may not say."""
    with pytest.raises(ValidationError, match=words):
        modbus(**tags)
