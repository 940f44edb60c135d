"""The figures of ISA-18.2, each against a story whose answer is known."""

from __future__ import annotations

import itertools

import pytest

from gateway.alarms.stats import DAY_NS, HOUR_NS, S_NS, Figures, Floods, Meter, Tally
from gateway.model import Json, Priority


class Story:
    """Records of alarms at seconds after the window's start."""

    def __init__(self, lasts_s: float = 3600) -> None:
        self.start_ns = 100 * DAY_NS
        self.tally = Tally(self.start_ns, self.start_ns + round(lasts_s * S_NS))
        self._numbers = itertools.count(1)

    def add(self, at_s: float, kind: str, alarm: str = "a", state: str = "unack", **facts: Json) -> None:
        time_ns = self.start_ns + round(at_s * S_NS)
        number = facts.pop("occurrence", next(self._numbers))
        body = {"alarm": alarm, "occurrence": number, "state": state, "priority": "low", "raised_ns": str(time_ns)}
        self.tally.take(f"alarm.{kind}", {**body, **facts}, time_ns)

    def figures(self) -> Figures:
        return self.tally.figures()


def test_rates_count_what_was_shown_in_the_window() -> None:
    """Six in an hour are six an hour and one in ten minutes; what came before and after counts nowhere."""
    story = Story()
    for at_s in (-5, *range(0, 3600, 600), 3600):
        story.add(at_s, "raised")
    found = story.figures()
    assert (found.raised, found.per_hour, found.per_10min, found.most_in_10min) == (6, 6.0, 1.0, 1)


def test_the_same_occurrence_counts_once() -> None:
    """A record that only changes the words of a standing alarm is no alarm."""
    story = Story()
    story.add(1, "raised", occurrence=1)
    story.add(2, "raised", occurrence=1)
    assert story.figures().raised == 1


@pytest.mark.parametrize("kind", ["unshelved", "unsuppressed", "returned"])
def test_what_comes_back_into_sight_is_raised(kind: str) -> None:
    """Another occurrence, which flashes and sounds: the record of its return takes nothing from it."""
    story = Story()
    story.add(1, "raised", occurrence=1)
    story.add(2, "shelved", occurrence=1, state="shelved")
    story.add(3, kind, occurrence=2)
    story.add(3, "raised", occurrence=2)
    found = story.figures()
    assert (found.raised, found.top) == (2, {"a": 2})


def test_another_cause_suppresses_nothing_twice() -> None:
    """By one rule more, and by one less: that is once; back in sight and hidden again is twice."""
    story = Story()
    story.add(1, "raised")
    for at_s, causes in ((2, ["b"]), (3, ["b", "c"]), (4, ["c"])):
        story.add(at_s, "suppressed", state="suppressed", suppressed_by=causes)
    story.add(5, "unsuppressed", state="unack", occurrence=9)
    assert story.figures().hidings["suppressed"] == 1
    story.add(6, "suppressed", state="suppressed", suppressed_by=["b"])
    assert story.figures().hidings["suppressed"] == 2


@pytest.mark.parametrize(("alarms", "floods"), [(10, 0), (11, 1)])
def test_a_flood_is_more_than_ten_in_ten_minutes(alarms: int, floods: int) -> None:
    """Ten are none, the eleventh begins one."""
    story = Story()
    for number in range(alarms):
        story.add(number * 59, "raised", f"a{number}")
    assert len(story.figures().floods) == floods


def test_a_flood_ends_when_fewer_than_five_are_left_in_ten_minutes() -> None:
    """Eleven at once: it lasts the ten minutes until they count no more."""
    story = Story()
    for number in range(11):
        story.add(100, "raised", f"a{number}")
    found = story.figures()
    (flood,) = found.floods
    assert flood.until_ns is not None
    assert (flood.until_ns - flood.since_ns, flood.alarms) == (600 * S_NS, 11)
    assert found.flood_percent == pytest.approx(100 / 6)


def test_a_flood_that_trickles_on_is_one_flood() -> None:
    """Five in any ten minutes keep it up; at four it ends, to the second."""
    floods = Floods()
    for at_s in (*[0] * 11, *range(100, 2000, 100)):
        floods.raised(at_s * S_NS)
    floods.pass_to(10_000 * S_NS)
    (flood,) = floods.found
    assert flood.until_ns == (1500 + 600) * S_NS, "raised at 1500 s and before count no more: four are left"


def test_a_flood_at_the_end_of_the_window_goes_on() -> None:
    """Its time counts up to the end."""
    story = Story()
    for number in range(11):
        story.add(3300, "raised", f"a{number}")
    found = story.figures()
    assert found.floods[0].until_ns is None
    assert found.flood_percent == pytest.approx(100 * 300 / 3600)


def test_a_flood_that_began_before_the_window_lasts_into_it() -> None:
    """Eleven alarms five minutes before the shift: its first five minutes are in flood."""
    story = Story()
    for number in range(11):
        story.add(-300, "raised", f"a{number}")
    story.add(1000, "raised")
    found = story.figures()
    (flood,) = found.floods
    assert flood.since_ns == story.start_ns - 300 * S_NS
    assert found.flood_percent == pytest.approx(100 * 300 / 3600)
    assert (found.raised, found.most_in_10min) == (1, 1)


def test_a_flood_over_the_start_of_the_window_is_one() -> None:
    """Six before and six after it: neither shift alone, and a person had twelve in two minutes all the same."""
    story = Story()
    for number in range(12):
        story.add(-60 + 10 * number, "raised", f"a{number}")
    found = story.figures()
    assert (len(found.floods), found.raised, found.most_in_10min) == (1, 6, 6)


def test_a_flood_that_ended_before_the_window_is_none_of_it() -> None:
    """Nor of its share of time."""
    story = Story()
    for number in range(11):
        story.add(-700, "raised", f"a{number}")
    found = story.figures()
    assert (found.floods, found.flood_percent) == ([], 0)


def test_a_clock_that_was_stepped_back_makes_no_flood_and_no_chatter() -> None:
    """What is two hours later by the records is not of these ten minutes; an answer before its alarm took no time."""
    story = Story(lasts_s=4 * 3600)
    for number in range(10):
        story.add(7200 + number, "raised", f"a{number}")
    for at_s in (600, 1800, 3000):
        story.add(at_s, "raised", "b")
    story.add(3100, "acknowledged", "a0", "acked", raised_ns=str(story.start_ns + 7200 * S_NS))
    found = story.figures()
    assert (found.raised, found.most_in_10min, found.floods, found.chattering) == (13, 10, [], {})
    assert found.acknowledged_after_s is None


def test_chattering_is_three_times_within_a_minute() -> None:
    """Twice is none, nor three times in a minute and a bit; the worst minute is told."""
    story = Story()
    for alarm, times in {"a": (0, 30, 59), "b": (0, 30, 60), "c": (0, 1), "d": (0, 10, 20, 30)}.items():
        for at_s in times:
            story.add(at_s, "raised", alarm)
    assert story.figures().chattering == {"a": 3, "d": 4}


def test_stale_has_stood_for_more_than_a_day() -> None:
    """Raised before the window counts too; what is hidden or over does not stand."""
    story = Story(lasts_s=2 * 86400)
    story.add(-10, "raised", "old")
    story.add(86400 + 10, "raised", "young")
    story.add(0, "raised", "aside")
    story.add(1, "shelved", "aside", "shelved")
    story.add(0, "raised", "over")
    story.add(1, "acknowledged", "over", "acked")
    story.add(2, "cleared", "over", "normal")
    found = story.figures()
    assert (found.stale, found.standing) == (["old"], 2)
    assert found.hidden == {"shelved": ["aside"], "suppressed": [], "out_of_service": []}
    assert found.hidings["shelved"] == 1


def test_the_top_ten_and_their_share() -> None:
    """Twelve alarms, the first of them eleven times: ten of twelve names, twenty of twenty-two alarms."""
    story = Story(lasts_s=36000)
    for number in range(11):
        story.add(number * 900, "raised", "worst")
    for number in range(11):
        story.add(number * 900 + 60, "raised", f"b{number}")
    found = story.figures()
    assert (len(found.top), next(iter(found.top.items()))) == (10, ("worst", 11))
    assert found.top_percent == pytest.approx(100 * 20 / 22)


def test_priorities_and_the_time_to_an_acknowledgement() -> None:
    """Shares of what was raised; the median of the answers."""
    story = Story()
    for number, priority in enumerate(["low"] * 3 + ["critical"]):
        story.add(number, "raised", f"a{number}", priority=priority)
        raised_ns = str(story.start_ns + number * S_NS)
        story.add(number + 10 * number, "acknowledged", f"a{number}", "acked", raised_ns=raised_ns)
    found = story.figures()
    assert found.priority_percent == {"low": 75.0, "medium": 0.0, "high": 0.0, "critical": 25.0}
    assert found.acknowledged_after_s == 15


def test_no_rate_is_taken_over_time_nobody_recorded() -> None:
    """A line of yesterday, asked for a month that ends tonight: six alarms in its one hour, and nothing stale yet."""
    story = Story(lasts_s=30 * 86400)
    first_ns = story.start_ns + 20 * DAY_NS
    story.tally.cut(first_ns, first_ns + HOUR_NS)
    for number in range(6):
        story.add(20 * 86400 + 600 * number, "raised")
    found = story.figures()
    assert (found.from_ns, found.to_ns) == (first_ns, first_ns + HOUR_NS)
    assert (found.per_hour, found.stale) == (6.0, [])


def test_nothing_is_nothing() -> None:
    """A quiet window divides by nothing."""
    found = Story().figures()
    assert (found.raised, found.per_hour, found.top_percent, found.acknowledged_after_s) == (0, 0, 0, None)


def test_the_meter_forgets_what_is_old() -> None:
    """Ten minutes and an hour slide; a flood's seconds add up."""
    meter = Meter()
    for number in range(12):
        meter.take("alarm.raised", "a", Priority.HIGH, number * S_NS)
    assert (meter.last_10min(12 * S_NS), meter.last_hour(12 * S_NS), meter.chattering(12 * S_NS)) == (12, 12, 1)
    assert meter.floods.on is not None
    assert meter.flood_s(20 * S_NS) == 10
    later = 2 * HOUR_NS
    assert (meter.last_10min(later), meter.last_hour(later), meter.chattering(later)) == (0, 0, 0)
    assert meter.floods.on is None
    assert meter.raised == {Priority.HIGH: 12}
