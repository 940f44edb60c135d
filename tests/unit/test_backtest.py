"""A backtest: recorded telemetry through the line's own engine, in every form it comes in."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import apsw
import pytest
from backtest_kit import DEVICES, RULES, START, S, at, iso, line, ramp, replay, said, store, wide
from typer.testing import CliRunner

from gateway.backtest.compare import compare
from gateway.backtest.story import Episode
from gateway.cli.terminal import app
from gateway.config.reading import load
from gateway.errors import LinegateError
from gateway.model import Scan, Severity, TagSet, TagSpec
from gateway.store.telemetry_file import TelemetryFile
from gateway.verdicts import Verdict

OVEN = TagSet("oven", [TagSpec("temperature", "Cel"), TagSpec("power", "%"), TagSpec("open", kind="bool")])
CROSSINGS = [
    (0.0, "hot", "NORMAL"),
    (0.0, "silent", "NORMAL"),
    (11.0, "hot", "WARNING"),
    (21.0, "hot", "HALT"),
    (31.0, "hot", "WARNING"),
    (41.0, "hot", "NORMAL"),
]


def test_a_ramp_is_warned_halted_and_cleared_at_the_seconds_it_crosses(tmp_path: Path) -> None:
    """A degree each second: each limit speaks at the row that is beyond it, to the second of the data's own time."""
    result, heard = replay(line(tmp_path), ramp(tmp_path))

    assert [each for each in said(heard) if each[1] == "hot"] == [each for each in CROSSINGS if each[1] == "hot"]
    hot = result.story.summaries["hot"]
    assert (hot.warned, hot.alarmed, hot.halted, hot.halts) == (1, 0, 1, ("press",))
    assert (hot.first_ns, hot.last_ns, hot.longest_ns) == (at(11), at(21), 30 * S)
    assert result.story.summaries["silent"].silent


def test_long_form_says_what_wide_form_says(tmp_path: Path) -> None:
    """The same values, tag after tag as a historian writes them, give the same verdicts at the same times."""
    _, heard = replay(line(tmp_path), ramp(tmp_path))
    rows = [each.split(",") for each in (tmp_path / "data.csv").read_text().splitlines()[1:]]
    lines = [f"{time},oven,temperature,{value},good" for time, value, _ in rows]
    lines += [f"{time},press,force,{value},good" for time, _, value in rows]
    path = tmp_path / "long.csv"
    path.write_text("\n".join(("time,device,tag,value,quality", *lines)) + "\n")

    assert said(replay(line(tmp_path), path)[1]) == said(heard)


def test_parquet_says_what_csv_says(tmp_path: Path) -> None:
    """Wide Parquet with its own type of time, the same verdicts."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    _, heard = replay(line(tmp_path), ramp(tmp_path))
    up = [50.0 + second for second in range(26)]
    values = [*up, *reversed(up)]
    times = pa.array([at(second) for second in range(len(values))], pa.timestamp("ns", tz="UTC"))
    table = pa.table({"time": times, "oven/temperature": values, "press/force": [1.5] * len(values)})
    pq.write_table(table, tmp_path / "data.parquet")

    assert said(replay(line(tmp_path), tmp_path / "data.parquet")[1]) == said(heard)


def test_a_store_says_what_a_file_says_and_is_not_touched(tmp_path: Path) -> None:
    """The telemetry a gateway left behind is read in place, and is the same file afterwards."""
    up = [50.0 + second for second in range(26)]
    scans = [(float(second), (value, 40.0, False)) for second, value in enumerate([*up, *reversed(up)])]
    path = store(tmp_path, OVEN, scans)
    before = path.read_bytes()

    _, heard = replay(line(tmp_path), tmp_path)

    assert [each for each in said(heard) if each[1] == "hot"] == [each for each in CROSSINGS if each[1] == "hot"]
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("telemetry.db-*"))


def test_a_running_gateways_store_is_read_from_a_copy(tmp_path: Path) -> None:
    """With its log beside it, not yet written back: everything that was committed is there; the file is not changed."""
    store(tmp_path, OVEN, [(0.0, (50.0, 40.0, False))])
    file = TelemetryFile(tmp_path / "telemetry.db", "two", max_bytes=2**26)
    file.store([Scan(OVEN, 1, at(1), 7 * S, (75.0, 40.0, False))])
    assert (tmp_path / "telemetry.db-wal").stat().st_size

    _, heard = replay(line(tmp_path), tmp_path)
    file.db.close()

    assert (1.0, "hot", "HALT") in said(heard)


def test_other_units_in_the_store_are_converted(tmp_path: Path) -> None:
    """What was stored in degF is judged in Cel."""
    stored = TagSet("oven", [TagSpec("power", "%"), TagSpec("temperature", "[degF]")])
    store(tmp_path, stored, [(float(second), (1.0, 140.0 + second)) for second in range(30)])

    _, heard = replay(line(tmp_path), tmp_path)

    assert (1.0, "hot", "WARNING") in said(heard)
    assert (19.0, "hot", "HALT") in said(heard)


def test_weights_stored_in_another_unit_are_converted(tmp_path: Path) -> None:
    """A balance stores decimals: 1003 mg is judged as 1.003 g, digit by digit, never as 1003 g."""
    balance = "  balance: {driver: balance, dialect: mt-sics, url: tcp://192.0.2.12:4001, period: 1s, timeout: 500ms}\n"
    rules = "rules:\n  heavy: {kind: limit, input: balance/net, limits: {unit: g, high: 1.1}}\n"
    stored = TagSet("balance", [TagSpec("net", "mg", kind="decimal")])
    store(tmp_path, stored, [(0.0, (Decimal(1003),)), (1.0, (Decimal("1100.0"),)), (2.0, (Decimal("1100.1"),))])

    _, heard = replay(line(tmp_path, rules, devices=DEVICES + balance), tmp_path)

    assert said(heard) == [(0.0, "heavy", "NORMAL"), (2.0, "heavy", "ALARM")]
    assert [each.value for _, each in heard if isinstance(each, Verdict)] == [Decimal("1.003"), Decimal("1.1001")]


def test_a_bad_value_stays_bad(tmp_path: Path) -> None:
    """A sensor break in the store is a bad input after three periods, and never a number."""
    scans = [(float(second), (55.0 if second < 10 else None, 40.0, False)) for second in range(20)]
    store(tmp_path, OVEN, scans)

    _, heard = replay(line(tmp_path), tmp_path)

    assert (12.0, "hot", "ALARM") in said(heard)
    assert "sensor break" in next(each.text for when, each in heard if when == 12.0)  # type: ignore[union-attr]


def test_a_gap_is_judged_as_a_device_that_is_away(tmp_path: Path) -> None:
    """Ten minutes without a row: blind after three periods, silent after five seconds, well again with the next row."""
    rows = [(float(second), 55.0) for second in (*range(10), *range(610, 620))]

    result, heard = replay(line(tmp_path), wide(tmp_path, ("oven/temperature",), rows))

    assert [each for each in said(heard) if each[2] != "NORMAL"] == [(12.0, "hot", "ALARM"), (14.0, "silent", "ALARM")]
    assert (610.0, "hot", "NORMAL") in said(heard)
    assert result.flow.gaps == {"oven": [(at(9), at(610))]}
    assert any("1 gap(s), the longest 601 s" in text for text in result.notes.texts)


def test_another_device_goes_on_while_one_is_away(tmp_path: Path) -> None:
    """A file of two devices in which one has empty cells for a while: only that one is away."""
    rows = [(float(second), "" if 10 <= second < 30 else 55.0, 1.5) for second in range(40)]
    rules = RULES + "  press-silent: {kind: stale, input: press, after: 5s}\n"

    _, heard = replay(line(tmp_path, rules), wide(tmp_path, ("oven/temperature", "press/force"), rows))

    bad = [each for each in said(heard) if each[2] != "NORMAL"]
    assert bad == [(12.0, "hot", "ALARM"), (14.0, "silent", "ALARM")]


def test_times_that_go_back_or_come_twice_are_skipped_and_told(tmp_path: Path) -> None:
    """The rows that lie behind are not judged; how many, and which one was first, is said."""
    rows = [(0.0, 50), (1.0, 51), (0.5, 99), (1.0, 99), (2.0, 52), (3.0, 53)]

    result, heard = replay(line(tmp_path), wide(tmp_path, ("oven/temperature",), rows))

    assert [each for each in said(heard) if each[2] != "NORMAL"] == []
    assert result.notes.texts == [
        "data.csv: 2 line(s) skipped: line 4: its time goes 0.5 s backward; line 5: its time comes twice"
    ]


def test_two_files_of_one_device_that_overlap_are_told(tmp_path: Path) -> None:
    """What the second file brings again is skipped, and counted."""
    one = wide(tmp_path, ("oven/temperature",), [(float(second), 50) for second in range(20)], "a.csv")
    two = wide(tmp_path, ("oven/temperature",), [(float(second), 50) for second in range(10, 30)], "b.csv")

    result, _ = replay(line(tmp_path), one, two)

    assert result.flow.scans == 30
    assert "oven: 10 scan(s) skipped: their time came twice" in result.notes.texts


POWER = "  strong: {kind: limit, input: oven/power, limits: {unit: '%', high: 70}}\n"


@pytest.mark.parametrize("apart_s", [0.0, 0.3])
def test_one_file_a_tag_is_one_device(tmp_path: Path, apart_s: float) -> None:
    """As historians export: the tags of a device in files of their own are judged as if they stood in one."""
    heat = wide(tmp_path, ("oven/temperature",), [(float(second), 40 + second) for second in range(40)], "heat.csv")
    power = wide(tmp_path, ("oven/power",), [(second + apart_s, 40 + second) for second in range(40)], "power.csv")

    result, heard = replay(line(tmp_path, RULES + POWER), heat, power)

    assert [each for each in said(heard) if each[1] != "silent"] == [
        (0.0, "hot", "NORMAL"),
        (apart_s, "strong", "NORMAL"),
        (21.0, "hot", "WARNING"),
        (31.0, "hot", "HALT"),
        (31.0 + apart_s, "strong", "ALARM"),
    ]
    assert not result.notes.texts


def test_a_tag_whose_file_has_ended_does_not_stand_on(tmp_path: Path) -> None:
    """Power was logged for ten seconds, heat for thirty: afterwards nobody knows the power, and its rule says so.

    The heat of those ten seconds is in both files: it is counted, and told.
    """
    heat = wide(tmp_path, ("oven/temperature",), [(float(second), 50) for second in range(30)], "heat.csv")
    power = wide(
        tmp_path, ("oven/power", "oven/temperature"), [(float(each), 40, 50) for each in range(10)], "power.csv"
    )

    result, heard = replay(line(tmp_path, RULES + POWER), heat, power)

    assert [each for each in said(heard) if each[1] == "strong"] == [
        (0.0, "strong", "NORMAL"),
        (12.0, "strong", "ALARM"),
    ]
    assert "oven: 10 value(s) came twice for one moment; the first file's count" in result.notes.texts


def test_coarse_data_is_judged_by_its_own_step(tmp_path: Path) -> None:
    """One row a minute from a line that polls each second: no gap, and three of its steps until it is missed."""
    rows = [(60.0 * minute, 55.0) for minute in (*range(10), *range(20, 30))]

    result, heard = replay(line(tmp_path), wide(tmp_path, ("oven/temperature",), rows))

    bad = [each for each in said(heard) if each[1] == "hot" and each[2] != "NORMAL"]
    assert bad == [(9 * 60 + 180.0, "hot", "ALARM")]
    assert any("the data has a scan each 60 s" in text for text in result.notes.texts)


def test_a_slow_device_beside_a_fast_one_is_judged_by_its_own_step(tmp_path: Path) -> None:
    """One value each half an hour among one a second of another device: no gap, nothing blind, and it is told."""
    fast = [f"{iso(second)},oven,temperature,50" for second in range(7201)]
    slow = [f"{iso(second)},press,force,1.5" for second in range(0, 7201, 1800)]
    path = tmp_path / "long.csv"
    path.write_text("\n".join(("time,device,tag,value", *fast, *slow)) + "\n")
    rules = RULES + "  strong: {kind: limit, input: press/force, limits: {unit: V, high: 2}}\n"

    result, heard = replay(line(tmp_path, rules), path)

    assert [each for each in said(heard) if each[1] == "strong"] == [(0.0, "strong", "NORMAL")]
    assert not result.flow.gaps
    assert any("press: the data has a scan each 1.8e+03 s" in text for text in result.notes.texts)


@pytest.mark.parametrize(
    ("unit", "severity"),
    [("[degF]", "WARNING"), ("", "HALT"), ("Cel", "HALT"), ("°C", "HALT"), ("bar", None), ("X", None)],
)
def test_a_long_file_s_own_units_are_converted(tmp_path: Path, unit: str, severity: str | None) -> None:
    """A column `unit` is believed: 141 [degF] is no 141 Cel, and what does not convert is bad, never a number."""
    path = tmp_path / "long.csv"
    path.write_text(f"time,device,tag,value,Unit\n{iso(0)},oven,temperature,141,{unit}\n")

    result, heard = replay(line(tmp_path), path)

    assert [each[2] for each in said(heard) if each[1] == "hot"] == ([severity] if severity else [])
    assert any("oven/temperature, of which the line has Cel" in text for text in result.notes.texts) is (not severity)


def test_columns_of_a_long_file_are_read_whatever_their_case_or_told(tmp_path: Path) -> None:
    """`Quality` says bad: no good value; a column that nobody reads is named."""
    path = tmp_path / "long.csv"
    path.write_text(f"time,device,tag,value,Quality,who\n{iso(0)},oven,temperature,75,Bad,me\n")

    result, heard = replay(line(tmp_path), path)

    assert not [each for each in said(heard) if each[1] == "hot"]
    assert result.notes.texts == ["long.csv: columns passed over: who"]


@pytest.mark.parametrize("form", ["wide", "long"])
def test_cells_that_are_no_number_are_told(tmp_path: Path, form: str) -> None:
    """A spreadsheet's thousands mark stands in the peak alone: it is bad for one row only, but nothing is swallowed."""
    path = tmp_path / "data.csv"
    head, cells = ("time,oven/temperature", "") if form == "wide" else ("time,device,tag,value", "oven,temperature,")
    values = ("999.0", '"1,001.5"', "999.0", "nan")
    path.write_text("\n".join((head, *(f"{iso(at)},{cells}{value}" for at, value in enumerate(values)))) + "\n")

    result, _ = replay(line(tmp_path), path)

    (told,) = result.notes.texts
    assert told.startswith("data.csv: 2 value(s) of oven/temperature cannot be read and are bad; the first: ")
    assert told.endswith("2025-12-01T08:00:01.000Z, the file has '1,001.5'")


def test_a_line_torn_before_its_quality_is_no_good_value(tmp_path: Path) -> None:
    """A file that ends in the middle of a line: `75` of `75.5,bad` is not taken for a good 75."""
    path = tmp_path / "long.csv"
    path.write_text(f"time,device,tag,value,quality\n{iso(0)},oven,temperature,55,good\n{iso(1)},oven,temperature,75")

    assert [each for each in said(replay(line(tmp_path), path)[1]) if each[1] == "hot"] == [(0.0, "hot", "NORMAL")]


def test_from_and_to(tmp_path: Path) -> None:
    """Only what lies within is judged."""
    result, heard = replay(line(tmp_path), ramp(tmp_path), since_ns=at(5), until_ns=at(15))

    assert [each[2] for each in said(heard) if each[1] == "hot"] == ["NORMAL", "WARNING"]
    assert (result.flow.first_ns, result.flow.last_ns) == (at(5), at(15))


def test_a_restart_in_the_store_with_a_clock_set_back_is_replayed_after_it(tmp_path: Path) -> None:
    """The second start's clock lies before the first: nothing is lost, nothing goes back, and it is told."""
    store(tmp_path, OVEN, [(float(second), (50.0, 1.0, False)) for second in range(100, 110)], "one")
    store(tmp_path, OVEN, [(float(second), (75.0, 1.0, False)) for second in range(10)], "two")

    result, heard = replay(line(tmp_path), tmp_path)

    assert result.flow.scans == 20
    assert any(when > 109 and severity == "HALT" for when, _, severity in said(heard))
    assert any("its clock was set back" in text for text in result.notes.texts)


def test_two_copies_of_one_store_count_once(tmp_path: Path) -> None:
    """A backup and the store that shed its beginning meanwhile, of a clock that was slewed: no scan is judged twice."""
    for name, first, end in (("backup", 1, 40), ("state", 20, 60)):
        (tmp_path / name).mkdir()
        file = TelemetryFile(tmp_path / name / "telemetry.db", "one", max_bytes=2**26)
        values = (50.0, 40.0, False)
        file.store([Scan(OVEN, seq, at(seq) + seq * 50_000, seq * S, values) for seq in range(first, end)])
        file.db.close()

    result, _ = replay(line(tmp_path), tmp_path / "backup", tmp_path / "state")

    assert result.flow.scans == 59
    assert "oven: 20 scan(s) skipped: their time came twice" in result.notes.texts


def test_a_damaged_batch_is_left_out_and_told(tmp_path: Path) -> None:
    """One batch does not hash to what was stored: the others are judged."""
    path = store(tmp_path, OVEN, [(float(second), (50.0, 1.0, False)) for second in range(40)])
    database = apsw.Connection(str(path))
    database.execute("UPDATE batch SET hash = zeroblob(32) WHERE first = (SELECT min(first) FROM batch)")
    database.close()

    result, _ = replay(line(tmp_path), tmp_path)

    assert result.flow.scans == 30
    assert any("is damaged and left out" in text for text in result.notes.texts)


# -- what judges ---------------------------------------------------------------------------------------


def test_derived_tags_are_computed_and_judged(tmp_path: Path) -> None:
    """A difference to 60 Cel, by the line's own deriver."""
    derived = """\
derived:
  more:
    tags: {over: {kind: expr, expr: "t - q(60, 'Cel')", inputs: {t: oven/temperature}, unit: K}}
rules:
  over: {kind: limit, input: more/over, limits: {unit: K, high: 5}, bad_input: ignore}
"""
    result, heard = replay(line(tmp_path, derived), ramp(tmp_path))

    assert result.story.summaries["over"].alarmed == 1
    assert [each for each in said(heard) if each[2] == "ALARM"] == [(16.0, "over", "ALARM")]


def test_rules_without_data_are_left_out_and_told(tmp_path: Path) -> None:
    """A rule that looks at what the data has not judges nothing, and it is said which tag is missing."""
    rules = RULES + "  strong: {kind: limit, input: oven/power, limits: {unit: '%', high: 90}}\n"

    result, heard = replay(line(tmp_path, rules), ramp(tmp_path))

    assert result.rules.left_out == {"strong": "no data of oven/power"}
    assert not [each for each in said(heard) if each[1] == "strong"]


def test_no_rule_left_is_an_error(tmp_path: Path) -> None:
    """Nothing to judge is no success."""
    path = wide(tmp_path, ("press/force",), [(0.0, 1)])

    with pytest.raises(LinegateError, match=r"no rule can be judged with this data: hot: no data of oven/temperature"):
        replay(line(tmp_path), path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "no column is a tag of this line"),
        ("time,oven/temprature\n", "there are 'oven/temprature'"),
        ("zeit,oven/temperature\n2025-12-01T08:00:00Z,50\n", "no column is called 'time'"),
        ("time,oven/temperature\n2025-12-01T08:00:00,50\n", "--timezone"),
        ("time;oven/temperature\n2025-12-01T08:00:00Z;50,5\n", "parted by commas, and numbers have a point"),
        ("sep=;\ntime;oven/temperature\n", "parted by commas, and numbers have a point"),
        ("t\0i\0m\0e\0,\0o\0v\0e\0n\0", "is not UTF-8"),
        ("time,device,tag,value,unit,Unit\n", "only one column may be quality, and one unit"),
        ("time,device,tag,value\n2025-12-01T08:00:00Z,oven,heat,5\n", "no line is of a tag of this line"),
    ],
)
def test_files_that_cannot_be_used_say_why(tmp_path: Path, content: str, expected: str) -> None:
    """No head, a misspelt tag, no time, a time of nobody's clock, no tag of the line."""
    path = tmp_path / "data.csv"
    path.write_text(content)

    with pytest.raises(LinegateError, match=expected):
        replay(line(tmp_path), path)


def test_what_is_no_store_says_so(tmp_path: Path) -> None:
    """Bytes that are no database, and a folder without one."""
    (tmp_path / "telemetry.db").write_bytes(b"no database at all, whatever its name says" * 100)
    with pytest.raises(LinegateError, match="is no telemetry store that can be read"):
        replay(line(tmp_path), tmp_path)
    (tmp_path / "telemetry.db").unlink()
    with pytest.raises(LinegateError, match=r"holds no telemetry\.db"):
        replay(line(tmp_path), tmp_path)


# -- the command ---------------------------------------------------------------------------------------


def run(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["replay", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_command_prints_lines_of_json_and_a_summary(tmp_path: Path) -> None:
    """Standard output is JSON alone; the summary is beside it."""
    code, out, err = run(line(tmp_path), ramp(tmp_path))

    lines = [json.loads(each) for each in out.splitlines()]
    assert code == 0
    halted = next(each for each in lines if each["severity"] == "halt")
    assert (halted["time"], halted["rule"], halted["halts"]) == (iso(21), "hot", ["press"])
    assert (halted["value"], halted["limit"], halted["unit"]) == (71, 70, "Cel")
    assert int(halted["time_ns"]) == START + 21 * S
    assert "hot" in err
    assert "104 values" not in err  # three tags of the oven and two of the press are in each scan
    assert "values in 104 scans" in err


def test_compare_shows_what_the_new_rules_change(tmp_path: Path) -> None:
    """A lower limit speaks earlier and longer; a rule only the new file has is only in new."""
    old = line(tmp_path, name="old.yaml")
    new = line(
        tmp_path,
        RULES.replace("high: 70", "high: 65")
        + "  weak: {kind: limit, input: press/force, limits: {unit: V, low: 2}}\n",
        "new.yaml",
    )

    code, out, err = run(ramp(tmp_path), "--compare", old, new)

    found = {each["rule"]: each for each in map(json.loads, out.splitlines())}
    assert code == 0
    assert found["hot"]["only"] is None
    assert found["hot"]["later_s"] == {"warning": 0.0, "halt": -5.0}
    assert found["hot"]["text"] == "halt 5 s earlier in new"
    assert found["weak"]["only"] == "new"
    assert "2 difference(s)" in err


def test_one_long_episode_is_compared_with_all_the_short_ones_in_it(tmp_path: Path) -> None:
    """A wider deadband makes one warning of three: none of them is `only in old`, as the new one stood meanwhile."""
    chatter = [(float(second), 61 if second % 4 < 2 and second < 12 else 59) for second in range(20)]
    old = line(tmp_path, name="old.yaml")
    new = line(tmp_path, RULES.replace("high: 70}", "high: 70}, deadband: 5"), "new.yaml")

    code, out, _ = run(wide(tmp_path, ("oven/temperature",), chatter), "--compare", old, new)

    found = [json.loads(each) for each in out.splitlines()]
    assert code == 0
    assert [(each["only"], each["text"]) for each in found] == [
        (None, "stands at the end only in new"),
        (None, "begins 4 s earlier in new; stands at the end only in new"),
        (None, "begins 8 s earlier in new; stands at the end only in new"),
    ]


def test_the_same_moment_said_twice_is_compared_one_by_one() -> None:
    """Of two judgements of one moment the new rules say one: the other is what is only in old, and nothing else."""
    warned = Episode("chart", "", at(1), at(1), {Severity.WARNING: at(1)}, "drifts")
    alarmed = Episode("chart", "", at(1), at(1), {Severity.ALARM: at(1)}, "is beyond")

    (found,) = compare([warned, alarmed], [alarmed])

    assert (found.only, found.old) == ("old", warned)


def test_the_same_rules_differ_in_nothing(tmp_path: Path) -> None:
    """Compared with itself, a file shows no difference."""
    path = line(tmp_path)

    _, out, err = run(ramp(tmp_path), "--compare", path, path)

    assert out == ""
    assert "no difference" in err


def test_the_report_is_one_page_with_charts(tmp_path: Path) -> None:
    """Self-contained, one chart a watched tag with its limits, and text from outside is escaped."""
    rules = RULES.replace("halt: press}", "halt: press, text: '<b>look</b> at the oven'}")
    page = tmp_path / "report.html"

    run(line(tmp_path, rules), ramp(tmp_path), "--report", page, "--jsonl", tmp_path / "out.jsonl")

    html = page.read_text()
    assert html.count('<svg class="plot"') == 1
    assert "high 70" in html
    assert "warn high 60" in html
    assert "&lt;b&gt;look&lt;/b&gt;" in html
    assert "<b>look" not in html
    assert "http" not in html.replace("http://www.w3.org", "")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 6


def test_no_data_is_not_all_well(tmp_path: Path) -> None:
    """A head and no rows: neither the page nor the comparison says that the rules had nothing to say."""
    data, page = wide(tmp_path, ("oven/temperature",), []), tmp_path / "report.html"
    run(line(tmp_path), data, "--report", page)
    html = page.read_text()
    assert "nothing in the data in this time" in html
    assert "all is well" not in html
    assert "1970" not in html

    _, _, err = run(data, "--compare", line(tmp_path), line(tmp_path, name="new.yaml"), "--report", page)
    assert "nothing to compare" in err
    assert "no difference" not in err
    assert "say the same" not in page.read_text()


def test_the_page_of_more_tags_than_charts_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a tag without a chart it is not said that nothing happened there, if something did."""
    monkeypatch.setattr("gateway.backtest.page.MOST_CHARTS", 1)
    page = tmp_path / "report.html"
    for low, expected in (
        (1, "Without a chart, as nothing happened there: press/force"),
        (2, "Without a chart: press"),
    ):
        rules = RULES + f"  weak: {{kind: limit, input: press/force, limits: {{unit: V, low: {low}}}}}\n"
        run(line(tmp_path, rules), ramp(tmp_path), "--report", page)
        assert expected in page.read_text()


def test_names_in_brackets_are_told_as_they_are(tmp_path: Path) -> None:
    """`line [new].yaml` is a file's name, no instruction to the terminal."""
    old, new = line(tmp_path, name="line [old].yaml"), line(tmp_path, name="line [new].yaml")

    _, _, err = run(ramp(tmp_path), "--compare", old, new)

    assert "line [old].yaml: what would have been" in err
    assert f"no difference: {old}, {new}" in err.replace("\n", "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("line.yaml",), "no data"),
        (("line.yaml", "other.yaml"), "are compared by --compare"),
        (("line.yaml", "nowhere.csv"), "is not there"),
        (("line.yaml", "data.csv", "--speed", "0"), "write a number above 0"),
        (("line.yaml", "data.csv", "--from", "yesterday"), "is not a time"),
        (("line.yaml", "data.csv", "--from", "2025-12-01T08:00:00"), "names no zone"),
        (("line.yaml", "data.csv", "--batch", "B-1"), "--batch takes a name and a value"),
        (("line.yaml", "data.csv", "--recipe", "cake"), "there is no recipe 'cake'"),
        (("line.yaml", "data.csv", "--gap", "5"), "is not a duration"),
        (("line.yaml", "data.csv", "--jsonl", "no/such/folder"), "--jsonl no/such/folder: cannot be written"),
        (("line.yaml", "data.csv", "--report", "no/such/folder"), "--report no/such/folder: cannot be written"),
        (("line.yaml", "/dev/zero"), "/dev/zero: is no file"),
    ],
)
def test_wrong_words_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], expected: str
) -> None:
    """Each with what to write instead."""
    monkeypatch.chdir(tmp_path)
    line(tmp_path)
    line(tmp_path, name="other.yaml")
    ramp(tmp_path)

    with pytest.raises(LinegateError, match=expected):
        run(*words)


@pytest.mark.parametrize("option", ["--jsonl", "--report"])
@pytest.mark.parametrize("name", ["line.yaml", "data.csv", "telemetry.db", "evidence.db"])
def test_nothing_is_written_over_what_is_read(tmp_path: Path, option: str, name: str) -> None:
    """A slip of the hand takes the rules, the data or the store as target: it is refused, and they are as they were."""
    ramp(tmp_path)
    store(tmp_path, OVEN, [(0.0, (50.0, 40.0, False))])
    (tmp_path / "evidence.db").touch()
    rules = line(tmp_path)
    before = (tmp_path / name).read_bytes()

    with pytest.raises(LinegateError, match=f"{option} .*{name}: is read by this replay; name another file"):
        run(rules, tmp_path / "data.csv", tmp_path, option, tmp_path / name)

    assert (tmp_path / name).read_bytes() == before


def test_a_store_whose_tags_cannot_be_read_says_so(tmp_path: Path) -> None:
    """A damaged row of tags is an error with the file's name, no traceback."""
    store(tmp_path, OVEN, [(0.0, (50.0, 40.0, False))])
    database = apsw.Connection(str(tmp_path / "telemetry.db"))
    columns = [each[0] for each in database.execute("SELECT name FROM pragma_table_info('tagset')")]
    database.execute(f"UPDATE tagset SET {columns[2]} = '[{{'")
    database.close()

    with pytest.raises(LinegateError, match=r"telemetry\.db: the tags of oven cannot be read"):
        replay(line(tmp_path), tmp_path)


def test_the_line_itself_is_good(tmp_path: Path) -> None:
    """The kit's own line can run: what is replayed is no toy."""
    assert load(line(tmp_path, devices=DEVICES)).rules.keys() == {"hot", "silent"}
