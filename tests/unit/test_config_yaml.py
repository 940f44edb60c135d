"""YAML with positions."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.config import yaml as config_yaml
from gateway.config.yaml import Document, Written, parse
from gateway.units import duration_s

LINE = Path("line.yaml")


@pytest.fixture(params=["library", "pure"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parsers: the C library's and PyYAML's own."""
    if request.param == "pure":
        monkeypatch.setattr(config_yaml, "_PARSER", config_yaml._Pure)


def said(text: str) -> list[str]:
    return [str(problem) for problem in parse(text, LINE).problems]


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("2026-11-22", "2026-11-22"),
        ("'5'", "5"),
        ("true", True),
        ("~", None),
        ("", None),
        ("007", 7),
        ("0x1F", 31),
        ("-1.5", -1.5),
        ("!!str 5", "5"),
    ],
)
def test_scalars_are_yaml_1_2(written: str, meant: object) -> None:
    """A scalar means what YAML 1.2's core schema says, so no country and no time of day becomes something else."""
    document = parse(f"key: {written}\n", LINE)

    assert document.data == {"key": meant}
    assert type(document.data["key"]) is (Written if isinstance(meant, float) else type(meant))


def test_a_number_keeps_its_digits() -> None:
    """1.00 is the float 1.0 and, as a limit, the decimal 1.00."""
    value = parse("a: 1.00", LINE).data["a"]

    assert value == 1.0
    assert Decimal(str(value)).as_tuple().exponent == -2


def test_a_yaml_number_is_no_duration() -> None:
    """A bare number in the file names no unit, whether it has a point or not; a float from code is seconds."""
    document = parse("a: 0.5\nb: 5", LINE)

    for value in document.data.values():
        with pytest.raises(ValueError, match="is not a duration"):
            duration_s(value)
    assert duration_s(0.5) == 0.5


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a:\n\tb: 1\n", "line.yaml:2:1: file: a tab in the indentation; YAML wants spaces"),
        ("a:\n  \tb: [\n", "line.yaml:2:3: file: a tab in the indentation; YAML wants spaces"),
        ("a: 1\nb: 2\na: 3\n", "line.yaml:3:1: a: written twice; the first is on line 1"),
        ("x:\n  b: {c: 1, c: 2}\n", "line.yaml:2:13: x.b.c: written twice; the first is on line 2"),
        ("? [a, b]\n: 1\n", "line.yaml:1:3: file: a key must be a plain word"),
        ("&a [*a]", "line.yaml:1:1: file: is not YAML: an alias contains itself"),
        ("x: !!int five", "line.yaml:1:4: x: 'five' is not a int"),
    ],
)
def test_faults_have_line_and_column(text: str, problem: str) -> None:
    """What is wrong with the YAML itself is said with its place, the same by both parsers."""
    assert said(text) == [problem]


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("text", ["a: [1", "a: 1\n---\nb: 2\n", "a: \x00", "[" * 5000, "a: 'x", "@"])
def test_what_is_no_yaml_is_a_problem_not_a_crash(text: str) -> None:
    """Anything may be in a file."""
    assert len(said(text)) == 1


def test_an_unknown_yaml_tag_is_never_built() -> None:
    """A tag that asks for a Python object is refused by name."""
    assert "means nothing here" in said("a: !!python/object/apply:os.system [true]\nb: !x 1")[-1]


def test_aliases_cannot_multiply_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few lines of aliases of aliases are refused before they fill the memory."""
    monkeypatch.setattr(config_yaml, "_MAX_VALUES", 1000)
    bomb = "a: &a [1,1,1,1,1,1,1,1]\n" + "".join(
        f"{name}: &{name} [{','.join(['*' + below] * 8)}]\n" for below, name in ["ab", "bc", "cd", "de", "ef"]
    )

    assert "aliases make too many values" in said(bomb)[0]


def test_positions_lead_to_keys_and_values() -> None:
    """A value is found where it is written; what is not there, at the nearest piece above."""
    document = parse("devices:\n  filler:\n    url: x\n    tags: [{name: a}, {name: b}]\n", LINE)

    assert document.at(("devices", "filler", "url")) == (3, 10)
    assert document.at(("devices", "filler", "url"), key=True) == (3, 5)
    assert document.at(("devices", "filler", "tags", 1, "name")) == (4, 30)
    assert document.at(("devices", "filler", "period")) == (2, 3)


def test_files_that_cannot_be_read_are_problems(tmp_path: Path) -> None:
    """No file, a folder, or bytes that are no text: said like everything else."""
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nname: caf\xe9\n")

    def first(document: Document) -> str:
        return str(document.problems[0])

    assert first(config_yaml.read(tmp_path / "no.yaml")) == "no.yaml:1:1: file: no such file"
    assert first(config_yaml.read(latin)) == "latin.yaml:2:1: file: is not UTF-8 text"
    assert "cannot be read" in first(config_yaml.read(tmp_path))


@pytest.mark.usefixtures("parser")
def test_a_nul_in_a_text_is_said_where_it_stands() -> None:
    """No path and no name can have it: it would be a crash of whatever opens the file."""
    assert said('a: 1\nurl: "serial:///dev\\0"\n') == [
        "line.yaml:2:6: url: holds a NUL character, which no path and no name can have; take it out"
    ]
