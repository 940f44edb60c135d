"""A test that failed while this machine was denied its processor is run again when the machine is back, and told so.

Nothing else is ever run twice: on a machine that has its time, a failure is a failure.
"""

from __future__ import annotations

import pytest

from gateway.hil.stall import StallWatch, wait_until_back

RERUNS = 3
BACK_WITHIN_S = 120.0
_WATCH = pytest.StashKey[StallWatch]()


def mark(item: pytest.Item) -> None:
    """Run it again where it failed on a starved machine."""

    def starved(error: BaseException | None) -> bool:
        stall = item.stash[_WATCH].stall
        if error is None or not stall.starved:
            return False
        said = f"{item.nodeid} was not judged: {stall}; it is run again when the machine is back"
        item.config.get_terminal_writer().line(f"\n{said}")
        wait_until_back(BACK_WITHIN_S)
        return True

    item.add_marker(pytest.mark.flaky(reruns=RERUNS, condition=starved))


def begin(item: pytest.Item) -> None:
    """Watch one attempt."""
    end(item)
    item.stash[_WATCH] = StallWatch().start()


def end(item: pytest.Item) -> None:
    if (watch := item.stash.get(_WATCH, None)) is not None:
        watch.close()
