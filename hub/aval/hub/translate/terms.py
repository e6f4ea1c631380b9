"""The words that all messages share: enumerations, instants, names, cursors, needs, mandates."""

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar, overload
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from aval.hub.model import Cursor, Mandate
from aval.hub.registry import SignedIn
from aval.kernel.disciplines import Discipline
from aval.kernel.finess import FinessET
from aval.kernel.need import Feature, Interval, Mode, Need, Urgency
from aval.kernel.reasons import Reason, Refusal, field_invalid
from aval.kernel.statuses import Gender
from aval.v1 import terms_pb2

ACTOR_LENGTH_MAX = 200
"""Characters of a person's subject or name: more is not one."""

E = TypeVar("E", bound=StrEnum)
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)

AGE_YEARS_MAX = 130
"""As the contract says of `age_years`."""

INSTANT_YEARS = (2000, 2200)
"""Instants outside are no dates of care; they would overflow what is computed from them."""

FEATURES_MAX = 32
"""More features than the closed list has are a mistake, or worse."""


class _WireEnum(Protocol[V_co]):
    def items(self) -> Sequence[tuple[str, V_co]]: ...


class Words(Generic[E, V]):
    """An enumeration of the kernel and its twin on the wire, matched by name."""

    def __init__(self, wire: _WireEnum[V], prefix: str, kind: type[E]) -> None:
        values = dict(wire.items())
        self.to_wire: dict[E, V] = {member: values[f"{prefix}_{member.name}"] for member in kind}
        self._from_wire: dict[Any, E] = {value: member for member, value in self.to_wire.items()}

    def read(self, value: V) -> E | None:
        """The value, None if unspecified or of a newer contract."""
        return self._from_wire.get(value)

    def required(self, value: V, field: str) -> E:
        """The value. Raises `Refusal(FIELD_INVALID)` if unspecified or unknown."""
        found = self._from_wire.get(value)
        if found is None:
            raise field_invalid(field, "say one of: " + ", ".join(sorted(member.name for member in self.to_wire)))
        return found

    def known(self, values: Iterable[V]) -> list[E]:
        """Those of the values that this version knows."""
        return [self._from_wire[value] for value in values if value in self._from_wire]

    def wire(self, members: Collection[E]) -> list[V]:
        """Several, in the order of the list that they are of."""
        return [value for member, value in self.to_wire.items() if member in members]


DISCIPLINES = Words(terms_pb2.Discipline, "DISCIPLINE", Discipline)
GENDERS = Words(terms_pb2.Gender, "GENDER", Gender)
FEATURES = Words(terms_pb2.Feature, "FEATURE", Feature)
URGENCIES = Words(terms_pb2.Urgency, "URGENCY", Urgency)
MODES = Words(terms_pb2.Mode, "MODE", Mode)

# --- time ------------------------------------------------------------------------------------------------------------


def instant(message: Timestamp) -> datetime:
    """An instant of a node, as it is."""
    return message.ToDatetime(tzinfo=UTC)


def given_instant(message: Message, field: str) -> datetime:
    """A caller's instant, which must be there and make sense. Raises FIELD_INVALID or TIME_OUT_OF_RANGE."""
    if not message.HasField(field):
        raise field_invalid(field, "an instant is needed")
    first, last = INSTANT_YEARS
    try:
        found: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Refusal(Reason.TIME_OUT_OF_RANGE, {"field": field}) from None
    if not first <= found.year < last:
        raise Refusal(Reason.TIME_OUT_OF_RANGE, {"field": field})
    return found


def given_duration(message: Message, field: str) -> timedelta | None:
    """A caller's duration, positive; None if absent. Raises FIELD_INVALID."""
    if not message.HasField(field):
        return None
    try:
        found: timedelta = getattr(message, field).ToTimedelta()
    except (ValueError, OverflowError):
        raise field_invalid(field, "is no duration") from None
    if found <= timedelta(0):
        raise field_invalid(field, "must be above 0, or absent")
    return found


def maybe_instant(message: Message, field: str) -> datetime | None:
    """A node's instant, None if absent."""
    return instant(getattr(message, field)) if message.HasField(field) else None


def maybe_duration(message: Message, field: str) -> timedelta | None:
    """A node's duration, None if absent."""
    return getattr(message, field).ToTimedelta() if message.HasField(field) else None


def timestamp(value: datetime | None) -> Timestamp | None:
    """An instant as a message; None stays None, which protobuf takes for absent."""
    if value is None:
        return None
    message = Timestamp()
    message.FromDatetime(value)
    return message


def duration(value: timedelta | None) -> Duration | None:
    """A duration as a message."""
    if value is None:
        return None
    message = Duration()
    message.FromTimedelta(value)
    return message


def interval(message: terms_pb2.Interval) -> Interval:
    """An interval of a node."""
    return Interval(instant(message.start), maybe_instant(message, "end"))


def wire_interval(value: Interval) -> terms_pb2.Interval:
    """An interval as a message."""
    return terms_pb2.Interval(start=timestamp(value.start), end=timestamp(value.end))


# --- names -----------------------------------------------------------------------------------------------------------

_UNIT = re.compile(r"establishments/([^/]+)/units/[A-Za-z0-9-]{1,32}", re.ASCII)
_RESERVATION = re.compile(r"establishments/([^/]+)/reservations/([^/]+)", re.ASCII)


def _malformed(field: str, name: str, form: str) -> Refusal:
    return Refusal(Reason.MALFORMED_NAME, {"field": field, "name": name[:120], "form": form})


def establishment_name(finess: str) -> str:
    """`establishments/{finess}`; empty for an empty one."""
    return f"establishments/{finess}" if finess else ""


def finess_of(name: str, field: str) -> FinessET:
    """The FINESS in `establishments/{finess}`. Raises MALFORMED_NAME or MALFORMED_FINESS."""
    prefix, _, finess = name.partition("/")
    if prefix != "establishments" or "/" in finess:
        raise _malformed(field, name, "establishments/{finess}")
    return FinessET.parse(finess)


def unit_name(name: str, field: str) -> str:
    """A unit's name, checked. Raises MALFORMED_NAME or MALFORMED_FINESS."""
    found = _UNIT.fullmatch(name)
    if found is None:
        raise _malformed(field, name, "establishments/{finess}/units/{unit}")
    FinessET.parse(found[1])
    return name


def given_uuid(text: str, field: str) -> str:
    """A UUID made by the caller, in its one usual spelling. Raises FIELD_INVALID."""
    try:
        if str(UUID(text)) == text:
            return text
    except ValueError:
        pass
    raise field_invalid(field, "a UUID in lower case is needed, made by you, new for each act")


def request_name(name: str, field: str = "name") -> str:
    """`requests/{uuid}`, checked. Raises MALFORMED_NAME."""
    prefix, _, rest = name.partition("/")
    try:
        if prefix == "requests" and str(UUID(rest)) == rest:
            return name
    except ValueError:
        pass
    raise _malformed(field, name, "requests/{uuid}")


def reservation_name(name: str, field: str = "reservation") -> str:
    """A reservation's name, checked. Raises MALFORMED_NAME or MALFORMED_FINESS."""
    found = _RESERVATION.fullmatch(name)
    try:
        if found is not None and str(UUID(found[2])) == found[2]:
            FinessET.parse(found[1])
            return name
    except ValueError:
        pass
    raise _malformed(field, name, "establishments/{finess}/reservations/{uuid}")


# --- cursors, mandates, needs ----------------------------------------------------------------------------------------


def cursor(message: terms_pb2.Cursor) -> Cursor:
    """A node's cursor, or one that a follower of this hub gives back."""
    finess = message.establishment.removeprefix("establishments/")
    return Cursor(finess, message.incarnation, message.revision, message.tag, message.view)


@overload
def wire_cursor(value: Cursor) -> terms_pb2.Cursor: ...
@overload
def wire_cursor(value: None) -> None: ...
@overload
def wire_cursor(value: Cursor | None) -> terms_pb2.Cursor | None: ...
def wire_cursor(value: Cursor | None) -> terms_pb2.Cursor | None:
    """A cursor as a message."""
    if value is None:
        return None
    return terms_pb2.Cursor(
        establishment=establishment_name(value.establishment),
        incarnation=value.incarnation,
        revision=value.revision,
        tag=value.tag,
        view=value.view,
    )


def mandate(message: terms_pb2.Mandate) -> Mandate:
    """A mandate that a node tells: of its staff, or one that we made."""
    return Mandate(
        message.caller,
        message.actor,
        message.display_name,
        message.role,
        message.on_behalf_of.removeprefix("establishments/"),
        instant(message.act_time),
    )


def maybe_mandate(message: Message, field: str) -> Mandate | None:
    """A node's mandate, None if absent."""
    return mandate(getattr(message, field)) if message.HasField(field) else None


def wire_mandate(value: Mandate | None) -> terms_pb2.Mandate | None:
    """A mandate as a message."""
    if value is None:
        return None
    return terms_pb2.Mandate(
        caller=value.caller,
        actor=value.actor,
        display_name=value.display_name,
        role=value.role,
        on_behalf_of=establishment_name(value.on_behalf_of),
        act_time=timestamp(value.act_time),
    )


def _features(values: Any, field: str) -> frozenset[Feature]:
    if len(values) > FEATURES_MAX:
        raise field_invalid(field, f"at most {FEATURES_MAX}")
    return frozenset(FEATURES.required(value, field) for value in values)


def need(message: terms_pb2.Need) -> Need:
    """A caller's need, checked whole. Raises FIELD_INVALID, TIME_OUT_OF_RANGE, MALFORMED_NAME, MALFORMED_FINESS."""
    age_months: int | None = None
    match message.WhichOneof("age"):
        case "age_years":
            if not 0 <= message.age_years <= AGE_YEARS_MAX:
                raise field_invalid("need.age_years", f"0 to {AGE_YEARS_MAX}")
            age_months = message.age_years * 12
        case "age_months":
            if not 0 <= message.age_months < 24:
                raise field_invalid("need.age_months", "below 24; from two years on say age_years")
            age_months = message.age_months
    found = Need(
        discipline=DISCIPLINES.required(message.discipline, "need.discipline"),
        gender=GENDERS.required(message.gender, "need.gender"),
        arrival_earliest=given_instant(message, "arrival_earliest"),
        arrival_latest=given_instant(message, "arrival_latest"),
        age_months=age_months,
        stay_max=given_duration(message, "stay_max"),
        required=_features(message.required, "need.required"),
        wished=_features(message.wished, "need.wished"),
        gir=message.gir or None,
        origin=str(finess_of(message.origin, "need.origin")) if message.origin else None,
        distance_km_max=message.distance_km_max or None,
        minutes_max=message.minutes_max or None,
    )
    problem = found.problem()
    if problem is not None:
        field, words = problem
        raise field_invalid(f"need.{field}", words)
    return found


def wire_need(value: Need) -> terms_pb2.Need:
    """A need as a message. An age of two years and more is told in years."""
    message = terms_pb2.Need(
        discipline=DISCIPLINES.to_wire[value.discipline],
        gender=GENDERS.to_wire[value.gender],
        arrival_earliest=timestamp(value.arrival_earliest),
        arrival_latest=timestamp(value.arrival_latest),
        stay_max=duration(value.stay_max),
        required=FEATURES.wire(value.required),
        wished=FEATURES.wire(value.wished),
        gir=value.gir or 0,
        origin=establishment_name(value.origin or ""),
        distance_km_max=value.distance_km_max or 0.0,
        minutes_max=value.minutes_max or 0.0,
    )
    if value.age_months is not None:
        if value.age_months >= 24:
            message.age_years = value.age_months // 12
        else:
            message.age_months = value.age_months
    return message


def signed_in(encoded: bytes) -> SignedIn:
    """What a desk says of the person signed in there. Raises FIELD_INVALID."""
    try:
        actor = terms_pb2.Actor.FromString(encoded)
    except DecodeError:
        raise field_invalid("aval-actor-bin", "is no Actor") from None
    if not 0 < len(actor.subject) <= ACTOR_LENGTH_MAX or len(actor.display_name) > ACTOR_LENGTH_MAX:
        raise field_invalid("aval-actor-bin", f"subject and name have 1 to {ACTOR_LENGTH_MAX} characters")
    return SignedIn(actor.subject, actor.display_name, actor.role)
