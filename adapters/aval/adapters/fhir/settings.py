"""Settings of the publisher (`ror.toml`) and of the endpoint (`fhir.toml`): TOML, paths relative to the file.

identity = "identite-ror"            # bundle of an adapter of the house: …/establishment/F/adapter/ror
node = "127.0.0.1:50051"             # the house's own node
database = "ror.db"                  # the outbox, a file of this program alone

[ror]
url = "https://ror.example/ws-synchro-dispo-lits-fhir"
certificate = "igc-sante"            # folder with cert.pem and key.pem, if the ROR asks for a certificate
trust = "igc-sante/racines.pem"      # roots of the ROR's certificate; absent: the machine's
token_url = "https://ror.example/token"
client_id = "aval-540000023"
statuses = ["01", "02", "03", "04", "05"]   # R330
horizons = ["01"]                           # R331
wins = "aval"                        # whose word stands when the ROR says otherwise: aval, or ror (for 4 h)

[ror.reading]                        # reads the ROR back; absent: disagreement is not looked for
url = "https://ror.example/fhir"

[units]                              # the ROR's external identifier of a unit, where it is not the unit's code
U107 = "HEB38888"
U999 = ""                            # not sent
"""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from aval.adapters.declared import read_declared
from aval.kernel.declared import DeclaredFault
from aval.kernel.statuses import Horizon, Status


class Wins(StrEnum):
    """Whose word stands when the ROR says something else than what we sent."""

    AVAL = "aval"
    ROR = "ror"


class AccessSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one gets in: a certificate, the roots of the other side's, and where tokens are had (OAuth2, mutual TLS)."""

    certificate: str = ""
    trust: str = ""
    token_url: str = ""
    client_id: str = ""


class ReadingSettings(AccessSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the ROR is read back. `headers` are those that its consultation asks for (`Ror-Profil-Utilisateur-Code`…).
    It has a way in of its own where one is said here: the ROR gives readers and writers different certificates."""

    url: str
    headers: dict[str, str] = {}
    every_minutes: float = 60.0


class RorSettings(AccessSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The ROR, and what it is told. `repeat_every_hours`: a figure that does not change is said again so often, with
    the date of its source's last proof of life."""

    url: str
    statuses: tuple[Status, ...] = tuple(
        status for status in Status if status is not Status.SUPPLEMENTARY
    )  # 06 needs R334 and R336, which no figure of a node says
    horizons: tuple[Horizon, ...] = (Horizon.NOW,)
    wins: Wins = Wins.AVAL
    repeat_every_hours: float = 12.0
    reading: ReadingSettings | None = None

    @property
    def repeat_every(self) -> timedelta:
        """How often an unchanged figure is said again."""
        return timedelta(hours=self.repeat_every_hours)


class PublisherSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The publisher of one establishment."""

    identity: str
    node: str
    ror: RorSettings
    database: str = "ror.db"
    metrics_port: int = 0
    units: dict[str, str] = {}


class EndpointSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The read-only endpoint, beside a hub or a node: exactly one of `hub` and `node` is its address.

    `identity` is the bundle with which it reads; `certificate` the folder (cert.pem, key.pem) of what HTTP clients are
    shown: a server's certificate, such as that of the node or hub beside which it stands.
    `operators` are the hub's operators that may read, by name; `communes` gives the official code of an establishment's
    commune, which the ROR's profile asks for and Aval does not know."""

    identity: str
    certificate: str
    hub: str = ""
    node: str = ""
    listen: str = "127.0.0.1:8443"
    base: str = ""
    metrics_port: int = 0
    deny_list: str = ""
    deny_list_hours_max: float = 0.0
    operators: tuple[str, ...] = ()
    communes: dict[str, str] = {}


def read_publisher(path: Path) -> PublisherSettings:
    """The publisher's settings. Raises `DeclaredFault`."""
    settings = read_declared(path, PublisherSettings)
    reading = settings.ror.reading
    for where, access in (("ror", settings.ror), ("ror.reading", reading)):
        if access is not None:
            check_url(path, f"{where}.url", access.url)
            if access.token_url:
                check_url(path, f"{where}.token_url", access.token_url)
                if not access.client_id:
                    raise DeclaredFault(path, f"{where}.client_id", "client-id")
    if settings.ror.repeat_every_hours <= 0:
        raise DeclaredFault(path, "ror.repeat_every_hours", "above-zero")
    if reading is not None and reading.every_minutes <= 0:
        raise DeclaredFault(path, "ror.reading.every_minutes", "above-zero")
    return settings


def read_endpoint(path: Path) -> EndpointSettings:
    """The endpoint's settings. Raises `DeclaredFault`."""
    settings = read_declared(path, EndpointSettings)
    if bool(settings.hub) == bool(settings.node):
        raise DeclaredFault(path, "", "hub-or-node")
    return settings


def check_url(path: Path, where: str, url: str) -> None:
    """Refuses clear text towards another machine. Raises `DeclaredFault`."""
    parts = urlsplit(url)
    loopback = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and loopback)):
        raise DeclaredFault(path, where, "https", word=url)
