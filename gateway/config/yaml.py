"""YAML with positions: plain data beside the node tree it came from, every fault with its line and column.

Scalars are YAML 1.2's (core schema), so that `no`, `on` and `12:30` stay the text they are: only true, false, null and
decimal numbers mean something else than themselves.  A key written twice, a tab, an alias that contains itself and a
second document are faults.  Lines and columns count from 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self, cast

import yaml

from gateway.errors import Problem
from gateway.model import Json

Where = tuple[str | int, ...]
"""A way into the document: `("devices", "filler", "url")`, list positions as int."""

_MAX_VALUES: Final = 1_000_000
"""Aliases may multiply a small file without end; no honest file of a line holds this many values."""

_TAG: Final = "tag:yaml.org,2002:"


class Written(float):
    """A number with the digits it was written with: `1.00` compares as 1.0 and prints as `1.00`."""

    __slots__ = ("text",)

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


class _Resolver(yaml.resolver.BaseResolver):
    """YAML 1.2 core schema, without `.inf` and `.nan`: no limit and no period is either."""


for _name, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^(?:[-+]?[0-9]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+0123456789."),
):
    _Resolver.add_implicit_resolver(_TAG + _name, re.compile(_pattern), list(_first))


class _Pure(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser, yaml.composer.Composer, _Resolver):
    """PyYAML's own parser, where its C library is missing: the same tree, some ten times slower."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)
        _Resolver.__init__(self)


def _parser() -> Callable[[str], Any]:
    if not yaml.__with_libyaml__:
        return _Pure
    c_parser: Any = yaml.cyaml.CParser  # type: ignore[attr-defined]

    class Fast(c_parser, _Resolver):  # type: ignore[misc]
        def __init__(self, text: str) -> None:
            c_parser.__init__(self, text)
            _Resolver.__init__(self)

    return Fast


_PARSER: Final = _parser()

_SCALARS: Final[Mapping[str, Callable[[str], Json]]] = {
    _TAG + "str": str,
    _TAG + "null": lambda _text: None,
    _TAG + "bool": lambda text: text.lower() == "true",
    _TAG + "int": lambda text: int(text, 16 if text.startswith("0x") else 10),
    _TAG + "float": Written,
}


class Document:
    """One file: its data, and where each piece of it stands."""

    def __init__(self, name: str, root: yaml.Node | None, problems: list[Problem]) -> None:
        self.name = name
        """As it is shown in problems: the file's name without its folder."""
        self.problems = problems
        """What is wrong with the YAML itself; the data is what could be read all the same."""
        self._root = root
        self._left = _MAX_VALUES
        self._open: set[int] = set()
        self.data: Json = {} if root is None else self._build(root, ())

    def at(self, where: Where, *, key: bool = False) -> tuple[int, int]:
        """Line and column of the value at `where` (or its key); of the nearest piece above it that exists."""
        node, mark = self._root, (1, 1)
        if node is not None:
            mark = _mark(node)
        for depth, step in enumerate(where):
            found = _child(node, step)
            if found is None:
                break
            key_node, node = found
            wants_key = key or depth < len(where) - 1 or not isinstance(node, yaml.ScalarNode)
            mark = _mark(key_node if wants_key and key_node is not None else node)
        return mark

    def get(self, where: Where) -> Json:
        """The data at `where`; None where there is nothing."""
        value = self.data
        for step in where:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def problem(self, where: Where, message: str, *, key: bool = False, level: str = "error") -> Problem:
        line, column = self.at(where, key=key)
        return Problem(self.name, line, column, dotted(where), message, level)

    def scalars(self, where: Where = ()) -> Iterator[tuple[Where, Json]]:
        """Every plain value below `where`, with its way."""
        return scalars(self.get(where), where)

    def _build(self, node: yaml.Node, where: Where) -> Json:
        self._left -= 1
        if self._left < 0:
            raise yaml.MarkedYAMLError(problem="aliases make too many values", problem_mark=node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, where)
        if id(node) in self._open:
            raise yaml.MarkedYAMLError(problem="an alias contains itself", problem_mark=node.start_mark)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self._build(child, (*where, index)) for index, child in enumerate(node.value)]
            return self._mapping(cast("yaml.MappingNode", node), where)
        finally:
            self._open.discard(id(node))

    def _scalar(self, node: yaml.ScalarNode, where: Where) -> Json:
        if "\0" in node.value:
            self._fault(node, where, "holds a NUL character, which no path and no name can have; take it out")
            return None
        try:
            return _SCALARS[node.tag](node.value)
        except KeyError:
            self._fault(node, where, f"tag {node.tag!r} means nothing here; leave it out")
        except ValueError:
            self._fault(node, where, f"{node.value!r} is not a {node.tag.removeprefix(_TAG)}")
        return None

    def _mapping(self, node: yaml.MappingNode, where: Where) -> dict[str, Json]:
        data: dict[str, Json] = {}
        first: dict[str, yaml.Node] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node, where, "a key must be a plain word")
                continue
            key = key_node.value
            if key in first:
                line = first[key].start_mark.line + 1
                self._fault(key_node, (*where, key), f"written twice; the first is on line {line}")
                continue
            first[key] = key_node
            data[key] = self._build(value_node, (*where, key))
        return data

    def _fault(self, node: yaml.Node, where: Where, message: str) -> None:
        self.problems.append(Problem(self.name, *_mark(node), dotted(where), message))


def read(path: Path) -> Document:
    """Read and parse; never raises for what is in the file: see `Document.problems`."""
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return _broken(path, 1, 1, "no such file")
    except OSError as error:
        return _broken(path, 1, 1, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        return _broken(path, error.object[: error.start].count(b"\n") + 1, 1, "is not UTF-8 text")
    return parse(text, path)


def parse(text: str, path: Path) -> Document:
    """`path` gives the name in problems only."""
    try:
        return Document(path.name, _compose(text), [])
    except yaml.MarkedYAMLError as error:
        return _syntax(error, text, path)
    except yaml.YAMLError as error:
        return _broken(path, 1, 1, f"is not YAML: {error}".splitlines()[0])
    except RecursionError:
        return _broken(path, 1, 1, "is nested too deeply")


def dotted(where: Where) -> str:
    """`devices.filler.tags[3].name`; `file` for the whole of it."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where)
    return text.removeprefix(".") or "file"


def _compose(text: str) -> yaml.Node | None:
    loader = _PARSER(text)
    try:
        return cast("yaml.Node | None", loader.get_single_node())
    finally:
        if hasattr(loader, "dispose"):
            loader.dispose()


def _syntax(error: yaml.MarkedYAMLError, text: str, path: Path) -> Document:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    lines = text.splitlines()
    for number in (line, line - 1):  # the parser may only notice on the line after
        here = lines[number - 1] if 0 < number <= len(lines) else ""
        indent = here[: len(here) - len(here.lstrip())]
        if "\t" in indent:
            return _broken(path, number, indent.index("\t") + 1, "a tab in the indentation; YAML wants spaces")
    context = f" ({error.context})" if error.context else ""
    return _broken(path, line, column, f"is not YAML: {error.problem or 'syntax error'}{context}")


def _broken(path: Path, line: int, column: int, message: str) -> Document:
    return Document(path.name, None, [Problem(path.name, line, column, "file", message)])


def _mark(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node | None, yaml.Node] | None:
    """(key node, value node) of one step down; None if there is no such step."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return None, node.value[step]
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            if key_node.value == str(step):
                return key_node, value_node
    return None


def scalars(value: Json, where: Where) -> Iterator[tuple[Where, Json]]:
    """Every plain value below, with its way."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield from scalars(child, (*where, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from scalars(child, (*where, index))
    else:
        yield where, value
