"""Cables out and in again: the broker, the balance, two devices at once; and a balance that has no weight to give."""

from __future__ import annotations

import itertools
import sqlite3
import time

import pytest

from gateway.errors import LinegateError
from tests.scenarios.floor import HOT_CEL, HOT_TAG, WEIGHED, Floor

pytestmark = pytest.mark.slow

AWAY_S = 10.0


def test_nothing_is_missing_after_the_broker_was_away(floor: Floor) -> None:
    """Broker killed in mid batch: halts happen all the same; then records and telemetry are whole, alarms first."""
    floor.begin()
    made = floor.truth("filler")["units"]
    floor.wait("a tray is full", lambda: floor.truth("filler")["units"] > made + 120)
    floor.stage.kill("broker")
    gone_ns, gone_s = time.time_ns(), time.monotonic()

    at = floor.deviate(HOT_TAG, HOT_CEL + 20)
    (hold,) = floor.wait("the filler is held", lambda: floor.holds("filler", at["mono_ns"]), 5)
    assert hold["applied"]
    assert (hold["mono_ns"] - at["mono_ns"]) / 1e9 < 1.0
    floor.deviate(HOT_TAG, None)
    floor.wait("it is released without the MES", lambda: _released(floor))
    floor.operate("filler", "unhold", "Execute")
    floor.wait("ten seconds are over", lambda: time.monotonic() - gone_s > AWAY_S, 2 * AWAY_S)
    arrived, back_ns = len(floor.mes.arrivals), time.time_ns()
    floor.stage.start_broker()

    last = floor.wait("the release arrives", lambda: floor.records("halt.released"), 30)[-1]["index"]
    floor.wait("the MES acknowledged it", lambda: int(floor.shown("mes").get("committed_upto", -1)) >= last, 20)
    rows = _consumer(floor)
    assert rows == list(range(len(rows)))
    assert len(rows) > last
    assert "ALARM" not in (floor.stage.folder / "mes.log").read_text()
    _telemetry_is_whole(floor, gone_ns, back_ns)
    _alarms_came_first(floor, arrived, gone_ns, back_ns)


def _released(floor: Floor) -> bool:
    try:
        floor.release("filler")
    except LinegateError:  # the reading that says so is not here yet
        return False
    return not floor.people["olga"].status()["halts"]


def _consumer(floor: Floor) -> list[int]:
    """Indexes the reference consumer has committed; its key makes each of them unique."""
    with sqlite3.connect(f"file:{floor.stage.folder / 'mes.db'}?mode=ro", uri=True) as db:
        assert len(db.execute("SELECT DISTINCT ledger FROM record").fetchall()) == 1
        return [index for (index,) in db.execute("SELECT idx FROM record ORDER BY idx")]


def _telemetry_is_whole(floor: Floor, gone_ns: int, back_ns: int) -> None:
    """Every (boot, seq) up to one that came live; and while the broker was away the rhythm was kept."""
    boot = floor.mes.by_device["balance"][-1]["boot"]

    def live() -> list[int]:
        return [scan["seq"] for scan in list(floor.mes.by_device["balance"]) if int(scan["time"]) > back_ns + 1e9]

    newest = floor.wait("telemetry is live again", live, 20)[0]

    def missing() -> list[int]:
        return [seq for seq in range(1, newest + 1) if (boot, seq) not in floor.mes.scans]

    floor.wait("history is drained", lambda: not missing(), 20)
    for device, period_s in (("reservoir", 0.25), ("balance", 0.2)):
        kept = [scan for scan in floor.mes.by_device[device] if gone_ns < int(scan["time"]) < back_ns]
        assert len({scan["seq"] for scan in kept}) >= 0.75 * AWAY_S / period_s


def _alarms_came_first(floor: Floor, arrived: int, gone_ns: int, back_ns: int) -> None:
    meanwhile = {r["index"] for r in floor.records() if gone_ns < int(r["time"]) < back_ns}
    came = [(index, kind) for index, kind in floor.mes.arrivals[arrived:] if index in meanwhile]
    urgent = [kind.startswith(("halt.", "alarm.")) for _, kind in came]
    assert True in urgent
    assert False in urgent
    first = came[: urgent.index(False)]
    assert {index for index, kind in came if kind.startswith(("halt.", "alarm."))} == {index for index, _ in first}


def test_a_balance_unplugged_in_the_middle_of_a_check(floor: Floor) -> None:
    """The take survives the cable, nothing is judged meanwhile, and what is judged is the weight of the unit there."""
    floor.begin("hundred")
    due = floor.record("check.due", after=floor.newest() - 10, rule=WEIGHED, within_s=20)
    floor.sim("rate", value=1)
    check, unit = due["body"]["id"], int(due["body"]["due_units"])
    made = floor.units(1, unit)
    other = max(made, key=lambda number: abs(made[number]["net_g"] - made[unit]["net_g"]))

    before = floor.newest()
    floor.sim("place", unit=other + floor.base)
    unasked = floor.record("weighing.recorded", after=before)
    assert unasked["body"]["check"] is None
    floor.sim("remove")
    floor.people["tom"].command("check.take", rule=WEIGHED, check=check, unit_no=unit)
    floor.sim("fault", device="balance", name="unstable")
    floor.sim("place", unit=unit + floor.base)
    floor.sim("fault", device="balance", name="cut")
    floor.sim("heal", device="balance", name="unstable")
    floor.record("device.lost", after=before, device="balance")
    floor.record("alarm.raised", after=before, alarm="balance-silent", within_s=10)
    assert not floor.records("check.taken", "check.judged", after=before)

    floor.sim("heal", device="balance", name="cut")
    floor.record("device.connected", after=before, device="balance", within_s=20)
    judged = floor.record("check.judged", after=before, rule=WEIGHED)["body"]
    (sample,) = judged["samples"]
    assert judged["state"] == "passed"
    assert sample["unit_no"] == unit
    assert abs(float(sample["value"]) - made[unit]["net_g"]) < 0.001
    assert abs(float(sample["value"]) - made[other]["net_g"]) > 0.001
    assert len(floor.records("device.lost", after=before)) == 1


def test_a_weight_that_is_none_is_recorded_and_never_judged(floor: Floor) -> None:
    """Not stable, then without a unit: both weighings are in the record with their reason, and the take still waits."""
    floor.begin()
    made = floor.truth("filler")["units"] - floor.base
    floor.wait("ten units", lambda: floor.truth("filler")["units"] - floor.base > made + 10)
    before = floor.newest()
    floor.people["tom"].command("check.take", rule=WEIGHED, unit_no=5)
    for fault, said in (("unstable", "not settled"), ("no_unit", "no unit")):
        at = floor.newest()
        floor.sim("fault", device="balance", name=fault)
        floor.sim("place", unit=5 + floor.base)
        weighing = floor.record("weighing.recorded", after=at, within_s=12)["body"]
        assert said in weighing["reason"], weighing
        assert weighing["passed"] is None
        assert weighing["check"].startswith(WEIGHED)
        floor.sim("remove")
        floor.sim("heal", device="balance")
        floor.wait(
            "the pan is empty", lambda: floor.truth("balance")["stable"] and floor.truth("balance")["net_g"] < 0.01
        )
    assert not floor.records("check.taken", "check.judged", "halt.requested", after=before)

    floor.sim("place", unit=5 + floor.base)
    judged = floor.record("check.judged", after=before, rule=WEIGHED)["body"]
    assert abs(float(judged["samples"][0]["value"]) - floor.units(5, 5)[5]["net_g"]) < 0.001
    assert len(floor.records("weighing.recorded", after=before)) == 2


def test_two_devices_down_at_once(floor: Floor) -> None:
    """Reservoir and viscometer cut: each told once, nobody else's polls are late, both are back without a restart."""
    floor.begin()
    before = floor.newest()
    down = ("reservoir", "viscometer")
    for device in down:
        floor.sim("fault", device=device, name="cut")
    cut_ns = time.time_ns()
    for device in down:
        floor.record("device.lost", after=before, device=device)
        floor.record("alarm.raised", after=before, alarm=f"{device}-silent", within_s=10)
    floor.wait("six seconds are over", lambda: time.time_ns() - cut_ns > 6e9)
    back_ns = time.time_ns()
    for device in down:
        floor.sim("heal", device=device)
    for device in down:
        floor.record("device.connected", after=before, device=device, within_s=20)
        for alarm in (f"link:{device}", f"{device}-silent"):
            floor.record("alarm.cleared", after=before, alarm=alarm, within_s=20)
            assert len(floor.records("alarm.raised", after=before, alarm=alarm)) == 1
        assert len(floor.records("device.lost", after=before, device=device)) == 1
        values = [scan["values"] for scan in floor.mes.by_device[device] if cut_ns + 1e9 < int(scan["time"]) < back_ns]
        assert not any(values), values
    assert not floor.records("gateway.started", after=before)
    for device, period_s in (("filler", 0.25), ("labeller", 0.25), ("balance", 0.2)):
        times = sorted(int(s["time"]) for s in floor.mes.by_device[device] if cut_ns < int(s["time"]) < back_ns)
        pauses_s = sorted((b - a) / 1e9 for a, b in itertools.pairwise(times))
        assert len(times) > 20, f"{device}: {len(times)}"
        assert pauses_s[int(0.95 * len(pauses_s))] < 1.5 * period_s, f"{device}: {pauses_s[-5:]}"
