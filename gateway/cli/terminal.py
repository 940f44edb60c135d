"""The commands, as typer reads them from a terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway import __version__
from gateway.cli import (
    alarms,
    balance,
    browse,
    capability,
    checks,
    doctor,
    faults,
    fit,
    gates,
    hil,
    line,
    listen,
    opcua,
    people,
    probe,
    profile,
    replay,
)

HALT_WORDING = (
    "A halt is an operational hold request to the machine's own controller, read back and latched: a quality\n"
    "function. It is no safety function, no emergency stop and no interlock."
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Linegate: the gateway of one production line.\n\n" + HALT_WORDING,
    pretty_exceptions_enable=False,
)

for topic in (
    balance, browse, checks, doctor, fit, gates, hil, line, listen, opcua, people, probe, profile, replay, faults
):  # fmt: skip
    topic.add_to(app)
alarms.add_to(line.alarms_app)
capability.add_to(line.batch_app)

ConfigPath = Annotated[Path, typer.Argument(help="the line's YAML file")]


@app.callback(invoke_without_command=True)
def top(
    version: Annotated[bool, typer.Option("--version", help="show the version and what a halt is")] = False,
) -> None:
    if version:
        print(f"linegate {__version__}\n{HALT_WORDING}")
        raise typer.Exit


@app.command()
def run(config: ConfigPath, log_json: Annotated[bool, typer.Option("--log-json")] = False) -> None:
    """Run the gateway in the foreground until SIGTERM or Ctrl-C."""
    from gateway.cli.running import run as run_it

    run_it(config, log_json=log_json)


@app.command()
def check(
    config: ConfigPath,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON Schema")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="each rule in plain language")] = False,
) -> None:
    """Check the configuration: every error with file, line and column; worst-case reaction of each halt."""
    from gateway.cli.run import check as check_file

    raise typer.Exit(check_file(config, schema=schema, explain=explain))


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def simulate(context: typer.Context) -> None:
    """Be the simulated line until a signal: `linegate simulate --seed 7 --speed 5` (see --help)."""
    # in the place of this process, not below it: whoever ends this one, by -9 too, has ended the line
    os.execv(sys.executable, [sys.executable, "-m", "simulators", *context.args])  # noqa: S606  # no shell is wanted


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="evidence.zip of a batch")],
    witness: Annotated[
        Path | None, typer.Option(help="file with a checkpoint kept elsewhere: by the MES, or printed on the report")
    ] = None,
    key: Annotated[str | None, typer.Option(help="the gateway's public key as you know it (name+id+key)")] = None,
) -> None:
    """Verify an evidence bundle offline; names the first bad record."""
    from gateway.cli.run import verify as verify_bundle

    raise typer.Exit(verify_bundle(bundle, witness, key))


@app.command()
def demo(
    stay: Annotated[bool, typer.Option("--stay", help="leave the line running at the end")] = False,
    seed: Annotated[int, typer.Option(help="seed of the simulated plant")] = 7,
    units: Annotated[int, typer.Option(help="units in the batch")] = 500,
    folder: Annotated[Path, typer.Option(help="where everything of the demo goes")] = Path("run/demo"),
    plain: Annotated[bool, typer.Option("--plain", help="lines instead of the live screen")] = False,
) -> None:
    """Run the simulated line, a broker, a stand-in MES and the gateway through one batch."""
    from gateway.demo.story import play

    raise typer.Exit(play(folder, seed=seed, units=units, stay=stay, plain=plain or not sys.stdout.isatty()))
