"""Who is who: the identities of a territory, parsed once from the one URI SAN of a certificate (DESIGN §9).

    spiffe://T/hub/replica/N                     a process of the hub
    spiffe://T/hub/operator/NAME                 a person of the coordination cell or of management
    spiffe://T/hub/desk                          the hub's pages, which carry verified people
    spiffe://T/establishment/F                   a node
    spiffe://T/establishment/F/operator/NAME     a member of an establishment's staff
    spiffe://T/establishment/F/adapter/NAME      a program that feeds its node
    spiffe://T/establishment/F/desk              an establishment's pages

`T`, the territory, is a lower-case DNS name; `F` a FINESS of an establishment. Anything else is nobody: there is no
identity by default, and none that is parsed loosely. What a caller may do depends on its kind *as the server that it
calls sees it*: `standing` says that, and `aval.kernel.access` has the table of methods.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from aval.kernel.finess import FinessET
from aval.kernel.reasons import Reason, Refusal

URI_LENGTH_MAX = 512
"""Longest URI SAN that is read: SPIFFE allows 2,048 bytes, our longest form needs 330."""

TERRITORY_LENGTH_MAX = 200
"""Longest territory: with `540000023.establishment.` before it, it stays under the 253 characters of a DNS name."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_TERRITORY = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_REPLICA = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)


class CallerKind(StrEnum):
    """What a caller is for the server that it calls. The access table speaks of these, and of nothing finer."""

    HUB_REPLICA = "hub-replica"
    HUB_OPERATOR = "hub-operator"
    HUB_DESK = "hub-desk"
    NODE = "node"
    STAFF = "staff"
    ADAPTER = "adapter"
    ESTABLISHMENT_DESK = "establishment-desk"
    FOREIGN_HUB = "foreign-hub"
    """A hub of another territory whose trust bundle is declared: availability only."""


class Territory(str):
    """A territory's name, a lower-case DNS name such as `ge-10.aval.internal`: the trust domain of its certificates."""

    __slots__ = ()

    def __new__(cls, text: str) -> "Territory":
        """`text` itself, checked. Raises `Refusal(IDENTITY_MALFORMED)`."""
        if len(text) > TERRITORY_LENGTH_MAX or not _TERRITORY.fullmatch(text):
            raise _malformed(text, "a territory is a lower-case DNS name, such as ge-10.aval.internal")
        return super().__new__(cls, text)


def _malformed(text: str, problem: str) -> Refusal:
    shown = text[:120].encode("ascii", "backslashreplace").decode()
    return Refusal(Reason.IDENTITY_MALFORMED, {"identity": shown, "problem": problem})


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise _malformed(name, "a name is 1 to 63 of a-z 0-9 . _ -, and begins with a letter or a digit")


@dataclass(frozen=True, slots=True)
class Identity:
    """What all identities share. `str()` is the URI, and `parse_identity` reads it back."""

    territory: Territory

    @property
    def kind(self) -> CallerKind:
        """Its kind within its own territory; `standing` gives the kind for a given server."""
        raise NotImplementedError

    @property
    def path(self) -> str:
        """What follows the territory in the URI, without a leading slash."""
        raise NotImplementedError

    @property
    def establishment(self) -> FinessET | None:
        """The establishment that it belongs to; None for those of the hub."""
        return None

    @property
    def dns_name(self) -> str | None:
        """The one DNS SAN of a server's certificate (CONTRACT 2), which its clients ask for; else None."""
        return None

    def __str__(self) -> str:
        return f"spiffe://{self.territory}/{self.path}"


@dataclass(frozen=True, slots=True)
class HubReplica(Identity):
    """A process of the hub. Replicas share one DNS name: any of them may answer."""

    number: int

    def __post_init__(self) -> None:
        if not 0 <= self.number <= 999:
            raise _malformed(str(self.number), "a replica's number is between 0 and 999")

    @property
    def kind(self) -> CallerKind:
        """A hub's process."""
        return CallerKind.HUB_REPLICA

    @property
    def path(self) -> str:
        """`hub/replica/N`."""
        return f"hub/replica/{self.number}"

    @property
    def dns_name(self) -> str | None:
        """`hub.T`."""
        return hub_dns_name(self.territory)


@dataclass(frozen=True, slots=True)
class HubOperator(Identity):
    """A person of the cell or of management; which of them, the hub's own table of roles says."""

    name: str

    def __post_init__(self) -> None:
        _check_name(self.name)

    @property
    def kind(self) -> CallerKind:
        """An operator of the hub."""
        return CallerKind.HUB_OPERATOR

    @property
    def path(self) -> str:
        """`hub/operator/NAME`."""
        return f"hub/operator/{self.name}"


@dataclass(frozen=True, slots=True)
class HubDesk(Identity):
    """The hub's pages: believed about who has signed in there."""

    @property
    def kind(self) -> CallerKind:
        """The hub's desk."""
        return CallerKind.HUB_DESK

    @property
    def path(self) -> str:
        """`hub/desk`."""
        return "hub/desk"


@dataclass(frozen=True, slots=True)
class _OfEstablishment(Identity):
    """Those that belong to one establishment."""

    finess: FinessET

    @property
    def establishment(self) -> FinessET | None:
        """Its own."""
        return self.finess


@dataclass(frozen=True, slots=True)
class Node(_OfEstablishment):
    """An establishment's node, the authority on its beds."""

    @property
    def kind(self) -> CallerKind:
        """A node."""
        return CallerKind.NODE

    @property
    def path(self) -> str:
        """`establishment/F`."""
        return f"establishment/{self.finess}"

    @property
    def dns_name(self) -> str | None:
        """`F.establishment.T`, in lower case."""
        return node_dns_name(self.territory, self.finess)


@dataclass(frozen=True, slots=True)
class Staff(_OfEstablishment):
    """A person of an establishment."""

    name: str

    def __post_init__(self) -> None:
        _check_name(self.name)

    @property
    def kind(self) -> CallerKind:
        """A member of an establishment's staff."""
        return CallerKind.STAFF

    @property
    def path(self) -> str:
        """`establishment/F/operator/NAME`."""
        return f"establishment/{self.finess}/operator/{self.name}"


@dataclass(frozen=True, slots=True)
class Adapter(_OfEstablishment):
    """A program that feeds movements to its own node, for the units declared to it."""

    name: str

    def __post_init__(self) -> None:
        _check_name(self.name)

    @property
    def kind(self) -> CallerKind:
        """An adapter."""
        return CallerKind.ADAPTER

    @property
    def path(self) -> str:
        """`establishment/F/adapter/NAME`."""
        return f"establishment/{self.finess}/adapter/{self.name}"


@dataclass(frozen=True, slots=True)
class EstablishmentDesk(_OfEstablishment):
    """An establishment's pages: believed about who has signed in there."""

    @property
    def kind(self) -> CallerKind:
        """An establishment's desk."""
        return CallerKind.ESTABLISHMENT_DESK

    @property
    def path(self) -> str:
        """`establishment/F/desk`."""
        return f"establishment/{self.finess}/desk"


def hub_dns_name(territory: Territory) -> str:
    """The DNS name in the certificate of any replica of a territory's hub: what its clients dial as authority."""
    return f"hub.{territory}"


def node_dns_name(territory: Territory, finess: FinessET) -> str:
    """The DNS name in the certificate of an establishment's node: what its clients dial as authority."""
    return f"{finess.lower()}.establishment.{territory}"


def parse_identity(uri: str) -> Identity:
    """The identity that a URI SAN states. Raises `Refusal(IDENTITY_MALFORMED)`, or MALFORMED_FINESS for a bad number.

    Strict: no query, fragment, port, user, escape, empty or extra segment, and no second spelling of anything.
    """
    scheme = "spiffe://"
    if len(uri) > URI_LENGTH_MAX:
        raise _malformed(uri, f"a URI of more than {URI_LENGTH_MAX} characters")
    if not uri.startswith(scheme):
        raise _malformed(uri, "the URI must begin with spiffe://")
    territory_text, _, path = uri.removeprefix(scheme).partition("/")
    territory = Territory(territory_text)
    match path.split("/"):
        case ["hub", "replica", number] if _REPLICA.fullmatch(number):
            return HubReplica(territory, int(number))
        case ["hub", "operator", name]:
            return HubOperator(territory, name)
        case ["hub", "desk"]:
            return HubDesk(territory)
        case ["establishment", finess]:
            return Node(territory, FinessET(finess))
        case ["establishment", finess, "operator", name]:
            return Staff(territory, FinessET(finess), name)
        case ["establishment", finess, "adapter", name]:
            return Adapter(territory, FinessET(finess), name)
        case ["establishment", finess, "desk"]:
            return EstablishmentDesk(territory, FinessET(finess))
        case _:
            raise _malformed(
                uri, "no identity has this path (hub/replica/N, hub/operator/NAME, hub/desk, establishment/F…)"
            )


def standing(caller: Identity, server: Identity, foreign: frozenset[Territory] = frozenset()) -> CallerKind:
    """What `caller` is for `server`, one of the territory's nodes or hub replicas. The access table then decides.

    - from another territory, only a hub replica of one whose trust bundle is declared (`foreign`), as FOREIGN_HUB;
    - at a node, of those who belong to an establishment, only its own;
    - else its own kind.

    Raises `Refusal(OTHER_TERRITORY)` or `Refusal(NOT_YOUR_ESTABLISHMENT)`.
    """
    if caller.territory != server.territory:
        if caller.territory in foreign and caller.kind is CallerKind.HUB_REPLICA:
            return CallerKind.FOREIGN_HUB
        raise Refusal(Reason.OTHER_TERRITORY, {"territory": str(server.territory)})
    if server.establishment is not None and caller.establishment not in (None, server.establishment):
        raise Refusal(Reason.NOT_YOUR_ESTABLISHMENT, {"establishment": str(server.establishment)})
    return caller.kind
