"""What the desk does for commands: people, status, names of folders."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Awaitable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from line_kit import OPERATOR, Kit

from gateway.desk import folder_of
from gateway.errors import Refused
from gateway.model import Principal

pytestmark = pytest.mark.looptime(start=1000)

FIRST = {"name": "anna", "full_name": "Anna Admin", "roles": ["admin"], "password": "correct horse"}
ADMIN = Principal("anna", frozenset({"admin"}), "http", "Anna Admin")
NOBODY = Principal("", frozenset(), "http")


async def refusal(awaitable: Awaitable[object]) -> str:
    """Its code."""
    with pytest.raises(Refused) as refused:
        await awaitable
    return refused.value.code


async def test_the_first_person_comes_by_the_token(tmp_path: Path) -> None:
    """Once; recorded without password or token; the second one is added by an admin who signs for it."""
    async with Kit(tmp_path) as kit:
        token = kit.people.first_run_token()
        with pytest.raises(Refused) as refused:
            await kit.ask("people.first", NOBODY, token="guess", **FIRST)
        assert refused.value.code == "bad_token"
        await kit.ask("people.first", NOBODY, token=token, **FIRST)
        with pytest.raises(Refused):
            await kit.ask("people.first", NOBODY, token=token, **{**FIRST, "name": "eve"})

        admin = await kit.desk.authenticate("anna", "correct horse")
        await kit.ask("people.add", admin, **{**FIRST, "name": "tom", "roles": ["technician", "operator"]})
        records = kit.records("people.changed")
        assert [(each["by"], each["body"]["person"]) for each in records] == [("first run", "anna"), ("anna", "tom")]
        assert records[1]["body"]["roles"] == ["operator", "technician"]
        assert "correct horse" not in json.dumps(kit.records())
        assert token not in json.dumps(kit.records())


async def test_an_admin_changes_a_person_for_a_reason(tmp_path: Path) -> None:
    """Recorded with what it was and why, without a password; nothing else of them changes."""
    async with Kit(tmp_path) as kit:
        await kit.people.add("anna", "Anna Admin", ["admin"], "correct horse")
        await kit.people.add("tom", "Tom T", ["technician"], "correct horse", "2020-01-01")
        ended: list[str] = []
        kit.desk.staff.changed.append(ended.append)
        renewed = {"name": "tom", "qualified_until": "2099-12-31"}
        assert await refusal(kit.ask("people.change", ADMIN, **renewed)) == "reason_missing"
        assert await refusal(kit.ask("people.change", ADMIN, **renewed, reason="17")) == "reason_missing"
        await kit.ask("people.change", ADMIN, **renewed, reason="retrained, T-17")
        assert await refusal(kit.ask("people.change", ADMIN, **renewed, reason="again")) == "nothing_new"
        await kit.ask("people.change", ADMIN, name="tom", password="battery staple", disabled=True, reason="he left")
        assert (
            await refusal(kit.ask("people.change", ADMIN, name="eve", disabled=True, reason="who?")) == "unknown_person"
        )
        assert await refusal(kit.ask("people.change", ADMIN, name="anna", disabled=True, reason="I go")) == "last_admin"
        assert await refusal(kit.desk.authenticate("tom", "battery staple")) == "bad_login"

        first, second = kit.records("people.changed")
        assert (first["by"], first["body"]) == (
            "anna",
            {"person": "tom", "full_name": "Tom T", "roles": ["technician"], "qualified_until": "2099-12-31",
             "disabled": False, "before": {"qualified_until": "2020-01-01"}, "reason": "retrained, T-17",
             "password": False},
        )  # fmt: skip
        assert (second["body"]["before"], second["body"]["password"]) == ({"disabled": False}, True)
        assert "battery staple" not in json.dumps(kit.records())
        assert ended == ["tom", "tom"]
        listed = await kit.ask("people.list", NOBODY)
        assert [(each["person"], each["disabled"]) for each in listed] == [("anna", False), ("tom", True)]


async def test_the_gateways_own_day_ends_a_qualification(tmp_path: Path) -> None:
    """Its list of people and its refusals go by one clock: the last day counts, the day after does not."""
    async with Kit(tmp_path) as kit:
        today = dt.datetime.fromtimestamp(kit.world.time_ns() / 1e9, dt.UTC).date()
        await kit.people.add("ben", "Ben", ["supervisor"], "correct horse", str(today))
        assert [each["over"] for each in await kit.ask("people.list", NOBODY)] == [False]
        kit.world.offset_ns += 86400 * 10**9
        assert [each["over"] for each in await kit.ask("people.list", NOBODY)] == [True]
        with pytest.raises(Refused, match="ended on"):
            kit.people.still_qualified("ben")


async def test_everybody_changes_their_own_password(tmp_path: Path) -> None:
    """Also who may not sign any more; the old one is over at once, and the record does not say which."""
    async with Kit(tmp_path) as kit:
        await kit.people.add("olga", "Olga Operator", ["operator"], "correct horse", "2020-01-01")
        await kit.ask("people.password", OPERATOR, password="battery staple")
        assert await refusal(kit.desk.authenticate("olga", "correct horse")) == "bad_login"
        assert (await kit.desk.authenticate("olga", "battery staple")).name == "olga"
        (record,) = kit.records("people.changed")
        assert (record["by"], record["body"]["password"]) == ("olga", True)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("halt.release", {"halt": "filler:hot", "version": 1, "reason": "cooled down"}),
        ("batch.abort", {"batch": "B1", "reason": "no oil"}),
        ("alarm.remove", {"alarm": "hot", "reason": "sensor", "occurrence": 1}),
        ("gate.override", {"batch": "B1", "gate": "clock", "reason": "seen"}),
    ],
)
async def test_nothing_is_signed_after_the_qualification(tmp_path: Path, command: str, said: dict[str, object]) -> None:
    """Whatever asks for a signature asks whether who gives it may still sign."""
    async with Kit(tmp_path) as kit:
        await kit.people.add("vera", "Vera", ["supervisor", "maintenance"], "correct horse", "2020-01-01")
        vera = Principal("vera", frozenset({"supervisor", "maintenance"}), "http", "Vera")
        assert await refusal(kit.ask(command, vera, **said)) == "not_qualified"


async def test_a_person_who_proved_it_has_name_roles_and_full_name(tmp_path: Path) -> None:
    """Signatures show the full name."""
    async with Kit(tmp_path) as kit:
        await kit.people.add("olga", "Olga Operator", ["operator"], "correct horse")
        who = await kit.desk.authenticate("olga", "correct horse")

        assert who == Principal("olga", frozenset({"operator"}), "http", "Olga Operator")
        with pytest.raises(Refused):
            await kit.desk.authenticate("olga", "wrong horse")


async def test_who_is_not_qualified_any_more_does_not_sign(tmp_path: Path) -> None:
    """The qualification ran out: looked at with each signature, not at login."""
    async with Kit(tmp_path) as kit:
        await kit.people.add("olga", "Olga Operator", ["operator"], "correct horse", "2020-01-01")
        with pytest.raises(Refused) as refused:
            await kit.ask("batch.sign", OPERATOR, batch="B1", step="clearance")
        assert refused.value.code == "not_qualified"


async def test_the_line_at_a_glance(tmp_path: Path) -> None:
    """Newest values with unit, time and what is wrong with them; decimals as text; what a halt is."""
    async with Kit(tmp_path) as kit:
        kit.oven["temperature"] = None
        kit.board.set("gateway", {"odd": 1})
        await asyncio.sleep(0.5)
        status = await kit.desk.glance.document()

        assert status["latest"]["oven/temperature"]["value"] is None
        assert status["latest"]["oven/temperature"]["fault"] == "bad: no value"
        assert status["latest"]["balance/net"]["value"] == "0.000"
        assert status["latest"]["balance/net"]["unit"] == "g"
        assert "not a safety function" in status["gateway"]["note"]
        assert json.loads(await kit.desk.glance.text()) == json.loads(json.dumps(status))


async def test_capability_of_a_running_batch(tmp_path: Path) -> None:
    """Asked while it runs: what was judged so far, and why there are no figures yet; an unknown batch is refused."""
    async with Kit(tmp_path) as kit:
        await kit.begin()
        kit.make(10)
        await asyncio.sleep(0.5)
        await kit.ask("check.take", rule="weight")
        await kit.weigh("1.010")
        await asyncio.sleep(0.3)
        found = await kit.ask("batch.capability", NOBODY, batch="B1")

        (row,) = found["variables"]
        assert (row["characteristic"], row["values"], row["mean"], row["cp"]) == ("weight", "1", "1.0100", None)
        assert row["no_cp"] == "too few subgroups: 1 of 20"
        assert "each" not in row
        with pytest.raises(Refused) as refused:
            await kit.ask("batch.capability", NOBODY, batch="B9")
        assert refused.value.code == "no_such_batch"


def test_a_folder_is_called_as_its_batch() -> None:
    """Where the number is plain; else it is escaped."""
    assert [folder_of(name) for name in ("B-2026-001", "B 7", "a/b", "..", ".", "../../etc", "ä")] == [
        "B-2026-001",
        "B 7",
        "a%2Fb",
        "%2E.",
        "%2E",
        "%2E.%2F..%2Fetc",
        "%C3%A4",
    ]


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=64))
def test_no_batch_number_leads_out_of_its_folder(number: str) -> None:
    """One name, short enough for any file system, below the folder of batches."""
    path = Path("/state/batches") / folder_of(number)

    assert path.resolve().parent == Path("/state/batches").resolve()
    assert path.name not in (".", "..", "")
    assert len(path.name.encode()) <= 255
