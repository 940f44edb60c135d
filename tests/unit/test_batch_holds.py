"""Trays on hold: named, decided by people, and no batch is closed over one."""

from __future__ import annotations

import pytest
from batch_story import QUINN, at, person, recipe
from test_batch_lifecycle import code, completed, reviewed, running

from gateway.batch import holds, lifecycle
from gateway.batch.complete import findings
from gateway.batch.counts import Counters
from gateway.batch.lifecycle import Batch

SUE = person("sue", "Sue Park", "supervisor")
WHY = "check weight#3: 0.94 g is below 0.95 g"


def suspected() -> Batch:
    """A running batch whose first tray is suspect."""
    batch, _ = lifecycle.counted(running(), Counters(units=1001), "T-1", at(3), 1)
    return lifecycle.suspect(batch, ["T-1"], WHY)[0]


def test_a_suspect_tray_is_on_hold_until_somebody_decided() -> None:
    """Held, then released by QA with a reason; each is a record of its own beside the tray's."""
    batch, _ = lifecycle.counted(running(), Counters(units=1001), "T-1", at(3), 1)
    batch, drafts = lifecycle.suspect(batch, ["T-1"], WHY)
    (held,) = holds.records(drafts)
    assert (held.kind, held.body["tray"], held.body["suspect"]) == ("tray.held", "T-1", [WHY])
    assert batch.trays[0].held
    assert holds.undecided(batch) == ("T-1",)

    batch, drafts = lifecycle.dispose_tray(batch, "T-1", "released", QUINN, "weighed all 100")
    (released,) = holds.records(drafts)
    assert (released.kind, released.by, released.body["reason"]) == ("tray.released", "quinn", "weighed all 100")
    assert holds.undecided(batch) == ()


@pytest.mark.parametrize(("word", "refused"), [("released", "role_missing"), ("rejected", ""), ("quarantined", "")])
def test_what_is_on_hold_is_released_by_qa_only(word: str, refused: str) -> None:
    """A supervisor may reject and quarantine; that lets nothing out."""
    batch = suspected()
    if refused:
        assert code(lambda: lifecycle.dispose_tray(batch, "T-1", word, SUE, "looks fine")) == refused
    else:
        assert lifecycle.dispose_tray(batch, "T-1", word, SUE, "light")[0].trays[0].disposition == word


def test_a_new_suspicion_holds_a_released_tray_again() -> None:
    """The older decision did not know of it."""
    batch, _ = lifecycle.dispose_tray(suspected(), "T-1", "released", QUINN, "weighed all")
    batch, drafts = lifecycle.suspect(batch, ["T-1"], "check weight#4 was missed")
    assert [draft.kind for draft in holds.records(drafts)] == ["tray.held"]
    assert holds.undecided(batch) == ("T-1",)
    assert len(batch.trays[0].suspect) == 2


def test_a_batch_is_not_closed_over_a_tray_nobody_decided_on() -> None:
    """Not even with a reason for everything; decided, it closes."""
    batch = lifecycle.suspect(reviewed(), ["T-9"], WHY)[0]
    assert code(lambda: lifecycle.close(batch, recipe(), "rejected", QUINN, [], at(90), reasons="all")) == (
        "trays_undecided"
    )
    batch = lifecycle.dispose_tray(batch, "T-9", "rejected", QUINN, "never found on the line")[0]
    assert lifecycle.close(batch, recipe(), "rejected", QUINN, [], at(90))[0].disposition == "rejected"


def test_a_tray_the_machine_never_named_is_decided_on_all_the_same() -> None:
    """It waits under its name; the decision is a record, and no tray is made up for it."""
    batch = lifecycle.suspect(completed(), ["B-1-T001"], WHY)[0]
    assert [draft.kind for draft in holds.awaited(completed(), ["B-1-T001"], WHY)] == ["tray.held"]
    assert code(lambda: lifecycle.dispose_tray(batch, "B-1-T001", "released", SUE, "ok")) == "role_missing"
    after, drafts = lifecycle.dispose_tray(batch, "B-1-T001", "released", QUINN, "weighed all")
    assert after.trays == batch.trays
    assert holds.undecided(after) == ()
    assert [draft.kind for draft in holds.records(drafts)] == ["tray.released"]


def test_a_decision_on_a_tray_nobody_saw_leaves_no_finding() -> None:
    """The record of the decision is enough for the reviewer."""
    batch = lifecycle.suspect(completed(), ["X"], WHY)[0]
    _, drafts = lifecycle.dispose_tray(batch, "X", "quarantined", QUINN, "weighed all")
    records = [
        {"index": str(place), "time": str(at(50)), "kind": draft.kind, "by": draft.by, "body": dict(draft.body)}
        for place, draft in enumerate(drafts)
    ]
    assert [found.kind for found in findings(records) if found.kind.startswith("tray.")] == []
