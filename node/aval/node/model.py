"""The facts of an establishment: the rows of truth that its ledger holds in memory and its store keeps.

Nothing here is derived. Figures, step functions, ranks in a waiting list and freshness are computed from these facts
and from the time. Each fact is frozen and encodes with msgspec as it stands; `Kind` names its table, `FACT_TYPES` its
type, and `Change` is one row written (or, with no fact, removed). Ids are bare here (`med-a`, `12`, a UUID); resource
names belong to the wire. Instants are aware UTC.

Keys: UNIT `unit` · ROOM `unit/room` · BED `unit/bed` · PLACES `unit/R332` · STAY, EXPECTED, STORY the stay's key ·
CLOSURE `unit/id` · CORRECTION `unit` · WORD `unit/source` · RESERVATION, TOMBSTONE `territory/uuid` ·
CONFLICT `unit/uuid` · PARKED, DOUBT a UUID · MOVEMENT `source/movement_id` · COMMAND `scope/command_id` ·
ESTABLISHMENT, SERIAL, RESTORE `self` · RECONCILING `unit` · REINSTATED `territory/uuid`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from aval.kernel.disciplines import Discipline
from aval.kernel.hours import WeekHours
from aval.kernel.lifecycle import (
    DeclineReason,
    NoteFate,
    NoteVerdict,
    Question,
    ReleasedBy,
    ReleaseReason,
    ReservationState,
    Step,
    WaitlistReason,
    WithdrawReason,
)
from aval.kernel.need import Feature, Mode, Need, Urgency
from aval.kernel.statuses import (
    Answering,
    ClosureKind,
    ClosureReason,
    ConflictCause,
    Counting,
    Gender,
    Horizon,
    RoomRule,
    Shown,
    SourceKind,
    Status,
    SupplementaryKind,
)

SELF = "self"
"""The key of facts of which there is one."""


class Kind(StrEnum):
    """A kind of fact: the name of its table."""

    ESTABLISHMENT = "establishment"
    UNIT = "unit"
    ROOM = "room"
    BED = "bed"
    PLACES = "places"
    STAY = "stay"
    EXPECTED = "expected"
    CLOSURE = "closure"
    CORRECTION = "correction"
    WORD = "word"
    RESERVATION = "reservation"
    TOMBSTONE = "tombstone"
    CONFLICT = "conflict"
    PARKED = "parked"
    DOUBT = "doubt"
    MOVEMENT = "movement"
    COMMAND = "command"
    SERIAL = "serial"
    RESTORE = "restore"
    RECONCILING = "reconciling"
    REINSTATED = "reinstated"
    STORY = "story"


class Mandate(Struct, frozen=True):
    """Who acted, for whom, in which role. Made by the hub, or by the node for its staff; never by a client."""

    caller: str = ""
    actor: str = ""
    display_name: str = ""
    role: str = ""
    on_behalf_of: str = ""
    act_time: datetime | None = None


# --- the house -------------------------------------------------------------------------------------------------------


class Phone(Struct, frozen=True):
    """A telephone for people: `hours` is `jour`, `nuit` or `astreinte`."""

    hours: str
    number: str


class Establishment(Struct, frozen=True):
    """The house's own description. Its FINESS and territory are settings of the process, not facts."""

    display_name: str = ""
    phones: tuple[Phone, ...] = ()
    time_zone: str = "Europe/Paris"
    legal_entity: str = ""


class AutomaticHold(Struct, frozen=True):
    """Conditions under which the policy holds at once: all must be met. Zero and empty mean no limit."""

    per_day_max: int = 0
    genders: frozenset[Gender] = frozenset()
    hours: tuple[WeekHours, ...] = ()
    keep_free: int = 0


class NotePolicy(Struct, frozen=True):
    """Whether a telephone note that says no, or yes, applies by itself; else it is proposed to staff."""

    apply_no: bool = True
    apply_yes: bool = False


class Policy(Struct, frozen=True):
    """A unit's policy, the establishment's own. `ttl`, `ttl_max` None: the discipline's default. No hours: always."""

    answering: Answering = Answering.PERSON
    automatic: AutomaticHold = AutomaticHold()
    ttl: timedelta | None = None
    ttl_max: timedelta | None = None
    renewals_max: int = 1
    answer_hours: tuple[WeekHours, ...] = ()
    admission_hours: tuple[WeekHours, ...] = ()
    closed_on_public_holidays: bool = False
    alsace_moselle: bool = False
    closed_days: frozenset[str] = frozenset()
    promise_on_announced: bool = True
    turnover_minutes: int = 60
    notes: NotePolicy = NotePolicy()
    grant_waiting_list: bool = False


class Visibility(Struct, frozen=True):
    """What each audience sees of a unit (CONTRACT 12). The hub applies it."""

    ght: Shown = Shown.EXACT
    partner: Shown = Shown.EXACT
    everyone: Shown = Shown.YES_OR_NO


class Source(Struct, frozen=True):
    """A source of a unit's figures. `adapter` is the NAME of the certificate that speaks for it; empty for people."""

    id: str
    kind: SourceKind
    fresh_max: timedelta
    stale_min: timedelta
    adapter: str = ""


class Ages(Struct, frozen=True):
    """Ages of admission in completed years; `max_years` 0 means no limit."""

    min_years: int = 0
    max_years: int = 0


class Unit(Struct, frozen=True):
    """A care unit. `sources` in their order of precedence, the first wins; `declared` is empty for all."""

    id: str
    display_name: str
    discipline: Discipline
    counting: Counting
    sources: tuple[Source, ...] = ()
    ages: Ages | None = None
    features: frozenset[Feature] = frozenset()
    declared: tuple[tuple[Status, tuple[Horizon, ...]], ...] = ()
    policy: Policy = Policy()
    visibility: Visibility = Visibility()


class Room(Struct, frozen=True):
    """A room of a unit, and who may share it."""

    unit: str
    id: str
    rule: RoomRule


class Turn(Struct, frozen=True):
    """A patient (a stay's key) left a bed at that time of the source's clock, or it was cleaned (a movement's key)."""

    by: str
    at: datetime
    to_clean: bool


class Bed(Struct, frozen=True):
    """A bed with identity. `to_clean_since` is set while it waits for cleaning.

    `leaving`: its unit declares it no more; it takes nobody new, and is removed once nobody is in it. `turns`: who
    left it, and when it was cleaned, the last one last: it says whether it is to be cleaned.
    """

    unit: str
    id: str
    room: str
    gender: Gender = Gender.ANY
    features: frozenset[Feature] = frozenset()
    supplementary: SupplementaryKind | None = None
    to_clean_since: datetime | None = None
    leaving: bool = False
    turns: tuple[Turn, ...] = ()


class Places(Struct, frozen=True):
    """Counted places of one gender. `unnamed` are the occupants that no stay names: occupied = unnamed + stays there.

    It is below zero when a person counted fewer occupants than the stays that were told.
    """

    unit: str
    gender: Gender
    installed: int
    open: int
    unnamed: int = 0


# --- the census ------------------------------------------------------------------------------------------------------


class Stay(Struct, frozen=True):
    """A patient in the census, under an opaque key.

    `told_bed` is the bed that its source says, `bed` the one that it is counted in: None where nobody said it, or while
    that bed is another's, closed or unknown here; `notice` is then the id of what people read about it. `placed` is
    when it was put there, by the source's clock, and `took` what kind of supplementary bed that was before.
    `place` is the gender of the counted place taken. `departure` is announced; `slipped`: it passed, time for the
    turnover included, without a discharge. `stay_end` is the end that a reservation's grant gave the stay. `movement`
    is the movement (a key) that put it where it is. `source` is empty for a stay that only its reservation's admission
    told.
    """

    key: str
    unit: str
    gender: Gender
    since: datetime
    bed: str | None = None
    place: Gender | None = None
    departure: datetime | None = None
    stay_end: datetime | None = None
    slipped: bool = False
    to_clean_after: bool = False
    on_leave: bool = False
    keep_bed: bool = True
    return_time: datetime | None = None
    reservation: str = ""
    source: str = ""
    movement: str = ""
    told_bed: str | None = None
    placed: datetime | None = None
    took: SupplementaryKind | None = None
    notice: str = ""

    @property
    def takes_bed(self) -> bool:
        """Whether its bed is taken: not by a patient on leave who does not keep it."""
        return not self.on_leave or self.keep_bed


class Expected(Struct, frozen=True):
    """A patient that the house itself expects, outside any reservation."""

    key: str
    unit: str
    gender: Gender
    arrival: datetime
    departure: datetime | None = None
    bed: str | None = None
    place: Gender | None = None
    source: str = ""
    movement: str = ""


class Closure(Struct, frozen=True):
    """Beds, or counted places by gender, closed until a planned end.

    Past it the house is asked: nothing reopens alone.
    """

    unit: str
    id: str
    beds: tuple[str, ...]
    places: tuple[tuple[Gender, int], ...]
    start: datetime
    end: datetime
    kind: ClosureKind
    reason: ClosureReason
    by: Mandate = Mandate()
    reopening_asked: bool = False


class Correction(Struct, frozen=True):
    """A person's word against a source, for a while: `taken` places more (below zero: fewer) count as taken until
    then.
    """

    unit: str
    free: int
    taken: int
    reason: str
    by: Mandate
    made: datetime
    until: datetime


class Word(Struct, frozen=True):
    """What a source last said in counts: so many free places.

    An outranked one's is shown where it differs from the winning figure. `counted`: when they were counted, by the
    source's clock, so that an older count never takes the place of a newer one. `by` is who spoke, for a person.
    """

    unit: str
    source: str
    free: int
    said: datetime
    counted: datetime | None = None
    winning: bool = False
    by: str = ""


# --- movements -------------------------------------------------------------------------------------------------------


class Admission(Struct, frozen=True, tag=True):
    """A patient arrived. `reservation` is its spoken reference or its uuid, if the site put one there."""

    unit: str
    bed: str | None = None
    gender: Gender = Gender.UNDETERMINED
    reservation: str = ""
    departure: datetime | None = None
    to_clean_after: bool = False


class Transfer(Struct, frozen=True, tag=True):
    """A patient moved. `bed_unknown`: into none of the beds known of."""

    unit: str
    bed: str | None = None
    bed_unknown: bool = False


class Discharge(Struct, frozen=True, tag=True):
    """A patient left."""

    to_clean: bool = False


class Leave(Struct, frozen=True, tag=True):
    """A patient went on leave; the bed stays taken if `keep_bed`."""

    keep_bed: bool
    return_time: datetime | None = None


class LeaveReturn(Struct, frozen=True, tag=True):
    """A patient came back, to the same bed unless said."""

    bed: str | None = None


class Cancellation(Struct, frozen=True, tag=True):
    """An earlier movement of the same source was a mistake."""

    movement_id: str


class DepartureAnnounced(Struct, frozen=True, tag=True):
    """When a patient is to leave; None withdraws the announcement."""

    departure: datetime | None


class ArrivalExpected(Struct, frozen=True, tag=True):
    """A patient is to arrive, outside any reservation."""

    unit: str
    arrival: datetime
    bed: str | None = None
    gender: Gender = Gender.UNDETERMINED
    departure: datetime | None = None


class BedOpened(Struct, frozen=True, tag=True):
    """Beds (or places) opened again, or supplementary ones mobilised. `closure` empty: every closure of those beds."""

    unit: str
    beds: tuple[str, ...] = ()
    places: int = 0
    closure: str = ""


class BedClosed(Struct, frozen=True, tag=True):
    """Beds (or places) closed until a planned end."""

    unit: str
    start: datetime
    end: datetime
    kind: ClosureKind
    reason: ClosureReason
    beds: tuple[str, ...] = ()
    places: int = 0


class BedCleaned(Struct, frozen=True, tag=True):
    """A bed is clean."""

    unit: str
    bed: str


class CountedPlaces(Struct, frozen=True):
    """Counts of one gender, as told."""

    gender: Gender
    open: int
    occupied: int


class CountsReported(Struct, frozen=True, tag=True):
    """How many counted places are open and occupied, as a source that knows numbers only states them."""

    unit: str
    places: tuple[CountedPlaces, ...]
    age: timedelta = timedelta(0)


class StayMerged(Struct, frozen=True, tag=True):
    """What was told of the stay `absorbed` is of this one: two registrations of one visit, or a new number."""

    absorbed: str


MovementChange = (
    Admission
    | Transfer
    | Discharge
    | Leave
    | LeaveReturn
    | Cancellation
    | DepartureAnnounced
    | ArrivalExpected
    | BedOpened
    | BedClosed
    | BedCleaned
    | CountsReported
    | StayMerged
)

STAY_CHANGES = (
    Admission | Transfer | Discharge | Leave | LeaveReturn | DepartureAnnounced | ArrivalExpected | StayMerged
)
"""Those that are of one stay."""


class Movement(Struct, frozen=True):
    """One change of the census, as told.

    `event_time` is the source's clock, `sequence` its own numbering (0: none): both order what is told of one stay.
    `corrects`: the id of the movement in whose place this one stands.
    """

    source: str
    id: str
    change: MovementChange
    stay: str = ""
    sequence: int = 0
    event_time: datetime | None = None
    corrects: str = ""

    @property
    def key(self) -> str:
        """Key of its record: an id is unique within its source."""
        return f"{self.source}/{self.id}"


class ParkReason(StrEnum):
    """Why a movement waits for a person."""

    UNIT_UNKNOWN = "UNIT_UNKNOWN"
    BED_UNKNOWN = "BED_UNKNOWN"
    STAY_UNKNOWN = "STAY_UNKNOWN"
    STAY_ALREADY_PRESENT = "STAY_ALREADY_PRESENT"
    BED_OCCUPIED = "BED_OCCUPIED"
    CANCELLED_UNKNOWN = "CANCELLED_UNKNOWN"
    LEAVE_MISMATCH = "LEAVE_MISMATCH"
    CLOSURE_UNKNOWN = "CLOSURE_UNKNOWN"
    UNIT_FULL = "UNIT_FULL"
    SOURCE_NOT_OF_UNIT = "SOURCE_NOT_OF_UNIT"
    SOURCE_OUTRANKED = "SOURCE_OUTRANKED"
    BED_CLOSED = "BED_CLOSED"


class Parked(Struct, frozen=True):
    """A movement that contradicts the census, kept for a person."""

    id: str
    movement: Movement
    reason: ParkReason
    detail: str
    parked: datetime
    by: Mandate


class Fate(StrEnum):
    """What became of a movement."""

    APPLIED = "APPLIED"
    APPLIED_WITH_CONFLICT = "APPLIED_WITH_CONFLICT"
    PARKED = "PARKED"
    ALREADY = "ALREADY"
    REFUSED = "REFUSED"


class Undo(Struct, frozen=True):
    """What a cancellation of a movement of beds puts back: each fact that it changed, as it was; None: not there.

    Of counted places (by key), by how many it changed those open.
    """

    closures: tuple[tuple[str, Closure | None], ...] = ()
    beds: tuple[tuple[str, Bed | None], ...] = ()
    opened: tuple[tuple[str, int], ...] = ()


class MovementRecord(Struct, frozen=True):
    """That a movement was taken, kept 30 days: the same again is ALREADY, the same id with other content is refused.

    `parked` is the id under which it waits. Without content: its cancellation came first, and is what waits.
    """

    content: bytes
    fate: Fate
    taken: datetime
    reason: str = ""
    conflicts: tuple[str, ...] = ()
    doubt: str = ""
    stay: str = ""
    undo: Undo = Undo()
    parked: str = ""


class Told(Struct, frozen=True):
    """A movement of a stay, as it was taken.

    `adapter` is the NAME of the certificate that told it; `stale` the sources of its unit that were stale then;
    `settled`: on a person's word, whatever its source's rank. `parked`: the id under which it waits.
    """

    movement: Movement
    taken: datetime
    by: Mandate
    adapter: str = ""
    stale: tuple[str, ...] = ()
    settled: bool = False
    cancelled: bool = False
    parked: str = ""


class Story(Struct, frozen=True):
    """What was told of a stay in the last 30 days, from which the stay is told anew whenever a word more comes.

    `before`, `expected_before`: what was known of it until then. `merged_into`: the stay whose story it is part of.
    """

    stay: str
    last: datetime
    told: tuple[Told, ...] = ()
    before: Stay | None = None
    expected_before: Expected | None = None
    merged_into: str = ""


class Doubt(Struct, frozen=True):
    """An arrival that may be one that a reservation expects.

    Until answered, the stay and `presumed` (a reservation's key) together take one place: that of the stay.
    """

    id: str
    stay: str
    unit: str
    candidates: tuple[str, ...]
    presumed: str
    raised: datetime
    answered: datetime | None = None
    answer: str = ""


# --- reservations ----------------------------------------------------------------------------------------------------


class Claim(Struct, frozen=True):
    """What a held or confirmed reservation takes on a unit: `[start, end)`, tied to a bed or to a place of a gender.

    Neither bed nor place: in conflict.
    """

    unit: str
    start: datetime
    end: datetime | None = None
    bed: str | None = None
    place: Gender | None = None

    @property
    def is_placed(self) -> bool:
        """Whether a bed or a place is behind it."""
        return self.bed is not None or self.place is not None


class Offer(Struct, frozen=True):
    """What the house offers. `tag` covers `number`, which never comes twice, so that no two offers have one tag."""

    unit: str
    arrival: datetime
    end: datetime | None
    gender: Gender
    features: frozenset[Feature]
    room: str
    ttl: timedelta
    number: int
    tag: bytes
    counter_offer: bool


class Ending(Struct, frozen=True):
    """Why a reservation ended, or waits. `by_whom` says whose word RELEASED was."""

    by: Mandate
    time: datetime
    decline: DeclineReason | None = None
    release: ReleaseReason | None = None
    withdraw: WithdrawReason | None = None
    waitlist: WaitlistReason | None = None

    @property
    def by_whom(self) -> ReleasedBy | None:
        """Whose word it was, for RELEASED."""
        if self.release is not None:
            return ReleasedBy.REQUESTER
        return ReleasedBy.ESTABLISHMENT if self.withdraw is not None else None


class Detail(Struct, frozen=True):
    """A coded answer: `yes` or an `amount` (kg for the weight, 1 to 6 for the autonomy)."""

    question: Question
    yes: bool | None = None
    amount: int | None = None


class TickedStep(Struct, frozen=True):
    """A step of admission to an EHPAD, by whom and when."""

    step: Step
    by: Mandate
    time: datetime


class Note(Struct, frozen=True):
    """An answer got by telephone. Its id is that of the command that brought it."""

    id: str
    verdict: NoteVerdict
    answered_by: str
    written_by: Mandate
    said: datetime | None
    decline: DeclineReason | None = None
    fate: NoteFate = NoteFate.PROPOSED


class Reservation(Struct, frozen=True):
    """One answer to one request. `content` is what its creation said, for the same-id test.

    `last_number` is the number of the last command decided, `last_verdict` its refusal's reason (empty: done).
    `waiting` orders the waiting list; `granted` is when the claim was last granted, `automatic` whether by policy.
    """

    id: str
    territory: str
    request: str
    reference: str
    unit: str
    need: Need
    requester: Mandate
    mode: Mode
    urgency: Urgency
    ready_since: datetime | None
    asked_count: int
    content: bytes
    state: ReservationState
    created: datetime
    valid_until: datetime
    answer_by: datetime
    expire_time: datetime | None = None
    claim: Claim | None = None
    offer: Offer | None = None
    ending: Ending | None = None
    seen_by: Mandate | None = None
    seen_time: datetime | None = None
    questions: tuple[Question, ...] = ()
    details: tuple[Detail, ...] = ()
    late: bool = False
    overdue: bool = False
    steps: tuple[TickedStep, ...] = ()
    notes: tuple[Note, ...] = ()
    renewals: int = 0
    waiting: int | None = None
    granted: datetime | None = None
    automatic: bool = False
    admitted: datetime | None = None
    stay: str = ""
    closed: datetime | None = None
    ended: datetime | None = None
    last_number: int = 0
    last_verdict: str = ""
    ttl_wished: timedelta | None = None

    @property
    def key(self) -> str:
        """Its key: ids are unique within a territory."""
        return f"{self.territory}/{self.id}"


class Tombstone(Struct, frozen=True):
    """What is kept of a reservation from 30 to 400 days after its end; or of an id released before its creation came.

    `content` is empty until a creation of that id came.
    """

    id: str
    territory: str
    state: ReservationState
    ended: datetime
    content: bytes = b""
    ending: Ending | None = None
    last_number: int = 0
    last_verdict: str = ""

    @property
    def key(self) -> str:
        """Its key: ids are unique within a territory."""
        return f"{self.territory}/{self.id}"


class Conflict(Struct, frozen=True):
    """A claim without a bed. It blocks grants of its unit over its interval until it is settled."""

    id: str
    unit: str
    reservation: str
    cause: ConflictCause
    start: datetime
    end: datetime | None
    arisen: datetime

    @property
    def key(self) -> str:
        """Its key."""
        return f"{self.unit}/{self.id}"


class CommandRecord(Struct, frozen=True):
    """That a command was decided, refused ones too, and its answer in short: for 400 days if of a reservation, else
    30.
    """

    content: bytes
    decided: datetime
    days: int
    reason: str = ""
    metadata: dict[str, str] = {}
    reservation: str = ""
    unit: str = ""
    names: tuple[str, ...] = ()
    fate: Fate | None = None
    doubt: str = ""
    refused: bool = False


class Serial(Struct, frozen=True):
    """The last number given to an offer, a conflict, a place in a waiting list…: it never comes twice."""

    value: int = 0


# --- after a restore -------------------------------------------------------------------------------------------------


class Restore(Struct, frozen=True):
    """That this database was put back to an earlier state, last at `since` (noticed then), as `incarnation`.

    `past` are the histories that are over: a hub that still knows one of them has nothing new to tell.
    """

    incarnation: int
    since: datetime
    past: tuple[int, ...]


class Reconciling(Struct, frozen=True):
    """A unit of a restored node that nobody has compared with reality yet: never sure, nothing is granted alone."""

    unit: str
    since: datetime


class Reinstated(Struct, frozen=True):
    """What became of a reservation that the hub reinstated: for the people who compare. `found` None: unknown here."""

    reservation: str
    unit: str
    known: ReservationState
    at: datetime
    found: ReservationState | None = None
    taken: bool = True
    conflict: bool = False


Fact = (
    Establishment
    | Unit
    | Room
    | Bed
    | Places
    | Stay
    | Expected
    | Closure
    | Correction
    | Word
    | Reservation
    | Tombstone
    | Conflict
    | Parked
    | Doubt
    | MovementRecord
    | Story
    | CommandRecord
    | Serial
    | Restore
    | Reconciling
    | Reinstated
)

FACT_TYPES: dict[Kind, type[Fact]] = {
    Kind.ESTABLISHMENT: Establishment,
    Kind.UNIT: Unit,
    Kind.ROOM: Room,
    Kind.BED: Bed,
    Kind.PLACES: Places,
    Kind.STAY: Stay,
    Kind.EXPECTED: Expected,
    Kind.CLOSURE: Closure,
    Kind.CORRECTION: Correction,
    Kind.WORD: Word,
    Kind.RESERVATION: Reservation,
    Kind.TOMBSTONE: Tombstone,
    Kind.CONFLICT: Conflict,
    Kind.PARKED: Parked,
    Kind.DOUBT: Doubt,
    Kind.MOVEMENT: MovementRecord,
    Kind.STORY: Story,
    Kind.COMMAND: CommandRecord,
    Kind.SERIAL: Serial,
    Kind.RESTORE: Restore,
    Kind.RECONCILING: Reconciling,
    Kind.REINSTATED: Reinstated,
}
"""The type of each kind of fact, for a store that decodes."""

Facts = Mapping[Kind, Mapping[str, Fact]]
"""All facts of a house, by kind and key."""


class Change(NamedTuple):
    """One row of truth written, or removed where `fact` is None."""

    kind: Kind
    key: str
    fact: Fact | None
