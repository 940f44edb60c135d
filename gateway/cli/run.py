"""`run`, `check` and `verify`: what needs no running gateway."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from rich.table import Table

    from gateway.config.worst import Row

SWITCH_S: Final = 0.0005
"""Python's lock changes hands after so long: what a reading or a halt waits for a thread of the stores at most."""
CONSOLE_UP_S: Final = 5.0
"""The console's modules come after the first polls; they stay, too."""


def serve(config: Path, *, log_json: bool) -> None:
    """Run until told to stop.  Raises LinegateError; exit code 0 after SIGTERM or SIGINT."""
    from gateway.config.reading import load

    gc.disable()  # what is made at start stays: until then there is nothing to collect
    _logging(as_json=log_json or not sys.stderr.isatty())
    settings = load(config)
    from gateway import app

    def started(gateway: app.Gateway) -> None:
        _settle()
        print(f"linegate runs: {settings.gateway.id}, ledger {gateway.evidence.ledger_id}", flush=True)
        token = gateway.people.first_run_token()
        if token:
            print(f"no people yet: make the first one with\n  linegate people add NAME --first-run {token}", flush=True)

    with _runner() as runner:
        why = runner.run(app.run(settings, started=started))
    print(f"stopped: {why}", flush=True)


def _settle() -> None:
    """No pauses from here on: what stands is never looked through again, and no thread holds the lock for 5 ms."""
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
    gc.enable()
    asyncio.get_running_loop().call_later(CONSOLE_UP_S, gc.freeze)


def _runner() -> asyncio.Runner:
    """Uvloop where it is wanted and there; LINEGATE_LOOP=asyncio says no."""
    if os.environ.get("LINEGATE_LOOP") == "asyncio":
        return asyncio.Runner()
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _logging(*, as_json: bool) -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if as_json else _same,
            renderer,
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


def _same(logger: object, name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    del logger, name
    return event


def check(config: Path, *, schema: bool, explain: bool = False) -> int:
    """0: it can run; 2: it cannot.  Prints every problem, the warnings and the worst-case table."""
    from gateway.config import reading as configuration

    if schema:
        print(json.dumps(configuration.schema(), indent=2))
        return 0
    report = configuration.check(config)
    for problem in report.problems:
        print(problem, file=sys.stderr)
    for warning in report.warnings:
        print(f"{warning} ({warning.level})", file=sys.stderr)
    if report.problems:
        print(f"{len(report.problems)} error(s); `linegate run` would refuse.", file=sys.stderr)
        return 2
    if explain and report.settings is not None:
        from gateway.explain import explanation

        print(explanation(report.settings), end="\n\n")
    if report.table:
        from rich.console import Console

        Console().print(_worst_cases(report.table))
    print(f"{config}: good")
    return 0


def _worst_cases(rows: Sequence[Row]) -> Table:
    from rich.table import Table

    from gateway.units import duration_text

    table = Table(title="worst-case reaction", title_justify="left")
    for head in ("rule", "measures", "halts", "worst case", "deadline"):
        table.add_column(head)
    for row in rows:
        deadline = "-" if row.deadline_s is None else duration_text(row.deadline_s)
        table.add_row(row.rule, row.measures, row.halts, row.sum, deadline)
    return table


def verify(bundle: Path, witness: Path | None, key: str | None) -> int:
    """0: it holds; 1: it does not, and the first bad record is named."""
    from gateway.ledger.verify import main as verifier

    asked = [*(["--witness", str(witness)] if witness else []), *(["--key", key] if key else [])]
    return verifier([str(bundle), *asked])
