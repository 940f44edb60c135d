"""A person's own register map, as CSV, becomes a profile that the configuration takes, or says what is wrong where."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gateway.cli.terminal import app
from gateway.config.reading import check, load
from gateway.drivers.profiles import columns
from gateway.drivers.profiles.map_import import import_map
from gateway.drivers.profiles.profile import load_profile, site
from gateway.errors import ConfigError, Problem

MAP = """\
Tag Name;Register (1-based);Data Type;Units;Factor;Description;Area;Colour
Oil Temp;1;Float (CDAB);°C;1;PV of zone 1;Holding;red
Motor speed;5;UINT16;rpm;/10;;;
Serial;10;string[8];;;who it is;Input;
Energy;20;DINT;kWh;0,01;;;
Door;3;bool;;;;DI;
no;30.2;;;;the third bit;;
"""


def tags(text: str, **changes: str) -> dict[str, dict[str, object]]:
    made = import_map(text, "map.csv", title="mixer", **changes)  # type: ignore[arg-type]
    found: dict[str, dict[str, object]] = yaml.safe_load(made.text)["settings"]["tags"]
    return found


def problems(text: str, **changes: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        tags(text, **changes)
    return [str(problem) for problem in caught.value.problems]


def test_headers_and_cells_are_read_as_people_write_them() -> None:
    """Semicolons, other words for the columns, orders in the type, fractions, units in words."""
    assert tags(MAP) == {
        "oil_temp": {"table": "holding", "address": 1, "type": "f32", "word_order": "little", "unit": "Cel"},
        "motor_speed": {"address": 5, "type": "u16", "scale": 0.1, "unit": "/min"},
        "serial": {"table": "input", "address": 10, "type": "ascii", "length": 8},
        "energy": {"address": 20, "type": "i32", "scale": 0.01},
        "door": {"table": "discrete", "address": 3},
        "no": {"address": 30, "bit": 2},
    }


def test_what_was_decided_is_told() -> None:
    """Columns not used, how addresses count, units not known: each is said; the comment keeps the map's own words."""
    made = import_map(MAP, "map.csv", title="mixer")

    assert made.tags == 6
    assert yaml.safe_load(made.text)["settings"]["base"] == 1
    assert any("'Colour' is not used" in remark for remark in made.remarks)
    assert any("count from 1" in remark for remark in made.remarks)
    assert any("'kWh' is not known" in remark for remark in made.remarks)
    assert "# in kWh." in made.text
    assert "# PV of zone 1" in made.text


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("40361", {"table": "holding", "address": 360}),
        ("30001", {"table": "input", "address": 0}),
        ("400361", {"table": "holding", "address": 360}),
        ("4x361", {"table": "holding", "address": 360}),
        ("10005", {"table": "discrete", "address": 4}),
        ("00017", {"table": "coil", "address": 16}),
        ("360", {"address": 360}),
        ("0x168", {"address": 360}),
        ("168h", {"address": 360}),
    ],
)
def test_addresses_as_manuals_print_them(address: str, found: dict[str, object]) -> None:
    """Modicon numbers lose their table digit and count from 1; others are taken as they stand."""
    made = tags(f"name,address\na,{address}\n")["a"]

    assert made == found


def test_modicon_numbers_are_told() -> None:
    """Where addresses were taken for Modicon numbers, the first is shown with what it is on the wire."""
    made = import_map("name,address\na,40361\nb,30001\n", "map.csv", title="x")

    assert made.remarks == ("addresses like 40361 are Modicon numbers: 40361 is holding 360 on the wire",)


def test_raw_addresses_above_40000_are_taken_by_word() -> None:
    """--base 0 takes 40361 for what it says: some devices do have such addresses."""
    assert tags("name,address\na,40361\n", base="0") == {"a": {"address": 40361}}


def test_a_map_that_begins_at_1_is_doubted() -> None:
    """Nobody can tell by the list alone whether its 1 is the wire's 0: it is told, not guessed."""
    made = import_map("name,address\na,1\nb,2\n", "map.csv", title="x")

    assert "may count from 1" in made.remarks[0]
    assert "base" not in yaml.safe_load(made.text)["settings"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,address,type\na,1,f33\n", ["map.csv:2:3: a: 'f33' is not a type; write u16, i16"]),
        ("name,address\na,12z4\n", ["map.csv:2:2: a: '12z4' is not an address; write 360, 0x168"]),
        ("name,address\na,1\nA,2\n", ["map.csv:3:1: A: a stands already in line 2"]),
        ("name,address\n,1\nb,\n", ["map.csv:2:1: name: name is empty", "map.csv:3:2: b: address is empty"]),
        ("tag,adress\na,1\n", ["map.csv:1:1: headers: no column is called address; is it 'adress'?"]),
        ("", ["map.csv:1:1: file: is empty"]),
        ("name,address\n", ["map.csv:1:1: file: has headers and no tag"]),
        ("name,address,factor\na,1,x10\n", ["map.csv:2:3: a: 'x10' may mean"]),
        ('name,address,factor\na,1,"1,000"\n', ["map.csv:2:3: a: '1,000' may be a thousand"]),
        ("name,address,scale\na,1,0\n", ["map.csv:2:3: a: scale 0 makes every value 0"]),
        ("name,address,scale\na,1,inf\n", ["map.csv:2:3: a: 'inf' is not a number that"]),
        ("name,address,type\na,40001,bool\n", ["map.csv:2:2: a: a bool in a register needs bit"]),
        ("name,address,type\na,1,string\n", ["map.csv:2:2: a: length goes with type: ascii"]),
        ("name,address,area\na,40001,coil\n", ["map.csv:2:2: a: 40001 is a holding's number, the row says coil"]),
        ("name,address\na,70000\n", ["map.csv:2:2: a: '70000' is not an address"]),
        ('name,address\n"a,1\n', ["map.csv:2:1: file: is not CSV"]),
        ("name,address\na,1,2,3\n", ["map.csv:2:3: line: has 4 cells, the headers are 2"]),
        (
            "name,address\na,\u0664\u0660\n",
            ["map.csv:2:2: a: '\u0664\u0660' has '\u0664' (arabic-indic digit four); write"],
        ),
        ("name,address\na,0x\uff11\n", ["map.csv:2:2: a: '0x\uff11' has '\uff11' (fullwidth digit one)"]),
        ("name,address,scale\na,1,\u0660.1\n", ["map.csv:2:3: a: '\u0660.1' has '\u0660'"]),
        ("name,address,scale\na,1,10\u00b2\n", ["map.csv:2:3: a: '10\u00b2' has '\u00b2' (superscript two)"]),
        ("name,address,scale\na,1,1_0\n", ["map.csv:2:3: a: '1_0' is not a number; write it without underscores"]),
        ("name,address,bit\na,1,\u0967\n", ["map.csv:2:3: a: '\u0967' has '\u0967' (devanagari digit one)"]),
        ("name,address,type\na,1,string[\u0661\u0666]\n", ["map.csv:2:3: a: 'string[\u0661\u0666]' has '\u0661'"]),
        ("name,address\nzone\u0661,1\n", ["map.csv:2:1: zone\u0661: 'zone\u0661' has '\u0661'"]),
        ("name,address\n--,1\n", ["map.csv:2:1: --: '--' has no letter or digit"]),
    ],
)
def test_what_is_wrong_has_line_and_cell(text: str, said: list[str]) -> None:
    """Each problem names the file, the line, the cell and what to write instead; all of them at once."""
    found = problems(text)

    assert len(found) == len(said), found
    assert all(part.startswith(words) for part, words in zip(found, said, strict=True)), found


@given(st.text(alphabet="abcX,;\t\n\"'0149./#-°x", max_size=120))
def test_any_text_is_a_map_or_a_problem(text: str) -> None:
    """Whatever is in the file: a profile, or problems with a line; never anything else."""
    found: tuple[Problem, ...] = ()
    try:
        import_map("name,address,type\n" + text, "map.csv", title="x")
    except ConfigError as error:
        found = error.problems

    assert all(problem.line >= 1 for problem in found)


@pytest.mark.parametrize("text", [word for words in columns.ORDERS.values() for word in words])
def test_every_word_for_an_order_is_one(text: str) -> None:
    """The table of orders finds each of its words."""
    assert text in columns.ORDERS[columns.order(text)]


def test_little_under_word_order_is_the_words_alone() -> None:
    """`word order: little` swaps words, `byte order: little` bytes and words."""
    assert tags("name,address,type,word order\na,0,f32,little\n")["a"]["word_order"] == "little"
    assert "byte_order" not in tags("name,address,type,word order\na,0,f32,little\n")["a"]
    assert tags("name,address,type,byte order\na,0,f32,little\n")["a"]["byte_order"] == "little"


# -- from the command to the configuration -----------------------------------------------------------


def test_the_command_makes_what_the_check_takes(tmp_path: Path) -> None:
    """`linegate profile import` writes a profile; a configuration names it; `linegate check` finds it good."""
    (tmp_path / "map.csv").write_bytes(MAP.encode("cp1252"))
    output = tmp_path / "profiles" / "mixer.yaml"
    said = CliRunner().invoke(app, ["profile", "import", str(tmp_path / "map.csv"), "-o", str(output)])
    (tmp_path / "line.yaml").write_text(
        'gateway: {id: g, path: a/b}\ndevices:\n  m: {driver: modbus, profile: mixer, url: "tcp://127.0.0.1:502"}\n'
    )

    assert said.exit_code == 0, said.output
    assert "6 tag(s)" in said.output
    assert check(tmp_path / "line.yaml").problems == ()
    assert load(tmp_path / "line.yaml").tagsets["m"].tags[0] == "oil_temp"
    with site(tmp_path):
        assert load_profile("mixer").basis == "site"


def test_a_file_is_not_written_over(tmp_path: Path) -> None:
    """A profile somebody corrected is not lost by importing again; --force says it may be."""
    (tmp_path / "map.csv").write_text("name,address\na,0\n")
    output = tmp_path / "mixer.yaml"
    output.write_text("mine")
    command = ["profile", "import", str(tmp_path / "map.csv"), "-o", str(output)]

    assert CliRunner().invoke(app, command).exit_code != 0
    assert output.read_text() == "mine"
    assert CliRunner().invoke(app, [*command, "--force"]).exit_code == 0
    assert "driver: modbus" in output.read_text()


def test_the_list_and_a_profile_are_printed() -> None:
    """Without a name all profiles are listed; with one, its tags, units, addresses, bits and traps; --yaml as it is."""
    listed = CliRunner().invoke(app, ["profile"], env={"COLUMNS": "160"}).output
    shown = CliRunner().invoke(app, ["profile", "omron-e5cc-2byte"], env={"COLUMNS": "160"}).output
    raw = CliRunner().invoke(app, ["profile", "watlow-ez-zone-pm", "--yaml"]).output
    degrees = CliRunner().invoke(app, ["profile", "watlow-ez-zone-pm"], env={"COLUMNS": "160"}).output

    assert "micro-motion-7829" in listed
    assert "memory: prove it" in listed
    assert "holding 8192" in shown
    assert "6 input error (broken sensor)" in shown
    assert "HOLDS the last value" in shown
    assert "not proved on a device yet" in shown
    assert yaml.safe_load(raw)["settings"]["word_order"] == "little"
    assert "f32 in [degF]" in degrees
