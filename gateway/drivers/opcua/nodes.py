"""How a configuration names a node of an OPC UA server.  Pure.

`alias:string-id`       a string node id in a namespace of the device's `namespace:` table
`nsu=URI;s=...`         the same written out; also `i=` (number), `g=` (GUID), `b=` (base64)
`i=2258`                a numeric node id of namespace 0
`/Objects/alias:Name`   a browse path from the root; names without alias are of namespace 0; `&` escapes `/` and `:`

Namespaces are named by URI, never by index: a server may give the same namespace another index after a restart
(10000-4 §7.2 note), so `ns=3;...` is refused and the index is looked up at every connect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

WELL_KNOWN: Final[Mapping[str, str]] = {
    "packml": "http://opcfoundation.org/UA/PackML/",
    "di": "http://opcfoundation.org/UA/DI/",
    "machinery": "http://opcfoundation.org/UA/Machinery/",
    "scales": "http://opcfoundation.org/UA/Scales/V2/",
}
_ID = re.compile(r"^(?:nsu=(?P<uri>[^;]+);)?(?P<kind>[sigb])=(?P<id>.+)$", re.DOTALL)
_PART = re.compile(r"((?:&.|[^/&])+)")
_ROOT: Final = "84"


class NodeRef(NamedTuple):
    """A node id with its namespace by URI (empty: namespace 0), then browse names from there."""

    uri: str
    kind: str
    """s, i, g or b."""
    id: str
    path: tuple[tuple[str, str], ...] = ()
    """(namespace URI, name) each."""

    def __str__(self) -> str:
        start = f"nsu={self.uri};{self.kind}={self.id}" if self.uri else f"{self.kind}={self.id}"
        return start + "".join(f"/{name}" for _, name in self.path)


def parse(node: str, path: str, aliases: Mapping[str, str]) -> NodeRef:
    """A node as the configuration writes it.  ValueError says what is wrong and how to write it instead."""
    known = {**WELL_KNOWN, **aliases}
    if node.startswith("/"):
        return NodeRef("", "i", _ROOT, _path(node, known) + _path(path, known))
    if re.match(r"^ns=\d+;", node):
        raise ValueError(
            f"{node!r} names its namespace by index, which may move when the server restarts; "
            "declare the namespace under `namespace: {alias: URI}` and write `alias:id`, or write `nsu=URI;s=id`"
        )
    match = _ID.match(node)
    if match:
        return _checked(NodeRef(match["uri"] or "", match["kind"], match["id"], _path(path, known)))
    alias, colon, identifier = node.partition(":")
    if not colon or not identifier:
        raise ValueError(f"{node!r} is no node; write `alias:string-id`, `nsu=URI;s=id`, `i=number` or `/Objects/...`")
    return NodeRef(_uri(alias, known), "s", identifier, _path(path, known))


def _checked(ref: NodeRef) -> NodeRef:
    if ref.kind == "i" and not ref.id.isdigit():
        raise ValueError(f"i={ref.id} is no numeric node id")
    return ref


def _uri(alias: str, known: Mapping[str, str]) -> str:
    if alias not in known:
        raise ValueError(
            f"{alias!r} is no namespace I know; add it under `namespace:`, or use one of {', '.join(sorted(known))}"
        )
    return known[alias]


def _path(text: str, known: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(_step(part, known) for part in _PART.findall(text))


def _step(part: str, known: Mapping[str, str]) -> tuple[str, str]:
    """`alias:Name` -> (URI, Name); a colon or slash of the name itself is written `&:` or `&/`."""
    match = re.match(r"^((?:&.|[^:&])*):(.*)$", part, re.DOTALL)
    alias, name = (match[1], match[2]) if match else ("", part)
    if alias.isdigit():
        raise ValueError(f"{part!r} names its namespace by index; declare an alias under `namespace:` instead")
    uri = _uri(alias, known) if alias else ""
    return uri, re.sub(r"&(.)", r"\1", name)
