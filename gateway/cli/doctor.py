"""`linegate doctor`: is this machine, and what stands around it, fit for the line?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.doctor.finding import Finding, Job

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def add_to(app: typer.Typer) -> None:
    """Hang this command into the top-level one."""
    app.command("doctor")(doctor)


def doctor(
    config: Annotated[Path | None, typer.Argument(help="the line's YAML file; without it only the machine")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document, for other programs")] = False,
) -> None:
    """Look at ports, permissions, clocks, certificates and servers; say what to do.  Exit code 1 if any fails."""
    import asyncio

    from gateway.doctor.visit import jobs
    from gateway.world import World

    findings = asyncio.run(_look(jobs(config, World())))
    failed = sum(finding.level == "fail" for finding in findings)
    if as_json:
        import msgspec

        print(json.dumps({"ok": not failed, "findings": msgspec.to_builtins(findings)}, indent=2))
    else:
        _print(findings, failed)
    raise typer.Exit(int(failed > 0))


async def _look(todo: Sequence[Job]) -> list[Finding]:
    """With a bar on the error output, where somebody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from gateway.doctor.finding import examine

    columns = (TextColumn("looking"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        open_jobs = [job.area for job in todo]
        task = progress.add_task(f"waiting for {open_jobs[0]}", total=len(todo))

        def done(job: Job) -> None:
            open_jobs.remove(job.area)
            waiting = f"waiting for {open_jobs[0]}" if open_jobs else ""
            progress.update(task, advance=1, description=waiting)

        return await examine(todo, done)


def _print(findings: Sequence[Finding], failed: int) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for finding in findings:
        line = Text.assemble(
            (f"{finding.level:<5}", _COLOURS[finding.level]), (f"{finding.area}: ", "bold"), finding.text
        )
        console.print(line, soft_wrap=True)
        if finding.todo:
            console.print(Text(f"      -> {finding.todo}"), soft_wrap=True)
    warned = sum(finding.level == "warn" for finding in findings)
    console.print(f"{len(findings)} looked at: {failed} fail, {warned} warn")
