"""Write docs/mqtt.md and docs/asyncapi.yaml anew: `python docs/make_contract.py`."""

from __future__ import annotations

from pathlib import Path

from gateway.commands.commands import COMMANDS
from gateway.sinks.contract import Requests, asyncapi, markdown

DOCS = Path(__file__).parent


def requests() -> Requests:
    """The commands that are taken over MQTT."""
    return {name: command.arguments for name, command in COMMANDS.items() if "mqtt" in command.doors}


def documents() -> dict[Path, str]:
    return {DOCS / "mqtt.md": markdown(requests()), DOCS / "asyncapi.yaml": asyncapi(requests())}


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
        print(path)
