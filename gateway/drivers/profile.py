"""Profiles: the maps of real devices, as YAML inside the package, with the manual they come from.

A profile says for which driver it is, who made the device, which manual (and page) it was taken from and whether it
was proved on the device itself.  Its `settings` lie under what the configuration says: the configuration wins, key by
key, down through nested mappings.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

_FOLDER: Final = Path(__file__).parent / "profiles"


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device's map."""

    driver: str
    """The kind of driver its settings are for."""
    maker: str
    model: str
    manual: str
    """Which document, which page."""
    verified: bool
    """True only where somebody proved it on the device."""
    settings: dict[str, Any]
    """What the driver's configuration would say."""
    notes: str = ""


def names(driver: str | None = None) -> tuple[str, ...]:
    """The names of all profiles, or of those for one driver."""
    found = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))
    return found if driver is None else tuple(name for name in found if _load(name).driver == driver)


def load_profile(name: str, driver: str | None = None) -> Profile:
    """The profile called `name`.  ValueError names the nearest ones there are."""
    if name not in names():
        near = difflib.get_close_matches(name, names(driver), n=3, cutoff=0.4) or names(driver)
        raise ValueError(f"no profile is called {name!r}; nearest: {', '.join(near)}")
    profile = _load(name)
    if driver is not None and profile.driver != driver:
        fitting = ", ".join(names(driver))
        raise ValueError(f"profile {name} is for driver {profile.driver}, not for {driver}; for {driver}: {fitting}")
    return profile


def with_profile(given: Any, driver: str) -> Any:
    """The settings of the profile that `given` names, with `given` laid over them.

    Not a mapping, no profile, or an unknown one: `given` as it is, so that the error stands at its own key.
    """
    if not isinstance(given, Mapping) or not isinstance(given.get("profile"), str):
        return given
    try:
        profile = load_profile(given["profile"], driver)
    except ValueError:
        return given
    return merge(profile.settings, given)


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`; mappings in both are merged, anything else is replaced."""
    both = dict(below)
    for key, value in above.items():
        under = both.get(key)
        both[key] = merge(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return both


@cache
def _load(name: str) -> Profile:
    import yaml  # noqa: PLC0415  # a line without profiles does not need it here

    text = (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), Profile)
