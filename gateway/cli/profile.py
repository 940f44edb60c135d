"""`linegate profile`: the maps of real devices, listed, printed, and made of a person's own list."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.errors import LinegateError

if TYPE_CHECKING:
    from gateway.drivers.profiles.profile import Profile

RESTS_ON = {
    "manual": "the manual",
    "secondary": "a copy of the manual",
    "unsure": "memory: prove it",
    "site": "the site's own list",
}


def add_to(app: typer.Typer) -> None:
    """Hang these commands into the top-level one."""
    app.command("profile")(profile)


def profile(
    name: Annotated[str, typer.Argument(help="a profile's name, a file, or the word import")] = "",
    table: Annotated[Path | None, typer.Argument(metavar="MAP.csv", help="after import: your own list")] = None,
    raw: Annotated[bool, typer.Option("--yaml", help="print the file as it is")] = False,
    driver: Annotated[str, typer.Option("--driver", help="list only those of one driver; import: modbus")] = "",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="import: write here, not to the screen")] = None,
    base: Annotated[str, typer.Option(help="import: how addresses count: auto, 0, 1 or modicon")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="import: write over a file that is there")] = False,
    site: Annotated[Path, typer.Option(help="folder of your configuration; its profiles/ are listed too")] = Path(),
) -> None:
    """List profiles; print one (`profile NAME`); make one of a CSV list (`profile import MAP.csv -o NAME.yaml`)."""
    from gateway.drivers.profiles import profile as profiles

    if name == "import":
        _import(table, output, driver or "modbus", base, force=force)
        return
    with profiles.site(site):
        if not name:
            _list(driver)
            return
        try:
            found = profiles.load_profile(name)
            path = profiles.site_path(name) or profiles.shipped_path(name)
        except ValueError as error:
            raise LinegateError(str(error)) from None
    if raw:
        print(path.read_text(encoding="utf-8"), end="")
    else:
        _show(name, found)


def _list(driver: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from gateway.drivers.profiles import profile as profiles

    table = Table()
    for head, whole in (("profile", True), ("driver", True), ("device", False), ("rests on", False), ("proved", True)):
        table.add_column(head, no_wrap=whole)
    for name in (*profiles.names(), *profiles.site_names()):
        try:
            each = profiles.load_profile(name)
        except ValueError as error:
            table.add_row(name, "-", _unmarked(str(error)), "-", "-")
            continue
        if driver in ("", each.driver):
            proved = "on the device" if each.verified else "no"
            table.add_row(name, each.driver, f"{each.maker} {each.model}", RESTS_ON[each.basis], proved)
    Console().print(table)


def _show(name: str, found: Profile) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    proved = "proved on the device" if found.verified else "not proved on a device yet"
    console.print(f"[bold]{name}[/bold]: {found.maker} {found.model}, driver {found.driver}", soft_wrap=True)
    console.print(f"rests on {RESTS_ON[found.basis]}; {proved}\n{found.manual}", soft_wrap=True, markup=False)
    if found.notes:
        console.print(f"\n{found.notes}", soft_wrap=True, markup=False)
    for trap in found.traps:
        console.print(f"! {trap}", soft_wrap=True, markup=False)
    general = {key: value for key, value in found.settings.items() if key not in ("tags", "select")}
    if found.serial:
        general["serial port from the factory"] = _plainly(found.serial)
    for key, value in general.items():
        console.print(f"{key}: {_plainly(value)}", soft_wrap=True, markup=False)
    tags = found.settings.get("tags")
    if not tags:
        return
    selected = found.settings.get("select", tuple(tags))
    table = Table()
    for head in ("tag", "unit", "where", "type", "read", "rests on"):
        table.add_column(head, no_wrap=head in ("tag", "where"))
    for tag, settings in tags.items():
        basis = RESTS_ON[found.tag_basis.get(tag, found.basis)]
        chosen = "yes" if tag in selected else "if selected"
        where = _where(settings, found.settings)
        table.add_row(*map(_unmarked, (tag, settings.get("unit", "1"), where, _type(settings, where), chosen, basis)))
    console.print(table)
    for tag, settings in tags.items():
        for line in _meaning(settings):
            console.print(f"{tag}: {line}", soft_wrap=True, markup=False)


def _unmarked(text: str) -> str:
    """Brackets of `[degF]` are not rich's."""
    return text.replace("[", "\\[")


def _plainly(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plainly(each)}" for key, each in value.items())
    return str(value)


def _where(settings: Mapping[str, Any], general: Mapping[str, Any]) -> str:
    """The table and the address on the wire; an OPC UA tag's node."""
    if "address" not in settings:
        return str(settings.get("node", "-"))
    at = int(settings["address"]) - int(general.get("base", 0))
    bit = f" bit {settings['bit']}" if "bit" in settings else ""
    return f"{settings.get('table', general.get('table', 'holding'))} {at}{bit}"


def _type(settings: Mapping[str, Any], where: str) -> str:
    usual = "bool" if where.startswith(("coil", "discrete")) or "bit" in settings else "u16"
    text = str(settings.get("type", settings.get("kind", usual if "address" in settings else "")))
    scale, source = settings.get("scale", 1), settings.get("device_unit")
    return text + (f" x {scale:g}" if scale != 1 else "") + (f" in {source}" if source else "")


def _meaning(settings: Mapping[str, Any]) -> list[str]:
    """What guards the tag, and what its values and bits mean; a line each."""
    lines = [
        f"good only while {each['tag']} is {each.get('equals', each.get('in'))}"
        for each in _several(settings.get("good_when"))
    ]
    for key, what in (("decimals", "its decimals"), ("unit_from", "its unit")):
        if settings.get(key):
            lines.append(f"{what} by {_plainly(settings[key])}")
    for key in ("bad_bits", "uncertain_bits"):
        quality = key.partition("_")[0]
        lines += [
            f"{quality} while {each['tag']} has any of the bits {each['mask']:#06x}"
            for each in _several(settings.get(key))
        ]
    if settings.get("bad_values"):
        lines.append(f"no value: {', '.join(map(str, settings['bad_values']))}")
    for key, what in (("meanings", "values"), ("bits", "bits")):
        if settings.get(key):
            lines.append(f"{what}: " + ", ".join(f"{number} {text}" for number, text in settings[key].items()))
    return lines


def _several(given: Any) -> list[Any]:
    """One, or a list of them, or none."""
    return [given] if isinstance(given, Mapping) else list(given or ())


def _import(table: Path | None, output: Path | None, driver: str, base: str, *, force: bool) -> None:
    import sys

    from gateway.drivers.profiles.map_import import import_map

    if table is None:
        raise LinegateError("say which file: linegate profile import map.csv -o profiles/mixer.yaml")
    if driver != "modbus":
        raise LinegateError(f"a list of registers is for driver modbus, not for {driver}")
    if base not in ("auto", "0", "1", "modicon"):
        raise LinegateError(f"--base {base}: write auto, 0, 1 or modicon")
    if output is not None and output.exists() and not force:
        raise LinegateError(f"{output} is there already; give another name, or --force")
    made = import_map(_text(table), table.name, title=(output or table).stem, base=base)  # type: ignore[arg-type]  # it is one
    for remark in made.remarks:
        print(f"{table.name}: {remark}", file=sys.stderr)
    if output is None:
        print(made.text, end="")
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(made.text, encoding="utf-8")
    except OSError as error:
        raise LinegateError(f"{output} cannot be written: {error.strerror}") from None
    print(f"{output}: {made.tags} tag(s); name it in line.yaml with `profile: {_named(output)}`, then `linegate check`")


def _named(output: Path) -> str:
    return output.stem if output.parent.name == "profiles" else str(output)


def _text(path: Path) -> str:
    """The file, in UTF-8 or as old spreadsheets write it.  LinegateError where it cannot be read."""
    if path.is_fifo() or path.is_char_device():  # it may never end
        raise LinegateError(f"{path} is not a file; name the CSV that your spreadsheet saved")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise LinegateError(f"{path} cannot be read: {error.strerror}") from None
    if b"\0" in raw:
        raise LinegateError(f"{path} is no CSV; save the sheet as CSV (UTF-8)")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")
