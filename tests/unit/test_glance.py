"""The line at a glance: whole or in parts, and never in the way of the line."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.board import Board
from gateway.errors import Refused
from gateway.glance import ROWS, Glance
from gateway.model import Scan, TagSet, TagSpec


def glance(devices: int = 1, tags: int = 3) -> Glance:
    board = Board()
    board.set("halts", {"filler:weight": {"state": "confirmed"}})
    board.set("alarms", {f"a{number}": {"n": number} for number in range(3 * ROWS)})
    latest = {}
    for number in range(devices):
        tagset = TagSet(f"d{number}", tuple(TagSpec(f"r{each}", "g") for each in range(tags)))
        latest[f"d{number}"] = Scan(tagset, 1, 5, 5, tuple(range(tags)), {})
    return Glance(board, lambda: {"id": "g1"}, latest)


async def test_text_and_document_say_the_same() -> None:
    """Encoded in pieces or built whole."""
    seen = glance(devices=3, tags=ROWS)
    document = await seen.document()
    assert json.loads(await seen.text()) == document
    assert len(document["latest"]) == 3 * ROWS
    assert len(document["alarms"]) == 3 * ROWS
    assert document["latest"]["d2/r7"] == {"value": 7, "unit": "g", "time": "5"}
    assert document["gateway"] == {"id": "g1"}


async def test_only_what_is_asked_for() -> None:
    """A part, or several; one that has nothing yet is null."""
    seen = glance()
    assert json.loads(await seen.text(["halts"])) == {"halts": {"filler:weight": {"state": "confirmed"}}}
    assert await seen.document(["batch", "halts"]) == {
        "batch": None,
        "halts": {"filler:weight": {"state": "confirmed"}},
    }


async def test_a_part_there_is_not_is_refused_by_name() -> None:
    """With the names of those there are."""
    with pytest.raises(Refused, match=r"no part 'halt'; there are alarms.*halts.*latest"):
        await glance().text(["halt"])


async def test_others_have_their_turn_while_it_is_drawn() -> None:
    """Of 10,000 values never more than a hundred are drawn in one go."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    await glance(devices=100, tags=100).text(["latest"])
    beside.cancel()
    assert turns >= 100
