"""The stand-in MES: stores each ledger record once, proves the chain, acknowledges only what is committed.

    python docs/reference_consumer.py --url mqtt://127.0.0.1:1883 --path acme/denver/filling/line3/cell1 --db mes.db

What a consumer must do: insert by (ledger, index); ignore the same hash again, raise the alarm at another one; check
that the payload has the hash it names and follows its predecessor; after the commit publish how far it has everything
without a gap, retained, on `<path>/ack`; and do so again on each connect and at each gap: then it is all sent again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

GAP_S = 3.0
SCHEMA = """CREATE TABLE IF NOT EXISTS record(
  ledger TEXT, idx INTEGER, kind TEXT, hash TEXT, payload BLOB, PRIMARY KEY(ledger, idx)) WITHOUT ROWID"""


class Consumer:
    """One thread: `run()` until `stop` is set; everything it finds wrong is in `alarms`."""

    def __init__(self, url: str, path: str, db: Path | str, client_id: str = "mes") -> None:
        self.url, self.path = urlsplit(url), path.rstrip("/")
        self.db = sqlite3.connect(db, check_same_thread=False, isolation_level=None)
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute(SCHEMA)
        self.stop, self.duplicates, self.checkpoint = threading.Event(), 0, ""
        self.alarms: list[str] = []
        self.upto: dict[str, int] = {ledger: self._contiguous(ledger) for ledger in self._ledgers()}
        self.gaps: list[tuple[str, int]] = []
        """(ledger, index before it) of each time something missing was asked for again."""
        self._told: dict[str, tuple[int, float]] = {}
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id, protocol=mqtt.MQTTv5)
        self.client.on_connect, self.client.on_message = self._connected, self._received

    def _ledgers(self) -> list[str]:
        return [row[0] for row in self.db.execute("SELECT DISTINCT ledger FROM record")]

    def _contiguous(self, ledger: str, after: int = -1) -> int:
        for (index,) in self.db.execute(
            "SELECT idx FROM record WHERE ledger=? AND idx>? ORDER BY idx", (ledger, after)
        ):
            if index != after + 1:
                break
            after = index
        return after

    def _alarm(self, text: str) -> None:
        self.alarms.append(text)
        print(f"ALARM {text}", flush=True)

    def _connected(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _props: Any) -> None:
        if reason.is_failure:
            self._alarm(f"the broker refused us: {reason}")
            return
        client.subscribe(
            [(f"{self.path}/event/#", 1), (f"{self.path}/checkpoint", 1), (f"{self.path}/state/gateway", 1)]
        )
        self._told.clear()  # say it again: whatever we lost while away is sent again

    def _received(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if message.topic == f"{self.path}/checkpoint":
            self.checkpoint = message.payload.decode()
            return
        if message.topic == f"{self.path}/state/gateway":
            self.upto.setdefault(json.loads(message.payload)["ledger"], -1)  # say -1 of a ledger we have nothing of
            return
        user = dict(getattr(message.properties, "UserProperty", []))
        self.take(bytes(message.payload), user.get("hash", ""))

    def take(self, payload: bytes, said: str) -> None:
        """One record: proven, inserted by id, or an alarm."""
        leaf = hashlib.sha256(b"\0" + payload).hexdigest()
        record = json.loads(payload)
        ledger, index = record["ledger"], record["index"]
        if leaf != said:
            return self._alarm(f"{ledger}:{index} does not have the hash it names")
        if not self.db.in_transaction:
            self.db.execute("BEGIN")
        rows = "SELECT hash FROM record WHERE ledger=? AND idx=?"
        known = self.db.execute(rows, (ledger, index)).fetchone()
        if known is not None:
            self.duplicates += 1
            if known[0] != leaf:
                self._alarm(f"{ledger}:{index} came again with another hash")
            return None
        before = self.db.execute(rows, (ledger, index - 1)).fetchone()
        after = self.db.execute("SELECT payload FROM record WHERE ledger=? AND idx=?", (ledger, index + 1)).fetchone()
        if (before and record["prev"] != before[0]) or (after and json.loads(after[0])["prev"] != leaf):
            self._alarm(f"{ledger}:{index} does not follow its predecessor")
        self.db.execute("INSERT INTO record VALUES(?,?,?,?,?)", (ledger, index, record["kind"], leaf, payload))
        self.upto.setdefault(ledger, -1)
        return None

    def settle(self) -> None:
        """Commit, then say how far we are: after news, after a connect, and once for each gap."""
        if self.db.in_transaction:
            self.db.execute("COMMIT")
        for ledger, before in self.upto.items():
            upto = self.upto[ledger] = self._contiguous(ledger, before)
            newest = self.db.execute("SELECT max(idx) FROM record WHERE ledger=?", (ledger,)).fetchone()[0]
            told, when = self._told.get(ledger, (-2, 0.0))
            stuck = newest is None or newest > upto  # alarms overtake evidence: a gap is one only after a while
            if upto != told or (stuck and time.monotonic() - when > GAP_S):
                self._tell(ledger, upto)
                if upto == told:
                    self.gaps.append((ledger, upto))

    def _tell(self, ledger: str, upto: int) -> None:
        if self.client.is_connected():
            mark = {"ledger_id": ledger, "committed_upto": upto, "root": ""}
            self.client.publish(f"{self.path}/ack", json.dumps(mark), 1, retain=True)
            self._told[ledger] = (upto, time.monotonic())

    def run(self) -> None:
        """Connect, receive, commit and acknowledge five times a second, until stopped."""
        persistent = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        persistent.SessionExpiryInterval = 0xFFFFFFFF
        up = False
        while not self.stop.is_set():
            try:
                if not up:
                    self.client.connect(
                        self.url.hostname or "", self.url.port or 1883, 10, clean_start=False, properties=persistent
                    )
                up = self.client.loop(0.2) == mqtt.MQTT_ERR_SUCCESS
                self.settle()
            except OSError:
                up = False
            if not up:
                self.stop.wait(0.5)
        self.settle()
        self.client.disconnect()


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in MES for Linegate.")
    parser.add_argument("--url", default="mqtt://127.0.0.1:1883")
    parser.add_argument("--path", required=True, help="root of the gateway's topics")
    parser.add_argument("--db", default="mes.db")
    given = parser.parse_args()
    consumer = Consumer(given.url, given.path, given.db)
    try:
        consumer.run()
    except KeyboardInterrupt:
        print(f"committed up to {consumer.upto}, {consumer.duplicates} duplicate(s), {len(consumer.alarms)} alarm(s)")


if __name__ == "__main__":
    main()
