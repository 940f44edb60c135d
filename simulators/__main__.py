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

from simulators.arguments import arguments
from simulators.catalogue import as_text, cable_faults, describe
from simulators.device import UnknownError
from simulators.extras import EXTRAS
from simulators.line import DEVICES, Line, Options


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
    given = arguments().parse_args()
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
