"""The label as the line's readers see it now: what a person approves, and what the start is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.batch.gates import Field
from gateway.batch.order import facts
from gateway.config.model import Settings, resolve_rule
from gateway.line.batch import Run
from gateway.model import Scan
from gateway.rules.match import MatchConfig, MatchJudge

CONTENT: Final = {
    "batch": "batch.number",
    "UID": "batch.uid",
    "THC of the COA": "batch.thc_percent",
    "warning": "recipe.label.warning_code",
}
"""What a label must say, and how a rule refers to it."""


class Labels:
    """Reads labels by the line's rules of kind `match`: the same fields, the same comparison."""

    def __init__(self, settings: Settings, run: Run, latest: Mapping[str, Scan]) -> None:
        self._settings, self._run, self._latest = settings, run, latest
        self._judges: dict[str, list[tuple[MatchConfig, MatchJudge]]] = {}
        """By batch; only the newest one is kept."""
        said = [str(rule.data) for rule in settings.rules.values() if rule.kind == "match"]
        self.unread = tuple(what for what, word in CONTENT.items() if not any(word in one for one in said))
        """What of a label no rule of this line compares: that is left to people's eyes."""

    def read(self, number: str) -> tuple[Field, ...] | None:
        """Every field of every label as it is now.  None: no rule of this line reads labels."""
        judges = self._of(number)
        if not judges:
            return None
        return tuple(field for config, judge in judges for field in self._proof(config, judge))

    def applicators(self, number: str) -> tuple[str, ...]:
        """The devices that a wrong label holds."""
        return tuple(dict.fromkeys(device for config, _ in self._of(number) for device in config.halt))

    def _of(self, number: str) -> list[tuple[MatchConfig, MatchJudge]]:
        if number not in self._judges:
            self._judges = {number: list(self._made(number))}
        return self._judges[number]

    def _made(self, number: str) -> list[tuple[MatchConfig, MatchJudge]]:
        batch, recipe = self._run.batch(number), self._run.recipe_of(number)
        context, known = self._settings.rule_context(recipe, number), facts(batch.order, recipe)
        found = []
        for rule in self._settings.rules.values():
            config = resolve_rule(rule, self._settings.document, recipe, known)[0] if rule.kind == "match" else None
            if isinstance(config, MatchConfig):
                found.append((config, config.build(rule.name, context)))
        return found

    def _proof(self, config: MatchConfig, judge: MatchJudge) -> list[Field]:
        scan = self._latest.get(judge.tagset.device)
        if scan is None:
            text = f"{judge.tagset.device} was never seen: its label could not be read"
            return [Field(config.on, "", "", ok=False, text=text)]
        return [
            Field(name, read, expected, ok=not wrong, text=wrong) for name, read, expected, wrong in judge.proof(scan)
        ]
