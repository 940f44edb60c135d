"""Several lines side by side: scenarios are drawn from one list, a line is kept while all goes well.

A worker keeps its line as long as the next scenario is played on the same one and the last one passed; otherwise it is
torn down and built anew in a fresh folder.  What failed while this machine itself was starved of processor time was not
judged: it is played again once the machine is back, at most `PLAYS` times in all.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway.errors import ConfigError, LinegateError
from gateway.hil import lines, timeline
from gateway.hil.play import Player, Tell, quiet, tidied
from gateway.hil.results import Outcome, Result
from gateway.hil.scenario import Loaded
from gateway.hil.simulated import Simulated
from gateway.hil.stall import StallWatch, wait_until_back
from gateway.world import World

Teller = Callable[[str], Tell]
"""Scenario name -> who is told how it goes."""


PLAYS: Final = 4
BACK_WITHIN_S: Final = 180.0
"""How long a starved machine is waited for before a scenario is played again."""


class House:
    """Plays scenarios on simulated lines, at most `width` of them at a time."""

    def __init__(
        self, folder: Path, *, width: int = 1, teller: Teller = lambda _: quiet, seed: int | None = None
    ) -> None:
        self._folder = folder
        self._width = width
        self._teller = teller
        self._seed = seed
        self._world = World()
        self._lock = threading.Lock()
        self._built = 0
        self._left: list[tuple[Loaded, Future[Outcome]]] = []
        self._closing = threading.Event()
        self._workers: list[threading.Thread] = []

    def play(self, scenarios: Sequence[Loaded]) -> dict[str, Future[Outcome]]:
        """Begin; each outcome by scenario name.  ConfigError before anything starts: a line or a name is wrong."""
        problems = [problem for each in scenarios for problem in lines.strangers(each)]
        if problems:
            raise ConfigError(problems)
        ordered = sorted(scenarios, key=lambda each: (str(each.line), -each.scenario.takes))
        futures: dict[str, Future[Outcome]] = {each.name: Future() for each in ordered}
        self._left = [(each, futures[each.name]) for each in ordered]
        for number in range(min(self._width, len(ordered))):
            worker = threading.Thread(target=self._work, name=f"line {number + 1}", daemon=True)
            self._workers.append(worker)
            worker.start()
        return futures

    def close(self) -> None:
        """What is being played is played to its end; the rest is not begun."""
        self._closing.set()
        for worker in self._workers:
            worker.join()
        for _, future in self._left:
            future.cancel()

    def _next(self, same: Path | None, *, has_line: bool) -> tuple[Loaded, Future[Outcome]] | None:
        """The next one for a worker: best on the line it has."""
        with self._lock:
            if self._closing.is_set() or not self._left:
                return None
            fitting = [at for at, (each, _) in enumerate(self._left) if has_line and each.line == same]
            return self._left.pop(fitting[0] if fitting else 0)

    def _work(self) -> None:
        floor: Simulated | None = None
        line: Path | None = None
        while (item := self._next(line, has_line=floor is not None)) is not None:
            loaded, future = item
            if floor is not None and line != loaded.line:
                floor.close()
                floor = None
            line = loaded.line
            try:
                floor, outcome = self._fairly(loaded, floor)
            except Exception as error:  # noqa: BLE001  # boundary: a bug in one scenario's play must not hang the others
                outcome = _broken(loaded, "".join(traceback.format_exception(error)))
            future.set_result(outcome)
        if floor is not None:
            floor.close()

    def _fairly(self, loaded: Loaded, floor: Simulated | None) -> tuple[Simulated | None, Outcome]:
        """Played; and again where it failed on a starved machine."""
        tell = self._teller(loaded.name)
        for play in range(1, PLAYS + 1):
            with StallWatch() as watch:
                floor, outcome = self._play(loaded, floor)
            stall = watch.stall
            if outcome.ok or not stall.starved:
                break
            outcome.starved = str(stall)
            if play < PLAYS and not self._closing.is_set():
                tell(f"is not judged: {stall}; it is played again when the machine is back")
                wait_until_back(BACK_WITHIN_S)
        return floor, outcome

    def _play(self, loaded: Loaded, floor: Simulated | None) -> tuple[Simulated | None, Outcome]:
        tell = self._teller(loaded.name)
        began = datetime.fromtimestamp(self._world.time_ns() / 1e9, tz=UTC)
        try:
            floor = floor or self._open(loaded, tell)
        except (LinegateError, OSError) as error:
            return None, _broken(loaded, str(error))
        player = Player(loaded, floor, tell=tell)
        outcome = player.play()
        outcome.began, outcome.line = began.isoformat(timespec="milliseconds"), floor.name
        timeline.observe(outcome, player, floor.observer, loaded.scenario.plots)
        if outcome.ok and not (untidy := tidied(floor)):
            return floor, outcome
        if outcome.ok:
            outcome.results.append(Result("", "end", "the line can be left as it was found", ok=False, said=untidy))
        outcome.logs = dict(floor.story())
        floor.close()
        return None, outcome

    def _open(self, loaded: Loaded, tell: Tell) -> Simulated:
        """LinegateError or OSError: it could not be started, and nothing of it is left running."""
        with self._lock:
            self._built += 1
            folder = self._folder / f"line-{self._built}"
        tell("starts broker, simulators, gateway, MES")
        line = lines.load(loaded.line)
        if self._seed is not None:
            line = line.model_copy(update={"simulators": line.simulators.model_copy(update={"seed": self._seed})})
        floor = Simulated(folder, line)
        try:
            floor.open()
        except BaseException:  # boundary: also of Ctrl-C nothing is left running, and it goes on
            floor.close()
            raise
        return floor


def _broken(loaded: Loaded, said: str) -> Outcome:
    result = Result("", "begin", "the line is where the story begins", ok=False, said=said)
    return Outcome(loaded.name, loaded.scenario.scenario, loaded.scenario.why, loaded.path.name, results=[result])


@contextlib.contextmanager
def house(folder: Path, *, width: int, teller: Teller, seed: int | None = None) -> Iterator[House]:
    """Open while the block runs; an empty folder at the end where nothing failed is the caller's business."""
    shutil.rmtree(folder, ignore_errors=True)
    opened = House(folder, width=width, teller=teller, seed=seed)
    try:
        yield opened
    finally:
        opened.close()
