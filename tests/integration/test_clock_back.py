"""The real gateway and its real store on a wall clock of its own (libfaketime), set back while it is down."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from process_kit import Process, running, written

from gateway.hil.clock import OwnClock, forget


def ended(gateway: Process) -> list[dict[str, Any]]:
    """Every record, in order, of a gateway that is killed for it: while it runs, the store is its own."""
    gateway.kill()
    forget(gateway.process.pid)
    with closing(sqlite3.connect(gateway.state / "evidence.db")) as db:
        return [json.loads(payload) for (payload,) in db.execute("SELECT payload FROM record ORDER BY idx")]


def test_a_clock_set_back_while_it_was_down_is_told_by_the_store(tmp_path: Path) -> None:
    """The record stands before any other of the start, the alarm until the clock is past the newest record."""
    clock = OwnClock(tmp_path)
    with running(written(tmp_path / "line"), **clock.environment) as gateway:
        before = ended(gateway)
        clock.step(-3600)
        assert gateway.again().alarms()["gateway:clock"]["state"] == "unack"
        clock.set_right()
        gateway.until("the clock is past it", lambda: gateway.alarms()["gateway:clock"]["state"] == "rtn_unack")

        after = ended(gateway)[len(before) :]
        assert (after[0]["kind"], after[0]["body"]["down"]) == ("clock.stepped", True)
        assert -3600 * 10**9 < int(after[0]["body"]["step"]) < -3540 * 10**9
        last = next(each for each in reversed(after) if each["kind"] == "clock.stepped")
        assert ("down" in last["body"], round(int(last["body"]["step"]) / 1e9)) == (False, 3600)
        assert int(last["time"]) > int(before[-1]["time"])
