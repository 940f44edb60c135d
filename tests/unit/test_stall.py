"""A judge that was denied its processor knows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.hil.house import PLAYS, House
from gateway.hil.results import Outcome, Result
from gateway.hil.scenario import Loaded
from gateway.hil.simulated import Simulated
from gateway.hil.stall import Stall, StallWatch

SPENT = "cpu  {user} 0 0 {idle} 0 0 0 {steal} 0 0\ncpu0 1 2 3\n"


def test_what_the_kernel_counts_as_stolen_is_the_share(tmp_path: Path) -> None:
    """Of a hundred ticks between two looks, forty were given to other machines."""
    stat = tmp_path / "stat"
    stat.write_text(SPENT.format(user=1000, idle=5000, steal=77))
    with StallWatch(stat) as watch:
        stat.write_text(SPENT.format(user=1030, idle=5030, steal=117))

        assert watch.stall.share == pytest.approx(0.4)
        assert watch.stall.starved


@pytest.mark.parametrize("text", ["", "cpu 1 2", "something else\n"])
def test_a_kernel_that_does_not_say_is_no_witness(tmp_path: Path, text: str) -> None:
    """Without the count a machine is not called starved for it."""
    stat = tmp_path / "stat"
    stat.write_text(text)
    with StallWatch(stat) as watch:
        assert watch.stall.share == 0.0


def test_limits() -> None:
    """A long freeze alone is enough; short ones and a small share are everyday life."""
    assert Stall(0.0, 0.6).starved
    assert not Stall(0.05, 0.1).starved


class _Played(House):
    """Plays by a list: whether it went well, and what the machine was like."""

    def __init__(self, folder: Path, outcomes: list[bool]) -> None:
        super().__init__(folder)
        self.outcomes = outcomes

    def _play(self, loaded: Loaded, floor: Simulated | None) -> tuple[Simulated | None, Outcome]:
        ok = self.outcomes.pop(0)
        return None, Outcome("a", "a", results=[Result("", "see", "it is seen", ok=ok)])


@pytest.mark.parametrize(
    ("outcomes", "stall", "ok", "left", "said"),
    [
        ([False, True], Stall(0.8, 1.0), True, 0, False),
        ([False, True], Stall(0.0, 0.0), False, 1, False),
        ([False] * PLAYS + [True], Stall(0.8, 1.0), False, 1, True),
    ],
    ids=["starved, then well", "a failure is a failure", "never back"],
)
def test_only_a_starved_play_is_played_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcomes: list[bool], stall: Stall, ok: bool, left: int, said: bool
) -> None:
    """It is never green for it: what was starved each time is still not passed, and says so."""
    monkeypatch.setattr(StallWatch, "stall", property(lambda _: stall))
    monkeypatch.setattr("gateway.hil.house.wait_until_back", lambda _: True)
    house = _Played(tmp_path, list(outcomes))
    loaded = Loaded.__new__(Loaded)
    object.__setattr__(loaded, "path", tmp_path / "a.yaml")

    _, outcome = house._fairly(loaded, None)

    assert (outcome.ok, len(house.outcomes), bool(outcome.starved)) == (ok, left, said)
