"""One scenario, played: steps do and see in turn, nevers are watched meanwhile, and all of it is timed from outside.

The player knows neither simulators nor people: it asks a `Floor` to do and to look, and a `Clock` for the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.errors import LinegateError
from gateway.hil.eyes import Mark
from gateway.hil.look import EVENT_PLACES, Look
from gateway.hil.results import Outcome, Result, Stroke
from gateway.hil.scenario import Loaded, Never, Scenario, See, Step
from gateway.hil.seen import Eyes, Seen
from gateway.hil.verbs import Do
from gateway.model import Json

LOOK_EVERY_S = 0.03
_LAST_LOOK_S = 0.5
"""A thing that came in time may be seen a moment after its time is over: the stamp of its coming decides."""


class Clock(Protocol):
    """Monotonic seconds."""

    def now_s(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class RealClock:
    """CLOCK_MONOTONIC, the one the simulators stamp with."""

    def now_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))


class Floor(Protocol):
    """A line that a scenario is played on."""

    @property
    def eyes(self) -> Eyes:
        """What it shows."""
        ...

    def begin(self, scenario: Scenario) -> Mapping[str, Json]:
        """Bring it to where the story begins; what is known then (`batch`, `began`)."""
        ...

    def do(self, do: Do, step: Step, saved: Mapping[str, Json]) -> float | None:
        """Do it; the monotonic moment it took effect where that is known better than `when it returned`."""
        ...

    def mark(self, now_s: float) -> Mark: ...

    def tidy(self) -> None:
        """Leave it as it was found."""
        ...


class Tell(Protocol):
    """Who is told how it goes."""

    def __call__(self, what: str, result: Result | None = None) -> None: ...


def quiet(what: str, result: Result | None = None) -> None:
    """Nobody is told."""
    del what, result


class FailedError(Exception):
    """The story cannot go on."""


@dataclass
class _Watched:
    """A never, while its time runs."""

    never: Never
    look: Look
    step: str
    where: str
    since_s: float
    until_s: float | None
    """None: until it is closed."""
    broken: Seen | None = None
    broken_s: float = 0.0


@dataclass
class _Pending:
    """Something that must be seen, and was not yet."""

    see: See
    look: Look
    where: str
    since_s: float | None = None
    """It has been so since then."""


class Player:
    """Plays one scenario on one floor."""

    def __init__(self, loaded: Loaded, floor: Floor, clock: Clock | None = None, tell: Tell = quiet) -> None:
        self.scenario = loaded.scenario
        self.outcome = Outcome(loaded.name, loaded.scenario.scenario, loaded.scenario.why, loaded.path.name)
        self.saved: dict[str, Json] = {}
        self.zero_s = 0.0
        """When the story began."""
        self.ended_s = 0.0
        self._floor = floor
        self._clock = clock or RealClock()
        self._tell = tell
        self._marks: dict[str, Mark] = {}
        self._watched: list[_Watched] = []
        self._open_faults: dict[tuple[str, str], float] = {}
        self._reached = 0

    def play(self) -> Outcome:
        """The whole of it.  What goes wrong is in the outcome; only bugs are raised."""
        self._tell(f"{self.scenario.scenario}")
        began_s = self._clock.now_s()
        try:
            self._begin()
            for number, step in enumerate(self.scenario.steps):
                self._reached = number
                self._step(step, number)
            self._reached = len(self.scenario.steps)
            self._check_nevers()
        except FailedError:
            pass
        finally:
            self.ended_s = self._clock.now_s()
            self._close()
            self.outcome.lasted_s = self.ended_s - began_s
        self._not_reached()
        return self.outcome

    def _begin(self) -> None:
        try:
            self.saved.update(self._floor.begin(self.scenario))
        except LinegateError as error:
            self.zero_s = self._clock.now_s()
            self._judge(Result("", "begin", "the line is where the story begins", ok=False, said=str(error)))
            raise FailedError from error
        self.zero_s = self._clock.now_s()
        mark = self._floor.mark(self.zero_s)
        self.saved.setdefault("began", {"index": mark.index})
        for place, never in enumerate(self.scenario.never):
            self._watch(never, mark, "", f"never[{place}]", None)

    # -- one step --------------------------------------------------------------------------------

    def _step(self, step: Step, number: int) -> None:
        name, where = step.id or f"step {number + 1}", f"steps[{number}]"
        if step.when is not None:
            self._tell(f"waits: {step.when.sentence()}")
            before = self._mark_of(step.when, self._last_mark())
            self._wait([_Pending(step.when, self._look(before), f"{where}.when")], name, "when")
        self._pause(max(step.after, (step.at or 0.0) - (self._clock.now_s() - self.zero_s)))
        mark = self._floor.mark(self._clock.now_s())
        self._tell(step.title())
        zero_s = self._do(step, name, where)
        mark = Mark(zero_s, mark.time_ns, mark.index, mark.arrivals, mark.scans)
        self._marks[step.id or f"#{number}"] = mark
        self._stroke("steps", mark.s, mark.s, step.title())
        for place, never in enumerate(step.never):
            self._watch(never, mark, name, f"{where}.never[{place}]", never.for_ or None)
        pending = [
            _Pending(see, self._look(self._mark_of(see, mark)), f"{where}.see[{place}]")
            for place, see in enumerate(step.see)
        ]
        self._wait(pending, name, "see")
        self._finish_nevers(name)

    def _do(self, step: Step, name: str, where: str) -> float:
        """Everything the step does; the moment the last of it took effect."""
        zero_s = self._clock.now_s()
        for _ in range(step.times):
            for do in step.do:
                try:
                    zero_s = self._one(do, step)
                except LinegateError as error:
                    said = Result(name, "do", f"{step.title()}", ok=False, said=str(error), where=f"{where}.do")
                    self._judge(said)
                    raise FailedError from error
        return zero_s

    def _one(self, do: Do, step: Step) -> float:
        if do.verb == "wait":
            self._pause(float(do.words))
            return self._clock.now_s()
        at_s = self._floor.do(do, step, self.saved)
        at_s = self._clock.now_s() if at_s is None else at_s
        if do.verb == "fault":
            self._open_faults[do.words.device, do.words.name] = at_s
        if do.verb == "heal":
            self._end_faults(do.words.device, do.words.name, at_s)
        return at_s

    def _pause(self, seconds: float) -> None:
        until_s = self._clock.now_s() + seconds
        while (left_s := until_s - self._clock.now_s()) > 0:
            self._check_nevers()
            self._clock.sleep(min(left_s, LOOK_EVERY_S))

    # -- seeing ----------------------------------------------------------------------------------

    def _look(self, mark: Mark) -> Look:
        return Look(self._floor.eyes, mark, self.saved)

    def _last_mark(self) -> Mark:
        return next(reversed(self._marks.values())) if self._marks else self._floor.mark(self.zero_s)

    def _mark_of(self, see: See, own: Mark) -> Mark:
        return self._marks[see.within_after] if see.within_after else own

    def _wait(self, pending: list[_Pending], step: str, kind: Any) -> None:
        """Until all of it was seen; the first whose time is over ends the story."""
        left = list(pending)
        while left:
            self._check_nevers()
            for one in tuple(left):
                result = self._decided(one, step, kind)
                if result is not None:
                    left.remove(one)
                    self._judge(result)
                    if not result.ok:
                        raise FailedError
            if left:
                self._clock.sleep(LOOK_EVERY_S)

    def _decided(self, one: _Pending, step: str, kind: Any) -> Result | None:
        """Look once; None while it is not decided."""
        see, mark = one.see, one.look.mark
        seen = one.look.see(see, see.sentence())
        now_s = self._clock.now_s()
        if not seen.ok:
            one.since_s = None
        elif one.since_s is None:
            one.since_s = now_s if seen.s is None else seen.s
        held = one.since_s is not None and now_s - one.since_s >= see.for_
        measured_s = max(0.0, (one.since_s or now_s) - mark.s)
        over = now_s - mark.s > see.within + see.for_ + (_LAST_LOOK_S if see.place in EVENT_PLACES else 0.0)
        ok = seen.ok and held and measured_s <= see.within
        if not (ok or over or seen.final or (seen.ok and held)):
            return None
        if ok and see.save:
            self.saved[see.save] = seen.value
        said = "" if ok else seen.said or f"seen after {measured_s:.2f} s"
        measured = measured_s if seen.ok else None
        return Result(step, kind, see.sentence(), ok, see.within, measured, said, where=one.where)

    # -- what must not be seen -------------------------------------------------------------------

    def _watch(self, never: Never, mark: Mark, step: str, where: str, for_s: float | None) -> None:
        until_s = None if for_s is None else mark.s + for_s
        self._watched.append(_Watched(never, self._look(mark), step, where, mark.s, until_s))

    def _check_nevers(self) -> None:
        """All that are watched; the first that is broken ends the story."""
        for one in tuple(self._watched):
            seen = one.look.see(one.never)
            now_s = self._clock.now_s()
            at_s = (now_s if seen.s is None else seen.s) - one.since_s
            if seen.ok and (one.until_s is None or at_s <= one.until_s - one.since_s):
                self._watched.remove(one)
                self._judge(self._never(one, at_s, ok=False, said="it was seen"))
                raise FailedError
            if one.until_s is not None and now_s >= one.until_s:
                self._watched.remove(one)
                self._judge(self._never(one, now_s - one.since_s, ok=True))

    def _finish_nevers(self, step: str) -> None:
        """Wait for those of this step that have a time; close those that end with it."""
        while True:
            self._check_nevers()
            left = [one for one in self._watched if one.step == step]
            if not any(one.until_s is not None for one in left):
                break
            self._clock.sleep(LOOK_EVERY_S)
        for one in left:
            self._watched.remove(one)
            self._judge(self._never(one, self._clock.now_s() - one.since_s, ok=True))

    def _never(self, one: _Watched, measured_s: float, *, ok: bool, said: str = "") -> Result:
        return Result(one.step, "never", one.never.sentence(), ok, None, max(0.0, measured_s), said, where=one.where)

    # -- the end ---------------------------------------------------------------------------------

    def _judge(self, result: Result) -> None:
        self.outcome.results.append(result)
        self._tell(result.sentence, result)

    def _close(self) -> None:
        now_s = self._clock.now_s()
        for one in self._watched:
            reached = self._reached == len(self.scenario.steps) and not one.step
            result = self._never(one, now_s - one.since_s, ok=reached, said="" if reached else "the story ended before")
            self.outcome.results.append(result if reached else _unreached(result))
        self._watched.clear()
        for (device, name), since_s in self._open_faults.items():
            self._stroke("faults", since_s, now_s, f"{device} {name}", grave=True)
        self._open_faults.clear()

    def _not_reached(self) -> None:
        """What the story did not come to is named too: a report shows the whole scenario."""
        judged = {result.where for result in self.outcome.results}
        for number, step in enumerate(self.scenario.steps):
            for where, kind, sentence in _expected(step, f"steps[{number}]"):
                if where not in judged:
                    name = step.id or f"step {number + 1}"
                    self.outcome.results.append(Result(name, kind, sentence, ok=False, reached=False, where=where))

    def _end_faults(self, device: str, name: str, at_s: float) -> None:
        for key in [key for key in self._open_faults if key[0] == device and name in ("all", key[1])]:
            self._stroke("faults", self._open_faults.pop(key), at_s, " ".join(key), grave=True)

    def _stroke(self, lane: str, since_s: float, until_s: float, text: str, *, grave: bool = False) -> None:
        self.outcome.strokes.append(Stroke(lane, since_s - self.zero_s, until_s - self.zero_s, text, grave))


def _expected(step: Step, where: str) -> Iterator[tuple[str, Any, str]]:
    if step.when is not None:
        yield f"{where}.when", "when", step.when.sentence()
    for place, see in enumerate(step.see):
        yield f"{where}.see[{place}]", "see", see.sentence()
    for place, never in enumerate(step.never):
        yield f"{where}.never[{place}]", "never", never.sentence()


def _unreached(result: Result) -> Result:
    return Result(result.step, result.kind, result.sentence, ok=False, reached=False, where=result.where)


def tidied(floor: Floor) -> str:
    """Leave the floor as it was found; why it could not be, empty if it could."""
    try:
        floor.tidy()
    except LinegateError as error:
        return str(error)
    return ""
