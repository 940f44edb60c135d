"""Devices that are started only when they are asked for: `python -m simulators --with NAME[,NAME]`.

To add one: a factory `def on_stand(stand: Stand) -> Device` in its own file, and a line in `EXTRAS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final, cast

from simulators.device import Device, UnknownError
from simulators.plant import Plant

BASE_PORT: Final = 4100
PORTS_EACH: Final = 10


@dataclass(frozen=True)
class Extra:
    """Where an extra device's factory is found, and which ten ports are its own."""

    factory: str
    """`module:function`, imported only when the device is asked for."""
    offset: int
    """Its first TCP port counted from the base; a multiple of ten, its own."""


EXTRAS: Final[dict[str, Extra]] = {
    "pump": Extra("simulators.pump:on_stand", 0),
    "dosing": Extra("simulators.dosing:on_stand", 10),
    "relay": Extra("simulators.relay:on_stand", 20),
    "zebra": Extra("simulators.zebra:on_stand", 30),
    "reader": Extra("simulators.reader:on_stand", 40),
    "lights": Extra("simulators.lights:on_stand", 50),
}
"""Name -> how to get it.  Offsets already given are never given again: people write ports into files."""


@dataclass(frozen=True)
class Stand:
    """What a factory is given to put its device up."""

    name: str
    """The name it was asked for by; the device must carry it."""
    plant: Plant
    host: str
    folder: Path
    """Run folder, for pty symlinks and certificates."""
    devices: Mapping[str, Device]
    """The devices made before it, by name: a reader may watch the labeller."""
    first_port: int = 0
    """0: any free ports."""

    def port(self, number: int = 0) -> int:
        """The device's TCP port `number` (0-9); 0 where any free one will do."""
        if not 0 <= number < PORTS_EACH:
            raise ValueError(f"an extra device has ports 0 to {PORTS_EACH - 1}, not {number}")
        return self.first_port + number if self.first_port else 0

    def tty(self, suffix: str = "") -> Path:
        """Path of a pty symlink: NAME.tty, or NAME-SUFFIX.tty."""
        return self.folder / (f"{self.name}-{suffix}.tty" if suffix else f"{self.name}.tty")


def make_extra(stand: Stand) -> Device:
    """The device, not yet open.  UnknownError if there is none of that name."""
    if stand.name not in EXTRAS:
        there = ", ".join(sorted(EXTRAS)) or "none"
        raise UnknownError(f"no extra device {stand.name!r}; there are {there}")
    module, _, function = EXTRAS[stand.name].factory.partition(":")
    make = cast("Callable[[Stand], Device]", getattr(import_module(module), function))
    return make(stand)
