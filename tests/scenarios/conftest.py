"""The library is played on two lines side by side, begun when its first scenario is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from gateway.hil.house import house
from gateway.hil.play import quiet
from gateway.hil.results import Outcome
from gateway.hil.scenario import Loaded

WIDTH = 2

Library = dict[str, Future[Outcome]]


@pytest.fixture(scope="session")
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Outcomes to come of those scenarios that this run has selected.  SCENARIO_SEED plays a plant's dice again."""
    wanted = [item.callspec.params.get("loaded") for item in request.session.items if hasattr(item, "callspec")]
    given = os.environ.get("SCENARIO_SEED")
    seed = int(given) if given else None
    folder: Path = tmp_path_factory.mktemp("lines")
    with house(folder, width=WIDTH, teller=lambda _: quiet, seed=seed) as built:
        yield built.play([each for each in wanted if isinstance(each, Loaded)])
