"""JSON Schema of the configuration, for editors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Union

from pydantic import Field, TypeAdapter

from gateway.config.kinds import House, Kinds
from gateway.config.model import GatewayConfig
from gateway.model import Json


def schema(house: House | None = None) -> Json:
    """JSON Schema of the file, for editors: unions discriminated by `driver` and `kind`."""
    kinds = house or House()
    definitions: dict[str, Json] = {}
    properties = {
        "gateway": _part(GatewayConfig, definitions),
        "devices": _named(kinds.drivers, definitions),
        "derived": _derived(definitions),
        "rules": _named(kinds.rules, definitions, _allow_references),
        "sinks": _named(kinds.sinks, definitions),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Linegate: one line",
        "type": "object",
        "properties": properties,
        "required": ["gateway", "devices"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _derived(definitions: dict[str, Json]) -> Json:
    """Virtual devices: tags of any derived kind."""
    from gateway.config.derived import KINDS  # noqa: PLC0415  # only for editors

    models: Any = KINDS.all()
    one = Annotated[Union[models], Field(discriminator="kind")]  # noqa: UP007  # built at run time
    tags = {"type": "object", "minProperties": 1, "additionalProperties": _part(one, definitions)}
    device = {
        "type": "object",
        "properties": {"on": {"type": "string"}, "tags": tags},
        "required": ["tags"],
        "additionalProperties": False,
    }
    return {"type": "object", "additionalProperties": device}


def _named(kinds: Kinds[Any], definitions: dict[str, Json], change: Callable[[Json], None] | None = None) -> Json:
    """A mapping of names to any of the kinds."""
    models = kinds.all()
    if not models:
        return {"type": "object"}
    one = Annotated[Union[models], Field(discriminator=kinds.key)] if len(models) > 1 else models[0]  # noqa: UP007  # built at run time
    part = _part(one, definitions, (model.__name__ for model in models) if change else (), change)
    return {"type": "object", "propertyNames": {"pattern": "^[a-z0-9][a-z0-9_-]*$"}, "additionalProperties": part}


def _part(
    of: Any,
    definitions: dict[str, Json],
    changed: Iterable[str] = (),
    change: Callable[[Json], None] | None = None,
) -> Json:
    part: dict[str, Json] = TypeAdapter(of).json_schema(ref_template="#/$defs/{model}")
    below = part.pop("$defs", {})
    for name in changed:
        if change is not None:
            change(below.get(name, part))
    definitions.update(below)
    return part


def _allow_references(model: Json) -> None:
    """A rule's value may be a reference to the recipe or the batch."""
    reference = {"type": "string", "pattern": r"^(recipe|batch)\."}
    for name, field_schema in model.get("properties", {}).items():
        if name not in {"kind", "halt", "text"}:
            model["properties"][name] = {"anyOf": [field_schema, reference]}
