"""What a rule set said of the data: every finding as a line of JSON, episodes, and a summary for each rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.backtest.terms import stamp
from gateway.model import Json, Severity
from gateway.verdicts import CheckChange, Finding, Noted, Suspicion, Verdict

WORDS: Final = {Severity.WARNING: "warned", Severity.ALARM: "alarmed", Severity.HALT: "halted"}


class Episode(msgspec.Struct):
    """From the moment a rule left normal to the moment it was back; one moment for a single judgement."""

    rule: str
    subject: str
    since_ns: int
    until_ns: int | None
    """None: it stood at the end of the data."""
    raised: dict[Severity, int]
    """Severity -> when it was first reached."""
    text: str
    """What was said at the worst."""
    halts: tuple[str, ...] = ()

    @property
    def worst(self) -> Severity:
        return max(self.raised)


class Summary(msgspec.Struct):
    """One rule."""

    rule: str
    warned: int = 0
    alarmed: int = 0
    halted: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    """When it last left normal, or got worse."""
    longest_ns: int = 0
    total_ns: int = 0
    """How long it was not normal."""
    halts: tuple[str, ...] = ()
    """Devices it would have halted."""

    @property
    def silent(self) -> bool:
        return self.first_ns is None


class Story:
    """Takes findings in the order of time."""

    def __init__(self, rules: Mapping[str, object]) -> None:
        self.episodes: list[Episode] = []
        self.summaries: dict[str, Summary] = {name: Summary(name) for name in rules}
        self.verdicts = 0
        self._open: dict[str, Episode] = {}

    def take(self, time_ns: int, finding: Finding) -> None:
        if not isinstance(finding, Verdict):
            return
        self.verdicts += 1
        episode = self._open.get(finding.rule)
        if finding.severity is Severity.NORMAL:
            if episode is not None:
                self._close(episode, time_ns)
            return
        if finding.fleeting or episode is None:
            if episode is not None:  # what stood is taken over by what was judged anew
                self._close(episode, time_ns)
            episode = Episode(finding.rule, finding.subject, time_ns, None, {}, finding.text)
            self.episodes.append(episode)
            self._open[finding.rule] = episode
        self._raise(episode, finding, time_ns)
        if finding.fleeting:
            self._close(episode, time_ns)

    def _raise(self, episode: Episode, verdict: Verdict, time_ns: int) -> None:
        if episode.raised and verdict.severity <= episode.worst:
            return
        episode.raised[verdict.severity] = time_ns
        episode.text, episode.halts = verdict.text, verdict.halts or episode.halts
        summary = self.summaries.setdefault(verdict.rule, Summary(verdict.rule))
        word = WORDS[verdict.severity]
        setattr(summary, word, getattr(summary, word) + 1)
        summary.first_ns = time_ns if summary.first_ns is None else summary.first_ns
        summary.last_ns = time_ns
        summary.halts = tuple(dict.fromkeys((*summary.halts, *verdict.halts)))

    def _close(self, episode: Episode, time_ns: int) -> None:
        episode.until_ns = time_ns
        self._open.pop(episode.rule, None)
        self._count(episode, time_ns)

    def _count(self, episode: Episode, until_ns: int) -> None:
        summary = self.summaries[episode.rule]
        lasted_ns = until_ns - episode.since_ns
        summary.longest_ns = max(summary.longest_ns, lasted_ns)
        summary.total_ns += lasted_ns

    def end(self, time_ns: int) -> None:
        """The data ended: what stands lasted until now, at least."""
        for episode in self._open.values():
            self._count(episode, time_ns)
        self._open.clear()


def line(time_ns: int, finding: Finding) -> dict[str, Json]:
    """One finding as JSON: numbers as they were compared, times as text and as nanoseconds in text."""
    head: dict[str, Json] = {"time": stamp(time_ns), "time_ns": str(time_ns)}
    if isinstance(finding, Verdict):
        return {
            **head,
            "kind": "verdict",
            "rule": finding.rule,
            "severity": finding.severity.name.lower(),
            "subject": finding.subject,
            "text": finding.text,
            "value": finding.value,
            "limit": finding.limit,
            "unit": finding.unit,
            "priority": finding.priority.value,
            "halts": finding.halts,
            "fleeting": finding.fleeting,
        }
    if isinstance(finding, CheckChange):
        check = finding.check
        facts = {"rule": check.rule, "check": check.id, "what": finding.what, "why": check.why, "state": check.state}
        return {**head, "kind": "check", **facts}
    if isinstance(finding, Suspicion):
        return {**head, "kind": "suspicion", "rule": finding.rule, "trays": list(finding.trays), "text": finding.text}
    if isinstance(finding, Noted):
        return {**head, "kind": "noted", "rule": finding.rule, "what": finding.kind, "body": dict(finding.body)}
    return {
        **head,
        "kind": "weighing",
        "rule": finding.rule,
        "value": finding.sample.value,
        "unit": finding.sample.unit,
    }
