"""UIDs on labels: 24 characters; one for the package, or one for each unit, and then none twice.

uids: {tag: labeller/uid, per: unit, first: batch.uid_first, last: batch.uid_last}
uids: {tag: labeller/uid, per: package, package: batch.uid}
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from gateway.model import Json
from gateway.recipe import Frozen
from gateway.uids import Seen, serial, wrong


class UidConfig(Frozen):
    """What the UID of a label must be."""

    tag: str
    per: Literal["unit", "package"] = "package"
    """unit: each label has one of its own, and one that was seen is never seen again."""
    first: str | None = None
    last: str | None = None
    """The range that was issued for the batch, where it is known."""
    package: str | None = None
    """The UID that all labels of a package must say; without it, the first one seen is the one."""

    @model_validator(mode="after")
    def _range(self) -> UidConfig:
        if (self.first is None) != (self.last is None):
            raise ValueError("a range has a first and a last UID")
        if self.first is not None and self.per == "package":
            raise ValueError("a package has one UID, not a range")
        if self.package is not None and self.per == "unit":
            raise ValueError("units have UIDs of their own; `package` is for labels that all say the same")
        if self.package is not None and wrong(self.package):
            raise ValueError(f"{self.package!r} {wrong(self.package)}")
        for end in (self.first, self.last):
            if end is not None and serial(end) is None:
                raise ValueError(
                    f"{end!r} {wrong(end) or 'does not end in a number'}; a range cannot begin or end there"
                )
        return self


class Uids:
    """The UIDs of one batch as they go by."""

    def __init__(self, config: UidConfig) -> None:
        self._config = config
        self._seen = Seen()
        self._package = config.package or ""

    def look(self, uid: str) -> str:
        """What is wrong with the UID of this label, which was not seen before; empty where nothing is."""
        found = self.proof(uid)
        if wrong(uid):
            return found
        if self._config.per == "package":
            self._package = self._package or uid
            return found
        if not self._seen.add(uid):
            return "was seen on another label of this batch: a UID is used once"
        return found

    def proof(self, uid: str) -> str:
        """The same of a label that nobody counts: it may be looked at as often as people like."""
        form = wrong(uid)
        if form:
            return form
        if self._config.per == "unit":
            return self._outside(uid)
        if uid == (self._package or uid):
            return ""
        if self._config.package is not None:
            return f"is not the UID of this package, {self._package!r}"
        return f"is another than that of the labels before, {self._package!r}"

    @property
    def expected(self) -> str:
        """What a UID must be, as people read it."""
        config = self._config
        if config.first is not None:
            return f"of {config.first} to {config.last}"
        return repr(self._package) if self._package else "a UID of 24 characters"

    def _outside(self, uid: str) -> str:
        config = self._config
        if config.first is None or config.last is None:
            return ""
        first, last, this = serial(config.first), serial(config.last), serial(uid)
        assert first is not None
        assert last is not None
        if this is not None and this[0] == first[0] and first[1] <= this[1] <= last[1]:
            return ""
        return f"is not of those issued for this batch, {config.first} to {config.last}"

    def dump(self) -> Json:
        return [*self._seen.dump(), self._package]

    def load(self, state: Json) -> None:
        self._seen, self._package = Seen(state[0], state[1]), self._config.package or state[2]
