"""What sinks and the MES behind them say of our records: on the board, and as alarms."""

from __future__ import annotations

from collections.abc import Callable

from gateway.board import Board
from gateway.line.alarms import Alarms
from gateway.model import Priority, Watermark


class Consumers:
    """Hears of each sink's records: acknowledged, late, unknown to us, never to be taken."""

    def __init__(self, board: Board, alarms: Alarms, commit: Callable[[], None]) -> None:
        self._board = board
        self._alarms = alarms
        self._commit = commit

    def acknowledged(self, sink: str, mark: Watermark) -> None:
        """The MES's own word.  Whichever run missed it: it is late no longer."""
        self._board.set("mes", {"committed_upto": mark.committed_upto, "root": mark.root})
        self.late(sink, 0)

    def late(self, sink: str, waiting: int) -> None:
        """The MES is connected and does not say that it committed: an alarm; 0 waiting clears it."""
        text = f"{sink} has not acknowledged {waiting} record(s)" if waiting else ""
        self._alarms.stand(f"late-ack:{sink}", text, subject=sink, priority=Priority.MEDIUM)
        self._commit()

    def ahead(self, sink: str, index: int) -> None:
        """The consumer has records of this ledger that the ledger does not: the only outside witness of a rollback."""
        text = f"{sink} holds record {index} of this ledger, which the ledger itself does not: records were lost here"
        self._alarms.tell(f"ahead:{sink}", text)
        self._commit()

    def rejected(self, sink: str, items: int, reason: str) -> None:
        """A sink will never take these; told once a reason."""
        text = f"{sink} will never take {items} item(s): {reason}; they stay in the store"
        self._alarms.tell(f"rejected:{sink}", text)
        self._commit()
