"""Who belongs to the territory, where nodes can be dialled, and who speaks when somebody calls.

Membership, legal entity, coordinates and hosting come from the territory file, never from the node (CONTRACT 3). The
address is that of the node's last Announce, the file's before. A caller's standing comes from its certificate and, for
operators, from the hub's own table of roles.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

import msgspec

from aval.hub.model import Mandate, Member
from aval.hub.picture import Viewpoint
from aval.hub.ports import Announcement, Caller, Store
from aval.hub.settings import Role
from aval.kernel.clock import Clock
from aval.kernel.identity import CallerKind, HubOperator
from aval.kernel.reasons import Reason, Refusal, field_invalid
from aval.kernel.statuses import Audience


class Distance(NamedTuple):
    """Between two establishments: great-circle kilometres, and minutes by road (None if not known)."""

    km: float
    minutes: float | None


class SignedIn(NamedTuple):
    """The person at a desk, from its verified sign-in."""

    subject: str
    display_name: str
    role: str


ReadActor = Callable[[bytes], SignedIn]
"""Reads what a desk says of its person; raises `Refusal(FIELD_INVALID)`."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who makes a call: `role` is None for a member's own people, `establishment` "" for those of the hub.

    `request_id`: under which the call is logged.
    """

    caller: str
    actor: str
    display_name: str
    role: Role | None
    establishment: str
    request_id: str

    def may_see(self, on_behalf_of: str) -> bool:
        """Whether a request in the name of that member is shown: to its own people, and to the cell."""
        return self.role is Role.CELL or (self.role is None and self.establishment == on_behalf_of)

    def mandate(self, on_behalf_of: str, now: datetime) -> Mandate:
        """The mandate of an act of this speaker in a member's name."""
        role = "operator" if self.role is None else self.role.value
        return Mandate(self.caller, self.actor, self.display_name, role, on_behalf_of, now, self.request_id)


class Registry:
    """The members of one territory; addresses change, members do not while a hub runs."""

    def __init__(
        self,
        members: Mapping[str, Member],
        distances: Mapping[tuple[str, str], Distance],
        roles: Mapping[str, Role],
        store: Store,
        clock: Clock,
    ) -> None:
        """`members` by FINESS; `distances` by (origin, destination); `roles` by the name of a hub's operator."""
        self.members = dict(sorted(members.items()))
        self.distances = distances
        self._roles = roles
        self._store = store
        self._clock = clock
        self._announcements: dict[str, Announcement] = {}
        self._announced_at: dict[str, float] = {}
        self._certificate_ends: dict[str, datetime] = {}
        # Who sees what depends on these facts alone: a change of them is another view of every establishment.
        facts = [(finess, member.audience.value) for finess, member in self.members.items()]
        self.version = sha256(msgspec.json.encode(facts)).hexdigest()

    async def load(self) -> None:
        """Takes up what nodes announced before this hub was started."""
        for announcement in await self._store.read(lambda transaction: transaction.announcements()):
            if announcement.establishment in self.members:
                self._announcements[announcement.establishment] = announcement

    def member(self, finess: str) -> Member:
        """A member. Raises `Refusal(NOT_A_MEMBER)`."""
        member = self.members.get(finess)
        if member is None:
            raise Refusal(Reason.NOT_A_MEMBER, {"establishment": finess})
        return member

    def address(self, finess: str) -> str:
        """Where the node is dialled; empty if nobody has said."""
        announcement = self._announcements.get(finess)
        return announcement.address if announcement else self.members[finess].address

    def announcement(self, finess: str) -> Announcement | None:
        """What the node last said of itself."""
        return self._announcements.get(finess)

    def announce_age(self, finess: str) -> timedelta | None:
        """Time since its last Announce; None if there was none since this hub started."""
        at = self._announced_at.get(finess)
        return None if at is None else timedelta(seconds=self._clock.monotonic() - at)

    def certificate_end(self, finess: str) -> datetime | None:
        """When the certificate of its last Announce ends."""
        return self._certificate_ends.get(finess)

    def take(self, announcement: Announcement) -> None:
        """What a node has said of itself to another hub of the territory."""
        if announcement.establishment in self.members:
            self._announcements[announcement.establishment] = announcement

    async def announce(self, caller: Caller, announcement: Announcement) -> None:
        """A node says where it is, itself only. Raises NOT_YOUR_ESTABLISHMENT, NOT_A_MEMBER, FIELD_INVALID."""
        finess = announcement.establishment
        if caller.identity.establishment != finess:
            raise Refusal(Reason.NOT_YOUR_ESTABLISHMENT, {"establishment": finess})
        self.member(finess)
        _check_address(announcement.address)
        # Stored though it may say nothing new: other hubs learn by it that the node has called.
        await self._store.run(lambda transaction: transaction.save_announcement(announcement))
        self._announcements[finess] = announcement
        self._announced_at[finess] = self._clock.monotonic()
        self._certificate_ends[finess] = caller.peer.not_after

    def viewpoint(self, caller: Caller) -> Viewpoint:
        """What the caller may see of units (CONTRACT 12). Raises NOT_A_MEMBER, ROLE_NOT_ALLOWED."""
        if caller.kind is CallerKind.FOREIGN_HUB:
            return Viewpoint(Audience.EVERYONE)
        finess = caller.identity.establishment
        if finess is not None:
            return Viewpoint(self.member(finess).audience, str(finess))
        if isinstance(caller.identity, HubOperator):
            self._role(caller.identity.name)
        return Viewpoint(Audience.GHT)

    def speaker(self, caller: Caller, signed_in: SignedIn | None) -> Speaker:
        """Who speaks; `signed_in` is what a desk said of its person. Raises NOT_A_MEMBER, ROLE_NOT_ALLOWED."""
        uri, finess = str(caller.identity), caller.identity.establishment
        actor = signed_in.subject if signed_in else uri
        name = uri.rpartition("/")[2]
        display_name = signed_in.display_name if signed_in else name
        if finess is not None:
            self.member(finess)
            return Speaker(uri, actor, display_name, None, str(finess), caller.request_id)
        if isinstance(caller.identity, HubOperator):
            return Speaker(uri, actor, display_name, self._role(name), "", caller.request_id)
        try:
            role = Role(signed_in.role if signed_in else "")
        except ValueError:
            problem = "the desk must say who is signed in, as cell or management"
            raise Refusal(Reason.ROLE_NOT_ALLOWED, {"problem": problem}) from None
        return Speaker(uri, actor, display_name, role, "", caller.request_id)

    def acts_for(self, speaker: Speaker, on_behalf_of: str) -> str:
        """The member (FINESS) in whose name an act is; `on_behalf_of` is what the caller said, empty if nothing.

        Raises FIELD_INVALID if the cell does not say, NOT_YOUR_ESTABLISHMENT, NOT_A_MEMBER.
        """
        if speaker.role is None:
            if on_behalf_of not in ("", speaker.establishment):
                raise Refusal(Reason.NOT_YOUR_ESTABLISHMENT, {"establishment": on_behalf_of})
            return speaker.establishment
        if not on_behalf_of:
            raise field_invalid("on_behalf_of", "the cell names the establishment that it acts for")
        return self.member(on_behalf_of).finess

    def _role(self, name: str) -> Role:
        role = self._roles.get(name)
        if role is None:
            raise Refusal(Reason.ROLE_NOT_ALLOWED, {"operator": name, "problem": "the hub's settings give it no role"})
        return role


def _check_address(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536 and len(address) <= 300):
        raise field_invalid("address", "host:port is needed")
