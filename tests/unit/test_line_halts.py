"""Halts through the whole line: rules, latch, station, machine and store, on a virtual clock."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from line_kit import EXECUTE, HELD, OPERATOR, STOPPED, TECHNICIAN, Kit

from gateway import halts
from gateway.errors import Refused, StoreError
from gateway.halts import TRIES, HaltState, Needs
from gateway.model import Severity
from gateway.verdicts import Verdict

pytestmark = pytest.mark.looptime(start=1000)

HOT = "filler:hot"
FOUND = "filler:found-held"


async def heat(kit: Kit, degrees: float = 95.0, seconds: float = 0.5) -> None:
    kit.oven["temperature"] = degrees
    await asyncio.sleep(seconds)


async def release(kit: Kit, halt: str = HOT, **changed: Any) -> None:
    """As somebody would who did everything right; `changed` says what not."""
    standing = kit.holds.standing.get(halt)
    asked: dict[str, Any] = {
        "halt": halt,
        "version": standing.version if standing else 1,
        "reason": "controller replaced",
        **changed,
    }
    await kit.ask("halt.release", TECHNICIAN, **asked)


async def acknowledge(kit: Kit, alarm: str = "hot") -> None:
    standing = kit.line.alarms.standing[alarm]
    await kit.ask("alarm.acknowledge", alarm=alarm, occurrence=standing.occurrence)


async def refused(code: str, awaitable: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await awaitable
    assert caught.value.code == code
    return caught.value


# -- halt first, record second --------------------------------------------------------------------------


async def test_the_machine_has_its_order_before_any_record_is_sealed(tmp_path: Path) -> None:
    """The write goes out, then the ledger hears of it: for a scan of another device."""
    async with Kit(tmp_path) as kit:
        kit.log.clear()
        await heat(kit)

        assert kit.log[:2] == [f"halt {HOT}", "sealed halt.requested"]
        assert kit.filler.held


async def test_the_machines_own_scan_gives_it_the_same_head_start(tmp_path: Path) -> None:
    """A wrong label and the unit count come with one scan: what is counted waits until the order is out."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        await asyncio.sleep(0.5)
        kit.log.clear()
        kit.filler["label"] = "B9"
        kit.make(1)
        await asyncio.sleep(0.5)

        assert kit.log[0] == "halt filler:label"
        assert "sealed halt.requested" in kit.log


async def test_an_entered_defect_halts_before_it_is_recorded(tmp_path: Path) -> None:
    """A person who enters leaks gets the answer after the record, and the record comes after the order."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.make(1000)
        await asyncio.sleep(0.5)
        check = next(check for check in kit.line.checks.open if check.startswith("leaks"))
        kit.log.clear()
        await kit.ask("check.value", check=check, characteristic="leaks", value="3", unit="1")

        assert kit.log[0] == "halt filler:leaks"
        assert kit.filler.held


async def test_records_and_state_of_an_event_are_one_transaction(tmp_path: Path) -> None:
    """Request, alarm and rule state of one verdict go to the store together, each with its row."""
    async with Kit(tmp_path) as kit:
        kit.evidence.submits.clear()
        await heat(kit)
        kinds, rows = next(each for each in kit.evidence.submits if "halt.requested" in each[0])

        assert {"halt.requested", "alarm.raised"} <= set(kinds)
        assert {("halt", HOT), ("alarm", "hot"), ("rule", "hot")} <= set(rows)


async def test_the_record_carries_four_stamps_in_their_order(tmp_path: Path) -> None:
    """Sampled, judged, commanded, confirmed."""
    async with Kit(tmp_path) as kit:
        await heat(kit)
        body = kit.records("halt.confirmed")[-1]["body"]

        stamps = [int(body[name]) for name in ("sampled", "judged", "commanded", "confirmed")]
        assert stamps == sorted(stamps)


# -- the machine's own word -----------------------------------------------------------------------------


async def test_a_machine_found_held_becomes_a_latched_halt(tmp_path: Path) -> None:
    """Somebody held the filler in a producing batch: that stands until it is released with a reason."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.filler.held = True
        await asyncio.sleep(1)
        assert list(kit.holds.standing) == [FOUND]
        assert kit.records("halt.requested")[-1]["batch"] == "B1"

        await refused("not_acknowledged", release(kit, FOUND))
        await acknowledge(kit, "found-held:filler")
        await release(kit, FOUND)
        assert not kit.holds.standing


@pytest.mark.parametrize("state", [HELD, STOPPED])
async def test_no_batch_no_found_held(tmp_path: Path, state: int) -> None:
    """In the morning a machine stands as it was left; that is normal."""
    async with Kit(tmp_path) as kit:
        kit.filler.held, kit.filler.values["state"] = state == HELD, state
        await asyncio.sleep(2)

        assert not kit.holds.standing


async def test_after_a_release_standing_is_no_news_until_the_machine_moved(tmp_path: Path) -> None:
    """The operator restarts when ready, also after a restart of the gateway; held again later, it is found again."""
    async with Kit(tmp_path) as first:
        await first.begin()
        await heat(first)
        await heat(first, 62.0, 1)
        await acknowledge(first)
        await release(first)
        await asyncio.sleep(2)
        assert not first.holds.standing

        kit = await first.again()
        await asyncio.sleep(2)
        assert not kit.holds.standing

        kit.filler.held = False
        await asyncio.sleep(1)
        kit.filler.held = True
        await asyncio.sleep(1)
        assert list(kit.holds.standing) == [FOUND]


async def test_a_machine_that_leaves_held_is_held_again_and_that_is_an_alarm(tmp_path: Path) -> None:
    """Somebody unheld the filler while latched: asked again at once, recorded, and told at the highest priority."""
    async with Kit(tmp_path) as kit:
        await heat(kit)
        version = kit.holds.standing[HOT].version
        kit.filler.held = False
        await asyncio.sleep(1)

        assert kit.filler.held
        assert kit.holds.standing[HOT].state is HaltState.CONFIRMED
        assert kit.holds.standing[HOT].version > version
        assert kit.disk.latches[HOT]["version"] == kit.holds.standing[HOT].version
        assert kit.records("halt.reasserted")[-1]["body"]["trouble"].startswith("the machine left")
        assert kit.line.alarms.standing["left-held:filler"].priority == "critical"


async def test_a_lying_controller_is_a_halt_failed(tmp_path: Path) -> None:
    """Not held after two seconds: HALT FAILED at the top lane, no heartbeat, still tried; never shown as held."""
    async with Kit(tmp_path) as kit:
        kit.filler.obeys = False
        await heat(kit, seconds=1.9)
        assert not kit.records("halt.failed")
        await asyncio.sleep(0.5)

        assert kit.holds.standing[HOT].state is HaltState.FAILED
        assert kit.line.alarms.standing["halt-failed:filler"].priority == "critical"
        assert not kit.records("halt.confirmed")
        beats, tries = len(kit.filler.beats), len(kit.filler.halts)
        await asyncio.sleep(5)
        assert len(kit.filler.beats) == beats
        assert 4 <= len(kit.filler.halts) - tries <= 6


async def test_a_halt_fails_at_its_moment_not_a_tick_later(tmp_path: Path) -> None:
    """Whatever lies between the order and the line's next tick: HALT FAILED is told within milliseconds of its time."""
    async with Kit(tmp_path) as kit:
        kit.filler.obeys = False
        for offset in (2.513, 2.557, 2.591):
            await heat(kit, seconds=offset)
            await acknowledge(kit)
            await heat(kit, 62.0)
            await release(kit)

        failed = kit.records("halt.failed")
        after = [int(record["time"]) - int(record["body"]["judged"]) for record in failed]
        assert len(after) == 3
        assert max(after) - halts.CONFIRM_WITHIN_NS < 5_000_000


async def test_a_failed_halt_that_comes_true_clears_its_alarm_and_beats_again(tmp_path: Path) -> None:
    """Also where the alarm was raised by the run before this one."""
    async with Kit(tmp_path) as first:
        first.filler.obeys = False
        await heat(first, seconds=3)
        kit = await first.again()
        assert "halt-failed:filler" in kit.line.alarms.standing
        kit.filler.obeys = True
        beats = len(kit.filler.beats)
        await asyncio.sleep(3)

        assert kit.holds.standing[HOT].state is HaltState.CONFIRMED
        assert kit.line.alarms.standing["halt-failed:filler"].state == "rtn_unack"
        assert len(kit.filler.beats) > beats


async def test_the_alarm_of_a_failed_halt_stays_while_another_hold_of_the_device_fails(tmp_path: Path) -> None:
    """Two holds of one machine have failed; releasing one does not end the trouble of the other."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.filler.obeys = False
        kit.filler["label"] = "B9"
        kit.make(1)
        await heat(kit, seconds=3)
        assert {halt.state for halt in kit.holds.standing.values()} == {HaltState.FAILED}

        await acknowledge(kit, "label")
        await release(kit, "filler:label")
        assert kit.line.alarms.standing["halt-failed:filler"].state == "unack"
        assert kit.stations["filler"].withhold_beat


async def test_a_hold_that_cannot_be_confirmed_again_after_a_reconnect_has_failed(tmp_path: Path) -> None:
    """Confirmed once is not confirmed for ever: link lost, machine unheld by hand, and it does not obey any more."""
    async with Kit(tmp_path) as kit:
        await heat(kit)
        assert kit.holds.standing[HOT].state is HaltState.CONFIRMED
        kit.filler.link = False
        await asyncio.sleep(2)
        kit.filler.held = kit.filler.obeys = False
        kit.filler.link = True
        await asyncio.sleep(3.5)

        assert kit.holds.standing[HOT].state is HaltState.FAILED
        assert "halt-failed:filler" in kit.line.alarms.standing


async def test_a_proof_from_before_the_link_was_lost_is_none_of_what_is_asked_after_it(tmp_path: Path) -> None:
    """HALT FAILED says neither confirmed nor Held of it, and counts its own tries; what is confirmed was asked anew."""
    async with Kit(tmp_path) as kit:
        await heat(kit)
        kit.filler.link = False
        await asyncio.sleep(2)
        kit.filler.held = kit.filler.obeys = False
        back_ns = kit.world.time_ns()
        kit.filler.link = True
        await asyncio.sleep(3.5)
        lost = kit.records("halt.failed")[-1]["body"]
        assert (lost["confirmed"], lost["proof"]) == (None, "")
        assert int(lost["commanded"]) > back_ns
        assert lost["tries"] == TRIES

        kit.filler.obeys = True
        await asyncio.sleep(2)
        proven = kit.records("halt.confirmed")[-1]["body"]
        stamps = [int(proven[word]) for word in ("sampled", "judged", "commanded", "confirmed")]
        assert stamps == sorted(stamps)
        assert stamps[2] > back_ns


# -- release --------------------------------------------------------------------------------------------


async def test_a_release_needs_everything(tmp_path: Path) -> None:
    """Condition gone, alarm acknowledged, version seen, reason given, and the right role: each is asked for."""
    async with Kit(tmp_path) as kit:
        await heat(kit)
        await refused("not_acknowledged", release(kit))
        await acknowledge(kit)
        await refused("condition_stands", release(kit))
        await heat(kit, 62.0)
        await refused("changed", release(kit, version=99))
        await refused("reason_missing", release(kit, reason=" "))
        await refused("no_such_halt", release(kit, "filler:cold"))
        await refused("not_allowed", kit.ask("halt.release", OPERATOR, halt=HOT, version=1, reason="x"))
        assert kit.holds.standing
        assert kit.filler.withdrawn == 0

        await release(kit)
        await asyncio.sleep(0.5)
        assert kit.filler.withdrawn == 1
        assert kit.filler.held, "nothing is started by a release"
        assert [record["by"] for record in kit.records("halt.released")] == ["tom"]


async def test_a_condition_nobody_has_seen_since_the_start_counts_as_standing(tmp_path: Path) -> None:
    """After a restart whose rule states were lost, a hold is not released before a good value came."""
    async with Kit(tmp_path) as first:
        await heat(first)
        first.disk.rows = {at: row for at, row in first.disk.rows.items() if at[0] != "rule"}
        first.oven.link = False
        kit = await first.again()
        await asyncio.sleep(0.2)
        await acknowledge(kit)
        await refused("condition_stands", release(kit))


async def test_a_failed_check_asks_for_a_recalibration_and_goes_on_in_verification(tmp_path: Path) -> None:
    """The record has the recalibration with the release, in one transaction; the next units are all asked for."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.make(10)
        await asyncio.sleep(0.5)
        await kit.ask("check.take", rule="weight")
        await kit.weigh("0.900")
        await asyncio.sleep(0.5)
        halt = kit.holds.standing["filler:weight"]
        assert halt.suspects
        await acknowledge(kit, "weight")
        await refused("recalibration_missing", release(kit, halt.id))
        await release(kit, halt.id, recalibration="pump set to 1.000 g")

        kinds, rows = next(each for each in kit.evidence.submits if "halt.released" in each[0])
        assert "verification.started" in kinds
        assert ("rule", "weight") in rows
        kit.filler.held = False
        await asyncio.sleep(0.5)
        assert [check.why for check in kit.line.checks.open.values()] == ["verification"]


async def test_a_missed_check_does_not_take_the_recalibration_away(tmp_path: Path) -> None:
    """What a failed check demanded is still demanded after the same rule halted for less."""
    verdict = Verdict("weight", Severity.HALT, "c", "0.9 g", halts=("filler",))
    failed = halts.requested(None, verdict, "filler", Needs.RECALIBRATION, "B1", 1, 2)
    again = halts.requested(failed, verdict, "filler", Needs.CONDITION_GONE, "B1", 3, 4)

    assert again.needs is Needs.RECALIBRATION


async def test_the_machine_is_let_go_only_after_the_commit(tmp_path: Path) -> None:
    """While the release is on its way to the disk the hold output stays, and so does the file."""
    async with Kit(tmp_path) as kit:
        await heat(kit)
        await heat(kit, 62.0)
        await acknowledge(kit)
        kit.evidence.hold = True
        asking = asyncio.ensure_future(release(kit))
        await asyncio.sleep(2)
        assert kit.filler.withdrawn == 0
        assert HOT in kit.disk.latches

        kit.evidence.hold = False
        kit.evidence.let()
        await asking
        await asyncio.sleep(0.5)
        assert kit.filler.withdrawn == 1
        assert HOT not in kit.disk.latches


async def test_who_asked_may_go_away_meanwhile(tmp_path: Path) -> None:
    """A release whose caller is gone is still a release: recorded, let go, forgotten by both homes."""
    async with Kit(tmp_path) as kit:
        await heat(kit)
        await heat(kit, 62.0)
        await acknowledge(kit)
        kit.evidence.hold = True
        asking = asyncio.ensure_future(release(kit))
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        kit.evidence.hold = False
        kit.evidence.let()
        await asyncio.sleep(0.5)

        assert kit.filler.withdrawn == 1
        assert not kit.disk.latches


async def test_a_hold_demanded_during_a_release_holds_on(tmp_path: Path) -> None:
    """The same rule fails again before the release is durable: the new latch keeps its order at the station."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.filler["label"] = "B9"
        kit.make(1)
        await asyncio.sleep(0.5)
        seen = kit.holds.standing["filler:label"].version
        await acknowledge(kit, "label")
        kit.evidence.hold = True
        asking = asyncio.ensure_future(release(kit, "filler:label"))
        await asyncio.sleep(0.1)
        kit.filler.held = kit.filler.obeys = False
        kit.make(1)
        await asyncio.sleep(0.5)
        kit.evidence.hold = False
        kit.evidence.let()
        await asking
        assert kit.holds.standing["filler:label"].version > seen
        assert not kit.filler.held

        kit.filler.obeys = True
        await asyncio.sleep(2)
        assert kit.filler.held, "the station still has the order"
        assert kit.holds.standing["filler:label"].state is HaltState.CONFIRMED


async def test_versions_go_on_counting_over_releases_and_restarts(tmp_path: Path) -> None:
    """A release of the halt somebody saw yesterday never takes off the one nobody has looked at yet."""
    async with Kit(tmp_path) as first:
        await heat(first)
        await heat(first, 62.0)
        await acknowledge(first)
        seen = first.holds.standing[HOT].version
        await release(first)
        kit = await first.again()
        await asyncio.sleep(1)
        kit.filler.held = False
        await heat(kit)
        await heat(kit, 62.0)
        await acknowledge(kit)

        await refused("changed", release(kit, version=seen))


async def test_a_release_that_cannot_be_recorded_did_not_happen(tmp_path: Path) -> None:
    """The store fails under it: refused, the latch stands, the machine never hears of it."""
    async with Kit(tmp_path) as kit:
        await heat(kit)
        await heat(kit, 62.0)
        await acknowledge(kit)
        kit.evidence.hold = True
        asking = asyncio.ensure_future(release(kit))
        await asyncio.sleep(0.1)
        kit.evidence.break_down()
        await refused("not_recorded", asking)
        await asyncio.sleep(1)

        assert HOT in kit.holds.standing
        assert HOT in kit.disk.latches
        assert kit.filler.withdrawn == 0


async def test_a_machine_that_is_started_while_its_release_waits_for_the_disk_is_held_again(tmp_path: Path) -> None:
    """A release that is not durable is none: the latch is shown, and holds whoever does not wait for it."""
    async with Kit(tmp_path) as kit:
        await heat(kit)
        await heat(kit, 62.0)
        await acknowledge(kit)
        kit.evidence.hold = True
        asking = asyncio.ensure_future(release(kit))
        await asyncio.sleep(0.5)
        assert HOT in kit.board.get("halts")
        kit.filler.held = False
        await asyncio.sleep(1)
        assert kit.filler.held

        kit.evidence.hold = False
        kit.evidence.let()
        await asyncio.gather(asking, return_exceptions=True)


async def test_what_a_machine_said_while_its_release_was_lost_counts(tmp_path: Path) -> None:
    """It came to rest while the record of its release failed: the latch that stands on is confirmed."""
    async with Kit(tmp_path) as kit:
        kit.filler.obeys = False
        await heat(kit, seconds=3)
        await heat(kit, 62.0)
        await acknowledge(kit)
        kit.evidence.hold = True
        asking = asyncio.ensure_future(release(kit))
        await asyncio.sleep(0.1)
        kit.filler.obeys = True
        await asyncio.sleep(2)
        assert kit.filler.held
        kit.evidence.break_down()
        await refused("not_recorded", asking)
        await asyncio.sleep(2)

        assert kit.holds.standing[HOT].state is HaltState.CONFIRMED
        assert not kit.stations["filler"].withhold_beat


# -- over a restart -------------------------------------------------------------------------------------


async def test_after_a_kill_the_hold_is_the_first_thing_written(tmp_path: Path) -> None:
    """Latched, killed; the machine was unheld meanwhile: held again before the heartbeat, recorded before the start."""
    async with Kit(tmp_path) as first:
        await heat(first)
        await first.kill()
        first.filler.held = False
        first.filler.writes.clear()
        kit = await first.again()
        await asyncio.sleep(1)

        assert kit.filler.writes[0] == "halt"
        assert kit.holds.standing[HOT].state is HaltState.CONFIRMED
        assert "the gateway was restarted" in kit.records("halt.reasserted")[-1]["body"]["trouble"]
        assert kit.board.get("halts")[HOT]["device"] == "filler"


async def released_while_away(first: Kit) -> None:
    """Held, confirmed; then the cable is pulled, and a person releases."""
    await heat(first)
    await heat(first, 62.0)
    await acknowledge(first)
    first.filler.link = False
    await asyncio.sleep(1)
    await release(first)
    await asyncio.sleep(1)
    assert first.filler.withdrawn == 0


@pytest.mark.parametrize("killed", [True, False])
async def test_a_release_that_was_not_carried_out_outlives_a_restart(tmp_path: Path, killed: bool) -> None:
    """Nobody is left to remember but the ledger: the hold output is taken back once the machine is there, and once."""
    async with Kit(tmp_path) as first:
        await released_while_away(first)
        if killed:
            await first.kill()
        kit = await first.again()
        await asyncio.sleep(1)
        kit.filler.link = True
        await asyncio.sleep(60)
        assert kit.filler.withdrawn == 1
        assert "halt" not in kit.filler.writes[kit.filler.writes.index("withdraw") :]

        third = await kit.again()
        await asyncio.sleep(60)
        assert third.filler.withdrawn == 1


async def test_a_hold_demanded_after_the_restart_comes_before_an_old_release(tmp_path: Path) -> None:
    """What is owed is not paid while a latch stands: the output is ours again."""
    async with Kit(tmp_path) as first:
        await released_while_away(first)
        kit = await first.again()
        await heat(kit)
        kit.filler.held = False
        kit.filler.link = True
        await asyncio.sleep(60)

        assert kit.filler.withdrawn == 0
        assert kit.filler.held


@pytest.mark.parametrize("home", ["ledger", "file"])
async def test_one_home_is_enough(tmp_path: Path, home: str) -> None:
    """A latch that only the ledger's rows, or only the file, has kept holds."""
    async with Kit(tmp_path) as first:
        await heat(first)
        await first.kill()
        if home == "file":
            first.disk.rows.clear()
        else:
            first.disk.latches.clear()
        first.filler.held = False
        kit = await first.again()
        await asyncio.sleep(1)

        assert kit.filler.held
        assert HOT in kit.holds.standing
        assert HOT in kit.disk.latches


async def differing(kit: Kit) -> dict[str, Any]:
    """What was told of the two homes at the start; it is an alarm, too."""
    await asyncio.sleep(1)
    (record,) = kit.records("store.differs")
    assert kit.line.alarms.standing["gateway:latches-differs"].text == record["body"]["text"]
    return dict(record["body"])


async def test_a_latch_taken_out_of_the_file_is_told_and_holds(tmp_path: Path) -> None:
    """Emptied while the gateway was down: the ledger knows what was open, the record names it, the machine is held."""
    async with Kit(tmp_path) as first:
        await heat(first)
        await first.kill()
        first.disk.latches.clear()
        first.filler.held = False
        kit = await first.again()
        body = await differing(kit)

        assert (body["only_ledger"], body["only_file"]) == ([HOT], [])
        assert kit.filler.held
        assert HOT in kit.disk.latches


async def test_an_older_latch_file_put_back_is_told_and_holds(tmp_path: Path) -> None:
    """A copy of before the release: it says whose release the ledger knows, and it holds until it is released again."""
    async with Kit(tmp_path) as first:
        await heat(first)
        copy = dict(first.disk.latches)
        await heat(first, 62.0)
        await acknowledge(first)
        await release(first)
        await asyncio.sleep(0.5)
        await first.kill()
        first.disk.latches = copy
        kit = await first.again()
        body = await differing(kit)

        assert body["only_file"] == [HOT]
        assert "released at version 1, by the ledger" in body["text"]
        assert kit.filler.held


async def test_a_latch_file_that_is_gone_is_told(tmp_path: Path) -> None:
    """Also where no latch was open: it is there from the first record on."""
    async with Kit(tmp_path) as first:
        await first.begin()
        await first.kill()
        first.disk.latches = None
        kit = await first.again()
        body = await differing(kit)

        assert body["gone"]
        assert kit.records("store.differs")[0]["batch"] == "B1"


async def test_two_homes_that_agree_say_nothing(tmp_path: Path) -> None:
    """An ordinary restart under a latch, confirmed or not."""
    async with Kit(tmp_path) as first:
        await heat(first)
        kit = await first.again()
        await asyncio.sleep(1)

        assert not kit.records("store.differs")


async def test_the_newest_version_of_both_homes_wins(tmp_path: Path) -> None:
    """A file that could not be written for a while does not bring an old version back."""
    async with Kit(tmp_path) as first:
        await heat(first)
        first.keeps_latches = False
        first.filler.held = False
        await asyncio.sleep(1)
        newest = first.holds.standing[HOT].version
        kit = await first.again()

        assert kit.holds.standing[HOT].version == newest + 1


async def test_a_latch_without_its_alarm_is_acknowledged_all_the_same(tmp_path: Path) -> None:
    """The ledger was lost: who releases what the file kept has to look at it first."""
    async with Kit(tmp_path) as first:
        await heat(first)
        await first.kill()
        first.disk.rows.clear()
        first.oven["temperature"] = 62.0
        kit = await first.again()
        await asyncio.sleep(1)

        await refused("not_acknowledged", release(kit))
        await acknowledge(kit)
        await release(kit)


@pytest.mark.parametrize("damage", [{}, [], "x", {"id": "filler:cold"}, {"id": HOT, "version": "one"}])
async def test_a_latch_that_cannot_be_read_holds_by_its_name(tmp_path: Path, damage: Any) -> None:
    """Both homes hold garbage under its name: the device is held, and the start goes on."""
    async with Kit(tmp_path) as first:
        await heat(first)
        await first.kill()
        first.disk.rows["halt", HOT] = msgspec.json.encode(damage)
        first.disk.latches = {HOT: damage}
        first.filler.held = False
        kit = await first.again()
        await asyncio.sleep(1)

        assert kit.filler.held
        assert "damaged" in kit.holds.standing[HOT].text


async def test_a_latch_on_a_device_that_is_gone_says_so_and_can_be_released(tmp_path: Path) -> None:
    """The device was taken out of the configuration while latched: HALT FAILED, named, and released like any other."""
    async with Kit(tmp_path) as first:
        await heat(first)
        await first.kill()
        ghost = {**first.disk.latches[HOT], "id": "capper:hot", "device": "capper"}
        first.disk.latches = {"capper:hot": ghost}
        first.disk.rows.clear()
        first.oven["temperature"] = 62.0
        kit = await first.again()
        await asyncio.sleep(3)

        assert kit.records("halt.failed")[-1]["body"]["trouble"] == "no device capper is configured"
        await acknowledge(kit)
        await release(kit, "capper:hot")
        await asyncio.sleep(0.5)
        assert not kit.holds.standing
        assert kit.line.alarms.standing["halt-failed:capper"].state == "rtn_unack"


async def test_a_device_that_cannot_be_held_is_a_halt_failed(tmp_path: Path) -> None:
    """`linegate check` refuses such a rule; what comes by another way is said, never assumed."""
    async with Kit(tmp_path) as kit:
        kit.line.demand(Verdict("odd", Severity.HALT, "oven", "by a rule from elsewhere", halts=("oven",)))
        await asyncio.sleep(3)

        assert kit.records("halt.failed")[-1]["body"]["trouble"] == "oven has no way to be held"
        assert not kit.records("halt.confirmed")


async def test_the_line_goes_on_when_the_store_is_gone(tmp_path: Path) -> None:
    """Judging and holding do not wait for anything: with a dead store the machine is held all the same."""
    async with Kit(tmp_path) as kit:
        kit.evidence.break_down()
        await heat(kit)

        assert kit.filler.held
        assert HOT in kit.disk.latches
        with pytest.raises(StoreError):
            await kit.journal.durable()


async def test_a_confirmed_hold_is_quiet(tmp_path: Path) -> None:
    """Held is held: one request, one confirmation, no tries, no records of its own."""
    async with Kit(tmp_path) as kit:
        await heat(kit)
        before = len(kit.records())
        await asyncio.sleep(60)

        assert len(kit.filler.halts) == 1
        assert len(kit.records()) == before
        assert kit.filler.values["state"] == EXECUTE, "the fake's own state tag is shown as held while held"


async def test_a_machine_that_keeps_leaving_held_does_not_flood_the_ledger(tmp_path: Path) -> None:
    """It is held again each time, and told of three times and then every ten seconds, with the count."""
    async with Kit(tmp_path) as kit:
        await heat(kit)
        before = len(kit.filler.halts)
        for _ in range(60):
            kit.filler.held, kit.filler["state"] = False, EXECUTE
            await asyncio.sleep(0.5)

        told = kit.records("halt.reasserted")
        assert len(kit.filler.halts) - before >= 55
        assert 4 <= len(told) <= 8
        assert told[-1]["body"]["left"] > 30
        assert len(kit.records("halt.confirmed")) <= len(told) + 1


async def test_a_hold_that_failed_and_came_true_is_recorded_as_both_however_often_it_was_left(tmp_path: Path) -> None:
    """Leavings may go untold, and their confirmations: what was recorded as failed is recorded as held again."""
    async with Kit(tmp_path) as kit:
        await heat(kit)
        for _ in range(5):
            kit.filler.held = False
            await asyncio.sleep(0.5)
        kit.filler.held = kit.filler.obeys = False
        await asyncio.sleep(3)
        assert kit.records("halt.failed")
        kit.filler.obeys = True
        await asyncio.sleep(2)

        assert kit.holds.standing[HOT].state is HaltState.CONFIRMED
        assert [kind for kind in kit.kinds() if kind.startswith("halt.")][-1] == "halt.confirmed"


async def test_a_failed_hold_of_a_device_that_is_gone_is_an_alarm_after_each_restart(tmp_path: Path) -> None:
    """Nothing can be done to that machine from here: that stays HALT FAILED as long as the latch stands."""
    async with Kit(tmp_path) as first:
        await heat(first)
        await first.kill()
        ghost = {**first.disk.latches[HOT], "id": "capper:hot", "device": "capper"}
        first.disk.latches = {"capper:hot": ghost}
        first.disk.rows.clear()
        first.oven["temperature"] = 62.0
        second = await first.again()
        await asyncio.sleep(3)
        assert second.line.alarms.standing["halt-failed:capper"].state == "unack"
        kit = await second.again()
        await asyncio.sleep(3)

        assert kit.holds.standing["capper:hot"].state is HaltState.FAILED
        alarm = kit.line.alarms.standing["halt-failed:capper"]
        assert (alarm.state, alarm.occurrence) == ("unack", 1)
        assert "no device capper is configured" in alarm.text
        await acknowledge(kit)
        await release(kit, "capper:hot")
        await asyncio.sleep(0.5)
        assert kit.line.alarms.standing["halt-failed:capper"].state == "rtn_unack"


async def test_a_latch_that_only_the_file_knows_brings_its_alarm_although_an_older_one_was_seen(tmp_path: Path) -> None:
    """Killed before the commit: what was acknowledged was the halt before this one."""
    async with Kit(tmp_path) as first:
        await heat(first)
        await heat(first, 62.0)
        await acknowledge(first)
        await release(first)
        await asyncio.sleep(1)
        assert "hot" not in first.line.alarms.standing
        first.evidence.hold = True
        await heat(first)
        assert HOT in first.disk.latches
        first.oven["temperature"] = 62.0
        kit = await first.again()
        await asyncio.sleep(2)

        assert HOT in kit.holds.standing
        assert kit.line.alarms.standing["hot"].state == "rtn_unack"
        await refused("not_acknowledged", release(kit))
        await acknowledge(kit)
        await release(kit)
