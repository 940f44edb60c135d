"""The examples of rule kinds work as they are printed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from rules_kit import CONTEXT, TAGSETS

from gateway.config.kinds import House
from gateway.rules.base import RuleConfig
from gateway.rules.engine import Engine

EXAMPLES = Path(__file__).parents[2] / "config" / "examples" / "rules"
KINDS = {str(kind.model_fields["kind"].default): kind for kind in House().rules.all()}


def test_every_kind_has_an_example() -> None:
    """One file a kind, named after it."""
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == set(KINDS)


@pytest.mark.parametrize("word", sorted(KINDS))
def test_an_example_builds_and_names_every_key(word: str) -> None:
    """Each rule of the file compiles for the demo line; together they show every key of the kind."""
    document = yaml.safe_load((EXAMPLES / f"{word}.yaml").read_text())
    configs = {name: KINDS[word].model_validate(rule) for name, rule in document["rules"].items()}
    Engine({name: config.build(name, CONTEXT) for name, config in configs.items()}, TAGSETS.values())
    shown = {key for rule in document["rules"].values() for key in rule}
    keys = {field.alias or name for name, field in KINDS[word].model_fields.items()}
    common = {field.alias or name for name, field in RuleConfig.model_fields.items()}
    assert keys - shown <= common
