"""What is said to an establishment's ledger, one frozen value a verb, and what it answers.

The shell translates messages of the wire into these, checks cursor and age (NODE_RESTORED, COMMAND_TOO_OLD,
COMMAND_UNKNOWN), and asks `Ledger.decide(command, now)`. Two families bear the idempotence of DESIGN §5:

- `HubCommand`: the requester's verbs, numbered for each reservation. A number not above the last decided decides
  nothing and gets that verdict, with the present state.
- `StaffCommand`: the house's own, by `command_id` alone.

`content` is the hash of the request's canonical bytes (less age and cursor), made by the shell: the same id with
another content is refused ID_REUSED. Time, too, speaks by a command: `Tick`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aval.kernel.identity import CallerKind
from aval.kernel.lifecycle import (
    DeclineReason,
    NoteVerdict,
    Question,
    ReleaseReason,
    Step,
    WaitlistReason,
    WithdrawReason,
)
from aval.kernel.need import Feature, Mode, Need, Urgency
from aval.kernel.reasons import Refusal
from aval.kernel.statuses import Gender
from aval.node.model import (
    Bed,
    Change,
    Conflict,
    Detail,
    Doubt,
    Fate,
    Mandate,
    Movement,
    Parked,
    Phone,
    Policy,
    Reservation,
    Room,
    Tombstone,
    Unit,
    Visibility,
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who speaks, as the gate found.

    `mandate` is what is kept of it: the hub's word for its commands, else the node's.
    """

    uri: str
    kind: CallerKind
    territory: str
    mandate: Mandate = field(default_factory=Mandate)

    @property
    def scope(self) -> str:
        """Within what a command's id is unique: the identity; for a hub, whichever replica speaks."""
        return f"{self.territory}/hub" if self.kind is CallerKind.HUB_REPLICA else self.uri


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What all commands share."""

    caller: Caller
    command_id: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HubCommand(Command):
    """A verb of the requester's hub, for one reservation of its territory (`reservation` is the bare uuid)."""

    number: int
    reservation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StaffCommand(Command):
    """A verb of the house's own people or programs."""


# --- the requester's verbs -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateReservation(HubCommand):
    """Asks one unit. `command_id` is the reservation's id. `ttl`, `valid_until` None: the policy's, the need's."""

    request: str
    reference: str
    unit: str
    need: Need
    mode: Mode
    urgency: Urgency
    ready_since: datetime | None = None
    asked_count: int = 1
    ttl: timedelta | None = None
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmReservation(HubCommand):
    """Confirms the offer that bears this tag."""

    offer_tag: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseReservation(HubCommand):
    """Ends it, in the requester's name."""

    reason: ReleaseReason


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewReservation(HubCommand):
    """Prolongs a hold, from now."""

    ttl: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RescheduleReservation(HubCommand):
    """Moves the arrival of a confirmed reservation."""

    arrival: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SupplyDetails(HubCommand):
    """Answers the house's questions."""

    details: tuple[Detail, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteAnswer(HubCommand):
    """An answer got by telephone. The note's id is the command's."""

    verdict: NoteVerdict
    answered_by: str = ""
    decline: DeclineReason | None = None
    said: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reinstate(HubCommand):
    """What the hub knew of a live reservation before the node was restored, in the history `heard` (an incarnation).

    `number` is that of the last command that the hub knows decided: no number of its own. `known.content` is empty: the
    hub does not say again what its creation said.
    """

    known: Reservation
    heard: int


# --- the house's verbs on reservations -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationStaffCommand(StaffCommand):
    """A verb of staff on one reservation of the caller's territory (bare uuid)."""

    reservation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptReservation(ReservationStaffCommand):
    """Grants a bed: chosen by the ledger unless `bed` says it; of the unit asked unless `unit` says another."""

    unit: str | None = None
    bed: str | None = None
    arrival: datetime | None = None
    ttl: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReofferReservation(ReservationStaffCommand):
    """Changes the offer of a held reservation; None keeps what was."""

    unit: str | None = None
    bed: str | None = None
    arrival: datetime | None = None
    ttl: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitlistReservation(ReservationStaffCommand):
    """Puts it on the waiting list of its unit."""

    reason: WaitlistReason


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclineReservation(ReservationStaffCommand):
    """Says no."""

    reason: DeclineReason


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawReservation(ReservationStaffCommand):
    """Takes back what was granted."""

    reason: WithdrawReason


@dataclass(frozen=True, slots=True, kw_only=True)
class AskDetails(ReservationStaffCommand):
    """Opens questions."""

    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TickStep(ReservationStaffCommand):
    """Ticks a step of admission, or unticks it."""

    step: Step
    undo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkSeen(ReservationStaffCommand):
    """A person has opened it; the first one is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmitReservation(ReservationStaffCommand):
    """The patient has arrived; `stay` is its opaque key where the census already holds it."""

    bed: str | None = None
    stay: str = ""
    arrived: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAdmission(ReservationStaffCommand):
    """The admission was a mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleNote(ReservationStaffCommand):
    """Applies a telephone note, or rejects it."""

    note: str
    apply: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveClaim(ReservationStaffCommand):
    """Moves a claim to another bed of its unit; `unit` is that of the bed."""

    unit: str
    bed: str


# --- the census ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyMovement(StaffCommand):
    """A movement. `command_id` is not used: it is known by (source, movement id).

    `stale_sources` are those whose last proof of life is older than their `stale_min`, as the shell reckons ages: an
    outranked source is heard once all above it are stale. An adapter is refused NOT_YOUR_UNIT by the ledger.
    """

    movement: Movement
    stale_sources: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleMovement(StaffCommand):
    """Applies a parked movement as corrected, whatever its source's rank; or discards it, with a reason."""

    parked: str
    corrected: Movement | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportAlive(StaffCommand):
    """Proof of life of a source: no fact, hence no revision and no record. `command_id` is not used."""

    source: str


@dataclass(frozen=True, slots=True)
class DeclaredPlaces:
    """Counts of one gender as a person or a file states them. `installed` None keeps what was declared."""

    gender: Gender
    open: int
    occupied: int
    installed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclareUnit(StaffCommand):
    """Creates or replaces a unit's description. `policy`, `visibility` None keep the present ones, or the defaults.

    `unit.policy` and `unit.visibility` are ignored. A bed left out is removed once it is empty and unclaimed.
    """

    unit: Unit
    rooms: tuple[Room, ...] = ()
    beds: tuple[Bed, ...] = ()
    places: tuple[DeclaredPlaces, ...] = ()
    policy: Policy | None = None
    visibility: Visibility | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmUnit(StaffCommand):
    """« Rien n'a changé »: a person's proof of life. Empty: every unit that a person feeds."""

    units: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclareCounts(StaffCommand):
    """Counts by hand. The shell sets `figures_moved` when the unit changed since the cursor that the person had seen.

    `source` empty: the unit's first source of kind person. `stale_sources` as in `ApplyMovement`.
    """

    unit: str
    places: tuple[DeclaredPlaces, ...]
    source: str = ""
    figures_moved: bool = False
    stale_sources: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectFigures(StaffCommand):
    """A person's word against a source, 4 h at most. `figures_moved` as in `DeclareCounts`."""

    unit: str
    free: int
    reason: str
    ttl: timedelta
    figures_moved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SetUnitPolicy(StaffCommand):
    """Changes a policy, whole."""

    unit: str
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVisibility(StaffCommand):
    """Changes what audiences see of units."""

    units: tuple[str, ...]
    visibility: Visibility


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateEstablishment(StaffCommand):
    """Name, telephones, time zone."""

    display_name: str
    phones: tuple[Phone, ...]
    time_zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateBed(StaffCommand):
    """Changes a bed's room, gender or features."""

    unit: str
    bed: str
    room: str
    gender: Gender
    features: frozenset[Feature]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerArrivalDoubt(StaffCommand):
    """« Est-ce K7-3F9 ? » `reservation` (bare uuid) is the one it is; empty: none of them."""

    doubt: str
    reservation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleConflict(StaffCommand):
    """Settles a conflict by exactly one of: another bed of the house, a withdrawal, a supplementary bed."""

    unit: str
    conflict: str
    to_unit: str = ""
    bed: str = ""
    withdraw: WithdrawReason | None = None
    supplementary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyUnit(StaffCommand):
    """A person has compared a unit of a restored node with reality."""

    unit: str


@dataclass(frozen=True, slots=True)
class Reconcile:
    """This database was put back to an earlier state: the hub has heard the history `heard` (an incarnation) of it.

    `incarnation` is the new one, drawn by the shell; None where the database already has it.
    """

    heard: int
    incarnation: int | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passes: holds expire, marks appear, closures end, records are dropped."""


AnyCommand = HubCommand | StaffCommand | Tick | Reconcile


# --- what is answered ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a command: what was done, or `refusal`; and the things that it is about, as they now stand.

    `replayed`: it had been decided before; the verdict is the kept one, the state is the present one.
    `names` are those of conflicts caused (`unit/uuid`). `fate`, `reason` and `metadata` are a movement's.
    """

    refusal: Refusal | None = None
    reservation: Reservation | Tombstone | None = None
    unit: str = ""
    units: tuple[str, ...] = ()
    fate: Fate | None = None
    reason: str = ""
    names: tuple[str, ...] = ()
    doubt: Doubt | None = None
    parked: Parked | None = None
    conflict: Conflict | None = None
    replayed: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What deciding gives: the rows to commit and apply, the verdict, the names touched, the sources heard.

    No change: no commit and no revision. `units` are those whose figures or description may have changed,
    `reservations` the keys of those that did. `proofs` are ids of sources that gave a proof of life, as old
    as `proof_age`. `incarnation`: the history that begins with it.
    """

    changes: tuple[Change, ...] = ()
    verdict: Verdict = field(default_factory=Verdict)
    units: frozenset[str] = frozenset()
    reservations: frozenset[str] = frozenset()
    proofs: tuple[str, ...] = ()
    proof_age: timedelta = timedelta(0)
    establishment: bool = False
    incarnation: int | None = None
