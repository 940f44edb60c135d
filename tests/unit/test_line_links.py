"""Links at the line, on a virtual clock: a loss is told; a link that flaps is one episode that buries nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Self

import pytest
from line_kit import HOUSE, LINE, OPERATOR, RECIPE, Kit

from gateway.batch.complete import findings
from gateway.config.reading import load
from gateway.model import Scan

pytestmark = pytest.mark.looptime(start=1000)

RULES = 6
STEP_S = 1.0


class Plug:
    """The kit's line with many rules on one device, whose plug a test pulls.

    Its stations have ended: an hour of a flapping link takes no second.
    """

    def __init__(self, folder: Path, more_of_gateway: str = "") -> None:
        (folder / "recipes").mkdir(parents=True)
        (folder / "recipes" / "cart.yaml").write_text(RECIPE)
        more = (f"  s{number}: {{kind: stale, input: oven, after: 1s, alarm: low}}\n" for number in range(RULES))
        text = LINE.replace("gateway:\n", f"gateway:\n{more_of_gateway}", 1) + "".join(more)
        (folder / "line.yaml").write_text(text)
        self.kit = Kit(folder, settings=load(folder / "line.yaml", house=HOUSE))

    async def __aenter__(self) -> Self:
        await self.kit.__aenter__()
        await self.kit.begin()
        for task in self.kit._tasks:
            task.cancel()
        self.degrees = 62.0
        await self.passes(5)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kit.__aexit__()

    async def passes(self, seconds: float, *, up: bool = True) -> None:
        """In steps of a second; of long times, of ten."""
        step_s = STEP_S if seconds < 60 else 10 * STEP_S
        line, tagset = self.kit.line, self.kit.settings.tagsets["oven"]
        for _ in range(round(seconds / step_s)):
            await asyncio.sleep(step_s)
            mono_ns = int(asyncio.get_running_loop().time() * 1e9)
            if up:
                line.take(Scan(tagset, line.next_seq(), self.kit.world.time_ns(), mono_ns, (self.degrees,), {}))
            line.tick(mono_ns)

    async def flaps(self, times: int, away_s: float = 3.0, back_s: float = 5.0) -> None:
        for _ in range(times):
            self.kit.line.lost("oven", "pulled")
            await self.passes(away_s, up=False)
            self.kit.line.connected("oven", {"serial": "O1"})
            await self.passes(back_s)


def turns(kit: Kit) -> list[tuple[int, int]]:
    """Each loss with its end, as the records of the episode have them; one that was not over is told again."""
    told = [turn for record in kit.records("device.flapping") for turn in record["body"]["turns"]]
    return [(int(lost), int(back)) for lost, back in told if back is not None]


async def test_a_link_that_flaps_does_not_bury_the_record(tmp_path: Path) -> None:
    """Ten more minutes of it cost a record a minute, whatever number of rules look at the device."""
    async with Plug(tmp_path) as plug:
        kit = plug.kit
        await plug.flaps(5)
        before = len(kit.records())
        await plug.flaps(75)
        more = kit.records()[before:]
        assert Counter(record["kind"] for record in more) == {"device.flapping": 10}
        assert kit.records("device.flapping")[-1]["batch"] == "B1"


async def test_every_turn_stands_in_the_record(tmp_path: Path) -> None:
    """Three losses told one by one, the rest with both times, in order, and none of them twice."""
    async with Plug(tmp_path) as plug:
        kit = plug.kit
        await plug.flaps(40)
        await plug.passes(400)
        assert len(kit.records("device.lost")) == 3
        seen = turns(kit)
        assert len(seen) == 38, "the third loss is the first of the episode"
        assert all(lost < back for lost, back in seen)
        assert [turn for each in seen for turn in each] == sorted({turn for each in seen for turn in each})
        assert kit.records("device.flapping")[-1]["body"]["losses"] == 38


async def test_its_alarm_stands_until_the_link_stays(tmp_path: Path) -> None:
    """One occurrence for all of it, to be acknowledged once; what it explains is suppressed all the time."""
    async with Plug(tmp_path) as plug:
        kit = plug.kit
        await plug.flaps(3)
        alarm = kit.line.alarms.standing["link:oven"]
        kit.line.asked().acknowledge("link:oven", alarm.occurrence, "olga", "")
        await plug.flaps(20)
        assert kit.line.alarms.standing["link:oven"].state == "acked"
        assert "comes and goes" in kit.line.alarms.standing["link:oven"].text
        assert kit.board.get("devices/oven")["connected"] is True
        assert kit.board.get("devices/oven")["flapping"] == 21
        assert {name for name in kit.line.alarms.standing if name != "link:oven"} == set()

        await plug.passes(280)
        assert kit.line.alarms.holds("link:oven")
        await plug.passes(30)
        assert not kit.line.alarms.holds("link:oven")
        assert (len(kit.records("device.connected")), kit.line.alarms.hidden) == (3 + 3, {})
        told = kit.records("alarm.dependents")[-1]["body"]
        assert (told["over"], told["count"]) == (True, RULES + 2), "hot and warm, too"
        assert told["turns"] >= RULES * 41, "gone and back, 20 times and once more"


async def test_one_that_stays_away_is_told_no_more(tmp_path: Path) -> None:
    """After its last loss nothing turns: no record a minute for a device that was unplugged at last."""
    async with Plug(tmp_path) as plug:
        kit = plug.kit
        await plug.flaps(4)
        kit.line.lost("oven", "pulled")
        await plug.passes(120, up=False)
        before = len(kit.records())
        await plug.passes(3600, up=False)
        assert len(kit.records()) == before
        assert kit.records("device.flapping")[-1]["body"]["turns"][-1][1] is None
        assert kit.line.alarms.holds("link:oven")


async def test_losses_that_are_rare_are_each_told(tmp_path: Path) -> None:
    """Every ten minutes one: no episode."""
    async with Plug(tmp_path) as plug:
        kit = plug.kit
        await plug.flaps(6, back_s=610)
        assert len(kit.records("device.lost")) == 6
        assert not kit.records("device.flapping")


async def test_a_line_says_itself_when_a_link_flaps(tmp_path: Path) -> None:
    """With `flapping_from: 6` five losses are told one by one, and the sixth begins an episode."""
    async with Plug(tmp_path, "  alarms: {flapping_from: 6}\n") as plug:
        kit = plug.kit
        await plug.flaps(5)
        await plug.passes(120)
        assert len(kit.records("device.lost")) == 5
        assert not kit.records("device.flapping")
        await plug.flaps(1)
        await plug.passes(120)
        assert kit.records("device.flapping")


async def test_a_halt_is_not_held_back_by_an_episode(tmp_path: Path) -> None:
    """Too hot in one of the moments it is there: the machine is held, and the alarm is shown."""
    async with Plug(tmp_path) as plug:
        kit = plug.kit
        await plug.flaps(5)
        plug.degrees = 95.0
        await plug.flaps(1)
        assert "filler:hot" in kit.holds.standing
        assert "hot" in kit.line.alarms.standing


async def test_after_a_kill_in_an_episode_the_link_is_as_it_is(tmp_path: Path) -> None:
    """The next run counts anew; a link that is there then is not held to be flapping for ever."""
    async with Plug(tmp_path) as plug:
        await plug.flaps(6)
        kit = await plug.kit.again()
        await asyncio.sleep(3)
        assert kit.line.alarms.standing["link:oven"].state == "rtn_unack"
        assert "oven" in {record["body"]["device"] for record in kit.records("device.connected")[-3:]}


async def test_another_unit_in_an_episode_is_told_at_once(tmp_path: Path) -> None:
    """Which device measured what is no matter of minutes."""
    async with Plug(tmp_path) as plug:
        await plug.flaps(4)
        plug.kit.line.lost("oven", "pulled")
        plug.kit.line.connected("oven", {"serial": "O2"})
        await plug.passes(1)
        assert plug.kit.records("device.flapping")[-1]["body"]["identity"] == {"serial": "O2"}


async def test_the_reviewer_reads_one_finding(tmp_path: Path) -> None:
    """How often, how long in all, from when to when."""
    async with Plug(tmp_path) as plug:
        kit = plug.kit
        await plug.flaps(40, away_s=2.0, back_s=4.0)
        await plug.passes(400)
        told = [record for record in kit.records() if record["batch"] == "B1"]
        gaps = [one.text for one in findings(told) if one.kind == "device.gap"]
        assert len(gaps) == 3
        assert gaps[-1].startswith("oven came and went 38 times, away for 1 min ")


@pytest.mark.parametrize("back", [True, False])
async def test_a_device_that_was_away_when_the_batch_began_is_a_gap(tmp_path: Path, *, back: bool) -> None:
    """Lost before the start, back in the run or never: the record of the batch says that it was not there."""
    async with Kit(tmp_path) as kit:
        kit.oven.link = False
        await asyncio.sleep(60)
        await kit.begin()
        await asyncio.sleep(5)
        kit.oven.link = back
        await asyncio.sleep(60)
        await kit.ask("batch.complete", OPERATOR, batch="B1")

        records = [record for record in kit.records() if record["batch"] == "B1"]
        (gap,) = [one for one in findings(records) if one.kind == "device.gap"]
        assert gap.text.startswith("oven was away for")
        assert "lost before the start: the fake link is down" in gap.text
        assert back == ("did not come back" not in gap.text)
        lost = next(record["body"] for record in records if record["kind"] == "device.lost")
        assert lost["text"] == "oven is away, lost before the start: the fake link is down"
