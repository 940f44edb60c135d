"""Relative paths in a file are meant from the file's own folder, wherever the gateway was started."""

from __future__ import annotations

import json
import os
import types
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from gateway.model import Json

_ANY: Final = "*"
"""Any key of a mapping, any place of a list."""


def absolute(data: Json, model: type[BaseModel], folder: Path) -> Json:
    """The data with every relative path of the model made absolute.  What has no paths is handed back as it is."""
    for way in path_ways(model):
        data = _changed(data, way, folder)
    return data


def as_written(text: str, folder: Path) -> str:
    """JSON text with the folder taken out again, so that a hash does not depend on where the file lies."""
    prefix = json.dumps(f"{folder}{os.sep}")[1:-1]
    return text.replace(f'"{prefix}', '"')


@cache
def path_ways(model: type[BaseModel]) -> tuple[tuple[str, ...], ...]:
    """The ways below the model at which a path stands."""
    return tuple(dict.fromkeys(_ways(model, (), ())))


def _ways(annotation: Any, way: tuple[str, ...], above: tuple[Any, ...]) -> Iterator[tuple[str, ...]]:
    if annotation is Path:
        yield way
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation not in above:  # a model within itself: said once
            for name, field in annotation.model_fields.items():
                yield from _ways(field.annotation, (*way, field.alias or name), (*above, annotation))
    else:
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        same = origin in {typing.Union, types.UnionType, typing.Annotated}
        for argument in arguments[:1] if origin is typing.Annotated else arguments:
            yield from _ways(argument, way if same else (*way, _ANY), above)


def _changed(data: Json, way: tuple[str, ...], folder: Path) -> Json:
    if not way:
        return str(folder / data) if isinstance(data, str) else data
    step, rest = way[0], way[1:]
    if isinstance(data, list) and step == _ANY:
        return [_changed(child, rest, folder) for child in data]
    if isinstance(data, dict):
        return {key: _changed(child, rest, folder) if step in {_ANY, key} else child for key, child in data.items()}
    return data
