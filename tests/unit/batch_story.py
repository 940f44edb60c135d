"""A batch as the demo lives it, as records: the heater fails, a check fails, the filler is held, a label is wrong.

Lifecycle records come from the real lifecycle functions; what other rooms record is written here in their words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from gateway.batch import lifecycle
from gateway.batch.complete import findings
from gateway.batch.counts import CountEntry, Counters
from gateway.batch.order import Coa, Material, Order
from gateway.batch.state import Batch
from gateway.model import Draft, Principal
from gateway.recipe import Characteristic, Label, Plan, Recipe, Step, Window, Yield
from gateway.verdicts import Check, CheckState, Sample

S = 1_000_000_000
T0 = int(datetime(2026, 3, 14, 9, 0, 0, tzinfo=UTC).timestamp()) * S
TODAY = date(2026, 3, 14)

WEIGHT = Window(unit="g", target="1.000", low="0.980", high="1.020")
TIGHT = Window(unit="g", target="1.000", low="0.950", high="1.050")


def recipe(**changes: Any) -> Recipe:
    """The 1.00 g cartridge, with plans fast enough for a short run."""
    facts: dict[str, Any] = {
        "id": "cart-1g",
        "version": "4",
        "name": "Vape cartridge 1.00 g",
        "sku": "VC-100-BD",
        "approved_by": "R. Okafor, QA, 2026-02-02",
        "windows": {
            "oil_temperature": Window(unit="Cel", target=60, low=52, high=68, warn_low=55, warn_high=65),
            "viscosity": Window(unit="mPa.s", target=900, low=600, high=1500, warn_high=1250),
        },
        "plans": {
            "every_15_min": Plan(
                every="30s",
                n=5,
                grace="40s",
                characteristics=(
                    Characteristic(name="weight", kind="variable", source="weighing", window=WEIGHT),
                    Characteristic(name="leaks", kind="attribute"),
                ),
            ),
            "every_100": Plan(
                every_units=100,
                n=1,
                characteristics=(Characteristic(name="weight", kind="variable", source="weighing", window=TIGHT),),
            ),
        },
        "label": Label(warning_code="CA-P65-7", thc_tolerance="0.5"),
        "materials": ("oil", "cartridge", "label"),
        "before_start": (
            Step(
                id="line-clearance",
                text="Line cleared: nothing of the last batch remains, surfaces sanitized",
                second_role="qa",
                covers=("area-before", "sanitation"),
            ),
            Step(
                id="setup",
                text="Filler set to 1.000 g, balance checked, lots scanned",
                covers=("components-verified", "oil-release"),
            ),
            Step(id="label-proof", text="Label proof matches COA, batch and UID", role="qa", covers=("label-proof",)),
        ),
        "before_close": (
            Step(id="cleaning", text="Line cleaned, waste removed", covers=("area-after",)),
            Step(id="review", text="Record reviewed", meaning="reviewed", role="qa", covers=("examination",)),
        ),
        "yields": Yield(oil_per_unit="1.000", min_percent="95.0", max_percent="102.0"),
    }
    return Recipe(**(facts | changes))


def order(**changes: Any) -> Order:
    coa = Coa(id="COA-88213", lab="Front Range Analytics", thc_percent="84.20", passed=True, issued=date(2026, 3, 2))
    facts: dict[str, Any] = {
        "order": "SO-20418",
        "batch": "B-2026-0314-02",
        "sku": "VC-100-BD",
        "recipe": "cart-1g@4",
        "quantity": 650,
        "uid": "1A4010300003F86000017700",
        "materials": (
            Material(
                kind="oil", lot="DST-0291", uid="1A4010300003F86000017647", quantity="700", unit="g",
                expires=date(2026, 9, 1), coa=coa,
            ),
            Material(kind="cartridge", lot="CCELL-5521", uid="1A4010300003F86000017648", quantity=700, unit="{count}"),
            Material(kind="label", lot="ROLL-77", uid="1A4010300003F86000017649", quantity=800, unit="{count}"),
        ),
    }  # fmt: skip
    return Order(**(facts | changes))


def person(name: str, full_name: str, *roles: str) -> Principal:
    return Principal(name, frozenset(roles), "cli", full_name)


ANA = person("ana", "Ana Ruiz", "operator")
TOM = person("tom", "Tom Weber", "technician", "operator")
QUINN = person("quinn", "Quinn Adeyemi", "qa")


class Story:
    """Records in order, each in the ledger's envelope."""

    def __init__(self, first_index: int = 1040) -> None:
        self.records: list[dict[str, Any]] = []
        self.index = first_index
        self.recipe = recipe()
        self.batch: Batch | None = None
        self.alarm_states: dict[str, str] = {}

    def add(self, at_s: float, kind: str, body: dict[str, Any], by: str = "gateway") -> int:
        """One record, `at_s` seconds after nine o'clock; answers with its index."""
        self.records.append(
            {
                "v": 1,
                "ledger": "9f2c1be07d4a6c55",
                "index": self.index,
                "prev": f"{self.index * 2654435761 % 2**64:016x}" * 4,
                "time": str(T0 + int(at_s * S)),
                "boot": "5be1d0c7a93f0214",
                "kind": kind,
                "batch": "B-2026-0314-02",
                "by": by,
                "context": {
                    "config": "c1d2" * 16,
                    "rules": "aa07" * 16,
                    "recipe": "cart-1g@4#" + "77b0" * 16,
                    "clock": "synchronised",
                },
                "body": body,
            }
        )
        self.index += 1
        return self.index - 1

    def change(self, at_s: float, change: tuple[Batch, Iterable[Draft]]) -> Batch:
        """Take a lifecycle change: its batch and its records."""
        self.batch, drafts = change
        for draft in drafts:
            self.add(at_s, draft.kind, msgspec.json.decode(msgspec.json.encode(draft.body)), draft.by)
        return self.batch


def _sorted(story: Story) -> None:
    """Records as they were really made: by time, the indexes in that order."""
    first = story.records[0]["index"]
    story.records.sort(key=lambda record: int(record["time"]))
    for index, record in enumerate(story.records, first):
        record["index"] = index


def at(seconds: float) -> int:
    return T0 + int(seconds * S)


def check_body(check: Check, sample: Sample | None = None, suspects: tuple[str, ...] = ()) -> dict[str, Any]:
    """A check as the line records it: decimals and nanoseconds as strings."""
    body = _strings(msgspec.to_builtins(check)) | {"suspects": list(suspects)}
    return body | ({"sample": _strings(msgspec.to_builtins(sample))} if sample else {})


def _strings(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _strings(inner, name) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strings(inner) for inner in value]
    numeric = key == "value" or key.endswith("_ns")
    return str(value) if numeric and isinstance(value, (int, float)) else value


# -- the process: what the equipment did, second by second ------------------------------------------

HEATER_OUT, HEATER_BACK = 62.0, 152.0
FILLER_HELD, FILLER_ON = 118.0, 165.0
LABELLER_HELD, LABELLER_ON = 214.0, 231.0
END = 266.0
RATE = 3.0
"""Units a second."""


def temperature(t: float) -> float:
    low = 60 - 14 * (1 - math.exp(-(min(t, HEATER_BACK) - HEATER_OUT) / 55)) if t > HEATER_OUT else 60.0
    if t > HEATER_BACK:
        low = 60 - (60 - low) * math.exp(-(t - HEATER_BACK) / 14)
    return low + 0.12 * math.sin(t * 0.9)


def viscosity(t: float) -> float:
    return 900 * math.exp(0.062 * (60 - temperature(t))) + 6 * math.sin(t * 1.7)


def dose(t: float) -> Decimal:
    drift = 1.15e-7 * max(0.0, 60 - temperature(t)) ** 6
    return Decimal(f"{1.0012 - drift * (1 if t < FILLER_ON else 0) + 0.0042 * math.sin(t * 12.9898):.4f}")


def units(t: float) -> int:
    """Filled up to then; the filler stands while it is held."""
    ran = min(t, FILLER_HELD) + max(0.0, min(t, END) - FILLER_ON)
    return max(0, int(RATE * ran))


def series() -> dict[str, list[tuple[int, float | None]]]:
    """Half-second telemetry; the viscometer was away for ten seconds, its first reading then bad."""
    grid = [step / 2 for step in range(-20, int(END * 2) + 20)]
    away = [t for t in grid if not 186.0 <= t < 196.0]
    return {
        "reservoir/temperature": [(at(t), round(temperature(t), 2)) for t in grid],
        "viscometer/viscosity": [(at(t), None if t == 196.0 else round(viscosity(t), 1)) for t in away],
    }


# -- the story ---------------------------------------------------------------------------------------


def tray_at(unit: int) -> str:
    return f"T-{41 + (unit - 1) // 100}"


def judged_check(story: Story, rule: str, number: int, due_s: float, n: int, **facts: Any) -> Check:
    """A check from due to judged: each weighing a record, limits by the plan's window."""
    window = TIGHT if rule == "one-in-100" else WEIGHT
    plan = "every_100" if rule == "one-in-100" else "every_15_min"
    check = Check(
        id=f"{rule}#{number}",
        rule=rule,
        plan=plan,
        why=facts.get("why", "schedule"),
        state=CheckState.DUE,
        n=n,
        due_ns=at(due_s),
        due_units=facts.get("due_units"),
        tray=tray_at(max(1, units(due_s))),
    )
    story.add(due_s, "check.due", check_body(check))
    start = facts.get("taken_s", due_s + 6)
    for position in range(n):
        t = start + 1.8 * position
        weight = dose(min(t, FILLER_HELD - 1) if t < FILLER_ON else t + position * 0.37).quantize(Decimal("0.001"))
        inside = window.low is not None and window.high is not None and window.low <= weight <= window.high
        unit = max(1, units(due_s) - n + 1 + position)
        sample = Sample(
            "weight", weight, "g", unit, tray_at(unit), at(t), "tom", inside, raw=f"S S {weight:>10} g"
        )  # fmt: skip
        check = msgspec.structs.replace(check, state=CheckState.TAKEN, samples=(*check.samples, sample))
        body = _strings(msgspec.to_builtins(sample)) | {"rule": rule, "check": check.id}
        story.add(t, "weighing.recorded", body, "tom")
        story.add(t, "check.taken", check_body(check, sample), "tom")
        if story.batch is not None:
            story.batch = lifecycle.weighed(story.batch, story.recipe, sample)
    passed = all(sample.passed for sample in check.samples)
    state = CheckState.PASSED if passed else CheckState.FAILED
    worst = min(sample.value for sample in check.samples)
    text = "" if passed else f"weight {worst} g is below {window.low} g"
    done = start + 1.8 * (n - 1) + 0.2
    check = msgspec.structs.replace(check, state=state, closed_ns=at(done), text=text, late=facts.get("late", False))
    story.add(done, "check.judged", check_body(check, suspects=facts.get("suspects", ())), "tom")
    return check


def alarm(story: Story, at_s: float, word: str, name: str, by: str = "gateway", **facts: Any) -> None:
    body = {"alarm": name, "occurrence": 1, "priority": "medium", "text": "", "subject": "", "value": None}
    states = story.alarm_states
    over = facts.pop("fleeting", False) or states.get(name) == "rtn_unack"
    after = {"raised": "rtn_unack" if over else "unack", "acknowledged": "normal" if over else "acked"}
    states[name] = after.get(word) or ("normal" if states[name] == "acked" else "rtn_unack")
    story.add(at_s, f"alarm.{word}", body | {"limit": None, "unit": "1", "state": states[name]} | facts, by)


def halt(story: Story, at_s: float, word: str, device: str, rule: str, **facts: Any) -> None:
    by = facts.pop("by", "gateway")
    body = {"halt": f"{device}:{rule}", "device": device, "rule": rule, "version": 1, "state": word, "tries": 1}
    story.add(at_s, f"halt.{word}", body | facts, by)


def told() -> Story:
    """The whole batch, closed and released with its findings explained."""
    story = Story()
    _before(story)
    _running(story)
    _after(story)
    return story


def _before(story: Story) -> None:
    story.add(-290, "device.connected", {"device": "filler", "text": "filler is connected", "identity": FILLER})
    batch = story.change(-240, lifecycle.planned(order(), story.recipe, "77b0" * 16, at(-240)))
    for t, step, who, comment in (
        (-200, "line-clearance", ANA, "label bin emptied"),
        (-170, "line-clearance", QUINN, ""),
        (-120, "setup", TOM, "balance 0.0001 g off at 1 g, within limits"),
        (-60, "label-proof", QUINN, "specimen in folder 14"),
    ):
        batch = story.change(t, lifecycle.sign(batch, story.recipe, step, who, "", at(t), comment))
    batch = enter(story, -50, ANA, "labels_issued", "720", "{count}", "roll 77")
    enter(story, -45, TOM, "oil_charged", "690.4", "g", "kettle 3, witnessed by A. Ruiz")


def enter(  # told in the order of the sentence
    story: Story, t: float, who: Principal, name: str, value: str, unit: str, *comment: str, **more: Any
) -> Batch:
    entry = CountEntry(name, Decimal(value), unit, "".join(comment), more.get("supersedes"))
    assert story.batch is not None
    return story.change(t, lifecycle.entered(story.batch, story.recipe, entry, who, at(t)))


def count_to(story: Story, t: float) -> None:
    """The filler's and labeller's scans up to a moment."""
    assert story.batch is not None
    counters = Counters(
        units=88_210 + units(t), rejects=4 + units(t) // 160, labels=12_000 + max(0, units(t) - units(t) // 160 - 2)
    )
    unit = max(1, units(t))
    story.change(t, lifecycle.counted(story.batch, counters, tray_at(unit), at(t), (unit - 1) % 100 + 1))


FILLER = {
    "maker": "Sim Fill",
    "model": "F-200",
    "serial": "F2-00317",
    "firmware": "3.4.1",
    "calibration due": "2026-06-30",
}
SUSPECT = ("T-43", "T-44")


def _running(story: Story) -> None:
    batch = story.batch
    assert batch is not None
    zero = Counters(units=88_210, rejects=4, labels=12_000)
    story.change(0, lifecycle.start(batch, story.recipe, "ana", zero, at(0)))
    count_to(story, 10)
    judged_check(story, "five-in-15", 1, 30, 5)
    count_to(story, 34)
    judged_check(story, "one-in-100", 1, 33.4, 1, due_units=100)
    judged_check(story, "five-in-15", 2, 60, 5)
    count_to(story, 67)
    judged_check(story, "one-in-100", 2, 66.7, 1, due_units=200)
    hot = {"subject": "reservoir/temperature", "value": "54.9", "limit": "55", "unit": "Cel"}
    alarm(story, 86, "raised", "oil-temperature", text="oil temperature 54.9 Cel is below 55 Cel", **hot)
    thick = {"subject": "viscometer/viscosity", "value": "1251", "limit": "1250", "unit": "mPa.s"}
    alarm(story, 88, "raised", "viscosity", text="viscosity 1251 mPa.s is above 1250 mPa.s", **thick)
    judged_check(story, "five-in-15", 3, 90, 5)
    alarm(
        story,
        97,
        "acknowledged",
        "oil-temperature",
        "tom",
        text="oil temperature 54.9 Cel is below 55 Cel",
        comment="looking at the heater",
        **hot,
    )
    count_to(story, 101)
    story.add(60, "telemetry.root", {"root": "3fa9" * 16, "batches": "118", "first": "40112", "last": "42510"})
    _failed_check(story)
    _recovered(story)


def _failed_check(story: Story) -> None:
    count_to(story, 117)
    check = judged_check(story, "one-in-100", 3, 100, 1, due_units=300, taken_s=117.4, suspects=SUSPECT)
    text = check.text
    light = {"subject": check.id, "value": str(check.samples[0].value), "limit": "0.950", "unit": "g", "text": text}
    stamps = {"sampled": str(at(117.6)), "judged": str(at(117.6) + 300_000), "suspects": list(SUSPECT), "text": text}
    halt(story, 117.61, "requested", "filler", "one-in-100", commanded=None, confirmed=None, **stamps)
    alarm(story, 117.61, "raised", "one-in-100", priority="high", **light, fleeting=True)
    assert story.batch is not None
    story.change(117.61, lifecycle.suspect(story.batch, SUSPECT, text))
    held = stamps | {"commanded": str(at(117.6) + 1_400_000), "confirmed": str(at(117.6) + 48_700_000)}
    halt(story, 117.66, "confirmed", "filler", "one-in-100", proof="PackML Held (11)", **held)
    count_to(story, 119)
    seen = light | {"comment": "filler stands"}
    alarm(story, 126, "acknowledged", "one-in-100", "tom", priority="high", **seen, fleeting=True)
    fixed = "heater relay replaced; dose recalibrated, 5 x 1.000 g"
    why = "heater relay had failed"
    halt(story, 161, "released", "filler", "one-in-100", by="tom", **held, reason=why, recalibration=fixed)
    body = {"rule": "one-in-100", "recalibration": fixed, "halt": "filler:one-in-100"}
    story.add(161, "verification.started", body, "tom")


def _recovered(story: Story) -> None:
    alarm(
        story,
        163,
        "cleared",
        "viscosity",
        text="viscosity 1190 mPa.s",
        subject="viscometer/viscosity",
        value="1190",
        unit="mPa.s",
    )
    alarm(
        story,
        164,
        "cleared",
        "oil-temperature",
        text="oil temperature 56.1 Cel",
        subject="reservoir/temperature",
        value="56.1",
        unit="Cel",
    )
    for number in range(4, 9):
        judged_check(story, "one-in-100", number, 164 + number * 0.4, 1, why="verification", taken_s=158 + 2.2 * number)
    story.add(178, "verification.ended", {"rule": "one-in-100", "units": "5"})
    count_to(story, 182)
    judged_check(story, "five-in-15", 4, 183, 5)
    judged_check(story, "one-in-100", 9, 181, 1, due_units=400)
    story.add(186, "device.lost", {"device": "viscometer", "text": "viscometer was lost", "reason": "no answer in 1 s"})
    story.add(196, "device.connected", {"device": "viscometer", "text": "viscometer is connected", "identity": {}})
    missed = Check(
        "five-in-15#5",
        "five-in-15",
        "every_15_min",
        "schedule",
        CheckState.MISSED,
        5,
        at(201),
        None,
        tray_at(460),
        text="not taken within 40 s",
    )
    story.add(201, "check.due", check_body(msgspec.structs.replace(missed, state=CheckState.DUE, text="")))
    count_to(story, 213)
    _wrong_label(story)
    story.add(241, "check.missed", check_body(missed))
    alarm(
        story,
        241,
        "raised",
        "five-in-15",
        priority="high",
        text="check five-in-15#5 was missed",
        subject="five-in-15#5",
        fleeting=True,
    )
    count_to(story, 215)
    judged_check(story, "one-in-100", 10, 214.5, 1, due_units=500, taken_s=228)
    count_to(story, 249)
    judged_check(story, "one-in-100", 11, 248, 1, due_units=600)
    alarm(
        story,
        252,
        "acknowledged",
        "five-in-15",
        "ana",
        priority="high",
        text="check five-in-15#5 was missed",
        subject="five-in-15#5",
        fleeting=True,
        comment="at the labeller; taken up with the shift leader",
    )
    alarm(story, 254, "acknowledged", "viscosity", "tom", text="viscosity 1251 mPa.s", subject="viscometer/viscosity")


def _wrong_label(story: Story) -> None:
    text = 'label says batch "B-2026-0311-01", the batch is "B-2026-0314-02"'
    stamps = {"sampled": str(at(LABELLER_HELD)), "judged": str(at(LABELLER_HELD) + 200_000), "text": text}
    halt(story, LABELLER_HELD, "requested", "labeller", "label-content", commanded=None, confirmed=None, **stamps)
    alarm(
        story,
        LABELLER_HELD,
        "raised",
        "label-content",
        priority="critical",
        text=text,
        subject="labeller/batch",
        fleeting=True,
    )
    held = stamps | {"commanded": str(at(LABELLER_HELD) + 900_000), "confirmed": str(at(LABELLER_HELD) + 61_000_000)}
    halt(story, LABELLER_HELD + 0.07, "confirmed", "labeller", "label-content", proof="PackML Held (11)", **held)
    alarm(
        story,
        222,
        "acknowledged",
        "label-content",
        "ana",
        priority="critical",
        text=text,
        subject="labeller/batch",
        fleeting=True,
        comment="roll of the last batch",
    )
    halt(
        story,
        LABELLER_ON,
        "released",
        "labeller",
        "label-content",
        by="ana",
        **held,
        reason="roll 77 loaded, wrong label peeled off",
    )


def _after(story: Story) -> None:
    assert story.batch is not None
    _sorted(story)
    count_to(story, END - 2)
    last = Counters(units=88_210 + units(END), rejects=4 + 4, labels=12_000 + units(END) - 6)
    batch = story.change(END, lifecycle.complete(story.batch, story.recipe, "ana", last, at(END)))
    made = units(END)
    enter(story, END + 30, ANA, "labels_damaged", "3", "{count}", "one wrong, two torn")
    enter(story, END + 34, ANA, "labels_samples", "2", "{count}")
    enter(story, END + 40, ANA, "labels_returned", str(720 - made + 6 - 5 - 10), "{count}")
    batch = enter(
        story,
        END + 71,
        ANA,
        "labels_returned",
        str(720 - made + 6 - 5),
        "{count}",
        "counted again: a strip of ten was overlooked",
        supersedes=5,
    )
    enter(story, END + 80, TOM, "units_destroyed", "2", "{count}", "seal test")
    enter(
        story, END + 95, TOM, "oil_remaining", f"{Decimal('690.4') - made * Decimal('0.994') - Decimal('1.9'):.1f}", "g"
    )
    batch = enter(story, END + 99, TOM, "oil_waste", "2.6", "g", "purge after recalibration")
    for tray, word, why in (
        ("T-43", "released", "all 100 weighed again, within 2 %"),
        ("T-44", "rejected", "41 of 54 below 0.98 g"),
    ):
        batch = story.change(END + 150, lifecycle.dispose_tray(batch, tray, word, QUINN, why))
    batch = story.change(END + 200, lifecycle.sign(batch, story.recipe, "cleaning", ANA, "", at(END + 200)))
    batch = story.change(END + 900, lifecycle.sign(batch, story.recipe, "review", QUINN, "", at(END + 900)))
    reason = "Investigated under DEV-0318; suspect trays weighed again, tray T-44 rejected."
    change = lifecycle.close(
        batch,
        story.recipe,
        "released",
        QUINN,
        findings(story.records),
        at(END + 960),
        reasons=reason,
        comment="with tray T-44 rejected",
    )
    story.change(END + 960, change)


def clean() -> Story:
    """A short batch in which nothing goes wrong: complete, reviewed, not closed yet."""
    story = Story()
    _before(story)
    assert story.batch is not None
    zero = Counters(units=88_210, rejects=4, labels=12_000)
    story.change(0, lifecycle.start(story.batch, story.recipe, "ana", zero, at(0)))
    count_to(story, 10)
    judged_check(story, "five-in-15", 1, 30, 5)
    count_to(story, 34)
    judged_check(story, "one-in-100", 1, 33.4, 1, due_units=100)
    story.add(36, "telemetry.root", {"root": "3fa9" * 16, "batches": "118", "first": "40112", "last": "42510"})
    story.alarm_states.clear()
    alarm(story, 40, "raised", "oil-temperature", text="oil temperature 54.9 Cel is below 55 Cel")
    alarm(story, 42, "acknowledged", "oil-temperature", "tom", text="oil temperature 54.9 Cel is below 55 Cel")
    alarm(story, 44, "cleared", "oil-temperature", text="oil temperature 56.0 Cel")
    last = Counters(units=88_210 + 180, rejects=4 + 1, labels=12_000 + 178)
    batch = story.change(60, lifecycle.complete(story.batch, story.recipe, "ana", last, at(60)))
    enter(story, 70, ANA, "labels_returned", str(720 - 178), "{count}")
    enter(story, 72, TOM, "units_destroyed", "1", "{count}", "seal test")
    batch = enter(story, 74, TOM, "oil_remaining", "510.0", "g")
    batch = story.change(80, lifecycle.sign(batch, story.recipe, "cleaning", ANA, "", at(80)))
    story.change(90, lifecycle.sign(batch, story.recipe, "review", QUINN, "", at(90)))
    _sorted(story)
    return story
