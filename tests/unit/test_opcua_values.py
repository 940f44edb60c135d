"""Notifications become readings."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.drivers.opcua.compose import PackmlState
from gateway.drivers.opcua.packml import MOTIONS, State
from gateway.drivers.opcua.values import BACKLOG, Values
from gateway.drivers.wire.opcua_publish import Structure
from gateway.model import Fault, Quality, TagSpec

SPECS = (TagSpec("count"), TagSpec("uid", kind="text"), TagSpec("ok", kind="bool"), TagSpec("net", kind="decimal"))


def values(**more: object) -> Values:
    return Values(SPECS, lambda code: f"code {code:x}", **more)  # type: ignore[arg-type]


def test_before_the_first_word_all_is_bad() -> None:
    """A tag the device never spoke of has no value and says so."""
    reading = values().reading()
    assert reading.values == (None,) * 4
    assert set(reading.faults) == {0, 1, 2, 3}


def test_a_bad_status_with_the_old_value() -> None:
    """A value that comes with a bad status is none, whatever it looks like; the next good one is."""
    tags = values()
    tags.take([(0, 7, 0, 1)])
    tags.take([(0, 7, 0x80310000, 2)])
    assert tags.ready[-1].values[0] is None
    assert tags.ready[-1].faults[0] == Fault(Quality.BAD, "code 80310000")
    tags.take([(0, 8, 0, 3)])
    assert tags.ready[-1].values[0] == 8
    assert 0 not in tags.ready[-1].faults
    assert tags.ready[0].values[0] == 7, "a reading once made does not change"


def test_uncertain_keeps_its_value() -> None:
    """An uncertain value is shown with its fault."""
    tags = values()
    tags.take([(0, 7, 0x40900000, 1)])
    assert tags.ready[0].values[0] == 7
    assert tags.ready[0].faults[0].quality is Quality.UNCERTAIN


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), "7", None])
def test_what_is_no_number(bad: object) -> None:
    """NaN, infinity, a text and nothing are never numbers."""
    tags = values()
    tags.take([(0, bad, 0, 1)])  # type: ignore[list-item]
    assert tags.ready[0].values[0] is None
    assert tags.ready[0].faults[0].quality is Quality.BAD


def test_kinds() -> None:
    """Each value comes out as its tag's kind."""
    tags = values()
    tags.take([(0, True, 0, 1), (1, 12, 0, 1), (2, 1, 0, 1), (3, 0.1, 0, 1)])
    assert tags.ready[0].values == (1, "12", True, Decimal("0.1"))
    assert type(tags.ready[0].values[0]) is int


def test_together_stays_together() -> None:
    """What one notification brought is one reading."""
    tags = values()
    tags.take([(0, 1, 0, 5), (1, "u1", 0, 4)])
    assert [reading.values[:2] for reading in tags.ready] == [(1, "u1")]


def test_twice_is_two_readings_in_the_order_of_the_device() -> None:
    """Where a tag changed twice, each count is shown with the text that was written before it.

    Servers deliver queue by queue: all counts, then all texts; only the source timestamps know the order.
    """
    tags = values()
    tags.take([(0, 1, 0, 20), (0, 2, 0, 40), (1, "u1", 0, 10), (1, "u2", 0, 30)])
    assert [reading.values[:2] for reading in tags.ready] == [(1, "u1"), (2, "u2")]


def test_a_notification_that_begins_in_the_middle() -> None:
    """Cut between a text and its count, the counts that follow still stand with their own texts."""
    tags = values()
    tags.take([(1, "u1", 0, 10)])
    tags.take([(0, 1, 0, 11), (0, 2, 0, 111), (0, 3, 0, 211), (1, "u2", 0, 110), (1, "u3", 0, 210)])
    assert [reading.values[:2] for reading in tags.ready] == [(None, "u1"), (1, "u1"), (2, "u2"), (3, "u3")]


def test_without_times_the_delivered_order_counts() -> None:
    """A device without time stamps: later values stand in later readings, and the last ones are last."""
    tags = values()
    tags.take([(0, 1, 0, 0), (1, "u1", 0, 0), (0, 2, 0, 0)])
    assert [reading.values[:2] for reading in tags.ready] == [(1, "u1"), (2, "u1")]


def test_a_full_backlog_is_counted() -> None:
    """Nobody polls: the oldest readings go, and are counted."""
    tags = values()
    for count in range(BACKLOG + 3):
        tags.take([(0, count, 0, 1)])
    assert tags.dropped == 3
    assert tags.ready[0].values[0] == 3


def test_source_time() -> None:
    """The device's own time stands with its value; none where it gave none."""
    tags = values()
    tags.take([(0, 1, 0, 1_700_000_000_000_000_000), (1, "a", 0, 0)])
    assert tags.ready[0].source_ns == {0: 1_700_000_000_000_000_000}


def test_composed_state_and_held() -> None:
    """Nine parts make one state number, and the number says whether the machine stands still."""
    still = frozenset(int(state) for state in MOTIONS["hold"].still)
    tags = Values((TagSpec("state"),), str, [PackmlState([0], 7)], (0, still))
    tags.take([(2, "ns=7;i=71", 0, 1), (5, "ns=7;i=75", 0, 1), (8, "ns=7;i=36", 0, 1)])
    assert (tags.ready[-1].values, tags.ready[-1].held) == ((State.EXECUTE,), False)
    tags.take([(8, "ns=7;i=34", 0, 2)])
    assert (tags.ready[-1].values, tags.ready[-1].held) == ((State.HELD,), True)
    tags.take([(8, "ns=3;i=34", 0, 3), (9, "", 0, 3)])
    assert (tags.ready[-1].values, tags.ready[-1].held) == ((None,), None), "a node id of another namespace is no state"


def test_missing_node_is_one_bad_tag() -> None:
    """A node that is not there spoils its own tag only."""
    tags = values()
    tags.take([(0, 1, 0, 1)])
    tags.spoil(1, "BadNodeIdUnknown")
    assert tags.reading().values[0] == 1
    assert tags.reading().faults[1].reason == "BadNodeIdUnknown"


def test_a_sparse_reading_names_what_is_new() -> None:
    """All tags are there as they stand; `changed` names those that this notification brought."""
    tags = Values((*SPECS, TagSpec("state")), str, [PackmlState([4], 7)], sparse=True)
    tags.take([(0, 1, 0, 1), (1, "a", 0, 1)])
    tags.take([(7, "ns=7;i=71", 0, 2)])

    assert [reading.changed for reading in tags.ready] == [{0, 1}, {4}]
    assert tags.ready[-1].values[:2] == (1, "a")
    assert tags.reading().changed is None


def test_the_servers_own_time_is_kept_apart() -> None:
    """Where it was asked for, the server's time stamp stands beside the source's, never in its place."""
    tags = values()
    tags.take([(0, 1, 0, 5), (1, "a", 0, 0)], {0: 7, 1: 8})

    assert dict(tags.ready[-1].source_ns) == {0: 5}
    assert dict(tags.ready[-1].server_ns) == {0: 7, 1: 8}


def test_a_structure_is_no_value() -> None:
    """A structure where a number or a text was expected is a bad tag that names its type."""
    tags = values()
    tags.take([(0, Structure("ns=2;i=88", b""), 0, 1), (1, Structure("ns=2;i=88", b""), 0, 1)])

    assert tags.ready[-1].values[:2] == (None, None)
    assert "ns=2;i=88" in tags.ready[-1].faults[0].reason


def test_on_its_way_to_a_standstill_is_no_leaving() -> None:
    """Stop pressed on a held machine: Stopping says neither held nor running, Stopped stands, Execute runs."""
    seen = Values([TagSpec("state")], str, rest=(0, {11, 2}), passing={7})
    said = []
    for state in (11, 7, 2, 6):
        seen.take([(0, state, 0, 0)])
        said.append(seen.held)
    assert said == [True, None, True, False]
