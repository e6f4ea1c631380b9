"""The settings of a hub: one TOML file, read once at start. An unknown key is an error that names it."""

from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from aval.kernel.declared import DeclaredFault, declared
from aval.kernel.statuses import LINK_LOST_MAX


class Role(StrEnum):
    """What a person of the hub may do: the cell asks in a member's name, management reads sums and never a need."""

    CELL = "cell"
    MANAGEMENT = "management"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a hub is told at start. Paths are relative to the file's folder."""

    territory_file: Path
    """The territory file: members, coordinates, first addresses."""
    identity: Path
    """Folder of the bundle: certificate, key, trust."""
    database: str
    """The path of an SQLite file, made if absent; or `postgresql://…`, which several hubs may share. A URL bears no
    password: that comes from a pgpass file (`?passfile=…`) or the environment, where no list and no log shows it."""
    replica: int | None = None
    """The number of this hub among those that share a database; that of its certificate, if it is not given."""
    listen: str = "127.0.0.1:0"
    """`host:port`; port 0 takes a free one."""
    metrics_port: int = 0
    """On loopback; 0 takes a free one."""
    deny_list: Path | None = None
    """JSON file of certificates that are refused before they expire."""
    link_lost_seconds: float = LINK_LOST_MAX.total_seconds()
    """Silence after which a node counts as unreachable. Shortened in demonstrations, which say so."""
    progress_seconds: float = 15.0
    """Time between two heartbeats of a watch."""
    roles: dict[str, Role] = {}
    """Operators of the hub by name, as in their certificates."""

    @property
    def is_shared(self) -> bool:
        """Whether the database is one that several hubs may share."""
        return self.database.startswith(("postgresql://", "postgres://"))


def _bears_password(url: str) -> bool:
    parts = urlsplit(url)
    return parts.password is not None or "password" in parse_qs(parts.query)


def _path(kind: type, value: Any) -> Path:
    """TOML has no paths: a text is one where the settings want one. What it raises becomes a `ValidationError`."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError("Expected `str`")  # as the decoder says it of others


def read_settings(path: Path) -> Settings:
    """The settings in a file. Raises `DeclaredFault`."""
    try:
        settings = declared(path, path.read_bytes(), Settings, _path)
    except OSError as error:
        raise DeclaredFault(path, "", "unreadable") from error
    for name, value in (
        ("link_lost_seconds", settings.link_lost_seconds),
        ("progress_seconds", settings.progress_seconds),
    ):
        if value <= 0:
            raise DeclaredFault(path, name, "above-zero")
    folder = path.resolve().parent
    if settings.is_shared and _bears_password(settings.database):
        raise DeclaredFault(path, "database", "password")
    return msgspec.structs.replace(
        settings,
        territory_file=folder / settings.territory_file,
        identity=folder / settings.identity,
        database=settings.database if settings.is_shared else str(folder / settings.database),
        deny_list=folder / settings.deny_list if settings.deny_list is not None else None,
    )
