"""What `python -m simulators` takes, and which values it refuses."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from simulators.back_door import positive, temperature
from simulators.extras import BASE_PORT
from simulators.line import DEVICES, PORTS

CONTROL_PORT: Final = 4800
_LAST_PORT: Final = 65535


def _checked(read: Callable[[object], float]) -> Callable[[str], float]:
    """A reader as argparse wants it: its sentence becomes argparse's."""

    def checked(text: str) -> float:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= _LAST_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is not a TCP port, 0 to {_LAST_PORT} (0: any free one)")
    return int(text)


_positive: Final = _checked(positive)
_temperature: Final = _checked(temperature)


def arguments() -> argparse.ArgumentParser:
    """Ends the process with code 2 and a sentence where a value is none that a line could have."""
    parser = argparse.ArgumentParser(prog="python -m simulators", description="The simulated line, for demo and tests.")
    add = parser.add_argument
    add("--seed", type=int, help="dice of the line; the same seed gives the same weights (default: drawn, printed)")
    add("--speed", type=_positive, default=1.0, help="plant seconds in a second: how fast oil warms and cools")
    add("--rate", type=_positive, default=5.0, help="units a second while the filler executes")
    add("--oil-cel", type=_temperature, default=50.0, help="temperature of the oil at the start, Cel")
    add("--tray-prefix", default="L1", help="trays are called PREFIX-T001, PREFIX-T002, ...")
    add("--run-dir", type=Path, help="where pty symlinks and certificates go (default: a new temporary folder)")
    add("--trust", type=Path, help="folder of trusted OPC UA client certificates (DER); default: all are accepted")
    add("--host", default="127.0.0.1")
    add("--devices", default=",".join(DEVICES), help="which to start, comma-separated")
    add(
        "--with",
        dest="extras",
        default="",
        metavar="NAME[,NAME]",
        help="extra devices to start, or all; --list has them",
    )
    add("--extras-port", type=_port, default=BASE_PORT, help="base of the extra devices' ports (0: any free ones)")
    add("--proxy", action="store_true", help="a fault proxy before every device: its net_... faults")
    add("--list", action="store_true", help="print devices, tags and faults, then end")
    add("--control", type=_port, default=CONTROL_PORT, help="port of the control (0: any free one)")
    add("--balance-dialect", default="mt-sics", help="mt-sics, sbi, sbi-22, a-and-d or ohaus")
    for name in DEVICES:
        add(f"--{name}", type=_port, default=PORTS[name], metavar="PORT", help=f"TCP port of the {name} (0: any free)")
    return parser
