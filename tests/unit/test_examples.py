"""What config/examples/ shows is taken as it stands: who copies a file has a line that checks."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gateway.config.reading import check

CONFIG = Path(__file__).parents[2] / "config"
EXAMPLES = sorted((CONFIG / "examples").glob("*.yaml"))
RULES = sorted((CONFIG / "examples" / "rules").glob("*.yaml"))
TESTER = {
    "driver": "modbus",
    "url": "tcp://192.0.2.40:502",
    "tags": {"torque": {"address": 0, "type": "f32", "unit": "N.m"}},
}
"""The torque tester that an example of a plan asks."""


def errors(path: Path) -> list[str]:
    return [str(problem) for problem in check(path).problems if problem.level == "error"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_whole_file(path: Path) -> None:
    """`linegate check` takes each of them; what it warns of is the ports and files of another machine."""
    assert len(EXAMPLES) >= 11
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert errors(path) == []


def test_rules_go_into_the_demonstration_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each first line says where they belong; put there, all of them beside the line's own, they check."""
    monkeypatch.setenv("LINEGATE_DRAWS", "c0ffee-and-a-half-moon")
    line = yaml.safe_load((CONFIG / "line.yaml").read_text())
    line["devices"]["tester"] = TESTER
    for path in RULES:
        text = path.read_text()
        assert "put what is below `rules:` under that of your own file" in text.splitlines()[0]
        line["rules"] |= yaml.safe_load(text)["rules"]
    (tmp_path / "line.yaml").write_text(yaml.safe_dump(line))
    for each in CONFIG.iterdir():
        if each.name != "line.yaml":
            (tmp_path / each.name).symlink_to(each)

    assert len(RULES) >= 6
    assert errors(tmp_path / "line.yaml") == []
