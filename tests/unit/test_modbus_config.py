"""What a Modbus configuration may say, and how it says no."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from gateway.config.reading import check
from gateway.drivers.modbus.kind import ModbusConfig
from gateway.drivers.modbus.plan import Block
from gateway.drivers.profiles.profile import load_profile, merge, names
from gateway.model import TagSpec

URL = "tcp://127.0.0.1:502"
TAGS: dict[str, Any] = {"state": {"address": 5}, "speed": {"address": 7, "scale": 0.1, "unit": "/min"}}


def config(**given: Any) -> ModbusConfig:
    return ModbusConfig.model_validate({"driver": "modbus", "url": URL, "tags": TAGS, **given})


def test_example_loads() -> None:
    """Every device of the shipped example validates."""
    text = (Path(__file__).parents[2] / "config" / "examples" / "modbus.yaml").read_text(encoding="utf-8")
    devices = {name: ModbusConfig.model_validate(given) for name, given in yaml.safe_load(text)["devices"].items()}

    assert not devices["reservoir"].haltable()
    assert devices["hold_relay"].haltable()


def test_example_warns_of_a_missing_port() -> None:
    """Preflight says which serial port is not there; it is a warning: the cable may come later."""
    (warning,) = config(url="serial:///dev/ttyNOWHERE").preflight()

    assert "/dev/ttyNOWHERE" in warning
    assert config().preflight() == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "tcp://127.0.0.1"}, "not tcp://host:port"),
        ({"url": "udp://127.0.0.1:502"}, "does not begin with one of tcp://"),
        ({"url": "tcp://127.0.0.1:port"}, "Port could not be cast"),
        ({"url": "serial://ttyS1"}, "absolute path"),
        ({"url": "serial:///dev/ttyS1?baud=9600"}, "baud is not an option; known: baudrate"),
        ({"url": "serial:///dev/ttyS1?parity=X"}, "parity=X is not possible; known: N, E, O"),
        ({"profile": "watlow-ez-zon-pm"}, "nearest: watlow-ez-zone-pm"),
        ({"profile": "packml-tags"}, "is for driver opcua, not for modbus"),
        ({"select": ["sped"]}, "no tag is called 'sped'; nearest: speed"),
        ({"select": ["speed", "speed"]}, "each tag once"),
        ({"tags": {}}, "has no tags"),
        ({"tags": {"a": {"address": 70000}}}, "less than or equal to 65536"),
        ({"tags": {"a": {"address": 0}}, "base": 1}, "address 0 is not one, with base 1"),
        ({"tags": {"a": {"address": 1, "unit": "Celsius"}}}, "'Celsius' is not a unit I know"),
        ({"tags": {"a": {"address": 1, "unit": "g", "device_unit": "Cel"}}}, "does not convert"),
        ({"tags": {"a": {"address": 1, "type": "bool"}}}, "needs bit"),
        ({"tags": {"a": {"address": 1, "table": "coil", "type": "u16"}}}, "a coil is a bool"),
        ({"tags": {"a": {"address": 1, "bit": 3, "type": "i16"}}}, "bit goes with type: bool"),
        ({"tags": {"a": {"address": 1, "bit": 16}}}, "bit 16 is beyond the 16 bits of u16"),
        ({"tags": {"a": {"address": 1, "bit": 30, "bits_wide": 3, "type": "u32"}}}, "bit 32 is beyond the 32 bits"),
        ({"tags": {"a": {"address": 1, "bits_wide": 3}}}, "bits_wide needs bit"),
        ({"tags": {"a": {"address": 1, "half": "low"}}}, "half goes with type: u8 or i8"),
        ({"tags": {"a": {"address": 1, "valid": [5, -5]}}}, "write the lowest value first"),
        ({"tags": {"a": {"address": 1, "decimals": "dp"}}}, "no tag is called 'dp'"),
        ({"tags": {"a": {"address": 1, "type": "f32", "decimals": "a"}}}, "decimals are for whole numbers"),
        ({"tags": {"a": {"address": 1, "decimals": "b"}, "b": {"address": 2, "type": "f32"}}}, "b is f32"),
        (
            {"tags": {"a": {"address": 1, "decimals": "b"}, "b": {"address": 2, "decimals": "c"}, "c": {"address": 3}}},
            "b itself depends on another tag",
        ),
        (
            {"tags": {"a": {"address": 1, "unit": "g", "unit_from": {"tag": "b", "codes": {1: "Cel"}}}}},
            "does not convert",
        ),
        ({"url": "serial:///dev/ttyS1", "unit_id": 0}, "broadcast"),
        ({"url": "serial:///dev/ttyS1", "shared": True}, "shared anyway"),
        ({"tags": {"a": {"address": 1, "type": "ascii"}}}, "length goes with type: ascii"),
        ({"tags": {"a": {"address": 1, "scale": 0}}}, "scale 0"),
        ({"tags": {"a": {"address": 1, "bad_bits": {"tag": "b", "mask": 1}}}}, "no tag is called 'b'"),
        ({"tags": {"a": {"address": 1, "good_when": {"tag": "a"}}}}, "exactly one of equals and in"),
        ({"forbidden": ["5"]}, "5 lies in the forbidden addresses 5"),
        ({"forbidden": ["9-3"]}, "not an address like 300"),
        ({"max_read": 1, "tags": {"a": {"address": 1, "type": "f32"}}}, "more than one request may read"),
        ({"tags": {**TAGS, "lamp": {"address": 9, "polled": False}}}, "lamp is not polled and confirms no halt"),
        ({"tags": {"a": {"address": 9, "polled": False}}, "select": ["a"]}, "select: a is not polled"),
        (
            {
                "tags": {
                    "a": {"address": 1, "good_when": {"tag": "b", "equals": 1}},
                    "b": {"address": 2, "polled": False},
                }
            },
            "a: b is not polled",
        ),
        ({"beat": "1s"}, "beat needs a heartbeat register"),
        ({"period": "1"}, "is not a duration"),
        ({"tags": {"a": {"address": 1, "scale": float("inf")}}}, "finite number"),
        ({"tags": {"a": {"address": 1, "offset": "nan"}}}, "finite number"),
    ],
)
def test_refusals(given: dict[str, Any], words: str) -> None:
    """Each mistake is refused with words that say what to do."""
    with pytest.raises(ValidationError, match=words):
        config(**given)


HALT: dict[str, Any] = {"write": {"register": 4, "value": 1}, "confirm": {"tag": "state", "in": [10, 11]}}


@pytest.mark.parametrize(
    ("halt", "words"),
    [
        ({"write": {"register": 4, "value": 1}}, "confirm"),
        ({**HALT, "confirm": {"tag": "stat", "equals": 1}}, "nearest: state"),
        ({**HALT, "write": {"register": 5, "value": 1}}, "proves the write, not the standstill"),
        ({**HALT, "write": {"register": 4, "value": [1, 1]}}, "proves the write, not the standstill"),
        ({**HALT, "write": {"register": 4, "coil": 4, "value": 1}}, "exactly one of coil and register"),
        ({**HALT, "write": {"register": 4, "value": 70000}}, "0 to 65535"),
        ({**HALT, "write": {"register": 4, "value": True}}, "0 to 65535"),
        ({**HALT, "write": {"coil": 4, "value": 1}}, "true or false"),
        ({**HALT, "write": {"coil": 65536, "value": True}}, "addresses go from"),
        ({**HALT, "also": {"register": 9, "value": 1}}, "Extra inputs"),
        ({**HALT, "release": {"register": 9, "value": 1}}, "the same coil or register, no other"),
        ({**HALT, "release": {"coil": 4, "value": False}}, "the same coil or register, no other"),
        ({**HALT, "release": {"register": 4, "value": [0, 2]}}, "the same coil or register, no other"),
        ({**HALT, "release": {"register": 4, "value": 1}}, "takes nothing back"),
    ],
)
def test_halt_refusals(halt: dict[str, Any], words: str) -> None:
    """A halt needs a write that can be, and another word of the machine to prove it."""
    with pytest.raises(ValidationError, match=words):
        config(halt=halt)


def test_halt_may_confirm_itself_where_accepted() -> None:
    """The very register written proves a halt only where somebody wrote that this is accepted."""
    halt = {**HALT, "write": {"register": 5, "value": 11}, "confirm_same": "accepted"}

    assert config(halt=halt).haltable()
    assert config(halt=HALT).haltable()
    assert not config().haltable()


def test_what_confirms_a_halt_stands_for_itself() -> None:
    """A tag that others may make bad is no proof: the proof is read alone."""
    tags = {**TAGS, "ok": {"address": 3}, "held": {"address": 9, "good_when": {"tag": "ok", "equals": 1}}}
    with pytest.raises(ValidationError, match="held depends on another tag"):
        config(tags=tags, halt={**HALT, "confirm": {"tag": "held", "equals": 1}})


def test_what_confirms_a_halt_need_not_be_polled() -> None:
    """A tag with `polled: false` is in no scan and in no request of a poll, yet it confirms."""
    made = config(
        tags={**TAGS, "held": {"address": 900, "polled": False}}, halt={**HALT, "confirm": {"tag": "held", "equals": 1}}
    )

    assert [tag.name for tag in made.tags()] == ["state", "speed"]
    assert [part.block for part in made.parts] == [Block(5, 3, (0, 1))]
    assert made.held is None
    assert made.proof is not None
    assert made.proof.name == "held"
    with pytest.raises(ValidationError, match="no tags that are polled"):
        config(tags={"held": {"address": 900, "polled": False}}, halt={**HALT, "confirm": {"tag": "held", "equals": 1}})


def test_heartbeat_and_halt_in_one_register() -> None:
    """A heartbeat that overwrites the halt is refused."""
    with pytest.raises(ValidationError, match="both write holding register 4"):
        config(halt=HALT, heartbeat={"register": 4})


@pytest.mark.parametrize(
    "given", [{"wearing": ["100-120"]}, {"tags": {**TAGS, "sp": {"address": 103, "type": "f32", "nvm": 100000}}}]
)
def test_a_heartbeat_in_a_register_that_wears(given: dict[str, Any]) -> None:
    """A heartbeat would write it to death in days: refused."""
    with pytest.raises(ValidationError, match="would wear holding register 104 out"):
        config(heartbeat={"register": 104}, **given)


def test_budgets_of_registers_that_wear() -> None:
    """100,000 writes last ten years at 27 a day; a budget of one's own comes first."""
    given: dict[str, Any] = {"tags": {**TAGS, "sp": {"address": 24, "nvm": 100_000}}, "base": 0}

    assert config(**given).budget(range(24, 25)) == 27
    assert config(**given, nvm_writes_per_day=5).budget(range(23, 26)) == 5
    assert config(**given).budget(range(25, 26)) is None


@pytest.mark.parametrize("name", names("modbus"))
def test_every_profile_loads(name: str) -> None:
    """Each Modbus profile validates whole, names its manual, and selects tags of its own."""
    profile = load_profile(name, "modbus")
    whole = config(profile=name, tags={}, select=list(profile.settings["tags"]))

    assert profile.manual
    assert len(whole.tags()) == len(profile.settings["tags"])
    assert config(profile=name, tags={}).tags()


def test_watlow_reservoir() -> None:
    """The profile brings the tags of the demo's reservoir, in Cel although the wire says degF."""
    tags = config(profile="watlow-ez-zone-pm", tags={}).tags()

    assert tags == (
        TagSpec("temperature", "Cel"),
        TagSpec("setpoint", "Cel"),
        TagSpec("power", "%"),
        TagSpec("sensor_status", "1"),
        TagSpec("control_mode", "1"),
    )


def test_configuration_wins_over_profile() -> None:
    """What the configuration says of a tag lies over the profile, key by key; select chooses."""
    given = config(
        profile="rheonics-srv",
        tags={"viscosity": {"unit": "Pa.s", "device_unit": "mPa.s"}, "extra": {"address": 514}},
        select=["extra", "viscosity"],
    )

    assert given.map_["viscosity"].address == 40
    assert given.tags() == (TagSpec("extra", "1"), TagSpec("viscosity", "Pa.s"))
    assert "viscosity_status" in [channel.name for channel in given.channels]


def test_merge_leaves_both_alone() -> None:
    """Merging changes neither side."""
    below = {"tags": {"a": {"address": 1}}, "base": 0}

    assert merge(below, {"tags": {"a": {"scale": 2}}}) == {"tags": {"a": {"address": 1, "scale": 2}}, "base": 0}
    assert below == {"tags": {"a": {"address": 1}}, "base": 0}


def test_unknown_profile_names_the_nearest() -> None:
    """A typo in a profile's name is answered with the nearest names."""
    with pytest.raises(ValueError, match="no profile is called 'rheonics'; nearest: rheonics-srv"):
        load_profile("rheonics", "modbus")


def test_blocks_follow_the_line() -> None:
    """Over TCP a hole is cheaper than a round trip, over a slow serial line it is not."""
    tags = {"a": {"address": 0}, "b": {"address": 60}}

    assert [part.block for part in config(tags=tags).parts] == [Block(0, 61, (0, 1))]
    assert len(config(tags=tags, url="serial:///dev/ttyS1").parts) == 2
    assert len(config(tags=tags, max_read=50).parts) == 2


def test_addresses_from_one() -> None:
    """With base 1 the manual's 40057 is 56 on the wire, for halts and forbidden addresses too."""
    given = config(base=1, tags={"a": {"address": 57}}, forbidden=["58"])

    assert given.parts[0].block.start == 56
    with pytest.raises(ValidationError, match="forbidden"):
        config(base=1, tags={"a": {"address": 57}}, forbidden=["57"])


@pytest.mark.parametrize(("units", "warned"), [(4, False), (20, True)])
def test_a_crowded_line_is_a_warning(tmp_path: Path, units: int, warned: bool) -> None:
    """A serial line whose units ask for more than it can carry is told, once, with what to do."""
    device = '{driver: modbus, url: "serial:///dev/ttyNOWHERE", tags: {"r[0..19]": {address: 0}}'
    devices = "".join(f"  zone_{unit}: {device}, unit_id: {unit}}}\n" for unit in range(1, units + 1))
    path = tmp_path / "line.yaml"
    path.write_text("gateway: {id: gw1, path: acme/denver/filling/line3/cell1}\ndevices:\n" + devices)
    said = [str(warning) for warning in check(path).warnings if "of the time of" in str(warning)]

    assert check(path).problems == ()
    assert len(said) == warned
    if warned:
        assert "/dev/ttyNOWHERE" in said[0]
        assert "longer periods" in said[0]


@pytest.mark.parametrize("name", ['""', '" a"', '"a/b"', '"a\\nb"'])
def test_a_tag_nobody_can_name_is_refused(tmp_path: Path, name: str) -> None:
    """A tag is written into rules as device/tag and read in reports: its name must be one."""
    path = tmp_path / "line.yaml"
    device = f'{{driver: modbus, url: "tcp://127.0.0.1:502", tags: {{{name}: {{address: 0}}}}}}'
    path.write_text(f"gateway: {{id: gw1, path: acme/denver/filling/line3/cell1}}\ndevices:\n  a: {device}\n")

    (problem,) = check(path).problems
    assert str(problem).startswith("line.yaml:3:")
    assert "give it another" in str(problem)
