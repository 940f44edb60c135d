"""A line that a test scripts: things come true at their second, on a clock that jumps; and a person who answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateway.errors import LinegateError
from gateway.hil.eyes import Mark
from gateway.hil.scenario import Loaded, Scenario, Step, load
from gateway.hil.seen import Seen
from gateway.hil.sights import Sight
from gateway.hil.verbs import Do
from gateway.model import Json


class FakeClock:
    """Seconds that pass only when somebody sleeps."""

    def __init__(self) -> None:
        self.s = 100.0

    def now_s(self) -> float:
        return self.s

    def sleep(self, seconds: float) -> None:
        self.s += seconds


class FakeObserver:
    """Records, scans and state, each from its second on."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._coming: list[tuple[float, dict[str, Any]]] = []
        self._scans: list[tuple[float, str, dict[str, Any]]] = []
        self._states: list[tuple[float, str, Json]] = []
        self.came_s: dict[int, float] = {}
        self.arrivals: list[tuple[int, str]] = []
        self.scans: dict[tuple[str, int], int] = {}

    def record(self, at_s: float, kind: str, **body: Json) -> None:
        """`at_s` seconds after the clock's beginning."""
        index = len(self._coming)
        record = {"index": index, "kind": kind, "body": body, "by": "line", "batch": "B-1", "time": str(index)}
        self._coming.append((100.0 + at_s, record))
        self.came_s[index] = 100.0 + at_s

    def scan(self, at_s: float, tag: str, value: Json, bad: str = "") -> None:
        device, _, name = tag.partition("/")
        document = {"time": str(round((100.0 + at_s) * 1e9)), "values": {}, "bad": {}, "seq": len(self._scans) + 1}
        document["bad" if bad else "values"] = {name: bad or value}
        self._scans.append((100.0 + at_s, device, {**document, "boot": "b", "came_s": 100.0 + at_s}))

    def show(self, at_s: float, topic: str, document: Json) -> None:
        self._states.append((100.0 + at_s, topic, document))

    @property
    def records(self) -> dict[int, dict[str, Any]]:
        return {each["index"]: each for at_s, each in self._coming if at_s <= self._clock.s}

    @property
    def by_device(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for at_s, device, each in self._scans:
            if at_s <= self._clock.s:
                found.setdefault(device, []).append(each)
        return found

    @property
    def state(self) -> dict[str, Json]:
        return {topic: document for at_s, topic, document in self._states if at_s <= self._clock.s}

    @property
    def changed_s(self) -> dict[str, float]:
        return {topic: at_s for at_s, topic, _ in self._states if at_s <= self._clock.s}

    def mark(self, s: float) -> Mark:
        scans = {name: (len(each), int(each[-1]["time"])) for name, each in self.by_device.items()}
        return Mark(s, 0, max(self.records, default=-1), 0, scans)

    def since(self, mark: Mark, device: str) -> list[dict[str, Any]]:
        return self.by_device.get(device, [])[mark.scans.get(device, (0, 0))[0] :]

    def event_records(self, mark: Mark) -> list[dict[str, Any]]:
        return [each for index, each in self.records.items() if index > mark.index]


class FakeEyes:
    def __init__(self, observer: FakeObserver) -> None:
        self.observer: Any = observer
        self.known: dict[str, Any] = {}

    def truth(self) -> dict[str, Any]:
        if not self.known:
            raise LinegateError("the simulators refuse")
        return self.known

    def machine(self, device: str) -> str:
        return str(self.known.get("machines", {}).get(device, ""))

    def units(self, first: int = 1) -> dict[int, dict[str, Any]]:
        return {number: unit for number, unit in self.known.get("units", {}).items() if number >= first}

    def status(self) -> dict[str, Any]:
        return dict(self.known.get("status", {}))

    def ended(self) -> dict[str, Any]:
        return {}

    def consumer(self) -> Path | None:
        return None

    def asked(self, sight: Sight, sentence: str) -> Seen | None:
        return None

    def verify(self) -> tuple[bool, str]:
        return True, "it verifies"


class FakeFloor:
    """Does nothing but remember what was asked, and when."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.observer = FakeObserver(self.clock)
        self.eyes = FakeEyes(self.observer)
        self.did: list[tuple[float, str, Any]] = []
        self.refuses: dict[str, str] = {}
        self.then: Callable[[str], None] = lambda _: None

    def begin(self, scenario: Scenario) -> Mapping[str, Json]:
        return {"batch": "B-1"}

    def do(self, do: Do, step: Step, saved: Mapping[str, Json]) -> float | None:
        if do.verb in self.refuses:
            raise LinegateError(self.refuses[do.verb])
        self.did.append((self.clock.s - 100.0, do.verb, do.words))
        self.then(do.verb)
        return self.clock.s

    def mark(self, now_s: float) -> Mark:
        return self.observer.mark(now_s)

    def tidy(self) -> None:
        self.did.append((self.clock.s - 100.0, "tidy", None))


def written(folder: Path, text: str, name: str = "story") -> Loaded:
    """The scenario, by way of its file."""
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return load(path)
