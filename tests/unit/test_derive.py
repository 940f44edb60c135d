"""Derived tags: the language, units, and each kind, from scan to value, with bad inputs and restarts."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from math import exp, log
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rules_kit import WALL, S, bad, uncertain

from gateway.derive import dimensions
from gateway.derive.base import DerivedConfig
from gateway.derive.deriver import Derived, Deriver, VirtualDevice, watched
from gateway.derive.expr import ExprConfig
from gateway.derive.expression import Expression, ExpressionError
from gateway.derive.models import ZERO_CEL, Model, OutOfRangeError, curve, fit
from gateway.derive.rate import RateConfig
from gateway.derive.time_above import TimeAboveConfig
from gateway.derive.unchanged import UnchangedConfig
from gateway.derive.viscosity import ViscosityConfig
from gateway.model import Fault, Quality, Scan, TagSet, TagSpec, Value
from gateway.units import UNITS

ROOT = Path(__file__).parents[2]

OIL = TagSet("oil", [TagSpec("t", "Cel"), TagSpec("sp", "[degF]"), TagSpec("name", kind="text")])
VISC = TagSet(
    "visc",
    [TagSpec("eta", "mPa.s"), TagSpec("t", "Cel"), TagSpec("nu", "mm2/s"), TagSpec("rho", "g/cm3"), TagSpec("n")],
)
TAGSETS = {"oil": OIL, "visc": VISC}
MODEL = {"kind": "andrade", "a": -12.0, "b": 6000.0, "from": 50, "to": 80}


def device(config: DerivedConfig, name: str = "x") -> Deriver:
    sources = {source: watched(source, TAGSETS, {"oil": 1.0, "visc": 1.0}) for source in config.names().values()}
    units = {key: sources[source].tagset.units[sources[source].position] for key, source in config.names().items()}
    made = VirtualDevice(TagSet("made", [config.spec(name)]), [(config, config.build(units))], sources)
    return Deriver({"made": (made, None)}, TAGSETS.values())


def scan(tagset: TagSet, at_s: float, *values: Value, faults: dict[int, Fault] | None = None) -> Scan:
    filled = (*values, *[None] * (len(tagset.tags) - len(values)))
    missing = {at: bad("not read") for at in range(len(values), len(filled))}
    return Scan(tagset, 0, WALL, round(at_s * S), filled, {**missing, **(faults or {})})


def value(deriver: Deriver, *scans: Scan) -> tuple[Value, Fault | None]:
    """What the last scan made."""
    made: list[Derived] = []
    for each in scans:
        made = list(deriver.derive(each))
    return made[0].values[0], made[0].faults.get(0)


# -- units -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ucum", "factor", "offset"),
    [
        ("Cel", 1, 273.15), ("[degF]", 5 / 9, 255.37222), ("mPa.s", 1e-3, 0), ("cP", 1e-3, 0), ("g/cm3", 1000, 0),
        ("Cel/min", 1 / 60, 0), ("K/min", 1 / 60, 0), ("/min", 1 / 60, 0), ("%", 0.01, 0), ("{count}", 1, 0),
        ("1", 1, 0), ("mm2/s", 1e-6, 0), ("cSt", 1e-6, 0), ("N.m", 1, 0), ("g", 1e-3, 0), ("mL", 1e-6, 0),
        ("{count}/min", 1 / 60, 0),
    ],
)  # fmt: skip
def test_a_ucum_code_goes_to_si(ucum: str, factor: float, offset: float) -> None:
    """Factor and offset; in a compound a temperature is a difference."""
    assert dimensions.to_si(ucum) == (pytest.approx(factor), pytest.approx(offset))


@pytest.mark.parametrize("ucum", UNITS)
def test_every_unit_of_a_tag_can_be_computed_with(ucum: str) -> None:
    """What the line knows without the library of units is what the library says."""
    zero, one = (float(dimensions.quantity(value, ucum).magnitude) for value in (0.0, 1.0))
    assert dimensions.to_si(ucum) == (pytest.approx(one - zero), pytest.approx(zero))


def test_a_line_that_compensates_viscosity_needs_no_library_of_units() -> None:
    """Half a second and 20 MB less for a line without expressions."""
    code = (
        "import sys; from pathlib import Path; from gateway.config.reading import load; "
        f"load(Path({str(ROOT / 'config' / 'line.yaml')!r})).deriver(); "
        "sys.exit(bool({'pint', 'simpleeval'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("ucum", ["xyzzy", "g//m", "m^2", "__class__", "g g"])
def test_what_is_no_unit_is_refused_with_its_text(ucum: str) -> None:
    """No unit becomes a number without saying so."""
    with pytest.raises(ValueError, match="is not a unit I can compute with"):
        dimensions.to_si(ucum)


# -- the language ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("a.b", "Attribute is not part"), ("a[0]", "Subscript is not part"), ("[a]", "List is not part"),
        ("lambda: 1", "Lambda is not part"), ("f'{a}'", "JoinedStr is not part"), ("'x' * 9", "'x' is no number"),
        ("c + a", "no input 'c'; there are: a, b"), ("open('x')", "no function 'open'"), ("a +", "invalid syntax"),
        ("abs(x=1)", "functions by name"), ("a; b", "at 2"), ("a = 1", "at 3"),
        ("a" * 1001, "1000 at most"), ("", "."), ("a if a", "expected 'else'"), ("[x for x in a]", "not part"),
    ],
)  # fmt: skip
def test_what_is_not_of_the_language_is_refused(text: str, wrong: str) -> None:
    """Before anything is computed, with the place where it stands."""
    with pytest.raises(ValueError, match=wrong):
        Expression(text, ["a", "b"])


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("a + m", "at 5: cannot add"), ("a if a > q(1, 'Cel') else m", "cannot choose between"),
        ("a > 3", "q\\(5, 'Cel'\\)"), ("a == 3", "q\\(5, 'Cel'\\)"), ("a == m", "cannot compare"), ("a != m", "cannot"),
        ("q(5, 'Cel') < a < m", "at 19: cannot compare"), ("a < m < a", "cannot compare"),
        ("min(a, m)", "cannot compare"),
        ("exp(m)", "what exp is of must have no unit"), ("a > q(1, 'Cel') or m", "at 20: .* true or false"),
        ("q(1, 'xyzzy') + a", "not a unit"), ("q(1, 'Cel/') + a", "nothing follows"),
        ("a if m else a", "true or false"),
        ("not a", "true or false"), ("(a > a) + 1", "is no number"), ("a if a > a else a > a", "is no number"),
        ("a ** m", "an exponent must have no unit"), ("m ** (m / m)", "plain number"), ("m / 0", "divided by 0"),
        ("a > 0", "0 of a temperature needs its unit"), ("min(m)", "takes 2 or more"), ("log(m / m, 2)", "takes 1"),
        ("q(1)", "q takes 2"), ("q(1, m)", "is a text"), ("a and a > a", "true or false"), ("-(a > a)", "is no number"),
    ],
)  # fmt: skip
def test_units_that_do_not_go_together_are_told_at_load(text: str, wrong: str) -> None:
    """In every branch of a choice, on every side of `and`, and in every term of a chain, whatever the values."""
    with pytest.raises(ExpressionError, match=wrong):
        Expression(text, ["a", "m"]).follow({"a": "Cel", "m": "g"})


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("m > 0", None), ("(a > a) == (m > m)", None), ("not (a > a)", None), ("q(1, 'g') < m < q(2, 'kg')", None),
        ("sqrt(m * m) + 0", "g"), ("m ** -1", "1/g"), ("m ** (1 / 2) * sqrt(m)", "g"),
        ("(m / m) ** (m / q(1, 'g'))", "1"),
        ("a - q(0, 'Cel')", "K"), ("m if a > a else 0", "g"), ("1 if a > a and m > 0 else 0", "1"),
    ],
)  # fmt: skip
def test_units_that_go_together_are_followed(text: str, unit: str | None) -> None:
    """To the unit of the result; None: true or false."""
    found = Expression(text, ["a", "m"]).follow({"a": "Cel", "m": "g"})
    wanted = bool if unit is None else dimensions.dimension("/g" if unit == "1/g" else unit)
    assert found == wanted


@pytest.mark.parametrize("text", ["-" * 500 + "a", "a+" * 400 + "a", "not " * 200 + "(a > a)", "1e999 + a"])
def test_what_could_cost_too_much_is_refused_at_load(text: str) -> None:
    """Nested so deep that a stack could run out, or a number beyond all: never first found by the running line."""
    with pytest.raises(ExpressionError, match=r"deep|beyond all|at most"):
        Expression(text, ["a"])


@pytest.mark.parametrize(
    "text", ["1/a", "log(a)", "a ** 999 ** 9", "exp(a + 1e9)", "sqrt(a - 1)", "9 ** 9 ** 9 ** 9 + a"]
)
def test_an_expression_without_a_value_says_so(text: str) -> None:
    """Division by zero, the log of nothing, a number beyond all: an error of the value, at once."""
    with pytest.raises(ValueError, match=r"no value|no number"):
        Expression(text, ["a"]).value({"a": 0.0 if "/" in text or "log" in text or "sqrt" in text else 2.0})


@given(st.text(alphabet="ab+-*/() 0123456789.<>=!andornotifelse,'q[]{}:", max_size=40))
def test_no_text_does_anything_but_compute_or_be_refused(text: str) -> None:
    """Whatever is typed: a number, a truth, or a ValueError."""
    try:
        found = Expression(text, ["a", "b"]).value({"a": 1.5, "b": 2.5})
    except ValueError:
        return
    assert isinstance(found, (float, bool))


# -- kinds -----------------------------------------------------------------------------------------


def expr(text: str, unit: str = "K", **more: Any) -> Deriver:
    inputs = {"t": "oil/t", "sp": "oil/sp"}
    return device(ExprConfig.model_validate({"expr": text, "inputs": inputs, "unit": unit} | more))


def test_a_difference_is_taken_across_units() -> None:
    """62 Cel less 140 degF (60 Cel) is 2 K."""
    assert value(expr("t - sp"), scan(OIL, 0, 62.0, 140.0)) == (pytest.approx(2.0), None)


def test_a_bad_input_makes_a_bad_value_that_names_it() -> None:
    """Nothing is substituted; the reason is the input's."""
    found, fault = value(expr("t - sp"), scan(OIL, 0, 62.0, 140.0), scan(OIL, 1, 62.0, None, faults={1: bad("broken")}))
    assert found is None
    assert fault == Fault(Quality.BAD, "oil/sp: broken")


def test_an_uncertain_input_makes_an_uncertain_value() -> None:
    """The worst quality of what went in."""
    found, fault = value(expr("t - sp"), scan(OIL, 0, 62.0, 140.0, faults={0: uncertain("swings")}))
    assert (found, fault) == (pytest.approx(2.0), Fault(Quality.UNCERTAIN, "oil/t: swings"))


def test_an_old_input_is_too_old() -> None:
    """Of two devices one falls silent: after three of its periods nothing is made of its last value."""
    config = ExprConfig.model_validate({"expr": "a - b", "inputs": {"a": "oil/t", "b": "visc/t"}, "unit": "K"})
    deriver = device(config)
    assert value(deriver, scan(VISC, 0, 400.0, 60.0), scan(OIL, 1, 61.0))[0] == pytest.approx(1.0)
    assert value(deriver, scan(OIL, 3.5, 61.0)) == (None, Fault(Quality.BAD, "visc/t: nothing new for 3.5 s"))


def test_a_truth_is_a_bool_tag() -> None:
    """`truth: true` where the result is one, and only there."""
    assert value(expr("t < q(55, 'Cel')", "1", truth=True, inputs={"t": "oil/t"}), scan(OIL, 0, 54.0, 1.0)) == (
        True,
        None,
    )
    with pytest.raises(ValueError, match="add `truth: true`"):
        expr("t < q(55, 'Cel')", "1", inputs={"t": "oil/t"})
    with pytest.raises(ValueError, match="leave `truth` out"):
        expr("t - sp", "1", truth=True)
    with pytest.raises(ValueError, match="which is not g"):
        expr("t - sp", "g")


def test_a_value_that_cannot_be_computed_is_bad() -> None:
    """A division by zero is a fault of this moment, not the end of the gateway."""
    inputs = {"a": "oil/t", "b": "visc/t"}
    deriver = device(ExprConfig.model_validate({"expr": "q(1, 'K2') / (a - b)", "inputs": inputs, "unit": "K"}))
    found, fault = value(deriver, scan(VISC, 0, 400.0, 60.0), scan(OIL, 0, 60.0))
    assert found is None
    assert fault is not None
    assert "has no value here" in fault.reason
    assert value(deriver, scan(OIL, 0.5, 62.0)) == (pytest.approx(0.5), None)


def test_a_rate_is_the_slope_of_the_last_while() -> None:
    """Two kelvin a minute, found after 80 % of the while; a bad value begins it anew."""
    deriver = device(RateConfig.model_validate({"input": "oil/t", "over": "30s", "unit": "K/min"}))
    assert value(deriver, *[scan(OIL, at, 60 + at / 30, 1.0) for at in range(10)])[1] is not None
    assert value(deriver, *[scan(OIL, at, 60 + at / 30, 1.0) for at in range(10, 31)])[0] == pytest.approx(2.0)
    assert value(deriver, scan(OIL, 31, None, faults={0: bad()}), scan(OIL, 32, 61.0, 1.0))[0] is None
    with pytest.raises(ValueError, match="which is not K"):
        device(RateConfig.model_validate({"input": "oil/t", "unit": "K"}))


def test_a_value_that_does_not_move_is_timed() -> None:
    """Within `by` is not moving."""
    deriver = device(UnchangedConfig.model_validate({"input": "oil/t", "by": 0.05}))
    seen = [(0, 60.0), (1, 60.04), (2, 60.02)]
    assert value(deriver, *[scan(OIL, at, t, 1.0) for at, t in seen]) == (2.0, None)
    assert value(deriver, scan(OIL, 3, 60.2, 1.0)) == (0.0, None)


def hot() -> Deriver:
    above = {"unit": "Cel", "value": 75}
    return device(TimeAboveConfig.model_validate({"input": "oil/t", "above": above, "unit": "s"}))


def test_time_above_adds_up_and_begins_anew_with_a_batch() -> None:
    """Whole steps above count whole, steps across half; another batch begins at nothing."""
    deriver = hot()
    deriver.begin("B1")
    found = value(deriver, *[scan(OIL, at, t, 1.0) for at, t in [(0, 70.0), (1, 80.0), (2, 80.0), (3, 70.0)]])
    assert found == (pytest.approx(2.0), None)
    deriver.begin("B2")
    assert value(deriver, scan(OIL, 4, 70.0, 1.0))[0] == 0.0


def test_time_above_never_counts_what_it_did_not_see() -> None:
    """While the input is bad the time is unknown, and the sum says so from then on."""
    deriver = hot()
    value(deriver, scan(OIL, 0, 80.0, 1.0), scan(OIL, 1, 80.0, 1.0), scan(OIL, 2, None, faults={0: bad()}))
    found, fault = value(deriver, scan(OIL, 11, 80.0, 1.0))
    assert found == pytest.approx(1.0)
    assert fault == Fault(Quality.UNCERTAIN, "10 s are unknown: nothing good came")


def test_time_above_lives_through_a_restart_of_the_same_batch() -> None:
    """What was counted stands; the time the gateway was down is unknown, and said."""
    first, second = hot(), hot()
    first.begin("B1")
    value(first, scan(OIL, 0, 80.0, 1.0), scan(OIL, 5, 80.0, 1.0))
    second.load(json.loads(json.dumps(first.dump())))
    second.begin("B1")
    found, fault = value(second, scan(OIL, 100, 70.0, 1.0))
    assert found == pytest.approx(5.0)
    assert fault is not None
    assert "down is unknown" in fault.reason


def test_time_above_says_that_it_was_down_even_if_nothing_was_hot_before() -> None:
    """A restart in the middle of a batch is time nobody saw."""
    first, second = hot(), hot()
    first.begin("B1")
    value(first, scan(OIL, 0, 60.0, 1.0))
    second.load(json.loads(json.dumps(first.dump())))
    second.begin("B1")
    found, fault = value(second, scan(OIL, 100, 60.0, 1.0))
    assert found == 0.0
    assert fault is not None
    assert "down is unknown" in fault.reason


def test_time_above_for_ever_says_that_it_was_down_even_if_nothing_was_hot_before() -> None:
    """`per: ever` counts over batches; a night nobody saw is not a night below the level."""
    above = {"unit": "Cel", "value": 75}
    terms = TimeAboveConfig.model_validate({"input": "oil/t", "above": above, "unit": "s", "per": "ever"})
    first, second = device(terms), device(terms)
    value(first, scan(OIL, 0, 60.0, 1.0))
    second.load(json.loads(json.dumps(first.dump())))
    found, fault = value(second, scan(OIL, 30_000, 60.0, 1.0))
    assert found == 0.0
    assert fault is not None
    assert "down is unknown" in fault.reason


def test_what_was_unknown_before_a_batch_is_not_its_own() -> None:
    """The input was bad long before the batch began: the batch has its own part of it, and no more."""
    deriver = hot()
    value(deriver, scan(OIL, 0, None, faults={0: bad()}))
    deriver.begin("B1")
    found, fault = value(deriver, scan(OIL, 100, None, faults={0: bad()}), scan(OIL, 103, 60.0, 1.0))
    assert (found, fault) == (0.0, Fault(Quality.UNCERTAIN, "3 s are unknown: nothing good came"))


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (TimeAboveConfig, {"input": "oil/t", "above": {"unit": "Cel", "value": float("nan")}}),
        (UnchangedConfig, {"input": "oil/t", "by": float("inf")}),
    ],
)
def test_a_number_that_is_none_is_refused(model: type[DerivedConfig], data: dict[str, Any]) -> None:
    """`.nan` in YAML would be a level that nothing is ever above."""
    with pytest.raises(ValueError, match="finite number"):
        model.model_validate(data)


def compensated(**more: Any) -> Deriver:
    keys = {
        "viscosity": "visc/eta",
        "temperature": "visc/t",
        "at": {"unit": "Cel", "value": 60},
        "model": MODEL,
        **more,
    }
    return device(ViscosityConfig.model_validate(keys))


def test_oil_that_is_merely_warm_is_not_thin() -> None:
    """The same oil at 55, 60 and 70 Cel gives the same viscosity at 60."""
    model = Model("andrade", -12.0, 6000.0, 50 + ZERO_CEL, 80 + ZERO_CEL)
    for cel in (55.0, 60.0, 70.0):
        eta = exp(model.log_eta(cel + ZERO_CEL))
        assert value(compensated(), scan(VISC, 0, eta, cel))[0] == pytest.approx(exp(model.log_eta(60 + ZERO_CEL)))


def test_beyond_the_fitted_temperatures_there_is_no_viscosity() -> None:
    """No extrapolation: bad, with the range."""
    found, fault = value(compensated(), scan(VISC, 0, 400.0, 49.0))
    assert found is None
    assert fault is not None
    assert fault.reason == "49 Cel is outside 50..80 Cel, where the model was fitted"
    with pytest.raises(ValueError, match=r"outside 50\.\.80 Cel"):
        compensated(at={"unit": "Cel", "value": 90})


def test_kinematic_needs_a_density() -> None:
    """400 mm2/s at 0.98 g/cm3 are 392 mPa.s; without a density it is refused at load."""
    with pytest.raises(ValueError, match="kinematic"):
        compensated(viscosity="visc/nu")
    deriver = compensated(viscosity="visc/nu", density="visc/rho")
    assert value(deriver, scan(VISC, 0, None, 60.0, 400.0, 0.98))[0] == pytest.approx(392.0)


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ({"viscosity": "visc/rho"}, "no viscosity"),
        ({"temperature": "visc/eta"}, "no temperature"),
        ({"viscosity": "visc/nu", "density": "visc/eta"}, "no density"),
        ({"model": {**MODEL, "t0": 200}}, "has no t0"),
        ({"model": {**MODEL, "kind": "vft", "t0": -43}}, "t0 is in kelvin, .* of -43 Cel write 230.15"),
        ({"model": {**MODEL, "ea": 50}}, "exactly one of"),
        ({"model": {**MODEL, "to": 40}}, "wrong way round"),
        ({"model": {**MODEL, "kind": "vft", "t0": 330}}, "not below the fitted range"),
    ],
)
def test_a_viscosity_that_cannot_be_is_refused(keys: dict[str, Any], wrong: str) -> None:
    """Each with what is wrong."""
    with pytest.raises(ValueError, match=wrong):
        compensated(**keys)


@given(st.lists(st.floats(-100, 200) | st.none(), min_size=1, max_size=30))
def test_whatever_comes_in_no_derived_value_is_nan_and_bad_is_never_a_number(values: list[float | None]) -> None:
    """Over any run of good and bad temperatures, each kind gives a finite number or a reason."""
    truth = ExprConfig.model_validate({"expr": "sqrt(t / q(1, 'K'))", "inputs": {"t": "oil/t"}, "unit": "1"})
    kinds = [truth, RateConfig(input="oil/t", over=3.0, unit="K/s"), UnchangedConfig(input="oil/t")]
    for deriver in (*map(device, kinds), hot()):
        for at, each in enumerate(values):
            found, fault = value(deriver, scan(OIL, at, each, 1.0, faults={0: bad()} if each is None else {}))
            assert (found is None) is (fault is not None and fault.quality is Quality.BAD)
            assert found is None or abs(float(found)) < 1e9


# -- the fit ---------------------------------------------------------------------------------------


def points(kind: str, a: float, b: float, t0: float = 0.0) -> list[tuple[float, float]]:
    return [(cel + ZERO_CEL, exp(a + b / (cel + ZERO_CEL - t0))) for cel in range(40, 95, 5)]


def test_a_fit_finds_the_curve_its_points_lie_on() -> None:
    """Andrade and VFT, to many digits; r squared 1."""
    found = fit("andrade", points("andrade", -12.5, 6100))
    assert (found.model.a, found.model.b) == (pytest.approx(-12.5), pytest.approx(6100))
    assert found.model.energy_kj == pytest.approx(50.718, abs=0.001)
    found = fit("vft", points("vft", -4.0, 900.0, 230.0))
    assert (found.model.t0, found.model.b) == (pytest.approx(230, abs=0.01), pytest.approx(900, rel=1e-3))
    assert found.r_squared == pytest.approx(1.0)
    assert found.worst_percent < 0.01


def test_a_poor_fit_says_how_poor() -> None:
    """VFT points under an Andrade curve: the worst residual is several percent."""
    found = fit("andrade", points("vft", -4.0, 900.0, 230.0))
    assert found.worst_percent > 5
    assert found.spread_percent > 1


@pytest.mark.parametrize(
    ("kind", "given", "wrong"),
    [
        ("andrade", [(333.0, 400.0), (343.0, 300.0)], "needs 3 points"),
        ("vft", [(333.0, 400.0)] * 5, "different temperatures"),
        ("andrade", [(333.0, 400.0), (343.0, 0.0), (353.0, 100.0)], "above zero"),
    ],
)
def test_a_fit_that_cannot_be_is_refused(kind: Any, given: list[tuple[float, float]], wrong: str) -> None:
    """Too few points, the same temperature again, a viscosity of nothing."""
    with pytest.raises(ValueError, match=wrong):
        fit(kind, given)


def test_the_curve_for_a_picture_stays_within_the_fitted_range() -> None:
    """From the lowest to the highest point, and never beyond."""
    model = fit("andrade", points("andrade", -12.5, 6100)).model
    drawn = curve(model)
    assert (drawn[0][0], drawn[-1][0]) == (model.low_k, model.high_k)
    assert all(second[1] < first[1] for first, second in pairwise(drawn))
    assert log(drawn[0][1]) == pytest.approx(model.log_eta(model.low_k))
    with pytest.raises(OutOfRangeError):
        model.log_eta(model.high_k + 0.01)
