"""One stage for all scenarios, shared while all goes well; what is to be read when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.floor import Floor


class House:
    """The stage: built when first asked for, and anew after a scenario that failed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._floor: Floor | None = None
        self._built = 0

    def floor(self) -> Floor:
        if self._floor is None:
            self._built += 1
            self._floor = Floor(self._folder / str(self._built))
            print(f"SCENARIO_SEED={self._floor.seed}")  # noqa: T201  # what a failure is played again with
            self._floor.open()
        return self._floor

    def story(self) -> Iterator[tuple[str, str]]:
        if self._floor is not None:
            yield from self._floor.story()

    def tear_down(self) -> None:
        if self._floor is not None:
            self._floor.close()
        self._floor = None


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("floor"))
    try:
        yield house
    finally:
        house.tear_down()


@pytest.fixture
def floor(house: House, request: pytest.FixtureRequest) -> Iterator[Floor]:
    """A running line without a batch; left so, unless the scenario failed."""
    floor = house.floor()
    yield floor
    if not getattr(request.node, "failed", False):
        floor.clear()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A scenario that failed shows its seed, its logs and the records that the MES has; the next one begins anew."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    house = getattr(item, "funcargs", {}).get("house")
    if report.failed and isinstance(house, House):
        item.failed = True  # type: ignore[attr-defined]
        report.sections.extend(house.story())
        house.tear_down()
