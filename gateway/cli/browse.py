"""`linegate browse`: look around in an OPC UA server, and take away the YAML of what was picked."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gateway.errors import LinegateError

if TYPE_CHECKING:
    from gateway.drivers.opcua.browse import Node
    from gateway.drivers.opcua.link import Link
    from gateway.drivers.opcua.protection import Security

MOST = 20_000


class Wanted(NamedTuple):
    """What is shown, and what is picked."""

    root: str
    depth: int
    filter: str
    pick: Sequence[str]
    most: int


def add_to(app: typer.Typer) -> None:
    """Hang the command into the top-level one."""
    app.command("browse")(browse)


def browse(
    url: Annotated[str, typer.Argument(help="opc.tcp://host:port; not needed with --device")] = "",
    root: Annotated[str, typer.Option(help="where to begin: nsu=URI;s=id, i=85, or a path as /Objects")] = "i=85",
    depth: Annotated[int, typer.Option(min=1, help="levels below the root")] = 6,
    filter: Annotated[str, typer.Option("--filter", help="only what has this text in its path or node id")] = "",  # noqa: A002
    pick: Annotated[list[str], typer.Option("--pick", help="node id, path or name of a variable to have as YAML")] = [],  # noqa: B006
    config: Annotated[Path | None, typer.Option("--config", help="line.yaml with the device")] = None,
    device: Annotated[str, typer.Option("--device", help="url, namespaces and security of this device there")] = "",
    pki: Annotated[Path | None, typer.Option("--pki", help="folder with our certificate and trust/")] = None,
    policy: Annotated[str, typer.Option(help="security policy")] = "Basic256Sha256",
    mode: Annotated[str, typer.Option(help="SignAndEncrypt or Sign")] = "SignAndEncrypt",
    user: Annotated[str, typer.Option(help="user name; the password is asked for")] = "",
    unsecured: Annotated[bool, typer.Option("--unsecured", help="neither signed nor encrypted: only look")] = False,
    most: Annotated[int, typer.Option(min=1, help="nodes at most")] = MOST,
) -> None:
    """Show what an OPC UA server has: names, node ids, types, values, access; and the YAML of what was picked."""
    place = _of_device(config, device) if config is not None else None
    if place is None:
        if not url:
            raise LinegateError("say where: linegate browse opc.tcp://host:port, or --config line.yaml --device NAME")
        place = Place("device", url, _security(pki, policy, mode, user, unsecured), {}, pki)
    asyncio.run(_look(place, Wanted(root, depth, filter, pick, most)))


class Place(NamedTuple):
    """A server, and how to get in."""

    name: str
    url: str
    security: Security
    namespace: dict[str, str]
    pki: Path | None


def _of_device(config: Path, device: str) -> Place:
    from gateway.config.reading import load
    from gateway.drivers.opcua.settings import OpcUaSettings

    devices = {name: each for name, each in load(config).devices.items() if isinstance(each, OpcUaSettings)}
    if device not in devices:
        raise LinegateError(f"{config} has no OPC UA device {device!r}; it has: {', '.join(devices) or 'none'}")
    found = devices[device]
    return Place(device, found.url, found.security, found.namespace, found.security.pki)


def _security(pki: Path | None, policy: str, mode: str, user: str, unsecured: bool) -> Security:
    from pydantic import ValidationError

    from gateway.drivers.opcua.protection import Security

    given: dict[str, Any] = {"policy": policy, "mode": mode, "pki": pki}
    if unsecured:
        given = {"policy": "None", "mode": "None", "waiver": "browse --unsecured"}
    elif pki is None:
        raise LinegateError(
            "say --pki FOLDER (our certificate is made there if missing), or --unsecured to only look at a server "
            "that has no security"
        )
    if user:
        given |= {"user": user, "password": os.environ.get("LINEGATE_PASSWORD") or getpass.getpass(f"{user}: ")}
    try:
        return Security.model_validate(given)
    except ValidationError as error:
        raise LinegateError("; ".join(each["msg"] for each in error.errors())) from None


async def _look(place: Place, wanted: Wanted) -> None:
    from gateway.drivers.opcua.browse import walk
    from gateway.drivers.opcua.connect import open_link
    from gateway.drivers.opcua.nodes import parse

    try:
        root = parse(wanted.root, "", place.namespace)
    except ValueError as error:
        raise LinegateError(str(error)) from None
    async with open_link(place.name, place.url, place.security) as link:
        (start,) = await link.resolve([root])
        if isinstance(start, str):
            raise LinegateError(f"{place.url}: {start}")
        tree, cut = await walk(link, start, wanted.depth, wanted.most, _progress)
        _progress(0)
        variables = _print_tree(link, tree, wanted.filter)
        if cut:
            print(f"... cut at {wanted.most} nodes: begin further down with --root, or say --most", file=sys.stderr)
        picked = _picked(link, tree, wanted.pick) if wanted.pick else _asked(variables)
        if picked:
            from gateway.drivers.opcua.snippet import snippet

            print(await snippet(link, place.name, place.url, place.namespace, place.security, picked))


def _progress(nodes: int) -> None:
    """How far we are, on the terminal only; 0 wipes it away."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{nodes} nodes ..." if nodes else "\r\x1b[K", end="", file=sys.stderr, flush=True)


def _print_tree(link: Link, tree: Node, text: str) -> list[Node]:
    """The tree, or what fits the filter with all that is above it; returns the variables shown, in their order."""
    from gateway.drivers.opcua.browse import VARIABLE, text_of

    nodes = list(tree.all())
    shown = nodes if not text else list(_fitting(link, nodes, text.lower()))
    variables = [node for node in shown if node.kind == VARIABLE]
    number = {id(node): at for at, node in enumerate(variables, 1)}
    numbered = sys.stdin.isatty() and sys.stdout.isatty()
    for node in shown:
        mark = f"{number[id(node)]:>5} " if numbered and id(node) in number else "      " if numbered else ""
        print(f"{mark}{'  ' * node.depth}{node.name}{_told(node)}  {text_of(link, node.id)}")
    print(f"{len(shown)} of {len(nodes)} nodes" if text else f"{len(nodes)} nodes", file=sys.stderr)
    return variables


def _told(node: Node) -> str:
    from gateway.drivers.opcua.browse import METHOD, OBJECT

    if node.kind in (OBJECT, METHOD):
        return "()" if node.kind == METHOD else "/"
    value = f" = {node.value}" if node.value else ""
    status = f" [{node.status}]" if node.status else ""
    return f"{value}{status}  {node.type} {node.access}"


def _fitting(link: Link, nodes: Sequence[Node], text: str) -> Iterator[Node]:
    from gateway.drivers.opcua.browse import text_of

    wanted: set[int] = set()
    for node in nodes:
        if text in node.path.lower() or text in text_of(link, node.id).lower():
            above: Node | None = node
            while above is not None and id(above) not in wanted:
                wanted.add(id(above))
                above = above.parent
    return (node for node in nodes if id(node) in wanted)


def _picked(link: Link, tree: Node, picks: Sequence[str]) -> list[Node]:
    """The variables that were named.  LinegateError for one that is not there, or is several."""
    from gateway.drivers.opcua.browse import VARIABLE, text_of

    variables = [node for node in tree.all() if node.kind == VARIABLE]
    picked = []
    for pick in picks:
        exact = [node for node in variables if text_of(link, node.id) == pick]
        found = exact or [node for node in variables if node.path == pick or node.path.endswith(f"/{pick}")]
        if len(found) != 1:
            several = (
                ", ".join(text_of(link, node.id) for node in found[:5]) or "no variable below the root is called so"
            )
            raise LinegateError(f"--pick {pick}: {several}")
        picked += found
    return picked


def _asked(variables: Sequence[Node]) -> list[Node]:
    """In a terminal: which of the numbered ones."""
    if not variables or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return []
    while True:
        said = input("pick (numbers and ranges as 3,7-9; nothing: none): ").strip()
        try:
            return [variables[number - 1] for number in _numbers(said, len(variables))]
        except ValueError as error:
            print(error, file=sys.stderr)


def _numbers(said: str, most: int) -> list[int]:
    """`3,7-9` -> 3, 7, 8, 9.  ValueError for what is none, or out of range."""
    found: list[int] = []
    for part in said.replace(" ", ",").split(","):
        if not part:
            continue
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()) or not 1 <= int(first) <= int(last or first) <= most:
            raise ValueError(f"{part!r} is not a number from 1 to {most}, or a range of them")
        found += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(found))
