"""Checks of the lines devices stand on: one address twice, units that disagree, a port asked too much, odd names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from gateway.config.model import Settings
from gateway.config.yaml import Where
from gateway.drivers.base import DriverConfig
from gateway.drivers.modbus.kind import ModbusConfig
from gateway.drivers.modbus.open import Line
from gateway.errors import Problem

_CROWDED: Final = 0.8
"""Share of a serial line's time from which on polls of one unit wait for those of another too long."""


def lines(settings: Settings) -> Iterator[Problem]:
    """All there is to say of them."""
    yield from _addresses(settings)
    yield from _crowded(settings)
    yield from _nameless(settings)


def _nameless(settings: Settings) -> Iterator[Problem]:
    """Tags whose name nobody can write into a rule, read in a report or find in a list."""
    for name, device in settings.devices.items():
        for tag in device.tags():
            if not tag.name.isprintable() or tag.name != tag.name.strip() or not tag.name or "/" in tag.name:
                text = f"tag {tag.name!r}: a name is printable, without / and without spaces around it; give it another"
                yield settings.document.problem(("devices", name, "tags", tag.name), text, key=True)


def _addresses(settings: Settings) -> Iterator[Problem]:
    """Two connections to one device disturb each other; a serial port takes one, or several units that agree on it."""
    seen: dict[str, list[tuple[str, Line | None]]] = {}
    for name, device in settings.devices.items():
        claims = _claims(device)
        clashes = (_clash(key, line, other) for key, line in claims.items() for other in seen.get(key, ()))
        text = next((text for text in clashes if text), "")
        if text:
            where: Where = ("devices", name)
            if settings.document.get((*where, "url")) is not None:
                where = (*where, "url")
            yield settings.document.problem(where, text)
            continue
        for key, line in claims.items():
            seen.setdefault(key, []).append((name, line))


def _crowded(settings: Settings) -> Iterator[Problem]:
    """A line asked for more than it can carry: polls will be late, however fairly it is shared."""
    asked: dict[str, float] = {}
    for name, device in settings.devices.items():
        if isinstance(device, ModbusConfig):
            key = device.line().key
            before = asked.get(key, 0.0)
            asked[key] = before + device.share()
            if before <= _CROWDED < asked[key]:
                text = f"polls take {asked[key]:.0%} of the time of {key} from here on: give its devices longer periods"
                yield settings.document.problem(("devices", name), text, key=True, level="warning")


def _clash(key: str, line: Line | None, other: tuple[str, Line | None]) -> str:
    """Why both cannot have it; empty where they can."""
    name, others = other
    if line is None or others is None:
        return f"{key} is already taken by device {name}"
    return line.quarrel(others, name)


def _claims(device: DriverConfig) -> dict[str, Line | None]:
    """Its address, which nobody else may have; and its port, with what it shares of it."""
    own_line = getattr(device, "line", None)
    line: Line | None = own_line() if own_line else None
    claims: dict[str, Line | None] = {device.address(): None} if line is None else {}
    url = urlsplit(str(getattr(device, "url", "")))
    if url.scheme == "serial":
        claims[os.path.realpath(url.path)] = None
    if line is not None:
        claims[line.key] = line
    return claims
