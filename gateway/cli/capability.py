"""`linegate batch capability`: what the checks of a batch say of the process, done or not."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from gateway.cli.line import DEFAULT_STATE, State, _client


def add_to(batch_app: typer.Typer) -> None:
    """Hang this command into `linegate batch`."""
    batch_app.command("capability")(batch_capability)


def batch_capability(
    batch: str,
    as_json: Annotated[bool, typer.Option("--json", help="for other programs")] = False,
    state: State = DEFAULT_STATE,
) -> None:
    """Cp, Cpk, Pp, Ppk of each characteristic, or why they are not shown (docs/spc.md)."""
    found = _client(state).command("batch.capability", batch=batch)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for text in told(found):
        print(text)


def told(found: Any) -> list[str]:
    """A few lines for each characteristic: figures, and what stands behind them."""
    lines = [f"batch {found['batch']}: no check was judged yet"] if not _any(found) else []
    for row in found["variables"]:
        lines += [f"{row['rule']} {row['characteristic']}, {_limits(row)}", *(f"  {text}" for text in _figures(row))]
        lines += [f"  signal: {text}" for text in row["signals"]]
    for row in found["attributes"]:
        of = f"{row['defects']} defects in {row['units']} units"
        at_most = f"{row['percent']} %, with 95 % confidence at most {row['percent_at_most']} %"
        lines.append(f"{row['rule']} {row['characteristic']}: {of}, {at_most}")
    return lines


def _any(found: Any) -> bool:
    return bool(found["variables"] or found["attributes"])


def _limits(row: Any) -> str:
    if not row["limits"]:
        return "no limits"
    return f"{row['limits']} {row['low'] or '-'} to {row['high'] or '-'} {row['unit']}"


def _figures(row: Any) -> list[str]:
    unit = row["unit"]
    counts = f"{row['values']} values in {row['subgroups']} subgroups, mean {row['mean']} {unit}"
    within = f"Cp {row['cp'] or '-'}, Cpk {row['cpk'] or '-'}" if not row["no_cp"] else "Cp, Cpk not shown"
    overall = f"Pp {row['pp'] or '-'}, Ppk {row['ppk'] or '-'}" if not row["no_pp"] else "Pp, Ppk not shown"
    estimator = f" (s within {row['s_within']} {unit}, {row['estimator']})" if row["s_within"] else ""
    deviation = f" (s overall {row['s_overall']} {unit})" if row["s_overall"] else ""
    sure = f", with 95 % confidence at least {row['ppk_at_least']}" if row["ppk_at_least"] else ""
    return [
        counts,
        within + estimator + (f": {row['no_cp']}" if row["no_cp"] else ""),
        overall + sure + deviation + (f": {row['no_pp']}" if row["no_pp"] else ""),
    ]
