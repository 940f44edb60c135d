"""`python -m simulators`: the simulated line in one process.

Prints one JSON line {"ready": true, ...} on stdout when all of it listens; ends cleanly on SIGTERM and SIGINT.
Exit codes: 0 ended as asked, 2 it could not start (one sentence on stderr).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import secrets
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from simulators.catalogue import as_text, cable_faults, describe
from simulators.device import UnknownError
from simulators.extras import BASE_PORT, EXTRAS
from simulators.line import DEVICES, PORTS, Line, Options

CONTROL_PORT = 4800


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulators", description="The simulated line, for demo and tests.")
    add = parser.add_argument
    add("--seed", type=int, help="dice of the line; the same seed gives the same weights (default: drawn, printed)")
    add("--speed", type=float, default=1.0, help="plant seconds in a second: how fast oil warms and cools")
    add("--rate", type=float, default=5.0, help="units a second while the filler executes")
    add("--oil-cel", type=float, default=50.0, help="temperature of the oil at the start, Cel")
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
    add("--extras-port", type=int, default=BASE_PORT, help="base of the extra devices' ports (0: any free ones)")
    add("--proxy", action="store_true", help="a fault proxy before every device: its net_... faults")
    add("--list", action="store_true", help="print devices, tags and faults, then end")
    add("--control", type=int, default=CONTROL_PORT, help="port of the control (0: any free one)")
    add("--balance-dialect", default="mt-sics", help="mt-sics, sbi, sbi-22, a-and-d or ohaus")
    for name in DEVICES:
        add(f"--{name}", type=int, default=PORTS[name], metavar="PORT", help=f"TCP port of the {name} (0: any free)")
    return parser


def _options(given: argparse.Namespace) -> Options:
    run_dir = given.run_dir or Path(tempfile.mkdtemp(prefix="linegate-sim-"))
    run_dir.mkdir(parents=True, exist_ok=True)
    return Options(
        seed=secrets.randbits(31) if given.seed is None else given.seed,
        run_dir=run_dir.resolve(),
        host=given.host,
        speed=given.speed,
        rate=given.rate,
        oil_cel=given.oil_cel,
        tray_prefix=given.tray_prefix,
        devices=tuple(name for name in given.devices.split(",") if name),
        extras=tuple(EXTRAS) if given.extras == "all" else tuple(name for name in given.extras.split(",") if name),
        extras_port=given.extras_port,
        proxy=given.proxy,
        ports={name: getattr(given, name) for name in DEVICES},
        balance_dialect=given.balance_dialect,
        trust=given.trust,
    )


async def catalogue() -> str:
    """Every device there is, extra ones too, in words.  None of them is opened."""
    with tempfile.TemporaryDirectory(prefix="linegate-sim-") as folder:
        line = Line(Options(seed=0, run_dir=Path(folder), extras=tuple(EXTRAS), extras_port=0))
        return as_text([*describe(line.devices.values()), cable_faults()])


async def serve(options: Options, control_port: int) -> None:
    """Run the line until a signal or `quit`.  OSError if a port is taken, UnknownError for an unknown device."""
    from simulators.control import Control  # noqa: PLC0415  # after the collector is off, see `main`

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    line = Line(options)
    control = Control(line, ended.set)
    try:
        port = await _open_control(control, options.host, control_port)
        await line.start()
        gc.enable()
        gc.freeze()
        await _run(line, ended, {"control": f"{options.host}:{port}", **line.addresses()})
        await control.close()
    finally:
        await line.stop()


async def _open_control(control: Any, host: str, port: int) -> int:
    try:
        return int(await control.open(host, port))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        what = "is another simulated line running? end it, or give --control another port (0: any free one)"
        raise OSError(f"the control cannot listen on {host}:{port}: {why}; {what}") from error


async def _run(line: Line, ended: asyncio.Event, addresses: dict[str, Any]) -> None:
    ready = {"ready": True, "seed": line.plant.seed, "run_dir": str(line.options.run_dir), "addresses": addresses}
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    ticker = asyncio.create_task(line.run(), name="ticker")
    waiter = asyncio.create_task(ended.wait(), name="end")
    await asyncio.wait({ticker, waiter}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    if ticker.done():
        ticker.result()  # the ticker never ends by itself: this raises what ended it
    ticker.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticker


def main() -> int:
    """Start, serve, say what went wrong."""
    given = _arguments().parse_args()
    logging.basicConfig(level=logging.CRITICAL)  # asyncua reports every cut connection as an error
    gc.disable()  # importing asyncua makes a million objects that stay: 0.6 s of the 1.6 s were the collector's
    try:
        if given.list:
            sys.stdout.write(asyncio.run(catalogue()))
            return 0
        asyncio.run(serve(_options(given), given.control))
    except (OSError, UnknownError) as error:
        sys.stderr.write(f"simulators: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
