"""The two homes of latches, the ledger's rows and the latch file, held against each other.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.model import Json

LATCHES: Final = "latches"


class Difference(msgspec.Struct, frozen=True):
    """What only one of them knows."""

    gone: bool
    """There is no file at all."""
    only_ledger: tuple[str, ...]
    only_file: tuple[str, ...]
    text: str

    def body(self) -> dict[str, Json]:
        """Of the record."""
        both = {"only_ledger": list(self.only_ledger), "only_file": list(self.only_file)}
        return {"store": LATCHES, "text": self.text, "gone": self.gone, **both}


def difference(
    rows: Mapping[str, Json], file: Mapping[str, Json] | None, released: Mapping[str, int]
) -> Difference | None:
    """By the names of latches.  `file`: None where it is gone.  `released`: at what version the ledger let it go."""
    known = file or {}
    lacking, more = sorted(rows.keys() - known.keys()), sorted(known.keys() - rows.keys())
    if file is not None and not lacking and not more:
        return None
    texts = ["the latch file is gone" if file is None else "the latch file and the ledger differ"]
    texts += [f"only the ledger knows {', '.join(lacking)}"] if lacking else []
    texts += [f"only the file knows {', '.join(_past(name, released) for name in more)}"] if more else []
    texts.append("all of them hold" if lacking or more else "the ledger knows of no latch")
    text = f"{'; '.join(texts)}. Was a file taken, or put back? A kill in the same moment does that, too"
    return Difference(file is None, tuple(lacking), tuple(more), text)


def _past(name: str, released: Mapping[str, int]) -> str:
    return f"{name} (released at version {released[name]}, by the ledger)" if name in released else name
