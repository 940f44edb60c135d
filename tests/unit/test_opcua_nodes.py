"""How nodes are written."""

from __future__ import annotations

import pytest

from gateway.drivers.opcua.nodes import NodeRef, parse

ALIASES = {"f": "urn:sim:filler", "b": "urn:b"}
PACKML = "http://opcfoundation.org/UA/PackML/"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f:Filler.Status.StateCurrent", NodeRef("urn:sim:filler", "s", "Filler.Status.StateCurrent")),
        ("b:::Program:Cube.Status", NodeRef("urn:b", "s", "::Program:Cube.Status")),
        ("nsu=urn:x;s=a/b", NodeRef("urn:x", "s", "a/b")),
        ("nsu=urn:x;i=12", NodeRef("urn:x", "i", "12")),
        ("i=2258", NodeRef("", "i", "2258")),
        ("/Objects/f:A&/B/C", NodeRef("", "i", "84", (("", "Objects"), ("urn:sim:filler", "A/B"), ("", "C")))),
        ("/Objects/packml:X", NodeRef("", "i", "84", (("", "Objects"), (PACKML, "X")))),
    ],
)
def test_forms(text: str, expected: NodeRef) -> None:
    """Alias, URI, number and browse path each name the node they say."""
    assert parse(text, "", ALIASES) == expected


def test_path_below_a_node() -> None:
    """A browse path may start at any node."""
    ref = parse("f:Unit", "/packml:Status/packml:MachSpeed", ALIASES)
    assert ref.path == ((PACKML, "Status"), (PACKML, "MachSpeed"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ns=3;s=Filler", "may move when the server restarts"),
        ("/Objects/3:Filler", "by index"),
        ("g:Filler", "no namespace I know"),
        ("Filler", "is no node"),
        ("i=abc", "no numeric"),
    ],
)
def test_refused(text: str, says: str) -> None:
    """A namespace index, an unknown alias and a nameless text are refused with what to write instead."""
    with pytest.raises(ValueError, match=says):
        parse(text, "", ALIASES)
