"""Links of devices at the line: lost and back are records and an alarm; one that flaps is one episode.

A loose plug makes and breaks all day.  The first losses are told one by one; from the third within ten minutes on, the
alarm stands until the link stays, what it explains stays suppressed, and each minute one record holds every turn with
its times: nothing is left out, and nothing buries the rest of the record.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from gateway.journal import Journal
from gateway.line.alarm_book import LINK
from gateway.line.alarms import Alarms
from gateway.line.suppression import Suppression
from gateway.model import Json
from gateway.world import World

log = structlog.get_logger()

LOSSES: Final = 3
WITHIN_S: Final = 600.0
"""So many losses (`gateway.alarms.flapping_from`) within so long: the link flaps."""
STEADY_S: Final = 300.0
"""It flaps no longer once it has stayed for so long."""
TELL_S: Final = 60.0
MOST_TURNS: Final = 500
"""In one record: some 20 kB.  A link that turns faster is told sooner."""
MOST_REASONS: Final = 10


class _Episode:
    """A link that flaps.  Times of turns are wall clock, Unix ns; all others the loop's, in seconds."""

    def __init__(self, lost_ns: int, now_s: float, identity: Mapping[str, str]) -> None:
        self.losses = 0
        """Since it began to flap, that one included."""
        self.turns: list[tuple[int, int | None]] = [(lost_ns, None)]
        """Lost and back; None: not back."""
        self.untold = 0
        """Changes of `turns` since the last record."""
        self.reasons: dict[str, int] = {}
        self.told_s = now_s
        self.back_s: float | None = None
        self.identity = identity

    def lost(self, time_ns: int, reason: str) -> None:
        self.turns.append((time_ns, None))
        self.untold, self.back_s = self.untold + 1, None
        self.count(reason)

    def count(self, reason: str) -> None:
        if reason not in self.reasons and len(self.reasons) >= MOST_REASONS:
            reason = "others"
        self.losses += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def back(self, time_ns: int, now_s: float) -> None:
        if self.turns and self.turns[-1][1] is None:
            self.turns[-1] = (self.turns[-1][0], time_ns)
            self.untold, self.back_s = self.untold + 1, now_s

    def steady(self, now_s: float) -> bool:
        return self.back_s is not None and now_s - self.back_s >= STEADY_S

    def due(self, now_s: float) -> bool:
        return self.untold > 0 and (now_s - self.told_s >= TELL_S or len(self.turns) >= MOST_TURNS)

    def told(self, now_s: float) -> dict[str, Json]:
        """The body of the record of what happened since the last one; a loss that is not over begins the next."""
        turns, reasons = self.turns, self.reasons
        self.turns = [turn for turn in turns[-1:] if turn[1] is None]
        self.reasons, self.told_s, self.untold = {}, now_s, 0
        pairs = [[str(lost), None if back is None else str(back)] for lost, back in turns]
        return {"losses": self.losses, "turns": pairs, "reasons": {key: str(n) for key, n in reasons.items()}}


class Links:
    """Hears of each turn from the stations; owner of the alarms `link:DEVICE`."""

    def __init__(
        self,
        alarms: Alarms,
        suppression: Suppression,
        journal: Journal,
        world: World,
        batch: Callable[[], str | None],
    ) -> None:
        self.identities: dict[str, Mapping[str, str]] = {}
        """What each device said of itself when it was last reached."""
        self._alarms, self._suppression, self._journal = alarms, suppression, journal
        self._world, self._batch = world, batch
        self.losses = LOSSES
        """So many of them within `WITHIN_S`, and a link flaps."""
        self._lost: dict[str, deque[float]] = {}
        """Device -> when it was last lost, within the time that counts."""
        self._flapping: dict[str, _Episode] = {}

    def connected(self, device: str, identity: Mapping[str, str]) -> None:
        self.identities[device] = identity
        episode = self._flapping.get(device)
        if episode is None:
            self._is_back(device)
        else:
            episode.back(self._world.time_ns(), _now_s())
            if identity != episode.identity:  # another unit: which one measured what is not a matter of minutes
                episode.identity = identity
                self._tell(device, episode)
        self._show(device, up=True)

    def lost(self, device: str, reason: str) -> None:
        episode = self._flapping.get(device)
        if episode is None:
            self._is_lost(device, reason)
        else:
            episode.lost(self._world.time_ns(), reason)
        self._show(device, up=False, reason=reason)

    def tick(self) -> None:
        """A moment went by: what flapped is told each minute, and is over once the link has stayed."""
        now_s = _now_s()
        for device, episode in list(self._flapping.items()):
            if episode.steady(now_s):
                self._end(device, episode)
            elif episode.due(now_s):
                self._tell(device, episode)

    # -- turn by turn

    def _is_back(self, device: str) -> None:
        identity = dict(self.identities[device])
        self._note("device.connected", device, f"{device} is connected", {"identity": identity})
        self._suppression.link(device, up=True)
        self._alarms.stand(LINK + device, "", subject=device, priority=self._suppression.priority(device))
        self._alarms.review()

    def _is_lost(self, device: str, reason: str) -> None:
        text = f"{device} was lost: {reason}"
        self._note("device.lost", device, text, {"reason": reason})
        if self._too_often(device):
            text = f"{device} comes and goes, last: {reason}. The alarm is over once the link stays for 5 min"
            self._begin(device, reason)
        self._suppression.link(device, up=False)
        self._alarms.stand(LINK + device, text, subject=device, priority=self._suppression.priority(device))
        self._alarms.review()

    def _too_often(self, device: str) -> bool:
        now_s = _now_s()
        losses = self._lost.setdefault(device, deque(maxlen=self.losses))
        losses.append(now_s)
        return len(losses) == self.losses and now_s - losses[0] <= WITHIN_S

    # -- an episode

    def _begin(self, device: str, reason: str) -> None:
        now_s = _now_s()
        episode = _Episode(self._world.time_ns(), now_s, self.identities.get(device, {}))
        episode.count(reason)
        self._flapping[device] = episode
        log.warning("link flaps", device=device, next="its turns are recorded together, each minute")

    def _end(self, device: str, episode: _Episode) -> None:
        if episode.untold:
            self._tell(device, episode)
        del self._flapping[device], self._lost[device]
        log.info("link stays", device=device, losses=episode.losses)
        self._is_back(device)

    def _tell(self, device: str, episode: _Episode) -> None:
        body = episode.told(_now_s())
        text = f"{device} comes and goes: lost {episode.losses} times since it began"
        self._note("device.flapping", device, text, {**body, "identity": dict(episode.identity)})

    # -- both

    def _note(self, kind: str, device: str, text: str, more: Mapping[str, Json]) -> None:
        self._journal.note(kind, {"device": device, "text": text, **more}, batch=self._batch())

    def _show(self, device: str, *, up: bool, **more: Json) -> None:
        if up:
            more = {"identity": dict(self.identities[device])}
        shown = {"connected": up, "since": str(self._world.time_ns()), **more}
        if device in self._flapping:
            shown["flapping"] = self._flapping[device].losses
        self._journal.board.set(f"devices/{device}", shown)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
