"""The two life cycles, each one table `(State, Input) → State`. What a table does not hold is an error.

A reservation lives at its node, the only authority; a request lives at the hub. DESIGN §6 and §7 give the words.
"""

from enum import StrEnum


class ReservationState(StrEnum):
    """Where a reservation stands. HELD and CONFIRMED take a claim; « réservé » is said only of CONFIRMED."""

    ASKED = "ASKED"
    WAITLISTED = "WAITLISTED"
    HELD = "HELD"
    CONFIRMED = "CONFIRMED"
    ADMITTED = "ADMITTED"
    DECLINED = "DECLINED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"

    @property
    def is_final(self) -> bool:
        """DECLINED, RELEASED, EXPIRED: nothing follows but a reinstatement."""
        return self in (ReservationState.DECLINED, ReservationState.RELEASED, ReservationState.EXPIRED)

    @property
    def is_live(self) -> bool:
        """Not final: a request that ends must release it."""
        return not self.is_final

    @property
    def takes_claim(self) -> bool:
        """HELD or CONFIRMED: it takes its interval on the unit. (ADMITTED is in the census.)"""
        return self in (ReservationState.HELD, ReservationState.CONFIRMED)


class ReservationInput(StrEnum):
    """What may be said to a reservation: by its requester, by its house, or by time."""

    ACCEPT = "accept"
    WAITLIST = "waitlist"
    DECLINE = "decline"
    CONFIRM = "confirm"
    REOFFER = "reoffer"
    RENEW = "renew"
    RESCHEDULE = "reschedule"
    WITHDRAW = "withdraw"
    RELEASE = "release"
    ADMIT = "admit"
    CANCEL_ADMISSION = "cancel_admission"
    LAPSE = "lapse"


_S, _I = ReservationState, ReservationInput

RESERVATION_STARTS = frozenset({_S.ASKED, _S.HELD, _S.DECLINED, _S.RELEASED})
"""What a creation may answer: RELEASED only where a release came first and left a tombstone."""

RESERVATION_TABLE: dict[tuple[ReservationState, ReservationInput], ReservationState] = {
    (_S.ASKED, _I.ACCEPT): _S.HELD,
    (_S.ASKED, _I.WAITLIST): _S.WAITLISTED,
    (_S.ASKED, _I.DECLINE): _S.DECLINED,
    (_S.ASKED, _I.RELEASE): _S.RELEASED,
    (_S.ASKED, _I.ADMIT): _S.ADMITTED,
    (_S.ASKED, _I.LAPSE): _S.EXPIRED,
    (_S.WAITLISTED, _I.ACCEPT): _S.HELD,
    (_S.WAITLISTED, _I.WAITLIST): _S.WAITLISTED,
    (_S.WAITLISTED, _I.DECLINE): _S.DECLINED,
    (_S.WAITLISTED, _I.RELEASE): _S.RELEASED,
    (_S.WAITLISTED, _I.ADMIT): _S.ADMITTED,
    (_S.WAITLISTED, _I.LAPSE): _S.EXPIRED,
    (_S.HELD, _I.CONFIRM): _S.CONFIRMED,
    (_S.HELD, _I.REOFFER): _S.HELD,
    (_S.HELD, _I.RENEW): _S.HELD,
    (_S.HELD, _I.WITHDRAW): _S.RELEASED,
    (_S.HELD, _I.RELEASE): _S.RELEASED,
    (_S.HELD, _I.ADMIT): _S.ADMITTED,
    (_S.HELD, _I.LAPSE): _S.EXPIRED,
    (_S.CONFIRMED, _I.ADMIT): _S.ADMITTED,
    (_S.CONFIRMED, _I.RESCHEDULE): _S.CONFIRMED,
    (_S.CONFIRMED, _I.RELEASE): _S.RELEASED,
    (_S.CONFIRMED, _I.WITHDRAW): _S.RELEASED,
    (_S.ADMITTED, _I.CANCEL_ADMISSION): _S.CONFIRMED,
}


def reservation_next(state: ReservationState, given: ReservationInput) -> ReservationState | None:
    """The next state, or None where the table holds nothing: then nothing changes and the state found is answered."""
    return RESERVATION_TABLE.get((state, given))


def refusal_of(state: ReservationState, given: ReservationInput) -> str:
    """The reason (a `Reason` name) of a pair that the table does not hold (CONTRACT 20).

    `ALREADY_<STATE>` where the state has gone past the input (final, admitted, or just what the input asks for);
    otherwise `NOT_IN_THIS_STATE`.
    """
    targets = {after for (_, i), after in RESERVATION_TABLE.items() if i is given}
    if state.is_final or state is ReservationState.ADMITTED or state in targets:
        return f"ALREADY_{state.value}"
    return "NOT_IN_THIS_STATE"


_ADVANCE = {_S.ASKED: 1, _S.WAITLISTED: 2, _S.HELD: 3, _S.CONFIRMED: 4, _S.ADMITTED: 5}
"""How far a live reservation has come: at a restored node the one that has come farther stands."""


def reinstates(found: ReservationState | None, known: ReservationState) -> bool:
    """Whether, at a node restored from a backup, what its hub knew of a live reservation takes the place of `found`.

    Taken where the node knows none, or knows it less advanced; where both say the same, since what the hub heard is not
    older than a backup; and where time alone ended what had been promised. What people have ended or taken farther
    since the restore stays (DESIGN §5, Restore).
    """
    if known.is_final:
        return False
    if found is None:
        return True
    if found is ReservationState.EXPIRED:
        return known in (ReservationState.CONFIRMED, ReservationState.ADMITTED)
    return found.is_live and _ADVANCE[found] <= _ADVANCE[known]


class RequestState(StrEnum):
    """Where a request stands. CONFIRMING, CONFIRMED, RELEASING and ADMITTED name the reservation they are about."""

    OPEN = "OPEN"
    CONFIRMING = "CONFIRMING"
    CONFIRMED = "CONFIRMED"
    RELEASING = "RELEASING"
    ADMITTED = "ADMITTED"
    CANCELLED = "CANCELLED"
    CLOSED_ELSEWHERE = "CLOSED_ELSEWHERE"
    EXPIRED = "EXPIRED"

    @property
    def is_final(self) -> bool:
        """CANCELLED, CLOSED_ELSEWHERE, EXPIRED: nothing live may stay behind."""
        return self in (RequestState.CANCELLED, RequestState.CLOSED_ELSEWHERE, RequestState.EXPIRED)


class RequestInput(StrEnum):
    """What people (and time) may say to a request."""

    ASK = "ask"
    EDIT = "edit"
    CONFIRM = "confirm"
    TAKE_BACK = "take_back"
    RESCHEDULE = "reschedule"
    RELEASE = "release"
    RELEASE_ASK = "release_ask"
    RENEW = "renew"
    SUPPLY_DETAILS = "supply_details"
    NOTE_ANSWER = "note_answer"
    PLACE_OUTSIDE = "place_outside"
    CANCEL = "cancel"
    LAPSE = "lapse"


_R, _P = RequestState, RequestInput

REQUEST_TABLE: dict[tuple[RequestState, RequestInput], RequestState] = {
    (_R.OPEN, _P.ASK): _R.OPEN,
    (_R.OPEN, _P.EDIT): _R.OPEN,
    (_R.OPEN, _P.CONFIRM): _R.CONFIRMING,
    (_R.OPEN, _P.RELEASE_ASK): _R.OPEN,
    (_R.OPEN, _P.RENEW): _R.OPEN,
    (_R.OPEN, _P.SUPPLY_DETAILS): _R.OPEN,
    (_R.OPEN, _P.NOTE_ANSWER): _R.OPEN,
    (_R.OPEN, _P.PLACE_OUTSIDE): _R.CLOSED_ELSEWHERE,
    (_R.OPEN, _P.CANCEL): _R.CANCELLED,
    (_R.OPEN, _P.LAPSE): _R.EXPIRED,
    (_R.CONFIRMING, _P.TAKE_BACK): _R.OPEN,
    (_R.CONFIRMING, _P.RELEASE_ASK): _R.CONFIRMING,
    (_R.CONFIRMING, _P.NOTE_ANSWER): _R.CONFIRMING,
    (_R.CONFIRMING, _P.PLACE_OUTSIDE): _R.CLOSED_ELSEWHERE,
    (_R.CONFIRMING, _P.CANCEL): _R.CANCELLED,
    (_R.CONFIRMED, _P.RESCHEDULE): _R.CONFIRMED,
    (_R.CONFIRMED, _P.RELEASE): _R.RELEASING,
    (_R.CONFIRMED, _P.SUPPLY_DETAILS): _R.CONFIRMED,
    (_R.CONFIRMED, _P.PLACE_OUTSIDE): _R.CLOSED_ELSEWHERE,
    (_R.CONFIRMED, _P.CANCEL): _R.CANCELLED,
    (_R.RELEASING, _P.PLACE_OUTSIDE): _R.CLOSED_ELSEWHERE,
    (_R.RELEASING, _P.CANCEL): _R.CANCELLED,
}
"""TAKE_BACK, and CANCEL or PLACE_OUTSIDE from CONFIRMING, queue an irrevocable release behind the confirm in flight."""


class Reaction(StrEnum):
    """What the hub does by itself: a function of a request's present state, never of an event (DESIGN §7)."""

    ADMITTED = "admitted"
    CONFIRMED = "confirmed"
    CONFIRM_FAILED = "confirm_failed"
    PROMISE_LOST = "promise_lost"
    ADMISSION_CANCELLED = "admission_cancelled"
    RELEASED = "released"


REACTION_TABLE: dict[tuple[RequestState, Reaction], RequestState] = {
    (_R.OPEN, Reaction.ADMITTED): _R.ADMITTED,
    (_R.CONFIRMING, Reaction.ADMITTED): _R.ADMITTED,
    (_R.CONFIRMED, Reaction.ADMITTED): _R.ADMITTED,
    (_R.RELEASING, Reaction.ADMITTED): _R.ADMITTED,
    (_R.ADMITTED, Reaction.ADMITTED): _R.ADMITTED,
    (_R.OPEN, Reaction.CONFIRMED): _R.CONFIRMED,
    (_R.CONFIRMING, Reaction.CONFIRMED): _R.CONFIRMED,
    (_R.CONFIRMING, Reaction.CONFIRM_FAILED): _R.OPEN,
    (_R.CONFIRMED, Reaction.PROMISE_LOST): _R.OPEN,
    (_R.ADMITTED, Reaction.PROMISE_LOST): _R.OPEN,
    (_R.ADMITTED, Reaction.ADMISSION_CANCELLED): _R.CONFIRMED,
    (_R.RELEASING, Reaction.RELEASED): _R.OPEN,
}
"""ADMITTED from ADMITTED: two were admitted and the one that the request named is cancelled; it names the other now."""


class AskState(StrEnum):
    """Of a reservation that its node has not yet spoken of: waiting in the outbox, sent, or refused for good."""

    QUEUED = "QUEUED"
    SENT = "SENT"
    REFUSED = "REFUSED"
    ANSWERED = "ANSWERED"


class DeclineReason(StrEnum):
    """Why a house declines (UX §2.5)."""

    NO_PLACE_ON_THAT_DATE = "no_place_on_that_date"
    OUTSIDE_OUR_CASE_MIX = "outside_our_case_mix"
    MISSING_EQUIPMENT = "missing_equipment"
    CANNOT_ISOLATE = "cannot_isolate"
    CARE_LOAD_TOO_HIGH = "care_load_too_high"
    ROOM_GENDER_MISMATCH = "room_gender_mismatch"
    NOT_ENOUGH_INFORMATION = "not_enough_information"
    CLOSED_TO_TERRITORY = "closed_to_territory"
    OTHER = "other"


class ReleaseReason(StrEnum):
    """Why a requester releases."""

    PLACED_AT_ANOTHER_MEMBER = "placed_at_another_member"
    PLACED_OUTSIDE = "placed_outside"
    REQUEST_CANCELLED = "request_cancelled"
    REQUEST_EXPIRED = "request_expired"
    TAKEN_BACK = "taken_back"
    OFFER_NOT_SUITABLE = "offer_not_suitable"
    PATIENT_NOT_READY = "patient_not_ready"
    PATIENT_REFUSED = "patient_refused"
    PATIENT_DIED = "patient_died"
    OTHER = "other"


class WithdrawReason(StrEnum):
    """Why an establishment withdraws what it had granted."""

    BED_CLOSED = "bed_closed"
    BED_TAKEN_BY_EMERGENCY = "bed_taken_by_emergency"
    DEPARTURE_SLIPPED = "departure_slipped"
    STAFF_MISSING = "staff_missing"
    NO_SHOW = "no_show"
    ENTERED_BY_MISTAKE = "entered_by_mistake"
    OTHER = "other"


class WaitlistReason(StrEnum):
    """Why a demand waits."""

    NO_BED_YET = "no_bed_yet"
    COMMISSION_PENDING = "commission_pending"
    FILE_INCOMPLETE = "file_incomplete"
    OTHER = "other"


class ReleasedBy(StrEnum):
    """Whose word ended a RELEASED reservation: the requester's release, or the establishment's withdrawal."""

    REQUESTER = "requester"
    ESTABLISHMENT = "establishment"


class Mark(StrEnum):
    """A remark on a live reservation: a revision each, never a state (DESIGN §6)."""

    SEEN = "seen"
    QUESTION = "question"
    LATE = "late"
    OVERDUE = "overdue"
    CONFLICT = "conflict"


class Step(StrEnum):
    """A step of admission to an EHPAD, each ticked by whom, when."""

    FILE = "file"
    DOCTORS_OPINION = "doctors_opinion"
    VISIT = "visit"
    RESIDENTS_CONSENT = "residents_consent"
    CONTRACT = "contract"


CANCEL_ADMISSION_HOURS_MAX = 72
"""An admission can be cancelled this long; then the reservation is closed (DESIGN §6)."""


class Question(StrEnum):
    """What a house may ask about a demand. Coded: no free text crosses before sealing exists."""

    WEIGHT = "weight"
    RESISTANT_BACTERIA = "resistant_bacteria"
    AUTONOMY = "autonomy"
    DISCHARGE_PLAN = "discharge_plan"
    COSTLY_TREATMENT = "costly_treatment"
    WANDERING = "wandering"


class NoteVerdict(StrEnum):
    """What a house said by telephone."""

    YES = "yes"
    NO = "no"
    WAIT = "wait"


class NoteFate(StrEnum):
    """What became of a telephone note at the node."""

    PROPOSED = "proposed"
    APPLIED = "applied"
    REJECTED = "rejected"


class OutsideReason(StrEnum):
    """How a patient was placed without Aval."""

    AT_A_MEMBER = "at_a_member"
    OTHER_TERRITORY = "other_territory"
    HOME = "home"
    OTHER = "other"
