"""`hil.yaml`: a real line that scenarios are played on.

gateway:
  mqtt: mqtt://10.20.0.5:1883
  path: acme/denver/filling/line3/cell1
  token_file: /var/lib/linegate/console.token
people:
  tom: {name: t.miller, password_file: tom.password}
devices:
  filler: {is: filler-2, state: filler-2/state}
relays:
  balance:
    cut: {url: "tcp://10.20.0.40:502", unit: 1, coil: 3}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator

from gateway.config import yaml as config_yaml
from gateway.config.explain import explain
from gateway.errors import ConfigError
from gateway.hil.matching import Word
from gateway.units import Duration

SCHEMES: Final = {"mqtt": 1883, "mqtts": 8883}


class Door(Word):
    """How the gateway is heard and spoken to."""

    mqtt: str
    """Its broker: mqtt://host:port or mqtts://host:port."""
    path: str
    """Root of its topics."""
    username: str = ""
    password_file: Path | None = None
    ca: Path | None = None
    """Certificates that may vouch for the broker, PEM."""
    commands: bool = False
    """Whether the broker lets us give the MES's commands; without it a person is asked to have them given."""
    token_file: Path | None = None
    """`console.token` in the gateway's state folder; without it people are asked to do what is done at the console."""

    @field_validator("mqtt")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in SCHEMES or not parts.hostname:
            raise ValueError(f"{value!r} is not an address of a broker; write mqtt://host:port or mqtts://host:port")
        return value

    @property
    def host_port(self) -> tuple[str, int]:
        parts = urlsplit(self.mqtt)
        return parts.hostname or "", parts.port or SCHEMES[parts.scheme]


class Hand(Word):
    """Somebody of the scenarios, as the gateway knows them."""

    name: str
    password_file: Path
    """With mode 0600; its first line."""


class Machine(Word):
    """A device of the scenarios, as it is called here."""

    is_: str = Field("", alias="is")
    state: str = ""
    """The tag with its PackML state as a number; without it a person is asked."""
    where: str = ""
    """For people: `cabinet 2, socket X4`."""


class Coil(Word):
    """A relay that makes a fault: a coil on Modbus TCP, written, read back, and always taken back at the end."""

    url: str
    unit: int = Field(1, ge=0, le=255)
    coil: int = Field(ge=0, le=65535)
    """0-based, as on the wire."""
    on: bool = True
    """What the coil is while the fault lasts."""

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        if urlsplit(value).scheme != "tcp" or not urlsplit(value).hostname:
            raise ValueError(f"{value!r} is not an address of a Modbus device; write tcp://host:port")
        return value


class Target(Word):
    """The whole file."""

    gateway: Door
    people: dict[str, Hand] = Field(default_factory=dict)
    devices: dict[str, Machine] = Field(default_factory=dict)
    relays: dict[str, dict[str, Coil]] = Field(default_factory=dict)
    """device -> fault -> the relay that makes it."""
    countdown: Duration = 5.0
    """From an instruction to NOW."""
    patience: Duration = 300.0
    """How long a person may take."""

    def named(self, device: str) -> Machine:
        """By the scenario's name or by the name it has here."""
        for name, machine in self.devices.items():
            if device in (name, machine.is_):
                return machine
        return Machine()


def load(path: Path) -> Target:
    """Read and check it; paths are meant from its folder.  ConfigError with file, line and column."""
    document = config_yaml.read(path)
    if document.problems:
        raise ConfigError(document.problems)
    try:
        target = Target.model_validate(document.data)
    except ValidationError as error:
        raise ConfigError(explain(error, document, (), Target)) from None
    missing = [
        document.problem(where, f"no such file: {document.get(where)}")
        for where in _files(target)
        if not (path.parent / str(document.get(where))).is_file()
    ]
    if missing:
        raise ConfigError(missing)
    return _absolute(target, path.parent)


def _files(target: Target) -> list[tuple[str, ...]]:
    named: list[tuple[str, ...]] = [
        ("gateway", key) for key in ("password_file", "ca", "token_file") if getattr(target.gateway, key) is not None
    ]
    return named + [("people", name, "password_file") for name in target.people]


def _absolute(target: Target, folder: Path) -> Target:
    def put(path: Path | None) -> Path | None:
        return None if path is None else folder / path

    changed: dict[str, Any] = {key: put(getattr(target.gateway, key)) for key in ("password_file", "ca", "token_file")}
    people = {
        name: hand.model_copy(update={"password_file": folder / hand.password_file})
        for name, hand in target.people.items()
    }
    return target.model_copy(update={"gateway": target.gateway.model_copy(update=changed), "people": people})


def secret(path: Path) -> str:
    """First line of a file that only its owner may read.  ConfigError otherwise, or when it is empty."""
    from gateway.errors import Problem  # noqa: PLC0415  # only where something is wrong

    if path.stat().st_mode & 0o077:
        raise ConfigError([Problem(path.name, 1, 1, "file", f"others may read it; run chmod 600 {path}")])
    words = path.read_text("utf-8").splitlines()
    if not words or not words[0].strip():
        raise ConfigError([Problem(path.name, 1, 1, "file", "is empty; write the password on its first line")])
    return words[0].strip()
