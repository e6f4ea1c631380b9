"""Makes the folder of a territory: its authority, everyone's certificate, each server's settings. Starts nothing.

    territory.toml  demo.json  contexts.toml  pki/  people/NAME/
    hub/{hub.toml, identity/}
    nodes/FINESS/{node.toml, identity/}
    ways/FINESS/{hl7.toml, hl7-map.toml}, or the folder in which a house drops its sheets

`demo.json` is the record of what was made; `processes` adds the numbers of what runs.
"""

import errno
import random
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from aval.adapters.demo.declaring import SYSTEM_SOURCE
from aval.adapters.demo.hl7_feed import PROCESSING, hl7_mapping
from aval.adapters.demo.ways import Way, chosen_ways
from aval.adapters.pki import CERTIFICATE_FILE, KEY_FILE, TRUST_FILE, init_authority, issue
from aval.adapters.territory import TerritoryFile, house_plan, load
from aval.kernel.finess import FinessET
from aval.kernel.identity import Adapter, HubOperator, HubReplica, Identity, Node, Staff
from aval.kernel.identity import Territory as Name

STATE_FILE = "demo.json"
TERRITORY_FILE = "territory.toml"
LOOPBACK = "127.0.0.1"

TLS_PARTS = {"certificate": CERTIFICATE_FILE, "key": KEY_FILE, "trust": TRUST_FILE}

PORTS = range(20_000, 32_000)
"""Where servers listen: below the ports that Linux (from 32 768) and macOS (from 49 152) give to outgoing connections.
A territory opens hundreds of those, and one of them would sooner or later sit on the port of a server that starts."""

REGULATOR = "regulatrice"
SECOND_REGULATOR = "regulateur"
CELL = "cellule"
MANAGEMENT = "direction"
DESK_OF_A_HOUSE = "cadre"
"""The member of each house's staff who declares its units and answers its demands: the bundle `FINESS-cadre`."""

SOURCE_OF_A_HOUSE = "sih"
"""The adapter of each house that has a system, for which `feed` speaks: the bundle `FINESS-sih`."""

SHEET_OF_A_HOUSE = "tableur"
"""The adapter of the house that drops a sheet: the bundle `FINESS-tableur`."""

HUB = "hub"
FEED = "feed"
WAY = "way-"
"""Before the FINESS: the key of the process by which a house's own format reaches its node."""


class Server(msgspec.Struct, frozen=True):
    """One process of the territory. `key`: its FINESS, `hub`, `feed` or `way-FINESS`; `config`: what its command line
    ends with."""

    key: str
    name: str
    config: str
    arguments: tuple[str, ...]
    address: str
    pid: int = 0


class Record(msgspec.Struct):
    """What `demo.json` holds: enough to find and to stop everything."""

    seed: int
    started: datetime
    requester: str
    second: str
    link_lost_seconds: float
    servers: dict[str, Server]
    ways: dict[str, Way] = {}
    """How the figures of some houses come, where not by the generator's own ways."""


@dataclass(frozen=True, slots=True)
class Tempo:
    """How fast a territory lives: shortened for a demonstration, which says so."""

    progress_seconds: float = 15.0
    link_lost_seconds: float = 120.0


def build(folder: Path, text: str, seed: int, now: datetime, tempo: Tempo, requesters: Sequence[str]) -> Record:
    """Makes the folder for a territory file's text, and says what was made.

    `requesters`: the FINESS of the establishments whose two regulators look for beds; the same twice if there is one.
    Raises FileExistsError, TerritoryFault.
    """
    if (folder / STATE_FILE).exists():
        raise FileExistsError(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TERRITORY_FILE).write_text(text, encoding="utf-8")
    file = load(folder / TERRITORY_FILE)
    ways = chosen_ways(file, (*requesters,))
    record = Record(
        seed,
        now,
        requesters[0],
        requesters[-1],
        tempo.link_lost_seconds,
        {one.key: one for one in _servers(folder, file, ways)},
        ways,
    )
    authority = init_authority(folder / "pki", Name(file.territory), now)
    for bundle, identity in _identities(folder, file, record):
        issue(authority, identity, now).write(bundle)
    for server in record.servers.values():
        if server.key in (HUB, *(one.finess for one in file.establishments)):
            Path(server.config).write_text("\n".join(_settings(file, record, server, tempo)) + "\n", encoding="utf-8")
    for finess, way in ways.items():
        _write_way(folder, file, record, finess, way)
    (folder / "contexts.toml").write_text("\n".join(_contexts(file, record)) + "\n", encoding="utf-8")
    write_record(folder, record)
    return record


def write_record(folder: Path, record: Record) -> None:
    """Writes down what must be found again."""
    fresh = folder / f".{STATE_FILE}.new"
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
    fresh.replace(folder / STATE_FILE)


def bundle_of(folder: Path, name: str) -> Path:
    """The bundle of someone: `regulatrice`, `regulateur`, `cellule`, `direction`, `FINESS-cadre`, `FINESS-sih`."""
    return folder / "people" / name


def _servers(folder: Path, file: TerritoryFile, ways: Mapping[str, Way]) -> Iterable[Server]:
    addresses = [f"{LOOPBACK}:{port}" for port in free_ports(len(file.establishments) + len(ways) + 1)]
    yield Server(HUB, file.title, str(folder / "hub" / "hub.toml"), ("hub", "serve", "--config"), addresses.pop())
    for one in file.establishments:
        config = str(folder / "nodes" / one.finess / "node.toml")
        yield Server(one.finess, one.name, config, ("node", "serve", "--config"), addresses.pop())
    yield Server(FEED, "flux simulés", str(folder), ("demo", "feed", "--dir"), "")
    for finess, way in ways.items():
        key, place, name = f"{WAY}{finess}", folder / "ways" / finess, file.establishment(finess).name
        if way is Way.HL7:
            serve = ("hl7", "serve", "--config")
            yield Server(key, f"HL7 v2 de {name}", str(place / "hl7.toml"), serve, addresses.pop())
        else:
            look = ("node", "import", "folder", "--context", f"{finess}-{SHEET_OF_A_HOUSE}")
            yield Server(key, f"feuille de {name}", str(place), look, "")


def _identities(folder: Path, file: TerritoryFile, record: Record) -> Iterable[tuple[Path, Identity]]:
    name = Name(file.territory)
    yield folder / "hub" / "identity", HubReplica(name, 0)
    yield bundle_of(folder, CELL), HubOperator(name, CELL)
    yield bundle_of(folder, MANAGEMENT), HubOperator(name, MANAGEMENT)
    yield bundle_of(folder, REGULATOR), Staff(name, FinessET(record.requester), REGULATOR)
    yield bundle_of(folder, SECOND_REGULATOR), Staff(name, FinessET(record.second), SECOND_REGULATOR)
    for one in file.establishments:
        yield folder / "nodes" / one.finess / "identity", Node(name, one.et)
        yield bundle_of(folder, f"{one.finess}-{DESK_OF_A_HOUSE}"), Staff(name, one.et, DESK_OF_A_HOUSE)
        yield bundle_of(folder, f"{one.finess}-{SOURCE_OF_A_HOUSE}"), Adapter(name, one.et, SOURCE_OF_A_HOUSE)
        if record.ways.get(one.finess) is Way.SHEET:
            yield bundle_of(folder, f"{one.finess}-{SHEET_OF_A_HOUSE}"), Adapter(name, one.et, SHEET_OF_A_HOUSE)


def _settings(file: TerritoryFile, record: Record, server: Server, tempo: Tempo) -> Iterable[str]:
    yield f'listen = "{server.address}"'
    yield 'identity = "identity"'
    yield f"progress_seconds = {tempo.progress_seconds}"
    if server.key == HUB:
        yield f'territory_file = "../{TERRITORY_FILE}"'
        yield 'database = "hub.db"'
        yield f"link_lost_seconds = {tempo.link_lost_seconds}"
        yield "[roles]"
        yield f'{CELL} = "cell"'
        yield f'{MANAGEMENT} = "management"'
        return
    yield f'territory = "{file.territory}"'
    yield f'finess = "{server.key}"'
    yield 'database = "node.db"'
    yield "[hub]"
    yield f'address = "{record.servers[HUB].address}"'


def _write_way(folder: Path, file: TerritoryFile, record: Record, finess: str, way: Way) -> None:
    place = folder / "ways" / finess
    place.mkdir(parents=True)
    if way is not Way.HL7:
        return
    people, node = f"../../people/{finess}-{SOURCE_OF_A_HOUSE}", f"../../nodes/{finess}/identity"
    # The interface shows its house's certificate, as the node beside it does: an adapter's is a client's only.
    lines = (
        f'finess = "{finess}"',
        f'node = "{record.servers[finess].address}"',
        f'listen = "{record.servers[f"{WAY}{finess}"].address}"',
        f'identity = "{people}"',
        f'source = "{SYSTEM_SOURCE}"',
        'mapping = "hl7-map.toml"',
        f'processing = ["{PROCESSING}"]',
        f'time_zone = "{file.assumptions.time_zone}"',
        "[tls]",
        *(f'{name} = "{node}/{part}"' for name, part in TLS_PARTS.items()),
    )
    (place / "hl7.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (place / "hl7-map.toml").write_text(hl7_mapping(house_plan(file, finess)), encoding="utf-8")


def _contexts(file: TerritoryFile, record: Record) -> Iterable[str]:
    """The contexts of the command line, so that `aval find` works beside the demonstration."""
    known = [
        (REGULATOR, REGULATOR, record.requester),
        (SECOND_REGULATOR, SECOND_REGULATOR, record.second),
        (CELL, CELL, ""),
        (MANAGEMENT, MANAGEMENT, ""),
        *((one.finess, f"{one.finess}-{DESK_OF_A_HOUSE}", one.finess) for one in file.establishments),
    ]
    for finess, way in record.ways.items():
        if way is Way.SHEET:
            known.append((f"{finess}-{SHEET_OF_A_HOUSE}", f"{finess}-{SHEET_OF_A_HOUSE}", finess))
    yield f'current = "{REGULATOR}"'
    for name, person, finess in known:
        yield f'\n[contexts."{name}"]'
        yield f'identity = "people/{person}"'
        yield f'hub = "{record.servers[HUB].address}"'
        if finess:
            yield f'node = "{record.servers[finess].address}"'


def free_ports(count: int) -> list[int]:
    """So many free ports of loopback, distinct: all are held until the last is found. Raises OSError."""
    held: list[socket.socket] = []
    try:
        for port in random.sample(PORTS, len(PORTS)):
            if len(held) == count:
                break
            one = socket.socket()
            try:
                one.bind((LOOPBACK, port))
            except OSError:
                one.close()
            else:
                held.append(one)
        if len(held) < count:
            raise OSError(errno.EADDRINUSE, f"{count} free ports between {PORTS[0]} and {PORTS[-1]}")
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


_BLOCK = re.compile(r"^\[", re.MULTILINE)
_ESTABLISHMENT = re.compile(r"\[\[establishments\]\]\s.*?^finess = \"(\w+)\"", re.DOTALL | re.MULTILINE)
_HOUSE = re.compile(r"\[assumptions\.houses\.\"?(\w+)\"?\]")


def keep_only(text: str, kept: Iterable[str]) -> str:
    """The text of a territory file with these establishments only; its other lines as they were."""
    wanted = set(kept)
    starts = [match.start() for match in _BLOCK.finditer(text)]
    blocks = [text[: starts[0]], *(text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True))]

    def stays(block: str) -> bool:
        match = _ESTABLISHMENT.match(block) or _HOUSE.match(block)
        return match is None or match[1] in wanted

    return "".join(block for block in blocks if stays(block))
