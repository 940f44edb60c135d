"""Average run lengths of the charts by simulation, with their standard errors: ten thousand runs each."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from gateway.rules.spc.cusum import Cusum, CusumTerms
from gateway.rules.spc.ewma import Ewma, EwmaTerms
from gateway.rules.spc.limits import Process
from gateway.rules.spc.runs import Runs, named

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

RUNS = 10_000
Length = Callable[[random.Random], int]


def patterns(*names: str, shift: float = 0.0) -> Length:
    def length(dice: random.Random) -> int:
        runs, at = Runs(named(names)), 1
        while not runs.add(dice.gauss(shift, 1)):
            at += 1
        return at

    return length


def cusum(decision: float, head_start: float = 0.0, shift: float = 0.0) -> Length:
    def length(dice: random.Random) -> int:
        chart, at = Cusum(CusumTerms(0.5, decision, head_start), Process(0, 1)), 0
        while not chart.signals():
            chart.add(dice.gauss(shift, 1))
            at += 1
        return at

    return length


def ewma(shift: float = 0.0) -> Length:
    def length(dice: random.Random) -> int:
        chart, at = Ewma(EwmaTerms(0.2, 2.962, "asymptotic"), Process(0, 1)), 0
        while True:
            value, limits = chart.add(dice.gauss(shift, 1))
            at += 1
            if limits.beyond(value):
                return at

    return length


@pytest.mark.parametrize(
    ("what", "length", "published"),
    [
        ("three sigma", patterns("we1"), 370.4),
        ("three sigma, shifted by one", patterns("we1", shift=1), 43.9),
        ("Western Electric 1-4 (Champ and Woodall 1987)", patterns("western-electric"), 91.75),
        ("Western Electric 1-4, shifted by one", patterns("western-electric", shift=1), 9.22),
        ("CUSUM 0.5, 5", cusum(5), 465),
        ("CUSUM 0.5, 5, shifted by one", cusum(5, shift=1), 10.4),
        ("CUSUM 0.5, 4", cusum(4), 168),
        ("CUSUM 0.5, 4, fast (Lucas and Crosier 1982)", cusum(4, 0.5), 149),
        ("CUSUM 0.5, 4, fast, shifted by one", cusum(4, 0.5, 1), 5.29),
        ("EWMA 0.2, 2.962 (Lucas and Saccucci 1990)", ewma(), 500),
        ("EWMA 0.2, 2.962, shifted by one", ewma(shift=1), 10.5),
    ],
)
def test_an_average_run_length_is_the_published_one(what: str, length: Length, published: float) -> None:
    """Within four standard errors, and one half of the last digit that was printed."""
    dice = random.Random(20261122)
    lengths = [length(dice) for _ in range(RUNS)]
    mean = sum(lengths) / RUNS
    error = (sum((each - mean) ** 2 for each in lengths) / (RUNS - 1) / RUNS) ** 0.5
    digit = 0.5 if published == int(published) else 0.05
    print(f"{what}: {mean:.2f}, standard error {error:.2f} of {RUNS} runs; published {published:g}")  # noqa: T201  # it prints its figure
    assert mean == pytest.approx(published, abs=4 * error + digit)
