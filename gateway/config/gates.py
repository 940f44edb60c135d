"""What `linegate check` says of gates: setpoints that no machine shows, the register, recipes that guard nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal

from gateway import units
from gateway.batch.instruments import Instrument
from gateway.config.explain import hint
from gateway.config.model import Settings
from gateway.config.recipes import read_recipe
from gateway.config.yaml import Document
from gateway.errors import Problem
from gateway.instruments import read_register
from gateway.model import TagSpec
from gateway.recipe import COVERED_BY, Recipe, Setpoint


def gates(settings: Settings, recipes: Mapping[str, Recipe]) -> Iterator[Problem]:
    """Of the register and of every recipe, each at its own line."""
    entries: Mapping[str, Instrument] = {}
    path = settings.gateway.instruments
    if path is not None:
        register, document = read_register(path)
        yield from document.problems
        entries = register.instruments if register else {}
        yield from _register(settings, entries, document)
    if any(recipe.setpoints or "label" in recipe.asked() or recipe.gates for recipe in recipes.values()):
        for file in sorted(settings.gateway.recipes.glob("*.yaml")):
            recipe, document = read_recipe(file)
            if recipe is not None:
                yield from _recipe(settings, recipe, document, entries)


def _register(settings: Settings, entries: Mapping[str, Instrument], document: Document) -> Iterator[Problem]:
    for name, entry in entries.items():
        where = ("instruments", name)
        if entry.device is not None and entry.device not in settings.tagsets:
            text = f"there is no device {entry.device!r}{hint(entry.device, settings.tagsets)}"
            yield document.problem((*where, "device"), text)
        elif entry.reading is not None:
            spec = _spec(settings, entry.reading)
            if spec is None:
                yield document.problem((*where, "reading"), f"there is no tag {entry.reading!r}")
            elif entry.check is not None:
                yield from _converts(document, (*where, "reading"), entry.reading, spec, entry.check.unit)


def _recipe(
    settings: Settings, recipe: Recipe, document: Document, entries: Mapping[str, Instrument]
) -> Iterator[Problem]:
    for tag, wanted in recipe.setpoints.items():
        yield from _setpoint(settings, tag, wanted, document)
    yield from _approvers(recipe, document)
    rule = (recipe.gates or {}).get("instruments")
    if rule is None:
        return
    where = ("gates", "instruments")
    if settings.gateway.instruments is None:
        text = "the line has no register: give it one in `gateway.instruments`"
        yield document.problem(where, text, key=True)
    known = {*entries, *(entry.kind for entry in entries.values())}
    for need in rule.needs:
        if entries and need not in known:
            yield document.problem(where, f"the register has no {need!r}{hint(need, known)}", key=True)


def _approvers(recipe: Recipe, document: Document) -> Iterator[Problem]:
    """The gate `label` wants two people: a recipe that asks for one signature could never open it."""
    if "label" not in recipe.asked():
        return
    steps = [(at, step) for at, step in enumerate(recipe.before_start) if COVERED_BY["label"] in step.covers]
    if sum(1 + (step.second_role is not None) for _, step in steps) < 2:
        text = "the first label is approved by two people: give this step a second_role"
        yield document.problem(("before_start", steps[0][0], "id"), text)


def _setpoint(settings: Settings, tag: str, wanted: Setpoint, document: Document) -> Iterator[Problem]:
    where = ("setpoints", tag)
    spec = _spec(settings, tag)
    if spec is None:
        device, _, name = tag.partition("/")
        if device in settings.tagsets:
            text = f"device {device} has no tag {name!r}{hint(name, settings.tagsets[device].tags)}"
        else:
            text = f"there is no device {device!r}{hint(device, settings.tagsets)}"
        yield document.problem(where, text, key=True)
    elif isinstance(wanted.wanted, Decimal):
        yield from _converts(document, where, tag, spec, wanted.unit)
    elif spec.kind != ("bool" if isinstance(wanted.wanted, bool) else "text"):
        yield document.problem(where, f"{tag} is {spec.kind}; {wanted.wanted!r} is not", key=True)


def _converts(document: Document, where: tuple[str, ...], tag: str, spec: TagSpec, unit: str) -> Iterator[Problem]:
    if spec.kind not in ("number", "decimal"):
        yield document.problem(where, f"{tag} is {spec.kind}; a number is needed", key=True)
        return
    try:
        units.linear(spec.unit, unit)
    except ValueError as error:
        problem = document.problem(where, "", key=True)
        yield replace(problem, message=f"{tag} is in {spec.unit}, here it is meant in {unit}: {error}")


def _spec(settings: Settings, name: str) -> TagSpec | None:
    device, _, tag = name.partition("/")
    tagset = settings.tagsets.get(device)
    return tagset.specs[tagset.index[tag]] if tagset is not None and tag in tagset.index else None
