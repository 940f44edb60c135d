"""The figures of ISA-18.2 / IEC 62682, from records of alarms.  Pure: kinds, bodies and times in, figures out.

A flood begins with more than ten alarms within ten minutes and ends with fewer than five.  Chattering is an operational
rule, the standard gives none: raised three times or more within a minute.  Stale: stood for more than a day.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from statistics import median
from typing import Final

import msgspec

from gateway.model import Json, Priority

S_NS: Final = 1_000_000_000
TEN_MIN_NS: Final = 600 * S_NS
HOUR_NS: Final = 3600 * S_NS
DAY_NS: Final = 24 * HOUR_NS
MINUTE_NS: Final = 60 * S_NS
FLOOD_BEGINS: Final = 10
"""More than so many."""
FLOOD_ENDS: Final = 5
"""Fewer than so many."""
CHATTERS: Final = 3
TOP: Final = 10
SHOWN: Final = frozenset({"unack", "acked", "rtn_unack", "latched_unack", "latched_acked"})
ACTIVE: Final = frozenset({"unack", "acked"})
DEPENDENTS: Final = "alarm.dependents"
"""A lost link's alarm, and how many it suppresses under itself: these have no record of their own."""
SUPPRESSED: Final = "alarm.suppressed"
HIDING: Final = {"alarm.shelved": "shelved", SUPPRESSED: "suppressed", "alarm.removed": "out_of_service"}


class Flood(msgspec.Struct):
    """Ten minutes and more with more than a person can answer.  Times: wall clock, Unix ns."""

    since_ns: int
    until_ns: int | None = None
    """None: it goes on."""
    alarms: int = 0
    """Raised in it, those that made it one included."""

    def lies_after(self, start_ns: int) -> bool:
        return self.until_ns is None or self.until_ns > start_ns


class Floods:
    """Follows how many were raised in the last ten minutes."""

    def __init__(self) -> None:
        self.recent: deque[int] = deque()
        self.found: list[Flood] = []

    @property
    def on(self) -> Flood | None:
        return self.found[-1] if self.found and self.found[-1].until_ns is None else None

    def raised(self, now_ns: int) -> None:
        self.pass_to(now_ns)
        self.recent.append(now_ns)
        flood = self.on
        if flood is not None:
            flood.alarms += 1
        elif len(self.recent) > FLOOD_BEGINS:
            self.found.append(Flood(now_ns, alarms=len(self.recent)))

    def pass_to(self, now_ns: int) -> None:
        """Time goes by: what is older than ten minutes counts no more, and a flood may end by it."""
        while self.recent and self.recent[0] + TEN_MIN_NS <= now_ns:
            gone_ns = self.recent.popleft() + TEN_MIN_NS
            flood = self.on
            if flood is not None and len(self.recent) < FLOOD_ENDS:
                flood.until_ns = gone_ns


def lasted_ns(floods: Iterable[Flood], start_ns: int, end_ns: int) -> int:
    """Time in flood within a window."""
    spans = ((max(start_ns, each.since_ns), min(end_ns, each.until_ns or end_ns)) for each in floods)
    return sum(max(0, until - since) for since, until in spans)


class Chatter:
    """Which alarms were raised three times within a minute, and how often at most."""

    def __init__(self) -> None:
        self.worst: Counter[str] = Counter()
        self._recent: dict[str, deque[int]] = {}

    def raised(self, name: str, now_ns: int) -> None:
        times = self._recent.setdefault(name, deque())
        times.append(now_ns)
        while times[0] + MINUTE_NS <= now_ns:
            times.popleft()
        if len(times) >= CHATTERS:
            self.worst[name] = max(self.worst[name], len(times))

    def now(self, now_ns: int) -> list[str]:
        """Those that chatter at this moment."""
        return [
            name for name, times in self._recent.items() if sum(at + MINUTE_NS > now_ns for at in times) >= CHATTERS
        ]


class Figures(msgspec.Struct, frozen=True):
    """What the standard asks for, over one window.  Times: wall clock, Unix ns; shares in percent."""

    from_ns: int
    to_ns: int
    raised: int
    per_hour: float
    per_10min: float
    most_in_10min: int
    floods: list[Flood]
    flood_percent: float
    chattering: dict[str, int]
    """Alarm -> how often it was raised in its worst minute."""
    stale: list[str]
    top: dict[str, int]
    top_percent: float
    priorities: dict[str, int]
    priority_percent: dict[str, float]
    standing: int
    hidden: dict[str, list[str]]
    """shelved, suppressed, out_of_service -> alarms, at the end."""
    hidings: dict[str, int]
    """The same -> how often in the window."""
    acknowledged_after_s: float | None
    """Median time from raised to acknowledged; None where nobody acknowledged any."""


class Tally:
    """Counts the records of alarms, oldest first; those before the window say what stood when it began."""

    def __init__(self, from_ns: int, to_ns: int) -> None:
        self._from_ns, self._to_ns = from_ns, to_ns
        self._raised: list[tuple[int, str]] = []
        """When, and which.  Records stand in the order of the ledger: a step of the clock makes that another one."""
        self._told: dict[str, Json] = {}
        """Alarm -> its occurrence that was raised last."""
        self._count: Counter[str] = Counter()
        self._priorities: Counter[str] = Counter()
        self._hidings: Counter[str] = Counter()
        self._last: dict[str, Mapping[str, Json]] = {}
        self._under: dict[str, Mapping[str, Json]] = {}
        """Alarm of a lost link -> what it suppresses."""
        self._answers_ns: list[int] = []
        """But of those the clock was stepped back for in between: nobody knows how long they took."""

    def cut(self, first_ns: int, last_ns: int) -> None:
        """Nothing was recorded before the one, nothing can be after the other: no rate is taken over that time.

        A first record from a clock that was ahead says nothing.
        """
        self._to_ns = max(self._from_ns, min(self._to_ns, last_ns))
        if first_ns < self._to_ns:
            self._from_ns = max(self._from_ns, first_ns)

    def take(self, kind: str, body: Mapping[str, Json], time_ns: int) -> None:
        """One record `alarm.*`."""
        if time_ns >= self._to_ns:
            return
        inside = time_ns >= self._from_ns
        name, before = str(body["alarm"]), self._last.get(str(body["alarm"]), {})
        self._last[name] = body
        if kind == DEPENDENTS:
            self._under[name] = body
            self._hidings["suppressed"] += int(body["new"]) if inside and not body["over"] else 0
        elif body["state"] not in ACTIVE and body["state"] not in HIDING.values():
            self._under.pop(name, None)
        if kind == "alarm.raised":
            self._raise(name, body, time_ns, inside=inside)
        elif inside and kind == "alarm.acknowledged" and time_ns >= int(body["raised_ns"]):
            self._answers_ns.append(time_ns - int(body["raised_ns"]))
        elif inside and kind in HIDING and not (kind == SUPPRESSED and before.get("suppressed_by")):
            self._hidings[HIDING[kind]] += 1

    def _raise(self, name: str, body: Mapping[str, Json], time_ns: int, *, inside: bool) -> None:
        if self._told.get(name) == body["occurrence"]:
            return
        self._told[name] = body["occurrence"]
        self._raised.append((time_ns, name))
        if inside:
            self._count[name] += 1
            self._priorities[str(body["priority"])] += 1

    def _hidden(self, state: str) -> Iterator[str]:
        yield from (name for name, body in self._last.items() if body["state"] == state)
        if state == "suppressed":
            for link, body in self._under.items():
                if not body["over"]:
                    yield from (f"{rule} ({count} under {link})" for rule, count in body["rules"].items())

    def _followed(self) -> tuple[int, list[Flood], Chatter]:
        """The most in ten minutes of the window, floods of which some lies in it, what chattered in it."""
        floods, within, chatter, most = Floods(), Floods(), Chatter(), 0
        for time_ns, name in sorted(self._raised):
            floods.raised(time_ns)
            if time_ns >= self._from_ns:
                within.raised(time_ns)
                chatter.raised(name, time_ns)
                most = max(most, len(within.recent))
        floods.pass_to(self._to_ns)
        return most, [each for each in floods.found if each.lies_after(self._from_ns)], chatter

    def figures(self) -> Figures:
        most, floods, chatter = self._followed()
        raised, lasting_ns = self._count.total(), max(1, self._to_ns - self._from_ns)
        top = dict(self._count.most_common(TOP))
        shown = {name: body for name, body in self._last.items() if body["state"] in SHOWN}
        return Figures(
            from_ns=self._from_ns,
            to_ns=self._to_ns,
            raised=raised,
            per_hour=raised * HOUR_NS / lasting_ns,
            per_10min=raised * TEN_MIN_NS / lasting_ns,
            most_in_10min=most,
            floods=floods,
            flood_percent=100 * lasted_ns(floods, self._from_ns, self._to_ns) / lasting_ns,
            chattering=dict(chatter.worst),
            stale=sorted(name for name, body in shown.items() if self._to_ns - int(body["raised_ns"]) > DAY_NS),
            top=top,
            top_percent=percent(sum(top.values()), raised),
            priorities={each.value: self._priorities[each.value] for each in Priority},
            priority_percent={each.value: percent(self._priorities[each.value], raised) for each in Priority},
            standing=len(shown),
            hidden={state: sorted(self._hidden(state)) for state in HIDING.values()},
            hidings={state: self._hidings[state] for state in HIDING.values()},
            acknowledged_after_s=median(self._answers_ns) / S_NS if self._answers_ns else None,
        )


def document(figures: Figures) -> Json:
    """As JSON: times as decimal strings."""
    built: dict[str, Json] = msgspec.to_builtins(figures)
    floods = [{key: _text(key, value) for key, value in each.items()} for each in built["floods"]]
    return {**{key: _text(key, value) for key, value in built.items()}, "floods": floods}


def _text(key: str, value: Json) -> Json:
    return str(value) if key.endswith("_ns") and value is not None else value


def percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


class Meter:
    """The same while the gateway runs: for metrics.  Counts since its start; on a clock that nobody steps."""

    def __init__(self) -> None:
        self.raised: Counter[Priority] = Counter()
        self.floods = Floods()
        self._began_ns: int | None = None
        self._chatter = Chatter()
        self._hour: deque[int] = deque()

    def take(self, kind: str, name: str, priority: Priority, now_ns: int) -> None:
        if self._began_ns is None:
            self._began_ns = now_ns
        if kind == "alarm.raised":
            self.raised[priority] += 1
            self.floods.raised(now_ns)
            self._chatter.raised(name, now_ns)
            self._hour.append(now_ns)

    def last_10min(self, now_ns: int) -> int:
        self.floods.pass_to(now_ns)
        return len(self.floods.recent)

    def last_hour(self, now_ns: int) -> int:
        while self._hour and self._hour[0] + HOUR_NS <= now_ns:
            self._hour.popleft()
        return len(self._hour)

    def chattering(self, now_ns: int) -> int:
        return len(self._chatter.now(now_ns))

    def flood_s(self, now_ns: int) -> float:
        """Seconds in flood so far."""
        self.floods.pass_to(now_ns)
        return 0.0 if self._began_ns is None else lasted_ns(self.floods.found, self._began_ns, now_ns) / S_NS
