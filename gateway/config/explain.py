"""What pydantic found, as problems an engineer can act on: where, what, and the nearest known word."""

from __future__ import annotations

import difflib
import itertools
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.config.yaml import Document, Where
from gateway.errors import Problem
from gateway.model import Json

_KEYS_SHOWN: Final = 12
_TELLING: Final = 3
"""Letters of a word that is part of another: `thc` of `thc_percent`."""


def hint(word: object, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known word; else the known words where they are few; else nothing."""
    words = sorted(set(known))
    by_lower = {known_word.lower(): known_word for known_word in words}
    given = str(word).lower()
    close = difflib.get_close_matches(given, by_lower, n=1, cutoff=0.6)
    if not close and len(given) >= _TELLING:
        close = [known_word for known_word in by_lower if given in known_word or known_word in given][:1]
    if close:
        return f"; did you mean {by_lower[close[0]]!r}?"
    if words and len(words) <= _KEYS_SHOWN:
        return f"; known: {', '.join(words)}"
    return ""


def explain(
    error: ValidationError,
    document: Document,
    prefix: Where,
    model: type[BaseModel],
    *,
    skip: Sequence[Where] = (),
    beneath: tuple[Document, Where] | None = None,
) -> list[Problem]:
    """Problems of one model that was validated from the document's data at `prefix`.

    `skip`: ways whose values are not known yet; nothing is said of them, but of keys that are unknown.
    `beneath`: the document and way of what lies under this one; what is wrong there is said there.
    """
    found: dict[tuple[Document, Where, bool], list[str]] = {}
    for details in error.errors(include_url=False):
        source, where = document, _locate(details, document, prefix)
        if beneath is not None:
            under = _locate(details, *beneath)
            if len(under) - len(beneath[1]) > len(where) - len(prefix):
                source, where = beneath[0], under
        if details["type"] != "extra_forbidden" and any(where[: len(way)] == way for way in skip):
            continue
        missing = details["type"] == "missing"
        place = (source, (*where, details["loc"][-1]) if missing else where)
        message = _message(details, model)
        messages = found.setdefault((*place, missing or details["type"] == "extra_forbidden"), [])
        if message not in messages:
            messages.append(message)
    return [
        source.problem(where, " or ".join(messages), key=at_key) for (source, where, at_key), messages in found.items()
    ]


def _locate(details: ErrorDetails, document: Document, prefix: Where) -> Where:
    """The way to what is wrong; pydantic also names union branches and aliases, which are in no file."""
    where, value = prefix, document.get(prefix)
    for step in details["loc"]:
        if _has(value, step):
            value = value[step]
            where = (*where, step)
    return where


def _has(value: Json, step: str | int) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(value)


def _message(details: ErrorDetails, model: type[BaseModel]) -> str:  # noqa: PLR0911  # a table, read as one
    context: dict[str, Any] = details.get("ctx", {})
    value = details["input"]
    match details["type"]:
        case "missing":
            return "is missing" + _described(model, details["loc"])
        case "extra_forbidden":
            return "unknown key" + hint(details["loc"][-1], keys_at(model, details["loc"][:-1]))
        case "value_error" | "assertion_error":
            return str(context.get("error", details["msg"]))
        case "literal_error" | "enum":
            expected = str(context.get("expected", ""))
            return f"{value!r} is not one of {expected}{_suggest(value, expected)}"
        case "union_tag_invalid":
            expected = str(context.get("expected_tags", ""))
            return f"{context.get('tag')!r} is not one of {expected}{_suggest(context.get('tag'), expected)}"
        case "string_type" if isinstance(value, int | float):
            return f"should be text; write it in quotes: {str(value)!r}"
        case _:
            text = details["msg"].replace("Input should be", "should be")
            return f"{text[:1].lower()}{text[1:]}{_shown(value)}"


def _described(model: type[BaseModel], loc: tuple[str | int, ...]) -> str:
    """The key's own description, where its model gives one."""
    for parent in _walk([model], loc[:-1]):
        for name, field in parent.model_fields.items():
            if loc[-1] in {name, field.alias} and field.description:
                return f": {field.description}"
    return ""


def _suggest(value: object, expected: str) -> str:
    words = [word for word in expected.replace(" or ", ",").replace("'", "").split(",") if word.strip()]
    text = hint(value, (word.strip() for word in words))
    return text if "did you mean" in text else ""


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return f", not a {'mapping' if isinstance(value, dict) else 'list'}"
    return ", not nothing" if value is None else f", not {value!r}"


def keys_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> set[str]:
    """The keys a mapping at `loc` below the model may have, as YAML writes them."""
    return {field.alias or name for parent in _walk([model], loc) for name, field in parent.model_fields.items()}


def _walk(annotations: Sequence[Any], loc: tuple[str | int, ...]) -> Iterator[type[BaseModel]]:
    """The models that may stand at `loc`."""
    current = list(annotations)
    for step in loc:
        below = list(itertools.chain.from_iterable(_below(annotation, step) for annotation in _flat(current)))
        current = below or current  # a union's branch name: not a step of the file
    for annotation in _flat(current):
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation


def _below(annotation: Any, step: str | int) -> Iterator[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if step in {name, field.alias}:
                yield field.annotation
        return
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if isinstance(origin, type) and arguments:
        if issubclass(origin, dict) and isinstance(step, str):
            yield arguments[1]
        elif issubclass(origin, tuple | list) and isinstance(step, int):
            yield arguments[0]


def _flat(annotations: Iterable[Any]) -> Iterator[Any]:
    """Unions and Annotated opened."""
    for annotation in annotations:
        origin = typing.get_origin(annotation)
        if origin in {typing.Union, types.UnionType}:
            yield from _flat(typing.get_args(annotation))
        elif origin is typing.Annotated:
            yield from _flat(typing.get_args(annotation)[:1])
        else:
            yield annotation
