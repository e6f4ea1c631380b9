"""The authority of a territory and the certificates that it issues."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from aval.adapters.clock import SystemClock
from aval.adapters.pki import (
    CERTIFICATE_FILE,
    ISSUING_KEY_FILE,
    KEY_FILE,
    LEAF_LIFE,
    ROOT_KEY_FILE,
    TRUST_FILE,
    init_authority,
    issue,
    load_authority,
    make_authority,
    write_atomically,
)
from aval.adapters.wire.credentials import identity_of, read_bundle
from aval.kernel.finess import FinessET
from aval.kernel.identity import (
    Adapter,
    EstablishmentDesk,
    HubDesk,
    HubOperator,
    HubReplica,
    Identity,
    Node,
    Staff,
    Territory,
)
from aval.kernel.reasons import Reason, Refusal

HERE = Territory("ge-10.aval.internal")
NANCY = FinessET("540000023")
CORSICA = FinessET("2A0000014")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

EVERYONE: list[Identity] = [
    HubReplica(HERE, 1),
    HubOperator(HERE, "lea"),
    HubDesk(HERE),
    Node(HERE, NANCY),
    Node(HERE, CORSICA),
    Staff(HERE, NANCY, "marie"),
    Adapter(HERE, NANCY, "dpi"),
    EstablishmentDesk(HERE, NANCY),
]


@pytest.mark.parametrize("identity", EVERYONE, ids=lambda identity: identity.path)
def test_a_certificate_bears_one_identity_and_servers_the_name_derived_from_it(identity: Identity) -> None:
    authority, _ = make_authority(HERE, NOW)
    certificate = issue(authority, identity, NOW).certificate
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(identity)]
    assert names.get_values_for_type(x509.DNSName) == ([identity.dns_name] if identity.dns_name else [])
    assert len(list(names)) == (2 if identity.dns_name else 1)
    assert identity_of(certificate) == identity
    usages = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert (ExtendedKeyUsageOID.SERVER_AUTH in usages) == (identity.dns_name is not None)
    assert ExtendedKeyUsageOID.CLIENT_AUTH in usages
    assert certificate.not_valid_after_utc - NOW == LEAF_LIFE == timedelta(days=30)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


def test_the_path_is_root_then_issuing_then_identity_and_no_longer() -> None:
    authority, root_key = make_authority(HERE, NOW)
    assert root_key.public_key() == authority.root.public_key()
    for certificate, length in ((authority.root, 1), (authority.issuing, 0)):
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, length)
        bound = certificate.extensions.get_extension_for_class(x509.NameConstraints)
        assert bound.critical
        permitted = bound.value.permitted_subtrees
        assert permitted is not None
        assert {(type(name), name.value) for name in permitted} == {
            (x509.UniformResourceIdentifier, HERE),
            (x509.DNSName, HERE),
        }
    leaf = issue(authority, Node(HERE, NANCY), NOW).certificate
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    leaf.verify_directly_issued_by(authority.issuing)
    authority.issuing.verify_directly_issued_by(authority.root)


def test_the_authority_issues_for_its_own_territory_only() -> None:
    authority, _ = make_authority(HERE, NOW)
    with pytest.raises(Refusal) as refused:
        issue(authority, Node(Territory("ge-11.aval.internal"), NANCY), NOW)
    assert refused.value.reason is Reason.OTHER_TERRITORY


def test_dates_that_cannot_be_are_refused() -> None:
    authority, _ = make_authority(HERE, NOW)
    with pytest.raises(ValueError, match="end after it begins"):
        issue(authority, Node(HERE, NANCY), NOW, not_before=NOW, not_after=NOW)
    with pytest.raises(ValueError, match="end after it begins"):
        issue(authority, Node(HERE, NANCY), NOW, life=timedelta(days=731))
    brief = issue(authority, Node(HERE, NANCY), NOW, life=timedelta(seconds=3)).certificate
    assert brief.not_valid_after_utc == NOW + timedelta(seconds=3)


def test_an_authority_is_kept_in_a_folder_and_its_root_key_may_leave_it(tmp_path: Path) -> None:
    made = init_authority(tmp_path, HERE, NOW)
    for secret in (ROOT_KEY_FILE, ISSUING_KEY_FILE):
        assert stat.S_IMODE((tmp_path / secret).stat().st_mode) == 0o600
    (tmp_path / ROOT_KEY_FILE).unlink()
    loaded = load_authority(tmp_path)
    assert loaded.territory == HERE
    assert loaded.root == made.root
    issue(loaded, Node(HERE, NANCY), NOW).certificate.verify_directly_issued_by(made.issuing)


def test_an_authority_is_never_replaced(tmp_path: Path) -> None:
    init_authority(tmp_path, HERE, NOW)
    with pytest.raises(FileExistsError):
        init_authority(tmp_path, HERE, NOW)


def test_a_key_of_another_authority_is_noticed(tmp_path: Path) -> None:
    init_authority(tmp_path / "one", HERE, NOW)
    init_authority(tmp_path / "other", HERE, NOW)
    (tmp_path / "one" / ISSUING_KEY_FILE).write_bytes((tmp_path / "other" / ISSUING_KEY_FILE).read_bytes())
    with pytest.raises(ValueError, match="is not the key"):
        load_authority(tmp_path / "one")


def test_a_bundle_is_whole_private_and_renewed_in_place(tmp_path: Path) -> None:
    now = SystemClock().now()
    authority, _ = make_authority(HERE, now)
    folder = tmp_path / "bundles" / "node"
    serials = set()
    for _ in range(3):
        issue(authority, Node(HERE, NANCY), now).write(folder)
        bundle = read_bundle(folder, now)
        assert bundle.identity == Node(HERE, NANCY)
        serials.add(bundle.serial)
    assert len(serials) == 3
    assert {path.name for path in folder.iterdir()} == {CERTIFICATE_FILE, KEY_FILE, TRUST_FILE}
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"first", mode=0o600)
    not_bytes: Any = "text"
    with pytest.raises(TypeError):
        write_atomically(path, not_bytes, mode=0o600)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]
