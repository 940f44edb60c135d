"""What was picked in a server, as the YAML of a device.  For commissioning."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from gateway.drivers.opcua.browse import Node, text_of, unit_ids
from gateway.drivers.opcua.link import Link
from gateway.drivers.opcua.nodes import WELL_KNOWN
from gateway.drivers.opcua.protection import Security
from gateway.drivers.wire.opcua_publish import Engineering

_NUMBERS: Final = frozenset(
    {"SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float", "Double", "Duration"}
)
_UCUM: Final[Mapping[str, str]] = {
    "CEL": "Cel",
    "KEL": "K",
    "FAH": "[degF]",
    "P1": "%",
    "GRM": "g",
    "KGM": "kg",
    "MGM": "mg",
    "MMT": "mm",
    "C24": "mPa.s",
    "C65": "Pa.s",
}
"""UNECE common code (Rec. 20) -> UCUM, of what a line measures."""
_PLAIN: Final = re.compile(r"^[A-Za-z][A-Za-z0-9_.:/;=-]*$")


async def snippet(
    link: Link, name: str, url: str, namespace: Mapping[str, str], security: Security, picked: Sequence[Node]
) -> str:
    """`devices:` with this one device; what a person has to look at stands as a comment."""
    uris = {link.namespaces[node.id.NamespaceIndex] for node in picked if node.id.NamespaceIndex}
    aliases = _aliases(sorted(uris), {**WELL_KNOWN, **namespace})
    units = await unit_ids(link, [node.id for node in picked])
    names = _names(picked)
    lines = ["devices:", f"  {name}:", "    driver: opcua", f"    url: {_quoted(url)}"]
    declared = {alias: uri for uri, alias in aliases.items() if WELL_KNOWN.get(alias) != uri}
    if declared:
        inner = ", ".join(f"{alias}: {_quoted(uri)}" for alias, uri in declared.items())
        lines.append(f"    namespace: {{{inner}}}")
    lines.append("    tags:")
    for node, tag, unit in zip(picked, names, units, strict=True):
        lines.append(f"      {tag}: {_tag(link, node, aliases, unit)}")
    lines.append(f"    security: {_security(security)}")
    return "\n".join(lines)


def _aliases(uris: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    """URI -> a short word for it: the one it has, else the last word of the URI."""
    by_uri = {uri: alias for alias, uri in known.items()}
    taken = set(known)
    aliases: dict[str, str] = {}
    for uri in uris:
        if uri in by_uri:
            aliases[uri] = by_uri[uri]
            continue
        words = re.findall(r"[A-Za-z][A-Za-z0-9]*", uri) or ["ns"]
        alias = words[-1].lower()
        while alias in taken:
            alias += "_"
        taken.add(alias)
        aliases[uri] = alias
    return aliases


def _names(picked: Sequence[Node]) -> list[str]:
    """A tag name for each: its own, with the names above it where two are the same."""
    names = [_word(node.name) for node in picked]
    for at, node in enumerate(picked):
        above = node.parent
        while names.count(names[at]) > 1 and above is not None:
            names[at] = f"{_word(above.name)}_{names[at]}"
            above = above.parent
    return [name if names.index(name) == at else f"{name}_{at}" for at, name in enumerate(names)]


def _word(name: str) -> str:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.rpartition(".")[2])
    return re.sub(r"[^a-z0-9]+", "_", snake.lower()).strip("_") or "tag"


def _tag(link: Link, node: Node, aliases: Mapping[str, str], unit: Engineering | None) -> str:
    parts = [f"node: {_quoted(_node(link, node, aliases))}", *_kind(node)]
    notes = [f"{node.type} {node.access}{f' = {node.value}' if node.value else ''}"]
    if unit is not None:
        code = unit.unit_id.to_bytes(4, "big", signed=True).lstrip(b"\0").decode("ascii", "replace")
        if code in _UCUM:
            parts.append(f"unit: {_quoted(_UCUM[code])}")
        else:
            notes.append(f"unit {unit.text!r}: give its UCUM code")
    if node.type.endswith("]"):
        notes.append("an array is no value of a tag")
    return f"{{{', '.join(parts)}}}  # {'; '.join(notes)}"


def _kind(node: Node) -> Iterator[str]:
    if node.type == "WeightType":
        yield "compose: scale-net, kind: decimal, unit: g"
    elif node.type == "Boolean":
        yield "kind: bool"
    elif node.type not in _NUMBERS:
        yield "kind: text"


def _node(link: Link, node: Node, aliases: Mapping[str, str]) -> str:
    text = text_of(link, node.id)
    index = node.id.NamespaceIndex
    if index and isinstance(node.id.Identifier, str):
        return f"{aliases[link.namespaces[index]]}:{node.id.Identifier}"
    return text


def _security(security: Security) -> str:
    if security.mode == "None":
        return '{policy: None, mode: None, waiver: "WHY THIS LINK MAY BE UNSECURED"}'
    given = [f"policy: {security.policy}", f"mode: {security.mode}"]
    given += [
        f"{key}: {_quoted(str(value))}"
        for key in ("pki", "certificate", "key", "trust", "server_certificate", "user")
        if (value := getattr(security, key)) is not None
    ]
    if security.user:
        given.append('password: "${env:OPCUA_PASSWORD}"')
    return f"{{{', '.join(given)}}}"


def _quoted(text: str) -> str:
    """As YAML takes it: quoted where it is not plainly a word."""
    return text if _PLAIN.match(text) and ": " not in text and not text.endswith(":") else json.dumps(text)
