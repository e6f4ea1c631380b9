"""A node's settings: one TOML file, checked whole before anything starts. Paths in it are relative to its folder.

territory = "ge-10.aval.internal"
finess = "540000023"
identity = "identity"              # folder of cert.pem, key.pem, trust.pem
listen = "127.0.0.1:0"             # port 0: a free one
database = "node.db"

[hub]
address = "127.0.0.1:5000"
"""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import msgspec

from aval.kernel.declared import DeclaredFault, declared
from aval.kernel.finess import FinessET
from aval.kernel.identity import Territory
from aval.kernel.reasons import Refusal

PROGRESS_SECONDS = 15.0
"""Between two heartbeats of a watch (DESIGN §5). A setting, so that a demonstration or a test need not wait."""


class _HubTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    address: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    territory: str
    finess: str
    identity: str
    listen: str
    database: str
    metrics_port: int = 0
    announce_address: str | None = None
    deny_list: str | None = None
    progress_seconds: float = PROGRESS_SECONDS
    hub: _HubTable | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one node. `hub_address` None: it serves, and announces itself to nobody.

    `announce_address` is what the hub is told to dial; None: the host of `listen` with the port really taken.
    """

    territory: Territory
    finess: FinessET
    identity: Path
    listen: str
    database: Path
    metrics_port: int
    announce_address: str | None
    deny_list: Path | None
    progress_seconds: float
    hub_address: str | None


def read_settings(path: Path) -> Settings:
    """The settings in a file. Raises `DeclaredFault`."""
    try:
        written = declared(path, path.read_bytes(), _File)
    except OSError as error:
        raise DeclaredFault(path, "", "unreadable") from error
    try:
        territory = Territory(written.territory)
    except Refusal as refusal:
        raise DeclaredFault(path, "territory", "territory", word=written.territory) from refusal
    try:
        finess = FinessET(written.finess)
    except Refusal as refusal:
        raise DeclaredFault(path, "finess", "finess", word=written.finess) from refusal
    if not 0 <= written.metrics_port <= 65_535:
        raise DeclaredFault(path, "metrics_port", "port")
    if written.progress_seconds <= 0:
        raise DeclaredFault(path, "progress_seconds", "above-zero")
    for field, address in (
        ("listen", written.listen),
        ("announce_address", written.announce_address),
        ("hub.address", written.hub.address if written.hub else None),
    ):
        if address is not None and not _is_address(address):
            raise DeclaredFault(path, field, "address", word=address)
    if written.hub is not None and written.announce_address is None and _is_every_address(written.listen):
        raise DeclaredFault(path, "announce_address", "announce")
    folder = path.parent
    return Settings(
        territory,
        finess,
        folder / written.identity,
        written.listen,
        folder / written.database,
        written.metrics_port,
        written.announce_address,
        folder / written.deny_list if written.deny_list is not None else None,
        written.progress_seconds,
        written.hub.address if written.hub else None,
    )


def _is_every_address(address: str) -> bool:
    """Whether listening there says nothing of where one can be dialled."""
    try:
        return ip_address(address.rpartition(":")[0].strip("[]")).is_unspecified
    except ValueError:
        return False  # a name


def _is_address(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return bool(host and colon) and port.isdecimal() and int(port) <= 65_535
