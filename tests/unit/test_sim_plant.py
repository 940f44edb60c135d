"""The plant: what heat does to oil, dose and weight, and that the seed decides everything else."""

from __future__ import annotations

import statistics

import pytest

from simulators.filling import tray_of
from simulators.labelling import Print
from simulators.oil import Oil, density_g_cm3, viscosity_mpas
from simulators.plant import Plant

ROLL = Print("B-1", "1A4060300000000000000001", 84.2, "W1")


def _run(plant: Plant, seconds: float, dt_s: float = 0.02) -> None:
    for _ in range(round(seconds / dt_s)):
        plant.step(dt_s)


def _filling(seed: int = 7, **changes: float) -> Plant:
    plant = Plant(seed, speed=changes.get("speed", 10.0), rate=changes.get("rate", 5.0), oil_cel=62.0)
    plant.filling_on = plant.labelling_on = True
    return plant


def test_viscosity_at_working_temperature_and_below() -> None:
    """Between 60 and 64 Cel the oil is inside 300-600 mPa.s; colder is thicker, without end."""
    assert 300 < viscosity_mpas(64.0) < viscosity_mpas(62.0) < viscosity_mpas(60.0) < 600
    assert viscosity_mpas(55.0) > 2 * viscosity_mpas(62.0)


def test_terpenes_thin_the_oil() -> None:
    """One percent more terpenes lowers the viscosity by about a fifth."""
    assert viscosity_mpas(62.0, 0.06) / viscosity_mpas(62.0, 0.05) == pytest.approx(0.80, abs=0.01)


def test_viscosity_has_no_value_below_the_model() -> None:
    """Extrapolating under the glass transition is refused, not invented."""
    with pytest.raises(ValueError, match="below the range"):
        viscosity_mpas(-60.0)


def test_density_falls_with_temperature() -> None:
    """0.07 % a kelvin."""
    assert density_g_cm3(52.0) / density_g_cm3(62.0) == pytest.approx(1.007, abs=1e-4)


def test_the_heater_brings_the_oil_up_and_holds_it() -> None:
    """From 50 Cel at speed 10 the oil is at 61.5 within twenty seconds and then stands within 0.1 K."""
    plant = Plant(1, speed=10.0)
    _run(plant, 20.0)
    assert plant.oil.temperature_cel > 61.5
    _run(plant, 60.0)
    assert plant.oil.temperature_cel == pytest.approx(62.0, abs=0.1)
    assert 20 < plant.oil.power_pct < 50


def test_a_dead_heater_takes_temperature_then_viscosity_then_dose() -> None:
    """At speed 10: some kelvin and a viscosity above 700 in 15 s, a dose below 0.95 g after 22 s and before 30 s."""
    plant = _filling()
    plant.oil.element_ok = False
    _run(plant, 15.0)
    assert 55 < plant.oil.temperature_cel < 58
    assert plant.oil.viscosity_mpas > 700
    assert plant.pump.dose_g(plant.oil) > 0.97
    _run(plant, 7.0)
    assert plant.pump.dose_g(plant.oil) > 0.95
    _run(plant, 8.0)
    assert plant.pump.dose_g(plant.oil) < 0.95


def test_a_dead_heater_still_shows_full_power() -> None:
    """The controller calls for all it has and cannot know that nothing warms."""
    oil = Oil(temperature_cel=60.0)
    oil.element_ok = False
    for _ in range(1000):
        oil.step(1.0)
    assert oil.power_pct == 100.0
    assert oil.temperature_cel < 45


def test_a_lost_sensor_stops_the_heat() -> None:
    """On an input error the controller falls back to zero output."""
    oil = Oil(temperature_cel=62.0, sensor_ok=False)
    oil.step(100.0)
    assert oil.power_pct == 0.0
    assert oil.temperature_cel < 60


def test_weights_are_normal_around_the_target() -> None:
    """500 units on good oil: mean on target, sigma about 4 mg."""
    plant = _filling(rate=50.0)
    _run(plant, 10.0)
    weights = [unit.net_g for unit in plant.filling.cartridges.values()]
    assert len(weights) == 500
    assert statistics.mean(weights) == pytest.approx(1.0, abs=0.001)
    assert statistics.stdev(weights) == pytest.approx(0.004, abs=0.0005)


def test_same_seed_same_weights() -> None:
    """Two plants of one seed fill the same weights to the last bit; another seed does not."""
    plants = [_filling(seed) for seed in (7, 7, 8)]
    for plant in plants:
        _run(plant, 20.0)
    one, same, other = ([unit.net_g for unit in plant.filling.cartridges.values()] for plant in plants)
    assert len(one) >= 99
    assert one == same
    assert one != other


def test_tares_spread_more_than_the_tolerance() -> None:
    """Empty cartridges differ by far more than 0.02 g, so only a paired tare can judge."""
    plant = _filling()
    _run(plant, 20.0)
    assert statistics.stdev(unit.tare_g for unit in plant.filling.cartridges.values()) > 0.2


def test_pump_drift_and_recalibration() -> None:
    """A drifting pump leaves the target; a recalibration in cold oil brings the dose back to it."""
    plant = _filling(rate=50.0)
    plant.pump.drift_per_unit = -0.0005
    plant.oil.element_ok = False
    _run(plant, 15.0)
    assert plant.pump.dose_g(plant.oil) < 0.8
    plant.pump.recalibrate(plant.oil)
    assert plant.pump.dose_g(plant.oil) == pytest.approx(1.0)


def test_trays_of_a_hundred() -> None:
    """Unit 100 closes the first tray, unit 101 opens the second."""
    assert tray_of("L1", 1) == ("L1-T001", 1)
    assert tray_of("L1", 100) == ("L1-T001", 100)
    assert tray_of("L1", 101) == ("L1-T002", 1)


def test_rejects_get_no_label_and_oil_is_counted() -> None:
    """Good units and labels applied agree once the conveyor is empty; the oil used is the sum of all doses."""
    plant = _filling(rate=50.0)
    plant.labelling.load(ROLL)
    _run(plant, 20.0)
    plant.filling_on = False
    _run(plant, 10.0)
    filling, labelling = plant.filling, plant.labelling
    assert filling.rejects > 0
    assert labelling.applied == filling.count - filling.rejects
    assert labelling.issued == labelling.applied + labelling.damaged
    assert labelling.damaged > 0
    assert filling.oil_used_g == pytest.approx(sum(unit.net_g for unit in filling.cartridges.values()))


def test_labels_lag_the_filler_and_wait_for_a_roll() -> None:
    """Without a roll nothing is applied; with one, the first label comes after the conveyor's lag."""
    plant = _filling()
    _run(plant, 5.0)
    assert plant.labelling.applied == 0
    assert plant.labelling.waiting == plant.filling.count - plant.filling.rejects
    plant.labelling.load(ROLL)
    assert plant.labelling.label.content == ROLL
    _run(plant, 1.0)
    assert plant.labelling.applied > 0


def test_a_roll_ends() -> None:
    """With three labels left, three are issued and the rest of the units wait."""
    plant = _filling()
    plant.labelling.load(ROLL, labels=3)
    _run(plant, 10.0)
    assert plant.labelling.issued == 3
    assert plant.labelling.starved


def test_misprints_fail_the_camera() -> None:
    """A misprint reads differently and is not verified; then the web is good again."""
    plant = _filling()
    plant.labelling.load(ROLL)
    plant.labelling.misprints = 1
    seen = []
    for _ in range(500):
        before = plant.labelling.applied
        plant.step(0.02)
        if plant.labelling.applied > before:
            seen.append(plant.labelling.label)
    assert seen[0].content.uid != ROLL.uid
    assert not seen[0].verified
    assert all(label.content == ROLL and label.verified for label in seen[1:5])
