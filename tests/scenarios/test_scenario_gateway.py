"""The gateway's own life: killed while latched, a second one beside it, a recipe that changed under it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from gateway.demo.stage import order
from gateway.errors import Refused
from tests.scenarios.floor import HOT_CEL, HOT_TAG, MACHINES, QUIET, Floor, quiet, write_recipe

pytestmark = pytest.mark.slow


def test_a_latch_outlives_a_kill(floor: Floor) -> None:
    """Killed while latched, the machine restarted meanwhile: the hold is the first write, and only a person ends it."""
    floor.begin()
    for machine in MACHINES:
        floor.sim("fault", device=machine, name="unwatched")
    before = floor.newest()
    floor.deviate(HOT_TAG, HOT_CEL + 20)
    latch = floor.record("halt.confirmed", after=before, device="filler")["body"]
    floor.deviate(HOT_TAG, None)
    floor.record("alarm.cleared", after=before, alarm="oil-hot")

    floor.stage.kill("gateway", signal.SIGKILL)
    dead_ns = time.monotonic_ns()
    floor.operate("filler", "unhold", "Execute")
    assert not floor.writes("filler", dead_ns)
    floor.start_gateway()

    reasserted = floor.record("halt.reasserted", after=before, device="filler")
    confirmed = floor.record("halt.confirmed", after=reasserted["index"], device="filler")["body"]
    writes = [write["what"] for write in floor.writes("filler", dead_ns)]
    assert writes[0] in ("CntrlCmd", "CmdChangeRequest"), writes
    assert writes.index("CmdChangeRequest") < writes.index("Heartbeat.In"), writes
    assert [hold["applied"] for hold in floor.holds("filler", dead_ns)] == [True]
    assert confirmed["halt"] == latch["halt"]
    assert confirmed["version"] > latch["version"]
    assert floor.machine("filler") == "Held"

    with pytest.raises(Refused, match="is at version"):
        floor.people["tom"].command(
            "halt.release", signed=True, halt=latch["halt"], version=latch["version"], reason="as before"
        )
    floor.release("filler")
    floor.operate("filler", "unhold", "Execute")
    floor.record("halt.released", after=before)
    floor.complete()
    floor.acknowledge_all()
    floor.sign_all()
    closed = floor.shut("the gateway was killed and came back; nothing was lost")
    assert "gateway.restarted" in {finding["kind"] for finding in closed["findings"]}
    floor.verify()
    last = floor.record("batch.closed", after=before)["index"]
    floor.wait("the MES has every record", lambda: set(range(last + 1)) <= set(floor.mes.records))


@pytest.mark.parametrize("console", ["its own", "the same"])
def test_a_second_gateway_is_refused(floor: Floor, console: str) -> None:
    """On the same state folder a second gateway ends with exit code 4 and one sentence; the first one never notices."""
    document = json.loads(floor.stage.config.read_text())
    if console == "its own":
        document["gateway"]["console"]["port"] = 0
    second = floor.stage.folder / "second.yaml"
    second.write_text(json.dumps(document))
    before = floor.newest()
    token = (floor.stage.state / "console.token").read_text()

    ended = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "run", str(second)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 4, ended.stderr
    said = ended.stderr.strip().splitlines()[-1]
    assert said.startswith("linegate: "), ended.stderr
    assert "Traceback" not in ended.stderr
    if console == "its own":
        assert f"another gateway (pid {floor.stage.parts['gateway'].pid})" in said

    assert (floor.stage.state / "console.token").read_text() == token
    assert floor.people["olga"].status()["gateway"]["records"] > before
    seen = floor.mes.telemetry_count
    floor.wait("telemetry goes on", lambda: floor.mes.telemetry_count > seen + 20)
    assert not floor.records("device.lost", "gateway.started", "store.quarantined", after=before)


def test_a_recipe_changed_during_its_batch_is_refused_and_said(floor: Floor) -> None:
    """The running batch keeps the recipe it was ordered with; the changed file is refused by order and at a restart."""
    floor.begin()
    made_with = floor.record("batch.tray", after=floor.began["record"])["context"]["recipe"]
    folder = floor.stage.folder / "recipes"

    def hotter(recipe: dict[str, object]) -> None:
        quiet(recipe)
        recipe["windows"]["oil_temperature"] |= {"high": 99, "warn_high": 98}  # type: ignore[index]

    write_recipe(folder, QUIET, hotter)
    try:
        before = floor.newest()
        answer = floor.mes.command("batch.order", order=order("B-OTHER", 100, recipe=QUIET))
        assert (answer["ok"], answer["code"]) == (False, "recipe_changed"), answer
        floor.stage.kill("gateway", signal.SIGTERM)
        floor.start_gateway()
        refused = floor.record("recipe.refused", after=before)
        assert QUIET in refused["body"]["text"]
        floor.deviate("reservoir/temperature", 70)
        raised = floor.record("alarm.raised", after=refused["index"], alarm="oil-temperature", limit="66.0")
        assert raised["context"]["recipe"] == made_with
        assert raised["batch"] == floor.batch
    finally:
        write_recipe(folder, QUIET, quiet)
