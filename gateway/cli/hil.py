"""`linegate hil`: scenarios, played on a simulated line or on a real one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Hang the command into the top-level one."""
    app.command("hil")(hil)


def hil(
    scenarios: Annotated[list[Path], typer.Argument(help="scenario files, or folders of them")],
    target: Annotated[Path | None, typer.Option(help="hil.yaml of a real line; without it: simulators")] = None,
    junit: Annotated[Path | None, typer.Option(help="write results as JUnit XML")] = None,
    html: Annotated[Path | None, typer.Option(help="write a page with timeline and plots")] = None,
    list_only: Annotated[bool, typer.Option("--list", help="name and check the scenarios; play nothing")] = False,
    jobs: Annotated[int, typer.Option(min=1, max=8, help="simulated lines side by side")] = 1,
    folder: Annotated[Path, typer.Option(help="where the simulated lines go; emptied first")] = Path("run/hil"),
    seed: Annotated[int | None, typer.Option(help="dice of the simulated plant")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="lines instead of the live table")] = False,
) -> None:
    """Play scenarios: what happens, what must be seen, within what time.  Exit code 0 only if all of it was seen."""
    from gateway.hil.run import Wish, run

    wish = Wish(
        scenarios=scenarios,
        target=target,
        junit=junit,
        html=html,
        list_only=list_only,
        jobs=jobs,
        folder=folder,
        seed=seed,
        plain=plain or not sys.stdout.isatty(),
    )
    raise typer.Exit(run(wish))
