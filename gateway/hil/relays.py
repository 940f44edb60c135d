"""Relays that make faults on a real line: a coil on Modbus TCP, written, read back, and taken back whatever happens."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from gateway.errors import LinegateError
from gateway.hil.target import Coil, Target

if TYPE_CHECKING:
    from pymodbus.client import ModbusTcpClient

TIMEOUT_S: Final = 2.0
_PORT: Final = 502


class Relays:
    """All relays of a target.  Leaving the block takes back every one that still makes a fault."""

    def __init__(self, target: Target) -> None:
        self._coils = {
            (device, fault): coil for device, faults in target.relays.items() for fault, coil in faults.items()
        }
        self._names = {machine.is_: name for name, machine in target.devices.items() if machine.is_}
        self.moved: dict[tuple[str, str], Coil] = {}
        """Those that make a fault now."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release_all()

    def _key(self, device: str, fault: str) -> tuple[str, str]:
        return (self._names.get(device, device), fault)

    def has(self, device: str, fault: str) -> bool:
        return self._key(device, fault) in self._coils

    def make(self, device: str, fault: str) -> float:
        """The fault is made; the monotonic moment of the write.  LinegateError: the relay did not move."""
        key = self._key(device, fault)
        coil = self._coils[key]
        self.moved[key] = coil  # before the write: a write whose answer is lost may have moved it
        return _move(coil, on=coil.on)

    def release(self, device: str, fault: str = "all") -> float | None:
        """The fault ends; None: no relay made one there."""
        wanted, _ = self._key(device, fault)
        moment = None
        for key in [key for key in self.moved if key[0] == wanted and fault in ("all", key[1])]:
            moment = _move(self.moved[key], on=not self.moved[key].on)
            del self.moved[key]
        return moment

    def release_all(self) -> None:
        """Every one; those that did not move are named together at the end.  LinegateError."""
        stuck = []
        for key, coil in list(self.moved.items()):
            try:
                _move(coil, on=not coil.on)
                del self.moved[key]
            except LinegateError as error:
                stuck.append(f"{' '.join(key)}: {error}")
        if stuck:
            raise LinegateError("relays still make faults, take them back by hand: " + "; ".join(stuck))


def _move(coil: Coil, *, on: bool) -> float:
    """Write and read back."""
    from pymodbus.client import ModbusTcpClient  # noqa: PLC0415  # only a target with relays needs it
    from pymodbus.exceptions import ModbusException  # noqa: PLC0415

    parts = urlsplit(coil.url)
    client = ModbusTcpClient(parts.hostname or "", port=parts.port or _PORT, timeout=TIMEOUT_S, retries=0)
    try:
        if not client.connect():  # type: ignore[no-untyped-call]
            raise LinegateError(f"relay {coil.url} does not answer")
        return _written(client, coil, on=on)
    except ModbusException as error:
        raise LinegateError(f"relay {coil.url}, coil {coil.coil}: {error}") from error
    finally:
        client.close()  # type: ignore[no-untyped-call]


def _written(client: ModbusTcpClient, coil: Coil, *, on: bool) -> float:
    at_s = time.monotonic()
    answer = client.write_coil(coil.coil, on, device_id=coil.unit)
    if answer.isError():
        raise LinegateError(f"relay {coil.url} refuses coil {coil.coil}: {answer}")
    back = client.read_coils(coil.coil, count=1, device_id=coil.unit)
    if back.isError() or bool(back.bits[0]) is not on:
        raise LinegateError(f"relay {coil.url}: coil {coil.coil} did not go {'on' if on else 'off'}")
    return at_s
