"""Puts into docs/scenarios.md what the code and the examples say: `python docs/make_scenarios.py`.

The tables of verbs and places are made of the models, the examples are the files themselves; a test keeps it fresh.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from gateway.hil.matching import Word
from gateway.hil.sights import PLACES, Sight
from gateway.hil.verbs import Do

HERE = Path(__file__).parent
PAGE = HERE / "scenarios.md"
EXAMPLES = {
    "example": HERE / "hil" / "cables.yaml",
    "target": HERE / "hil" / "hil.yaml",
    "line": HERE.parent / "tests" / "scenarios" / "lines" / "floor.yaml",
}


def verbs() -> str:
    """A row for each verb: its words (optional ones in brackets), and its sentence."""
    rows = ["| verb | words | what is done |", "|---|---|---|"]
    for name, field in Do.model_fields.items():
        words = ", ".join(_words(field)) or ("a duration" if name == "wait" else "none")
        rows.append(f"| `{name}` | {words} | {_sentence(field)} |")
    return "\n".join(rows)


def _model(field: FieldInfo) -> type[Word] | None:
    for kind in typing.get_args(field.annotation):
        if inspect.isclass(kind) and issubclass(kind, Word):
            return kind
    return None


def _words(field: FieldInfo) -> Iterator[str]:
    model = _model(field)
    for name, word in model.model_fields.items() if model is not None else ():
        yield f"`{name}`" if word.is_required() else f"[`{name}`]"


def _sentence(field: FieldInfo) -> str:
    text = field.description or inspect.getdoc(_model(field)) or ""
    return " ".join(text.split()).replace("|", "or")


def places() -> str:
    """A row for each place, with its sentence."""
    rows = ["| place | what is seen there |", "|---|---|"]
    rows += [f"| `{name}` | {Sight.model_fields[name].description} |" for name in PLACES]
    return "\n".join(rows)


def example(path: Path) -> str:
    return f"```yaml\n{path.read_text('utf-8').rstrip()}\n```"


def page(text: str) -> str:
    """The page with every made part fresh."""
    parts = {"verbs": verbs(), "places": places(), **{name: example(path) for name, path in EXAMPLES.items()}}
    for name, part in parts.items():
        block = f"<!-- {name} -->\n{part}\n<!-- /{name} -->"
        marked = rf"<!-- {name} -->(?:\n.*?<!-- /{name} -->)?"
        text, found = re.subn(marked, lambda _, block=block: block, text, count=1, flags=re.DOTALL)
        if not found:
            raise SystemExit(f"{PAGE} has no place for {name}")
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
