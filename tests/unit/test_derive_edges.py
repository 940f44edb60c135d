"""Derived values at their edges: what would become a number and is none, steps and points, gaps, quantized sensors."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
from msgspec import structs
from rules_kit import S, bad
from test_derive import MODEL, OIL, TAGSETS, VISC, compensated, device, expr, hot, scan, value

from gateway.derive.base import DerivedConfig
from gateway.derive.deriver import Deriver, VirtualDevice, watched
from gateway.derive.expr import ExprConfig
from gateway.derive.expression import Expression, ExpressionError
from gateway.derive.rate import RateConfig
from gateway.derive.time_above import TimeAboveConfig
from gateway.derive.unchanged import UnchangedConfig
from gateway.model import Fault, Quality, TagSet

UNITS = {"a": "Cel", "b": "[degF]", "k": "K", "m": "g"}


# -- numbers that are none ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1" * 400, "0 * " + "9" * 400, "-" + "9" * 310])
def test_a_whole_number_beyond_all_numbers_is_refused_at_load(text: str) -> None:
    """Python's whole numbers have no end, and a float has: it was an OverflowError in the running line."""
    with pytest.raises(ExpressionError, match="beyond all numbers"):
        Expression(text, [])


def test_a_product_beyond_all_numbers_has_no_value() -> None:
    """Two that are numbers, and what they make is none: bad, at once, and nothing else stops."""
    with pytest.raises(ValueError, match="no number"):
        Expression("9" * 300 + " * " + "9" * 300, []).value({})


@pytest.mark.parametrize("sign", [1, -1])
def test_a_rate_of_the_largest_number_there_is_has_no_value(sign: int) -> None:
    """What many a controller sends for no reading: its sums were an OverflowError that took the device's link down."""
    found, fault = value(rate(), *[scan(OIL, 1 + at, sys.float_info.max * sign**at, 1.0) for at in range(40)])
    assert found is None
    assert fault is not None
    assert "beyond all numbers" in fault.reason


def test_what_has_no_end_in_its_own_unit_has_no_value() -> None:
    """A number in Pa.s, and in mPa.s a thousandfold of it; and a whole number with 400 digits."""
    wide = expr("n * q(1, 'Pa.s')", "mPa.s", inputs={"n": "visc/n"})
    for number in (1e307, 10**400):
        found, fault = value(wide, scan(VISC, 0, 1.0, 1.0, 1.0, 1.0, number))
        assert found is None
        assert fault is not None
        assert "beyond all numbers" in fault.reason


@pytest.mark.parametrize(
    ("nu", "rho", "said"),
    [
        (-400.0, -0.98, "visc/nu: a viscosity of -400 is none"),
        (400.0, 0.0, "visc/rho: a density of 0 is none"),
        (400.0, -0.98, "visc/rho: a density of -0.98 is none"),
        (0.0, 0.98, "visc/nu: a viscosity of 0 is none"),
    ],
)
def test_no_density_and_no_viscosity_below_nothing_becomes_a_number(nu: float, rho: float, said: str) -> None:
    """Two wrongs gave 392 mPa.s; each is named."""
    deriver = compensated(viscosity="visc/nu", density="visc/rho")
    assert value(deriver, scan(VISC, 0, None, 60.0, nu, rho)) == (None, Fault(Quality.BAD, said))


@pytest.mark.parametrize("cel", [10.0, 90.0])
def test_a_model_nobody_could_have_fitted_gives_no_number(cel: float) -> None:
    """Typed a thousandfold too steep it gave 0 mPa.s on one side and an OverflowError on the other."""
    steep = {"kind": "andrade", "a": 0, "b": 1e9, "from": 0, "to": 100}
    found, fault = value(compensated(model=steep), scan(VISC, 0, 400.0, cel))
    assert found is None
    assert fault is not None
    assert "no viscosity at the reference" in fault.reason


def test_a_density_that_would_change_nothing_is_refused() -> None:
    """A dynamic viscosity needs none; who names one believes that it counts."""
    with pytest.raises(ValueError, match="a density changes nothing"):
        compensated(density="visc/rho")


@pytest.mark.parametrize("cel", [math.nan, math.inf, -math.inf, -300.0, 49.99, 80.01])
def test_a_temperature_outside_the_model_blocks_at_run_time(cel: float) -> None:
    """Never a number, and the reason is said."""
    found, fault = value(compensated(), scan(VISC, 0, 400.0, cel))
    assert found is None
    assert fault is not None
    assert fault.quality is Quality.BAD
    assert fault.reason


def test_the_ends_of_the_model_are_still_in_it() -> None:
    """As it says: from and to."""
    for cel in (MODEL["from"], MODEL["to"]):
        assert value(compensated(), scan(VISC, 0, 400.0, float(cel)))[1] is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "meant"), [("abss(t)", "abs"), ("tt - sp", "t"), ("t - spp", "sp")])
def test_a_slip_of_a_key_in_an_expression_is_told_with_what_was_meant(text: str, meant: str) -> None:
    """Input or function."""
    with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
        expr(text)


def test_an_input_that_counts_for_nothing_is_refused() -> None:
    """When bad it would block the value, and nobody would see why; a keyword could never be written."""
    with pytest.raises(ValueError, match=r"does not use u: leave it out of `inputs`"):
        ExprConfig.model_validate({"expr": "t - sp", "inputs": {"t": "oil/t", "sp": "oil/sp", "u": "visc/t"}})
    with pytest.raises(ValueError, match="'if' cannot stand in an expression"):
        ExprConfig.model_validate({"expr": "t", "inputs": {"t": "oil/t", "if": "oil/sp"}})


def test_an_expression_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand scans parse nothing."""
    deriver = expr("t - sp")
    monkeypatch.setattr("gateway.derive.expression._parsed", None)
    monkeypatch.setattr("ast.parse", None)
    assert value(deriver, *[scan(OIL, 1 + at, 62.0, 140.0) for at in range(1000)])[0] == pytest.approx(2.0)


# -- points and steps -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "abs(a - b) > q(2, 'Cel')", "a - b < q(1, '[degF]')", "q(2, 'Cel') < a - b < q(5, 'K')", "a - b == a",
        "max(a - b, a)", "a - b if a > b else a", "(a - b) / 2 > q(2, 'Cel')", "abs(a - b) - q(2, 'Cel') > q(0, 'K')",
        "-(a - b) > q(-2, 'Cel')", "min(a - b, b - a) > b",
    ],
)  # fmt: skip
def test_a_difference_is_never_compared_with_a_point_on_the_scale(text: str) -> None:
    """2 Cel is 275.15 K: two sensors would have had to disagree by that before anybody was told."""
    with pytest.raises(ExpressionError, match=r"a difference of temperatures and a temperature; .* q\(2, 'K'\)"):
        Expression(text, UNITS).follow(UNITS)


@pytest.mark.parametrize(
    "text",
    [
        "abs(a - b) > q(2, 'K')", "a > b", "a > q(55, 'Cel')", "a - q(5, 'K') > b", "a + (a - b) > q(60, 'Cel')",
        "(a + b) / 2 > q(60, 'Cel')", "k > a", "a - b > k", "(a if a > b else b) > a", "max(a, b, q(3, '[degF]')) > a",
        "(a - b) / (a - q(20, 'Cel')) > 1", "a - (a - b) > b",
    ],
)  # fmt: skip
def test_points_with_points_and_steps_with_steps_go_together(text: str) -> None:
    """And K, which may be either, with both."""
    assert Expression(text, UNITS).follow(UNITS) is bool


def test_a_difference_has_no_unit_with_a_zero_of_its_own() -> None:
    """`t - sp` in Cel was -271.15 for two kelvin."""
    with pytest.raises(ValueError, match="gives a difference of temperatures: that is in K, not Cel"):
        expr("t - sp", "Cel")
    with pytest.raises(ValueError, match=r"that is in K, not \[degF\]"):
        expr("abs(t - sp) * 2", "[degF]")
    assert value(expr("(t + sp) / 2", "Cel"), scan(OIL, 0, 62.0, 140.0))[0] == pytest.approx(61.0)
    assert value(expr("t - q(5, 'K')", "Cel", inputs={"t": "oil/t"}), scan(OIL, 0, 62.0, 140.0))[0] == pytest.approx(
        57.0
    )


@pytest.mark.parametrize(
    "text",
    [
        "a > b + q(2, 'Cel')", "a > b * 1.02", "a + b > q(120, 'Cel')", "abs(a - b) > b * 0.02", "a * 2 / 3 > b",
        "max(a, b * 1.1) > b", "-a > q(-5, 'Cel')", "a > 1.02 * (b + q(1, 'K'))", "(a + b + q(60, 'Cel')) / 2 > b",
        "a > 1.02 * b + q(0.5, 'K')", "a if a > b else b * 1.02",
    ],
)  # fmt: skip
def test_temperatures_that_are_added_or_multiplied_are_no_temperature(text: str) -> None:
    """Two degrees above the setpoint were 608 K, which nothing is ever above; 2 % more of 60 Cel were 66.7 Cel."""
    with pytest.raises(ExpressionError, match=r"what counts from 0 K: .* \+ q\(2, 'K'\)"):
        Expression(text, UNITS).follow(UNITS)


@pytest.mark.parametrize(
    ("text", "unit"), [("t * 1.02 + q(0.5, 'K')", "Cel"), ("t + q(2, 'Cel')", "[degF]"), ("t * 1.02 - sp", "K")]
)
def test_a_value_that_counts_from_absolute_zero_is_refused(text: str, unit: str) -> None:
    """A thermometer's correction gave 67.2 Cel for 60."""
    with pytest.raises(ValueError, match="counts from 0 K"):
        expr(text, unit, inputs={name: f"oil/{name}" for name in ("t", "sp") if name in text})


def test_the_correction_of_a_thermometer_is_written_from_the_zero_of_its_scale() -> None:
    """As the refusal advises: 60 Cel by 1.02, and half a kelvin, are 61.7 Cel."""
    text = "(t - q(0, 'Cel')) * 1.02 + q(0, 'Cel') + q(0.5, 'K')"
    assert value(expr(text, "Cel", inputs={"t": "oil/t"}), scan(OIL, 0, 60.0, 140.0))[0] == pytest.approx(61.7)


@pytest.mark.parametrize(
    "text",
    [
        "(a + k) / 2 > q(60, 'Cel')", "a * 0.5 + k * 0.5 > b", "a * 0.7 + b * 0.3 > q(60, 'Cel')", "abs(-a) > b",
        "(a + b + q(60, 'Cel')) / 3 > b", "a > b + q(2, 'K')", "a / b > 1.02", "a > q(333.15, 'K')", "2 * a - b > a",
        "abs(a - b) > (b - q(0, 'Cel')) * 0.02",
    ],
)  # fmt: skip
def test_means_of_temperatures_are_temperatures(text: str) -> None:
    """Of two, of three, weighted; and with one in K, which may be either."""
    assert Expression(text, UNITS).follow(UNITS) is bool


def test_a_number_beside_a_difference_is_advised_in_kelvin() -> None:
    """The advice of an error is to be followed: q(5, 'Cel') there would be wrong again."""
    with pytest.raises(ExpressionError, match=r"q\(5, 'K'\)"):
        Expression("a - b > 3", UNITS).follow(UNITS)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("abs(a - b) > q(2, 'degC')", "Cel"), ("a - b < q(1, 'celsius')", "Cel"), ("a - b < q(1, 'degF')", r"\[degF\]"),
        ("v > q(60, 'rpm')", "/min"), ("m > q(1, 'dB')", ""), ("v > q(60, 'revolution/min')", ""),
        ("a - b < q(1, 'Cel1')", ""),
    ],
)  # fmt: skip
def test_a_word_of_the_library_of_units_is_no_ucum_code(text: str, meant: str) -> None:
    """`rpm` was 2 pi a minute, 60 of them 377, and 2 degC apart were 275 K: neither was ever reached."""
    units = {**UNITS, "v": "/min"}
    with pytest.raises(ExpressionError, match="is no UCUM code" + (f"; write {meant}$" if meant else "$")):
        Expression(text, units).follow(units)


@pytest.mark.parametrize(
    "text",
    ["h > 60", "60 < h", "0 < h < 60", "h == 100", "max(h, 60) > h", "abs(h) > -5", "h if h > 0 else 60", "100 - h > 0",
     "h + 5 > 0", "h - h > 1/2", "q(60, '%') > 50"],
)  # fmt: skip
def test_a_percentage_is_not_compared_with_a_bare_number(text: str) -> None:
    """It is computed as a hundredth: 95 % was 0.95, and never above 60."""
    with pytest.raises(ExpressionError, match=r"has no unit, and stands beside %: write q\(.*, '%'\)"):
        Expression(text, {"h": "%"}).follow({"h": "%"})


@pytest.mark.parametrize(
    "text", ["h > q(60, '%')", "h > 0", "1 - h > q(40, '%')", "h * 100 > 60", "h / h > 1", "n > 60", "h > n"]
)
def test_a_percentage_beside_its_own_unit_nothing_and_the_whole_is_a_share(text: str) -> None:
    """And `1 - h` is the rest."""
    units = {"h": "%", "n": "{count}"}
    assert Expression(text, units).follow(units) is bool


@pytest.mark.parametrize(("unit", "level"), [("Cel", 67.4), ("[degF]", 153.32), ("K", 340.55)])
def test_what_stands_at_the_level_is_not_above_it(unit: str, level: float) -> None:
    """67.4 Cel went through kelvin and came back a hair less: ten seconds at it were ten seconds above."""
    config = {"input": "oil/t", "above": {"unit": unit, "value": level}, "unit": "s"}
    deriver = device(TimeAboveConfig.model_validate(config))
    assert value(deriver, *[scan(OIL, 1 + at, 67.4, 140.0) for at in range(11)]) == (0.0, None)
    assert value(deriver, scan(OIL, 12, 67.5, 140.0), scan(OIL, 13, 67.5, 140.0))[0] == 1.5


def test_sensors_that_are_apart_by_the_limit_are_not_beyond_it() -> None:
    """Tenths of a Cel, 0.3 K apart: through kelvin four of five such pairs were a hair more, and a halt."""
    inputs = {"t": "oil/t", "u": "visc/t"}
    apart = expr("abs(t - u)", inputs=inputs)
    beyond, within = (expr(f"abs(t - u) {op} q(0.3, 'K')", "1", inputs=inputs, truth=True) for op in (">", "<="))
    for tenths in range(200, 1000):
        pair = (scan(OIL, 1, tenths / 10, 140.0), scan(VISC, 1, 400.0, (tenths - 3) / 10))
        assert value(apart, *pair)[0] == 0.3
        assert value(beyond, *pair)[0] is False
        assert value(within, *pair)[0] is True
    assert value(beyond, scan(OIL, 2, 60.4, 140.0), scan(VISC, 2, 400.0, 60.0))[0] is True


# -- gaps and paces -------------------------------------------------------------------------------------


def rate(over: str = "30s") -> Any:
    return device(RateConfig.model_validate({"input": "oil/t", "over": over, "unit": "K/min"}))


def test_a_rate_of_values_that_come_as_they_like() -> None:
    """Two kelvin a minute at steps of 0.1 to 2.9 s: the same slope."""
    at, scans = 1.0, []
    for number in range(40):
        scans.append(scan(OIL, at, 60 + at / 30, 1.0))
        at += 0.1 + number * 7 % 29 / 10
    assert value(rate(), *scans)[0] == pytest.approx(2.0)


def test_a_stepped_wall_clock_changes_no_rate() -> None:
    """An hour back in the middle: the slope goes by the monotonic clock."""
    scans = [scan(OIL, at, 60 + at / 30, 1.0) for at in range(1, 40)]
    stepped = [structs.replace(each, time_ns=each.time_ns - 3600 * S * (at > 20)) for at, each in enumerate(scans)]
    assert value(rate(), *stepped)[0] == pytest.approx(2.0)


def test_a_rate_over_a_long_while_at_a_fast_poll_has_a_value() -> None:
    """Twenty minutes at ten scans a second were more points than were kept: it was bad for ever."""
    found, fault = value(rate("20min"), *[scan(OIL, 1 + at / 10, 60 + at / 600, 1.0) for at in range(12_500)])
    assert fault is None
    assert found == pytest.approx(1.0)


def test_a_pause_in_which_nobody_looked_is_no_slope_and_no_heat() -> None:
    """Ten minutes without a scan, then another value: unknown, not ten minutes hot, and no half a kelvin a minute."""
    before = [scan(OIL, 1 + at / 4, 80.0, 1.0) for at in range(160)]
    found, fault = value(hot(), *before, scan(OIL, 641, 80.0, 1.0))
    assert found == pytest.approx(39.75)
    assert fault == Fault(Quality.UNCERTAIN, "600 s are unknown: nothing good came")
    assert value(rate(), *before, scan(OIL, 641, 85.0, 1.0))[0] is None


def watched_by(config: Any) -> Deriver:
    """Computed with each scan of the viscometer, of a tag of the oven."""
    sources = {"oil/t": watched("oil/t", TAGSETS, {"oil": 1.0})}
    beat = UnchangedConfig(input="visc/eta")
    sources["visc/eta"] = watched("visc/eta", TAGSETS, {"visc": 1.0})
    configs: list[DerivedConfig] = [config, beat]
    made = [(each, each.build({"input": "Cel" if each is config else "mPa.s"})) for each in configs]
    virtual = VirtualDevice(TagSet("made", [config.spec("x"), beat.spec("beat")]), made, sources)
    return Deriver({"made": (virtual, "visc")}, TAGSETS.values())


def test_a_bad_value_between_two_computations_is_not_bridged() -> None:
    """The oven was lost for two seconds while nobody computed: not two hot seconds, and no slope over them."""
    over = {"input": "oil/t", "over": "30s", "unit": "K/min"}
    for config, wanted in (
        (TimeAboveConfig.model_validate({"input": "oil/t", "above": {"unit": "Cel", "value": 75}, "unit": "s"}), 36.0),
        (RateConfig.model_validate(over), None),
    ):
        deriver = watched_by(config)
        found: list[tuple[Any, Any]] = []
        for at in range(1, 42):
            lost = at in (38, 39)
            deriver.derive(scan(OIL, at, None if lost else 80.0, 1.0, faults={0: bad("lost")} if lost else {}))
            if at % 4 == 1:
                (made,) = deriver.derive(scan(VISC, at + 0.5, 400.0))
                found.append((made.values[0], made.faults.get(0)))
        assert found[-1][0] == wanted
        assert found[-1][1] is not None


def test_a_file_with_a_pace_of_its_own_has_no_gaps() -> None:
    """One value a minute, where the device was said to be polled each second: slow, and seen."""
    found, fault = value(hot(), *[scan(OIL, 60 * at, 80.0, 1.0) for at in range(1, 12)])
    assert (found, fault) == (pytest.approx(600.0), None)


def test_a_frozen_sensor_whose_last_digit_flickers_is_frozen() -> None:
    """It shows tenths, `by` is a tenth: 60.1 less 60.0 is a tenth, though binary fractions say a hair more."""
    seen = [scan(OIL, at, 60.0 + at % 2 / 10, 1.0) for at in range(1, 31)]
    assert value(device(UnchangedConfig(input="oil/t", by=0.1)), *seen) == (29.0, None)
    assert value(device(UnchangedConfig(input="oil/t", by=0.09)), *seen) == (0.0, None)


def test_a_counter_that_counts_moves_however_large_it_is() -> None:
    """A heartbeat of four billion and one."""
    seen = [scan(OIL, at, 4e9 + at, 1.0) for at in range(1, 10)]
    assert value(device(UnchangedConfig(input="oil/t")), *seen) == (0.0, None)
