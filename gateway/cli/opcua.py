"""`linegate opcua cert | list | trust | reject`: the certificates by which OPC UA servers and we know each other.

Layout of a `pki` folder: own.der and own.pem (ours), trust/ (servers we believe), trust/rejected/ (servers that showed
up and are not trusted yet), trust/servers/ (what each showed last).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from gateway.errors import LinegateError

if TYPE_CHECKING:
    from cryptography import x509

opcua_app = typer.Typer(no_args_is_help=True, help="Certificates of OPC UA: our own, and whose we trust.")

Pki = Annotated[Path | None, typer.Option("--pki", help="folder with own.der, own.pem and trust/")]
Trust = Annotated[Path | None, typer.Option("--trust", help="the trust folder itself, where there is no pki folder")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="line.yaml: the folders its devices name")]


class Folders(NamedTuple):
    """Where the certificates of some devices are."""

    own: tuple[Path, Path] | None
    """Certificate and key."""
    trust: Path | None


def add_to(app: typer.Typer) -> None:
    """Hang these commands into the top-level one."""
    app.add_typer(opcua_app, name="opcua")


def _folders(pki: Path | None, trust: Path | None, config: Path | None) -> list[Folders]:
    """What the options name, each once.  LinegateError if they name nothing."""
    if pki is not None:
        return [Folders((pki / "own.der", pki / "own.pem"), trust or pki / "trust")]
    if trust is not None:
        return [Folders(None, trust)]
    if config is None:
        raise LinegateError("say where the certificates are: --pki FOLDER, --trust FOLDER or --config line.yaml")
    found = list(dict.fromkeys(_of_config(config)))
    if not found:
        raise LinegateError(f"{config}: no OPC UA device there has certificates")
    return found


def _of_config(config: Path) -> Iterator[Folders]:
    from gateway.config.reading import load
    from gateway.drivers.opcua.settings import OpcUaSettings

    for device in load(config).devices.values():
        if isinstance(device, OpcUaSettings) and device.security.mode != "None":
            yield Folders(device.security.own, device.security.trusted)


@opcua_app.command()
def cert(
    pki: Pki = None,
    config: ConfigFile = None,
    uri: Annotated[str, typer.Option(help="application URI; default urn:HOST:linegate")] = "",
    host: Annotated[list[str], typer.Option(help="host names and addresses in it; default this host's name")] = [],  # noqa: B006
    renew: Annotated[bool, typer.Option("--renew", help="make a new one; the old is kept beside it")] = False,
) -> None:
    """Make our application certificate where there is none, and show it: servers have to trust it."""
    from gateway.drivers.opcua.security import ensure_certificate, load, own_names, set_aside

    for folders in _folders(pki, None, config):
        assert folders.own is not None, "asked for by pki or config"
        folder = folders.own[0].parent
        if config is not None and folders.own[0].name != "own.der":
            raise LinegateError(f"{folders.own[0]} is a certificate of your own making; renew it where it was made")
        if renew:
            print(f"kept the old one as {set_aside(folder)}")
        usual_uri, usual_hosts = own_names()
        try:
            own = ensure_certificate(folder, uri or usual_uri, host or usual_hosts)
        except OSError as error:
            raise LinegateError(f"{folder} cannot be written: {error.strerror}") from error
        if uri and own.application_uri != uri:
            raise LinegateError(
                f"{own.certificate} is there already, for {own.application_uri}; give --renew for a new one, "
                "and have servers trust that"
            )
        _show_own(own.certificate, load(own.certificate))


def _show_own(file: Path, certificate: x509.Certificate) -> None:
    from gateway.drivers.opcua.security import thumbprint, uris

    print(f"{file}")
    print(f"  thumbprint       {thumbprint(certificate)}")
    print(f"  application URI  {', '.join(uris(certificate))}")
    print(f"  valid until      {certificate.not_valid_after_utc:%Y-%m-%d}")
    print("next: have each server trust this file (its own list of trusted clients), then connect once")


@opcua_app.command("list")
def list_all(pki: Pki = None, trust: Trust = None, config: ConfigFile = None) -> None:
    """Every certificate there is: our own, trusted, rejected, and what servers showed last."""
    for folders in _folders(pki, trust, config):
        for what, file in _files(folders):
            mark, subject, names, until = _row(file)
            print(f"{what:<10} {mark}  until {until}  {names or 'no application URI'}  ({subject})\n{'':<11}{file}")


def _files(folders: Folders) -> Iterator[tuple[str, Path]]:
    from gateway.drivers.opcua.security import REJECTED, SERVERS, SUFFIXES

    if folders.own is not None and folders.own[0].exists():
        yield "own", folders.own[0]
    if folders.trust is None:
        return
    for what, folder in (
        ("trusted", folders.trust),
        ("rejected", folders.trust / REJECTED),
        ("shown last", folders.trust / SERVERS),
    ):
        if folder.is_dir():
            yield from ((what, file) for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES)


def _row(file: Path) -> tuple[str, str, str, str]:
    from gateway.drivers.opcua.security import load, now_utc, thumbprint, uris
    from gateway.errors import DeviceMisconfigured

    try:
        certificate = load(file)
    except DeviceMisconfigured as error:
        return "-", str(error), "-", "-"
    ended = " (ended)" if certificate.not_valid_after_utc < now_utc() else ""
    until = f"{certificate.not_valid_after_utc:%Y-%m-%d}{ended}"
    return thumbprint(certificate), certificate.subject.rfc4514_string(), ", ".join(uris(certificate)), until


@opcua_app.command("trust")
def trust_one(
    thumb: Annotated[str, typer.Argument(metavar="THUMBPRINT", help="as the server shows it; its first 8 will do")],
    pki: Pki = None,
    trust: Trust = None,
    config: ConfigFile = None,
) -> None:
    """Trust a server that was rejected.  Compare the thumbprint with the one the server itself shows."""
    _move(thumb, _folders(pki, trust, config), "rejected", "trusted")


@opcua_app.command("reject")
def reject_one(
    thumb: Annotated[str, typer.Argument(metavar="THUMBPRINT")],
    pki: Pki = None,
    trust: Trust = None,
    config: ConfigFile = None,
) -> None:
    """Trust a server no longer: at its next connect it is refused."""
    _move(thumb, _folders(pki, trust, config), "trusted", "rejected")


def _move(thumb: str, everywhere: list[Folders], what: str, becomes: str) -> None:
    """Move each certificate of this thumbprint, in every folder that has it.  LinegateError if that is not one."""
    from gateway.drivers.opcua.security import REJECTED

    wanted = thumb.replace(":", "").replace(" ", "").upper()
    if len(wanted) < 8 or set(wanted) - set("0123456789ABCDEF"):
        raise LinegateError(f"{thumb!r} is no thumbprint; it is 40 hexadecimal digits, of which the first 8 are needed")
    found = [
        (folders.trust, file, mark)
        for folders in everywhere
        for kind, file in _files(folders)
        if kind == what and folders.trust is not None and (mark := _row(file)[0]).startswith(wanted)
    ]
    marks = sorted({mark for _, _, mark in found})
    if len(marks) != 1:
        several = f"several begin so: {', '.join(marks)}" if marks else "`linegate opcua list` shows those there are"
        raise LinegateError(f"no one {what} certificate has the thumbprint {thumb}; {several}")
    for folder, file, mark in found:
        target = (folder if becomes == "trusted" else folder / REJECTED) / f"{mark}{file.suffix}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)
        except OSError as error:
            raise LinegateError(f"{file} cannot be moved to {target}: {error.strerror}") from error
        print(f"{becomes}: {mark} {_row(target)[1]} ({target})")
