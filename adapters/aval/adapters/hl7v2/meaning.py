"""What a message says of a stay (pure): `Said`, which holds no identity.

A name, a birth date, a number of a patient never leaves this module: the visit and the movement are known by keyed
hashes from here on (HMAC-SHA-256 with a key of the house's own), and of the rest only codes of places, a gender and
times are kept.
"""

import hmac
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from hashlib import sha256
from zoneinfo import ZoneInfo

import msgspec

from aval.adapters.hl7v2.events import (
    ACTIONS,
    CORRECTION,
    EVENTS,
    MOVED,
    NEWBORN,
    OUTPATIENT,
    SWAP,
    Action,
    Event,
    Kind,
)
from aval.adapters.hl7v2.faults import Fault, Severity, fault, missing
from aval.adapters.hl7v2.reading import Message
from aval.kernel.statuses import Gender

NULL = '""'
"""HL7's word for "delete what you have" (HL7 v2.5 §2.5.3)."""

CODE_LENGTH_MAX = 64
"""Characters of a unit, room or bed code that we keep: PL's components have 20."""

REFERENCE = re.compile(r"[A-Z2-9]{2}-[A-Z2-9]{3}", re.ASCII)
"""A reservation's spoken reference (CONTRACT 5). Only what looks like one is taken from the field that a site declares,
so that nothing else of it can reach the node."""

HASHED = "AVAL-STAY"
"""Authority (PV1-19.4) under which our own reconciliation names a stay by its hash, having no number of it."""

DEPARTURE_HOUR = 12
"""Of a planned departure (PV2-9) told by its day alone: most patients leave late in the morning, and a bed promised
from midnight would be promised too early."""

_ACCOMMODATION = frozenset("HL")
"""Letters of ZBE-9 (PAM.FR §6.13.9): accommodation and bed. A movement with neither changes a responsibility or a
care, and the patient stays where she is; PV1-3 need not be there (PAM.FR §6.10.2)."""

_HASHED_KEY = re.compile(r"v-[0-9a-f]{32}", re.ASCII)

_GENDERS = {"F": Gender.FEMALE, "M": Gender.MALE}


class Place(msgspec.Struct, frozen=True):
    """PV1-3 (PAM.FR §6.10.2), as the sender's codes; empty where not said, a bed of `NULL` where there is none. The
    facility (HD) is its name, or else its universal identifier."""

    unit: str = ""
    room: str = ""
    bed: str = ""
    facility: str = ""


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one message says of one stay. `movements`: hashes of ZBE-1, the first the one that counts.

    `sent` orders words about the same thing, `time` orders what happened. `departure` with `departure_told` False was
    not spoken of; `absorbed` is another number that the stay had: of a merge, or before the movement.
    """

    visit: str
    kind: Kind
    sent: datetime
    time: datetime
    action: Action = Action.INSERT
    movements: tuple[str, ...] = ()
    patient_class: str = ""
    place: Place | None = None
    gender: Gender = Gender.UNDETERMINED
    departure_told: bool = False
    departure: datetime | None = None
    arrival: datetime | None = None
    returns: datetime | None = None
    newborn: bool = False
    reservation: str = ""
    absorbed: str = ""


@dataclass(frozen=True, slots=True)
class Customs:
    """What a site declares of its feed.

    `key` makes the hashes; `zone` is of times without an offset; `processing` (MSH-11) is what is live; `reservation`
    names the field, if any, in which the site puts a reservation's reference; `ward_fields` are looked at for a unit
    where PV1-3 has none, each with the component that holds it, and `facility` for the site whose code it is;
    `visit_fields` name a visit, the first that is there
    (PAM.FR §3, note 1); `outpatient_classes` are those of PV1-2 that take no bed beside the standard's; `zbe_optional`
    takes messages of the French profile without the segment that it requires (a message cut off has none either).
    """

    key: bytes
    zone: ZoneInfo
    processing: frozenset[str] = frozenset({"P"})
    reservation: tuple[str, int] | None = None
    ward_fields: tuple[tuple[str, int, int], ...] = ()
    facility: tuple[str, int, int] = ("PV1", 3, 4)
    visit_fields: tuple[tuple[str, int], ...] = (("PV1", 19), ("PID", 18))
    outpatient_classes: frozenset[str] = frozenset()
    zbe_optional: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of reading one message: what it says of a stay, or nothing. `event` is its code; `passed_over` are
    fields that could not be read, and that the stay can do without."""

    event: str
    said: tuple[Said, ...] = ()
    passed_over: tuple[Fault, ...] = ()


def understand(message: Message, customs: Customs) -> Heard:
    """What a message says. Raises `Fault`."""
    code = _event_code(message, customs)
    event = EVENTS.get(code)
    if event is None or (event.kind is Kind.NOTHING and code != CORRECTION):
        return Heard(code)
    if event.kind is Kind.MERGE:
        return Heard(code, _merges(message, customs, code))
    passed_over: list[Fault] = []
    if code == SWAP:
        return Heard(code, _swapped(message, customs, event, passed_over), tuple(passed_over))
    if not customs.zbe_optional and not message.has("ZBE") and _is_french(message) and event.kind is not Kind.INFORM:
        raise fault("ZBE", 0, Severity.ERROR, "100", "the French profile has it in each movement (PAM.FR §5.2)")
    said = _said(message, customs, event, code, passed_over)
    return Heard(code, () if said is None else (said,), tuple(passed_over))


def _swapped(message: Message, customs: Customs, event: Event, passed_over: list[Fault]) -> tuple[Said, ...]:
    """What a swap says: a movement of each of two patients to what its own PV1-3 names (HL7 §3.3.17).

    PAM.FR has no such event, so no ZBE is asked for. Each movement is known within its visit: by its own ZBE-1, by the
    one ZBE-1 of both, or without any by its time, as that of an A02.
    """
    patients = message.patients()
    if len(patients) != 2:
        raise fault("PID", 0, Severity.ERROR, "100", "a swap is of two patients, each with PID and PV1")
    said: list[Said] = []
    for number, patient in enumerate(patients, 1):
        try:
            word = _said(patient, customs, event, SWAP, passed_over)
        except Fault as wrong:
            raise _of(wrong, number) from wrong
        if word is not None:
            said.append(word)
    if len({word.visit for word in said}) != len(said):
        raise _of(fault("PV1", 19, Severity.ERROR, "205", "one visit cannot change places with itself"), 2)
    return tuple(said)


def _of(wrong: Fault, number: int) -> Fault:
    """A fault of one patient of several; what stands in the header is of all."""
    return wrong if wrong.segment in ("MSH", "EVN") else replace(wrong, sequence=number)


def is_acknowledgement(message: Message) -> bool:
    """Whether a message is itself an answer: it is not answered, lest two systems thank each other for ever."""
    return message.get("MSH", 9).upper() == "ACK" or (message.has("MSA") and not message.has("PID"))


def _event_code(message: Message, customs: Customs) -> str:
    if not message.get("MSH", 10):
        raise missing("MSH", 10, "no identifier of the message: nothing to answer to")
    kind = message.get("MSH", 9).upper()
    code = (message.get("MSH", 9, 2) or message.get("EVN", 1)).upper()
    if kind in EVENTS and code in ("", kind):
        kind, code = "ADT", kind  # MSH-9 of one component, which names the event and is of no other type
    if kind != "ADT":
        raise fault("MSH", 9, Severity.REJECT, "200", "not an ADT message")
    if not code:
        raise missing("MSH", 9, "no trigger event", 2)
    version = message.get("MSH", 12)
    if version and not version.startswith("2."):
        raise fault("MSH", 12, Severity.REJECT, "203", "not HL7 version 2")
    processing = message.get("MSH", 11)
    if processing and processing.upper() not in customs.processing:
        raise fault("MSH", 11, Severity.REJECT, "202", "not of this state of processing: for training, or for tests")
    return code[:8]


def _action(message: Message, event: Event, code: str) -> Action | None:
    """What is done with the movement; None where it is only referred to."""
    told = _value(message, "ZBE", 4).upper()
    if not message.has("ZBE") or not told:
        if code == CORRECTION:
            raise missing("ZBE", 4, "a correction says what it corrects")
        return event.action
    action = ACTIONS.get(told)
    if action is None and told == "REFERENCE":
        return None
    if action is None:
        raise fault("ZBE", 4, Severity.ERROR, "103", "not INSERT, UPDATE or CANCEL")
    if (code == CORRECTION) is not (action is Action.UPDATE):
        if code == CORRECTION:
            raise fault("ZBE", 4, Severity.ERROR, "103", "Z99 corrects: UPDATE")
        return event.action  # an A02 that says UPDATE is the A02 again, with what has changed
    if event.action is Action.CANCEL and action is Action.INSERT:
        return Action.CANCEL  # the event is a cancellation whatever ZBE-4 says
    return action


def _kind(message: Message, event: Event, code: str, action: Action) -> Kind:
    """What kind of movement it is about: for a correction or a cancellation, that of the event in ZBE-6."""
    original = (_value(message, "ZBE", 6, 2) or _value(message, "ZBE", 6)).upper()  # or as in MSH-9: ADT^A01
    if action is Action.INSERT or (action is Action.CANCEL and event.action is Action.CANCEL and not original):
        return event.kind
    if not original:
        if code == CORRECTION:
            raise missing("ZBE", 6, "a correction names the event that it corrects")
        return _UNDONE_BY.get(event.kind, event.kind)
    corrected = EVENTS.get(original) if original != CORRECTION else None
    if corrected is None or corrected.action is Action.CANCEL or corrected.kind in (Kind.MERGE, Kind.DELETE):
        raise fault("ZBE", 6, Severity.ERROR, "103", "no event that inserts a movement")
    return corrected.kind


_UNDONE_BY = {Kind.TO_INPATIENT: Kind.TO_OUTPATIENT, Kind.TO_OUTPATIENT: Kind.TO_INPATIENT}
"""What an event with CANCEL takes back, where it is not its own kind: A06 an A07, and the other way round (PAM.FR §2.2,
remark 2)."""


def _merges(message: Message, customs: Customs, code: str) -> tuple[Said, ...]:
    """Each MRG of each patient, the visit of that patient's PV1 being the one that stays: PID, MRG and PV1 may repeat
    (HL7 §3.3.42, ADT_A39; A45 has a PV1 for each MRG, §3.3.45), and of whom each is, is told by the order alone."""
    now = _sent(message, customs)
    said: list[Said] = []
    merges = 0
    for number, patient in enumerate(message.patients() or [message], 1):
        prior, visits = patient.with_each("MRG") or [patient], patient.with_each("PV1")
        for merge, kept in zip(prior, visits if len(visits) == len(prior) else [patient] * len(prior), strict=True):
            merges += 1
            absorbed = _number(merge, customs, "MRG", 5)
            if not absorbed and code == MOVED:
                continue
            if not absorbed:
                raise _of(missing("MRG", 5, "which visit is no more"), merges)
            try:
                visit = _visit(kept, customs, Kind.MERGE)
            except Fault as wrong:
                raise _of(wrong, number) from wrong
            said.append(Said(visit=visit, kind=Kind.MERGE, sent=now, time=now, absorbed=absorbed))
    return tuple(said)


def _said(message: Message, customs: Customs, event: Event, code: str, passed_over: list[Fault]) -> Said | None:
    """What is said of one patient; None where a movement is only referred to."""
    action = _action(message, event, code)
    kind = event.kind if action is None else _kind(message, event, code, action)
    if action is None or kind is Kind.NOTHING:
        return None
    place = _place(message, customs)
    sent = _sent(message, customs)
    patient_class = _value(message, "PV1", 2).upper()
    if patient_class in customs.outpatient_classes:
        patient_class = OUTPATIENT
    newborn = message.get("PV1", 4) == NEWBORN or message.get("ZFM", 1) == NEWBORN
    moves = kind is Kind.MOVE and (code == SWAP or _changes_place(message))
    needs_place = moves or kind in (Kind.ADMIT, Kind.TO_INPATIENT)
    if needs_place and action is Action.INSERT and place is None and patient_class not in ("O", "E", "N", "R", "V"):
        raise missing("PV1", 3, "no unit: where is the patient?")
    visit = _visit(message, customs, kind)
    departure_told, departure = _departure(message, customs, kind, passed_over)
    return Said(
        visit=visit,
        kind=kind,
        sent=sent,
        time=_happened(message, customs, kind, sent, passed_over),
        action=action,
        movements=_movements(message, customs),
        patient_class=patient_class,
        place=place,
        gender=_GENDERS.get(message.get("PID", 8).upper(), Gender.UNDETERMINED),
        departure_told=departure_told,
        departure=departure,
        arrival=_planned_arrival(message, customs, passed_over) if kind is Kind.EXPECT else None,
        returns=_planned(message, customs, "PV2", 47, passed_over) if kind is Kind.LEAVE else None,
        newborn=newborn,
        reservation=_reservation(message, customs),
        absorbed=_former(message, customs, kind, visit) if action is Action.INSERT else "",
    )


def _is_french(message: Message) -> bool:
    return message.get("MSH", 12, 2) == "FRA"


def _changes_place(message: Message) -> bool:
    """Whether a movement is one of accommodation: so says its nature (ZBE-9), and all do that name none."""
    nature = _value(message, "ZBE", 9).upper()
    return not nature or bool(_ACCOMMODATION & set(nature))


def _place(message: Message, customs: Customs) -> Place | None:
    unit, room, bed = (_value(message, "PV1", 3, n)[:CODE_LENGTH_MAX] for n in (1, 2, 3))
    if not unit:
        wards = (_value(message, *field) or _value(message, *field[:2]) for field in customs.ward_fields)
        unit = next((ward for ward in wards if ward), "")[:CODE_LENGTH_MAX]
    if message.get("PV1", 3, 3) == NULL:
        bed = NULL
    facility = _value(message, *customs.facility) or _value(message, *customs.facility, part=2)
    return Place(unit, room, bed, facility[:CODE_LENGTH_MAX]) if unit else None


def _value(message: Message, segment: str, number: int, component: int = 1, part: int = 1) -> str:
    """A field's text; empty where it is to be deleted, too."""
    text = message.get(segment, number, component, part)
    return "" if text == NULL else text


def _visit(message: Message, customs: Customs, kind: Kind) -> str:
    """The hash of the visit's number: before the admission, that of the preadmission will do (HL7 §3.4.3.5)."""
    first, *others = customs.visit_fields
    for segment, number in (first, *([("PV1", 5)] if kind is Kind.EXPECT else []), *others):
        if found := _number(message, customs, segment, number):
            return found
    raise missing(*first, "no number of the visit: whose bed is it?")


def _number(message: Message, customs: Customs, segment: str, number: int) -> str:
    """The hash of a number (CX) with its authority, its namespace or universal identifier; empty if there is none, or
    nothing but zeros: all those without a number would be one."""
    identifier = _unfilled(message, segment, number)
    authority = _value(message, segment, number, 4) or _value(message, segment, number, 4, part=2)
    if identifier in ("", NULL):
        return ""
    if authority == HASHED and _HASHED_KEY.fullmatch(identifier):
        return identifier
    return _hashed(customs, "v", f"{identifier}^{authority}")


_FORMER_NUMBERS = {
    Kind.ADMIT: ("PV1", 5),
    Kind.REGISTER: ("PV1", 5),
    Kind.TO_INPATIENT: ("MRG", 5),
    Kind.TO_OUTPATIENT: ("MRG", 5),
}
"""Where a movement names the number that the stay had until then: of the preadmission (HL7 §3.4.3.5), or before a
change of class (HL7 §3.3.6, §3.3.7)."""


def _former(message: Message, customs: Customs, kind: Kind, visit: str) -> str:
    """The hash of that number; empty where none is told, or it is the same."""
    former = _number(message, customs, *_FORMER_NUMBERS[kind]) if kind in _FORMER_NUMBERS else ""
    return "" if former == visit else former


def _movements(message: Message, customs: Customs) -> tuple[str, ...]:
    """Hashes of ZBE-1 (EI, repeats): the identifier with each name of its authority, for one message may give both the
    namespace and the universal identifier, and the next but one of them."""
    hashes: dict[str, None] = {}
    for name, *authorities in zip(*(message.each("ZBE", 1, n) for n in (1, 2, 3)), strict=True):
        if name and name != NULL:
            for authority in [one for one in authorities if one and one != NULL] or [""]:
                hashes[_hashed(customs, "m", f"{name}^{authority}")] = None
    return tuple(hashes)


def _hashed(customs: Customs, kind: str, text: str) -> str:
    return f"{kind}-{hmac.new(customs.key, f'{kind}/{text}'.encode(), sha256).hexdigest()[:32]}"


def _sent(message: Message, customs: Customs) -> datetime:
    for segment, number in (("MSH", 7), ("EVN", 2)):
        stamp = _time(_unfilled(message, segment, number), customs, segment, number)
        if stamp is not None:
            return stamp
    raise missing("MSH", 7, "no time: what came first?")


def _unfilled(message: Message, segment: str, number: int) -> str:
    """A field's text; empty where it is filled with zeros, as registers do with a column that nobody has written."""
    text = message.get(segment, number)
    return text if text.strip("0") else ""


_OWN_TIMES = {Kind.ADMIT: ("PV1", 44), Kind.REGISTER: ("PV1", 44), Kind.DISCHARGE: ("PV1", 45)}
"""Where an event has a time of its own: what cannot be read there is passed over, for EVN and MSH say it too."""


def _happened(message: Message, customs: Customs, kind: Kind, sent: datetime, passed_over: list[Fault]) -> datetime:
    """When it happened: ZBE-2; else the event's own field, EVN-6, EVN-2, MSH-7. The hour of a day told without one is
    that of the next field on the same day."""
    own = _OWN_TIMES.get(kind)
    day: datetime | None = None
    for field in (("ZBE", 2), own, ("EVN", 6), ("EVN", 2), ("MSH", 7)):
        if field is None:
            continue
        segment, number = field
        text = _unfilled(message, segment, number)
        stamp = _planned(message, customs, *field, passed_over) if field == own else _time(text, customs, *field)
        if stamp is None or (day is not None and _date(stamp, customs) != _date(day, customs)):
            continue
        if not _DAY_ALONE.fullmatch(text):
            return stamp
        day = day or stamp
    return day or sent


def _date(instant: datetime, customs: Customs) -> date:
    return instant.astimezone(customs.zone).date()


def _departure(
    message: Message, customs: Customs, kind: Kind, passed_over: list[Fault]
) -> tuple[bool, datetime | None]:
    """Whether a planned departure is spoken of (PV2-9; for A16 EVN-3, too), and when it is."""
    if kind is Kind.PLAN_DEPARTURE:
        segment, number = ("PV2", 9) if message.get("PV2", 9) else ("EVN", 3)
        text = message.get(segment, number)
        return bool(text), _time(text, customs, segment, number, hour=DEPARTURE_HOUR)
    faults = len(passed_over)
    departure = _planned(message, customs, "PV2", 9, passed_over, hour=DEPARTURE_HOUR)
    return bool(message.get("PV2", 9)) and len(passed_over) == faults, departure


def _planned_arrival(message: Message, customs: Customs, passed_over: list[Fault]) -> datetime | None:
    for segment, number in (("PV2", 8), ("EVN", 3), ("PV1", 44), ("ZBE", 2)):
        stamp = _planned(message, customs, segment, number, passed_over)
        if stamp is not None:
            return stamp
    return None


def _planned(
    message: Message, customs: Customs, segment: str, number: int, passed_over: list[Fault], hour: int = 0
) -> datetime | None:
    """A time that is only planned: an admission is not refused for a plan that cannot be read."""
    try:
        return _time(message.get(segment, number), customs, segment, number, hour)
    except Fault as wrong:
        passed_over.append(wrong)
        return None


def _reservation(message: Message, customs: Customs) -> str:
    if customs.reservation is None:
        return ""
    text = message.get(*customs.reservation).upper()
    return text if REFERENCE.fullmatch(text) else ""


_ZONE = r"(Z|[+-]\d\d(?::?\d\d)?)?"
_STAMP = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:[T ]?(\d\d)(?:(\d\d)(?:(\d\d)([.,]\d{1,9}|\d{3})?)?)?)?)?)?" + _ZONE, re.ASCII
)
"""HL7's TS: YYYY[MM[DD[HH[MM[SS[.S…]]]]]][+/-ZZZZ]; and as some write it, with ISO 8601's marks before the hour and in
the zone, or thousandths without their mark."""

_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)([.,]\d{1,9})?)?)?" + _ZONE, re.ASCII)
"""ISO 8601, which no version of HL7 v2 has and whose meaning is one."""

_DAY_ALONE = re.compile(r"\d{4}(-?)\d\d\1\d\d" + _ZONE, re.ASCII)


def _time(text: str, customs: Customs, segment: str, number: int, hour: int = 0) -> datetime | None:
    """An instant; None where there is none. Without a day it says nothing; without an hour, at `hour`.

    Raises `Fault`.
    """
    if not text or text == NULL:
        return None
    parts = _STAMP.fullmatch(text) or _ISO.fullmatch(text)
    if parts is None:
        raise fault(segment, number, Severity.ERROR, "102", "not a date and time")
    year, month, day, told_hour, minute, second, fraction, told_zone = parts.groups()
    if day is None:
        return None
    ends = told_hour == "24" and not int(minute or 0) and not int(second or 0)  # the end of the day, as many write it
    parsed = (year, month, day, "0" if ends else told_hour or hour, minute, second)
    numbers = [int(part or 0) for part in (*parsed, (fraction or "").lstrip(".,")[:6].ljust(6, "0"))]
    try:
        zone: tzinfo = customs.zone
        if told_zone is not None:
            digits = told_zone[1:].replace(":", "").ljust(4, "0")
            ahead = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
            zone = timezone(-ahead if told_zone[0] == "-" else ahead)
        return (datetime(*_seven(numbers), tzinfo=zone) + timedelta(days=ends)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise fault(segment, number, Severity.ERROR, "102", "no such date or time") from error


def _seven(numbers: list[int]) -> tuple[int, int, int, int, int, int, int]:
    year, month, day, hour, minute, second, microsecond = numbers
    return year, month, day, hour, minute, second, microsecond


__all__ = ["Customs", "Fault", "Heard", "Place", "Said", "is_acknowledgement", "understand"]
