"""What a lost link explains: rules that are blind by it and have nothing else to show.  Told together, under its alarm.

A device with a thousand rules is one trouble: one alarm, `link:DEVICE`, that says how many are under it, and of which
rules; no alarm, row or record of each.  A rule whose alarm stood before, or that a person put aside, keeps its own.

Rules that hold one machine because of one link hold it once: the first of them by its name, the others join its latch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from gateway.model import Json, Severity
from gateway.verdicts import Verdict

NAMES: Final = 10
"""Named in the picture of the alarm; the record names every rule, where its pattern does not."""
TELL_S: Final = 1.0
"""Rules are not all of the same patience: what comes later is told at most so often."""


class RulesPort(Protocol):
    """What is needed of the rules."""

    def written(self, rule: str) -> str:
        """The name as written, of a rule that a pattern made."""
        ...

    def made_for(self, written: str, device: str) -> int:
        """How many rules that name made for this device."""
        ...


class Group:
    """What one lost link explains.  `told_s`: the loop's time."""

    def __init__(self, link: str) -> None:
        self.device = link.partition(":")[2]
        self.blind: dict[str, Verdict] = {}
        """Now."""
        self.seen: dict[str, None] = {}
        """Since the link was lost."""
        self.turns = 0
        """How often one of them came or went after it had been told."""
        self.told, self.told_s = 0, float("-inf")
        self.picture: dict[str, Json] | None = None
        """For those who look at the link's alarm; None before anything was told."""
        self.holding: dict[str, str] = {}
        """Machine -> the rule whose latch holds it."""
        self.joined: dict[str, dict[str, None]] = {}
        """Machine -> the rules that are content with that latch."""

    def add(self, verdict: Verdict) -> None:
        if verdict.rule not in self.blind and verdict.rule in self.seen:
            self.turns += 1
        self.blind[verdict.rule] = verdict
        self.seen[verdict.rule] = None

    def forget(self, rule: str) -> None:
        self.turns += self.blind.pop(rule, None) is not None

    def leave(self, rule: str) -> None:
        """It needs no other's latch any more."""
        for rules in self.joined.values():
            rules.pop(rule, None)

    def holds(self) -> dict[str, Json]:
        """Machine -> the latch, and how many rules are content with it."""
        return {
            machine: {"halt": f"{machine}:{self.holding[machine]}", "rules": len(rules)}
            for machine, rules in self.joined.items()
            if rules
        }


class Dependents:
    """By link.  A rule is in one group at most: that of the first of the links that explain it."""

    def __init__(self) -> None:
        self.rules: RulesPort | None = None
        self._groups: dict[str, Group] = {}
        self._of: dict[str, Group] = {}
        """Rule -> where it is."""
        self._growing: set[str] = set()
        """Links of which more is to be told than was."""
        self._joined: dict[str, Group] = {}
        """Those whose every machine is held by other ones' latches, and where."""

    def __contains__(self, rule: object) -> bool:
        return rule in self._of

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    @property
    def growing(self) -> bool:
        """Is there more to be told of any link than was?"""
        return bool(self._growing)

    @property
    def links(self) -> list[str]:
        return list(self._groups)

    def link_of(self, rule: str) -> str:
        return f"link:{self._of[rule].device}"

    # -- rules that go blind, and see again

    def take(self, link: str, verdict: Verdict) -> None:
        """Blind by this link, and nothing to show."""
        group = self._group(link)
        if self._of.get(verdict.rule, group) is not group:
            self._of[verdict.rule].forget(verdict.rule)
        self._of[verdict.rule] = group
        group.add(verdict)
        if len(group.seen) > group.told:
            self._growing.add(link)

    def forget(self, rule: str) -> Verdict | None:
        """It sees again, or has something to show; its last word, if it was here."""
        joined, group = self._joined.pop(rule, None), self._of.pop(rule, None)
        if joined is not None:
            joined.leave(rule)
        if group is None:
            return None
        verdict = group.blind[rule]
        group.forget(rule)
        return verdict

    def end(self, link: str) -> tuple[Group, list[Verdict]]:
        """The link explains nothing any more: what it was, and what is blind all the same."""
        group = self._groups.pop(link)
        self._growing.discard(link)
        left = list(group.blind.values())
        for verdict in left:
            self._of.pop(verdict.rule, None)
            self._joined.pop(verdict.rule, None)
        return group, left

    def verdict(self, rule: str) -> Verdict:
        return self._of[rule].blind[rule]

    def _group(self, link: str) -> Group:
        if link not in self._groups:
            self._groups[link] = Group(link)
        return self._groups[link]

    # -- halts

    def join(self, link: str, verdict: Verdict, latched: Callable[[str], bool]) -> tuple[str, ...]:
        """The machines it has to hold itself: none where others hold all of them because of this link.

        `latched`: does the latch of this id stand?
        """
        group, rule = self._group(link), verdict.rule
        first = {machine: group.holding.get(machine, rule) for machine in verdict.halts}
        mine = [machine for machine, name in first.items() if name == rule or not latched(f"{machine}:{name}")]
        group.holding |= dict.fromkeys(mine, rule)
        if mine:
            return verdict.halts
        for machine in verdict.halts:
            group.joined.setdefault(machine, {})[rule] = None
        self._joined[rule] = group
        return ()

    def has_joined(self, rule: str) -> bool:
        """Does it hold nothing itself, because what it would hold is held?"""
        return rule in self._joined

    def content_with(self, machine: str, rule: str) -> list[str]:
        """The rules that have joined this latch."""
        groups = [group for group in self._groups.values() if group.holding.get(machine) == rule]
        return [name for group in groups for name in group.joined.get(machine, ())]

    # -- telling

    def due(self, now_s: float) -> list[str]:
        """Links of which more is to be told than was."""
        return [link for link in sorted(self._growing) if now_s - self._groups[link].told_s >= TELL_S]

    def tell(self, link: str, now_s: float) -> dict[str, Json]:
        """For the record."""
        group = self._groups[link]
        new = len(group.seen) - group.told
        group.told, group.told_s = len(group.seen), now_s
        self._growing.discard(link)
        summary = self.summary(group)
        group.picture = {"count": summary["count"], "rules": summary["rules"], "names": sorted(group.seen)[:NAMES]}
        return {**summary, "new": new, "over": False}

    def summary(self, group: Group) -> dict[str, Json]:
        """Every rule there was: by its pattern where that made no others for the device, else by name."""
        counts, named = self._counted(group), {}
        for written, count in counts.items():
            made = self.rules.made_for(written, group.device) if self.rules is not None else 0
            if count != made:
                named[written] = sorted(rule for rule in group.seen if self._written(rule) == written)
        body: dict[str, Json] = {"count": len(group.seen), "rules": dict(counts)}
        if named:
            body["named"] = named
        if held := group.holds():
            body["holds"] = held
        return body

    def picture(self, link: str) -> dict[str, Json] | None:
        """As it was last told; None where the link explains nothing."""
        group = self._groups.get(link)
        return None if group is None else group.picture

    def _counted(self, group: Group) -> Counter[str]:
        return Counter(map(self._written, group.seen))

    def _written(self, rule: str) -> str:
        return rule if self.rules is None else self.rules.written(rule)


def is_joining(verdict: Verdict) -> bool:
    """May another rule's latch be enough for it?  Only where it says that it sees nothing."""
    return verdict.blind and not verdict.fleeting and verdict.severity is Severity.HALT
