"""What people write into the columns of a register map: headers, addresses, types, orders, scales, units.  Pure.

Each reader takes one cell and gives what a Modbus tag wants; ValueError says what a right one looks like.
"""

from __future__ import annotations

import re
import unicodedata
from math import isfinite
from typing import Final

from gateway.units import UNITS, code_of

_MOST: Final = 65536
"""The last register, counted from 1."""
_BITS: Final = 16

HEADERS: Final = {
    "name": ("tag", "tagname", "point", "pointname", "label", "signal", "variable", "parameter", "item", "symbol"),
    "address": ("addr", "register", "reg", "registeraddress", "modbusaddress", "registernumber", "offsetaddress"),
    "type": ("datatype", "format", "dtype", "valuetype"),
    "unit": ("units", "uom", "engineeringunit", "engunit", "eu", "measure"),
    "scale": ("factor", "multiplier", "gain", "scaling", "resolution", "scalefactor"),
    "offset": ("bias", "zero", "add"),
    "table": ("area", "space", "functioncode", "fc", "function", "objecttype", "block", "registertype"),
    "order": ("wordorder", "byteorder", "endian", "endianness", "byteswap", "swap"),
    "bit": ("bitnumber", "bitno", "bitposition"),
    "length": ("chars", "characters", "strlen", "size"),
    "text": ("description", "comment", "remark", "remarks", "note", "notes", "meaning", "desc"),
}
"""What a column means -> other words for it, without spaces, dots and underscores."""

TABLES: Final = {
    "holding": ("holding", "hr", "3", "03", "4x", "4", "holdingregister", "holdingregisters", "fc3", "fc03"),
    "input": ("input", "ir", "04", "3x", "inputregister", "inputregisters", "fc4", "fc04", "analoginput"),
    "coil": ("coil", "coils", "1", "01", "0x", "fc1", "fc01", "do", "digitaloutput", "outputcoil"),
    "discrete": ("discrete", "discreteinput", "discreteinputs", "2", "02", "1x", "fc2", "fc02", "di", "inputstatus"),
}
TYPES: Final = {
    "u16": ("u16", "uint16", "uint", "word", "unsigned", "ushort", "unsigned16", "unsignedint16", "enum", "bitfield"),
    "i16": ("i16", "int16", "s16", "short", "int", "integer", "signed", "signed16", "sint16"),
    "u32": ("u32", "uint32", "dword", "udint", "ulong", "unsigned32", "unsignedint32", "longinteger"),
    "i32": ("i32", "int32", "s32", "dint", "long", "signed32", "longint"),
    "u64": ("u64", "uint64", "lword", "ulint", "qword"),
    "i64": ("i64", "int64", "s64", "lint"),
    "f32": ("f32", "float32", "float", "real", "single", "ieee754", "float4", "fp32", "4bytefloat"),
    "f64": ("f64", "float64", "double", "lreal", "fp64"),
    "bool": ("bool", "boolean", "bit", "binary"),
    "ascii": ("ascii", "string", "text", "char", "str"),
}
ORDERS: Final = {
    ("big", "big"): ("abcd", "big", "bigendian", "msw", "highwordfirst", "be", "hilo", "highlow", "1234", "no"),
    ("little", "big"): ("cdab", "wordswap", "wordswapped", "swapped", "lowwordfirst", "lohi", "lowhigh", "3412", "yes"),
    ("big", "little"): ("badc", "byteswap", "byteswapped", "2143"),
    ("little", "little"): ("dcba", "little", "littleendian", "le", "4321"),
}
"""(word order, byte order) -> words for it."""
_MODICON: Final = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}


def bare(text: str) -> str:
    """Lower case, without what stands between words and in brackets."""
    return re.sub(r"[\s._\-/°]+", "", re.sub(r"[(\[{].*?[)\]}]", "", text.strip().lower()))


def only_our_digits(text: str) -> None:
    """ValueError where a cell has digits of another script, or raised ones: nobody here can tell what they were."""
    for character in text:
        if character.isdigit() and not character.isascii():
            name = unicodedata.name(character, "a digit of another script").lower()
            raise ValueError(f"{text!r} has {character!r} ({name}); write numbers with the digits 0 to 9")


def header(text: str) -> str | None:
    """What a column is for; None where it is not known."""
    plain = bare(text)
    for meaning, words in HEADERS.items():
        if plain == meaning or plain in words:
            return meaning
    return None


def counts_from_one(text: str) -> bool:
    """Does the header itself say that addresses count from 1?"""
    return re.search(r"1[- ]?based|base[- ]?1|from 1|one[- ]based", text.lower()) is not None


def modicon(text: str) -> tuple[str, int] | None:
    """`40361`, `4x0361`, `4:361`, `400361` -> (holding, 360); None where it is not written that way (0x is hex)."""
    match = re.fullmatch(r"([0134])(?:(?:(?<=[134])[xX]|:)(\d{1,5})|(\d{4,5}))", text.strip())
    if match is None:
        return None
    number = int(match[2] or match[3])
    return (_MODICON[match[1]], number - 1) if 1 <= number <= _MOST else None


def plain_address(text: str) -> tuple[int, int | None]:
    """`360`, `0x168`, `168h`, `40.3` -> (address, bit)."""
    text = text.strip()
    match = re.fullmatch(r"(\d+)\.(\d{1,2})", text)
    if match is not None and int(match[2]) < _BITS:
        return int(match[1]), int(match[2])
    for pattern, base in ((r"(\d+)", 10), (r"0[xX]([0-9a-fA-F]+)", 16), (r"([0-9a-fA-F]+)[hH]", 16)):
        match = re.fullmatch(pattern, text)
        if match is not None:
            address = int(match[1], base)
            if address <= _MOST:
                return address, None
    raise ValueError(f"{text!r} is not an address; write 360, 0x168, 168h, 40361 or 4x0361")


def table(text: str) -> str:
    """`Holding Register`, `3`, `FC04`, `4x` -> holding, input, coil, discrete.  A bare digit is a function code."""
    return _looked_up(bare(text), TABLES, text, "a table", "holding, input, coil or discrete")


def kind(text: str) -> tuple[str, int, tuple[str, str] | None]:
    """`Float (CDAB)`, `string[16]` -> (type, characters, orders)."""
    inner = re.search(r"[(\[{]\s*(\w+)\s*[)\]}]", text)
    said = re.sub(r"\b(swapped|inverse|inverted)\b", "", text, flags=re.IGNORECASE)
    orders = ("little", "big") if said != text else None
    number = re.search(r"(\d+)", inner[1]) if inner else None
    plain = bare(said)
    found = _looked_up(re.sub(r"\d+$", "", plain) if plain.startswith("string") else plain, TYPES, text, "a type", "")
    if inner and not number:
        orders = order(inner[1])
    tail = re.search(r"(\d+)$", plain) if plain.startswith("string") else None
    length = int((number or tail)[1]) if found == "ascii" and (number or tail) else 0  # type: ignore[index]  # one is
    return found, length, orders


def order(text: str, head: str = "") -> tuple[str, str]:
    """`CDAB`, `word swap` -> (word order, byte order); under the header `word order`, `little` is the words' alone."""
    plain = bare(text)
    if bare(head) == "wordorder" and plain in {"little", "littleendian", "le"}:
        return "little", "big"
    for orders, words in ORDERS.items():
        if plain in words:
            return orders
    raise ValueError(f"{text!r} is not an order; write ABCD, CDAB, BADC or DCBA")


def number(text: str) -> float:
    """`0.1`, `0,1`, `/10`, `1/10`, `10^-1` -> the factor."""
    plain = text.strip().lower().replace(" ", "")
    if "_" in plain:
        raise ValueError(f"{text!r} is not a number; write it without underscores")
    if re.fullmatch(r"[x*\u00d7]\d+", plain):
        raise ValueError(f"{text!r} may mean that the device multiplied or that you should; write 0.1 or 10")
    if re.fullmatch(r"-?[1-9]\d{0,2},\d{3}", plain):
        raise ValueError(f"{text!r} may be a thousand or a one with decimals; write it with a point, or without")
    plain = plain.replace(",", ".")
    match = re.fullmatch(r"(?:1?/|\u00f7)(\d+(?:\.\d+)?)", plain)
    if match is not None and float(match[1]):
        return 1 / float(match[1])
    match = re.fullmatch(r"10\^(-?\d{1,2})", plain)
    if match is not None:
        return float(f"1e{match[1]}")
    try:
        value = float(plain)
    except ValueError:
        raise ValueError(f"{text!r} is not a number; write 0.1, /10 or 10^-1") from None
    if not isfinite(value):
        raise ValueError(f"{text!r} is not a number that anything can be multiplied with")
    return value


def unit(text: str) -> str | None:
    """The UCUM code; None for a unit that is not known here."""
    plain = text.strip()
    if plain in {"", "-", "--", "n/a", "none"}:
        return "1"
    return plain if plain in UNITS else code_of(plain)


def tag_name(text: str) -> str:
    """`Oil temp. (zone 1)` -> oil_temp_zone_1."""
    name = re.sub(r"[^a-z0-9]+", "_", text.strip().lower()).strip("_")
    if not name:
        raise ValueError(f"{text!r} has no letter or digit to make a tag's name of")
    return name if name[0].isalpha() else f"t{name}"


def _looked_up(plain: str, known: dict[str, tuple[str, ...]], text: str, what: str, instead: str) -> str:
    for meaning, words in known.items():
        if plain in words:
            return meaning
    raise ValueError(f"{text!r} is not {what}; write {instead or ', '.join(known)}")
