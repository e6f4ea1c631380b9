"""What the servicers of a node share: who calls, on whose behalf, and the one way into the ledger and out of it."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TypeVar

from aval.kernel.clock import Clock
from aval.kernel.finess import FinessET
from aval.kernel.identity import Adapter, CallerKind, Identity, Staff
from aval.kernel.reasons import Reason, Refusal
from aval.node.commands import AnyCommand, Caller, Reconcile, Verdict
from aval.node.history import Cursor, Standing
from aval.node.model import Mandate
from aval.node.pages import Pages
from aval.node.ports import Meter
from aval.node.published import Published
from aval.node.translate import inward
from aval.node.translate.outward import Reader
from aval.node.translate.shown import Moment
from aval.node.translate.words import Names
from aval.node.writer import Writer

_ROLES = {
    CallerKind.HUB_REPLICA: "replica",
    CallerKind.NODE: "node",
    CallerKind.STAFF: "operator",
    CallerKind.ADAPTER: "adapter",
    CallerKind.ESTABLISHMENT_DESK: "operator",
}

_Item = TypeVar("_Item")


class Peer(Protocol):
    """The caller of the RPC being served, as the gate found it. `actor`: a desk's `aval-actor-bin`, undecoded."""

    @property
    def identity(self) -> Identity:
        """The identity in its certificate."""
        ...

    @property
    def kind(self) -> CallerKind:
        """What it is for this node."""
        ...

    @property
    def actor(self) -> bytes | None:
        """Who has signed in, in a desk's word."""
        ...


class Edge:
    """One node's door, used by all its servicers."""

    def __init__(
        self,
        establishment: FinessET,
        writer: Writer,
        clock: Clock,
        pages: Pages,
        meter: Meter,
        current_peer: Callable[[], Peer],
        progress_seconds: float,
        new_incarnation: Callable[[], int],
    ) -> None:
        self.names = Names(establishment)
        self.writer = writer
        self.clock = clock
        self.meter = meter
        self.progress_seconds = progress_seconds
        self._pages = pages
        self._current_peer = current_peer
        self._new_incarnation = new_incarnation

    @property
    def published(self) -> Published:
        """What the node shows."""
        return self.writer.published

    def now(self) -> datetime:
        """The node's time."""
        return self.writer.now()

    def caller(self) -> Caller:
        """Who calls, with the mandate that this node gives it. Raises FIELD_INVALID for a desk's unreadable actor."""
        peer = self._current_peer()
        identity = peer.identity
        actor = inward.actor(peer.actor)
        name = identity.name if isinstance(identity, Staff | Adapter) else identity.path
        mandate = Mandate(
            caller=str(identity),
            actor=actor.subject if actor is not None else str(identity),
            display_name=(actor.display_name or actor.subject) if actor is not None else name,
            role=(actor.role if actor is not None else "") or _ROLES.get(peer.kind, ""),
            on_behalf_of=self.names.establishment,
            act_time=self.now(),
        )
        return Caller(str(identity), peer.kind, str(identity.territory), mandate)

    def reader(self) -> Reader:
        """Who reads."""
        peer = self._current_peer()
        return Reader.of(peer.kind, str(peer.identity.territory))

    def moment(self) -> Moment:
        """What is published now, as this caller may see it."""
        return Moment(self.published, self.names, self.reader(), self.now())

    async def submit(self, command: AnyCommand, seen: int | None = None) -> Verdict:
        """Has a command decided and stored. Raises its refusal."""
        verdict = await self.writer.submit(command, seen)
        if verdict.refusal is not None:
            raise verdict.refusal
        return verdict

    async def check_seen(self, cursor: Cursor) -> int:
        """The revision at which a person read. Raises `Refusal(FIGURES_MOVED)` for a cursor of another history."""
        if await self.writer.standing(cursor) is Standing.FOREIGN:
            raise Refusal(Reason.FIGURES_MOVED, {"field": "seen"})
        return cursor.revision

    async def check_hub_cursor(self, cursor: Cursor) -> None:
        """Raises `Refusal(NODE_RESTORED)` if this node's history does not hold what its hub has heard of it.

        Then the node reconciles, unless that history is known to be over: see `aval.node.reconciling`.
        """
        if await self.writer.standing(cursor) is Standing.FOREIGN:
            await self.submit(Reconcile(cursor.incarnation, self._new_incarnation()))
            here = self.published.cursor
            raise Refusal(
                Reason.NODE_RESTORED,
                {"incarnation": str(here.incarnation), "revision": str(here.revision), "heard": str(cursor.revision)},
            )

    def page(
        self,
        items: list[_Item],
        order: Callable[[_Item], tuple[str, ...]],
        size: int,
        token: str,
        *bound_to: str,
    ) -> tuple[list[_Item], str]:
        """One page of a list, and the token of the next. `bound_to`: the list and its filter. See `Pages.cut`."""
        caller = str(self._current_peer().identity)
        return self._pages.cut(items, order, size=size, token=token, bound_to=(caller, *bound_to))
