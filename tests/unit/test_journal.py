"""One event, one transaction; and no value, however odd, costs the rest of its event."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_kit import evidence_in

from gateway.board import Board
from gateway.errors import StoreError
from gateway.journal import Journal, body_of
from gateway.ledger.canonical import canonical
from gateway.ledger.mend import mended
from gateway.model import Draft, Lane
from gateway.store.evidence import Evidence
from gateway.verdicts import Sample


@pytest.fixture
async def evidence(tmp_path: Path) -> AsyncIterator[Evidence]:
    async with evidence_in(tmp_path) as store:
        yield store


@pytest.fixture
def journal(evidence: Evidence) -> Journal:
    return Journal(evidence, Board())


async def documents(evidence: Evidence) -> list[dict[str, Any]]:
    return [json.loads(record.payload) for record in await evidence.read(-1, 100)]


async def test_nothing_to_say_is_no_transaction(journal: Journal, evidence: Evidence) -> None:
    """An event that left nothing behind costs the store nothing."""
    assert journal.commit() is None
    assert evidence.size == 0


async def test_records_keep_their_order(journal: Journal, evidence: Evidence) -> None:
    """As they were noted, with whoever it was and the batch."""
    journal.note("check.due", {"n": 1}, batch="B1")
    journal.add([Draft("batch.tray", {"tray": "T1"}, "B1", "olga")])
    await journal.durable()

    assert [(each["kind"], each["by"], each["batch"]) for each in await documents(evidence)] == [
        ("check.due", "gateway", "B1"),
        ("batch.tray", "olga", "B1"),
    ]


async def test_state_and_records_come_back_together(tmp_path: Path) -> None:
    """A row kept, changed and deleted in one event is what the last word said."""
    async with evidence_in(tmp_path) as store:
        journal = Journal(store, Board())
        journal.keep("alarm", "a", {"n": 1})
        journal.keep("alarm", "b", {"n": 1})
        journal.keep("alarm", "a", {"n": 2})
        journal.keep("alarm", "b", None)
        await journal.durable()
    async with evidence_in(tmp_path) as store:
        assert store.load_state("alarm") == {"a": {"n": 2}}


async def test_owners_put_their_rows_in_before_each_commit(journal: Journal, evidence: Evidence) -> None:
    """Once for many changes."""
    journal.before.append(lambda: journal.note("gathered", {}, batch=None))
    journal.note("first", {}, batch=None)
    await journal.durable()

    assert [each["kind"] for each in await documents(evidence)] == ["first", "gathered"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (2**60, str(2**60)),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ("a\ud800b", "a\\ud800b"),
        (Decimal("1.0"), "Decimal('1.0')"),
        (b"\xff", "b'\\xff'"),
        ([1, {"x": 2**55}], [1, {"x": str(2**55)}]),
        ({1: "one"}, {"1": "one"}),
    ],
)
async def test_a_bad_value_is_recorded_as_text_and_costs_nothing_else(
    journal: Journal, evidence: Evidence, value: Any, told: Any
) -> None:
    """The record stands where it was, says that it was mended, and its neighbours are untouched."""
    heard: list[str] = []
    journal.on_mended = heard.append
    journal.note("check.due", {"id": "w#1"}, batch="B1")
    journal.note("halt.confirmed", {"halt": "filler:w", "odd": value}, batch="B1", by="tom", lane=Lane.ALARMS)
    journal.note("alarm.raised", {"alarm": "w"}, batch="B1")
    await journal.durable()
    due, confirmed, raised = await documents(evidence)

    assert (due["body"], raised["body"]) == ({"id": "w#1"}, {"alarm": "w"})
    assert (confirmed["kind"], confirmed["by"]) == ("halt.confirmed", "tom")
    assert confirmed["body"]["halt"] == "filler:w"
    assert confirmed["body"]["odd"] == told
    assert "mended" in confirmed["body"]
    assert len(heard) == 1
    assert "halt.confirmed" in heard[0]


async def test_odd_names_are_no_way_to_stop_the_record(journal: Journal, evidence: Evidence) -> None:
    """Whose it was, or which batch, cannot be written: it stands there as text."""
    journal.note("command.refused", {}, batch="\udcff", by="m\udc80s")
    await journal.durable()

    assert [(each["batch"], each["by"]) for each in await documents(evidence)] == [("\\udcff", "m\\udc80s")]


async def test_a_row_that_cannot_be_stored_keeps_what_it_held(tmp_path: Path) -> None:
    """The other rows and the records of the event are stored; after a restart the old row can be read."""
    async with evidence_in(tmp_path) as store:
        journal = Journal(store, Board())
        heard: list[str] = []
        journal.on_mended = heard.append
        journal.keep("rule", "a", {"n": 1})
        await journal.durable()
        journal.keep("rule", "a", {"n": object()})
        journal.keep("rule", "b", {"n": 2})
        journal.note("check.due", {}, batch=None)
        await journal.durable()
        assert [each["kind"] for each in await documents(store)] == ["check.due"]
        assert "rule a" in heard[0]
    async with evidence_in(tmp_path) as store:
        assert store.load_state("rule") == {"a": {"n": 1}, "b": {"n": 2}}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=10,
)


@given(ANYTHING | st.text(st.characters(categories=("Cs", "Lu"))))
def test_whatever_is_mended_has_a_canonical_form(value: Any) -> None:
    """And what had one before is left as it is."""
    try:
        before = canonical(value)
    except ValueError:
        canonical(mended(value))
    else:
        assert canonical(mended(value)) == before


def test_a_document_without_end_is_cut() -> None:
    """Deeper than anybody writes by hand: text, not a crash."""
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    assert b"deeper than" in canonical(mended(deep))


async def test_durable_waits_for_all_of_it(journal: Journal, evidence: Evidence) -> None:
    """What was handed over before, without waiting, is committed when it returns."""
    for number in range(5):
        journal.note("check.due", {"n": number}, batch=None)
        journal.commit()
    await journal.durable()

    assert evidence.committed == 4


async def test_durable_says_when_it_cannot_be(journal: Journal, evidence: Evidence) -> None:
    """A failed store is a StoreError for who waits, and nothing for who does not."""
    evidence._commits.give_up(StoreError("the disk is gone"))
    journal.note("check.due", {}, batch=None)

    with pytest.raises(StoreError, match="the disk is gone"):
        await journal.durable()


async def test_an_event_during_a_signing_is_witnessed_by_the_next_one(journal: Journal) -> None:
    """Whoever signs misses nothing that came while it signed; what is no occasion is none."""
    journal.note("halt.confirmed", {}, batch="B1")
    journal.commit()
    journal.note("batch.started", {}, batch="B2")
    journal.note("check.due", {}, batch="B2")
    journal.commit()
    assert await journal.witnessed() == "batch.started B2"

    waiting = asyncio.ensure_future(journal.witnessed())
    journal.note("check.due", {}, batch="B2")
    journal.commit()
    await asyncio.sleep(0)
    assert not waiting.done()
    journal.note("halt.released", {}, batch=None)
    journal.commit()
    assert await waiting == "halt.released"


def test_a_struct_as_a_body_has_strings_for_measures_and_times() -> None:
    """Decimals and nanoseconds as strings, counts as they are."""
    sample = Sample("weight", Decimal("1.012"), "g", 17, "T1", 1_800_000_000_000_000_000, "tom", True)
    body = body_of(sample)

    assert (body["value"], body["time_ns"], body["unit_no"]) == ("1.012", "1800000000000000000", 17)
