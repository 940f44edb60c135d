"""A stage for each file of scenarios, shared while all goes well; what is to be read when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.floor import Floor


class House:
    """The stage of one file: built when first asked for, and anew after a scenario that failed."""

    def __init__(self, folder: Path, module: object) -> None:
        self._folder, self._module = folder, module
        self._floor: Floor | None = None
        self._built = 0

    def floor(self) -> Floor:
        if self._floor is None:
            self._built += 1
            self._floor = Floor(self._folder / str(self._built), **getattr(self._module, "STAGE", {}))
            print(f"SCENARIO_SEED={self._floor.seed}")  # noqa: T201  # what a failure is played again with
            self._floor.open(getattr(self._module, "RECIPES", {}))
        return self._floor

    def tear_down(self) -> None:
        if self._floor is not None:
            self._floor.close()
        self._floor = None


@pytest.fixture(scope="module")
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A module says in STAGE how fast its plant is, and in RECIPES what it makes."""
    house = House(tmp_path_factory.mktemp("floor"), request.module)
    try:
        yield house
    finally:
        house.tear_down()


@pytest.fixture
def floor(house: House, request: pytest.FixtureRequest) -> Iterator[Floor]:
    """A running line without a batch."""
    floor = house.floor()
    yield floor
    if getattr(request.node, "failed", False):
        house.tear_down()
        return
    try:
        floor.clear()
    except BaseException:
        house.tear_down()
        raise


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A scenario that failed shows its seed, its logs and the records that the MES has."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    floor = getattr(item, "funcargs", {}).get("floor")
    if report.failed and isinstance(floor, Floor):
        item.failed = True  # type: ignore[attr-defined]
        report.sections.extend(floor.story())
