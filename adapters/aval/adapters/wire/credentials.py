"""The certificate of this process, as it is on disk now: read at start, watched, and served anew without a restart.

`Credentials` holds the last *good* bundle. What is on disk replaces it only when it is whole, fits (key, chain, root,
dates) and bears the same identity; otherwise the old one goes on, and an alarm is raised: gRPC would go on in silence
too, so nobody else would say it. Servers get each handshake's configuration from `current`; channels compare it with
the one they were made with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from aval.adapters.pki import CERTIFICATE_FILE, KEY_FILE, TRUST_FILE
from aval.adapters.telemetry import Telemetry
from aval.kernel.clock import Clock
from aval.kernel.identity import Identity, Territory, parse_identity
from aval.kernel.reasons import Reason, Refusal

CHAIN_LENGTH_MAX = 4
"""Certificates between a leaf and its root, at most: ours have one, a national authority's two or three."""

POLL_SECONDS = 1.0
"""How often the files are looked at (three `stat` calls). A renewal is served, and a revocation felt, within this."""

BAD_POLLS_BEFORE_ALARM = 2
"""A renewal that is half written is found bad once; twice in a row, someone must look."""


class BundleUnusable(ValueError):
    """A bundle's folder holds no certificate that can be used; the text says why and what to do."""


@dataclass(frozen=True)
class Bundle:
    """One reading of a bundle's folder, checked. `trust_pem` holds the roots of all territories accepted in
    handshakes."""

    identity: Identity
    certificate: x509.Certificate
    chain_pem: bytes
    key_pem: bytes
    trust_pem: bytes
    roots: Mapping[Territory, tuple[x509.Certificate, ...]]

    @property
    def serial(self) -> str:
        """The serial number served, in hexadecimal."""
        return f"{self.certificate.serial_number:x}"

    def days_left(self, now: datetime) -> float:
        """Days until it expires; negative afterwards."""
        return (self.certificate.not_valid_after_utc - now).total_seconds() / 86_400


def identity_of(certificate: x509.Certificate) -> Identity:
    """The identity of a certificate: its one URI SAN. Raises `Refusal(IDENTITY_MALFORMED)`,
    `Refusal(MALFORMED_FINESS)`."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        raise Refusal(Reason.IDENTITY_MALFORMED, {"problem": "no subject alternative name"}) from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise Refusal(Reason.IDENTITY_MALFORMED, {"problem": f"{len(uris)} URI SANs instead of exactly one"})
    return parse_identity(uris[0])


def chains_to(
    leaf: x509.Certificate, between: tuple[x509.Certificate, ...], roots: tuple[x509.Certificate, ...]
) -> bool:
    """Whether `leaf` was issued under one of `roots`, through `between`. Signatures only: TLS has checked all the
    rest."""
    current = leaf
    for _ in range(CHAIN_LENGTH_MAX):
        if any(_issued(current, root) for root in roots):
            return True
        above = next((other for other in between if other != current and _issued(current, other)), None)
        if above is None:
            return False
        current = above
    return False


def _server_configuration(bundle: Bundle) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(bundle.key_pem, bundle.chain_pem)], bundle.trust_pem)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def read_bundle(folder: Path, now: datetime, foreign_trust: Mapping[Territory, Path] | None = None) -> Bundle:
    """Reads and checks the bundle in `folder`. Raises `BundleUnusable`."""
    try:
        chain_pem, key_pem, own_trust = (
            (folder / name).read_bytes() for name in (CERTIFICATE_FILE, KEY_FILE, TRUST_FILE)
        )
        chain = x509.load_pem_x509_certificates(chain_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
        identity = identity_of(chain[0])
        trust = {identity.territory: own_trust}
        for territory, path in (foreign_trust or {}).items():
            if territory != identity.territory:
                trust[territory] = path.read_bytes()
        roots = {territory: tuple(x509.load_pem_x509_certificates(pem)) for territory, pem in trust.items()}
    except OSError as error:
        raise BundleUnusable(f"{error.filename or folder}: {error.strerror}; make it with aval pki issue") from error
    except (ValueError, TypeError, Refusal) as error:
        raise BundleUnusable(f"{folder} holds no usable certificate and key: {type(error).__name__}") from error
    leaf = chain[0]
    if key.public_key() != leaf.public_key():
        raise BundleUnusable(f"{folder / KEY_FILE} is not the key of {CERTIFICATE_FILE}")
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        first, last = leaf.not_valid_before_utc.isoformat(), leaf.not_valid_after_utc.isoformat()
        raise BundleUnusable(
            f"{folder / CERTIFICATE_FILE} is valid from {first} to {last}, not now; renew it or set the clock"
        )
    if not chains_to(leaf, tuple(chain[1:]), roots[identity.territory]):
        raise BundleUnusable(f"{folder / CERTIFICATE_FILE} was not issued under {TRUST_FILE}")
    return Bundle(identity, leaf, chain_pem, key_pem, b"".join(trust.values()), roots)


class Credentials:
    """The last good bundle of this process. One for all its servers and channels; `refresh` is called about each
    second."""

    def __init__(
        self, folder: Path, clock: Clock, telemetry: Telemetry, foreign_trust: Mapping[Territory, Path] | None = None
    ) -> None:
        """Reads the bundle. `foreign_trust`: roots of other territories whose hubs may read. Raises
        `BundleUnusable`."""
        self._folder = folder
        self._clock = clock
        self._telemetry = telemetry
        self._foreign_trust = dict(foreign_trust or {})
        self._log = structlog.get_logger()
        self._bad_polls = 0
        self._seen = self._fingerprint()
        self.current = read_bundle(folder, clock.now(), self._foreign_trust)
        self._tell()

    @property
    def identity(self) -> Identity:
        """Who this process is; it does not change while it runs."""
        return self.current.identity

    @property
    def foreign(self) -> frozenset[Territory]:
        """The territories whose trust bundle is declared."""
        return frozenset(self._foreign_trust)

    def refresh(self) -> bool:
        """Takes up what is on disk if it has changed and is good; whether it did. Never raises."""
        self._telemetry.certificate(self.current.serial, self.current.days_left(self._clock.now()))
        seen = self._fingerprint()
        if seen == self._seen and self._bad_polls == 0:
            return False
        try:
            bundle = read_bundle(self._folder, self._clock.now(), self._foreign_trust)
            if bundle.identity != self.identity:
                raise BundleUnusable(f"{self._folder} is now of {bundle.identity}; restart to become another")
        except BundleUnusable as error:
            self._bad_polls += 1
            if self._bad_polls == BAD_POLLS_BEFORE_ALARM:
                self._telemetry.certificate_bad(True)
                self._log.error("certificate-unusable", problem=str(error), certificate_serial=self.current.serial)
            return False
        finally:
            self._seen = seen
        if self._bad_polls >= BAD_POLLS_BEFORE_ALARM:
            self._telemetry.certificate_bad(False)
        self._bad_polls = 0
        self.current = bundle
        self._tell()
        return True

    async def keep(self) -> None:
        """Refreshes for ever: for a process that has channels and no server (a server does it by itself)."""
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + POLL_SECONDS)
            self.refresh()

    def server_credentials(self) -> grpc.ServerCredentials:
        """TLS credentials that demand a client's certificate and serve the bundle current at each handshake.

        gRPC asks for a configuration at each handshake, on a thread of its own: the answer is None while nothing has
        changed. A new one for each handshake would also make session tickets useless, but it kills the server: in grpc
        1.85 two handshakes at once corrupt a count of references (aborts within a few bursts of 30 connections;
        `test_floods` has the storm). So sessions can be resumed, and it is the gate that refuses what a resumed session
        brings back: it looks at the certificate's dates and the deny-list on every RPC.
        """
        served = self.current

        def renewed() -> Any:  # the stub knows nothing of None, gRPC's own word for "unchanged"
            nonlocal served
            bundle = self.current
            if bundle is served:
                return None
            served = bundle
            return _server_configuration(bundle)

        return grpc.dynamic_ssl_server_credentials(
            _server_configuration(served), renewed, require_client_authentication=True
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Credentials of a channel with the bundle current now; trust is our own territory's roots and the declared
        ones."""
        bundle = self.current
        return grpc.ssl_channel_credentials(bundle.trust_pem, bundle.key_pem, bundle.chain_pem)

    def _fingerprint(self) -> tuple[tuple[int, int, int], ...]:
        paths = [self._folder / name for name in (CERTIFICATE_FILE, KEY_FILE, TRUST_FILE)]
        paths.extend(self._foreign_trust.values())
        found = []
        for path in paths:
            try:
                status = path.stat()
                found.append((status.st_ino, status.st_mtime_ns, status.st_size))
            except OSError:
                found.append((0, 0, 0))
        return tuple(found)

    def _tell(self) -> None:
        days_left = self.current.days_left(self._clock.now())
        self._telemetry.certificate(self.current.serial, days_left)
        self._log.info(
            "certificate-served",
            identity=str(self.identity),
            certificate_serial=self.current.serial,
            days_left=round(days_left, 2),
        )
