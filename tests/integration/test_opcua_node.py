"""The OPC UA driver against a server written by others (node-opcua) with the OPC Foundation's own nodesets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from asyncua import Client, ua
from typer.testing import CliRunner

from gateway.cli.terminal import app
from gateway.drivers.opcua import browse as opcua_browse
from gateway.drivers.opcua.kind import OpcUaConfig
from gateway.drivers.opcua.security import ensure_certificate
from gateway.errors import DeviceError, DeviceMisconfigured, NotHeld
from gateway.model import HaltOrder, Quality, Reading
from tests.opcua_node import POLICIES, URI, NodePeer, node_peer

pytestmark = pytest.mark.asyncio(loop_scope="module")
OPEN = {"policy": "None", "mode": "None", "waiver": "loopback"}
ORDER = HaltOrder("filler:r", "filler", "r", "too light", 0)
COMPANION = {"profile": "packml-companion", "root": "f:Filler"}
TAGS = {"profile": "packml-tags", "prefix": "f:Filler"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def peer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NodePeer]:
    """One server for all tests here; small limits, so that everything goes in parts."""
    limits = {
        "maxNodesPerRead": 7,
        "maxMonitoredItemsPerCall": 5,
        "maxNodesPerBrowse": 3,
        "maxNodesPerTranslateBrowsePathsToNodeIds": 4,
    }
    pki = tmp_path_factory.mktemp("node")
    async with node_peer(pki, policies=POLICIES, models=True, count=40, limits=limits) as running:
        yield running


def config(url: str, **more: Any) -> OpcUaConfig:
    given = {"driver": "opcua", "url": url, "namespace": {"f": URI}, "period": "50ms", "security": OPEN}
    return OpcUaConfig.model_validate({**given, "timeout": "5s", **more})


async def until(device: Any, seen: Callable[[Reading], bool]) -> Reading:
    """The first reading that shows it."""
    async with asyncio.timeout(10):
        while True:
            reading: Reading = await device.poll()
            if seen(reading):
                return reading


async def test_packml_by_the_nodeset(peer: NodePeer) -> None:
    """State composed of the three machines of a real PackMLBaseObjectType, mode and speed beside it."""
    await peer.ask("state", state="Execute")
    async with config(peer.url, **COMPANION).connect("filler") as device:
        assert (await device.poll()).values == (6, 1, 61.5)
        await peer.ask("state", state="Held")
        assert (await until(device, lambda reading: reading.values[0] == 11)).held is True


@pytest.mark.parametrize("dialect", [COMPANION, TAGS], ids=["companion", "tags"])
async def test_halts_it(peer: NodePeer, dialect: dict[str, Any]) -> None:
    """Hold by method and by CntrlCmd with its handshake, proved by the machine's own state."""
    await peer.ask("behave", how="obey")
    await peer.ask("state", state="Execute")
    await peer.ask("forget")
    async with config(peer.url, **dialect, halt={"action": "hold"}, halt_budget="5s").connect("filler") as device:
        proof = await device.halt(ORDER)
        assert (proof.state, proof.wrote) == ("PackML Held (11)", True)
        assert (await until(device, lambda reading: reading.values[0] == 11)).held is True
        assert (await device.halt(ORDER)).wrote is False


async def test_a_liar_is_not_held(peer: NodePeer) -> None:
    """Good to the method, and still running: NotHeld."""
    await peer.ask("state", state="Execute")
    await peer.ask("behave", how="lie")
    async with config(peer.url, **COMPANION, halt={"action": "hold"}, halt_budget="300ms").connect("filler") as device:
        with pytest.raises(NotHeld, match="Execute"):
            await device.halt(ORDER)
    await peer.ask("behave", how="obey")


async def test_writes_are_bare_and_of_the_right_type(peer: NodePeer) -> None:
    """A server that refuses a write with any time stamp takes ours: halt, heartbeat and withdrawal."""
    await peer.ask("state", state="Execute")
    await peer.ask("forget")
    made = config(
        peer.url, **TAGS, halt={"action": "hold"}, heartbeat={"write": "f:Filler.Heartbeat.In"}, halt_budget="5s"
    )
    async with made.connect("filler") as device:
        await device.beat(7)
        await device.halt(ORDER)
        await device.withdraw()
    writes = (await peer.ask("seen"))["writes"]

    assert all(each["bare"] and each["status"] == 0 for each in writes), writes
    shown = {(each["node"].rpartition(".")[2], each["type"]) for each in writes}
    assert shown == {("In", "UInt16"), ("CntrlCmd", "Int32"), ("CmdChangeRequest", "Boolean")}


async def test_the_peer_refuses_time_stamps(peer: NodePeer) -> None:
    """The test's own oracle: the library's usual write, with its time stamp, is refused."""
    async with Client(peer.url) as client:
        index = await client.get_namespace_index(URI)
        with pytest.raises(ua.UaStatusCodeError, match="BadWriteNotSupported"):
            await client.get_node(f"ns={index};s=Filler.Heartbeat.In").write_value(3, ua.VariantType.UInt16)


# -- scales -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_scale_is_a_balance(peer: NodePeer, mode: str) -> None:
    """A LaboratoryScaleType: decimals as printed, uncertain while it moves, bad on overload."""
    printed = ["21.0120", "1.0120", "20.0000"]
    await peer.ask("weight", scale="Scale", gross=21.012, net=1.012, tare=20, printable=printed)
    async with config(peer.url, profile="opc40200-scale", root="f:Scale", mode=mode).connect("scale") as device:
        reading = await device.poll()
        assert reading.values == (Decimal("1.0120"), Decimal("21.0120"), Decimal("20.0000"), "stable", 1)
        assert [str(value) for value in reading.values[:2]] == ["1.0120", "21.0120"]
        assert not reading.faults

        await peer.ask("weight", scale="Scale", gross=20.5, net=0.5, tare=20, stable=False)
        moving = await until(device, lambda reading: reading.values[0] == Decimal("0.5"))
        assert moving.faults[0].quality is Quality.UNCERTAIN
        assert moving.values[3] == "not stable"

        await peer.ask("weight", scale="Scale", gross=99, net=99, tare=0, overload=True)
        over = await until(device, lambda reading: reading.values[3] == "overload")
        assert over.values[0] is None
        assert over.faults[0].quality is Quality.BAD


async def test_a_scale_without_weight_stable_is_never_stable(peer: NodePeer) -> None:
    """The property is optional: where it is absent the weight is there, and uncertain."""
    async with config(peer.url, profile="opc40200-scale", root="f:Bare").connect("scale") as device:
        reading = await device.poll()
    assert reading.values[0] == Decimal("1.012")
    assert reading.faults[0].quality is Quality.UNCERTAIN
    assert "does not say that it is stable" in reading.faults[0].reason


async def test_the_scale_changes_its_unit(peer: NodePeer) -> None:
    """A weight in kilograms is shown in grams; one in pieces is bad."""
    made = config(peer.url, profile="opc40200-scale", root="f:Bare")
    await peer.ask("weight", scale="Bare", gross=0.002, net=0.001012, tare=0.001)
    await peer.ask("unit", scale="Bare", code="KGM", short="kg")
    async with made.connect("scale") as device:
        assert (await device.poll()).values[0] == Decimal("1.012")
        await peer.ask("unit", scale="Bare", code="H87", short="piece")
        bad = await until(device, lambda reading: reading.values[0] is None)
        assert "without a unit" in bad.faults[0].reason
    await peer.ask("unit", scale="Bare", code="GRM", short="g")


# -- subscriptions ----------------------------------------------------------------------------------


def plain(url: str, **more: Any) -> OpcUaConfig:
    return config(url, tags={f"v{at}": {"node": f"f:v{at}", **more.pop(f"v{at}", {})} for at in range(40)}, **more)


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_goes_in_parts_the_server_takes(peer: NodePeer, mode: str) -> None:
    """Forty tags at a server that takes seven reads and five monitored items a call."""
    for at in range(40):
        await peer.ask("put", at=at, value=at)
    async with plain(peer.url, mode=mode).connect("many") as device:
        assert (await device.poll()).values == tuple(range(40))
        await peer.ask("put", at=39, value=1000)
        await until(device, lambda reading: reading.values[39] == 1000)


async def test_deadband(peer: NodePeer) -> None:
    """Changes within the deadband are not sent, absolute or of the node's range; others are, at once."""
    for at in range(3):
        await peer.ask("put", at=at, value=50)
    async with plain(peer.url, v0={"deadband": 5}, v1={"deadband": "10%"}).connect("many") as device:
        await until(device, lambda reading: reading.values[:3] == (50, 50, 50))
        await peer.ask("put", at=2, value=51)
        await until(device, lambda reading: reading.values[2] == 51)  # they are watched
        for at in range(3):
            await peer.ask("put", at=at, value=54)
        assert (await until(device, lambda reading: reading.values[2] == 54)).values[:3] == (50, 50, 54)
        await peer.ask("put", at=0, value=56)
        await peer.ask("put", at=1, value=61)
        await until(device, lambda reading: reading.values[:2] == (56, 61))


async def test_a_deadband_the_server_does_not_take(peer: NodePeer) -> None:
    """Percent of a range on a node that has none: watched without it, and told; no tag is lost."""
    made = config(peer.url, tags={"mode": {"node": "f:Filler.Status.UnitModeCurrent", "deadband": "10%"}})
    async with made.connect("filler") as device:
        assert (await device.poll()).values == (1,)
        assert not (await device.poll()).faults


async def test_sparse_and_both_time_stamps(peer: NodePeer) -> None:
    """A sparse scan says which tags are new in it; the server's own time stands beside the source's."""
    await peer.ask("put", at=1, value=50)
    async with plain(peer.url, sparse=True, timestamps="both").connect("many") as device:
        first = await device.poll()
        assert first.changed is None
        assert first.server_ns.keys() == set(range(40))
        await peer.ask("put", at=39, value=-7)
        await until(device, lambda reading: reading.values[39] == -7)  # they are watched
        await until(device, lambda reading: reading.changed == frozenset())
        await peer.ask("put", at=1, value=51)
        reading = await until(device, lambda reading: reading.values[1] == 51)
        assert reading.changed == {1}
        assert reading.server_ns[1] > 1_600_000_000_000_000_000
        assert reading.source_ns[1] > 1_600_000_000_000_000_000


# -- security ---------------------------------------------------------------------------------------


def secured(peer: NodePeer, pki: Path, **more: Any) -> OpcUaConfig:
    (pki / "trust").mkdir(exist_ok=True)
    (pki / "trust/peer.pem").write_bytes(peer.certificate.read_bytes())
    return config(peer.url, **COMPANION, security={"pki": pki, **more})


@pytest.mark.parametrize("mode", ["Sign", "SignAndEncrypt"])
@pytest.mark.parametrize("policy", POLICIES[1:])
async def test_policies(peer: NodePeer, tmp_path: Path, policy: str, mode: str) -> None:
    """Each policy in each mode: refused until the server trusts us, then read; with a user and without."""
    made = secured(peer, tmp_path, policy=policy, mode=mode)
    with pytest.raises(DeviceMisconfigured, match=r"own\.der into the server's trust list"):
        async with made.connect("filler"):
            pass
    await peer.ask("trust", file=str(tmp_path / "own.der"))
    async with made.connect("filler") as device:
        assert (await device.poll()).values[1] == 1
    async with secured(peer, tmp_path, policy=policy, mode=mode, user="line", password="secret").connect("f") as device:
        assert (await device.poll()).values[1] == 1


async def test_a_wrong_password(peer: NodePeer, tmp_path: Path) -> None:
    """The server's refusal of a user says so."""
    own = ensure_certificate(tmp_path, "urn:x", ["x"])
    await peer.ask("trust", file=str(own.certificate))
    with pytest.raises(DeviceMisconfigured, match="does not accept this user"):
        async with secured(peer, tmp_path, user="line", password="wrong").connect("filler"):
            pass


async def test_the_server_must_be_trusted(peer: NodePeer, tmp_path: Path) -> None:
    """Its certificate is refused, kept, and no session was asked for."""
    before = (await peer.ask("seen"))["opened"]
    with pytest.raises(DeviceError, match="is not trusted"):
        async with config(peer.url, **COMPANION, security={"pki": tmp_path}).connect("filler"):
            pass
    assert len(list((tmp_path / "trust/rejected").iterdir())) == 1
    assert (await peer.ask("seen"))["opened"] == before


# -- looking around ---------------------------------------------------------------------------------


async def linegate(*words: str) -> tuple[int, str]:
    """The command line, in a thread: it brings a loop of its own."""
    result = await asyncio.to_thread(CliRunner().invoke, app, list(words))
    error = f"{result.exception}\n" if result.exception is not None else ""
    return result.exit_code, result.stdout if result.exit_code == 0 else error + result.output


async def test_browse_shows_the_tree(peer: NodePeer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, node ids with their URI, types, values and access; in pages and parts, whatever the server takes."""
    monkeypatch.setattr(opcua_browse, "PAGE", 5)
    await peer.ask("put", at=3, value=3.5)
    code, text = await linegate("browse", peer.url, "--unsecured", "--root", "/Objects", "--depth", "4")

    assert code == 0, text
    assert f"v3 = 3.5  Double rw  nsu={URI};s=v3" in text
    counted = [at for at in range(40) if text.count(f";s=v{at}\n") != 1]
    assert counted == [], text
    assert f"CurrentWeight = structure of 24 bytes  WeightType rw  nsu={URI}" in text
    assert f"Hold()  nsu={URI}" not in text, "five levels down"
    assert "ServerStatus" not in text, "the server's own diagnostics are not entered"


async def test_browse_filters_with_what_is_above(peer: NodePeer) -> None:
    """Only what fits, and its way from the root."""
    code, text = await linegate("browse", peer.url, "--unsecured", "--filter", "hold")

    assert code == 0, text
    names = [line.split()[0] for line in text.splitlines() if "nsu=" in line or "i=85" in line]
    assert names == ["Objects/", "Filler/", "BaseStateMachine/", "MachineState/", "ExecuteState/", "Hold()"]


async def test_what_was_picked_is_a_device(peer: NodePeer, tmp_path: Path) -> None:
    """The YAML of what was picked is a valid device, and reads what the tree showed."""
    picks = ["--pick", f"nsu={URI};s=v3", "--pick", "Tags/MachSpeed", "--pick", "Scale/CurrentWeight"]
    await peer.ask("weight", scale="Scale", gross=3, net=2.5, tare=0.5)
    await peer.ask("put", at=3, value=3.5)
    code, text = await linegate("browse", peer.url, "--unsecured", *picks)

    assert code == 0, text
    document = yaml.safe_load(text[text.index("devices:") :])["devices"]["device"]
    assert document["tags"]["v3"]["unit"] == "Cel"
    assert document["security"]["waiver"]
    async with OpcUaConfig.model_validate(document).connect("device") as device:
        assert (await device.poll()).values == (3.5, 60.5, Decimal("2.5"))


async def test_browse_says_what_is_wrong(peer: NodePeer, tmp_path: Path) -> None:
    """No security said, an unknown root, a pick that is not there, a server nobody trusts yet: one sentence each."""
    for words, says in (
        ((peer.url,), "say --pki FOLDER"),
        ((), "say where"),
        ((peer.url, "--unsecured", "--root", "i=99999"), "BadNodeIdUnknown"),
        ((peer.url, "--unsecured", "--root", "ns=2;i=1"), "by index"),
        ((peer.url, "--unsecured", "--pick", "Nothing"), "no variable below the root"),
        ((peer.url, "--pki", str(tmp_path)), "is not trusted"),
    ):
        code, text = await linegate("browse", *words)
        assert code != 0
        assert says in text


async def test_from_a_stranger_to_a_reading(peer: NodePeer, tmp_path: Path) -> None:
    """The way of an engineer: certificate made, server rejected, listed, trusted by thumbprint, both sides agree."""
    pki = ["--pki", str(tmp_path)]
    assert (await linegate("opcua", "cert", *pki))[0] == 0
    await peer.ask("trust", file=str(tmp_path / "own.der"))
    assert (await linegate("browse", peer.url, *pki))[0] != 0
    (rejected,) = (tmp_path / "trust/rejected").iterdir()
    listed = (await linegate("opcua", "list", *pki))[1]
    assert f"rejected   {rejected.stem}" in listed

    code, text = await linegate("opcua", "trust", rejected.stem[:8].lower(), *pki)
    assert code == 0, text
    code, text = await linegate("browse", peer.url, *pki, "--root", f"nsu={URI};s=Filler")
    assert code == 0, text
    assert "shown last" in (await linegate("opcua", "list", *pki))[1]

    assert (await linegate("opcua", "reject", rejected.stem, *pki))[0] == 0
    assert (await linegate("browse", peer.url, *pki))[0] != 0
