"""Every refusal by name: one table Reason → (gRPC code, retryable, who is told).

`ErrorInfo.domain` is `aval` and `ErrorInfo.reason` is the name below; clients branch on it, never on text (AIP-193).
A reason that a client does not know is final if its code is INVALID_ARGUMENT, FAILED_PRECONDITION, NOT_FOUND,
PERMISSION_DENIED, UNIMPLEMENTED, UNAUTHENTICATED or ALREADY_EXISTS; else the same command may be sent again.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

DOMAIN = "aval"
"""`ErrorInfo.domain` of every reason below."""


class Told(StrEnum):
    """Who is to act on a refusal: the program's user, the caller's engineers, or the callee's."""

    USER = "user"
    CALLER = "caller"
    CALLEE = "callee"


class ReasonRow(NamedTuple):
    """A line of the table. `code` is the gRPC status's name; `retryable`: the same call may succeed later."""

    code: str
    retryable: bool
    told: Told
    text: str


_BAD, _PRE, _NONE, _DENY = "INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "PERMISSION_DENIED"
_BUSY, _DOWN, _WHO, _SOME = "RESOURCE_EXHAUSTED", "UNAVAILABLE", "UNAUTHENTICATED", "ALREADY_EXISTS"


class Reason(StrEnum):
    """The name of a refusal, as on the wire."""

    # who calls
    PEER_UNIDENTIFIED = "PEER_UNIDENTIFIED"
    CERTIFICATE_EXPIRED = "CERTIFICATE_EXPIRED"
    CERTIFICATE_NOT_YET_VALID = "CERTIFICATE_NOT_YET_VALID"
    CERTIFICATE_REVOKED = "CERTIFICATE_REVOKED"
    DENY_LIST_STALE = "DENY_LIST_STALE"
    IDENTITY_MALFORMED = "IDENTITY_MALFORMED"
    OTHER_TERRITORY = "OTHER_TERRITORY"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    ROLE_NOT_ALLOWED = "ROLE_NOT_ALLOWED"
    ACTOR_NOT_ALLOWED = "ACTOR_NOT_ALLOWED"
    NOT_YOUR_ESTABLISHMENT = "NOT_YOUR_ESTABLISHMENT"
    NOT_YOUR_UNIT = "NOT_YOUR_UNIT"
    NOT_A_MEMBER = "NOT_A_MEMBER"
    # how it calls
    DEADLINE_REQUIRED = "DEADLINE_REQUIRED"
    DEADLINE_TOO_LONG = "DEADLINE_TOO_LONG"
    TOO_MANY_STREAMS = "TOO_MANY_STREAMS"
    TOO_MANY_CALLS = "TOO_MANY_CALLS"
    QUEUE_FULL = "QUEUE_FULL"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    NOT_SERVED = "NOT_SERVED"
    # what it says
    REQUEST_NOT_RECEIVED = "REQUEST_NOT_RECEIVED"
    FIELD_INVALID = "FIELD_INVALID"
    MALFORMED_FINESS = "MALFORMED_FINESS"
    MALFORMED_NAME = "MALFORMED_NAME"
    COUNT_OUT_OF_RANGE = "COUNT_OUT_OF_RANGE"
    TIME_OUT_OF_RANGE = "TIME_OUT_OF_RANGE"
    PAGE_TOKEN_INVALID = "PAGE_TOKEN_INVALID"
    COMMAND_UNKNOWN = "COMMAND_UNKNOWN"
    COMMAND_TOO_OLD = "COMMAND_TOO_OLD"
    ID_REUSED = "ID_REUSED"
    REASON_REQUIRED = "REASON_REQUIRED"
    # what is not there
    ESTABLISHMENT_NOT_FOUND = "ESTABLISHMENT_NOT_FOUND"
    UNIT_NOT_FOUND = "UNIT_NOT_FOUND"
    BED_NOT_FOUND = "BED_NOT_FOUND"
    SOURCE_NOT_FOUND = "SOURCE_NOT_FOUND"
    MOVEMENT_NOT_FOUND = "MOVEMENT_NOT_FOUND"
    CONFLICT_NOT_FOUND = "CONFLICT_NOT_FOUND"
    DOUBT_NOT_FOUND = "DOUBT_NOT_FOUND"
    NOTE_NOT_FOUND = "NOTE_NOT_FOUND"
    RESERVATION_NOT_FOUND = "RESERVATION_NOT_FOUND"
    REQUEST_NOT_FOUND = "REQUEST_NOT_FOUND"
    # life cycles
    NOT_IN_THIS_STATE = "NOT_IN_THIS_STATE"
    ALREADY_ASKED = "ALREADY_ASKED"
    ALREADY_WAITLISTED = "ALREADY_WAITLISTED"
    ALREADY_HELD = "ALREADY_HELD"
    ALREADY_CONFIRMED = "ALREADY_CONFIRMED"
    ALREADY_ADMITTED = "ALREADY_ADMITTED"
    ALREADY_DECLINED = "ALREADY_DECLINED"
    ALREADY_RELEASED = "ALREADY_RELEASED"
    ALREADY_EXPIRED = "ALREADY_EXPIRED"
    ALREADY_CANCELLED = "ALREADY_CANCELLED"
    ALREADY_CLOSED_ELSEWHERE = "ALREADY_CLOSED_ELSEWHERE"
    # beds and offers
    NO_BED = "NO_BED"
    OFFER_CHANGED = "OFFER_CHANGED"
    HOLD_NOT_RENEWABLE = "HOLD_NOT_RENEWABLE"
    CONFLICT_OPEN = "CONFLICT_OPEN"
    CANCEL_TOO_LATE = "CANCEL_TOO_LATE"
    # figures and movements
    FIGURES_MOVED = "FIGURES_MOVED"
    CORRECTION_TOO_LONG = "CORRECTION_TOO_LONG"
    UNIT_COUNTS_BEDS = "UNIT_COUNTS_BEDS"
    UNIT_COUNTS_PLACES = "UNIT_COUNTS_PLACES"
    UNIT_LIMIT = "UNIT_LIMIT"
    # requests
    TOO_MANY_ASKS = "TOO_MANY_ASKS"
    TOO_MANY_HOLDS = "TOO_MANY_HOLDS"
    ALREADY_ASKED_THERE = "ALREADY_ASKED_THERE"
    RELEASE_PENDING = "RELEASE_PENDING"
    CONFIRM_IN_PROGRESS = "CONFIRM_IN_PROGRESS"
    LIVE_RESERVATION = "LIVE_RESERVATION"
    REQUEST_CHANGED = "REQUEST_CHANGED"
    REQUEST_LIMIT = "REQUEST_LIMIT"
    # node and hub
    NODE_RESTORED = "NODE_RESTORED"
    NOT_RESTORED = "NOT_RESTORED"
    NODE_UNREACHABLE = "NODE_UNREACHABLE"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"
    INTERNAL = "INTERNAL"

    @property
    def row(self) -> ReasonRow:
        """Its line of the table."""
        return REASONS[self]


_U, _C, _N = Told.USER, Told.CALLER, Told.CALLEE

REASONS: dict[Reason, ReasonRow] = {
    Reason.PEER_UNIDENTIFIED: ReasonRow(_WHO, False, _C, "the connection bears no client certificate"),
    Reason.CERTIFICATE_EXPIRED: ReasonRow(_WHO, False, _C, "the caller's certificate has expired: renew it"),
    Reason.CERTIFICATE_NOT_YET_VALID: ReasonRow(
        _WHO, False, _C, "the caller's certificate is not valid yet: check the clock"
    ),
    Reason.CERTIFICATE_REVOKED: ReasonRow(_WHO, False, _C, "the caller's certificate is on the deny-list"),
    Reason.DENY_LIST_STALE: ReasonRow(_DOWN, True, _N, "the server's deny-list is missing or too old to trust anyone"),
    Reason.IDENTITY_MALFORMED: ReasonRow(
        _WHO, False, _C, "the certificate must bear exactly one URI SAN of a known form"
    ),
    Reason.OTHER_TERRITORY: ReasonRow(_DENY, False, _C, "the caller belongs to another territory"),
    Reason.METHOD_NOT_ALLOWED: ReasonRow(_DENY, False, _C, "this kind of caller may not call this method"),
    Reason.ROLE_NOT_ALLOWED: ReasonRow(_DENY, False, _U, "the operator's role does not allow it"),
    Reason.ACTOR_NOT_ALLOWED: ReasonRow(_DENY, False, _C, "only a desk may name an actor"),
    Reason.NOT_YOUR_ESTABLISHMENT: ReasonRow(_DENY, False, _C, "the caller may speak for its own establishment only"),
    Reason.NOT_YOUR_UNIT: ReasonRow(_DENY, False, _C, "the adapter may speak for its declared units only"),
    Reason.NOT_A_MEMBER: ReasonRow(_DENY, False, _C, "the establishment is not a member of this territory"),
    Reason.DEADLINE_REQUIRED: ReasonRow(_BAD, False, _C, "a unary call needs a deadline"),
    Reason.DEADLINE_TOO_LONG: ReasonRow(_BAD, False, _C, "the deadline of a unary call is at most 60 s"),
    Reason.TOO_MANY_STREAMS: ReasonRow(_BUSY, True, _C, "too many open streams from this peer"),
    Reason.TOO_MANY_CALLS: ReasonRow(_BUSY, True, _C, "too many calls from this peer"),
    Reason.QUEUE_FULL: ReasonRow(_BUSY, True, _C, "the queue is full: wait, then send the same call again"),
    Reason.SHUTTING_DOWN: ReasonRow(_DOWN, True, _C, "the server is stopping: call again"),
    Reason.NOT_SERVED: ReasonRow("UNIMPLEMENTED", False, _C, "a later version serves this verb"),
    Reason.REQUEST_NOT_RECEIVED: ReasonRow(
        _BAD, False, _C, "the request did not arrive whole, or is longer than 1 MiB"
    ),
    Reason.FIELD_INVALID: ReasonRow(_BAD, False, _C, "a field is missing or wrong: see `field` and `problem`"),
    Reason.MALFORMED_FINESS: ReasonRow(_BAD, False, _C, "not a FINESS number"),
    Reason.MALFORMED_NAME: ReasonRow(_BAD, False, _C, "not a resource name of the expected form"),
    Reason.COUNT_OUT_OF_RANGE: ReasonRow(_BAD, False, _U, "a count is negative or beyond the capacity"),
    Reason.TIME_OUT_OF_RANGE: ReasonRow(_BAD, False, _U, "an instant is outside what can be meant"),
    Reason.PAGE_TOKEN_INVALID: ReasonRow(_BAD, False, _C, "the page token is unknown, too old, or of another list"),
    Reason.COMMAND_UNKNOWN: ReasonRow("UNIMPLEMENTED", False, _C, "the command is empty or of a newer version"),
    Reason.COMMAND_TOO_OLD: ReasonRow(_PRE, False, _C, "it was stored over 7 days ago, or answered over 30 days ago"),
    Reason.ID_REUSED: ReasonRow(_SOME, False, _C, "this id was used before with other content: make a new id"),
    Reason.REASON_REQUIRED: ReasonRow(_BAD, False, _U, "this act needs a reason"),
    Reason.ESTABLISHMENT_NOT_FOUND: ReasonRow(_NONE, False, _C, "no such establishment here"),
    Reason.UNIT_NOT_FOUND: ReasonRow(_NONE, False, _C, "no such unit, or not shown to you"),
    Reason.BED_NOT_FOUND: ReasonRow(_NONE, False, _C, "no such bed"),
    Reason.SOURCE_NOT_FOUND: ReasonRow(_NONE, False, _C, "no such source of this unit"),
    Reason.MOVEMENT_NOT_FOUND: ReasonRow(_NONE, False, _C, "no such parked movement"),
    Reason.CONFLICT_NOT_FOUND: ReasonRow(_NONE, False, _C, "no such conflict"),
    Reason.DOUBT_NOT_FOUND: ReasonRow(_NONE, False, _C, "no such doubt about an arrival"),
    Reason.NOTE_NOT_FOUND: ReasonRow(_NONE, False, _C, "no such note"),
    Reason.RESERVATION_NOT_FOUND: ReasonRow(_NONE, False, _C, "no such reservation"),
    Reason.REQUEST_NOT_FOUND: ReasonRow(_NONE, False, _C, "no such request, or not yours"),
    Reason.NOT_IN_THIS_STATE: ReasonRow(_PRE, False, _U, "the state found does not allow it"),
    Reason.ALREADY_ASKED: ReasonRow(_PRE, False, _U, "already asked"),
    Reason.ALREADY_WAITLISTED: ReasonRow(_PRE, False, _U, "already on the waiting list"),
    Reason.ALREADY_HELD: ReasonRow(_PRE, False, _U, "already held"),
    Reason.ALREADY_CONFIRMED: ReasonRow(_PRE, False, _U, "already confirmed"),
    Reason.ALREADY_ADMITTED: ReasonRow(_PRE, False, _U, "the patient is already admitted"),
    Reason.ALREADY_DECLINED: ReasonRow(_PRE, False, _U, "already declined"),
    Reason.ALREADY_RELEASED: ReasonRow(_PRE, False, _U, "already released"),
    Reason.ALREADY_EXPIRED: ReasonRow(_PRE, False, _U, "already expired"),
    Reason.ALREADY_CANCELLED: ReasonRow(_PRE, False, _U, "the request is already cancelled"),
    Reason.ALREADY_CLOSED_ELSEWHERE: ReasonRow(_PRE, False, _U, "the patient has been placed outside"),
    Reason.NO_BED: ReasonRow(_PRE, False, _U, "no bed is free over the whole interval"),
    Reason.OFFER_CHANGED: ReasonRow(_PRE, False, _U, "the offer has changed: read it, then confirm the new one"),
    Reason.HOLD_NOT_RENEWABLE: ReasonRow(_PRE, False, _U, "the unit's policy does not prolong this hold any more"),
    Reason.CONFLICT_OPEN: ReasonRow(
        _PRE, False, _U, "a conflict of the unit over this interval is to be settled first"
    ),
    Reason.CANCEL_TOO_LATE: ReasonRow(_PRE, False, _U, "an admission can be cancelled within 72 h"),
    Reason.FIGURES_MOVED: ReasonRow("ABORTED", False, _U, "the figures changed since you read them: read again"),
    Reason.CORRECTION_TOO_LONG: ReasonRow(_BAD, False, _U, "a correction by hand holds 4 h at most"),
    Reason.UNIT_COUNTS_BEDS: ReasonRow(_PRE, False, _U, "the unit has beds with identity: say which bed"),
    Reason.UNIT_COUNTS_PLACES: ReasonRow(_PRE, False, _U, "the unit has counted places, not beds"),
    Reason.UNIT_LIMIT: ReasonRow(_PRE, False, _C, "an establishment has 1,000 units at most"),
    Reason.TOO_MANY_ASKS: ReasonRow(_PRE, False, _U, "three establishments at most are asked at once"),
    Reason.TOO_MANY_HOLDS: ReasonRow(_PRE, False, _U, "one ask at most may hold at once"),
    Reason.ALREADY_ASKED_THERE: ReasonRow(_PRE, False, _U, "that establishment has a live reservation of this request"),
    Reason.RELEASE_PENDING: ReasonRow(_PRE, False, _U, "a confirm or release of it is still on its way"),
    Reason.CONFIRM_IN_PROGRESS: ReasonRow(_PRE, False, _U, "another confirmation is on its way"),
    Reason.LIVE_RESERVATION: ReasonRow(_PRE, False, _U, "release the live reservations first"),
    Reason.REQUEST_CHANGED: ReasonRow("ABORTED", False, _U, "the request changed since you read it: read again"),
    Reason.REQUEST_LIMIT: ReasonRow(_BUSY, True, _U, "too many live requests"),
    Reason.NODE_RESTORED: ReasonRow("ABORTED", True, _N, "the node's history does not hold that cursor"),
    Reason.NOT_RESTORED: ReasonRow(
        _PRE, False, _C, "what is to be reinstated was heard of this very history: there is nothing to put back"
    ),
    Reason.NODE_UNREACHABLE: ReasonRow(_DOWN, True, _U, "the establishment's node does not answer"),
    Reason.STORAGE_UNAVAILABLE: ReasonRow(_DOWN, True, _N, "nothing could be stored; nothing was done"),
    Reason.INTERNAL: ReasonRow("INTERNAL", True, _N, "an error of the server, logged there under the request id"),
}

FINAL_CODES = frozenset({_BAD, _PRE, _NONE, _DENY, "UNIMPLEMENTED", _WHO, _SOME})
"""gRPC codes that make an unknown reason final (CONTRACT 22, and UNAUTHENTICATED)."""


class Refusal(Exception):
    """A refusal by name. `metadata` is small, for programs, no patient data; `subject` is the state found, if any."""

    def __init__(
        self, reason: Reason, metadata: Mapping[str, str] | None = None, subject: object | None = None
    ) -> None:
        self.reason = reason
        self.metadata: dict[str, str] = dict(metadata or {})
        self.subject = subject
        super().__init__(f"{reason.value}: {reason.row.text} {self.metadata or ''}".rstrip())


def field_invalid(field: str, problem: str) -> Refusal:
    """The refusal of one field: where, and what is wrong with what to do."""
    return Refusal(Reason.FIELD_INVALID, {"field": field, "problem": problem})
