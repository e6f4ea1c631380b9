"""Who calls: the peer's identity from its certificate, checked again on every RPC.

TLS checks a certificate once, in the handshake. An open connection outlives it, and a resumed session can bring an
expired one back (PLATFORM, measured), so each RPC reads the certificate again: exactly one URI SAN, an identity of this
territory (issued under *this territory's* root, whatever other roots are trusted), dates, deny-list. Parsing is done
once for each certificate; the dates and the deny-list are looked at each time.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import msgspec
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from aval.adapters.wire.credentials import Credentials, chains_to, identity_of
from aval.kernel.clock import Clock
from aval.kernel.identity import CallerKind, Identity, standing
from aval.kernel.reasons import Reason, Refusal

PEERS_REMEMBERED_MAX = 4096
"""Certificates whose parsing is remembered: several for each member of a large territory."""

DENY_LIST_BYTES_MAX = 1 << 20
"""A deny-list larger than this is not one."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A certificate's holder, as this server sees it. `serial` and `spki_sha256` are in hexadecimal."""

    identity: Identity
    kind: CallerKind
    serial: str
    spki_sha256: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes the RPC being served. `actor` is the desk's `aval-actor-bin`, undecoded; None from anyone else."""

    peer: Peer
    request_id: str
    actor: bytes | None

    @property
    def identity(self) -> Identity:
        """The identity in the certificate."""
        return self.peer.identity

    @property
    def kind(self) -> CallerKind:
        """What it is for this server."""
        return self.peer.kind


_caller: ContextVar[Caller] = ContextVar("aval_caller")


def current_caller() -> Caller:
    """The caller of the RPC in which this runs, and in tasks made by it. Raises LookupError outside of any."""
    return _caller.get()


def caller_or_none() -> Caller | None:
    """As `current_caller`, None outside of any RPC."""
    return _caller.get(None)


def set_current_caller(caller: Caller) -> None:
    """For the gate, and for tests of a servicer without a wire: `caller` makes the calls of the present task."""
    _caller.set(caller)


class DenyList(Protocol):
    """Certificates that are refused before they expire."""

    def refresh(self) -> None:
        """Takes up what has changed; called about each second. Never raises."""
        ...

    def check(self, peer: Peer) -> None:
        """Raises `Refusal(CERTIFICATE_REVOKED)`, or `Refusal(DENY_LIST_STALE)` if the list can no longer be trusted."""
        ...


class NobodyDenied:
    """Where no deny-list is configured: nothing is denied."""

    def refresh(self) -> None:
        """Nothing to take up."""

    def check(self, peer: Peer) -> None:
        """Everyone passes."""


class _DenyListFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: JSON, hexadecimal in lower case. `issue_time` is when the list was made, so that an old one shows."""

    issue_time: datetime
    serials: frozenset[str] = frozenset()
    spki_sha256: frozenset[str] = frozenset()


class FileDenyList:
    """A deny-list in a JSON file `{issue_time, serials, spki_sha256}`, read again when it changes.

    With `age_max`, it fails closed: once the newest list that could be read is older than that (the file was removed,
    spoilt, or nobody renews it), every caller is refused.
    """

    def __init__(self, path: Path, clock: Clock, age_max: timedelta | None) -> None:
        self._path = path
        self._clock = clock
        self._age_max = age_max
        self._seen: tuple[int, int] | None = None
        self._list: _DenyListFile | None = None
        self._log = structlog.get_logger()
        self.refresh()

    def refresh(self) -> None:
        """Reads the file if it has changed; a bad or missing one leaves the last good list, which ages."""
        try:
            status = self._path.stat()
            if self._seen == (status.st_ino, status.st_mtime_ns):
                return
            self._seen = (status.st_ino, status.st_mtime_ns)
            if status.st_size > DENY_LIST_BYTES_MAX:
                raise ValueError("too long")
            read = msgspec.json.decode(self._path.read_bytes(), type=_DenyListFile)
            if read.issue_time.tzinfo is None:
                raise ValueError("issue_time without a zone")
        except (OSError, ValueError) as error:
            self._log.error("deny-list-unreadable", path=self._path.name, exception=type(error).__name__)
            return
        if self._list is None or read.issue_time >= self._list.issue_time:
            self._list = read

    def check(self, peer: Peer) -> None:
        """See `DenyList.check`."""
        if self._age_max is not None and (
            self._list is None or self._clock.now() - self._list.issue_time > self._age_max
        ):
            raise Refusal(Reason.DENY_LIST_STALE)
        if self._list is not None and (peer.serial in self._list.serials or peer.spki_sha256 in self._list.spki_sha256):
            raise Refusal(Reason.CERTIFICATE_REVOKED, {"serial": peer.serial})


class Peers:
    """Reads and checks the peers of one server."""

    def __init__(self, credentials: Credentials, clock: Clock, deny_list: DenyList) -> None:
        self._credentials = credentials
        self._clock = clock
        self._deny_list = deny_list
        self._bundle = credentials.current
        self._known: OrderedDict[tuple[bytes, bytes], Peer] = OrderedDict()

    def identify(self, auth_context: Mapping[str, Iterable[bytes]]) -> Peer:
        """The peer of a connection, checked now. Raises the `Refusal` that says why it is nobody here."""
        leaf_pem = b"".join(auth_context.get("x509_pem_cert", ()))
        if not leaf_pem:
            raise Refusal(Reason.PEER_UNIDENTIFIED)
        if self._bundle is not self._credentials.current:
            # Roots may have changed with it: what was trusted then is looked at anew.
            self._bundle = self._credentials.current
            self._known.clear()
        key = (leaf_pem, b"".join(auth_context.get("x509_pem_cert_chain", ())))
        peer = self._known.get(key)
        if peer is None:
            peer = self._known[key] = self._read(*key)
            if len(self._known) > PEERS_REMEMBERED_MAX:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        self.check(peer)
        return peer

    def check(self, peer: Peer) -> None:
        """Whether a peer is still good: dates and deny-list. Raises the `Refusal` that says why not."""
        now = self._clock.now()
        if now >= peer.not_after:
            raise Refusal(Reason.CERTIFICATE_EXPIRED, {"not_after": peer.not_after.isoformat()})
        if now < peer.not_before:
            raise Refusal(Reason.CERTIFICATE_NOT_YET_VALID, {"not_before": peer.not_before.isoformat()})
        self._deny_list.check(peer)

    def _read(self, leaf_pem: bytes, chain_pem: bytes) -> Peer:
        try:
            leaf = x509.load_pem_x509_certificate(leaf_pem)
            between = tuple(x509.load_pem_x509_certificates(chain_pem)) if chain_pem else ()
        except ValueError:
            raise Refusal(Reason.PEER_UNIDENTIFIED) from None
        identity = identity_of(leaf)
        kind = standing(identity, self._credentials.identity, self._credentials.foreign)
        if not chains_to(leaf, between, self._bundle.roots[identity.territory]):
            raise Refusal(
                Reason.OTHER_TERRITORY, {"problem": "the certificate was not issued under this territory's root"}
            )
        spki = leaf.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return Peer(
            identity,
            kind,
            f"{leaf.serial_number:x}",
            sha256(spki).hexdigest(),
            leaf.not_valid_before_utc,
            leaf.not_valid_after_utc,
        )
