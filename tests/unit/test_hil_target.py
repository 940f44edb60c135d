"""A target: its file, its people, its relays, and what a scenario is called on it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.errors import ConfigError, LinegateError
from gateway.hil import relays, target, verbs
from gateway.hil.instructions import instruction
from gateway.hil.lines import load as load_line
from gateway.hil.lines import merged, strangers
from gateway.hil.prompt import Terminal
from gateway.hil.real import renamed
from gateway.hil.relays import Relays
from gateway.hil.target import Coil, Target
from gateway.hil.verbs import Do
from tests.unit.hil_fakes import written

DOOR = "gateway: {mqtt: 'mqtt://192.0.2.1:1883', path: a/b}\n"


def read(folder: Path, text: str) -> Target:
    path = folder / "hil.yaml"
    path.write_text(text)
    return target.load(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "gateway: {mqtt: 'tcp://x', path: a}\n",
            "hil.yaml:1:17: gateway.mqtt: 'tcp://x' is not an address of a broker",
        ),
        ("gateway: {path: a/b}\n", "hil.yaml:1:1: gateway.mqtt: is missing"),
        (DOOR + "relay: {}\n", "hil.yaml:2:1: relay: unknown key; did you mean 'relays'?"),
        (DOOR + "relays: {a: {cut: {url: 'rtu://x', coil: 1}}}\n", "write tcp://host:port"),
        (DOOR + "relays: {a: {cut: {url: 'tcp://x', coil: 70000}}}\n", "less than or equal to 65535"),
        (
            DOOR + "people: {tom: {name: t, password_file: no}}\n",
            "hil.yaml:2:40: people.tom.password_file: no such file",
        ),
    ],
)
def test_what_is_wrong_with_a_target_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    """File, line, column, and what to write."""
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)

    assert said in str(error.value)


def test_a_password_is_read_by_its_owner_alone(tmp_path: Path) -> None:
    """Others may read it, or it is empty: refused, saying what to do."""
    path = tmp_path / "tom.password"
    path.write_text("secret\n")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        target.secret(path)
    path.chmod(0o600)
    assert target.secret(path) == "secret"
    path.write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        target.secret(path)


def test_a_scenario_takes_the_names_of_the_target(tmp_path: Path) -> None:
    """Devices, tags and the alarms made of them; never prose, never half a word."""
    story = """scenario: filler
steps:
- text: filler
  do: [{key: {device: filler, key: hold}}, {deviate: {tag: filler/speed, value: 1}}]
  see:
  - {alarm: "found-held:filler"}
  - {alarm: filler-silent}
  - {telemetry: filler/state}
  - {record: halt.confirmed, with: {device: filler, text: fillers}}
"""
    here = read(tmp_path, DOOR + "devices: {filler: {is: filler-2}}\n")
    step = renamed(written(tmp_path, story), here).scenario.steps[0]

    assert step.text == "filler"
    assert [step.do[0].words.device, step.do[1].words.tag] == ["filler-2", "filler-2/speed"]
    assert [see.name for see in step.see[:3]] == ["found-held:filler-2", "filler-2-silent", "filler-2/state"]
    assert [match.equals for match in step.see[3].with_.values()] == ["filler-2", "fillers"]


def test_every_verb_has_an_instruction() -> None:
    """Whatever a scenario does, a person can be told to do it."""
    here = Target.model_validate({"gateway": {"mqtt": "mqtt://h", "path": "p"}, "devices": {"a": {"where": "room 1"}}})
    words = {"device": "a", "name": "cut", "tag": "a/b", "value": 1, "key": "hold", "cel": 60, "per_s": 2}
    words |= {"rule": "r", "unit": 1, "check": "c", "characteristic": "x", "batch": "b", "recipe": "q", "part": "mes"}
    for name, field in Do.model_fields.items():
        model = getattr(verbs, str(field.annotation).split("verbs.")[-1].split(" ")[0], None)
        if model is not None:
            wanted = {key: words.get(key, "+1s") for key, one in model.model_fields.items() if one.is_required()}
            told = instruction(Do.model_validate({name: wanted}), here)
            assert told.endswith((".", "1", "b")) or ":" in told, (name, told)
    assert instruction(Do.model_validate({"fault": {"device": "a", "name": "cut"}}), here) == (
        "Pull the cable of a (room 1)."
    )


# -- relays ------------------------------------------------------------------------------------------


class Coils:
    """Instead of the wire: coils that move, or do not."""

    def __init__(self) -> None:
        self.moves: list[tuple[str, bool]] = []
        self.stuck: set[str] = set()

    def move(self, coil: Coil, *, on: bool) -> float:
        self.moves.append((coil.url, on))
        if coil.url in self.stuck:
            raise LinegateError(f"relay {coil.url} does not answer")
        return 1.5


@pytest.fixture
def coils(monkeypatch: pytest.MonkeyPatch) -> Coils:
    made = Coils()
    monkeypatch.setattr(relays, "_move", made.move)
    return made


RELAYS = DOOR + "relays: {a: {cut: {url: 'tcp://a', coil: 1}}, b: {cut: {url: 'tcp://b', coil: 2, on: false}}}\n"


def test_relays_are_taken_back_whatever_happens(tmp_path: Path, coils: Coils) -> None:
    """By a heal, and by the end of the run even when it was a traceback; a break contact the other way round."""
    moved = Relays(read(tmp_path, RELAYS))
    with contextlib.suppress(KeyboardInterrupt), moved:
        assert moved.make("a", "cut") == 1.5
        assert moved.release("a") == 1.5
        assert moved.release("a") is None
        moved.make("b", "cut")
        raise KeyboardInterrupt

    assert coils.moves == [("tcp://a", True), ("tcp://a", False), ("tcp://b", False), ("tcp://b", True)]


def test_a_relay_that_does_not_answer_is_tried_back_and_named(tmp_path: Path, coils: Coils) -> None:
    """Its write may have moved it: it is tried back, the others first of all; what stands is said."""
    coils.stuck.add("tcp://a")
    moved = Relays(read(tmp_path, RELAYS))
    with pytest.raises(LinegateError, match="does not answer"):
        moved.make("a", "cut")
    moved.make("b", "cut")
    with pytest.raises(LinegateError, match=r"take them back by hand: a cut: relay tcp://a"):
        moved.release_all()

    assert ("tcp://b", True) in coils.moves


def test_nobody_at_the_relays_address_is_one_sentence() -> None:
    """A port where nothing listens: refused at once, no traceback of a library."""
    with pytest.raises(LinegateError, match=r"relay tcp://127\.0\.0\.1:9 "):
        relays._move(Coil(url="tcp://127.0.0.1:9", coil=1), on=True)


# -- a person ----------------------------------------------------------------------------------------


@pytest.fixture
def terminal() -> Iterator[tuple[Terminal, int, list[str]]]:
    reader, writer = os.pipe()
    said: list[str] = []
    yield Terminal(said.append, reader), writer, said
    os.close(reader)


def test_enter_is_done(terminal: tuple[Terminal, int, list[str]]) -> None:
    """ENTER may come before the countdown is over; half a line is not ENTER."""
    at, writer, said = terminal
    os.write(writer, b"ok")
    threading.Timer(0.05, os.write, (writer, b"\n")).start()
    at.done("Pull it.", 0.0, 5.0)

    assert said[0] == "\n>>> Pull it."
    os.write(writer, b"\ny\n")
    at.done("Again.", 3.0, 5.0)
    assert at.so("Is it out?", 1.0) is True


def test_what_is_seen_by_itself_needs_no_enter(terminal: tuple[Terminal, int, list[str]]) -> None:
    """The person's hands are at the cable."""
    at, _, said = terminal
    at.done("Pull it.", 0.0, 5.0, lambda: True)

    assert said[-1] == "    seen"


def test_nobody_there_is_an_error_and_not_a_wait_for_ever(terminal: tuple[Terminal, int, list[str]]) -> None:
    """Too late, and an input that ended."""
    at, writer, _ = terminal
    with pytest.raises(LinegateError, match=r"nobody said within 0\.2 s"):
        at.done("Pull it.", 0.0, 0.2)
    os.write(writer, b"what?\ns\n")
    assert at.so("Is it so?", 1.0) is None
    os.close(writer)
    with pytest.raises(LinegateError, match="nobody is there"):
        at.so("Is it so?", 1.0)


# -- simulated lines ---------------------------------------------------------------------------------


def test_changes_are_merged() -> None:
    """Into mappings; null takes away; the rest replaces."""
    assert merged({"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"b": None, "c": [2], "e": 3}}) == {
        "a": {"c": [2], "e": 3},
        "d": 2,
    }


def test_a_lines_file_is_checked(tmp_path: Path) -> None:
    """Unknown keys and missing configurations, with their places."""
    path = tmp_path / "line.yaml"
    path.write_text("simulator: {}\n")
    with pytest.raises(ConfigError, match="did you mean 'simulators'"):
        load_line(path)
    path.write_text("config: no.yaml\n")
    with pytest.raises(ConfigError, match=r"line\.yaml:1:9: config: no such file"):
        load_line(path)
    with pytest.raises(ValidationError):
        Coil(url="tcp://x", coil=-1)


def test_devices_that_the_line_has_not_are_named_before_it_starts(tmp_path: Path) -> None:
    """A typo in a device is found with its place, not after a minute of starting."""
    story = """scenario: x
steps:
- do: [{fault: {device: balnce, name: cut}}, {deviate: {tag: resevoir/temperature, value: 1}}]
  see: {telemetry: balance/net}
"""

    first, second = (str(problem) for problem in strangers(written(tmp_path, story)))

    assert first.startswith("story.yaml:3:25: steps[0].do[0].fault.device: the line has no device 'balnce'; did you")
    assert "steps[0].do[1].deviate.tag: 'resevoir/temperature' is no tag of the line" in second
    assert second.endswith("did you mean 'reservoir'?")
