"""A file as a device: rows at their own pace, their own time, and nothing left out without being counted and told."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from structlog.testing import capture_logs

from gateway.config.reading import check
from gateway.drivers.replay.device import Replay
from gateway.drivers.replay.kind import ReplayConfig
from gateway.drivers.replay.rows import Column, FileError, Reader, converter, look, open_rows
from gateway.drivers.replay.times import NoZoneError, Times
from gateway.errors import DeviceMisconfigured
from gateway.model import Quality, Reading, TagSet
from gateway.station.station import Station
from gateway.testing import RecordingLine, VirtualWorld

GOOD = """\
time,Oil T,net,running,note
2026-03-01T10:00:00Z,61.5,1.0120,true,start
2026-03-01T10:00:01Z,61.6,,true,
2026-03-01T10:00:03Z,oops,1.0130,false,end
"""


def config(path: Path, text: str | None = GOOD, **changes: Any) -> ReplayConfig:
    if text is not None:
        path.write_text(text, encoding="utf-8")
    given: dict[str, Any] = {
        "file": path,
        "tags": {
            "temperature": {"column": "Oil T", "unit": "Cel"},
            "net": {"unit": "g", "kind": "decimal"},
            "running": {"kind": "bool"},
            "note": {"kind": "text"},
        },
    }
    return ReplayConfig.model_validate({**given, **changes})


def stamp(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1e9)


async def drain(device: Replay) -> list[Reading]:
    """Every row there is, at `speed: max`."""
    found = []
    while True:
        reading = await device.poll()
        if any("has ended" in fault.reason for fault in reading.faults.values()):
            return found
        found.append(reading)


@asynccontextmanager
async def at_once(path: Path, text: str | None = GOOD, **changes: Any) -> AsyncIterator[Replay]:
    async with config(path, text, speed="max", period="1ms", **changes).connect("replay") as device:
        yield device


async def test_rows_become_readings(tmp_path: Path) -> None:
    """Values by kind and column, the digits of a decimal kept, the file's own time as source time."""
    async with at_once(tmp_path / "a.csv") as device:
        first, second, third = await drain(device)

    assert first.values == (61.5, Decimal("1.0120"), True, "start", 0)
    assert str(first.values[1]) == "1.0120"
    assert first.source_ns == dict.fromkeys(range(5), stamp("2026-03-01T10:00:00Z"))
    assert second.values[1] is None
    assert {at: fault.reason for at, fault in second.faults.items()} == {1: "empty cell", 3: "empty cell"}
    assert third.values[0] is None
    assert third.faults[0].quality is Quality.BAD
    assert third.faults[0].reason == "the file has 'oops'"


@pytest.mark.parametrize("kind", ["number", "decimal"])
@pytest.mark.parametrize("cell", ["1_000", "\u0661\u0662", "12 g", "nan", "inf"])
def test_what_no_logger_writes_is_no_number(kind: str, cell: str) -> None:
    """Python reads underscores, infinities and other scripts' digits as numbers; a cell of a file is none then."""
    assert converter(kind)(cell) is None


async def test_disorder_is_skipped_counted_and_told(tmp_path: Path) -> None:
    """Times that go backward, come twice or cannot be read, and broken lines, are left out; the count is a tag."""
    text = (
        "time,Oil T,net,running,note\n2026-03-01T10:00:00Z,1,,,\n2026-03-01T09:59:58Z,2,,,\n2026-03-01T10:00:00Z,3,,,\n"
        "yesterday,4,,,\n,5,,,\n2026-03-01T10:00:01Z,6,5,,,,7\n\n2026-03-01T10:00:02Z,8\n"
    )
    with capture_logs() as logs:
        async with at_once(tmp_path / "a.csv", text) as device:
            first, last = await drain(device)

    assert (first.values[0], first.values[-1]) == (1.0, 0)
    assert (last.values[0], last.values[-1]) == (8.0, 5)
    assert last.faults[1].reason == "the line ends before this cell"
    told = [log["reason"] for log in logs if log["event"] == "replay skips rows"]
    assert told == [
        "line 3: its time goes 2 s backward",
        "line 4: its time comes twice",
        "line 5: 'yesterday' is not a time written as iso",
        "line 7: has 7 cells, the first line has 5",
    ]


@pytest.mark.looptime
async def test_the_file_s_own_pace(tmp_path: Path) -> None:
    """Ten times faster: rows a second apart come 100 ms apart; between them the last one stands, with its own time."""
    loop = asyncio.get_running_loop()
    seen: list[tuple[float, Any]] = []
    async with config(tmp_path / "a.csv", speed=10, period="150ms").connect("replay") as device:
        began = loop.time()
        for _ in range(5):
            reading = await device.poll()
            seen.append((round(loop.time() - began, 2), reading.source_ns.get(0, 0) - stamp("2026-03-01T10:00:00Z")))

    assert seen == [(0.0, 0), (0.1, 10**9), (0.25, 10**9), (0.3, 3 * 10**9), (0.45, -stamp("2026-03-01T10:00:00Z"))]


@pytest.mark.looptime
async def test_a_gap_is_not_a_flat_line(tmp_path: Path) -> None:
    """Rows further apart than `gap` leave everything bad until the next one."""
    text = "time,Oil T,net,running,note\n2026-03-01T10:00:00Z,1,,,\n2026-03-01T10:00:10Z,2,,,\n"
    async with config(tmp_path / "a.csv", text, period="1s", gap="2s").connect("replay") as device:
        readings = [await device.poll() for _ in range(11)]

    assert [reading.values[0] for reading in readings] == [1.0, 1.0, 1.0, *(None,) * 7, 2.0]
    assert readings[5].faults[0].reason == "a.csv has a gap here"


@pytest.mark.looptime
async def test_a_cancelled_poll_loses_no_row(tmp_path: Path) -> None:
    """A halt may cut into a poll at any time: the rows go on where they were."""
    async with config(tmp_path / "a.csv", period="1s").connect("replay") as device:
        assert (await device.poll()).values[0] == 61.5
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await device.poll()

        assert (await device.poll()).values[0] == 61.6


async def test_loop_begins_again(tmp_path: Path) -> None:
    """With `loop` the first row follows the last; what was skipped is counted on."""
    text = (
        "time,Oil T,net,running,note\n2026-03-01T10:00:00Z,1,,,\n2026-03-01T10:00:00Z,9,,,\n2026-03-01T10:00:01Z,2,,,\n"
    )
    async with at_once(tmp_path / "a.csv", text, loop=True) as device:
        readings = [await device.poll() for _ in range(5)]

    assert [(reading.values[0], reading.values[-1]) for reading in readings] == [(1, 0), (2, 1), (1, 1), (2, 2), (1, 2)]


async def test_a_cancelled_poll_at_the_turn(tmp_path: Path) -> None:
    """Cancelled while the file is opened again: the next poll goes on with the new round."""
    async with at_once(tmp_path / "a.csv", loop=True) as device:
        for _ in range(3):
            await device.poll()
        for _ in range(20):
            poll = asyncio.ensure_future(device.poll())
            await asyncio.sleep(0)
            poll.cancel()
            await asyncio.wait([poll])
        readings = [await device.poll() for _ in range(6)]

    assert all("has ended" not in str(reading.faults) for reading in readings)


async def test_a_long_file_takes_no_memory(tmp_path: Path) -> None:
    """Only a few hundred rows are held, however long the file is."""
    rows = "".join(f"{1_770_000_000 + second},{second},,,\n" for second in range(50_000))
    async with at_once(tmp_path / "a.csv", "time,Oil T,net,running,note\n" + rows, time_format="s") as device:
        for _ in range(2000):
            await device.poll()

        assert len(device._ahead) <= 512


async def test_a_station_plays_it(tmp_path: Path) -> None:
    """In a station each row is a scan of its own, in order, none twice."""
    settings = config(tmp_path / "a.csv", speed=1000, period="20ms", tags={"temperature": {"column": "Oil T"}})
    done = asyncio.Event()
    line = RecordingLine(lambda scan: done.set() if "has ended" in str(scan.faults) else None)
    counter = iter(range(1, 1000))
    station = Station("r", settings, TagSet("r", settings.tags()), line, VirtualWorld(), lambda: next(counter))
    task = asyncio.create_task(station.run())
    async with asyncio.timeout(5):
        await done.wait()
    task.cancel()
    await asyncio.wait([task])

    played = [scan for scan in line.scans if scan.source_ns]
    assert [scan.values[0] for scan in played] == [61.5, 61.6, None]


# -- what can be wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; its first line must name the columns"),
        ("tme,Oil T,net,running,note\n", "no column is called 'time'; did you mean 'tme'?"),
        ("time,time,net,running,note\n", "two columns are called 'time'"),
        ("time,Oil T,net,running,note\n", "has no row with a time that can be read"),
        ("time,Oil T,net,running,note\nnow,1,,,\n", "line 2: 'now' is not a time written as iso"),
        ("time,Oil T,net,running,note\n2026-03-01T10:00:00,1,,,\n", "names no zone; write timezone: Europe/Berlin"),
    ],
)
async def test_a_file_that_cannot_be_played_says_why(tmp_path: Path, text: str, said: str) -> None:
    """Device, file and what is wrong with it, before anything is played."""
    with pytest.raises(DeviceMisconfigured, match=r"mixer_7 \(.*a\.csv\)") as caught:
        async with config(tmp_path / "a.csv", text).connect("mixer_7"):
            pass

    assert said in str(caught.value)


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file is a device error with its path, and a warning of `linegate check`."""
    made = config(tmp_path / "a.csv", None)

    with pytest.raises(DeviceMisconfigured, match="No such file"):
        async with made.connect("replay"):
            pass
    assert made.preflight() == ["a.csv: No such file or directory"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"speed": 0}, "speed 0: write a number above 0"),
        ({"timezone": "Europe/Berlinn"}, "there is no time zone 'Europe/Berlinn'"),
        ({"timezone": "../etc"}, "no time zone"),
        ({"time_format": "isoo"}, "write iso, s, ms, us, ns or a pattern"),
        ({"tags": {"skipped": {}}}, "counts the rows left out"),
        ({"tags": {"a": {"unit": "grad"}}}, "'grad' is not a unit I know"),
        ({"tags": {}}, "at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """Each with what to write instead."""
    with pytest.raises(ValidationError, match=said):
        config(tmp_path / "a.csv", **changes)


async def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    """A pipe or a device may never end: the check says so at once instead of waiting for it."""
    os.mkfifo(tmp_path / "a.csv")
    assert config(tmp_path / "a.csv", None).preflight() == ["a.csv: is not a file; name one with rows in it"]
    assert config(Path("/"), None).preflight() == ["/: is not a file; name one with rows in it"]


def test_the_check_reads_the_head(tmp_path: Path) -> None:
    """`linegate check` finds the file beside the configuration and warns of what stands in the way."""
    (tmp_path / "a.csv").write_text("time,Oil\n")
    (tmp_path / "line.yaml").write_text(
        "gateway: {id: g, path: a/b}\ndevices:\n  r: {driver: replay, file: a.csv, tags: {oil: {}}}\n"
    )
    report = check(tmp_path / "line.yaml")

    assert report.ok
    assert "no column is called 'oil'; did you mean 'Oil'?" in str(report.warnings[0])


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet without its library says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    said = look(config(tmp_path / "a.parquet", None).reader)

    assert said is not None
    assert "pip install 'linegate[parquet]'" in said


# -- Parquet -----------------------------------------------------------------------------------------


def parquet(path: Path, times: pa.Array) -> Path:
    count = len(times)
    columns = {
        "ts": times,
        "v": pa.array([1.5, None, float("nan"), 4.0][:count]),
        "n": pa.array([1, 2, 3, 4][:count], pa.int32()),
        "ok": pa.array([True, False, None, True][:count]),
    }
    pq.write_table(pa.table(columns), path)
    return path


PARQUET = {"time": "ts", "tags": {"v": {}, "n": {}, "ok": {"kind": "bool"}}}
TIMES = [datetime(2026, 3, 1, 10, tzinfo=UTC) + timedelta(seconds=second) for second in (0, 1, 2)]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
async def test_parquet_times_of_every_unit(tmp_path: Path, unit: str) -> None:
    """Timestamps of any unit with a zone are exact; null and NaN are bad."""
    path = parquet(tmp_path / "a.parquet", pa.array([*TIMES, None], pa.timestamp(unit, tz="UTC")))
    async with at_once(path, None, **PARQUET) as device:
        readings = await drain(device)

    assert [reading.source_ns[0] for reading in readings] == [int(each.timestamp() * 1e9) for each in TIMES]
    assert [reading.values[:3] for reading in readings] == [(1.5, 1, True), (None, 2, False), (None, 3, None)]


async def test_parquet_naive_times_need_a_zone(tmp_path: Path) -> None:
    """A column without a zone is the site's own clock: which one must be said."""
    naive = [each.replace(tzinfo=None) for each in TIMES]
    path = parquet(tmp_path / "a.parquet", pa.array(naive, pa.timestamp("us")))

    assert "names no zone" in str(look(config(path, None, **PARQUET).reader))
    async with at_once(path, None, timezone="America/Denver", **PARQUET) as device:
        first = await device.poll()
    assert first.source_ns[0] == stamp("2026-03-01T10:00:00-07:00")


async def test_what_is_no_parquet_says_so(tmp_path: Path) -> None:
    """A CSV with the wrong ending, a file cut short."""
    path = parquet(tmp_path / "a.parquet", pa.array(TIMES, pa.timestamp("us", tz="UTC")))
    path.write_bytes(path.read_bytes()[:-20])

    assert "is not a Parquet file that can be read" in str(look(config(path, None, **PARQUET).reader))


async def test_a_damaged_parquet_is_a_device_error(tmp_path: Path) -> None:
    """A page that cannot be decoded is said with device and file; rows before it were played."""
    path = parquet(tmp_path / "a.parquet", pa.array(TIMES, pa.timestamp("us", tz="UTC")))
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + bytes(len(whole) // 4) + whole[4 + len(whole) // 4 :])

    with pytest.raises(DeviceMisconfigured, match=r"replay \(.*a\.parquet\)"):
        async with at_once(path, None, **PARQUET) as device:
            await drain(device)


def test_a_quote_that_never_ends(tmp_path: Path) -> None:
    """An open quote swallows lines until the reader gives up: all of them are counted, and the rest is read."""
    lines = [f"{1_770_000_000 + second},{second}" for second in range(30_000)]
    lines[10] = lines[10].replace(",", ',"')
    (tmp_path / "a.csv").write_text("time,a\n" + "\n".join(lines) + "\n")

    with open_rows(Reader(tmp_path / "a.csv", (Column("a", "number"),), "time", time_format="s")) as rows:
        found = rows.take(40_000)

    assert len(found) + rows.skipped == 30_000
    assert 1_000 < rows.skipped < 12_000
    assert "line 12: field larger than field limit" in rows.reasons["line"]


# -- times -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "zone", "text", "iso", "extra_ns"),
    [
        ("iso", None, "2026-03-01T10:00:00.123456789Z", "2026-03-01T10:00:00.123456+00:00", 789),
        ("iso", None, "2026-03-01 10:00:00+02:00", "2026-03-01T08:00:00+00:00", 0),
        ("iso", "Europe/Berlin", "2026-07-01T12:00:00", "2026-07-01T10:00:00+00:00", 0),
        ("%d.%m.%Y %H:%M:%S", "Europe/Berlin", "01.07.2026 12:00:00", "2026-07-01T10:00:00+00:00", 0),
        ("s", None, "1770000000.5", "2026-02-02T02:40:00.500000+00:00", 0),
        ("ms", None, "1770000000500", "2026-02-02T02:40:00.500000+00:00", 0),
        ("ns", None, "1770000000500000007", "2026-02-02T02:40:00.500000+00:00", 7),
    ],
)
def test_times_as_files_write_them(written: str, zone: str | None, text: str, iso: str, extra_ns: int) -> None:
    """ISO with and without offset, patterns, counts: to the nanosecond."""
    micros = round(datetime.fromisoformat(iso).timestamp() * 1e6)

    assert Times(written, zone).ns(text) == micros * 1000 + extra_ns


def test_the_hour_that_comes_twice() -> None:
    """Clocks set back: the second 02:30 is an hour after the first, not a time that goes backward."""
    times = Times("iso", "Europe/Berlin")
    found = [times.ns(f"2026-10-25T{clock}") for clock in ("02:00:00", "02:30:00", "02:00:00", "02:30:00", "03:00:00")]

    assert [round((each - found[0]) / 6e10) for each in found] == [0, 30, 60, 90, 120]


def test_the_hour_that_never_was() -> None:
    """Clocks set forward: 02:30 of that night is no time."""
    with pytest.raises(ValueError, match="does not exist in Europe/Berlin"):
        Times("iso", "Europe/Berlin").ns("2026-03-29T02:30:00")


@pytest.mark.parametrize("text", ["", "nan", "1e400", "-", "12:30", "2026-13-01"])
@pytest.mark.parametrize("written", ["iso", "s", "ns", "%H:%M"])
def test_what_is_no_time_is_an_error_of_its_own(written: str, text: str) -> None:
    """Whatever stands there: a time, or a ValueError that says what it is not."""
    try:
        Times(written, "UTC").ns(text)
    except ValueError as error:
        assert text in str(error)  # noqa: PT017  # either is right


def test_a_naive_time_without_a_zone() -> None:
    """Nobody guesses whose clock it was."""
    with pytest.raises(NoZoneError, match="write timezone"):
        Times("iso", None).ns("2026-03-01T10:00:00")


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda moment: 1700 < moment.year < 2200), st.integers(-720, 720))
def test_any_moment_with_an_offset(moment: datetime, minutes: int) -> None:
    """A moment written with its offset is read back exactly."""
    aware = moment.astimezone(timezone(timedelta(minutes=minutes)))
    age = aware - datetime(1970, 1, 1, tzinfo=UTC)

    assert Times("iso", None).ns(aware.isoformat()) == (age // timedelta(microseconds=1)) * 1000


@given(st.text(alphabet='0129,;"\n\r TZ:-.x\0\ufeff', max_size=200))
def test_any_text_is_rows_or_an_error(text: str) -> None:
    """Garbage is rows left out and counted, or an error that says why; times only ever go forward."""
    with tempfile.NamedTemporaryFile("w", suffix=".csv", encoding="utf-8", newline="") as file:
        file.write("time,a\n" + text)
        file.flush()
        reader = Reader(Path(file.name), (), "time", timezone="UTC")
        try:
            with open_rows(reader) as rows:
                found = [row.time_ns for row in rows.take(10_000)]
        except FileError:
            return

    assert found == sorted(set(found))


def test_the_example_validates() -> None:
    """config/examples/replay.yaml is a configuration that can work."""
    text = (Path(__file__).parents[2] / "config" / "examples" / "replay.yaml").read_text(encoding="utf-8")
    made = {name: ReplayConfig.model_validate(given) for name, given in yaml.safe_load(text)["devices"].items()}

    assert [spec.name for spec in made["yesterday"].tags()] == ["temperature", "net", "skipped"]
    assert made["recorded"].reader.parquet
