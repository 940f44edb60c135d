"""How is done on a simulated line what a scenario says: one verb, one function.

A function answers with the moment it took effect (seconds of CLOCK_MONOTONIC, which the simulators stamp with) where it
knows better than `when I returned`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from gateway.demo.stage import order
from gateway.errors import LinegateError
from gateway.hil import verbs
from gateway.hil.crew import answered, refused_with
from gateway.hil.lines import merged, write_recipe, write_recipes
from gateway.hil.matching import resolve
from gateway.model import Json

if TYPE_CHECKING:
    from gateway.hil.simulated import Simulated

_SECOND_ENDS_S: Final = 30.0
UNITS_S: Final = 60.0


class Hands:
    """Does the verbs on one line."""

    def __init__(self, floor: Simulated) -> None:
        self._floor = floor
        self._saved: Mapping[str, Json] = {}

    def do(self, do: verbs.Do, saved: Mapping[str, Json]) -> float | None:
        """LinegateError: it could not be done, or was not refused as it should."""
        self._saved = saved
        return _VERBS[do.verb](self, do.words)

    def _sim(self, verb: str, **arguments: Json) -> float | None:
        answer = self._floor.sim(verb, **arguments)
        return int(answer["mono_ns"]) / 1e9 if "mono_ns" in answer else None

    def _is(self, value: Json) -> Json:
        return resolve(value, self._saved)

    # -- the equipment ---------------------------------------------------------------------------

    def fault(self, words: verbs.Fault) -> float | None:
        return self._sim("fault", device=words.device, name=words.name, **words.arguments)

    def heal(self, words: verbs.Heal) -> float | None:
        return self._sim("heal", device=words.device, name=words.name)

    def deviate(self, words: verbs.Deviate) -> float | None:
        return self._sim("deviate", tag=words.tag, value=self._is(words.value))

    def key(self, words: verbs.Key) -> float | None:
        return self._floor.press(words.device, words.key, words.until) / 1e9

    def roll(self, words: verbs.Roll) -> None:
        self._floor.load_roll(words.model_dump(exclude_none=True))

    def recalibrate(self, words: verbs.Nothing) -> None:
        del words
        self._floor.sim("recalibrate")

    def oil(self, words: verbs.Oil) -> None:
        self._floor.sim("oil", cel=words.cel)

    def rate(self, words: verbs.Rate) -> None:
        self._floor.sim("rate", value=words.per_s)

    # -- people ----------------------------------------------------------------------------------

    def acknowledge(self, words: verbs.Acknowledge) -> None:
        self._floor.crew.acknowledge(words.by, words.alarm, words.comment)

    def release(self, words: verbs.Release) -> None:
        def act() -> None:
            self._floor.crew.release(words.device, words.reason, words.recalibration, words.by)

        _maybe(words.refused, act)

    def sign(self, words: verbs.Sign) -> None:
        self._floor.crew.sign_all(self._floor.batch, words.step)

    def take(self, words: verbs.Take) -> None:
        arguments: dict[str, Json] = {"rule": words.rule, "unit_no": int(self._is(words.unit))}
        if words.check:
            arguments["check"] = self._is(words.check)
        self._floor.crew[words.by].command("check.take", **arguments)

    def place(self, words: verbs.Place) -> float | None:
        """Not before the unit is made."""
        number = int(self._is(words.unit)) + self._floor.base
        self._floor.wait(
            f"unit {words.unit} is filled", lambda: self._floor.eyes.truth()["plant"]["units"] >= number, UNITS_S
        )
        return self._sim("place", unit=number)

    def remove(self, words: verbs.Remove) -> None:
        del words
        self._floor.sim("remove")

    def weigh(self, words: verbs.Weigh) -> None:
        before = self._weighings()
        self.take(verbs.Take(rule=words.rule, unit=words.unit, check=words.check, by=words.by))
        self.place(verbs.Place(unit=words.unit))
        self._floor.wait(f"unit {words.unit} is weighed", lambda: self._weighings() > before)
        self._floor.sim("remove")

    def _weighings(self) -> int:
        return len(self._floor.observer.kinds("weighing.recorded"))

    def enter(self, words: verbs.Enter) -> None:
        self._floor.crew[words.by].command(
            "check.value",
            check=self._is(words.check),
            characteristic=words.characteristic,
            value=str(self._is(words.value)),
            unit=words.unit,
        )

    def technician(self, words: verbs.Technician) -> None:
        if words.comes:
            self._floor.call_technician()
        else:
            self._floor.send_technician_home()

    def command(self, words: verbs.Command) -> None:
        arguments = self._is(words.arguments)

        def act() -> None:
            self._floor.crew[words.by].command(words.name, signed=words.signed, **arguments)

        _maybe(words.refused, act)

    def mes(self, words: verbs.MesCommand) -> None:
        answered(self._floor.observer.command(words.name, **self._is(words.arguments)), words.refused)

    def order(self, words: verbs.Order) -> None:
        document = order(words.batch, words.units, recipe=words.recipe)
        answered(self._floor.observer.command("batch.order", order=document), words.refused)

    def complete(self, words: verbs.Complete) -> None:
        """Counts come from the plant's own truth, as a person's come from the shelf."""
        del words
        floor = self._floor
        floor.press("filler", "stop", "Stopped")
        floor.wait("all units are labelled", lambda: floor.eyes.truth()["plant"]["waiting_for_label"] == 0, 30)
        floor.press("labeller", "stop", "Stopped")
        plant = floor.eyes.truth()["plant"]
        issued = int(plant["labels_issued"]) - int(floor.began["labels_issued"]) + 20
        charged_g = float(plant["oil_used_g"]) - float(floor.began["oil_used_g"]) + 40
        for name, value, unit in (
            ("labels_issued", issued, "{count}"),
            ("labels_returned", 20, "{count}"),
            ("oil_charged", f"{charged_g:.1f}", "g"),
            ("oil_remaining", "38.5", "g"),
            ("oil_waste", "1.5", "g"),
        ):
            floor.crew["tom"].command("batch.enter", batch=floor.batch, name=name, value=str(value), unit=unit)
        floor.crew["olga"].command("batch.complete", batch=floor.batch)

    def close(self, words: verbs.Close) -> None:
        _maybe(words.refused, lambda: self._floor.crew.shut(self._floor.batch, words.reason))

    # -- the parts -------------------------------------------------------------------------------

    def start(self, words: verbs.Start) -> None:
        if words.part in self._floor.stage.parts:
            raise LinegateError(f"{words.part} runs already")
        match words.part:
            case "gateway":
                self._floor.start_gateway()
            case "simulators":
                self._floor.start_simulators()
            case "broker":
                self._floor.stage.start_broker()
            case "mes":
                self._floor.stage.start_mes()

    def stop(self, words: verbs.Stop) -> None:
        self._running(words.part)
        self._floor.stage.kill(words.part, signal.SIGTERM)

    def kill(self, words: verbs.Kill) -> None:
        self._running(words.part)
        self._floor.stage.kill(words.part, signal.SIGKILL)

    def pause(self, words: verbs.Pause) -> None:
        self._running(words.part).send_signal(signal.SIGSTOP)

    def go_on(self, words: verbs.GoOn) -> None:
        self._running(words.part).send_signal(signal.SIGCONT)

    def _running(self, part: str) -> subprocess.Popen[bytes]:
        if part not in self._floor.stage.parts:
            raise LinegateError(f"{part} does not run")
        return self._floor.stage.parts[part]

    def second_gateway(self, words: verbs.SecondGateway) -> None:
        stage = self._floor.stage
        document = json.loads(stage.config.read_text())
        if words.console == "own":
            document["gateway"]["console"]["port"] = 0
        second = stage.folder / "second.yaml"
        second.write_text(json.dumps(document))
        command = [sys.executable, "-m", "gateway.cli", "run", str(second)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECOND_ENDS_S, check=False)
        except subprocess.TimeoutExpired:
            raise LinegateError(f"the second gateway still runs after {_SECOND_ENDS_S:g} s") from None
        lines = done.stderr.strip().splitlines()
        self._floor.ended = {
            "code": done.returncode,
            "said": lines[-1] if lines else "",
            "traceback": "Traceback" in done.stderr,
        }

    def recipe(self, words: verbs.Recipe) -> None:
        folder = self._floor.stage.folder / "recipes"
        if words.restore:
            write_recipes(self._floor.line, folder)
            return
        derived = self._floor.line.recipes.get(words.name)
        if derived is None:
            raise LinegateError(f"the line has no recipe {words.name!r} of its own to change")
        write_recipe(folder, words.name, derived.from_, merged(derived.change, words.change))

    def clock(self, words: verbs.Clock) -> None:
        if self._floor.clock is None:
            raise LinegateError("the gateway has no clock of its own; write `own_clock: true` in the line's file")
        self._floor.clock.step(words.step)


def _maybe(code: str, act: Callable[[], object]) -> None:
    """Do it; with a code it must be refused so."""
    if code:
        refused_with(code, act)
    else:
        act()


_VERBS: Final[Mapping[str, Callable[[Hands, Any], float | None]]] = {
    name: getattr(Hands, name) for name in verbs.Do.model_fields if name != "wait"
}
