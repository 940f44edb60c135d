"""`linegate fit viscosity points.csv`: how the oil's viscosity follows its temperature, from the site's own points."""

from __future__ import annotations

import json
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gateway.derive.models import Fit

fit_app = typer.Typer(no_args_is_help=True, help="Models from a site's own measurements.")


def add_to(app: typer.Typer) -> None:
    """Hang the command into the top-level one."""
    app.add_typer(fit_app, name="fit")


@fit_app.callback()
def top() -> None:
    """Models from a site's own measurements."""


@fit_app.command()
def viscosity(
    points: Annotated[Path, typer.Argument(help="CSV with the columns temperature and viscosity, units in the head")],
    at: Annotated[float, typer.Option(help="reference temperature, Cel")] = 60.0,
    plot: Annotated[Path | None, typer.Option(help="where the picture goes; beside the CSV without it")] = None,
) -> None:
    """Fit Andrade (Arrhenius is the same curve) and VFT to viscosities over temperature; print the better one."""
    from gateway.derive.models import WORST_PERCENT, ZERO_CEL, fit
    from gateway.derive.points import picture, read_points
    from gateway.errors import LinegateError

    try:
        data = read_points(points.read_text(encoding="utf-8"), str(points))
        fits = [fit("andrade", data)]
    except (OSError, UnicodeDecodeError) as error:
        raise LinegateError(f"{points} cannot be read: {error}") from None
    except ValueError as error:
        raise LinegateError(str(error)) from None
    try:
        fits.append(fit("vft", data))
    except ValueError as error:
        print(f"no VFT: {error}")
    _table(fits)
    target = plot or points.with_suffix(".svg")
    if target.resolve() == points.resolve():
        raise LinegateError(f"the picture would be written over the points, {points}: name another place with --plot")
    try:
        target.write_text(picture(fits, data), encoding="utf-8")
    except OSError as error:
        raise LinegateError(f"{target} cannot be written: {error}; name another place with --plot") from None
    best = min(fits, key=lambda each: each.spread_percent)
    if best.worst_percent > WORST_PERCENT:
        raise LinegateError(f"{_off_the_curve(best, data)} The picture shows it: {target}")
    if not best.model.low_k <= at + ZERO_CEL <= best.model.high_k:
        low, high = best.model.low_k - ZERO_CEL, best.model.high_k - ZERO_CEL
        raise LinegateError(
            f"{at:g} Cel is outside your points ({low:.4g} to {high:.4g} Cel): nothing is extrapolated. "
            "Measure there, or choose a reference within them with --at"
        )
    print(_snippet(best, points.name, at))
    print(f"picture: {target}")


def _off_the_curve(best: Fit, data: list[tuple[float, float]]) -> str:
    from gateway.derive.models import WORST_PERCENT, ZERO_CEL, odd

    kelvin, eta = odd("andrade", data)
    return (
        f"these points lie on no curve: the better model, {best.model.kind}, misses one by {best.worst_percent:.0f} % "
        f"(more than {WORST_PERCENT:g} %). Look at {eta:g} mPa.s at {kelvin - ZERO_CEL:.4g} Cel first: without it the "
        "others agree best. Correct it or measure it again."
    )


def _table(fits: list[Fit]) -> None:
    from rich.console import Console
    from rich.table import Table

    heads = ("model", "a", "b, K", "t0, K", "Ea, kJ/mol", "worst, %", "spread, %", "R2")
    table = Table(
        box=None,
        padding=(0, 2, 0, 0),
        caption=f"{fits[0].points} points; Andrade written with Ea is Arrhenius; worst and spread: residuals",
    )
    for head in heads:
        table.add_column(head, no_wrap=True)
    for each in fits:
        model = each.model
        t0 = f"{model.t0:.2f}" if model.kind == "vft" else "-"
        energy = "-" if model.kind == "vft" else f"{model.energy_kj:.2f}"
        fitted = (f"{each.worst_percent:.2f}", f"{each.spread_percent:.2f}", f"{each.r_squared:.4f}")
        table.add_row(model.kind, f"{model.a:.3f}", f"{model.b:.1f}", t0, energy, *fitted)
    Console().print(table)


def _snippet(best: Fit, source: str, at: float) -> str:
    from gateway.derive.models import ZERO_CEL

    model = best.model
    t0 = f", t0: {model.t0:.3f}" if model.kind == "vft" else ""
    low, high = (
        floor(round((model.low_k - ZERO_CEL) * 1e4, 2)) / 1e4,
        ceil(round((model.high_k - ZERO_CEL) * 1e4, 2)) / 1e4,
    )
    limits = f"from: {low:.10g}, to: {high:.10g}"
    fitted = json.dumps(
        f"{best.points} points of {source}, worst residual {best.worst_percent:.2f} %", ensure_ascii=False
    )
    return (
        "derived:\n  oil:\n    tags:\n"
        f"      viscosity_{at:.4g}:\n        kind: viscosity\n"
        "        viscosity: viscometer/viscosity\n        temperature: viscometer/temperature\n"
        f"        at: {{unit: Cel, value: {at:g}}}\n"
        f"        model: {{kind: {model.kind}, a: {model.a:.6f}, b: {model.b:.4f}{t0}, {limits},\n"
        f"                fitted: {fitted}}}"
    )
