"""What people brought to checks, from the evidence beside a telemetry store: takes, entries, recalibrations.

Telemetry has the weights; which unit lay on the balance, and for which plan, stands in the ledger.  A replay gives it
to the rules at its time: a take just before the scan whose weight it bound then, so that it binds the same one again,
to whatever check of that rule is open under the rules that are replayed.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.backtest.stored import opened
from gateway.backtest.terms import S_NS, Busy, Due, Notes, Wish
from gateway.errors import LinegateError
from gateway.model import Entry, Json, Value
from gateway.rules.sampling import SamplingConfig
from gateway.rules.takes import TARE
from gateway.rules.tares import is_tare

FILE: Final = "evidence.db"
TAKES: Final = ("take", "reweigh")
SCALE: Final = "scale.repeatability"
"""It counts from its batch on, and those before say what it was when the batch began."""
_TARES: Final = ("balance.tared", "balance.zeroed", "balance.not_done")
_ANY_TIME: Final = (SCALE, *_TARES)
"""Also where no batch is open."""
_KINDS: Final = (
    "batch.ordered",
    "batch.started",
    "batch.completed",
    "batch.aborted",
    "check.taken",
    "weighing.recorded",
    "verification.started",
    "process.adjusted",
    "halt.released",
    *_ANY_TIME,
)
_SQL: Final = (
    "SELECT kind, batch, time_ns, payload FROM record "  # noqa: S608  # our own words
    f"WHERE kind IN ({', '.join('?' * len(_KINDS))}) "
    f"AND (batch IS NOT NULL OR kind IN ({', '.join('?' * len(_ANY_TIME))})) ORDER BY idx"
)


class Brought(msgspec.Struct, frozen=True):
    """One thing that somebody brought, before it is known which rules judge."""

    time_ns: int
    """Wall clock: what is scanned at this time, or later, comes after it."""
    entry: Entry
    """Without a rule: an event of `device`, told to every plan that looks at it."""
    device: str = ""
    unsettled: bool = False
    """Armed in vain: the scan at this time said that the pan did not settle for as long as its rule waits."""
    but: str = ""
    """Not this rule: it was recalibrated, and goes on in verification."""
    of_chart: bool = False
    """Recorded with the release of a halt: it is a chart's own, if a chart ordered that."""


class Evidence(msgspec.Struct, frozen=True):
    """Of one batch."""

    brought: tuple[Brought, ...] = ()
    facts: Mapping[str, Json] = {}
    """What rules call batch.*."""
    started_ns: int | None = None
    """When the batch was started: units are counted from there."""
    ended_ns: int | None = None
    """When it was completed or aborted: nothing falls due afterwards."""
    busy: tuple[Busy, ...] = ()
    """In the order of time, in a batch or not."""

    def rules(self) -> frozenset[str]:
        """Those it holds samples for."""
        return frozenset(each.entry.rule for each in self.brought if each.entry.kind in ("take", "value"))

    def entries(
        self, rules: Mapping[str, SamplingConfig], charts: Container[str], periods_s: Mapping[str, float]
    ) -> list[Due]:
        """In the order of time, for these sampling rules and charts; `periods_s`: device -> time between its scans."""
        found = [
            Due(
                each.time_ns - (_waited_ns(rules[entry.rule], periods_s) if each.unsettled else 0),
                entry,
                binds=entry.kind in TAKES and not each.unsettled,
            )
            for each in self.brought
            for entry in _told(each, rules, charts)
        ]
        return sorted(found, key=lambda due: due.time_ns)


def _told(each: Brought, rules: Mapping[str, SamplingConfig], charts: Container[str]) -> Iterator[Entry]:
    if each.of_chart:
        if each.entry.rule in charts:
            yield each.entry
        return
    if each.entry.rule:
        if each.entry.rule in rules:
            yield each.entry
        return
    for name, config in rules.items():
        if _looks(each, config) and name != each.but:
            yield msgspec.structs.replace(each.entry, rule=name)


def _waited_ns(config: SamplingConfig, periods_s: Mapping[str, float]) -> int:
    """From just before the first unsteady scan to the one that said so."""
    period_s = periods_s.get((config.weight or "").partition("/")[0], 0.0)
    return round((config.settle_s + period_s / 2) * S_NS)


def _looks(each: Brought, config: SamplingConfig) -> bool:
    if each.entry.kind == "scale":
        return config.scale is not None and (config.weight or "").startswith(f"{each.device}/")
    return not each.device or any(tag.startswith(f"{each.device}/") for tag in config.inputs())


def evidence(data: Sequence[Path], wish: Wish, notes: Notes) -> Evidence:
    """Of the one batch there is, or of the one asked for; of none where there is no evidence, or no one batch."""
    try:
        records = [record for path in data if (file := _beside(path)) is not None for record in _read(file)]
    except LinegateError as error:  # the telemetry can be judged all the same
        notes.say(f"{error}; plans are judged without it")
        return Evidence()
    numbers = list(dict.fromkeys(batch for kind, batch, _, _ in records if kind == "check.taken"))
    wanted = wish.batch.get("number")
    if wanted is None and len(numbers) > 1:
        notes.say(
            f"the evidence holds checks of several batches: choose one by --batch number=... ({', '.join(numbers)})"
        )
    number = wanted if wanted is not None else numbers[0] if len(numbers) == 1 else None
    busy = tuple(sorted(_busy(records), key=lambda each: each.since_ns))
    if number is None or number not in numbers:
        return Evidence(busy=busy)
    ours = [(kind, time_ns, body) for kind, batch, time_ns, body in records if number == batch or kind == SCALE]
    facts: Mapping[str, Json] = next((body["facts"] for kind, _, body in ours if kind == "batch.ordered"), {})
    started, ended = (
        next((time_ns for kind, time_ns, _ in ours if kind in kinds), None)
        for kinds in (("batch.started",), ("batch.completed", "batch.aborted"))
    )
    notes.say(f"batch {number}: takes and entries as the evidence has them")
    return Evidence(
        tuple(_brought(ours, started or 0)), {**facts, **wish.batch, "number": number}, started, ended, busy
    )


def _busy(records: Iterable[tuple[str, str, int, Any]]) -> Iterator[Busy]:
    for kind, _, time_ns, body in records:
        if kind in _TARES:
            yield Busy(time_ns - int(body.get("took_ns", 0)), time_ns, body["device"])


def _beside(path: Path) -> Path | None:
    folder = path if path.is_dir() else path.parent
    file = folder / FILE
    return file if file.is_file() and (path.is_dir() or path.suffix in (".db", ".sqlite")) else None


def _read(file: Path) -> list[tuple[str, str, int, Any]]:
    """LinegateError: it cannot be read."""
    with opened(file, "SELECT kind, batch, time_ns, payload FROM record LIMIT 0", "evidence") as database:
        rows: list[Any] = database.execute(_SQL, (*_KINDS, *_ANY_TIME)).fetchall()
    try:
        return [(kind, batch, time_ns, msgspec.json.decode(payload)["body"]) for kind, batch, time_ns, payload in rows]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise LinegateError(f"{file}: holds a record that cannot be read: {error}") from None


def _brought(records: Iterable[tuple[str, int, Any]], started_ns: int) -> Iterator[Brought]:
    for kind, time_ns, body in records:
        match kind:
            case "check.taken":
                yield _sample(body)
            case "weighing.recorded" if is_tare(body["reason"]):
                yield _take("take", body["rule"], body, TARE)
            case "weighing.recorded" if body["check"] is not None:
                yield msgspec.structs.replace(_take("take", body["rule"], body), unsettled=True)
            case "scale.repeatability":
                entry = Entry("scale", "", "", value=body["repeatability"], unit=body["unit"])
                yield Brought(max(time_ns, started_ns), entry, body["device"])
            case "verification.started":
                yield Brought(time_ns, Entry("recalibrated", body["rule"], "", text=body["recalibration"]))
            case "process.adjusted":
                yield Brought(time_ns, Entry("adjusted", "", "", text=body["text"]), body["device"])
            case "halt.released":
                if corrected := body.get("recalibration"):
                    entry = Entry("recalibrated", body["rule"], "", text=corrected)
                    yield Brought(time_ns, entry, of_chart=True)
                yield Brought(time_ns, Entry("released", "", "", text=body["halt"]), body["device"], body["rule"])


def _sample(body: Any) -> Brought:
    """As it was taken: its empty one was weighed before it, or there is no tare of its own."""
    sample = body["sample"]
    name = sample["characteristic"]
    source = next((asked["source"] for asked in body["asks"] if asked["name"] == name), "weighing")
    if source == "entry":
        return Brought(int(sample["time_ns"]), _entry("value", body["rule"], sample, sample["value"], sample["unit"]))
    return _take("reweigh" if sample["reweigh"] else "take", body["rule"], sample)


def _take(kind: str, rule: str, sample: Any, stage: str = "") -> Brought:
    """Just before the scan whose weight it bound."""
    return Brought(int(sample["time_ns"]) - 1, _entry(kind, rule, sample, stage=stage))


def _entry(
    kind: str, rule: str, sample: Any, value: Value = None, unit: str | None = None, *, stage: str = ""
) -> Entry:
    return Entry(
        kind,
        rule,
        sample["person"],
        characteristic=sample["characteristic"],
        value=value,
        unit=unit,
        unit_no=sample["unit_no"],
        tray=sample["tray"],
        text=sample["why"],
        item=sample["item"],
        stage=stage,
    )
