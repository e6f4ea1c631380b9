"""Names, codes, instants and durations of the wire, both ways. What cannot be meant is refused here, by field."""

import re
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from aval.kernel import disciplines, lifecycle, need, statuses
from aval.kernel.finess import FinessET
from aval.kernel.reasons import Reason, Refusal, field_invalid
from aval.node import model
from aval.v1 import availability_pb2, census_pb2, reservation_pb2, terms_pb2

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
"""No instant of a bed is outside the century: one that is, is a unit of time mistaken for another."""

DURATION_MAX = timedelta(days=3_660)
"""Ten years: no hold, stay or age is longer."""

COUNT_MAX = 10_000
"""Places of one unit and gender: the largest hospital of the country has a third of it."""

TEXT_LENGTH_MAX = 200
"""Characters of a name or a reason: a line that people read."""

ID_LENGTH_MAX = 128
"""Characters of an identifier of somebody else's (movement, source, stay): a SHA-512 in hexadecimal."""

_CODE = re.compile(r"[A-Za-z0-9-]{1,32}", re.ASCII)
_OPAQUE = re.compile(rf"[\x21-\x7e]{{1,{ID_LENGTH_MAX}}}", re.ASCII)

E = TypeVar("E", bound=Enum)
V = TypeVar("V", bound=int)


class _WireEnum(Protocol[V]):
    """What generated code gives for an enum."""

    def items(self) -> list[tuple[str, V]]: ...


class Codes(Generic[E, V]):
    """One code list, both ways: a kernel's enum by the names of the wire's, `PREFIX_NAME`.

    Made at import, so that a word that either side lacks stops the program there, not at its first use.
    """

    def __init__(self, wire: _WireEnum[V], prefix: str, members: type[E], missing: Reason | None = None) -> None:
        """`missing`: the reason of refusal when nothing is said; FIELD_INVALID if None."""
        numbers = {name: number for name, number in wire.items() if number}
        known = {f"{prefix}_{member.name}" for member in members}
        if numbers.keys() != known:
            raise TypeError(f"{prefix}: the contract and the kernel differ on {sorted(numbers.keys() ^ known)}")
        self._wire = {member: numbers[f"{prefix}_{member.name}"] for member in members}
        self._members: dict[int, E] = {number: member for member, number in self._wire.items()}
        self._missing = missing

    def words(self) -> list[E]:
        """All words, in their order."""
        return list(self._wire)

    def wire(self, member: E) -> V:
        """The wire's number of a word."""
        return self._wire[member]

    def word(self, number: int, field: str) -> E:
        """The word of a number. Raises `Refusal` for none, and FIELD_INVALID for one of a newer contract."""
        member = self._members.get(number)
        if member is None:
            if number == 0 and self._missing is not None:
                raise Refusal(self._missing, {"field": field})
            raise field_invalid(field, "is missing" if number == 0 else f"{number} is not of this version's list")
        return member

    def word_or_none(self, number: int, field: str) -> E | None:
        """As `word`, None where nothing is said."""
        return None if number == 0 else self.word(number, field)


_A, _C, _R, _T = availability_pb2, census_pb2, reservation_pb2, terms_pb2
_WHY = Reason.REASON_REQUIRED

DISCIPLINES = Codes(_T.Discipline, "DISCIPLINE", disciplines.Discipline)
GENDERS = Codes(_T.Gender, "GENDER", statuses.Gender)
FEATURES = Codes(_T.Feature, "FEATURE", need.Feature)
URGENCIES = Codes(_T.Urgency, "URGENCY", need.Urgency)
MODES = Codes(_T.Mode, "MODE", need.Mode)
STATUSES = Codes(_A.CapacityStatus, "CAPACITY_STATUS", statuses.Status)
HORIZONS = Codes(_A.Horizon, "HORIZON", statuses.Horizon)
COUNTINGS = Codes(_A.Counting, "COUNTING", statuses.Counting)
SHOWN = Codes(_A.Shown, "SHOWN", statuses.Shown)
CLOSURE_KINDS = Codes(_A.ClosureKind, "CLOSURE_KIND", statuses.ClosureKind)
CLOSURE_REASONS = Codes(_A.ClosureReason, "CLOSURE_REASON", statuses.ClosureReason, _WHY)
CONFLICT_CAUSES = Codes(_A.Conflict.Cause, "CAUSE", statuses.ConflictCause)
ANSWERING = Codes(_A.PolicySummary.Answering, "ANSWERING", statuses.Answering)
FRESHNESS = Codes(_A.Freshness, "FRESHNESS", statuses.Freshness)
SOURCE_KINDS = Codes(_A.SourceKind, "SOURCE_KIND", statuses.SourceKind)
ROOM_RULES = Codes(_C.RoomRule, "ROOM_RULE", statuses.RoomRule)
SUPPLEMENTARY = Codes(_C.SupplementaryKind, "SUPPLEMENTARY_KIND", statuses.SupplementaryKind)
FATES = Codes(_C.ApplyMovementsResponse.Fate, "FATE", model.Fate)
PARK_REASONS = Codes(_C.ParkReason, "PARK_REASON", model.ParkReason)
STATES = Codes(_R.Reservation.State, "STATE", lifecycle.ReservationState)
DECLINE_REASONS = Codes(_R.DeclineReason, "DECLINE_REASON", lifecycle.DeclineReason, _WHY)
RELEASE_REASONS = Codes(_R.ReleaseReason, "RELEASE_REASON", lifecycle.ReleaseReason, _WHY)
WITHDRAW_REASONS = Codes(_R.WithdrawReason, "WITHDRAW_REASON", lifecycle.WithdrawReason, _WHY)
WAITLIST_REASONS = Codes(_R.WaitlistReason, "WAITLIST_REASON", lifecycle.WaitlistReason, _WHY)
QUESTIONS = Codes(_R.Question, "QUESTION", lifecycle.Question)
STEPS = Codes(_R.AdmissionStep, "ADMISSION_STEP", lifecycle.Step)
NOTE_VERDICTS = Codes(_R.Note.Verdict, "VERDICT", lifecycle.NoteVerdict)
NOTE_FATES = Codes(_R.Note.Fate, "FATE", lifecycle.NoteFate)


def instant(message: Timestamp, field: str) -> datetime:
    """An instant of the century. Raises `Refusal(TIME_OUT_OF_RANGE)`."""
    try:
        read = message.ToDatetime(UTC)
    except (ValueError, OverflowError):
        read = None
    if read is None or not EARLIEST <= read < LATEST:
        raise Refusal(Reason.TIME_OUT_OF_RANGE, {"field": field, "problem": "not an instant of 2000 to 2099, in UTC"})
    return read


def timestamp(moment: datetime) -> Timestamp:
    """The wire's form of an instant."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def span(message: Duration, field: str) -> timedelta:
    """A duration that is not negative. Raises `Refusal(TIME_OUT_OF_RANGE)`."""
    try:
        read = message.ToTimedelta()
    except (ValueError, OverflowError):
        read = None
    if read is None or not timedelta(0) <= read <= DURATION_MAX:
        problem = f"not a duration of 0 to {DURATION_MAX.days} days"
        raise Refusal(Reason.TIME_OUT_OF_RANGE, {"field": field, "problem": problem})
    return read


def duration(length: timedelta) -> Duration:
    """The wire's form of a duration."""
    message = Duration()
    message.FromTimedelta(length)
    return message


def count(number: int, field: str, least: int = 0) -> int:
    """A count of places. Raises `Refusal(COUNT_OUT_OF_RANGE)`."""
    if not least <= number <= COUNT_MAX:
        raise Refusal(Reason.COUNT_OUT_OF_RANGE, {"field": field, "count": str(number), "max": str(COUNT_MAX)})
    return number


def text(words: str, field: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    """Words for people: one line, not too long. Raises FIELD_INVALID."""
    if len(words) > length_max:
        raise field_invalid(field, f"is longer than {length_max} characters")
    if not words.isprintable():
        raise field_invalid(field, "holds characters that cannot be printed, or several lines")
    return words.strip()


def opaque(words: str, field: str) -> str:
    """Somebody else's identifier: printable ASCII without spaces. Raises FIELD_INVALID."""
    if not _OPAQUE.fullmatch(words):
        raise field_invalid(field, f"must be 1 to {ID_LENGTH_MAX} printable ASCII characters without spaces")
    return words


def uuid(words: str, field: str) -> str:
    """A UUID as RFC 9562 writes it, in lower case. Raises FIELD_INVALID."""
    try:
        if str(UUID(words)) == words:
            return words
    except ValueError:
        pass
    raise field_invalid(field, "must be a UUID in lower case with hyphens")


def code(words: str, field: str) -> str:
    """A house's own code of a unit, room, bed or source. Raises MALFORMED_NAME."""
    if not _CODE.fullmatch(words):
        raise malformed(words, field, "codes are 1 to 32 of A-Z a-z 0-9 and -")
    return words


def malformed(words: str, field: str, problem: str) -> Refusal:
    """The refusal of a name, with what was given, made harmless."""
    shown = words[:120].encode("ascii", "backslashreplace").decode()
    return Refusal(Reason.MALFORMED_NAME, {"field": field, "name": shown, "problem": problem})


class Names:
    """Resource names of one establishment. Reading gives bare codes; another house's is ESTABLISHMENT_NOT_FOUND."""

    def __init__(self, establishment: FinessET) -> None:
        self.establishment = f"establishments/{establishment}"
        self._finess = establishment

    def unit(self, unit: str) -> str:
        """Name of a unit."""
        return f"{self.establishment}/units/{unit}"

    def bed(self, unit: str, bed: str) -> str:
        """Name of a bed."""
        return f"{self.establishment}/units/{unit}/beds/{bed}"

    def conflict(self, key: str) -> str:
        """Name of a conflict, of its key `unit/uuid`."""
        unit, _, conflict = key.partition("/")
        return f"{self.establishment}/units/{unit}/conflicts/{conflict}"

    def reservation(self, reservation: str) -> str:
        """Name of a reservation, of its uuid or its key `territory/uuid`."""
        return f"{self.establishment}/reservations/{reservation.rpartition('/')[2]}"

    def parked(self, parked: str) -> str:
        """Name of a parked movement."""
        return f"{self.establishment}/parkedMovements/{parked}"

    def doubt(self, doubt: str) -> str:
        """Name of a doubt about an arrival."""
        return f"{self.establishment}/arrivalDoubts/{doubt}"

    def check_establishment(self, name: str, field: str) -> None:
        """Raises `Refusal` unless `name` is this establishment's."""
        self._parts(name, field)

    def read_unit(self, name: str, field: str) -> str:
        """The unit's code."""
        return self._parts(name, field, "units")[0]

    def read_bed(self, name: str, field: str, unit: str | None = None) -> tuple[str, str]:
        """Codes of unit and bed; refused FIELD_INVALID if the bed is not of `unit`, where one is given."""
        found, bed = self._parts(name, field, "units", "beds")
        if unit is not None and found != unit:
            raise field_invalid(field, "the bed is of another unit")
        return found, bed

    def read_conflict(self, name: str, field: str) -> tuple[str, str]:
        """Unit's code and the conflict's uuid."""
        unit, conflict = self._parts(name, field, "units", "conflicts")
        return unit, conflict

    def read_reservation(self, name: str, field: str) -> str:
        """The reservation's uuid."""
        return uuid(self._parts(name, field, "reservations")[0], field)

    def read_parked(self, name: str, field: str) -> str:
        """The parked movement's id."""
        return self._parts(name, field, "parkedMovements")[0]

    def read_doubt(self, name: str, field: str) -> str:
        """The doubt's id."""
        return self._parts(name, field, "arrivalDoubts")[0]

    def _parts(self, name: str, field: str, *collections: str) -> list[str]:
        """The codes after the establishment's, whose collections must be those."""
        parts = name.split("/")
        if len(parts) != 2 + 2 * len(collections) or parts[0] != "establishments" or tuple(parts[2::2]) != collections:
            form = "/".join(("establishments/{finess}", *(f"{one}/{{{one[:-1]}}}" for one in collections)))
            raise malformed(name, field, f"expected {form}")
        if FinessET(parts[1]) != self._finess:
            raise Refusal(Reason.ESTABLISHMENT_NOT_FOUND, {"field": field, "establishment": parts[1]})
        codes = parts[3::2]
        for one in codes:
            if not _CODE.fullmatch(one) and not _is_uuid(one):
                raise malformed(name, field, "codes are 1 to 32 of A-Z a-z 0-9 and -")
        return codes


def _is_uuid(words: str) -> bool:
    try:
        return str(UUID(words)) == words
    except ValueError:
        return False
