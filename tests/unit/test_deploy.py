"""What is shipped for a plant PC: the service unit, the containers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "linegate.service"
DROP_INS = sorted((DEPLOY / "systemd" / "linegate.service.d").iterdir())
MOST_EXPOSED = 1.5

Sections = dict[str, dict[str, list[str]]]

HARDENED = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateUsers": "yes",
    "PrivateDevices": "yes",
    "DevicePolicy": "closed",
    "ProtectProc": "invisible",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHostname": "yes",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "SystemCallArchitectures": "native",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "IPAddressDeny": "any",
    "IPAddressAllow": "localhost",
    "UMask": "0077",
    "LimitCORE": "0",
}
"""Directive -> the value without which the unit is not what its README says."""


def sections(path: Path) -> Sections:
    """A unit file as systemd reads it: a key may stand more than once."""
    found: Sections = {}
    section: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), defaultdict(list))
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section[key].append(value)
    return found


@pytest.fixture
def service() -> dict[str, list[str]]:
    return sections(UNIT)["Service"]


def test_unit_is_hardened(service: dict[str, list[str]]) -> None:
    """Each protection stands in the unit once, with the value the README promises."""
    said = {key: service.get(key) for key in HARDENED}

    assert said == {key: [value] for key, value in HARDENED.items()}


def test_unit_is_supervised(service: dict[str, list[str]]) -> None:
    """Systemd waits for our word, watches our pings, and starts again whatever but a wrong configuration."""
    assert service["Type"] == ["notify"]
    assert 0 < int(service["WatchdogSec"][0]) <= 10
    assert service["Restart"] == ["always"]
    assert service["RestartPreventExitStatus"] == ["2"]
    assert sections(UNIT)["Unit"]["StartLimitIntervalSec"] == ["0"]


def test_unit_runs_the_gateway_as_nobody_special(service: dict[str, list[str]]) -> None:
    """Its own user, its own state folder, and the command that exists."""
    assert service["User"] == service["Group"] == service["StateDirectory"] == ["linegate"]
    assert service["StateDirectoryMode"] == ["0700"]
    assert service["ExecStart"] == ["/opt/linegate/.venv/bin/linegate run /etc/linegate/line.yaml --log-json"]


def test_clock_can_be_asked_and_not_set(service: dict[str, list[str]]) -> None:
    """The call that tells whether the clock is synchronised is allowed; the right to set it is not there."""
    assert service["SystemCallFilter"] == ["@system-service", "~@privileged @resources", "clock_adjtime"]
    assert service["CapabilityBoundingSet"] == [""]
    assert "ProtectClock" not in service


@pytest.mark.parametrize("path", DROP_INS, ids=lambda path: str(path.name))
def test_drop_ins_only_widen_what_they_name(path: Path) -> None:
    """A drop-in touches network addresses or devices and nothing else."""
    found = sections(path)

    assert list(found) == ["Service"]
    assert set(found["Service"]) <= {"IPAddressAllow", "PrivateDevices", "SupplementaryGroups", "DeviceAllow"}


def exposure(unit: Path) -> float:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    text = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    return float(re.findall(r"exposure level for \S+ ([0-9.]+)", text)[0])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here; the unit is parsed above")
def test_exposure(tmp_path: Path) -> None:
    """Systemd's own measure: at most 1.5; and a unit without the protections fails it."""
    bare = tmp_path / "linegate.service"
    kept = [line for line in UNIT.read_text().splitlines() if line.partition("=")[0] not in HARDENED]
    bare.write_text("\n".join(kept))

    assert exposure(UNIT) <= MOST_EXPOSED
    assert exposure(bare) > 2 * MOST_EXPOSED


# -- containers --------------------------------------------------------------------------------------


@pytest.fixture
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return document


def mounts(compose: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(service, source, target) of all."""
    found = []
    for name, service in compose["services"].items():
        for mount in service.get("volumes", ()):
            source, target, *_ = mount.split(":")
            found.append((name, source, target))
    return found


def test_four_services(compose: dict[str, Any]) -> None:
    """Gateway, broker, database, dashboards; none may gain rights."""
    assert sorted(compose["services"]) == ["grafana", "influxdb", "linegate", "mosquitto"]
    for service in compose["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service.get("privileged")


def test_mounts_exist(compose: dict[str, Any]) -> None:
    """Every mounted file is in the repository, is a volume that is declared, or is named in the README as yours."""
    ignored = (DEPLOY / ".gitignore").read_text().split()
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for _, source, _ in mounts(compose):
        if not source.startswith("."):
            assert source in compose["volumes"]
        elif f"{source.split('/')[1]}/" in ignored:
            assert source.removeprefix("./") in readme
        else:
            assert (DEPLOY / source).exists(), source


def test_mounts_are_where_programs_look(compose: dict[str, Any]) -> None:
    """What a configuration file names is mounted there."""
    targets = {target for _, _, target in mounts(compose)}
    broker = (DEPLOY / "mosquitto" / "mosquitto.conf").read_text()
    dashboards = (DEPLOY / "grafana" / "provisioning" / "dashboards" / "linegate.yaml").read_text()

    for key in ("password_file", "acl_file", "persistence_location"):
        named = re.findall(rf"^{key} (\S+)", broker, re.MULTILINE)
        assert named[0].rstrip("/") in targets
    assert yaml.safe_load(dashboards)["providers"][0]["options"]["path"] in targets
    assert "/var/lib/influxdb" in targets


def test_everything_listens_on_loopback(compose: dict[str, Any]) -> None:
    """The services share the machine's network, so each must itself keep to loopback."""
    broker = re.findall(r"^listener (\S+) (\S+)", (DEPLOY / "mosquitto" / "mosquitto.conf").read_text(), re.MULTILINE)
    database = re.findall(
        r'^bind-address = "(\S+):\d+"', (DEPLOY / "influxdb" / "influxdb.conf").read_text(), re.MULTILINE
    )

    assert all(service["network_mode"] == "host" for service in compose["services"].values())
    assert not any("ports" in service for service in compose["services"].values())
    assert broker
    assert {address for _, address in broker} == {"127.0.0.1"}
    assert database == ["127.0.0.1", "127.0.0.1"]
    assert compose["services"]["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"


def test_dashboards_find_their_database(compose: dict[str, Any]) -> None:
    """The data source's address is the variable the container gets, and no password has a default."""
    environment = compose["services"]["grafana"]["environment"]
    source = (DEPLOY / "grafana" / "provisioning" / "datasources" / "influxdb.yaml").read_text()

    assert "$LINEGATE_INFLUX_URL" in source
    assert environment["LINEGATE_INFLUX_URL"] == "http://127.0.0.1:8086"
    assert environment["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_PASSWORD:?")


def test_images_are_built_from_what_is_here(compose: dict[str, Any]) -> None:
    """Every build target is a stage, and what a stage copies exists and reaches the builder."""
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    stages = re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE)
    copied = [word for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE) for word in line.split()[:-1]]
    kept = {line[1:] for line in (DEPLOY / "Containerfile.dockerignore").read_text().split() if line.startswith("!")}

    for service in compose["services"].values():
        assert service.get("build", {}).get("target", "linegate") in stages
    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert name.split("/")[0] in kept
