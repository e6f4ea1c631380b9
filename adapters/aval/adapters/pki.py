"""The public-key infrastructure of a territory: its authority, and the certificates of DESIGN §9.

One territory, one authority of its own: an *offline root* (10 years; its key can leave the machine once the issuing
certificate is made) signs one *issuing* authority (2 years), which signs the certificates of identities (30 days by
default: a house's computer sleeps at weekends). All keys are EC P-256.

- The root may have one authority below it (path length 1), the issuing one none (path length 0).
- Both are bound by name constraints to the territory: a stolen issuing key can make no `spiffe://` identity and no DNS
  name of another territory, whatever it writes.
- A certificate bears exactly one URI SAN, its identity; those that serve (hub replicas, nodes) also the one DNS SAN
  derived from it, because a client checks a host name and cannot read the server's URI (CONTRACT 2). `issue` takes an
  identity and nothing else, so no other name can be put in.

A *bundle* is a folder for one identity: `cert.pem` (its certificate, then the issuing one), `key.pem` (mode 0600) and
`trust.pem` (the root). `issue` into an existing folder renews it: each file is replaced atomically, and a reader that
falls between two of them sees a key that does not fit its certificate, keeps what it had and reads again.
"""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from aval.kernel.identity import Identity, Territory, parse_identity
from aval.kernel.reasons import Reason, Refusal

ROOT_LIFE = timedelta(days=3652)
"""Ten years: changing the root means touching every member."""

ISSUING_LIFE = timedelta(days=730)
"""Two years: the issuing key is on a machine that runs, so it is changed more often."""

LEAF_LIFE = timedelta(days=30)
"""Thirty days (DESIGN §9), renewed at two thirds."""

CLOCK_ALLOWANCE = timedelta(minutes=5)
"""How far before now a certificate begins, so that a member whose clock is a little late accepts it."""

COMMON_NAME_LENGTH_MAX = 64
"""X.520's bound of a common name. The name is for people only; nothing reads it."""

CERTIFICATE_FILE = "cert.pem"
KEY_FILE = "key.pem"
TRUST_FILE = "trust.pem"

ROOT_CERTIFICATE_FILE = "root.pem"
ROOT_KEY_FILE = "root-key.pem"
ISSUING_CERTIFICATE_FILE = "issuing.pem"
ISSUING_KEY_FILE = "issuing-key.pem"


@dataclass(frozen=True)
class Authority:
    """What issues certificates for one territory: the issuing certificate and key, and the root that all trust."""

    territory: Territory
    root: x509.Certificate
    issuing: x509.Certificate
    issuing_key: ec.EllipticCurvePrivateKey

    @property
    def trust_pem(self) -> bytes:
        """The root, PEM: what every member of the territory trusts, and nothing else."""
        return _certificate_pem(self.root)


@dataclass(frozen=True)
class IssuedCertificate:
    """A certificate just made, with its key. `chain_pem` is the certificate followed by the issuing one."""

    identity: Identity
    certificate: x509.Certificate
    chain_pem: bytes
    key_pem: bytes
    trust_pem: bytes

    def write(self, folder: Path) -> None:
        """Writes or renews the bundle `folder`: key first, certificate last, each file whole or not at all."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(folder / KEY_FILE, self.key_pem, mode=0o600)
        write_atomically(folder / TRUST_FILE, self.trust_pem, mode=0o644)
        write_atomically(folder / CERTIFICATE_FILE, self.chain_pem, mode=0o644)


def make_authority(territory: Territory, now: datetime) -> tuple[Authority, ec.EllipticCurvePrivateKey]:
    """A new authority, and the root's key, which the caller stores away from the rest."""
    root_key = ec.generate_private_key(ec.SECP256R1())
    root_name = _authority_name(territory, "root")
    root = _sign_authority(root_name, root_key.public_key(), root_name, root_key, territory, 1, now, ROOT_LIFE)
    issuing_key = ec.generate_private_key(ec.SECP256R1())
    issuing = _sign_authority(
        _authority_name(territory, "issuing"),
        issuing_key.public_key(),
        root_name,
        root_key,
        territory,
        0,
        now,
        ISSUING_LIFE,
    )
    return Authority(territory, root, issuing, issuing_key), root_key


def init_authority(folder: Path, territory: Territory, now: datetime) -> Authority:
    """Makes a territory's authority in `folder` (`aval pki init`). Raises FileExistsError rather than replace one."""
    if (folder / ROOT_CERTIFICATE_FILE).exists():
        raise FileExistsError(f"{folder} already holds the authority of a territory")
    authority, root_key = make_authority(territory, now)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(folder / ROOT_KEY_FILE, _key_pem(root_key), mode=0o600)
    write_atomically(folder / ISSUING_KEY_FILE, _key_pem(authority.issuing_key), mode=0o600)
    write_atomically(folder / ISSUING_CERTIFICATE_FILE, _certificate_pem(authority.issuing), mode=0o644)
    write_atomically(folder / ROOT_CERTIFICATE_FILE, _certificate_pem(authority.root), mode=0o644)
    return authority


def load_authority(folder: Path) -> Authority:
    """The authority in `folder`; the root's key need not be there. Raises FileNotFoundError, ValueError."""
    root = x509.load_pem_x509_certificate((folder / ROOT_CERTIFICATE_FILE).read_bytes())
    issuing = x509.load_pem_x509_certificate((folder / ISSUING_CERTIFICATE_FILE).read_bytes())
    key = serialization.load_pem_private_key((folder / ISSUING_KEY_FILE).read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != issuing.public_key():
        raise ValueError(f"{folder / ISSUING_KEY_FILE} is not the key of {ISSUING_CERTIFICATE_FILE}")
    issuing.verify_directly_issued_by(root)
    return Authority(_constrained_to(root), root, issuing, key)


def issue(
    authority: Authority,
    identity: Identity,
    now: datetime,
    *,
    life: timedelta = LEAF_LIFE,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> IssuedCertificate:
    """A certificate and a new key for `identity`. Dates are given by `now` and `life`, or set outright.

    Raises `Refusal(OTHER_TERRITORY)` for an identity of another territory, ValueError for dates that cannot be.
    """
    if identity.territory != authority.territory:
        raise Refusal(Reason.OTHER_TERRITORY, {"identity": str(identity), "territory": str(authority.territory)})
    # Reading the URI back is the proof that whoever receives this certificate will read the same identity in it.
    if parse_identity(str(identity)) != identity:
        raise Refusal(Reason.IDENTITY_MALFORMED, {"identity": str(identity)})
    first = not_before if not_before is not None else now - CLOCK_ALLOWANCE
    last = not_after if not_after is not None else now + life
    if not first < last <= authority.issuing.not_valid_after_utc:
        raise ValueError("a certificate must end after it begins, and not after the authority that issues it")
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(identity))]
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if identity.dns_name is not None:
        names.append(x509.DNSName(identity.dns_name))
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_person_readable_name(identity), authority.issuing.subject, key.public_key(), first, last)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.issuing_key.public_key()), critical=False
        )
        .sign(authority.issuing_key, hashes.SHA256())
    )
    chain = _certificate_pem(certificate) + _certificate_pem(authority.issuing)
    return IssuedCertificate(identity, certificate, chain, _key_pem(key), authority.trust_pem)


def write_atomically(path: Path, content: bytes, *, mode: int) -> None:
    """Replaces `path` by `content` so that a reader sees the old file or the new one, and a crash leaves one of
    them."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(descriptor, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, first: datetime, last: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
    )


def _sign_authority(
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    territory: Territory,
    path_length: int,
    now: datetime,
    life: timedelta,
) -> x509.Certificate:
    constraints = x509.NameConstraints([x509.UniformResourceIdentifier(territory), x509.DNSName(territory)], None)
    return (
        _builder(subject, issuer, key, now - CLOCK_ALLOWANCE, now + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(constraints, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _constrained_to(root: x509.Certificate) -> Territory:
    """The territory that the root's name constraints bind it to."""
    constraints = root.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    names = [name.value for name in constraints if isinstance(name, x509.DNSName)]
    if len(names) != 1:
        raise ValueError("the root is not bound to exactly one territory: it was not made by aval pki init")
    return Territory(names[0])


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_name(territory: Territory, role: str) -> x509.Name:
    # For people, and so that two territories' authorities never have one name; the protocol reads the constraints.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Aval {role} {territory}"[:COMMON_NAME_LENGTH_MAX])])


def _person_readable_name(identity: Identity) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.path[:COMMON_NAME_LENGTH_MAX])])


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
