"""Golden files: bad configurations of real kinds with what is said of each, and the demonstration line."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gateway.config.reading import House, check, load, recipe_hash, schema
from gateway.model import Json

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "config"
FILES = sorted(GOLDEN.glob("*.yaml"))
LINE = ROOT / "config" / "line.yaml"
BATCH = {"number": "B7", "uid": "1A4FF0100000022000000001", "thc_percent": "86.4"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_golden_file_is_answered_to_the_letter(path: Path) -> None:
    """Every problem, its line and column, its words; nothing more."""
    said = "".join(f"{problem}\n" for problem in check(path).problems)

    assert said == path.with_suffix(".txt").read_text()
    assert bool(said) == (path.stem != "good")


def test_the_golden_files_are_there() -> None:
    """The mistakes people make have a file each."""
    names = {path.stem for path in FILES}

    assert names >= {
        "typo-key",
        "unknown-tag",
        "limits-wrong-way-round",
        "missing-recipe-reference",
        "wrong-unit",
        "bare-number-as-duration",
        "duplicate-key",
        "tab",
        "deadline-too-small",
        "unknown-driver",
        "halt-not-haltable",
    }


def test_the_demonstration_line_is_good() -> None:
    """As shipped it checks clean: five devices, both halts in time, no warning but its own waivers."""
    report = check(LINE)

    assert report.problems == ()
    assert report.settings is not None
    assert set(report.settings.devices) == {"reservoir", "viscometer", "balance", "filler", "labeller"}
    assert {(row.rule, row.halts) for row in report.table} >= {("fill-weight-100", "filler"), ("label", "labeller")}
    assert all(row.kept and row.deadline_s is not None for row in report.table)
    assert {warning.level for warning in report.warnings} == {"waiver"}


@pytest.mark.parametrize("recipe", ["vape-1g", "vape-1g-demo"])
def test_both_recipes_run_on_the_demonstration_line(recipe: str) -> None:
    """Every rule of the line can be built with either recipe and a batch, and into a judge."""
    settings = load(LINE)
    master = settings.recipes()[recipe]
    context = settings.rule_context(master, BATCH["number"])

    rules = settings.build_rules(master, BATCH)

    assert set(rules) == set(settings.rules)
    assert [rule.build(name, context) for name, rule in rules.items()]
    assert len(recipe_hash(master)) == 64


def test_without_a_batch_the_devices_are_still_watched() -> None:
    """Before the first batch the rules that need none judge: a silent device is seen, and a frozen one."""
    rules = load(LINE).build_rules(None, None)

    assert Counter(rule.kind for rule in rules.values()) == {"stale": 5, "limit": 3, "spc": 2}
    assert {name for name, rule in rules.items() if rule.kind == "limit"} == {
        "filler-frozen",
        "labeller-frozen",
        "oil-hot-for",
    }


def test_other_yaml_tools_may_rewrite_the_line(tmp_path: Path) -> None:
    """The demonstration line means the same in YAML 1.1: a tool that loads and dumps it changes nothing."""
    rewritten = tmp_path / "line.yaml"
    for beside in ("recipes", "instruments.yaml"):
        (tmp_path / beside).symlink_to(ROOT / "config" / beside)
    rewritten.write_text(yaml.safe_dump(yaml.safe_load(LINE.read_text()), sort_keys=False))

    assert load(rewritten).hash == load(LINE).hash


def pointers(document: Json) -> Iterator[str]:
    if isinstance(document, dict):
        if "$ref" in document:
            yield document["$ref"]
        for child in document.values():
            yield from pointers(child)
    elif isinstance(document, list):
        for child in document:
            yield from pointers(child)


def test_the_schema_knows_every_kind() -> None:
    """Editors can offer each driver, rule and sink; every reference in the schema leads somewhere."""
    whole = schema()
    text = json.dumps(whole)
    defined = {f"#/$defs/{name}" for name in whole["$defs"]}

    devices = whole["properties"]["devices"]["additionalProperties"]
    assert set(devices["discriminator"]["mapping"]) == House().drivers.names()
    assert {"modbus", "opcua", "balance", "replay"} <= House().drivers.names()
    assert {"limit", "stale", "sampling", "match"} <= set(
        whole["properties"]["rules"]["additionalProperties"]["discriminator"]["mapping"]
    )
    assert set(pointers(whole)) <= defined
    assert '"const": "mqtt"' in text


def test_the_schema_lets_rules_refer_and_durations_name_their_unit() -> None:
    """What the file may say, the schema allows: a reference where limits stand, `500ms` where seconds are meant."""
    whole = schema()

    limit = whole["$defs"]["LimitConfig"]["properties"]
    assert {"type": "string", "pattern": r"^(recipe|batch)\."} in limit["limits"]["anyOf"]
    assert "ms|s|min|h|d" in json.dumps(whole["$defs"]["ModbusConfig"]["properties"]["period"])


JUNK: list[Json] = [None, 0, -1, 3.5, 10**30, "", "x", "recipe.plans", "batch.uid", [], {}, [[]], {"": {}}, True]
JUNK += ["*/*", "a/b/c", "${file:/}", "5s", "-5s", "tcp://[::1", "serial://", "°C", "a" * 5000]


def ways(data: Json, way: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [way, *(below for step, child in entries for below in ways(child, (*way, step)))]


@pytest.mark.parametrize("seed", range(40))
def test_a_spoilt_line_is_never_a_traceback(seed: int, tmp_path: Path) -> None:
    """Whatever stands in place of any value of the line and its recipe, there is an answer."""
    dice = random.Random(seed)
    line = yaml.safe_load(LINE.read_text())
    recipe = yaml.safe_load((ROOT / "config" / "recipes" / "vape-1g.yaml").read_text())
    for document in (line, line, recipe):
        *above, last = dice.choice(ways(document)[1:])
        for step in above:
            document = document[step]  # noqa: PLW2901  # walks down
        document[last] = dice.choice(JUNK)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "one.yaml").write_text(yaml.safe_dump(recipe))
    path = tmp_path / "line.yaml"
    path.write_text(yaml.safe_dump(line, sort_keys=False))

    report = check(path)

    assert (report.settings is None) == bool(report.problems)
    assert all(problem.line >= 1 and problem.message for problem in report.problems)
