"""Tray genealogy: every unit lies in one tray, whatever order the machine's notifications come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.batch import trays
from gateway.batch.trays import Trays
from gateway.counting import SKEW


def spans(found: Trays) -> list[tuple[str, int, int]]:
    return [(tray.id, tray.first_unit, tray.last_unit) for tray in found]


def follow(*scans: tuple[str | None, int, int | None], size: int = 100) -> Trays:
    found: Trays = ()
    for name, units, position in scans:
        found, _ = trays.follow(found, name, units, position, size)
    return found


def test_full_trays_follow_each_other() -> None:
    """A tray ends where the next begins, at the unit the machine's position says."""
    found = follow(("A", 0, 0), ("A", 60, 60), ("A", 100, 100), ("B", 101, 1), ("B", 140, 40))

    assert spans(found) == [("A", 1, 100), ("B", 101, 140)]
    assert [tray.closed for tray in found] == [True, False]


def test_a_count_ahead_of_the_trays_name_does_not_move_the_boundary() -> None:
    """Unit 102 seen under the old tray's name still belongs to the full tray's successor."""
    found = follow(("A", 99, 99), ("A", 102, 100), ("B", 102, 100), ("B", 103, 3))

    assert spans(found) == [("A", 1, 100), ("B", 101, 103)]


def test_a_name_ahead_of_the_count_does_not_move_the_boundary() -> None:
    """The new tray's name may come while the count still stands at the last one but one."""
    found = follow(("A", 98, 98), ("B", 99, 1), ("B", 101, 1))

    assert spans(found) == [("A", 1, 100), ("B", 101, 101)]


def test_a_tray_taken_early_is_short() -> None:
    """An operator may take a tray at 37 units: the next begins at 38."""
    found = follow(("A", 37, 37), ("B", 38, 1), ("B", 137, 100), ("C", 138, 1))

    assert spans(found) == [("A", 1, 37), ("B", 38, 137), ("C", 138, 138)]


def test_without_a_position_the_last_sight_decides() -> None:
    """A machine that gives no position: a short tray ends at the last unit seen in it."""
    found = follow(("A", 37, None), ("B", 39, None))

    assert spans(found) == [("A", 1, 37), ("B", 38, 39)]


def test_trays_not_seen_are_named_as_such() -> None:
    """A link that was away for two trays leaves a marked hole, never a wrong name."""
    found = follow(("A", 50, 50), ("D", 350, 50))

    assert spans(found) == [("A", 1, 100), ("unseen-101-300", 101, 300), ("D", 301, 350)]
    assert [tray.seen for tray in found] == [True, False, True]
    assert spans(follow(("A", 50, None), ("D", 350, None))) == spans(found)


def test_an_unknown_tray_keeps_the_last_one() -> None:
    """A bad tray value is no new tray."""
    assert spans(follow(("A", 10, 10), (None, 12, None), ("", 14, None), ("A", 20, 20))) == [("A", 1, 20)]


def test_a_tray_half_used_before_the_start_begins_at_unit_one() -> None:
    """Units of the last batch in the same tray are not this batch's."""
    assert spans(follow(("A", 0, 57), ("A", 10, 67))) == [("A", 1, 10)]


def test_closing_ends_the_last_tray() -> None:
    """The end of the batch ends the tray with its last unit; a second end changes nothing."""
    found, events = trays.close(follow(("A", 40, 40)), 43)

    assert spans(found) == [("A", 1, 43)]
    assert [what for what, _ in events] == ["closed"]
    assert trays.close(found, 50) == (found, [])


def test_the_same_suspicion_is_told_once() -> None:
    """A reason a tray already bears makes no second record."""
    found, first = trays.suspected(follow(("A", 40, 40)), ["A", "Z"], "light")
    again, second = trays.suspected(found, ["A"], "light")

    assert [what for what, _ in first] == ["suspect"]
    assert (again, second) == (found, [])


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(0, 3)), min_size=1, max_size=8), st.booleans())
def test_every_unit_lies_in_exactly_one_tray(fills: list[tuple[int, int]], positions: bool) -> None:
    """However full the trays and however late their names, units are neither lost nor counted twice."""
    found: Trays = ()
    units = 0
    for number, (count, late) in enumerate(fills):
        for made in range(1, count + 1):
            units += 1
            name = f"T{number - 1}" if number and made <= late else f"T{number}"
            found, _ = trays.follow(found, name, units, made if positions and made > late else None, 100)
    found, _ = trays.close(found, units)

    expected = 1
    for tray in found:
        assert tray.first_unit == expected
        expected = tray.last_unit + 1
    assert units < expected <= units + 1 + SKEW
