"""A sink's life, on a virtual clock: what comes first, what is settled, and what happens when it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from gateway.errors import Rejected, SinkError
from gateway.forwarder import BACKOFF_CAP_S, LIVE_LIMIT, Forwarder
from gateway.forwarder_lanes import RESEND_S
from gateway.model import Lane, Record, Scan, Watermark
from gateway.world import World
from tests.sink_fakes import Desk, FakeEvidence, FakeSinkConfig, FakeTelemetry, Outside, ledger, make_ports, scan

pytestmark = pytest.mark.looptime


class Bench:
    """A forwarder with everything around it faked."""

    def __init__(self, *, acks: bool = False, gather: float = 0.0, kinds: Sequence[str] = ()) -> None:
        self.config = FakeSinkConfig(acks=acks, gather=gather)
        self.outside: Outside = self.config.outside
        self.evidence = FakeEvidence(ledger(kinds))
        self.telemetry = FakeTelemetry()
        self.desk = Desk()
        self.forwarder = Forwarder(
            "mes", self.config, self.evidence, self.telemetry, make_ports(desk=self.desk), World(seed=7)
        )
        self.late: list[int] = []
        self.rejections: list[tuple[int, str]] = []
        self.turns: list[bool] = []
        self.forwarder.on_late_ack = lambda _, waiting: self.late.append(waiting)
        self.forwarder.on_rejected = lambda _, items, reason: self.rejections.append((items, reason))
        self.forwarder.on_turn = lambda _, up, __: self.turns.append(up)

    def live(self, *seqs: int) -> None:
        """As Line does it: into the store, and offered."""
        for seq in seqs:
            self.telemetry.put(scan(seq))
            self.forwarder.offer(scan(seq))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.forwarder.run())
        await asyncio.sleep(0.01)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_alarms_first() -> None:
    """Alarms and halts overtake evidence, evidence overtakes scans, and each lane keeps its order."""
    bench = Bench(kinds=["batch.started", "check.due", "alarm.raised", "check.judged", "halt.requested"])
    bench.live(1)
    async with bench.running():
        assert bench.outside.indexes == [2, 4, 0, 1, 3]
        assert isinstance(bench.outside.got[-1], Scan)


async def test_handed_cursor_moves() -> None:
    """Without acknowledgements, what was handed over is remembered, so that a restart begins behind it."""
    bench = Bench(kinds=["batch.started", "alarm.raised"])
    async with bench.running():
        pass

    assert bench.evidence.cursors["mes"].handed == {Lane.ALARMS: 1, Lane.EVIDENCE: 1}
    again = Forwarder("mes", bench.config, bench.evidence, bench.telemetry, make_ports(), World(seed=1))
    task = asyncio.create_task(again.run())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert bench.outside.indexes == [1, 0]


async def test_news_wakes_it() -> None:
    """A record committed while the forwarder waits goes out at once."""
    bench = Bench()
    async with bench.running():
        bench.evidence.add("halt.requested")
        await asyncio.sleep(0.001)

        assert bench.outside.indexes == [0]


async def test_live_at_once_and_confirmed() -> None:
    """A live scan goes out at once and is confirmed in the store only when the sink has it."""
    bench = Bench()
    async with bench.running():
        bench.live(1, 2, 3)
        assert bench.telemetry.pending("mes") == [(1001, 1003)]
        await asyncio.sleep(0.01)

        assert bench.outside.seqs == [1, 2, 3]
        assert bench.telemetry.pending("mes") == []


async def test_outage_leaves_no_hole() -> None:
    """What came while the sink was away follows from the store, each scan exactly once, live ones first."""
    bench = Bench()
    async with bench.running():
        bench.live(1, 2)
        await asyncio.sleep(0.01)
        bench.outside.cut()
        await asyncio.sleep(0.01)
        bench.live(*range(3, 400))
        bench.outside.away = False
        bench.outside.slow_s = 1.0
        await asyncio.sleep(1.5)
        bench.live(400)
        await asyncio.sleep(30)

        assert sorted(bench.outside.seqs) == list(range(1, 401))
        assert bench.telemetry.pending("mes") == []
        assert bench.outside.seqs.index(400) < 250


async def test_in_flight_scan_is_kept() -> None:
    """A scan in flight when the link broke is sent again from the store: nothing is known of it."""
    bench = Bench()

    def broken(_: Sequence[Record | Scan]) -> None:
        bench.outside.fail = lambda _: None
        raise SinkError("cut in flight")

    async with bench.running():
        bench.outside.fail = broken
        bench.live(1, 2)
        await asyncio.sleep(3)

        assert bench.outside.seqs == [1, 2]


async def test_full_buffer_goes_to_the_store() -> None:
    """A sink too slow for the live rate gets the rest as history; the buffer stays bounded and nothing is lost."""
    bench = Bench()
    total = LIVE_LIMIT + 500
    async with bench.running():
        bench.outside.slow_s = 0.5
        bench.live(*range(1, total + 1))
        assert bench.forwarder.status().live == LIVE_LIMIT
        await asyncio.sleep(60)

        assert sorted(bench.outside.seqs) == list(range(1, total + 1))
        assert bench.telemetry.pending("mes") == []


async def test_numbers_never_stored_are_no_holes() -> None:
    """Sequence numbers that were never kept as telemetry melt into their neighbours' confirmation."""
    bench = Bench()
    async with bench.running():
        bench.live(1, 5, 9)
        await asyncio.sleep(0.01)

        assert list(bench.telemetry.confirmed["mes"]) == [(1001, 1009)]


async def test_alarm_overtakes_history() -> None:
    """An alarm raised while a long history drains is delivered before the next chunk of it."""
    bench = Bench()
    for seq in range(1, 5001):
        bench.telemetry.put(scan(seq))
    bench.forwarder.offer(scan(5001))
    bench.telemetry.put(scan(5001))
    bench.outside.slow_s = 0.01
    async with bench.running():
        await asyncio.sleep(0.05)
        bench.evidence.add("halt.requested")
        await asyncio.sleep(0.05)

        assert bench.outside.indexes == [0]
        assert len(bench.outside.seqs) < 5000


async def test_gathering() -> None:
    """A sink that gathers gets the scans of half a second in one delivery."""
    bench = Bench(gather=0.5)
    async with bench.running():
        for seq in range(1, 11):
            bench.live(seq)
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.6)

        assert bench.outside.seqs == list(range(1, 11))
        assert len(bench.outside.batches) <= 2


async def test_never_gives_up() -> None:
    """An absent sink is tried again for ever, at most some ten seconds apart, and told of once."""
    bench = Bench()
    bench.outside.away = True
    async with bench.running():
        await asyncio.sleep(3600)
        tries = bench.outside.connects
        await asyncio.sleep(BACKOFF_CAP_S + 0.1)

        assert 3600 / BACKOFF_CAP_S <= tries <= 3600 / (BACKOFF_CAP_S / 2) + 10
        assert bench.outside.connects > tries
        assert bench.turns == [False]

        bench.outside.away = False
        await asyncio.sleep(BACKOFF_CAP_S + 0.1)

        assert bench.turns == [False, True]


async def test_silent_sink_is_dropped() -> None:
    """A delivery without an answer ends with the budget, and all of it is sent again."""
    bench = Bench(kinds=["check.judged"])
    bench.outside.slow_s = 3600
    async with bench.running():
        bench.outside.slow_s = 0
        await asyncio.sleep(7)

        assert bench.outside.connects == 2
        assert bench.outside.indexes == [0]


async def test_rejected_is_settled_and_told_once() -> None:
    """What a sink will never take is counted, reported once for its reason, and not tried again."""
    bench = Bench(kinds=["check.judged", "check.judged"])

    def refuse(batch: Sequence[Record | Scan]) -> None:
        raise Rejected(range(len(batch)), "not authorised: topic x")

    bench.outside.fail = refuse
    async with bench.running():
        bench.evidence.add("check.judged")
        await asyncio.sleep(30)

        assert bench.rejections == [(2, "not authorised: topic x")]
        assert bench.forwarder.status().rejected == 3
        assert bench.forwarder.status().unhanded == 0


async def test_only_the_watermark_retires() -> None:
    """With acknowledgements, every new connection gets all evidence from the watermark on, whatever was handed over."""
    bench = Bench(acks=True, kinds=["check.judged"] * 5)
    async with bench.running():
        bench.outside.acknowledge(1)
        bench.outside.cut()
        bench.outside.got.clear()
        bench.outside.away = False
        await asyncio.sleep(2)

        assert bench.outside.indexes == [2, 3, 4]
        assert bench.desk.marks == [Watermark("ledger-1", 1)]


async def test_consumer_asks_again() -> None:
    """An acknowledgement that moves nothing, and none that does soon after, gets all that is outstanding again."""
    bench = Bench(acks=True, kinds=["check.judged"] * 3)
    async with bench.running():
        bench.outside.acknowledge(0)
        bench.outside.got.clear()
        bench.outside.acknowledge(0)
        await asyncio.sleep(RESEND_S - 0.1)
        assert bench.outside.indexes == []
        await asyncio.sleep(1.2)

        assert bench.outside.indexes == [1, 2]


async def test_consumer_back_with_less() -> None:
    """A consumer that was restored from an older copy says a lower watermark and gets the rest at once."""
    bench = Bench(acks=True, kinds=["check.judged"] * 3)
    async with bench.running():
        bench.outside.acknowledge(2)
        bench.outside.got.clear()
        bench.outside.acknowledge(0)
        await asyncio.sleep(0.01)

        assert bench.outside.indexes == [1, 2]


async def test_acknowledgement_under_way() -> None:
    """An acknowledgement crossing a hand-over on the way is no reason to send again, if the next one moves."""
    bench = Bench(acks=True, kinds=["check.judged"] * 3)
    async with bench.running():
        bench.outside.acknowledge(0)
        bench.outside.acknowledge(0)
        await asyncio.sleep(1)
        bench.outside.acknowledge(1)
        await asyncio.sleep(10)

        assert bench.outside.indexes == [0, 1, 2]


async def test_other_ledger_is_ignored() -> None:
    """A watermark of another ledger (before a store was quarantined) says nothing of this one."""
    bench = Bench(acks=True, kinds=["check.judged"])
    async with bench.running():
        bench.outside.acknowledge(0, ledger_id="older")

        assert bench.forwarder.status().unacknowledged == 1


async def test_late_acknowledgement_alarm() -> None:
    """A consumer that is connected and silent is an alarm, once, and cleared when it speaks."""
    bench = Bench(acks=True, kinds=["check.judged"] * 4)
    async with bench.running():
        await asyncio.sleep(bench.config.patience_s - 1)
        assert bench.late == []
        await asyncio.sleep(100)
        assert bench.late == [4]
        bench.outside.acknowledge(3)
        await asyncio.sleep(100)

        assert bench.late == [4, 0]


async def test_watermark_beyond_the_ledger() -> None:
    """A consumer that has more than this ledger holds is believed only as far as the ledger goes."""
    bench = Bench(acks=True, kinds=["check.judged"])
    async with bench.running():
        bench.outside.acknowledge(2**70)
        bench.evidence.add("check.judged")
        await asyncio.sleep(0.01)

        assert bench.outside.indexes == [0, 1]
        assert bench.desk.marks == [Watermark("ledger-1", 0)]


async def test_what_the_ledger_lost_is_told_once() -> None:
    """The alarm of it is a record that goes out, too, and a consumer may acknowledge each: it would never end."""
    bench, told = Bench(acks=True, kinds=["check.judged"]), []

    def ahead(_: str, index: int) -> None:
        told.append(index)
        bench.evidence.add("alarm.raised")

    bench.forwarder.on_ahead = ahead
    async with bench.running():
        for _ in range(5):
            bench.outside.acknowledge(100)
            await asyncio.sleep(0.01)
        bench.outside.acknowledge(101)

        assert told == [100, 101]


async def test_a_watermark_below_nothing_is_none() -> None:
    """No consumer has less than no record: what waits is what the ledger holds."""
    bench = Bench(acks=True, kinds=["check.judged"] * 2)
    async with bench.running():
        bench.outside.acknowledge(-7)
        await asyncio.sleep(0.01)

        assert bench.forwarder.status().unacknowledged == 2
