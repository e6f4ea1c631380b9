"""What the hub holds: requests with what was asked and what nodes last said, commands on their way, published figures.

All are frozen values that msgspec encodes; the decision modules (`brokerage`, `picture`, `matching`) turn them into new
ones, the store keeps them. Units, reservations and requests are called by their resource names, as on the wire
(`establishments/{finess}/units/{unit}`, `establishments/{finess}/reservations/{uuid}`, `requests/{uuid}`);
establishments by their bare FINESS. Instants are aware UTC.
"""

from datetime import date, datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from aval.kernel.disciplines import Discipline
from aval.kernel.hours import WeekHours
from aval.kernel.lifecycle import (
    AskState,
    DeclineReason,
    NoteFate,
    NoteVerdict,
    OutsideReason,
    Question,
    ReleasedBy,
    ReleaseReason,
    RequestState,
    ReservationState,
    Step,
    WaitlistReason,
    WithdrawReason,
)
from aval.kernel.need import Feature, Interval, Mode, Need, PatientChoice, Urgency
from aval.kernel.statuses import (
    Answering,
    Audience,
    ClosureKind,
    ClosureReason,
    ConflictCause,
    Counting,
    Gender,
    Horizon,
    Shown,
    SourceKind,
    Status,
)


def establishment_of(name: str) -> str:
    """The FINESS within the name of an establishment, or of a unit or reservation of it."""
    return name.split("/", 2)[1]


def id_of(name: str) -> str:
    """The last segment of a resource name."""
    return name.rsplit("/", 1)[1]


def reservation_name(establishment: str, reservation_id: str) -> str:
    """`establishments/{finess}/reservations/{uuid}`."""
    return f"establishments/{establishment}/reservations/{reservation_id}"


# --- who acts --------------------------------------------------------------------------------------------------------


class Mandate(Struct, frozen=True, omit_defaults=True):
    """Who acted, for whom (a FINESS), in which role, when; made by the hub from a verified caller (CONTRACT 4).

    `request_id`: under which that call was logged; it goes with the commands that it caused.
    """

    caller: str
    actor: str
    display_name: str
    role: str
    on_behalf_of: str
    act_time: datetime
    request_id: str = ""


class Cursor(Struct, frozen=True, omit_defaults=True):
    """A point of an establishment's history: DESIGN §5. `view` is set only on cursors that this hub serves."""

    establishment: str
    incarnation: int
    revision: int
    tag: bytes
    view: bytes = b""


# --- a reservation, as its node last told it -------------------------------------------------------------------------


class Deadline(Struct, frozen=True):
    """`expire_time` by the node's clock, for people; `here`: when heard plus what then remained, by the hub's clock."""

    expire_time: datetime
    here: datetime


class Offer(Struct, frozen=True, omit_defaults=True):
    """What an establishment offers. `tag` is opaque and new at each change; confirm gives it back."""

    unit: str
    arrival: datetime
    tag: bytes
    end: datetime | None = None
    gender: Gender = Gender.ANY
    features: frozenset[Feature] = frozenset()
    ttl: timedelta | None = None
    counter_offer: bool = False


class Ending(Struct, frozen=True, omit_defaults=True):
    """Why a reservation ended or waits: at most one of the four reasons, of the list that its act has."""

    decline: DeclineReason | None = None
    release: ReleaseReason | None = None
    withdraw: WithdrawReason | None = None
    waitlist: WaitlistReason | None = None
    by: Mandate | None = None
    end_time: datetime | None = None

    @property
    def reason(self) -> str:
        """The reason's name, empty if none."""
        return next((r.value for r in (self.decline, self.release, self.withdraw, self.waitlist) if r is not None), "")

    @property
    def released_by(self) -> ReleasedBy | None:
        """Whose word ended a RELEASED reservation."""
        if self.withdraw is not None:
            return ReleasedBy.ESTABLISHMENT
        return ReleasedBy.REQUESTER if self.release is not None else None


class Detail(Struct, frozen=True, omit_defaults=True):
    """An answer to a house's question: `yes` or `amount` (kg for the weight, 1 to 6 for the autonomy)."""

    question: Question
    yes: bool | None = None
    amount: int | None = None


class Marks(Struct, frozen=True, omit_defaults=True):
    """Remarks on a live reservation, as its node keeps them."""

    seen_by: Mandate | None = None
    seen_time: datetime | None = None
    open_questions: tuple[Question, ...] = ()
    details: tuple[Detail, ...] = ()
    late: bool = False
    overdue: bool = False
    conflicts: tuple[str, ...] = ()


class TickedStep(Struct, frozen=True):
    """A step of admission to an EHPAD, ticked by whom, when."""

    step: Step
    by: Mandate | None
    tick_time: datetime


class Note(Struct, frozen=True, omit_defaults=True):
    """An answer by telephone. `answered_by` is a function (« cadre de nuit »); `fate` None until the node has said."""

    id: str
    verdict: NoteVerdict
    answered_by: str
    written_by: Mandate | None
    say_time: datetime
    decline_reason: DeclineReason | None = None
    fate: NoteFate | None = None


class Told(Struct, frozen=True, omit_defaults=True):
    """What a reservation bears of its request: kept only of one whose request is not here."""

    reference: str
    need: Need
    mode: Mode
    urgency: Urgency
    requester: Mandate
    ready_since: datetime | None = None
    asked_count: int = 1


class KnownReservation(Struct, frozen=True, omit_defaults=True):
    """What a node last said of a reservation, and where in its history: (incarnation, revision).

    Need, requester, mode and urgency are the request's; they are not kept again, but of a reservation that no request
    holds (`told`).
    """

    name: str
    state: ReservationState
    incarnation: int
    revision: int
    request: str
    unit: str
    arrival: datetime
    create_time: datetime
    end: datetime | None = None
    offer: Offer | None = None
    answer_by: Deadline | None = None
    valid_until: Deadline | None = None
    expire: Deadline | None = None
    ending: Ending = Ending()
    marks: Marks = Marks()
    steps: tuple[TickedStep, ...] = ()
    notes: tuple[Note, ...] = ()
    last_command_number: int = 0
    renewals: int = 0
    waiting_rank: int = 0
    unverified: bool = False
    told: Told | None = None

    def is_newer_than(self, other: "KnownReservation") -> bool:
        """Whether this word is of a later revision of the same history, or of another history."""
        return self.incarnation != other.incarnation or self.revision > other.revision


# --- commands on their way -------------------------------------------------------------------------------------------


class Create(Struct, frozen=True, omit_defaults=True, tag="create"):
    """Asks a unit. It bears all that the node needs: a retry is the same bytes whatever became of the request."""

    request: str
    reference: str
    unit: str
    need: Need
    mode: Mode
    urgency: Urgency
    ready_since: datetime
    asked_count: int
    valid_until: datetime
    ttl: timedelta | None = None


class Confirm(Struct, frozen=True, tag="confirm"):
    """Confirms a hold as it was offered."""

    offer_tag: bytes


class Release(Struct, frozen=True, tag="release"):
    """Ends it in the requester's name; an unknown id leaves a tombstone at the node."""

    reason: ReleaseReason


class Renew(Struct, frozen=True, omit_defaults=True, tag="renew"):
    """Prolongs a hold; without `ttl`, by what the unit's policy says."""

    ttl: timedelta | None = None


class Reschedule(Struct, frozen=True, tag="reschedule"):
    """Moves the arrival of a confirmed reservation."""

    arrival: datetime


class SupplyDetails(Struct, frozen=True, tag="supply_details"):
    """Answers a house's questions."""

    details: tuple[Detail, ...]


class NoteAnswer(Struct, frozen=True, tag="note_answer"):
    """Carries a telephone answer to the node, whose policy applies or proposes it."""

    note: Note


class Reinstate(Struct, frozen=True, omit_defaults=True, tag="reinstate"):
    """Puts back, at a restored node, what was known of it: as its creation said it, and in whose name."""

    create: Create
    known: KnownReservation
    requester: Mandate


Body = Create | Confirm | Release | Renew | Reschedule | SupplyDetails | NoteAnswer | Reinstate
"""A command's verb with its content."""


def verb_of(body: Body) -> str:
    """Its name on the wire (`create`, `confirm`…), which is its tag in the store too."""
    tag = body.__struct_config__.tag
    return str(tag)


class OutboxRow(Struct, frozen=True, omit_defaults=True):
    """A command to a node, stored in the transaction of its cause: the only road to it (DESIGN §5).

    `id` is the command's id; numbers of one reservation grow from 1. `attempts` and `last_reason` are for people.
    """

    id: str
    request: str
    reservation: str
    number: int
    body: Body
    mandate: Mandate
    stored_at: datetime
    attempts: int = 0
    last_reason: str = ""

    @property
    def establishment(self) -> str:
        """The FINESS of the house that it goes to."""
        return establishment_of(self.reservation)

    @property
    def goes_ahead(self) -> bool:
        """Whether it goes before all that is queued already: what a node forgot comes before what it is asked next."""
        return isinstance(self.body, Reinstate)

    @property
    def verb(self) -> str:
        """Its verb's name on the wire."""
        return verb_of(self.body)


class Refused(Struct, frozen=True, omit_defaults=True):
    """A refusal inside an answer. `reason` is a name, maybe of a newer version; `retryable` as its sender says."""

    reason: str
    retryable: bool
    metadata: dict[str, str] = {}


class Answer(Struct, frozen=True, omit_defaults=True):
    """What a node made of a command: the reservation as it stands (None if unknown there), and a refusal if refused."""

    command_id: str
    known: KnownReservation | None = None
    refused: Refused | None = None


# --- a request and all that hangs on it ------------------------------------------------------------------------------


class ExternalReference(Struct, frozen=True):
    """A number in another system, such as ViaTrajectoire; it goes to no node."""

    system: str
    number: str


class EventKind(StrEnum):
    """What may happen to a request that people should be told."""

    PROMISE_WITHDRAWN = "promise_withdrawn"
    HOLD_EXPIRED = "hold_expired"
    OFFER_CHANGED = "offer_changed"
    REFUSED = "refused"
    DOUBLE_ADMISSION = "double_admission"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PLACED_OUTSIDE = "placed_outside"
    TAKEN_BACK = "taken_back"
    ADMISSION_CANCELLED = "admission_cancelled"
    RELEASED = "released"
    CONFIRMED = "confirmed"
    ADMITTED = "admitted"


class Event(Struct, frozen=True, omit_defaults=True):
    """Something of note: what, about which reservation, why (a name), when by the hub's clock, by whom if a person."""

    kind: EventKind
    at: datetime
    reservation: str = ""
    reason: str = ""
    by: Mandate | None = None


class AskTarget(Struct, frozen=True, omit_defaults=True):
    """A unit to ask: the reservation's UUID is its caller's."""

    reservation_id: str
    unit: str
    mode: Mode
    ttl: timedelta | None = None

    @property
    def reservation(self) -> str:
        """The name that the reservation will have."""
        return reservation_name(establishment_of(self.unit), self.reservation_id)


class ReleaseRefusal(Struct, frozen=True):
    """A release that its node refused for good, of what it then said; no other is sent at once (see `brokerage`)."""

    reason: str
    at: datetime
    incarnation: int
    revision: int


class Ask(Struct, frozen=True, omit_defaults=True):
    """One reservation of a request, as the hub knows it: an intention until its node has spoken.

    `last_number` is the highest command number used; `past_incarnations` are histories of its node that another one
    has replaced, whose words are dropped; `followed`: its loss has been answered by asking or proposing the next unit;
    `others_proposed`: it wished a hold and got none at once, and was told which other units fit.
    After a restore of its node (see `restoring`): `deferred` is the newest word heard while it is being reinstated;
    `over`: it had ended, and the restored node told it live again.
    """

    reservation: str
    unit: str
    mode: Mode
    mandate: Mandate
    asked_at: datetime
    asked_count: int = 1
    ttl: timedelta | None = None
    last_number: int = 0
    known: KnownReservation | None = None
    refused_reason: str = ""
    release_refusal: ReleaseRefusal | None = None
    past_incarnations: tuple[int, ...] = ()
    followed: bool = False
    others_proposed: bool = False
    alternatives: tuple[str, ...] = ()
    deferred: KnownReservation | None = None
    over: bool = False

    @property
    def establishment(self) -> str:
        """The FINESS of the house asked."""
        return establishment_of(self.reservation)

    @property
    def state(self) -> ReservationState | None:
        """Where its node last said that it stands."""
        return None if self.known is None else self.known.state

    @property
    def is_live(self) -> bool:
        """Not known to be over: a request that ends must not leave it behind."""
        if self.known is not None:
            return self.known.state.is_live
        return not self.refused_reason


class Request(Struct, frozen=True, omit_defaults=True):
    """A regulator's demand. `state` moves by the tables of `kernel.lifecycle` only; `subject` is what it is about.

    `release_reason` is why its people let go, for the releases that follow from the present state. `ask_next` are units
    to ask by itself when an ask is refused. `archived`: left out of lists unless asked for. `set_back`: this hub may
    have forgotten what became of it (see `setback`), and nobody has looked at it since.
    """

    name: str
    reference: str
    need: Need
    urgency: Urgency
    ready_since: datetime
    requester: Mandate
    handler: Mandate
    create_time: datetime
    change_time: datetime
    state: RequestState = RequestState.OPEN
    subject: str = ""
    revision: int = 1
    choice: PatientChoice = PatientChoice.NOT_ASKED
    external_reference: ExternalReference | None = None
    release_reason: ReleaseReason | None = None
    outside_reason: OutsideReason | None = None
    double_admission: bool = False
    unanswered: bool = False
    notify_when_free: bool = False
    place_found: str = ""
    ask_next: tuple[str, ...] = ()
    proposed_next: str = ""
    events: tuple[Event, ...] = ()
    archived: bool = False
    set_back: bool = False

    @property
    def on_behalf_of(self) -> str:
        """The FINESS of the member in whose name it is."""
        return self.requester.on_behalf_of

    @property
    def last_event(self) -> Event | None:
        """The last thing of note."""
        return self.events[-1] if self.events else None


class RequestFile(Struct, frozen=True):
    """A request, its asks, and the rows not yet struck, in the order stored: what one transaction loads and saves."""

    request: Request
    asks: tuple[Ask, ...] = ()
    rows: tuple[OutboxRow, ...] = ()

    def ask(self, reservation: str) -> Ask | None:
        """The ask of that reservation."""
        return next((one for one in self.asks if one.reservation == reservation), None)

    def pending(self, reservation: str) -> tuple[OutboxRow, ...]:
        """Its rows not yet struck, in order."""
        return tuple(row for row in self.rows if row.reservation == reservation)

    def has_pending(self, reservation: str, *bodies: type[Body]) -> bool:
        """Whether a row of one of these verbs is not struck."""
        return any(row.reservation == reservation and isinstance(row.body, bodies) for row in self.rows)

    def release_behind(self, reservation: str) -> bool:
        """Whether a release is on its way, which cannot be called back."""
        return self.has_pending(reservation, Release)

    def delivery(self, ask: Ask) -> AskState:
        """How far an ask got."""
        if ask.known is not None:
            return AskState.ANSWERED
        if ask.refused_reason:
            return AskState.REFUSED
        sent = any(row.attempts for row in self.rows if row.reservation == ask.reservation)
        return AskState.SENT if sent else AskState.QUEUED

    @property
    def unverified(self) -> bool:
        """Whether the node of `subject` reconciles after a restore."""
        ask = self.ask(self.request.subject)
        return ask is not None and ask.known is not None and ask.known.unverified


# --- what an establishment publishes ---------------------------------------------------------------------------------


class Declared(Struct, frozen=True):
    """Horizons at which a unit declares a status: within, an absent count is zero; outside, unknown."""

    status: Status
    horizons: tuple[Horizon, ...]


class Count(Struct, frozen=True):
    """One R330 figure; `gender` is who may be placed there."""

    status: Status
    horizon: Horizon
    gender: Gender
    count: int


class Grantable(Struct, frozen=True):
    """Open-ended arrivals that would be granted at a horizon to a patient of that gender."""

    horizon: Horizon
    gender: Gender
    count: int


class FreeStep(Struct, frozen=True):
    """From `time` on so many places are free, until the next step. Negative in an open conflict."""

    time: datetime
    free: int


class PlaceClass(Struct, frozen=True):
    """Places of one kind with their step function, in order of time; the first step holds before its time too."""

    gender: Gender
    features: frozenset[Feature]
    steps: tuple[FreeStep, ...]


class Closure(Struct, frozen=True, omit_defaults=True):
    """Beds closed for a while; `reason` and `by` for the own hub and staff only. `beds` names, or `places` a count."""

    id: str
    interval: Interval
    kind: ClosureKind
    beds: tuple[str, ...] = ()
    places: int = 0
    reason: ClosureReason | None = None
    by: Mandate | None = None
    reopening_asked: bool = False


class Conflict(Struct, frozen=True):
    """A claim without a bed: it blocks grants of the unit over its interval until settled."""

    name: str
    reservation: str
    cause: ConflictCause
    interval: Interval
    create_time: datetime


class AdmissionHours(Struct, frozen=True, omit_defaults=True):
    """When a unit admits: hours of the week (none: round the clock), but for closed days, of the house's time zone."""

    hours: tuple[WeekHours, ...] = ()
    closed_days: frozenset[date] = frozenset()


class Policy(Struct, frozen=True, omit_defaults=True):
    """A unit's policy in short form (CONTRACT 13).

    `admission_hours` None: the node does not say, and admits at any time from `next_admission_time` on.
    """

    answering: Answering = Answering.PERSON
    modes: tuple[Mode, ...] = ()
    ttl: timedelta | None = None
    next_answer_time: datetime | None = None
    next_admission_time: datetime | None = None
    admission_hours: AdmissionHours | None = None


class Source(Struct, frozen=True, omit_defaults=True):
    """What feeds a unit. `age` is that of its last proof of life when the message was made; None if never heard."""

    id: str
    kind: SourceKind
    fresh_max: timedelta
    stale_min: timedelta
    age: timedelta | None = None
    observe_time: datetime | None = None
    by: str = ""


class Disagreement(Struct, frozen=True, omit_defaults=True):
    """A source that says something else than the winning one."""

    source: str
    free: int
    winning_free: int
    until: datetime | None = None
    reason: str = ""
    correct_time: datetime | None = None


class VisibilityRule(Struct, frozen=True, omit_defaults=True):
    """What each audience sees of a unit; the default is CONTRACT 12's."""

    ght: Shown = Shown.EXACT
    partner: Shown = Shown.EXACT
    everyone: Shown = Shown.YES_OR_NO

    def for_audience(self, audience: Audience) -> Shown:
        """What it shows to that audience."""
        match audience:
            case Audience.GHT:
                return self.ght
            case Audience.PARTNER:
                return self.partner
            case Audience.EVERYONE:
                return self.everyone


class AgeRange(Struct, frozen=True, omit_defaults=True):
    """Ages admitted, in completed years, both included; None means no limit above."""

    min_years: int = 0
    max_years: int | None = None


class Unit(Struct, frozen=True, omit_defaults=True):
    """A care unit with its figures, as its node published them, or filtered for an audience (`shown` says how).

    `unverified`: its node was restored, and nobody has compared it with reality yet.
    """

    name: str
    display_name: str
    discipline: Discipline
    counting: Counting
    as_of: datetime
    shown: Shown = Shown.EXACT
    declared: tuple[Declared, ...] = ()
    counts: tuple[Count, ...] = ()
    grantable: tuple[Grantable, ...] = ()
    classes: tuple[PlaceClass, ...] = ()
    closures: tuple[Closure, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    policy: Policy = Policy()
    sources: tuple[Source, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    visibility: VisibilityRule | None = None
    ages: AgeRange | None = None
    features: frozenset[Feature] = frozenset()
    unverified: bool = False

    @property
    def establishment(self) -> str:
        """The FINESS of its house."""
        return establishment_of(self.name)


class Phone(Struct, frozen=True):
    """A telephone for people, and when to use it (`jour`, `nuit`, `astreinte`)."""

    hours: str
    number: str


class Description(Struct, frozen=True, omit_defaults=True):
    """What a node says of its establishment."""

    display_name: str
    time_zone: str = "Europe/Paris"
    legal_entity: str = ""
    phones: tuple[Phone, ...] = ()


class SourceAge(Struct, frozen=True, omit_defaults=True):
    """Age of a source's last proof of life when sent; `units` are names, empty means all that list it."""

    source: str
    age: timedelta
    units: tuple[str, ...] = ()


class SnapshotCause(StrEnum):
    """Why a snapshot was sent and not a change."""

    FIRST = "first"
    HISTORY_COMPACTED = "history_compacted"
    CURSOR_UNKNOWN = "cursor_unknown"
    OTHER_VIEW = "other_view"


class SnapshotPart(Struct, frozen=True, omit_defaults=True):
    """A part of an establishment's snapshot, from 1; applied when whole."""

    cursor: Cursor
    description: Description
    units: tuple[Unit, ...] = ()
    reservations: tuple[KnownReservation, ...] = ()
    cause: SnapshotCause = SnapshotCause.FIRST
    part: int = 1
    last_part: bool = True


class ChangePart(Struct, frozen=True, omit_defaults=True):
    """A part of a change: whole units and reservations, names of units removed; applied when whole."""

    cursor: Cursor
    units: tuple[Unit, ...] = ()
    removed_units: tuple[str, ...] = ()
    reservations: tuple[KnownReservation, ...] = ()
    description: Description | None = None
    part: int = 1
    last_part: bool = True


class Progress(Struct, frozen=True, omit_defaults=True):
    """A node is alive, and so are some of its sources; no revision is spent."""

    cursor: Cursor
    ages: tuple[SourceAge, ...] = ()


# --- the territory ---------------------------------------------------------------------------------------------------


class Member(Struct, frozen=True, omit_defaults=True):
    """An establishment as the registry knows it: from the territory file, never from the node itself."""

    finess: str
    display_name: str
    audience: Audience
    legal_entity: str = ""
    latitude: float | None = None
    longitude: float | None = None
    hosted: bool = False
    address: str = ""
