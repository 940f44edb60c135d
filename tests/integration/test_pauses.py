"""The real gateway, stopped for a while as an overloaded or suspended machine stops it."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from process_kit import running, written
from test_clock_back import ended

STOPPED_S = 1.6


def test_a_gateway_that_was_stopped_says_for_how_long(tmp_path: Path) -> None:
    """One record and one alarm, with the length of the pause; none for the time it ran."""
    with running(written(tmp_path / "line")) as gateway:
        began = time.monotonic()
        gateway.process.send_signal(signal.SIGSTOP)
        time.sleep(STOPPED_S)
        gateway.process.send_signal(signal.SIGCONT)
        alarm = gateway.until("it tells of its pause", lambda: gateway.alarms().get("gateway:stalled"))
        most_s = time.monotonic() - began

        assert (alarm["state"], alarm["priority"]) == ("rtn_unack", "medium")
        assert "the gateway stood still for" in alarm["text"]
        first = next(each for each in ended(gateway) if each["kind"] == "gateway.stalled")
        assert STOPPED_S - 0.2 < int(first["body"]["lasted"]) / 1e9 < most_s
