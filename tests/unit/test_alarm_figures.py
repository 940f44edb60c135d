"""The figures where people and programs read them: the command line, offline too, the running line, the metrics."""

from __future__ import annotations

import asyncio
import json
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from line_kit import HOUSE, LINE, OPERATOR, RECIPE, Kit
from typer.testing import CliRunner

from gateway.cli.alarms import moment_ns
from gateway.cli.terminal import app
from gateway.config.reading import load
from gateway.console.metrics import AlarmMetrics
from gateway.errors import ConfigError, LinegateError
from gateway.model import Draft, Json, Lane
from gateway.store.evidence import Evidence
from gateway.testing import VirtualWorld

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("8h", "2026-03-15T04:00+00:00"),
        ("30d", "2026-02-13T12:00+00:00"),
        ("2026-03-14", "2026-03-14T00:00+00:00"),
        ("2026-03-14T06:00Z", "2026-03-14T06:00+00:00"),
        ("2026-03-14T06:00-07:00", "2026-03-14T13:00+00:00"),
    ],
)
def test_a_window_is_written_as_people_say_it(text: str, iso: str) -> None:
    """A duration before now, a day, a time with or without its zone."""
    assert moment_ns(text, NOW, "--from") == round(datetime.fromisoformat(iso).timestamp()) * 10**9


def test_what_is_no_time_is_named() -> None:
    """The option and what to write instead."""
    with pytest.raises(LinegateError, match="--to: 'soon' is no time; write 2026-03-14"):
        moment_ns("soon", NOW, "--to")


def raised(number: int) -> Draft:
    body: dict[str, Json] = {"alarm": "hot", "occurrence": number, "state": "unack", "priority": "high"}
    return Draft("alarm.raised", {**body, "raised_ns": str(round(NOW.timestamp()) * 10**9)}, lane=Lane.ALARMS)


def test_a_window_may_begin_before_there_were_computers() -> None:
    """Before 1970 is before every record; before the calendar is told in words."""
    assert moment_ns("1960-01-01", NOW, "--from") == 0
    with pytest.raises(LinegateError, match="--from: '999999d' is longer ago than any calendar goes back"):
        moment_ns("999999d", NOW, "--from")


async def _written(folder: Path, alarms: int) -> None:
    """A store as a gateway left it."""
    store = Evidence.open(folder, gateway_id="gw", world=VirtualWorld(), loop=asyncio.get_running_loop())
    for number in range(alarms):
        await store.submit([Draft("check.due", {"n": number}), raised(number + 1)], urgent=True).committed
    await store.close()


def test_without_a_gateway_the_store_is_read(tmp_path: Path) -> None:
    """The same figures from the evidence store itself, which is left as it was."""
    asyncio.run(_written(tmp_path, 3))
    before = (tmp_path / "evidence.db").read_bytes()
    asked = ["alarms", "stats", "--from", "2000-01-01", "--to", "2100-01-01", "--state", str(tmp_path)]
    result = CliRunner().invoke(app, [*asked, "--json"])
    assert result.exception is None
    figures = json.loads(result.stdout)
    assert (figures["raised"], figures["top"], figures["chattering"]) == (3, {"hot": 3}, {"hot": 3})
    assert figures["per_hour"] > 1, "the time before the first record is in no rate"
    assert (tmp_path / "evidence.db").read_bytes() == before
    assert "chattering" in CliRunner().invoke(app, asked).stdout


def test_a_gateway_that_was_killed_left_its_token(tmp_path: Path) -> None:
    """Nobody listens at its address: none runs, and the store is read."""
    asyncio.run(_written(tmp_path, 3))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "console.token").write_text(f"http://127.0.0.1:{port} secret\n")
    asked = ["alarms", "stats", "--from", "2000-01-01", "--to", "2100-01-01", "--state", str(tmp_path), "--json"]
    result = CliRunner().invoke(app, asked)
    assert result.exception is None
    assert json.loads(result.stdout)["raised"] == 3


def test_no_store_and_no_window_are_told(tmp_path: Path) -> None:
    """In words, with what to do."""
    none = CliRunner().invoke(app, ["alarms", "stats", "--state", str(tmp_path)])
    assert "no evidence store" in str(none.exception)
    back = CliRunner().invoke(app, ["alarms", "stats", "--from", "1h", "--to", "2h", "--state", str(tmp_path)])
    assert "not after" in str(back.exception)
    (tmp_path / "evidence.db").write_bytes(b"no database at all" * 100)
    garbage = CliRunner().invoke(app, ["alarms", "stats", "--state", str(tmp_path)])
    assert "cannot be read" in str(garbage.exception)


@pytest.mark.looptime(start=1000)
async def test_the_running_line_tells_them_too(tmp_path: Path) -> None:
    """The command counts from the records, the metrics from what happened since the start."""
    async with Kit(tmp_path) as kit:
        opened_ns = kit.world.time_ns() - 60 * 10**9
        await kit.begin()
        start_ns = kit.world.time_ns()
        for degrees in (67.0, 62.0, 67.0):
            kit.oven["temperature"] = degrees
            await asyncio.sleep(0.5)
        await kit.ask("alarm.shelve", OPERATOR, alarm="hot", seconds=60, reason="moved")
        end_ns = kit.world.time_ns() + 1
        figures = await kit.ask("alarm.stats", OPERATOR, from_ns=str(start_ns), to_ns=str(end_ns))
        assert (figures["raised"], figures["hidden"]["shelved"]) == (2, ["hot"])
        tomorrow_ns = end_ns + 86400 * 10**9
        wide = await kit.ask("alarm.stats", OPERATOR, from_ns="0", to_ns=str(tomorrow_ns))
        assert opened_ns <= int(wide["from_ns"]) <= start_ns < int(wide["to_ns"]) <= end_ns, "no time nobody recorded"
        page = AlarmMetrics(kit.line.alarms).text(end_ns).decode()
        for line in (
            'linegate_alarms_raised_total{priority="medium"} 2.0',
            'linegate_alarms_standing{priority="medium",state="unack"} 1.0',
            'linegate_alarms_hidden{state="shelved"} 1.0',
            "linegate_alarms_last_10min 2.0",
            "linegate_alarm_flood 0.0",
            "linegate_alarm_flood_seconds_total 0.0",
        ):
            assert line in page


@pytest.mark.looptime(start=1000)
async def test_metrics_and_records_count_the_same(tmp_path: Path) -> None:
    """Other words of what stands are no alarm, nor after a restart; what comes off its shelf standing is one."""
    async with Kit(tmp_path) as first:
        kit = first
        await kit.begin()
        start_ns = kit.world.time_ns()
        for words in ("late", "late, and later"):
            kit.line.alarms.stand("gateway:late", words)
        kit.oven["temperature"] = 67.0
        await asyncio.sleep(0.5)
        await kit.ask("alarm.shelve", OPERATOR, alarm="warm", seconds=60, reason="moved")
        await kit.ask("alarm.unshelve", OPERATOR, alarm="warm")
        assert (await figures(kit, start_ns), counted(kit)) == (3, 3)
        kit = await kit.again()
        before = await figures(kit, start_ns)
        kit.line.alarms.stand("gateway:late", "late again")
        assert (await figures(kit, start_ns), counted(kit)) == (before, 0)


async def figures(kit: Kit, start_ns: int) -> int:
    """Alarms raised, by the records."""
    asked = {"from_ns": str(start_ns), "to_ns": str(kit.world.time_ns() + 1)}
    return int((await kit.ask("alarm.stats", OPERATOR, **asked))["raised"])


def counted(kit: Kit) -> float:
    """The same by the metrics, since the start."""
    page = AlarmMetrics(kit.line.alarms).text(kit.world.time_ns()).decode()
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith("linegate_alarms_raised_total"))


@pytest.mark.looptime(start=1000)
async def test_a_stepped_clock_makes_no_flood_and_ends_none(tmp_path: Path) -> None:
    """What was raised two hours from now by the wall clock is of the last minutes all the same, and then over."""
    async with Kit(tmp_path) as kit:
        for number in range(11):
            kit.line.alarms.tell("gateway:a", f"trouble {number}")
        kit.world.offset_ns -= 7200 * 1_000_000_000
        await asyncio.sleep(60)
        soon = AlarmMetrics(kit.line.alarms).text(kit.world.time_ns()).decode()
        await asyncio.sleep(600)
        later = AlarmMetrics(kit.line.alarms).text(kit.world.time_ns()).decode()

    for line in ("linegate_alarm_flood 1.0", "linegate_alarm_flood_seconds_total 60.0"):
        assert line in soon
    for line in (
        "linegate_alarm_flood 0.0",
        "linegate_alarm_flood_seconds_total 600.0",
        "linegate_alarms_last_10min 0.0",
    ):
        assert line in later


def problems(folder: Path, rules: str, head: str = "") -> list[str]:
    """What `linegate check` says of the kit's line with these rules."""
    (folder / "recipes").mkdir()
    (folder / "recipes" / "cart.yaml").write_text(RECIPE)
    (folder / "line.yaml").write_text(LINE.replace("  counters:", f"{head}  counters:") + rules)
    try:
        load(folder / "line.yaml", house=HOUSE)
    except ConfigError as error:
        return [problem.message for problem in error.problems]
    return []


RULE = "  {name}: {{kind: limit, input: oven/temperature, limits: {{unit: Cel, high: 70}}, {more}}}\n"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("suppressed_by: [link:oven, hot]", ""),
        ("suppressed_unless: filler/state", ""),
        ("suppressed_by: hut", "there is no rule 'hut'; did you mean 'hot'"),
        ("suppressed_by: link:ofen", "there is no device 'ofen' whose link could be lost"),
        ("suppressed_by: mine", "then neither is ever shown"),
        ("suppressed_by: other", "then neither is ever shown"),
        ("suppressed_unless: filler/stat", "device filler has no tag 'stat'"),
        ("suppressed_unless: fillet/state", "there is no device 'fillet'"),
        ("suppressed_unless: filler/label", "neither true or false nor a state's number"),
    ],
)
def test_what_cannot_suppress_is_refused(tmp_path: Path, more: str, said: str) -> None:
    """Names that are not there, tags that say nothing of running, and rules that hide each other."""
    rules = RULE.format(name="mine", more=more) + RULE.format(name="other", more="suppressed_by: mine")
    found = problems(tmp_path, rules)
    assert (found == []) if not said else any(said in each for each in found), found


def test_the_longest_shelf_has_a_limit(tmp_path: Path) -> None:
    """A week at most: what is hidden for longer is out of service."""
    assert problems(tmp_path, "", "  alarms: {longest_shelf: 8d}\n")
