"""What every driver must do: the suite that third parties use too."""

from __future__ import annotations

from gateway.testing.drivers import (
    ORDER,
    PATIENCE_S,
    DriverSuite,
    HaltPeer,
    HaltSuite,
    Peer,
    beat_is_written,
    fail_inside,
    matches,
    poll_on,
    shown,
    until,
)

__all__ = [
    "ORDER",
    "PATIENCE_S",
    "DriverSuite",
    "HaltPeer",
    "HaltSuite",
    "Peer",
    "beat_is_written",
    "fail_inside",
    "matches",
    "poll_on",
    "shown",
    "until",
]
