"""Profiles: the maps of real devices, as YAML inside the package, with the manual they come from.

A profile says for which driver it is, who made the device, which manual (and page) it was taken from and whether it
was proved on the device itself.  Its `settings` lie under what the configuration says: the configuration wins, key by
key, down through nested mappings.  Its `serial` settings lie under the options of a `serial://` URL.

A site has profiles of its own: `profile: my-mixer` is `profiles/my-mixer.yaml` beside the configuration, and
`profile: maps/my-mixer.yaml` is a path from there.  Whoever reads a configuration says where that is: `site`.
"""

from __future__ import annotations

import difflib
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

_FOLDER: Final = Path(__file__).parent
SITE_FOLDER: Final = "profiles"
"""Where a site's own profiles are, beside its configuration."""
_SITE: ContextVar[Path | None] = ContextVar("site of the configuration being read", default=None)

Basis = Literal["manual", "secondary", "unsure", "site"]
"""What a map rests on: the maker's manual, somebody's copy of it, recollection, a person's own list."""


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
    basis: Basis = "manual"
    """What the whole rests on."""
    tag_basis: dict[str, Basis] = {}
    """Tags that rest on something else."""
    traps: list[str] = []
    """What has caught others with this device."""
    serial: dict[str, Any] = {}
    """Factory settings of its serial port: baudrate, bytesize, parity, stopbits, xonxoff, rtscts."""


def names(driver: str | None = None) -> tuple[str, ...]:
    """The names of all shipped profiles, or of those for one driver."""
    found = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))
    return found if driver is None else tuple(name for name in found if _shipped(name).driver == driver)


@contextmanager
def site(folder: Path) -> Iterator[None]:
    """Within: names that are not shipped, and paths, are looked for in this folder."""
    token = _SITE.set(folder)
    try:
        yield
    finally:
        _SITE.reset(token)


def site_names() -> tuple[str, ...]:
    """The names of the site's own profiles."""
    folder = _SITE.get()
    return tuple(sorted(path.stem for path in (folder / SITE_FOLDER).glob("*.yaml"))) if folder else ()


def site_path(name: str) -> Path | None:
    """The site's file that `name` stands for; None for a shipped profile, and for one that is nowhere."""
    folder = _SITE.get()
    if "/" in name or name.endswith((".yaml", ".yml")):
        return (folder or Path()) / name
    path = folder / SITE_FOLDER / f"{name}.yaml" if folder else None
    return path if path is not None and path.is_file() else None


def shipped_path(name: str) -> Path:
    """The file of a shipped profile."""
    return _FOLDER / f"{name}.yaml"


def load_profile(name: str, driver: str | None = None) -> Profile:
    """The profile called `name`.  ValueError names the nearest ones there are, or what is wrong with its file."""
    own = site_path(name)
    if own is not None and name in names():
        raise ValueError(f"{SITE_FOLDER}/{name}.yaml has the name of a shipped profile; give it another")
    if own is not None:
        profile = read_profile(own)
    elif name in names():
        profile = _shipped(name)
    else:
        known = (*names(driver), *site_names())
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
        raise ValueError(f"no profile is called {name!r}; nearest: {', '.join(near)}")
    if driver is not None and profile.driver != driver:
        fitting = ", ".join((*names(driver), *site_names()))
        raise ValueError(f"profile {name} is for driver {profile.driver}, not for {driver}; for {driver}: {fitting}")
    return profile


def read_profile(path: Path) -> Profile:
    """A profile from a file of any folder.  ValueError says which file, where in it, and what is wrong."""
    try:
        status = path.stat()
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}; look for it at {path}") from None
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device may never end
        raise ValueError(f"{path} is not a file; name one with a profile in it")
    return _of_file(path, status.st_mtime_ns, status.st_size)


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
    both = merge(profile.settings, given)
    if isinstance(both.get("url"), str):
        both["url"] = _with_serial(both["url"], profile.serial)
    return both


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`; mappings in both are merged, anything else is replaced."""
    both = dict(below)
    for key, value in above.items():
        under = both.get(key)
        both[key] = merge(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return both


def _with_serial(url: str, serial: Mapping[str, Any]) -> str:
    """The options that a serial URL does not give, from the profile."""
    if not url.startswith("serial://") or not serial:
        return url
    place, _, query = url.partition("?")
    said = {option.partition("=")[0] for option in query.split("&")}
    options = [query] if query else []
    options += [f"{name}={_option(value)}" for name, value in serial.items() if name not in said]
    return f"{place}?{'&'.join(options)}"


def _option(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@cache
def _shipped(name: str) -> Profile:
    return _parsed(shipped_path(name))


@lru_cache(maxsize=64)
def _of_file(path: Path, changed_ns: int, size: int) -> Profile:
    del changed_ns, size  # a file that was changed is another one
    return _parsed(path)


def _parsed(path: Path) -> Profile:
    import yaml  # noqa: PLC0415  # a line without profiles does not need it here

    try:
        return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), Profile)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ValueError(f"{path.name}{place}: {error.problem}") from None
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}; look for it at {path}") from None
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply for a profile") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not YAML in UTF-8: {error}") from None
    except msgspec.ValidationError as error:
        raise ValueError(f"{path.name} is not a profile: {error}") from None
