"""Recipe files, and the hashes that name what was read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import rfc8785
from pydantic import ValidationError

from gateway.config import yaml as config_yaml
from gateway.config.explain import explain
from gateway.config.yaml import Document
from gateway.errors import Problem
from gateway.model import Json
from gateway.recipe import Recipe

_SAFE_INTEGER: Final = 2**53 - 1


def read_recipes(folder: Path) -> tuple[dict[str, Recipe], list[Problem]]:
    """Every `*.yaml` of the folder, by recipe id, and what is wrong with any of them.  No folder: no recipes."""
    recipes: dict[str, Recipe] = {}
    problems: list[Problem] = []
    origin: dict[str, str] = {}
    for path in sorted(folder.glob("*.yaml")):
        recipe, document = read_recipe(path)
        problems += document.problems
        if recipe is None:
            continue
        if recipe.id in recipes:
            problems.append(document.problem(("id",), f"recipe {recipe.id} is also in {origin[recipe.id]}; keep one"))
        recipes.setdefault(recipe.id, recipe)
        origin.setdefault(recipe.id, path.name)
    return recipes, problems


def read_recipe(path: Path) -> tuple[Recipe | None, Document]:
    """One recipe, None where `document.problems` says why."""
    document = config_yaml.read(path)
    if document.problems:
        return None, document
    try:
        recipe = Recipe.model_validate(document.data)
    except ValidationError as error:
        document.problems += explain(error, document, (), Recipe)
        return None, document
    document.problems += _same_steps(recipe, document)
    return recipe, document


def _same_steps(recipe: Recipe, document: Document) -> Iterator[Problem]:
    """A signature names its step: of two of one name, the signature of the one would count for the other."""
    seen: set[str] = set()
    for when in ("before_start", "before_close"):
        for at, step in enumerate(getattr(recipe, when)):
            if step.id in seen:
                text = f"there is a step {step.id} already; a signature must say which one it is of"
                yield document.problem((when, at, "id"), text)
            seen.add(step.id)


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256, hex, of the recipe's canonical JSON: what `id@version#hash` in the records names."""
    return digest(recipe.model_dump(mode="json", by_alias=True))


def digest(document: Json) -> str:
    """SHA-256, hex, of the RFC 8785 form."""
    return hashlib.sha256(rfc8785.dumps(_plain(document))).hexdigest()


def _plain(value: Json) -> Json:
    """JSON that RFC 8785 can write: numbers of our own class as floats, integers beyond 2**53 as text."""
    if isinstance(value, Mapping):
        return {key: _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _SAFE_INTEGER:
        return str(value)
    return float(value) if isinstance(value, float) else value
