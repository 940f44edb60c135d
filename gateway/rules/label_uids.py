"""UIDs on labels: 24 characters; one for the package, or one for each unit, and then none twice.

uids: {tag: labeller/uid, per: unit, first: batch.uid_first, last: batch.uid_last}
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

    @model_validator(mode="after")
    def _range(self) -> UidConfig:
        if (self.first is None) != (self.last is None):
            raise ValueError("a range has a first and a last UID")
        if self.first is not None and self.per == "package":
            raise ValueError("a package has one UID, not a range")
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
        self._package = ""

    def look(self, uid: str) -> str:
        """What is wrong with the UID of this label, which was not seen before; empty where nothing is."""
        form = wrong(uid)
        if form:
            return form
        if self._config.per == "package":
            first, self._package = self._package or uid, self._package or uid
            return "" if uid == first else f"is another than that of the labels before, {first!r}"
        outside = self._outside(uid)
        if not self._seen.add(uid):
            return "was seen on another label of this batch: a UID is used once"
        return outside

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
        self._seen, self._package = Seen(state[0], state[1]), state[2]
