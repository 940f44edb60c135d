"""`run`, without what only other commands need."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LOG_JSON = "--log-json"


def asked(arguments: Sequence[str]) -> Path | None:
    """The file of a plain `run FILE [--log-json]`; None: something else, which the terminal's commands know."""
    rest = [argument for argument in arguments[1:] if argument != LOG_JSON]
    plain = arguments[:1] == ["run"] and len(rest) == 1 and not rest[0].startswith("-")
    return Path(rest[0]) if plain else None


def run(config: Path, *, log_json: bool) -> None:
    """Run until told to stop."""
    # structlog draws tracebacks with rich where it finds it: a tenth of a second and 3 MB that a service never shows
    modules: dict[str, Any] = sys.modules
    modules.setdefault("rich", None)
    from gateway.cli.run import serve

    if modules["rich"] is None:
        del modules["rich"]
    serve(config, log_json=log_json)
