"""Profiles: each shipped map reads its golden frames through the real plan and codec; a site has maps of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from gateway.drivers.balance.kind import BalanceConfig
from gateway.drivers.modbus.kind import ModbusConfig
from gateway.drivers.modbus.layout import Layout
from gateway.drivers.profiles.profile import Basis, load_profile, merge, names, read_profile, site
from gateway.drivers.transport import parse_url
from gateway.drivers.wire import modbus as wire
from gateway.model import Reading

GOLDEN = Path(__file__).parents[1] / "golden" / "profiles"
OTHERS = {"prominent-dulco-flex"}
"""Modbus profiles whose frames stand with their simulator."""


def golden() -> list[Any]:
    """Every case of every file, named."""
    return [
        pytest.param(path.stem, case, id=f"{path.stem}: {case['what']}")
        for path in sorted(GOLDEN.glob("*.yaml"))
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))
    ]


def read(config: ModbusConfig, exchanges: list[dict[str, str]]) -> Reading:
    """What the driver makes of these answers; its requests must be these, byte by byte."""
    framing = wire.RtuFraming()
    framing.forget()
    asked, answers = [], []
    for part, exchange in zip(config.parts, exchanges, strict=True):
        asked.append(framing.ask(wire.read(config.unit_id, part.table, part.block.start, part.block.count)))
        answer = framing.feed(bytes.fromhex(exchange["answer"]))
        assert answer is not None
        answers.append(answer)

    assert [each.hex(" ").upper() for each in asked] == [exchange["request"] for exchange in exchanges]
    return Layout(config.channels, len(config.names), config.parts, framing.data_at).reading(answers)


@pytest.mark.parametrize(("name", "case"), golden())
def test_golden_frames(name: str, case: dict[str, Any]) -> None:
    """The profile's plan asks these very bytes, and these very answers are these values, or bad for this reason."""
    given = {"url": "rtu+tcp://127.0.0.1:502", "profile": name}
    config = ModbusConfig.model_validate(merge(given, case.get("settings", {})))

    reading = read(config, case["exchanges"])

    found = dict(zip(config.names, reading.values, strict=True))
    assert found == {tag: pytest.approx(value) if value is not None else None for tag, value in case["tags"].items()}
    reasons = {config.names[at]: fault.reason for at, fault in reading.faults.items()}
    assert reasons.keys() == case.get("doubted", {}).keys()
    assert all(words in reasons[tag] for tag, words in case.get("doubted", {}).items()), reasons


def test_every_map_has_golden_frames() -> None:
    """No Modbus profile ships without frames that prove how it is read, and each says what they rest on."""
    relays = {name for name in names("modbus") if name.startswith("permissive-relay")}
    shown = {path.stem for path in GOLDEN.glob("*.yaml")}
    cases = [case for _, case in (each.values for each in golden())]

    assert set(names("modbus")) - relays - OTHERS <= shown
    assert {case["basis"] for case in cases} == {"manual", "computed"}
    assert all(case.get("source") for case in cases if case["basis"] == "manual")


def test_there_are_profiles_of_twelve_devices() -> None:
    """At least twelve real devices, none of them claimed to be proved on the device."""
    profiles = [load_profile(name) for name in names()]

    assert len({(each.maker, each.model) for each in profiles if not each.maker.startswith("any")}) >= 12
    assert not any(each.verified for each in profiles)


@pytest.mark.parametrize("name", names())
def test_what_a_profile_says_is_known(name: str) -> None:
    """Bases are among the known ones, doubted tags exist, and the serial settings are those of a port."""
    profile = load_profile(name)
    options = "&".join(
        f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in profile.serial.items()
    )

    assert {profile.basis, *profile.tag_basis.values()} <= set(get_args(Basis))
    assert profile.tag_basis.keys() <= profile.settings.get("tags", {}).keys()
    assert parse_url(f"serial:///dev/ttyS0?{options}" if options else "serial:///dev/ttyS0", ("serial",))


@pytest.mark.parametrize(
    ("name", "tags", "basis"),
    [
        ("danfoss-fc", "status speed reference", "unsure"),
        ("danfoss-fc", "control_word", "manual"),
        ("eaton-m-max", "status", "unsure"),
        ("eaton-m-max", "speed frequency current error", "manual"),
        ("schneider-atv", "status frequency control_word frequency_reference", "unsure"),
        ("invt-goodrive", "voltage current power torque", "unsure"),
        ("eurotherm-3216", "temperature setpoint power", "secondary"),
        ("eurotherm-3216", "status", "unsure"),
        ("autonics-tk", "temperature heat_power", "secondary"),
        ("autonics-tk", "serial_number", "manual"),
        ("watlow-ez-zone-pm", "sensor_status", "unsure"),
        ("watlow-ez-zone-pm", "active_setpoint power control_mode alarm_1 limit_state ambient", "secondary"),
        ("watlow-ez-zone-pm", "setpoint wire_unit", "manual"),
        ("omron-e5cc-2byte", "decimal_point", "unsure"),
        ("omron-e5cc-2byte", "temperature status heat_power", "manual"),
        ("fuji-pxr", "temperature", "secondary"),
        ("novus-n1200", "temperature setpoint power", "secondary"),
        ("prominent-dulco-flex", "stopped status dosing_rate most_rate target_rate remaining batch_quantity", "unsure"),
        ("prominent-dulco-flex", "mode errors warnings", "manual"),
        ("rheonics-srv", "viscosity viscosity_status temperature", "manual"),
        ("micro-motion-7829", "viscosity viscosity_unit", "manual"),
        ("packml-tags", "state mode", "secondary"),
        ("packml-companion", "state", "manual"),
    ],
)
def test_what_nobody_saw_in_a_manual_is_not_claimed(name: str, tags: str, basis: str) -> None:
    """What comes from memory says unsure, what was copied from a copy says secondary, tag by tag."""
    profile = load_profile(name)

    assert {tag: profile.tag_basis.get(tag, profile.basis) for tag in tags.split()} == dict.fromkeys(
        tags.split(), basis
    )


def test_serial_settings_lie_under_the_url() -> None:
    """The factory's serial settings fill what the URL leaves open, and only that; a TCP address is left alone."""
    made = [
        ModbusConfig.model_validate({"profile": "autonics-tk", "url": url}).stream
        for url in ("serial:///dev/ttyS1", "serial:///dev/ttyS1?stopbits=1", "tcp://127.0.0.1:502")
    ]

    assert made[0].settings["stopbits"] == 2
    assert made[1].settings["stopbits"] == 1
    assert made[1].settings["baudrate"] == 9600
    assert made[2].port == 502


@pytest.mark.parametrize(
    ("name", "dialect", "bits"),
    [("sartorius-1200", "sbi", 7), ("a-and-d", "a-and-d", 7), ("mettler-toledo", "mt-sics", 8)],
)
def test_a_balance_s_profile_brings_dialect_and_settings(name: str, dialect: str, bits: int) -> None:
    """Maker and port are enough: `profile: a-and-d`, `url: serial:///dev/ttyS2`."""
    made = BalanceConfig.model_validate({"profile": name, "url": "serial:///dev/ttyS2"})

    assert made.dialect == dialect
    assert made.stream.settings["bytesize"] == bits
    with pytest.raises(ValueError, match="is for driver modbus, not for balance"):
        BalanceConfig.model_validate({"profile": "fuji-pxr", "url": "serial:///dev/ttyS2"})


# -- a site's own ------------------------------------------------------------------------------------

OWN = """\
driver: modbus
maker: ours
model: mixer
manual: our list
verified: false
settings: {tags: {speed: {address: 7, unit: /min}}}
"""


def test_a_site_has_its_own(tmp_path: Path) -> None:
    """A name that is not shipped is a file in `profiles/` beside the configuration; a path is one from there."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mixer.yaml").write_text(OWN)
    (tmp_path / "press.yaml").write_text(OWN.replace("speed", "force"))

    with site(tmp_path):
        found = [
            ModbusConfig.model_validate({"profile": name, "url": "tcp://127.0.0.1:502"}).tags()[0].name
            for name in ("mixer", "press.yaml")
        ]

    assert found == ["speed", "force"]
    with pytest.raises(ValueError, match="no profile is called 'mixer'"):
        load_profile("mixer")


def test_a_site_never_shadows(tmp_path: Path) -> None:
    """A site's profile that has a shipped one's name is refused: nobody could tell which of them is meant."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "rheonics-srv.yaml").write_text(OWN)

    with site(tmp_path), pytest.raises(ValueError, match="has the name of a shipped profile"):
        load_profile("rheonics-srv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("driver: [", "own.yaml:1:10"),
        (OWN.replace("verified: false\n", ""), "missing required field `verified`"),
        (OWN + "colour: red\n", "unknown field `colour`"),
        ("", "not a profile"),
    ],
)
def test_a_broken_profile_says_so(tmp_path: Path, text: str, words: str) -> None:
    """What is wrong with a profile's file is said with its name and place."""
    path = tmp_path / "own.yaml"
    path.write_text(text)

    with pytest.raises(ValueError, match=r"own\.yaml") as caught:
        read_profile(path)

    assert words in str(caught.value)


def test_a_changed_profile_is_read_again(tmp_path: Path) -> None:
    """A file that was corrected is what it says now."""
    path = tmp_path / "own.yaml"
    path.write_text(OWN)
    assert read_profile(path).model == "mixer"

    path.write_text(OWN.replace("mixer", "kettle 2"))

    assert read_profile(path).model == "kettle 2"
