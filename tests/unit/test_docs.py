"""The documents: links lead somewhere, commands exist, the example driver works, and nothing names our machines."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import pytest
import typer
import yaml
from typer.core import TyperGroup

from gateway.cli.terminal import app
from gateway.commands.commands import COMMANDS
from gateway.drivers.base import DriverConfig
from tests.contract.driver_suite import DriverSuite
from tests.serial_peers import TcpLine

ROOT = Path(__file__).parents[2]
TEXTS = (
    ".md",
    ".py",
    ".yaml",
    ".yml",
    ".toml",
    ".txt",
    ".json",
    ".html",
    ".css",
    ".conf",
    ".service",
    ".svg",
    ".jsonl",
)


def tracked() -> list[Path]:
    """Every file of the repository that git knows, or would be given."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


PAGES = sorted(path for path in tracked() if path.suffix == ".md")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> list[str]:
    """The code blocks of a page in these languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


# -- links -------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What headings of a page can be linked by."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links(page: Path) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    found += re.findall(r"<(?:img|a)[^>]+(?:src|href)=\"([^\"]+)\"", prose(page))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of every page is a file or folder of the repository, its anchor a heading there."""
    for link in links(page):
        place, _, anchor = link.partition("#")
        target = (page.parent / unquote(place)).resolve() if place else page

        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_on_the_map() -> None:
    """Whoever begins at docs/index.md or at the list of decisions finds every page."""
    for folder, start in ((ROOT / "docs", "index.md"), (ROOT / "docs" / "decisions", "README.md")):
        shown = {(folder / link).resolve() for link in links(folder / start)}

        assert {path for path in folder.glob("*.md") if path.name != start} <= shown


def test_readme_begins_with_the_two_commands() -> None:
    """A new user meets `make demo` and `make test` before anything else, and both are targets."""
    first = blocks(ROOT / "README.md", "", "sh")[0].split("\n")
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert [line.split("#")[0].strip() for line in first if line] == ["make demo", "make test"]
    assert {"demo", "test"} <= set(targets)


# -- commands ----------------------------------------------------------------------------------------


def commands(page: Path) -> Iterator[list[str]]:
    """The words after `linegate` of each command line on a page, in blocks and in the text."""
    text = "\n".join(blocks(page, "", "sh", "ini", "yaml"))
    for line in re.findall(r"^\s*(?:\S+=\S+ |sudo |-u \w+ )*(?:\S*/bin/)?linegate +(.+)$", text, re.MULTILINE):
        yield shlex.split(line.split(" #")[0])
    for line in re.findall(r"`linegate ([^`]+)`", prose(page)):
        yield shlex.split(line)


@cache
def tree() -> Any:
    """All commands; it takes 0.1 s to make."""
    return typer.main.get_command(app)


def refusal(words: list[str]) -> str:
    """Why the command line would not know what to do with it; "" if it does."""
    command = tree()
    for at, word in enumerate(words):
        if not isinstance(command, TyperGroup) or word.startswith("-"):
            return unknown_options(command, words[at:])
        found = command.commands.get(word)
        if found is None:
            return f"no command {word}"
        command = found
    return ""


def unknown_options(command: Any, words: list[str]) -> str:
    if command.context_settings.get("ignore_unknown_options"):
        return ""
    known = {"--help", *(option for each in command.params for option in each.opts)}
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    return f"{command.name} has no {', '.join(unknown)}" if unknown else ""


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_on_the_page_exist(page: Path) -> None:
    """Every `linegate ...` on a page is a command, with options that it has."""
    assert [why for words in commands(page) if (why := refusal(words))] == []


@pytest.mark.parametrize(
    ("line", "why"),
    [("halts relase x", "no command relase"), ("check x --fast", "check has no --fast"), ("halts release x", "")],
)
def test_a_wrong_command_is_noticed(line: str, why: str) -> None:
    """The check above tells a typo from a command."""
    assert refusal(line.split()) == why


def test_commands_page_is_the_table() -> None:
    """docs/commands.md has each command with the roles, doors and signature that the code asks for."""
    lines = prose(ROOT / "docs" / "commands.md").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if re.match(r"\| `[a-z]+[.`]", line)]
    shown = {row[0].strip("`"): (row[1], row[2], bool(row[3])) for row in rows if len(row) == 5}

    assert shown.keys() == COMMANDS.keys()
    for name, command in COMMANDS.items():
        roles, doors, signed = shown[name]
        assert signed == command.signed, name
        assert {door.strip().lower() for door in doors.split(",")} == set(command.doors), name
        if command.roles:
            assert set(re.findall(r"\w+", roles)) == set(command.roles), name


# -- the example driver ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torque(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The module that docs/drivers.md prints."""
    text = next(block for block in blocks(ROOT / "docs" / "drivers.md", "python") if "class TorqueConfig" in block)
    path = tmp_path_factory.mktemp("docs") / "torque_of_the_docs.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[path.stem]


class TorquePeer(TcpLine):
    """A torque tester: one answer to each question."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(self._answers)
        self._module = module
        self._torque = 0.42
        self._broken = False

    def _answers(self, data: bytes) -> list[bytes]:
        answer = b"ERR 3\r\n" if self._broken else f"{self._torque}\r\n".encode()
        return [answer] * data.count(b"T?\r\n")

    def config(self, **changes: Any) -> DriverConfig:
        made: DriverConfig = self._module.TorqueConfig.model_validate(
            {"url": f"tcp://{self.address}", "period": "20ms", "timeout": "5s", **changes}
        )
        return made

    @property
    def expected(self) -> dict[str, Any]:
        return {"torque": self._torque}

    async def change(self) -> None:
        self._torque += 0.1

    async def spoil(self) -> str:
        self._broken = True
        return "torque"


class TestDriverOfTheDocs(DriverSuite):
    """The driver that docs/drivers.md prints does what every driver must."""

    @pytest.fixture
    async def peer(self, torque: ModuleType) -> AsyncIterator[TorquePeer]:
        peer = TorquePeer(torque)
        await peer.heal()
        yield peer
        await peer.cut()
        await asyncio.sleep(0)


def test_configurations_on_pages_are_yaml() -> None:
    """Every YAML block on a page can be read."""
    found = [yaml.safe_load(block) for page in PAGES for block in blocks(page, "yaml")]

    assert found
    assert all(isinstance(document, dict) for document in found)


# -- what is never written down ----------------------------------------------------------------------

FORBIDDEN = {
    "a machine's path": r"(?<![\w.~/-])/(?:work|root|home/\w+|Users/\w+|workspace|mnt/\w+)(?:/|\b(?!\w))",
    "a registry's host": r"(?i)\b(?:files\.python" + r"hosted\.org|pypi\.\w+|test\.pypi|registry\.\w+\.\w+|docker\.io|"
    r"ghcr\.io|quay\.io|[\w.-]*artifactory[\w.-]*|[\w.-]*nexus\.[\w.-]+|deb\.debian\.org|registry\.npm\w*)",
}
"""What -> pattern.  The few places that must speak of them stand in ALLOWED."""

ALLOWED = {"tests/unit/test_docs.py"}


def offences(text: str) -> list[str]:
    return [f"{what}: {match[0]}" for what, pattern in FORBIDDEN.items() for match in re.finditer(pattern, text)]


def test_no_machine_and_no_registry_is_named() -> None:
    """No text file of the repository names a path of our machines or the host of a package registry."""
    named_in = {
        named(path): found
        for path in tracked()
        if (path.suffix in TEXTS or not path.suffix)
        and named(path) not in ALLOWED
        and (found := offences(path.read_text(encoding="utf-8", errors="replace")))
    }

    assert named_in == {}


@pytest.mark.parametrize(
    "text",
    ["see /work/x", "cd /root/y", "a=/home/me/z", "https://pypi.org/simple", "FROM docker.io/library/debian"],
)
def test_what_is_forbidden_is_found(text: str) -> None:
    """The patterns find what they are for."""
    assert offences(text)


@pytest.mark.parametrize("text", ["run/work/x", "work, root", "/var/lib/linegate", "rules/work.py", "merkle root/"])
def test_what_is_allowed_is_not(text: str) -> None:
    """Ordinary words are not taken for a path."""
    assert offences(text) == []
