"""Secrets by reference: `${file:/run/credentials/mqtt}` or `${env:NAME}` as a whole value, never in the file itself.

Refused: blank and well-known values, files that everybody may read, secrets written out in the YAML.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from gateway.config.yaml import Document, Where
from gateway.model import Json

_REFERENCE: Final = re.compile(r"^\$\{(file|env):([^}]*)\}$")
_SECRET_KEY: Final = re.compile(r"(^|_)(password|passphrase|secret|token)$")
_URL_SECRET: Final = re.compile(r"^[a-z][a-z0-9+.-]*://[^/@\s:]*:[^/@\s]+@")
_WELL_KNOWN: Final = frozenset(
    (
        *("admin", "administrator", "password", "passw0rd", "changeme", "change-me", "change_me", "secret", "token"),
        *("default", "test", "demo", "guest", "root", "public", "linegate", "influxdb", "mosquitto", "mqtt", "grafana"),
        *("123456", "12345678", "123456789", "letmein", "qwerty"),
    )
)
_TELLING: Final = 6
"""Shorter values under an ordinary key (a port, a host) are too common in other texts to be hidden there."""


class Secrets:
    """The secrets of one document: put in where they are referred to, and taken out of all that is shown or hashed."""

    def __init__(self, folder: Path, environ: Mapping[str, str] = os.environ) -> None:
        self._folder = folder
        self._environ = environ
        self._references: dict[str, str] = {}

    def resolve(self, document: Document) -> None:
        """Replace references in the document's data; what cannot be is a problem of the document."""
        for where, value in list(_suspects(document.data, ())):
            self._one(document, where, value)

    def hide(self, value: Json) -> Json:
        """The same JSON with each secret replaced by its reference."""
        if isinstance(value, dict):
            return {key: self.hide(child) for key, child in value.items()}
        if isinstance(value, list):
            return [self.hide(child) for child in value]
        return self.scrub(value) if isinstance(value, str) else value

    def scrub(self, text: str, *, escaped: bool = False) -> str:
        """`escaped`: the text is JSON."""
        for secret, reference in self._references.items():
            text = text.replace(json.dumps(secret, ensure_ascii=False)[1:-1] if escaped else secret, reference)
        return text

    def _one(self, document: Document, where: Where, value: str) -> None:
        secret_key = _SECRET_KEY.search(str(where[-1])) is not None
        match = _REFERENCE.match(value)
        try:
            if match:
                secret = self._read(match[1], match[2])
                _judge(secret, strict=secret_key)
                if secret_key or len(secret) >= _TELLING:
                    self._references[secret] = value
                _put(document.data, where, secret)
            elif secret_key or _URL_SECRET.match(value):
                raise ValueError("a secret is never written here; refer to it: ${file:/path} or ${env:NAME}")
        except ValueError as error:
            document.problems.append(document.problem(where, str(error)))
            _put(document.data, where, "unknown-secret")

    def _read(self, kind: str, name: str) -> str:
        if kind == "env":
            if name not in self._environ:
                raise ValueError(f"the environment has no {name}; set it, or refer to a file")
            return self._environ[name]
        path = self._folder / name
        try:
            mode = path.stat().st_mode
            if mode & stat.S_IROTH:
                raise ValueError(f"everybody may read {name}; chmod o-rwx it, and change the secret")
            return path.read_text().removesuffix("\n")
        except OSError as error:
            raise ValueError(f"{name} cannot be read: {error.strerror}") from None


def _suspects(data: Json, where: Where) -> Iterator[tuple[Where, str]]:
    """Text that refers to a secret, or may be one; ways are made only for these, as files may hold 100,000 values."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for step, value in entries:
        if isinstance(value, dict | list):
            yield from _suspects(value, (*where, step))
        elif isinstance(value, str) and ("${" in value or "://" in value or _SECRET_KEY.search(str(step))):
            yield (*where, step), value


def _judge(secret: str, *, strict: bool) -> None:
    if not secret.strip():
        raise ValueError("the secret is blank")
    if strict and secret.strip().lower() in _WELL_KNOWN:
        raise ValueError("the secret is a default that everybody knows; choose another")


def _put(data: Json, where: Where, value: str) -> None:
    for step in where[:-1]:
        data = data[step]
    data[where[-1]] = value
