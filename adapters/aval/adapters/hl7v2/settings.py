"""The adapter's settings: one TOML file, checked whole before anything starts. Paths in it are relative to its folder.

finess = "540000023"
node = "127.0.0.1:50052"           # the establishment's node
identity = "adapter-sih"           # bundle of …/adapter/NAME
source = "sih"                     # as the units declare it
mapping = "hl7-map.toml"
inbox = "hl7.db"
key = "hl7.key"                    # of the hashes; made at the first start
listen = "0.0.0.0:2575"            # 2575 is MLLP's registered port
time_zone = "Europe/Paris"
processing = ["P"]                 # MSH-11 that is live
ward_fields = []                   # looked at where PV1-3 names no unit: ["ZBE-8", "ZBE-7", "PV1-3.4"]
facility_field = "PV1-3.4"         # whose code the unit's is, for rows of the mapping with `facility`; or "MSH-4",
                                   # "ZBE-7", "ZBE-8" (their authority)
outpatient_classes = []            # PV1-2 of the site's own that take no bed: ["AMB", "HDJ"]
visit_fields = ["PV1-19", "PID-18"]  # what names a visit, the first that is there
zbe_optional = false               # take messages of the French profile without its segment ZBE
reservation_field = ""             # where the site puts a reservation's reference: "PV2-12"

[tls]                              # a client certificate is always asked for
certificate = "mllp.pem"
key = "mllp.key"
trust = "senders.pem"

# or, on a loopback address only:
# clear_text = true

[query]                            # whom `aval hl7 reconcile` asks (IHE ITI-22), by the certificate of [tls]
address = "10.1.2.3:2576"
application = "GAM"                # MSH-5
facility = "CHU"                   # MSH-6
query = "IHE PDQ Query"            # QPD-1

[limits]                           # see `server.Limits`
"""

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from aval.adapters.declared import read_declared
from aval.adapters.hl7v2.meaning import Customs
from aval.adapters.hl7v2.querying import QUERY, Supplier
from aval.adapters.hl7v2.server import Limits
from aval.kernel.declared import DeclaredFault
from aval.kernel.finess import FinessET
from aval.kernel.reasons import Refusal

_RESERVATIONS = frozenset({"PV1-5", "PV1-50", "PV2-12", "ZFV-7"})
_WARDS = {"ZBE-7": ("ZBE", 7, 10), "ZBE-8": ("ZBE", 8, 10), "PV1-3.4": ("PV1", 3, 4)}
"""Where else a site may write the unit, and in which component: of a ward (XON) the code stands in the tenth."""
_FACILITIES = {"PV1-3.4": ("PV1", 3, 4), "MSH-4": ("MSH", 4, 1), "ZBE-7": ("ZBE", 7, 6), "ZBE-8": ("ZBE", 8, 6)}
"""Where a site may write the facility, and in which component: of a ward (XON) its authority stands in the sixth."""
_VISITS = frozenset({"PV1-19", "PV1-50", "PID-18"})


class _Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    certificate: str
    key: str
    trust: str


class _Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    address: str
    application: str
    facility: str = ""
    query: str = QUERY


class _Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    connections: int = Limits().connections
    connections_a_peer: int = Limits().connections_a_peer
    message_bytes: int = Limits().message_bytes
    message_seconds: float = Limits().message_seconds
    idle_seconds: float = Limits().idle_seconds
    answer_seconds: float = Limits().answer_seconds
    in_hand: int = Limits().in_hand


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    finess: str
    node: str
    identity: str
    source: str
    mapping: str
    listen: str
    inbox: str = "hl7.db"
    key: str = "hl7.key"
    time_zone: str = "Europe/Paris"
    processing: tuple[str, ...] = ("P",)
    ward_fields: tuple[str, ...] = ()
    facility_field: str = "PV1-3.4"
    outpatient_classes: tuple[str, ...] = ()
    visit_fields: tuple[str, ...] = ("PV1-19", "PID-18")
    zbe_optional: bool = False
    reservation_field: str = ""
    metrics_port: int = 0
    clear_text: bool = False
    tls: _Tls | None = None
    query: _Query | None = None
    limits: _Limits = _Limits()


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one adapter. `tls` None: clear text, on a loopback address."""

    finess: FinessET
    node: str
    identity: Path
    source: str
    mapping: Path
    inbox: Path
    key: Path
    host: str
    port: int
    zone: ZoneInfo
    processing: frozenset[str]
    ward_fields: tuple[tuple[str, int, int], ...]
    facility: tuple[str, int, int]
    outpatient_classes: frozenset[str]
    visit_fields: tuple[tuple[str, int], ...]
    zbe_optional: bool
    reservation: tuple[str, int] | None
    metrics_port: int
    tls: tuple[Path, Path, Path] | None
    supplier: Supplier | None
    limits: Limits

    @property
    def house(self) -> str:
        """The establishment: name."""
        return f"establishments/{self.finess}"

    def customs(self, key: bytes) -> Customs:
        """What they say of the feed, with the key of the hashes."""
        return Customs(
            key=key,
            zone=self.zone,
            processing=self.processing,
            reservation=self.reservation,
            ward_fields=self.ward_fields,
            facility=self.facility,
            visit_fields=self.visit_fields,
            outpatient_classes=self.outpatient_classes,
            zbe_optional=self.zbe_optional,
        )


def read_settings(path: Path) -> Settings:
    """The settings in a file. Raises `DeclaredFault`."""
    written = read_declared(path, _File)
    try:
        finess = FinessET(written.finess)
    except Refusal as refusal:
        raise DeclaredFault(path, "finess", "finess", word=written.finess) from refusal
    try:
        zone = ZoneInfo(written.time_zone)
    except (KeyError, ValueError, OSError) as error:
        raise DeclaredFault(path, "time_zone", "zone", word=written.time_zone) from error
    host, port = _address(path, "listen", written.listen)
    for name, named, known in (
        ("reservation_field", {written.reservation_field} - {""}, _RESERVATIONS),
        ("visit_fields", set(written.visit_fields) or {""}, _VISITS),
        ("ward_fields", set(written.ward_fields), _WARDS),
        ("facility_field", {written.facility_field}, _FACILITIES),
    ):
        if named - set(known):
            raise DeclaredFault(path, name, "known", known=", ".join(sorted(known)))
    limits = Limits(**msgspec.structs.asdict(written.limits))
    for name, value in msgspec.structs.asdict(written.limits).items():
        if value <= 0:
            raise DeclaredFault(path, f"limits.{name}", "above-zero")
    folder = path.parent
    return Settings(
        finess=finess,
        node=written.node,
        identity=folder / written.identity,
        source=written.source,
        mapping=folder / written.mapping,
        inbox=folder / written.inbox,
        key=folder / written.key,
        host=host,
        port=port,
        zone=zone,
        processing=frozenset(written.processing),
        ward_fields=tuple(_WARDS[field] for field in written.ward_fields),
        facility=_FACILITIES[written.facility_field],
        outpatient_classes=frozenset(code.upper() for code in written.outpatient_classes),
        visit_fields=tuple(_field(field) for field in written.visit_fields),
        zbe_optional=written.zbe_optional,
        reservation=_field(written.reservation_field) if written.reservation_field else None,
        metrics_port=written.metrics_port,
        tls=_tls(path, written, host),
        supplier=_supplier(path, written),
        limits=limits,
    )


def _tls(path: Path, written: _File, host: str) -> tuple[Path, Path, Path] | None:
    if written.tls is not None:
        if written.clear_text:
            raise DeclaredFault(path, "clear_text", "tls-and-clear")
        folder = path.parent
        return folder / written.tls.certificate, folder / written.tls.key, folder / written.tls.trust
    if not written.clear_text:
        raise DeclaredFault(path, "tls", "tls-absent")
    if not _is_loopback(host):
        raise DeclaredFault(path, "listen", "clear-text")
    return None


def _supplier(path: Path, written: _File) -> Supplier | None:
    if written.query is None:
        return None
    host, port = _address(path, "query.address", written.query.address)
    if written.tls is None and not _is_loopback(host):
        raise DeclaredFault(path, "query.address", "clear-text")
    return Supplier(host, port, written.query.application, written.query.facility, written.query.query)


def _address(path: Path, field: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) <= 65_535):
        raise DeclaredFault(path, field, "address", word=text)
    return host.strip("[]"), int(port)


def _field(text: str) -> tuple[str, int]:
    segment, _, number = text.partition("-")
    return segment, int(number)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def server_context(tls: tuple[Path, Path, Path]) -> ssl.SSLContext:
    """What the server shows and asks for: TLS 1.2 or later, a client certificate of `trust`. Raises OSError."""
    certificate, key, trust = tls
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # a session taken up again would not show its certificate's age
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(trust)
    return context
