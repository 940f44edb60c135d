"""A real line: what simulators would do, a relay does or a person is asked to do; what they know, a person is asked.

Everything the gateway shows by MQTT is seen as on a simulated line; commands of people are given with the credentials
that the target names, else asked for.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from paho.mqtt.client import Client as Paho

from gateway.client import Client
from gateway.demo.screen import STATES
from gateway.errors import LinegateError
from gateway.hil import target as targets
from gateway.hil import timeline, verbs
from gateway.hil.crew import Crew, answered, refused_with
from gateway.hil.eyes import Mark, Observer
from gateway.hil.instructions import instruction
from gateway.hil.matching import resolve
from gateway.hil.play import LOOK_EVERY_S, Player, tidied
from gateway.hil.progress import Progress
from gateway.hil.prompt import Prompt, Terminal
from gateway.hil.relays import Relays
from gateway.hil.results import Outcome, Result
from gateway.hil.scenario import Loaded, Scenario, Step
from gateway.hil.seen import Seen
from gateway.hil.sights import BLIND, Sight
from gateway.hil.target import Target
from gateway.hil.verbs import Do
from gateway.model import Json
from gateway.world import World

_HEARD_WITHIN_S: Final = 5.0
_QUIET_S: Final = 0.3
CLOCK_RIGHT: Final = "Set the clock of the gateway's computer right again: start its time service."


class RealEyes:
    """What can be seen from outside; the rest is asked."""

    def __init__(self, floor: Real) -> None:
        self._floor = floor

    @property
    def observer(self) -> Observer:
        return self._floor.observer

    def asked(self, sight: Sight, sentence: str) -> Seen | None:
        """Somebody's word, where nothing can be seen; None: it can be seen."""
        if sight.place == "machine" and self._floor.target.named(sight.name).state:
            return None
        if sight.place == "status" and self._floor.people:
            return None
        if sight.place not in BLIND:
            return None
        answer = self._floor.prompt.so(sentence, self._floor.target.patience)
        if answer is None:
            return Seen(ok=False, said="nobody could say", final=True)
        return Seen(ok=answer, value="said by a person", said="a person says it is not so", final=True)

    def truth(self) -> dict[str, Any]:
        raise LinegateError("a real line has no simulators that know the truth")

    def machine(self, device: str) -> str:
        """By the tag that the target names: PackML's number of the state."""
        tag = self._floor.target.named(device).state
        where, _, name = tag.partition("/")
        scans = self.observer.by_device.get(where, [])
        value = scans[-1]["values"].get(name) if scans else None
        return STATES.get(int(value), str(value)) if isinstance(value, int | float) else ""

    def units(self, first: int = 1) -> dict[int, dict[str, Any]]:
        del first
        raise LinegateError("nobody knows what a real filler really made")

    def status(self) -> dict[str, Any]:
        return self._floor.crew.status()

    def ended(self) -> dict[str, Any]:
        return {}

    def consumer(self) -> Path | None:
        return None

    def verify(self) -> tuple[bool, str]:
        return False, "ask a person"


class Real:
    """One real line, through the doors that its target names."""

    def __init__(self, target: Target, prompt: Prompt, observer: Observer, relays: Relays) -> None:
        self.target = target
        self.prompt = prompt
        self.observer = observer
        self.people = _people(target)
        self._relays = relays
        self._world = World()
        self._asked: dict[tuple[str, str], verbs.Fault] = {}
        """Faults that a person made and nobody took back."""
        self._stepped = False
        """A person set the gateway's clock wrong."""
        self._eyes = RealEyes(self)
        self.batch = ""

    @property
    def name(self) -> str:
        return f"real line {self.target.gateway.path} at {self.target.gateway.mqtt}"

    @property
    def eyes(self) -> RealEyes:
        return self._eyes

    @property
    def crew(self) -> Crew:
        if not self.people:
            raise LinegateError("the target names no people with credentials")
        return Crew(self.people, {name: name for name in self.people})

    # -- the floor of a player -------------------------------------------------------------------

    def begin(self, scenario: Scenario) -> Mapping[str, Json]:
        """A batch that runs is taken; where there is none a person is asked to start one."""
        if scenario.batch is not None and not self._running():
            self._ask(f"Start a batch of recipe {scenario.batch.recipe}, machines in Execute.", self._running)
        self.batch = str((self.observer.state.get("batch") or {}).get("batch", ""))
        return {"batch": self.batch}

    def _running(self) -> bool:
        return (self.observer.state.get("batch") or {}).get("state") == "running"

    def mark(self, now_s: float) -> Mark:
        return self.observer.mark(now_s, self._world.time_ns())

    def do(self, do: Do, step: Step, saved: Mapping[str, Json]) -> float | None:
        words = do.words
        match do.verb:
            case "fault" if self._relays.has(words.device, words.name):
                return self._relays.make(words.device, words.name)
            case "heal" if (moment := self._relays.release(words.device, words.name)) is not None:
                return moment
            case "acknowledge" | "release" | "command" | "take" | "enter" if words.by in self.people:
                self._command(do, saved)
            case "mes" if self.target.gateway.commands:
                answered(self.observer.command(words.name, **resolve(words.arguments, saved)), words.refused)
            case _:
                return self._by_hand(do, step)
        return None

    def tidy(self) -> None:
        """Relays back, and what people broke is asked to be mended."""
        self._relays.release_all()
        for device, name in list(self._asked):
            self._ask(f"The scenario is over. {instruction(_heal(device, name), self.target)}")
            self._asked.pop((device, name), None)
        if self._stepped:
            self._ask(f"The scenario is over. {CLOCK_RIGHT}")
            self._stepped = False

    def left(self) -> str:
        """What people broke and nobody mended yet, as instructions."""
        told = [instruction(_heal(device, name), self.target) for device, name in self._asked]
        return " ".join([*told, CLOCK_RIGHT] if self._stepped else told)

    # -- by hand ---------------------------------------------------------------------------------

    def _by_hand(self, do: Do, step: Step) -> float:
        self._stepped = self._stepped or do.verb == "clock"
        at_s = self._ask(step.tell or instruction(do, self.target), self._detector(do))
        if do.verb == "fault":
            self._asked[do.words.device, do.words.name] = do.words
        if do.verb == "heal":
            self._asked = {
                key: fault
                for key, fault in self._asked.items()
                if key[0] != do.words.device or do.words.name not in ("all", key[1])
            }
        return at_s

    def _ask(self, text: str, seen: Callable[[], bool] | None = None) -> float:
        return self.prompt.done(text, self.target.countdown, self.target.patience, seen)

    def _detector(self, do: Do) -> Callable[[], bool] | None:
        """How it shows by itself that it was done; None: only ENTER says so."""
        words = do.words
        if do.verb == "fault" and words.name in ("cut", "silent", "reboot"):
            return lambda: not self._connected(words.device)
        if do.verb == "heal" and any(
            name in ("cut", "silent") for device, name in self._asked if device == words.device
        ):
            return lambda: self._connected(words.device)
        if do.verb == "clock":
            steps = len(self.observer.kinds("clock.stepped"))
            return lambda: len(self.observer.kinds("clock.stepped")) > steps
        if do.verb == "key" and words.until and self.target.named(words.device).state:
            return lambda: bool(self._eyes.machine(words.device) == words.until)
        return None

    def _connected(self, device: str) -> bool:
        return bool((self.observer.state.get(f"devices/{device}") or {}).get("connected"))

    def _command(self, do: Do, saved: Mapping[str, Json]) -> None:
        words = do.words
        refused = getattr(words, "refused", "")
        if refused:
            refused_with(refused, lambda: self._give(do.verb, words, saved))
        else:
            self._give(do.verb, words, saved)

    def _give(self, verb: str, words: Any, saved: Mapping[str, Json]) -> None:
        person = self.crew[words.by]
        match verb:
            case "acknowledge":
                self.crew.acknowledge(words.by, words.alarm, words.comment)
            case "release":
                self.crew.release(words.device, words.reason, words.recalibration, words.by)
            case "command":
                person.command(words.name, signed=words.signed, **resolve(words.arguments, saved))
            case "take":
                arguments = {"rule": words.rule, "unit_no": int(resolve(words.unit, saved))}
                person.command("check.take", **arguments, **({"check": words.check} if words.check else {}))
            case "enter":
                value = {"characteristic": words.characteristic, "value": str(resolve(words.value, saved))}
                person.command("check.value", check=resolve(words.check, saved), unit=words.unit, **value)


def _heal(device: str, name: str) -> Do:
    return Do(heal=verbs.Heal(device=device, name=name))


def _people(target: Target) -> dict[str, Client]:
    """Logged in.  LinegateError or Refused: the door is shut."""
    if target.gateway.token_file is None:
        return {}
    found = {}
    for name, hand in target.people.items():
        password = targets.secret(hand.password_file)
        found[name] = Client(target.gateway.token_file, person=hand.name, password=password)
        found[name].login()
    return found


@contextlib.contextmanager
def opened(target: Target, prompt: Prompt) -> Iterator[Real]:
    """The line, heard and spoken to; relays are taken back whatever happens.  LinegateError: no broker there."""
    host, port = target.gateway.host_port
    try:
        observer = Observer(
            port, target.gateway.path, client_id="", host=host, prepare=lambda client: _credentials(client, target)
        )
    except OSError as error:
        raise LinegateError(f"no broker at {target.gateway.mqtt}: {error}") from error
    try:
        _hear(observer)
        with Relays(target) as relays:
            yield Real(target, prompt, observer, relays)
    finally:
        observer.close()


def _hear(observer: Observer) -> None:
    """What the broker retained of the line comes first: until no other topic came for `_QUIET_S`."""
    ends_s = time.monotonic() + _HEARD_WITHIN_S
    known, since_s = -1, time.monotonic()
    while time.monotonic() < ends_s and time.monotonic() - since_s < _QUIET_S:
        if len(observer.state) != known or not observer.state:
            known, since_s = len(observer.state), time.monotonic()
        time.sleep(LOOK_EVERY_S)


def _credentials(client: Paho, target: Target) -> None:
    door = target.gateway
    if door.username:
        client.username_pw_set(door.username, targets.secret(door.password_file) if door.password_file else None)
    if door.mqtt.startswith("mqtts:"):
        client.tls_set(ca_certs=None if door.ca is None else str(door.ca))


def renamed(loaded: Loaded, target: Target) -> Loaded:
    """The scenario with the names its devices have here: `filler`, `filler/state`, `link:filler`, `filler-silent`."""
    names = {name: machine.is_ for name, machine in target.devices.items() if machine.is_ and machine.is_ != name}
    if not names:
        return loaded
    document = _renamed(loaded.scenario.model_dump(by_alias=True, exclude_unset=True), names)
    return Loaded(path=loaded.path, scenario=Scenario.model_validate(document))


_PROSE: Final = ("scenario", "why", "text", "tell", "comment", "reason", "id", "within_after", "name", "line")


def _renamed(value: Json, names: Mapping[str, str]) -> Json:
    if isinstance(value, Mapping):
        return {key: one if key in _PROSE else _renamed(one, names) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(one, names) for one in value]
    if isinstance(value, str):
        for old, new in names.items():
            if value == old or value.startswith((f"{old}/", f"{old}-")):
                return new + value[len(old) :]
            if value.endswith((f":{old}", f"/{old}")):
                return value[: -len(old)] + new
    return value


def play_real(loaded: Sequence[Loaded], path: Path, progress: Progress, prompt: Prompt | None = None) -> list[Outcome]:
    """One after the other, on the one line there is."""
    target = targets.load(path)
    outcomes = []
    with opened(target, prompt or Terminal(progress.say)) as floor:
        try:
            for each in loaded:
                outcome = _play(renamed(each, target), floor, progress)
                progress.done(outcome)
                outcomes.append(outcome)
        except KeyboardInterrupt:
            progress.say(f"broken off; {floor.left() or 'nobody has to put anything back'}")
            raise
    return outcomes


def _play(loaded: Loaded, floor: Real, progress: Progress) -> Outcome:
    if not loaded.scenario.real:
        said = "this scenario says `real: false`: it can only be played on a simulated line"
        result = Result("", "begin", "the line is where the story begins", ok=False, said=said)
        return Outcome(loaded.name, loaded.scenario.scenario, loaded.scenario.why, loaded.path.name, results=[result])
    began = datetime.fromtimestamp(World().time_ns() / 1e9, tz=UTC)
    player = Player(loaded, floor, tell=progress.teller(loaded.name))
    outcome = player.play()
    if untidy := tidied(floor):
        outcome.results.append(Result("", "end", "the line can be left as it was found", ok=False, said=untidy))
    outcome.began, outcome.line = began.isoformat(timespec="milliseconds"), floor.name
    timeline.observe(outcome, player, floor.observer, loaded.scenario.plots)
    return outcome
