"""Who may read the endpoint: nobody may learn there what its own hub or node would not tell it.

The endpoint reads with an identity of its own and serves what *that* identity sees. So it serves only those who see at
least as much by themselves:

- beside a **node**, whoever the node's own table lets call `ListUnits`: the house's staff, adapters, desk and node, and
  the territory's hub;
- beside a **hub, as an operator of the hub** (the audience GHT): the hub's operators that the settings name, its desk,
  and members of the GHT by the hub's registry. A partner sees less, and is refused;
- beside a **hub, as one of an establishment**: that establishment's own people, and its node.

Certificates of other territories are refused by TLS already: only this territory's roots are trusted here. Each request
looks at the certificate again, its dates and the deny-list: a connection outlives a revocation.
"""

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from aval.adapters.wire.credentials import identity_of
from aval.adapters.wire.peers import DenyList, Peer
from aval.kernel.access import Server, may_call
from aval.kernel.clock import Clock
from aval.kernel.identity import HubOperator, HubReplica, Identity, Node, standing
from aval.kernel.reasons import Reason, Refusal

READ = "/aval.v1.AvailabilityService/ListUnits"
"""The method whose callers may read."""


@dataclass(frozen=True, slots=True)
class Readers:
    """The rule of one endpoint. `own` is the identity that it reads with; `operators` the hub's operators that may
    read, by name."""

    own: Identity
    beside: Server
    clock: Clock
    operators: Collection[str] = ()
    deny_list: DenyList | None = None

    def identify(self, certificate: bytes | None) -> Peer:
        """The holder of a certificate (DER) that TLS has verified, checked now. Raises the `Refusal` that says why it
        is nobody here."""
        if not certificate:
            raise Refusal(Reason.PEER_UNIDENTIFIED)
        try:
            read = x509.load_der_x509_certificate(certificate)
        except ValueError:
            raise Refusal(Reason.PEER_UNIDENTIFIED) from None
        identity = identity_of(read)
        spki = read.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        peer = Peer(
            identity,
            standing(identity, self._served()),
            f"{read.serial_number:x}",
            sha256(spki).hexdigest(),
            read.not_valid_before_utc,
            read.not_valid_after_utc,
        )
        now = self.clock.now()
        if now >= peer.not_after:
            raise Refusal(Reason.CERTIFICATE_EXPIRED, {"not_after": peer.not_after.isoformat()})
        if now < peer.not_before:
            raise Refusal(Reason.CERTIFICATE_NOT_YET_VALID, {"not_before": peer.not_before.isoformat()})
        if self.deny_list is not None:
            self.deny_list.check(peer)
        return peer

    def admit(self, peer: Peer, ght: Collection[str]) -> None:
        """Whether it may read; `ght` holds the FINESS of the GHT's members. Raises `Refusal(METHOD_NOT_ALLOWED)`,
        `Refusal(ROLE_NOT_ALLOWED)`, `Refusal(NOT_YOUR_ESTABLISHMENT)`."""
        if not may_call(self.beside, READ, peer.kind):
            raise Refusal(Reason.METHOD_NOT_ALLOWED, {"method": READ, "caller": peer.kind.value})
        if self.beside is Server.NODE:
            return
        of_house = peer.identity.establishment
        if self.own.establishment is not None:
            if of_house != self.own.establishment:
                raise Refusal(Reason.NOT_YOUR_ESTABLISHMENT, {"establishment": str(self.own.establishment)})
        elif of_house is not None:
            if str(of_house) not in ght:
                problem = "a partner sees less than this endpoint shows: it reads the hub itself"
                raise Refusal(Reason.NOT_YOUR_ESTABLISHMENT, {"establishment": str(of_house), "problem": problem})
        elif isinstance(peer.identity, HubOperator) and peer.identity.name not in self.operators:
            raise Refusal(Reason.ROLE_NOT_ALLOWED, {"operator": peer.identity.name})

    def _served(self) -> Identity:
        """The server beside which the endpoint stands."""
        if self.beside is Server.NODE and self.own.establishment is not None:
            return Node(self.own.territory, self.own.establishment)
        return HubReplica(self.own.territory, 0)
