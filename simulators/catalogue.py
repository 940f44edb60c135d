"""What the line can do wrong, in words: `python -m simulators --list`, and the control's verb `list`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from simulators.device import Device, Fault
from simulators.net import NET_FAULTS


def describe(devices: Iterable[Device]) -> list[dict[str, Any]]:
    """Each device: its sentence, its tags, its faults with arguments and sentence; plain JSON."""
    return [
        {
            "name": device.name,
            "sentence": device.sentence,
            "tags": sorted(device.tags),
            "faults": [fault_entry(name, fault) for name, fault in sorted(device.known_faults().items())],
        }
        for device in devices
    ]


def fault_entry(name: str, fault: frozenset[str]) -> dict[str, Any]:
    """One fault as the catalogue shows it."""
    sentence = fault.sentence if isinstance(fault, Fault) else ""
    return {"name": name, "arguments": sorted(fault), "sentence": sentence}


def cable_faults() -> dict[str, Any]:
    """The faults of the proxies, as one entry of the catalogue: every device has them with --proxy."""
    faults = [fault_entry(name, fault) for name, fault in NET_FAULTS.items()]
    return {"name": "--proxy", "sentence": "With it every device has these as well.", "tags": [], "faults": faults}


def as_text(devices: Sequence[Mapping[str, Any]]) -> str:
    """The catalogue for people, a block a device."""
    return "\n".join(line for device in devices for line in _block(device))


def _block(device: Mapping[str, Any]) -> Iterable[str]:
    yield f"{device['name']}: {device['sentence']}".rstrip(": ")
    yield f"  tags: {', '.join(device['tags']) or 'none'}"
    for fault in device["faults"]:
        arguments = "".join(f" [{argument}=]" for argument in fault["arguments"])
        yield f"  {fault['name']}{arguments}: {fault['sentence']}".rstrip(": ")
    yield ""
