"""What people do with alarms beside acknowledging them, and the figures of ISA-18.2."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from gateway.cli.line import DEFAULT_STATE, State, Who, _client, _say
from gateway.errors import LinegateError
from gateway.model import Json
from gateway.units import duration_s
from gateway.world import World

Reason = Annotated[str, typer.Option(help="why: it is recorded")]
WINDOW: Final = timedelta(days=30)
"""The least the standard wants to see."""


def add_to(alarms: typer.Typer) -> None:
    """Hang these commands below `linegate alarms`."""
    alarms.command("reset")(reset)
    alarms.command("shelve")(shelve)
    alarms.command("unshelve")(unshelve)
    alarms.command("remove")(remove)
    alarms.command("return")(return_to_service)
    alarms.command("stats")(stats)


def reset(alarm: str, occurrence: int, state: State = DEFAULT_STATE, who: Who = "") -> None:
    """Unlatch an alarm whose condition is gone: the occurrence you saw."""
    _say(_client(state, who).command("alarm.reset", alarm=alarm, occurrence=occurrence))


def shelve(
    alarm: str,
    reason: Reason,
    lasting: Annotated[str, typer.Option("--for", help="how long: 30min, 2h")],
    state: State = DEFAULT_STATE,
    who: Who = "",
) -> None:
    """Put an alarm aside for a while.  It is judged on, and halts as ever."""
    try:
        seconds = duration_s(lasting)
    except ValueError as error:
        raise LinegateError(f"--for: {error}") from None
    _say(_client(state, who).command("alarm.shelve", alarm=alarm, seconds=seconds, reason=reason))


def unshelve(alarm: str, state: State = DEFAULT_STATE, who: Who = "") -> None:
    """Take an alarm back before its time on the shelf is over."""
    _say(_client(state, who).command("alarm.unshelve", alarm=alarm))


def remove(alarm: str, reason: Reason, state: State = DEFAULT_STATE, who: Who = "") -> None:
    """Take an alarm out of service (maintenance).  It is judged on, and halts as ever."""
    _say(_client(state, who).command("alarm.remove", signed=True, alarm=alarm, reason=reason))


def return_to_service(alarm: str, state: State = DEFAULT_STATE, who: Who = "") -> None:
    """Return an alarm to service (maintenance)."""
    _say(_client(state, who).command("alarm.return", signed=True, alarm=alarm))


def stats(
    since: Annotated[str, typer.Option("--from", help="2026-03-14, 2026-03-14T06:00Z, or 8h ago; default 30d")] = "30d",
    until: Annotated[str, typer.Option("--to", help="the same; default now")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="for other programs")] = False,
    state: State = DEFAULT_STATE,
) -> None:
    """The figures of ISA-18.2 over a window, from the records: of the running gateway, else of its evidence store."""
    now = datetime.fromtimestamp(World().time_ns() / 1e9, UTC)
    from_ns, to_ns = moment_ns(since, now, "--from"), moment_ns(until, now, "--to") if until else _ns(now)
    if to_ns <= from_ns:
        raise LinegateError("--to is not after --from: there is no window")
    figures = _figures(state, from_ns, to_ns)
    if as_json:
        _say(figures)
    else:
        _show(figures)


def moment_ns(text: str, now: datetime, option: str) -> int:
    """A date, a time (UTC where it names no zone), or a duration before now; Unix ns.  Raises LinegateError."""
    if re.fullmatch(r"\d+(\.\d+)?(ms|s|min|h|d)", text):
        try:
            return _ns(now - timedelta(seconds=duration_s(text)))
        except OverflowError:
            raise LinegateError(f"{option}: {text!r} is longer ago than any calendar goes back") from None
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise LinegateError(f"{option}: {text!r} is no time; write 2026-03-14, 2026-03-14T06:00Z or 8h") from None
    return _ns(given if given.tzinfo else given.replace(tzinfo=UTC))


def _ns(moment: datetime) -> int:
    """Unix ns; what is before 1970 is before every record."""
    return max(0, round(moment.timestamp() * 1e6) * 1000)


def _figures(state: Any, from_ns: int, to_ns: int) -> Json:
    if (state / "console.token").exists():
        try:
            return _client(state).command("alarm.stats", from_ns=str(from_ns), to_ns=str(to_ns))
        except LinegateError as error:
            if not isinstance(error.__cause__, ConnectionRefusedError):
                raise  # else the token of a gateway that was killed, or lost its power
    from gateway.alarms.stats import Tally, document
    from gateway.store.offline import alarm_records, recorded_ns

    tally = Tally(from_ns, to_ns)
    first_ns, last_ns = recorded_ns(state)
    tally.cut(first_ns, max(last_ns + 1, World().time_ns()))
    for kind, time_ns, body in alarm_records(state):
        tally.take(kind, body, time_ns)
    return document(tally.figures())


def _show(figures: Json) -> None:
    table = Table("figure", "", "aim", title=f"{_when(figures['from_ns'])} to {_when(figures['to_ns'])}")
    for row in _rows(figures):
        table.add_row(*row)
    Console().print(table)


def _rows(figures: Json) -> list[tuple[str, str, str]]:
    answered = figures["acknowledged_after_s"]
    shares = ", ".join(f"{name} {share:.0f} %" for name, share in figures["priority_percent"].items())
    return [
        ("alarms", f"{figures['raised']}", ""),
        ("per hour", f"{figures['per_hour']:.2f}", "about 6, at most 12"),
        ("per 10 min", f"{figures['per_10min']:.2f}", "about 1, at most 2"),
        ("most in 10 min", f"{figures['most_in_10min']}", "10"),
        ("floods", f"{len(figures['floods'])}, {figures['flood_percent']:.2f} % of the time", "below 1 %"),
        ("chattering", _names(figures["chattering"]), "none"),
        ("stale", _names(dict.fromkeys(figures["stale"], "")), "fewer than 5"),
        ("top ten", f"{figures['top_percent']:.0f} %: {_names(figures['top'])}", "1 to 5 %"),
        ("priorities", shares, "80, 15, 5 %"),
        ("standing now", f"{figures['standing']}", ""),
        *((state.replace("_", " "), _hidden(figures, state), "for a reason") for state in figures["hidden"]),
        ("acknowledged after", "-" if answered is None else f"{answered:.0f} s (median)", ""),
    ]


def _hidden(figures: Json, state: str) -> str:
    names = ", ".join(figures["hidden"][state]) or "none"
    return f"{names} now; {figures['hidings'][state]} times"


def _names(counted: dict[str, Any]) -> str:
    return ", ".join(f"{name} {count}".strip() for name, count in counted.items()) or "none"


def _when(time_ns: str) -> str:
    return f"{datetime.fromtimestamp(int(time_ns) / 1e9, UTC):%Y-%m-%d %H:%M}Z"
