"""Completeness: what a reviewer must look at, from the records alone.  Pure."""

from __future__ import annotations

import msgspec

from gateway.model import Json


class Finding(msgspec.Struct, frozen=True):
    """Something missing, late or out of bounds."""

    kind: str
    """`check.missed`, `step.unsigned`, `device.gap` ..."""
    text: str
    """One sentence, with the numbers."""
    indexes: tuple[int, ...] = ()
    """Of the records it rests on."""

    @property
    def id(self) -> str:
        """Stable for the same records: `check.missed:142`; the kind and its subject where no record stands for it."""
        return f"{self.kind}:{self.indexes[0]}" if self.indexes else f"{self.kind}:{self.text}"

    def to_json(self) -> dict[str, Json]:
        return {"id": self.id, "kind": self.kind, "text": self.text, "indexes": [str(one) for one in self.indexes]}
