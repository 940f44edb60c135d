"""`linegate fault` and `linegate heal`: what goes wrong on the simulated line, or at a fault proxy, while it runs."""

from __future__ import annotations

import difflib
import json
import socket
from collections.abc import Iterable
from typing import Annotated, Any, Self

import typer

from gateway.errors import LinegateError
from gateway.units import duration_s

TIMEOUT_S = 10.0
Control = Annotated[
    str, typer.Option("--control", envvar="LINEGATE_SIMULATOR", help="where the simulators' control listens")
]
DEFAULT_CONTROL = "127.0.0.1:4800"


def add_to(app: typer.Typer) -> None:
    """Hang these commands into the top-level one."""
    app.command("fault")(fault)
    app.command("heal")(heal)


def fault(
    device: Annotated[str, typer.Argument(help="which device of the simulated line")] = "",
    name: Annotated[str, typer.Argument(help="which fault")] = "",
    arguments: Annotated[list[str], typer.Argument(metavar="[KEY=VALUE]...", help="its arguments")] = [],  # noqa: B006
    for_: Annotated[str, typer.Option("--for", help="heal by itself after so long, like 5s")] = "",
    show: Annotated[bool, typer.Option("--list", help="print devices, tags and faults")] = False,
    control: Control = DEFAULT_CONTROL,
) -> None:
    """Bring a fault on: `linegate fault reservoir net_latency seconds=200ms --for 5s`."""
    with _Line(control) as line:
        known = line.ask("list")["devices"]
        if show or not device:
            _show([entry for entry in known if device in ("", entry["name"])])
            return
        entry = _named(device, known, "device")
        if not name:
            raise LinegateError(f"which fault? {device} has {', '.join(each['name'] for each in entry['faults'])}")
        meant = _named(name, entry["faults"], f"fault of {device}")
        given = dict(_argument(text, meant) for text in arguments)
        line.ask("fault", device=device, name=name, **given, **_until(for_))
    print(f"{device}: {name}" + (f", heals by itself after {for_}" if for_ else f"; ends with: linegate heal {device}"))


def heal(
    device: Annotated[str, typer.Argument(help="which device, or all")],
    name: Annotated[str, typer.Argument(help="which fault; all of them where nothing is said")] = "all",
    control: Control = DEFAULT_CONTROL,
) -> None:
    """Take faults and forced values away: `linegate heal reservoir`, `linegate heal all`."""
    with _Line(control) as line:
        known = line.ask("list")["devices"]
        if device != "all":
            entry = _named(device, known, "device")
            if name != "all":
                _named(name, entry["faults"], f"fault of {device}")
        healed = line.ask("heal", device=device, name=name)["healed"]
    print(f"healed: {', '.join(healed) or 'nothing was wrong'}")


class _Line:
    """The control of the simulators: one JSON object a line each way."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise LinegateError(f"--control {address!r} is not HOST:PORT")
        try:
            self._socket = socket.create_connection((host, int(port)), TIMEOUT_S)
        except OSError as error:
            raise LinegateError(
                f"no simulated line at {address}: {error.strerror or error}; start one with `linegate simulate`, or "
                "say where its control listens with --control"
            ) from None
        self._lines = self._socket.makefile("rb")

    def ask(self, verb: str, **request: Any) -> dict[str, Any]:
        """LinegateError with the simulators' own sentence where they refuse."""
        try:
            self._socket.sendall(json.dumps({"do": verb, **request}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(self._lines.readline() or "{}")
        except (OSError, ValueError) as error:
            raise LinegateError(f"the simulated line did not answer: {error}") from None
        if not answer.get("ok"):
            raise LinegateError(str(answer.get("error", "the simulated line has gone away")))
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()


def _named(name: str, entries: Iterable[dict[str, Any]], what: str) -> dict[str, Any]:
    by_name = {entry["name"]: entry for entry in entries}
    if name in by_name:
        return by_name[name]
    near = difflib.get_close_matches(name, by_name, n=3, cutoff=0.5)
    if not near and name.startswith("net_"):
        raise LinegateError(f"no {what} is called {name!r}; net_... faults need `linegate simulate --proxy`")
    raise LinegateError(f"no {what} is called {name!r}; {'nearest' if near else 'known'}: {', '.join(near or by_name)}")


def _argument(text: str, fault: dict[str, Any]) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise LinegateError(f"{text!r} is not KEY=VALUE")
    if key not in fault["arguments"]:
        takes = ", ".join(fault["arguments"]) or "no arguments"
        raise LinegateError(f"{fault['name']} does not take {key!r}; it takes {takes}")
    return key, _value(value)


def _value(text: str) -> float | bool | str:
    """A number, a duration as seconds, true or false; anything else is a text."""
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return duration_s(text)
    except ValueError:
        return text


def _until(text: str) -> dict[str, float]:
    if not text:
        return {}
    try:
        return {"for_s": duration_s(text)}
    except ValueError as error:
        raise LinegateError(f"--for: {error}") from None


def _show(devices: Iterable[dict[str, Any]]) -> None:
    for device in devices:
        print(f"{device['name']}: {device['sentence']}".rstrip(": "))
        print(f"  tags: {', '.join(device['tags']) or 'none'}")
        for each in device["faults"]:
            arguments = "".join(f" [{argument}=]" for argument in each["arguments"])
            print(f"  {each['name']}{arguments}: {each['sentence']}".rstrip(": "))
        print()
