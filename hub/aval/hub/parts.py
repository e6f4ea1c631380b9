"""The hub's parts put together, as its servicers use them, and what they all ask: who speaks, what may it see."""

from dataclasses import dataclass

from aval.hub import picture
from aval.hub.files import Files
from aval.hub.model import establishment_of
from aval.hub.picture import LinkState, Picture, Seen, Viewpoint
from aval.hub.pictures import Pictures
from aval.hub.ports import CurrentCaller, Store
from aval.hub.registry import ReadActor, Registry, Speaker
from aval.hub.routes import Route
from aval.hub.searching import Searching
from aval.hub.settings import Role
from aval.kernel.clock import Clock, Rng
from aval.kernel.reasons import Reason, Refusal


@dataclass(frozen=True)
class Hub:
    """Made by the composition root."""

    territory: str
    registry: Registry
    pictures: Pictures
    files: Files
    searching: Searching
    routes: dict[str, Route]
    store: Store
    clock: Clock
    rng: Rng
    current_caller: CurrentCaller
    read_actor: ReadActor
    progress_seconds: float

    def caller_uri(self) -> str:
        """The caller's identity, for page tokens and records of acts."""
        return str(self.current_caller().identity)

    def speaker(self) -> Speaker:
        """Who speaks. Raises NOT_A_MEMBER, ROLE_NOT_ALLOWED, FIELD_INVALID."""
        caller = self.current_caller()
        return self.registry.speaker(caller, self.read_actor(caller.actor) if caller.actor is not None else None)

    def regulator(self) -> Speaker:
        """Who speaks, if it may read needs. Raises ROLE_NOT_ALLOWED for management."""
        speaker = self.speaker()
        if speaker.role is Role.MANAGEMENT:
            raise Refusal(Reason.ROLE_NOT_ALLOWED, {"role": Role.MANAGEMENT.value})
        return speaker

    def viewpoint(self) -> Viewpoint:
        """What the caller may see of units."""
        return self.registry.viewpoint(self.current_caller())

    def picture(self, finess: str) -> Picture:
        """An establishment's picture. Raises ESTABLISHMENT_NOT_FOUND."""
        found = self.pictures.of(finess)
        if found is None:
            raise Refusal(Reason.ESTABLISHMENT_NOT_FOUND, {"establishment": finess})
        return found

    def seen(self, finess: str, viewpoint: Viewpoint) -> tuple[Seen, ...]:
        """The units of an establishment as that viewpoint sees them now."""
        found = self.picture(finess)
        return picture.seen(found, viewpoint, self.clock.monotonic(), lost_after=self.pictures.lost_after)

    def link_state(self, finess: str) -> LinkState:
        """How the link to a node stands."""
        return picture.link_state(self.picture(finess), self.clock.monotonic(), self.pictures.lost_after)

    def check_unit(self, name: str, viewpoint: Viewpoint) -> None:
        """Raises UNIT_NOT_FOUND unless the unit is there and shown, NOT_A_MEMBER for a house that is none."""
        self.registry.member(establishment_of(name))
        unit = self.pictures.unit(name)
        if unit is None or picture.shown(unit, viewpoint) is None:
            raise Refusal(Reason.UNIT_NOT_FOUND, {"unit": name})

    def view(self, viewpoint: Viewpoint) -> bytes:
        """What a cursor served to that viewpoint bears."""
        return picture.view_of(viewpoint, self.registry.version)
