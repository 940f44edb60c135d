"""One file to settings: what is read, what is refused, and where it is said."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from config_fakes import BASE, HOUSE, RECIPE, MachineConfig, SampleConfig, WithinConfig

from gateway.config.reading import Report, Settings, check, load, recipe_hash
from gateway.errors import ConfigError, Problem

Write = Callable[..., Path]
BATCH = {"number": "B7", "uid": "1A4", "thc_percent": "81.5"}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes line.yaml (after BASE) and recipes/cart.yaml."""

    def files(more: str = "", *, base: str = BASE, recipe: str | None = RECIPE) -> Path:
        if recipe is not None:
            (tmp_path / "recipes").mkdir(exist_ok=True)
            (tmp_path / "recipes" / "cart.yaml").write_text(recipe)
        line = tmp_path / "line.yaml"
        line.write_text(base + more)
        return line

    return files


def read(path: Path) -> Settings:
    return load(path, house=HOUSE)


def tried(path: Path) -> Report:
    return check(path, house=HOUSE)


def said(path: Path) -> list[str]:
    """Problems, each behind the word its line and column point at."""
    return [f"{pointed(path, problem)} <- {problem.where}: {problem.message}" for problem in tried(path).problems]


def pointed(path: Path, problem: Problem) -> str:
    file = path if problem.file == path.name else path.parent / "recipes" / problem.file
    line = file.read_text().splitlines()[problem.line - 1]
    return re.split(r"[\s,}\]]", line[problem.column - 1 :])[0]


# -- what is read -----------------------------------------------------------------------------------


def test_settings_are_what_the_file_says(write: Write) -> None:
    """Devices, tags, periods and the gateway are there as written, with paths from the file's own folder."""
    path = write()
    settings = read(path)

    assert settings.gateway.id == "gw1"
    assert settings.gateway.state_dir == path.parent / "state"
    assert settings.gateway.console.port == 8377
    assert settings.tagsets["reservoir"].names == ("reservoir/temperature", "reservoir/name")
    assert settings.tagsets["reservoir"].units == ("Cel", "1")
    assert settings.periods_s == {"reservoir": 0.25, "filler": 1.0}
    assert settings.warnings == ()


def test_paths_are_meant_from_the_files_folder(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started from anywhere, a relative path in the file is the same file; an absolute one stays."""
    path = write(
        "sinks:\n  one: {kind: file, path: out/one.txt}\n  two: {kind: file, path: /out/two.txt}\n",
        base=BASE.replace("    can_halt: true\n", "    can_halt: true\n    tls: {ca: certs/ca.pem}\n"),
    )
    monkeypatch.chdir("/")
    settings = read(path)

    filler = settings.devices["filler"]
    assert isinstance(filler, MachineConfig)
    assert filler.tls.ca == path.parent / "certs/ca.pem"
    assert str(getattr(settings.sinks["one"], "path")) == str(path.parent / "out/one.txt")  # noqa: B009
    assert str(getattr(settings.sinks["two"], "path")) == "/out/two.txt"  # noqa: B009


def test_the_hash_names_the_content(write: Write, tmp_path: Path) -> None:
    """Comments, order of writing and the folder change nothing; any value does; rules have a hash of their own."""
    rules = "rules:\n  hot: {kind: within, input: reservoir/temperature, limits: {unit: Cel, high: 66}}\n"
    first = read(write(rules))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = elsewhere / "line.yaml"
    moved.write_text("# a comment\n" + BASE + rules)

    assert read(moved).hash == first.hash
    assert re.fullmatch("[0-9a-f]{64}", first.hash)
    hotter = read(write(rules.replace("66", "67")))
    assert hotter.hash != first.hash
    assert hotter.rules_hash != first.rules_hash
    faster = read(write(rules, base=BASE.replace("250ms", "200ms")))
    assert faster.hash != first.hash
    assert faster.rules_hash == first.rules_hash


def test_state_dir_can_be_given_from_outside(write: Write, tmp_path: Path) -> None:
    """A demonstration keeps its state elsewhere, and it is still the same configuration."""
    path = write()
    settings = load(path, state_dir=tmp_path / "x", house=HOUSE)

    assert settings.gateway.state_dir == tmp_path / "x"
    assert settings.hash == read(path).hash


# -- references -------------------------------------------------------------------------------------

REFERRING = """\
rules:
  hot: {kind: within, input: reservoir/temperature, limits: recipe.windows.oil_temperature}
  fixed: {kind: within, input: reservoir/temperature, limits: {unit: Cel, high: 90}}
  weight: {kind: sample, input: filler/units, plan: recipe.plans.every_100}
  label:
    kind: sample
    input: filler/units
    expect: {reservoir/name: recipe.label.warning_code, filler/units: batch.thc_percent}
"""


def test_references_become_what_the_recipe_says(write: Write) -> None:
    """A whole value that names the recipe or the batch is replaced, however deep it stands."""
    settings = read(write(REFERRING))
    rules = settings.build_rules(settings.recipes()["cart"], BATCH)

    hot, weight, label = rules["hot"], rules["weight"], rules["label"]
    assert isinstance(hot, WithinConfig)
    assert hot.limits.high == Decimal(66)
    assert isinstance(weight, SampleConfig)
    assert weight.plan is not None
    assert weight.plan.every_units == 100
    assert isinstance(label, SampleConfig)
    assert label.expect == {"reservoir/name": "W1", "filler/units": Decimal("81.5")}


def test_rules_that_need_a_recipe_are_left_out_without_one(write: Write) -> None:
    """With no batch running only the rules of the line itself judge; with a recipe but no batch, those as well."""
    settings = read(write(REFERRING))

    assert set(settings.build_rules(None, None)) == {"fixed"}
    assert set(settings.build_rules(settings.recipes()["cart"], None)) == {"hot", "fixed", "weight"}


def test_a_missing_reference_is_said_at_the_rules_line(write: Write) -> None:
    """The recipe and the nearest word are named."""
    path = write(REFERRING.replace("oil_temperature", "oil_temprature").replace("every_100", "five"))

    assert said(path) == [
        (
            "recipe.windows.oil_temprature <- rules.hot.limits: recipe cart has no windows.oil_temprature; "
            "did you mean 'oil_temperature'?"
        ),
        "recipe.plans.five <- rules.weight.plan: recipe cart has no plans.five; known: every_100",
    ]


def test_a_reference_into_nothing_is_said(write: Write) -> None:
    """A part the recipe leaves out, and a fact no batch has."""
    path = write(REFERRING.replace("thc_percent", "thc"), recipe=RECIPE.replace("label: {warning_code: W1}\n", ""))

    assert said(path) == [
        "recipe.label.warning_code <- rules.label.expect.reservoir/name: recipe cart has no label",
        "batch.thc <- rules.label.expect.filler/units: the batch has no thc; did you mean 'thc_percent'?",
    ]


def test_a_reference_of_the_wrong_sort_names_the_recipe(write: Write) -> None:
    """A plan where limits belong: said at the reference."""
    path = write(REFERRING.replace("limits: recipe.windows.oil_temperature", "limits: recipe.label"))

    assert said(path)[0].startswith("recipe.label <- rules.hot.limits: with recipe cart: should be a valid dictionary")


def test_a_rule_with_references_is_checked_for_the_rest(write: Write) -> None:
    """Typos beside a reference are found even where there is no recipe yet."""
    path = write(REFERRING.replace("plan: recipe", "plam: recipe"), recipe=None)

    report = tried(path)

    assert [problem.where for problem in report.problems] == ["rules.weight.plam"]
    assert "did you mean 'plan'?" in report.problems[0].message
    assert {warning.where for warning in report.warnings} == {"rules.hot", "rules.label"}


def test_a_rule_may_fit_one_recipe_and_not_another(write: Write, tmp_path: Path) -> None:
    """Every recipe of the folder is tried."""
    path = write(REFERRING)
    (tmp_path / "recipes" / "other.yaml").write_text(
        RECIPE.replace("id: cart", "id: bottle").replace("oil_temperature:", "oil_temp:")
    )

    assert said(path) == [
        (
            "recipe.windows.oil_temperature <- rules.hot.limits: recipe bottle has no windows.oil_temperature; "
            "did you mean 'oil_temp'?"
        )
    ]


# -- recipes ----------------------------------------------------------------------------------------


def test_a_recipes_hash_names_its_content(write: Write) -> None:
    """The same recipe, the same hash; a changed limit, another."""
    settings = read(write())
    before = recipe_hash(settings.recipes()["cart"])
    write(recipe="# comment\n" + RECIPE)
    assert recipe_hash(settings.recipes()["cart"]) == before
    write(recipe=RECIPE.replace("high: 66", "high: 67"))
    assert recipe_hash(settings.recipes()["cart"]) != before


def test_recipes_are_said_like_the_line(write: Write) -> None:
    """Limits the wrong way round in a recipe stop the line's start, with the recipe's line and column."""
    path = write(recipe=RECIPE.replace("low: 58, high: 66", "low: 66, high: 58").replace("version:", "verison:"))

    assert [str(problem) for problem in tried(path).problems] == [
        "cart.yaml:1:1: version: is missing",
        "cart.yaml:2:1: verison: unknown key; did you mean 'version'?",
        "cart.yaml:7:3: windows.oil_temperature: low 66 is above high 58: limits the wrong way round",
    ]


def test_recipes_are_read_anew(write: Write) -> None:
    """What broke since the start is a ConfigError, not a crash."""
    settings = read(write())
    write(recipe="id: [")

    with pytest.raises(ConfigError, match=r"cart\.yaml"):
        settings.recipes()


def test_one_recipe_of_an_id(write: Write, tmp_path: Path) -> None:
    """Two files with the same id leave open which is meant."""
    path = write()
    (tmp_path / "recipes" / "again.yaml").write_text(RECIPE)

    assert "recipe cart is also in again.yaml; keep one" in str(tried(path).problems[0])


# -- what each says of another ----------------------------------------------------------------------

HOT = "rules:\n  hot: {{kind: within, input: {input}, limits: {{unit: {unit}, high: 66}}{more}}}\n"
GOOD_INPUT = ("reservoir/temperature", "Cel")

MISFITS = {
    "unknown tag": (
        ("reservoir/temprature", "Cel", ""),
        (
            "reservoir/temprature <- rules.hot.input: device reservoir has no tag 'temprature'; "
            "did you mean 'temperature'?"
        ),
    ),
    "unknown device": (
        ("resevoir/x", "Cel", ""),
        "resevoir/x <- rules.hot.input: there is no device 'resevoir'; did you mean 'reservoir'?",
    ),
    "wrong unit": (
        ("reservoir/temperature", "g", ""),
        (
            "g <- rules.hot.limits.unit: reservoir/temperature is in Cel, the limits are in g: "
            "Cel (temperature) does not convert to g (mass)"
        ),
    ),
    "text": (
        ("reservoir/name", '"1"', ""),
        "limits: <- rules.hot.limits: reservoir/name is text; limits need a number",
    ),
    "not haltable": (
        (*GOOD_INPUT, ", halt: reservoir"),
        "reservoir <- rules.hot.halt: device reservoir (driver machine) has no way to be halted; these can: filler",
    ),
    "unknown halt": (
        (*GOOD_INPUT, ", halt: [filer]"),
        "filer <- rules.hot.halt[0]: there is no device 'filer' to halt; did you mean 'filler'?",
    ),
    "deadline": (
        (*GOOD_INPUT, ", halt: filler, deadline: 1s, on_delay: 2s"),
        (
            "1s <- rules.hot.deadline: cannot promise 1s from reservoir to filler held: 250ms period + 500ms poll + "
            "2s on-delay + 100ms tick + 500ms halt = 3350ms; shorten the period or the budgets, or promise less"
        ),
    ),
    "deadline of nothing": (
        (*GOOD_INPUT, ", deadline: 1s"),
        (
            "1s <- rules.hot.deadline: promises a time until a machine is held, but there is no device to halt: "
            "leave it out"
        ),
    ),
    "the rule's own word": (("filler/forbidden", "Cel", ""), "hot: <- rules.hot: filler says no"),
}


@pytest.mark.parametrize(("written", "problem"), MISFITS.values(), ids=MISFITS)
def test_rules_fit_their_devices(write: Write, written: tuple[str, str, str], problem: str) -> None:
    """What a rule says of devices and tags is held against them, at the word that is wrong."""
    tag, unit, more = written

    assert said(write(HOT.format(input=tag, unit=unit, more=more))) == [problem]


def test_a_pattern_is_a_rule_for_each_match(write: Write) -> None:
    """One rule may stand over many tags: each judges for itself, under a name of its own; text is passed over."""
    settings = read(write("rules:\n  all: {kind: within, input: '*/*e*', limits: {unit: Cel, high: 66}}\n"))

    rules = settings.build_rules(None, None)

    assert {name: rule.inputs() for name, rule in rules.items()} == {
        "all.reservoir.temperature": ("reservoir/temperature",),
        "all.filler.forbidden": ("filler/forbidden",),
    }


def test_a_pattern_that_matches_nothing_is_said(write: Write) -> None:
    """A rule that would judge nothing is a mistake; a unit that fits only some of its tags is one as well."""
    path = write(
        "rules:\n  none: {kind: within, input: 'r*/zz*', limits: {unit: Cel, high: 66}}\n"
        "  some: {kind: within, input: '*/*', limits: {unit: Cel, high: 66}}\n"
    )

    assert said(path) == [
        "'r*/zz*' <- rules.none.input: no device or tag matches this pattern",
        (
            "Cel <- rules.some.limits.unit: filler/units is in {count}, the limits are in Cel: "
            "{count} (number) does not convert to Cel (temperature)"
        ),
    ]


def test_counters_are_tags(write: Write) -> None:
    """What the batch counts is held against the tags as well."""
    counters = "  counters: {units: filler/unit, labels: labeller/labels, tray: filler}\n"

    assert said(write(base=BASE.replace("devices:\n", counters + "devices:\n", 1))) == [
        "filler/unit <- gateway.counters.units: device filler has no tag 'unit'; did you mean 'units'?",
        "labeller/labels <- gateway.counters.labels: there is no device 'labeller'; known: filler, reservoir",
        "filler <- gateway.counters.tray: 'filler' names no tag; write device/tag",
    ]


def test_units_that_convert_are_fine(write: Write) -> None:
    """Limits may be written in another unit of the same quantity."""
    assert (
        read(write(HOT.format(input="reservoir/temperature", unit='"[degF]"', more=""))).rules["hot"].kind == "within"
    )


def test_the_table_shows_every_sum(write: Write) -> None:
    """One row for each rule and device it halts, those of the recipe too."""
    limits = "limits: {unit: Cel, high: 90}"
    halting = REFERRING.replace(limits, limits + ", halt: filler, deadline: 2s").replace(
        "recipe.plans.every_100}", "recipe.plans.every_100, halt: filler}"
    )
    report = tried(write(halting))

    assert report.ok
    assert [(row.rule, row.measures, row.halts, row.total_s, row.kept) for row in report.table] == [
        ("fixed", "reservoir", "filler", 1.25, True),
        ("weight", "filler", "filler", 2.5, True),
    ]
    assert report.table[0].sum == "250ms period + 500ms poll + 500ms halt = 1250ms"


def test_a_broken_device_is_said_once(write: Write) -> None:
    """Rules over a device that did not validate are not blamed for it."""
    path = write(
        HOT.format(input="reservoir/temperature", unit="Cel", more=", halt: filler"),
        base=BASE.replace("period: 250ms", "period: 250"),
    )

    assert said(path) == [
        "250 <- devices.reservoir.period: 250 is not a duration; write a number with ms, s, min, h or d, like 500ms"
    ]


def test_two_devices_at_one_place_are_refused(write: Write) -> None:
    """One address, or one serial port under two settings, takes one device."""
    serial = BASE.replace("tcp://127.0.0.1:1", "serial:///dev/ttyS1?baudrate=9600").replace(
        "tcp://127.0.0.1:2", "serial:///dev/ttyS1?baudrate=19200"
    )

    assert "devices.filler.url: tcp://127.0.0.1:1 is already taken by device reservoir" in str(
        tried(write(base=BASE.replace(":2", ":1"))).problems[0]
    )
    assert "devices.filler.url: /dev/ttyS1 is already taken by device reservoir" in str(
        tried(write(base=serial)).problems[0]
    )


def test_all_problems_come_at_once(write: Write) -> None:
    """Nobody should have to start seven times to find seven typos."""
    path = write(
        "rules:\n  hot: {kind: withn, input: a/b}\nsinks:\n  out: {kind: fil}\nrule: {}\n",
        base=BASE.replace("id: gw1", "id: 'gw 1'").replace(
            "driver: machine\n    url: tcp://127.0.0.1:2", "driver: machin"
        ),
    )

    assert [problem.where for problem in tried(path).problems] == [
        "gateway.id",
        "devices.filler.driver",
        "rules.hot.kind",
        "sinks.out.kind",
        "rule",
    ]
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert len(caught.value.problems) == 5


# -- secrets, waivers, this machine -----------------------------------------------------------------


def test_secrets_come_by_reference_and_stay_out(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A secret from a file or the environment reaches the model; the hash depends on the reference, never on it."""
    secret = tmp_path / "mqtt.secret"
    secret.write_text("s3cr3t-one\n")
    secret.chmod(0o600)
    monkeypatch.setenv("LINE_TOKEN", "t0k3n-one")
    path = write(
        "sinks:\n  one: {kind: file, token: '${file:mqtt.secret}'}\n  two: {kind: file, token: '${env:LINE_TOKEN}'}\n"
    )
    settings = read(path)
    assert [getattr(sink, "token") for sink in settings.sinks.values()] == ["s3cr3t-one", "t0k3n-one"]  # noqa: B009

    secret.write_text("s3cr3t-two\n")

    assert read(path).hash == settings.hash


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        ("hunter22", "a secret is never written here"),
        ("'${env:NO_SUCH}'", "the environment has no NO_SUCH"),
        ("'${env:BLANK}'", "the secret is blank"),
        ("'${env:DEFAULT}'", "a default that everybody knows"),
        ("'${file:none}'", "none cannot be read: No such file"),
        ("'${file:open}'", "everybody may read open; chmod o-rwx it"),
    ],
)
def test_bad_secrets_are_refused_and_never_shown(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str, problem: str
) -> None:
    """Blank, default, readable by all, written out: each is refused at its place, without the secret in the text."""
    monkeypatch.setenv("BLANK", " ")
    monkeypatch.setenv("DEFAULT", "changeme")
    (tmp_path / "open").write_text("hunter22")
    (tmp_path / "open").chmod(0o644)

    found = said(write(f"sinks:\n  one:\n    kind: file\n    token: {token}\n"))

    assert len(found) == 1
    assert " <- sinks.one.token: " in found[0]
    assert problem in found[0]
    assert "hunter22" not in found[0].partition(" <- ")[2]


def test_a_secret_in_a_message_is_taken_out(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that quotes what it was given does not give a secret away."""
    monkeypatch.setenv("PERIOD_SECRET", "hunter2222")

    found = said(write(base=BASE.replace("250ms", "${env:PERIOD_SECRET}")))

    assert "hunter2222" not in found[0]
    assert "${env:PERIOD_SECRET}" in found[0]


def test_a_password_in_a_url_is_refused(write: Write) -> None:
    """URLs are shown in logs and on the console."""
    assert "a secret is never written here" in said(write("sinks:\n  a: {kind: file, url: 'mqtts://u:pw@h:1'}\n"))[0]


def test_waivers_are_said_at_every_start(write: Write) -> None:
    """What was given up on purpose is a warning with its reason and place."""
    path = write(
        "sinks:\n  out: {kind: file, allow_plain: inside the cabinet}\n",
        base=BASE.replace("  path: acme", "  console: {host: 0.0.0.0, waiver: behind the proxy}\n  path: acme").replace(
            "    can_halt: true\n", "    can_halt: true\n    waiver: old controller\n"
        ),
    )

    assert read(path).waivers() == (
        "gateway.console.waiver: waived: the console listens on 0.0.0.0: behind the proxy",
        "devices.filler.waiver: waived: waiver: old controller",
        "sinks.out.allow_plain: waived: allow_plain: inside the cabinet",
    )


def test_the_console_stays_home_without_a_waiver(write: Write) -> None:
    """Beyond loopback only with a reason."""
    path = write(base=BASE.replace("  path: acme", "  console: {host: 0.0.0.0}\n  path: acme"))

    assert "line.yaml:3:3: gateway.console: host 0.0.0.0 is not loopback" in str(tried(path).problems[0])


def test_what_this_machine_lacks_is_a_warning(write: Write) -> None:
    """A serial adapter may be plugged in later: said, not refused."""
    path = write(base=BASE.replace("    can_halt: true\n", "    can_halt: true\n    missing: no /dev/ttyUSB7\n"))

    assert [str(warning) for warning in read(path).warnings] == ["line.yaml:15:10: devices.filler.url: no /dev/ttyUSB7"]


# -- whatever stands in the file --------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        "- a",
        "gateway: 5",
        "gateway: []\ndevices: []",
        "gateway: {}\ndevices: {a: 5}",
        "devices: {filler: {driver: [1]}}",
        "devices: {FILLER: {driver: machine}}",
        "rules: {a: {kind: within, limits: recipe.x}}",
        "gateway: {id: x, path: [a]}\nrules: 7\nsinks: x",
        "gateway: {id: x, path: a/b, recipes: 7, state_dir: {}}",
        "gateway:\n\tid: x",
    ],
)
def test_any_file_is_a_list_of_problems(write: Write, text: str) -> None:
    """No file, however odd, is a traceback."""
    report = tried(write(base=text))

    assert report.problems
    assert all(problem.line >= 1 and problem.column >= 1 and problem.message for problem in report.problems)


def test_no_file_is_one_problem(tmp_path: Path) -> None:
    """A wrong path is said once, without complaints that everything is missing from it."""
    assert [str(problem) for problem in tried(tmp_path / "lien.yaml").problems] == ["lien.yaml:1:1: file: no such file"]
