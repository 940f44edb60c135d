"""Alarms of the line: raised, acknowledged, cleared, counted, and over when what raised them is gone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from config_fakes import FileConfig
from line_kit import HOUSE, LINE, MES, OPERATOR, QA, RECIPE, SUPERVISOR, TECHNICIAN, Kit

from gateway.batch.complete import findings
from gateway.batch.records import Log
from gateway.batch.tables import alarms
from gateway.config.reading import load
from gateway.errors import Refused
from gateway.line.clock import ClockWatch, WallClock
from gateway.line.pauses import Pauses
from gateway.line.sparing import Making
from gateway.model import Principal, Priority, Severity, Watermark
from gateway.sinks.mqtt_inbox import LARGEST
from gateway.verdicts import Verdict

pytestmark = pytest.mark.looptime(start=1000)


async def heat(kit: Kit, degrees: float, seconds: float = 0.5) -> None:
    kit.oven["temperature"] = degrees
    await asyncio.sleep(seconds)


def state(kit: Kit, alarm: str) -> tuple[str, int] | None:
    standing = kit.line.alarms.standing.get(alarm)
    return (standing.state.value, standing.occurrence) if standing else None


async def test_an_alarm_is_raised_acknowledged_and_cleared(tmp_path: Path) -> None:
    """Each step is a record with the occurrence, and the board shows what stands."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        await heat(kit, 67.0)
        assert state(kit, "warm") == ("unack", 1)
        assert kit.board.get("alarms")["warm"]["value"] == "67.0"

        await kit.ask("alarm.acknowledge", alarm="warm", occurrence=1, comment="seen")
        await heat(kit, 62.0)
        assert state(kit, "warm") is None
        assert kit.board.get("alarms") == {}
        steps = [record for record in kit.records() if record["kind"].startswith("alarm.")]
        assert [record["kind"].partition(".")[2] for record in steps] == ["raised", "acknowledged", "cleared"]
        assert {record["body"]["occurrence"] for record in steps} == {1}
        assert steps[1]["by"] == "tom"


STANDS = "  tepid: {kind: limit, input: oven/temperature, limits: {unit: Cel, high: 62}, alarm: medium}\n"


@pytest.mark.parametrize(
    ("acknowledged", "cools", "kinds"),
    [
        (False, False, ["alarm.unacknowledged", "alarm.open"]),
        (True, False, ["alarm.open"]),
        (False, True, ["alarm.unacknowledged"]),
        (True, True, []),
    ],
)
async def test_an_alarm_that_stood_at_the_start_is_in_the_record_of_the_batch(
    tmp_path: Path, *, acknowledged: bool, cools: bool, kinds: list[str]
) -> None:
    """Raised before it and not over: the reviewer of this batch reads of it, as of one that was raised in the run."""
    async with Kit(tmp_path, line=LINE + STANDS) as kit:
        await heat(kit, 63.0, 5)
        if acknowledged:
            await kit.ask("alarm.acknowledge", alarm="tepid", occurrence=1)
        await kit.begin()
        await heat(kit, 60.0 if cools else 63.0, 5)
        await kit.ask("batch.complete", OPERATOR, batch="B1")

        records = [record for record in kit.records() if record["batch"] == "B1"]
        found = [one for one in findings(records) if "tepid" in one.text]
        assert [one.kind for one in found] == kinds
        assert [one.id for one in found] == [f"{kind}:tepid no. 1" for kind in kinds]
        (row,) = alarms(Log(records))
        assert (row["name"], row["raised"], bool(row["acknowledged"])) == ("tepid", "before the batch", acknowledged)


async def test_an_alarm_that_was_over_at_the_start_is_none_of_the_batch(tmp_path: Path) -> None:
    """Nobody acknowledged it yet: that is for the batch it came in."""
    async with Kit(tmp_path, line=LINE + STANDS) as kit:
        await heat(kit, 63.0, 5)
        await heat(kit, 60.0, 5)
        await kit.begin()
        assert state(kit, "tepid") == ("rtn_unack", 1)
        assert "alarms" not in kit.records("batch.started")[-1]["body"]


async def test_what_was_put_aside_before_the_start_is_a_finding(tmp_path: Path) -> None:
    """Shelved over the whole run, it could say nothing of it: by whom, and why, stands in the record."""
    async with Kit(tmp_path, line=LINE + STANDS) as kit:
        await kit.ask("alarm.shelve", SUPERVISOR, alarm="tepid", reason="the sensor is new", seconds="3600")
        await kit.begin()
        await heat(kit, 63.0, 5)
        await kit.ask("batch.complete", OPERATOR, batch="B1")

        records = [record for record in kit.records() if record["batch"] == "B1"]
        told = [one.text for one in findings(records) if one.kind == "hidden.alarm"]
        assert told == ["alarm tepid was shelved by sue: the sensor is new (before the start)"]


async def test_occurrences_go_on_counting(tmp_path: Path) -> None:
    """An acknowledgement of yesterday's occurrence never hits today's, nor after a restart."""
    async with Kit(tmp_path) as first:
        await first.begin()
        await heat(first, 67.0)
        await first.ask("alarm.acknowledge", alarm="warm", occurrence=1)
        await heat(first, 62.0)
        kit = await first.again()
        await asyncio.sleep(1)
        await heat(kit, 67.0)

        assert state(kit, "warm") == ("unack", 2)
        with pytest.raises(Refused) as refused:
            await kit.ask("alarm.acknowledge", alarm="warm", occurrence=1)
        assert refused.value.code == "another_occurrence"


async def test_what_changes_nothing_is_no_record(tmp_path: Path) -> None:
    """A lesser judgement under a worse one that nobody acknowledged leaves no trace of its own."""
    async with Kit(tmp_path) as kit:
        worse = Verdict("odd", Severity.ALARM, "oven", "bad", priority=Priority.HIGH, fleeting=True)
        kit.line.alarms.take(worse)
        kit.line.alarms.take(Verdict("odd", Severity.WARNING, "oven", "not so bad", fleeting=True))
        await kit.journal.durable()

        assert len(kit.records("alarm.raised")) == 1


async def test_a_rule_that_judges_no_longer_holds_no_alarm_up(tmp_path: Path) -> None:
    """The batch ends with its alarm standing: cleared in the batch's record, and the next batch's is a new one."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        await heat(kit, 67.0)
        await kit.ask("alarm.acknowledge", alarm="warm", occurrence=1)
        await kit.ask("batch.complete", OPERATOR, batch="B1")
        cleared = kit.records("alarm.cleared")[-1]
        assert (cleared["batch"], cleared["body"]["why"]) == ("B1", "batch B1 ended; the rule judges no longer")
        assert state(kit, "warm") is None

        await kit.ask("batch.sign", QA, batch="B1", step="review")
        await kit.ask("batch.close", QA, batch="B1", disposition="rejected", reason="as it is")
        await kit.begin("B2")
        assert state(kit, "warm") == ("unack", 2)


async def test_an_aborted_batch_takes_its_alarms_along(tmp_path: Path) -> None:
    """As at the end of a batch, and the cleared alarm stands in the batch's own record."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        await heat(kit, 67.0)
        await kit.ask("batch.abort", QA, batch="B1", reason="wrong oil")

        assert kit.records("alarm.cleared")[-1]["batch"] == "B1"
        assert state(kit, "warm") == ("rtn_unack", 1)


async def test_alarms_of_what_is_not_there_any_more_are_over_after_a_restart(tmp_path: Path) -> None:
    """A rule, a device and a sink were taken out of the configuration: their alarms do not stand for ever."""
    async with Kit(tmp_path) as first:
        for name in ("old-rule", "link:old-device", "late-ack:old-sink", "link:oven"):
            first.line.alarms.take(Verdict(name, Severity.ALARM, "x", "trouble"))
        await first.journal.durable()
        first.oven.link = False
        kit = await first.again()

        assert {name: state(kit, name) for name in sorted(kit.line.alarms.standing)} == {
            "late-ack:old-sink": ("rtn_unack", 1),
            "link:old-device": ("rtn_unack", 1),
            "link:oven": ("unack", 1),
            "old-rule": ("rtn_unack", 1),
        }


async def test_alarms_of_the_gateway_itself_stand_until_their_owner_ends_them(tmp_path: Path) -> None:
    """A restart is no proof that a latch file can be written again, or that the store's thread answers."""
    async with Kit(tmp_path) as first:
        first.line.alarms.stand("gateway:latches", "the latch file cannot be written")
        first.line.asked().acknowledge("gateway:latches", 1, "olga", "")
        first.line.alarms.tell("scan:person", "a wrong lot")
        await first.journal.durable()
        kit = await first.again()

        assert (state(kit, "gateway:latches"), state(kit, "scan:person")) == (("acked", 1), ("rtn_unack", 1))


async def test_an_alarm_that_cannot_be_read_stands_by_its_name(tmp_path: Path) -> None:
    """Of a damaged row, or of a later version's: the start goes on, and a person looks."""
    async with Kit(tmp_path) as first:
        first.line.alarms.tell("hot", "it was hot")
        await first.journal.durable()
        first.disk.rows["alarm", "hot"] = b'{"rule": "hot", "state": "unheard-of"}'
        kit = await first.again()

        assert kit.line.alarms.standing["hot"].state == "rtn_unack"
        assert "stored damaged" in kit.line.alarms.standing["hot"].text


async def test_the_board_is_whole_after_a_restart(tmp_path: Path) -> None:
    """What stood is shown again at once, and what does not stand any more is shown as nothing."""
    async with Kit(tmp_path) as first:
        await first.begin()
        await heat(first, 67.0)
        kit = await first.again()

        assert set(kit.board.get("alarms")) == {"warm"}
        assert kit.board.get("halts") == {}
        assert kit.board.get("checks") == {}
        assert kit.board.get("batch")["batch"] == "B1"


async def test_a_lost_device_is_an_alarm_until_it_is_back(tmp_path: Path) -> None:
    """Lost and back are records; the alarm clears also where another run raised it."""
    async with Kit(tmp_path) as first:
        first.oven.link = False
        await asyncio.sleep(1)
        assert state(first, "link:oven") == ("unack", 1)
        kit = await first.again()
        kit.oven.link = True
        await asyncio.sleep(2)

        assert state(kit, "link:oven") == ("rtn_unack", 1)
        assert kit.records("device.lost")[0]["body"]["device"] == "oven"
        assert kit.board.get("devices/oven")["connected"] is True


async def test_a_silent_mes_is_an_alarm_until_it_speaks(tmp_path: Path) -> None:
    """Late acknowledgement is raised once and cleared by the MES's word, also after a restart."""
    async with Kit(tmp_path) as first:
        first.line.consumers.late("mes", 17)
        await first.journal.durable()
        assert state(first, "late-ack:mes") == ("unack", 1)
        assert "17" in first.line.alarms.standing["late-ack:mes"].text

        settings = replace(first.settings, sinks={"mes": FileConfig()})
        kit = await first.again(settings=settings)
        assert state(kit, "late-ack:mes") == ("unack", 1)
        kit.line.consumers.acknowledged("mes", Watermark("aa", 5, "00"))
        assert state(kit, "late-ack:mes") == ("rtn_unack", 1)
        assert kit.board.get("mes") == {"committed_upto": 5, "root": "00"}


async def test_a_stepped_clock_is_a_record(tmp_path: Path) -> None:
    """One record a step, forward or back, with how far; less than a second is none."""
    async with Kit(tmp_path) as kit:
        for step_s in (0.9, 3600, -7200):
            kit.world.offset_ns += round(step_s * 1e9)
            await asyncio.sleep(1)

        steps = [round(int(record["body"]["step"]) / 1e9) for record in kit.records("clock.stepped")]
        assert [abs(step - told) <= 1 for step, told in zip(steps, (3600, -7200), strict=True)] == [True, True]
        alarm = kit.line.alarms.standing["gateway:clock"]
        assert (alarm.occurrence, alarm.text.partition(";")[0]) == (2, "the wall clock was stepped by -2 h 0 min")


def test_a_clock_that_steps_on_and_on_does_not_bury_the_record() -> None:
    """A virtual machine whose clock runs at half speed: a few of its steps, then their sum; none is left out."""
    watch, told = ClockWatch(), []
    for second in range(3601):
        told += [step for step in (watch.step(second * 10**9, second * 10**9 // 2),) if step is not None]
    assert len(told) <= 3 * 6 + 3
    assert max(step.times for step in told) > 100
    assert abs(sum(step.ns for step in told) + 1800 * 10**9) <= 300 * 10**9, "what came since the last record"


async def test_a_pause_of_the_gateway_is_a_record(tmp_path: Path) -> None:
    """A second without the loop is told with its length and its batch; a shorter one is not; of many, the sum."""
    async with Kit(tmp_path) as kit:
        pauses = Pauses(kit.line.alarms, kit.journal, lambda: ("B1", "B1"))
        for second in range(1200):
            pauses.rang(second * 10**9, 10**9 if second % 10 == 0 else 10**9 - 1)
        await kit.journal.durable()

        told = kit.records("gateway.stalled")
        assert (told[0]["batch"], told[0]["body"]) == (
            "B1",
            {"lasted": "1000000000", "times": 1, "text": "stood still for 1.0 s"},
        )
        assert len(told) <= 6
        assert [kit.line.alarms.standing["gateway:stalled"].priority, told[3]["body"]["times"]] == ["medium", 60]


async def test_a_loop_that_keeps_its_time_tells_of_no_pause(tmp_path: Path) -> None:
    """A minute of the line's timer."""
    async with Kit(tmp_path) as kit:
        await asyncio.sleep(60)
        assert kit.records("gateway.stalled") == []


@pytest.mark.parametrize("works", ["alarms.review", "_pauses.rang"])
async def test_a_pause_in_the_timer_s_own_work_is_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: str
) -> None:
    """Stopped there, or blocked by a full pipe of the log: told with its length, and no clock was stepped."""
    async with Kit(tmp_path) as kit:
        loop, (part, _, job) = asyncio.get_running_loop(), works.partition(".")
        runs, does = loop.time, getattr(getattr(kit.line, part), job)
        paused_s = 0.0

        def pausing(*given: int) -> None:
            nonlocal paused_s
            paused_s = 2.0
            does(*given)

        monkeypatch.setattr(loop, "time", lambda: runs() + paused_s)
        monkeypatch.setattr(getattr(kit.line, part), job, pausing)
        await asyncio.sleep(3)

        (told,) = kit.records("gateway.stalled")
        assert 1.9e9 < int(told["body"]["lasted"]) < 2.2e9
        assert kit.records("clock.stepped") == []


async def test_pauses_of_a_batch_are_told_with_it(tmp_path: Path) -> None:
    """What was kept for a sum is told when the batch is complete: for its findings, and not for those of the next."""
    async with Kit(tmp_path) as kit:
        now: Making = ("B1", "B1")
        pauses = Pauses(kit.line.alarms, kit.journal, lambda: now)
        for second in range(5):
            pauses.rang(second * 10**9, 10**9)
        now = ("B1", None)
        pauses.rang(6 * 10**9, 0)
        now = ("B2", "B2")
        pauses.rang(7 * 10**9, 3 * 10**9)
        pauses.farewell()
        await kit.journal.durable()

        told = [(record["batch"], record["body"]["lasted"]) for record in kit.records("gateway.stalled")]
        assert told == [*[("B1", "1000000000")] * 3, ("B1", "2000000000"), ("B2", "3000000000")]


async def test_clock_steps_of_a_batch_are_told_with_it(tmp_path: Path) -> None:
    """As pauses are; and whatever is left when the gateway is stopped."""
    async with Kit(tmp_path) as kit:
        now: Making = ("B1", "B1")
        clock = WallClock(kit.line.alarms, kit.journal, kit.world, lambda: now)
        for second in range(6):
            clock.tick(second * 10**9, 10 * second * 10**9)
        now = ("B1", None)
        clock.tick(6 * 10**9, 51 * 10**9)
        now = ("B2", "B2")
        clock.tick(7 * 10**9, 60 * 10**9)
        clock.farewell()
        await kit.journal.durable()

        told = [(record["batch"], record["body"]["times"]) for record in kit.records("clock.stepped")]
        assert told == [("B1", 1), ("B1", 1), ("B1", 1), ("B1", 2), ("B2", 1)]


@pytest.mark.parametrize("step_s", [-7200.0, 10 * 365 * 86400.0])
async def test_a_stepped_clock_judges_nothing(tmp_path: Path, step_s: float) -> None:
    """In the middle of a batch, with a check that falls due by time: told, in order, and no rule fires for it."""
    (tmp_path / "recipes").mkdir()
    timed = "  timed: {every: 2min, n: 1, characteristics: [{name: seal, kind: attribute, accept: 0}]}\n"
    (tmp_path / "recipes" / "cart.yaml").write_text(RECIPE.replace("  leaks:", timed + "  leaks:"))
    rules = "  seal: {kind: sampling, plan: recipe.plans.timed, count: filler/units, running: filler/state}\n"
    rules += "  silent: {kind: stale, input: oven, after: 1s, halt: filler}\n"
    (tmp_path / "line.yaml").write_text(LINE + rules)
    async with Kit(tmp_path, settings=load(tmp_path / "line.yaml", house=HOUSE)) as kit:
        await kit.begin()
        await asyncio.sleep(20)
        before = len(kit.records())
        kit.world.offset_ns += round(step_s * 1e9)
        await asyncio.sleep(20)
        await kit.ask("batch.enter", TECHNICIAN, batch="B1", name="oil_charged", value="100", unit="g")

        more = kit.records()[before:]
        assert [record["kind"] for record in more] == ["clock.stepped", "alarm.raised", "batch.entered"]
        assert [record["index"] for record in more] == list(range(before, before + 3))
        assert all(record["batch"] == "B1" for record in more)
        assert not kit.holds.standing
        assert set(kit.line.alarms.standing) == {"gateway:clock"}

        await asyncio.sleep(90)
        assert [record["body"]["why"] for record in kit.records("check.due")] == ["schedule"], "by running time"


async def test_a_value_that_cannot_be_recorded_costs_no_other_record(tmp_path: Path) -> None:
    """A device's name for itself is no text: its record stands with that as text, and a person is told."""
    async with Kit(tmp_path) as kit:
        kit.line.connected("oven", {"serial": "A\ud800B"})
        await kit.journal.durable()
        kit.journal.commit()
        await asyncio.sleep(0.2)

        record = kit.records("device.connected")[-1]
        assert record["body"]["identity"] == {"serial": "A\\ud800B"}
        assert "gateway:journal" in kit.line.alarms.standing


async def test_suspects_of_a_failed_check_are_in_the_batch(tmp_path: Path) -> None:
    """The trays since the last good check are under suspicion in the same event as the alarm."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.make(10)
        await asyncio.sleep(0.5)
        await kit.ask("check.take", rule="weight")
        await kit.weigh("0.900")
        await asyncio.sleep(0.5)

        assert kit.board.get("batch")["suspect"] == ["T1"]
        kinds, _ = next(each for each in kit.evidence.submits if "check.judged" in each[0])
        assert "batch.tray" in kinds


async def test_only_the_roles_of_the_floor_acknowledge(tmp_path: Path) -> None:
    """The MES may as well; a stranger may not."""
    async with Kit(tmp_path) as kit:
        visitor = Principal("vic", frozenset({"visitor"}), "http")
        kit.line.alarms.tell("gateway:test", "look")
        with pytest.raises(Refused):
            await kit.ask("alarm.acknowledge", visitor, alarm="gateway:test", occurrence=1)
        await kit.ask("alarm.acknowledge", MES, alarm="gateway:test", occurrence=1)

        assert kit.records("alarm.acknowledged")[-1]["by"] == "mes"
        with pytest.raises(Refused) as refused:
            await kit.ask("alarm.acknowledge", TECHNICIAN, alarm="gateway:test", occurrence=1)
        assert refused.value.code == "no_such_alarm"


async def test_what_consumers_say_is_heard(tmp_path: Path) -> None:
    """One that holds more than the ledger, and one that will never take a record: each an alarm of its own."""
    async with Kit(tmp_path) as kit:
        kit.line.consumers.ahead("mes", 99)
        kit.line.consumers.rejected("mes", 3, "not authorised")
        await asyncio.sleep(0.1)

        assert "record 99" in kit.board.get("alarms")["ahead:mes"]["text"]
        assert "3 item(s): not authorised" in kit.board.get("alarms")["rejected:mes"]["text"]


async def test_what_the_mes_was_refused_fits_through_the_broker_as_it_is_deployed(tmp_path: Path) -> None:
    """Its record repeats what was asked; one too large for the broker would hold up the MES's watermark for ever."""
    conf = (Path(__file__).parents[2] / "deploy" / "mosquitto" / "mosquitto.conf").read_text()
    most = next(int(line.split()[1]) for line in conf.splitlines() if line.startswith("max_packet_size"))
    async with Kit(tmp_path) as kit:
        for character in ("a", "\U000e0001"):  # one that is told as ten
            alarm = character * (LARGEST // len(character.encode()))
            with pytest.raises(Refused):
                await kit.ask("alarm.acknowledge", MES, alarm=alarm, occurrence=1)
        await kit.journal.durable()

        sizes = [len(payload) for payload in kit.disk.payloads if b"command.refused" in payload]
        assert len(sizes) == 2
        assert max(sizes) < most - 10_000
