"""A person's own register map, as CSV, to a profile.  Pure: text in, text and remarks out.

Every problem comes with its line and its cell (counted from 1).  What had to be decided is told: how addresses were
taken, which columns were not used, which units are not known here.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from pydantic import ValidationError

from gateway.drivers.modbus.kind import ModbusConfig
from gateway.drivers.profiles import columns
from gateway.errors import ConfigError, Problem

Base = Literal["auto", "0", "1", "modicon"]
_DELIMITERS: Final = (",", ";", "\t", "|")
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*$")
_WORDS: Final = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_WORDED: Final = frozenset(("unit", "text"))
"""Columns in which m² may stand."""
_ANYWHERE: Final = "tcp://127.0.0.1:502"
"""An address, so that the map can be validated."""


class Imported(msgspec.Struct, frozen=True):
    """A map that can be read."""

    text: str
    """The profile, as YAML."""
    tags: int
    remarks: tuple[str, ...]
    """What was decided, and what to prove on the device."""


class _Row(msgspec.Struct):
    """One line with a tag in it."""

    line: int
    cells: dict[str, str]


class _Table:
    """The lines of one file, by the meaning of their columns."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self.remarks: list[str] = []
        lines = text.removeprefix("\ufeff").splitlines(keepends=True)
        head = next((line for line in lines if line.strip()), "")
        reader = csv.reader(io.StringIO("".join(lines)), delimiter=max(_DELIMITERS, key=head.count), strict=True)
        self.columns: dict[str, int] = {}
        self.heads: Sequence[str] = ()
        self.rows: list[_Row] = []
        try:
            for cells in reader:
                self._line(reader.line_num, [cell.strip() for cell in cells])
        except csv.Error as error:
            self.say(reader.line_num, 1, "file", f"is not CSV: {error}")
        if not self.columns and not self.problems:
            self.say(1, 1, "file", "is empty; write a line of headers: name,address,type,unit,scale")

    def say(self, line: int, column: int, where: str, message: str) -> None:
        self.problems.append(Problem(self.name, line, column, where, message))

    def cell(self, row: _Row, meaning: str, message: str) -> None:
        """Say what is wrong with one cell."""
        self.say(row.line, self.columns.get(meaning, 0) + 1, row.cells.get("name", "") or meaning, message)

    def _line(self, line: int, cells: list[str]) -> None:
        if not any(cells) or cells[0].startswith("#"):
            return
        if not self.columns:
            self._head(line, cells)
            return
        if self.problems and self.problems[0].where == "headers":
            return
        if len(cells) > len(self.heads) and any(cells[len(self.heads) :]):
            text = f"has {len(cells)} cells, the headers are {len(self.heads)}; put a text with a comma in quotes"
            self.say(line, len(self.heads) + 1, "line", text)
        self.rows.append(
            _Row(line, {meaning: cells[at] for meaning, at in self.columns.items() if at < len(cells) and cells[at]})
        )

    def _head(self, line: int, cells: list[str]) -> None:
        self.heads = cells
        for at, text in enumerate(cells):
            meaning = columns.header(text)
            if meaning is None or meaning in self.columns:
                if text:
                    self.remarks.append(f"column {text!r} is not used")
                continue
            self.columns[meaning] = at
        for needed in ("name", "address"):
            if needed not in self.columns:
                near = difflib.get_close_matches(needed, cells, n=1)
                also = f"; is it {near[0]!r}?" if near else ""
                text = f"no column is called {needed}{also} (or: {', '.join(columns.HEADERS[needed][:6])})"
                self.say(line, 1, "headers", text)
                self.columns.setdefault(needed, len(cells))

    @property
    def from_one(self) -> bool:
        at = self.columns.get("address", len(self.heads))
        return at < len(self.heads) and columns.counts_from_one(self.heads[at])


def import_map(text: str, name: str, *, title: str, base: Base = "auto") -> Imported:
    """The map in `text` as a profile called `title`.  ConfigError with every problem, in the file called `name`."""
    table = _Table(text, name)
    counting = _counting(table, base) if table.rows else "0"
    tags: dict[str, dict[str, Any]] = {}
    comments: dict[str, str] = {}
    lines: dict[str, _Row] = {}
    for row in table.rows:
        made = _tag(table, row, counting)
        if made is None:
            continue
        tag, settings = made
        if tag in lines:
            table.cell(row, "name", f"{tag} stands already in line {lines[tag].line}; give one of them another name")
            continue
        lines[tag], tags[tag] = row, settings
        comments[tag] = row.cells.get("text", "")
    if not tags and not table.problems:
        table.say(1, 1, "file", "has headers and no tag below them")
    if not table.problems:
        _proved(table, tags, lines, counting)
    if table.problems:
        raise ConfigError(sorted(table.problems, key=lambda problem: (problem.line, problem.column)))
    return Imported(_yaml(title, name, tags, comments, counting), len(tags), tuple(table.remarks))


def _counting(table: _Table, base: Base) -> str:
    """How addresses count: 0, 1 or modicon; told where it was found out."""
    if base != "auto":
        return base
    written = [row.cells["address"] for row in table.rows if "address" in row.cells]
    prefixed = [address for address in written if columns.modicon(address)]
    if written and len(prefixed) == len(written):
        first = prefixed[0]
        found = columns.modicon(first)
        assert found is not None
        table.remarks.append(
            f"addresses like {first} are Modicon numbers: {first} is {found[0]} {found[1]} on the wire"
        )
        return "modicon"
    if prefixed and len(prefixed) > len(written) / 2:
        odd = next(address for address in written if not columns.modicon(address))
        table.remarks.append(f"most addresses look like Modicon numbers, {odd} does not: all are taken as they stand")
    if table.from_one:
        table.remarks.append("the header says that addresses count from 1: 1 is 0 on the wire")
        return "1"
    numbers = [_address_or_none(address) for address in written]
    lowest = min((number for number in numbers if number is not None), default=0)
    if lowest == 1:
        table.remarks.append(
            "the lowest address is 1 and none is 0: the map may count from 1; if the device shows the second value as "
            "the first, import again with --base 1"
        )
    return "0"


def _address_or_none(text: str) -> int | None:
    try:
        return columns.plain_address(text)[0]
    except ValueError:
        return None


def _tag(table: _Table, row: _Row, counting: str) -> tuple[str, dict[str, Any]] | None:
    """One row as a tag; None where something in it cannot be read."""
    before = len(table.problems)
    for needed in ("name", "address"):
        if needed not in row.cells:
            table.cell(row, needed, f"{needed} is empty")
    settings: dict[str, Any] = {}
    name = ""
    for meaning in ("name", "table", "address", "type", "order", "bit", "length", "scale", "offset", "unit"):
        if meaning not in row.cells:
            continue
        try:
            if meaning not in _WORDED:
                columns.only_our_digits(row.cells[meaning])
            if meaning == "name":
                name = columns.tag_name(row.cells["name"])
            else:
                _READERS[meaning](table, row, settings, counting)
        except ValueError as error:
            table.cell(row, meaning, str(error))
    if name and name != row.cells.get("name", "").lower().replace(" ", "_"):
        row.cells["text"] = ": ".join(filter(None, (row.cells["name"], row.cells.get("text"))))
    return (name, settings) if len(table.problems) == before else None


def _read_table(table: _Table, row: _Row, settings: dict[str, Any], counting: str) -> None:
    del table, counting
    settings["table"] = columns.table(row.cells["table"])


def _read_address(table: _Table, row: _Row, settings: dict[str, Any], counting: str) -> None:
    del table
    text = row.cells["address"]
    if counting == "modicon":
        found = columns.modicon(text)
        if found is None:
            raise ValueError(f"{text!r} is not a Modicon number like 40361, or give another --base")
        if settings.setdefault("table", found[0]) != found[0]:
            raise ValueError(f"{text} is a {found[0]}'s number, the row says {settings['table']}")
        settings["address"] = found[1]
        return
    address, bit = columns.plain_address(text)
    if address < int(counting) or address > 0xFFFF + int(counting):
        raise ValueError(f"{address} is not an address that counts from {counting}")
    settings["address"] = address
    if bit is not None:
        settings["bit"] = bit


def _read_type(table: _Table, row: _Row, settings: dict[str, Any], counting: str) -> None:
    del table, counting
    found, length, orders = columns.kind(row.cells["type"])
    if not (found == "bool" and (settings.get("table") in ("coil", "discrete") or "bit" in settings)):
        settings["type"] = found
    if length:
        settings["length"] = length
    if orders is not None:
        _ordered(settings, orders)


def _read_order(table: _Table, row: _Row, settings: dict[str, Any], counting: str) -> None:
    del counting
    _ordered(settings, columns.order(row.cells["order"], table.heads[table.columns["order"]]))


def _ordered(settings: dict[str, Any], orders: tuple[str, str]) -> None:
    both = zip(("word_order", "byte_order"), orders, strict=True)
    settings.update({key: order for key, order in both if order != "big"})


def _read_whole(key: str) -> Any:
    def read(table: _Table, row: _Row, settings: dict[str, Any], counting: str) -> None:
        del table, counting
        if not row.cells[key].isdecimal():
            raise ValueError(f"{row.cells[key]!r} is not a whole number")
        settings[key] = int(row.cells[key])

    return read


def _read_factor(key: str, neutral: float) -> Any:
    def read(table: _Table, row: _Row, settings: dict[str, Any], counting: str) -> None:
        del table, counting
        value = columns.number(row.cells[key])
        if value != neutral:
            settings[key] = int(value) if value.is_integer() else value

    return read


def _read_unit(table: _Table, row: _Row, settings: dict[str, Any], counting: str) -> None:
    del counting
    found = columns.unit(row.cells["unit"])
    if found is None:
        remark = f"unit {row.cells['unit']!r} is not known here: its tags have no unit (1); see the comment at each"
        if remark not in table.remarks:
            table.remarks.append(remark)
        row.cells["text"] = f"in {row.cells['unit']}. {row.cells.get('text', '')}".strip()
    elif found != "1":
        settings["unit"] = found


_READERS: Final[Mapping[str, Any]] = {
    "table": _read_table,
    "address": _read_address,
    "type": _read_type,
    "order": _read_order,
    "bit": _read_whole("bit"),
    "length": _read_whole("length"),
    "scale": _read_factor("scale", 1.0),
    "offset": _read_factor("offset", 0.0),
    "unit": _read_unit,
}


def _proved(table: _Table, tags: dict[str, dict[str, Any]], lines: Mapping[str, _Row], counting: str) -> None:
    """The driver's own word on the map: a problem at the row's cell for each thing it will not have."""
    try:
        ModbusConfig.model_validate({"url": _ANYWHERE, "base": int(counting == "1"), "tags": tags})
    except ValidationError as error:
        for details in error.errors(include_url=False):
            text = str(details.get("ctx", {}).get("error", details["msg"]))
            at = details["loc"][1:2] if details["loc"][:1] == ("tags",) else ()
            name = str(at[0]) if at else text.partition(":")[0]
            text = text.removeprefix(f"{name}: ")
            row = lines.get(name, _Row(1, {}))
            key = str(details["loc"][2]) if len(details["loc"]) > 2 else text.partition(" ")[0]
            table.cell(row, key if key in table.columns else "address", text)


def _yaml(title: str, name: str, tags: Mapping[str, Any], comments: Mapping[str, str], counting: str) -> str:
    """A profile as a person would write it: one line a tag, the map's own words behind it."""
    lines = [
        f"# {title}, made of {name} by `linegate profile import`.  Prove each value on the device, then say so here.",
        "driver: modbus",
        "maker: unknown",
        f"model: {json.dumps(title)}",
        f"manual: {json.dumps(f'the map {name}')}",
        "verified: false",
        "basis: site",
        "settings:",
        *(["  base: 1"] if counting == "1" else []),
        "  tags:",
    ]
    for tag, settings in tags.items():
        inner = ", ".join(f"{key}: {_scalar(value)}" for key, value in settings.items())
        comment = " ".join(comments[tag].split())
        lines.append(f"    {_scalar(tag)}: {{{inner}}}" + (f" # {comment}" if comment else ""))
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    """As YAML; in quotes where some reader of YAML would take it for something else."""
    plain = isinstance(value, str) and _PLAIN.match(value) and value not in _WORDS
    return str(value) if plain else json.dumps(value)
