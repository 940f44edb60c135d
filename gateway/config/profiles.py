"""A site's own profiles, as documents: what is wrong in one of them is said with its file, line and column."""

from __future__ import annotations

from pathlib import Path

from gateway.config import yaml as config_yaml
from gateway.config.yaml import Document, Where
from gateway.drivers.profiles.profile import site_path
from gateway.errors import Problem
from gateway.model import Json


class SiteProfiles:
    """The profiles that one configuration names and that are not shipped.  Asked within `profile.site`."""

    def __init__(self) -> None:
        self._documents: dict[Path, Document] = {}

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with the YAML of any of them: a key written twice, a tab."""
        return [problem for document in self._documents.values() for problem in document.problems]

    def look_at(self, name: Json) -> Document | None:
        """The document of the profile that a device names; None where it is shipped, or nowhere."""
        path = site_path(name) if isinstance(name, str) and name else None
        if path is None or not path.is_file():
            return None
        if path not in self._documents:
            self._documents[path] = config_yaml.read(path)
        return self._documents[path]

    def beneath(self, name: Json) -> tuple[Document, Where] | None:
        """Where the settings stand that lie under the device's own."""
        document = self.look_at(name)
        return None if document is None else (document, ("settings",))
