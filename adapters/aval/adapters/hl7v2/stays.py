"""Where a patient is, from all that was said of the stay (pure): a function of the *set* of words, not of their order.

Messages come late, twice, or long after the fact (PAM.FR §5.3.7). So nothing is applied as it comes: the words of a
visit are kept as a log, and the present is computed anew from it.

0. A visit that was deleted (A23) is as if nothing had been said of it until then.
1. Words of one movement (ZBE-1) make one fact: what was inserted, then corrections in the order in which they were
   sent. A cancelled movement stays cancelled, whatever comes later under its number: numbers are never used again
   (PAM.FR §5.4.1). A cancellation without ZBE-1 takes back the last movement of its kind that was sent before it.
2. The facts left are put in the order of their own times, and walked through.
3. Without an admission nobody is here if one was taken back; else whoever moves in the house is in it.
4. The planned departure is the last one spoken of, in the order of sending.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from aval.adapters.hl7v2.events import BEDLESS_CLASSES, Action, Kind
from aval.adapters.hl7v2.meaning import Place, Said
from aval.kernel.statuses import Gender

WORDS_MAX = 2_000
"""Words kept of one visit: a year of daily sessions under one number has some 700."""


class Phase(StrEnum):
    """Where a stay stands."""

    NONE = "none"
    EXPECTED = "expected"
    PRESENT = "present"
    OUTPATIENT = "outpatient"
    GONE = "gone"


class Presence(msgspec.Struct, frozen=True):
    """The present of a stay. `began` names the admission: another one is another stay under the same number."""

    phase: Phase = Phase.NONE
    place: Place | None = None
    gender: Gender = Gender.UNDETERMINED
    since: datetime | None = None
    on_leave: bool = False
    returns: datetime | None = None
    departure: datetime | None = None
    arrival: datetime | None = None
    newborn: bool = False
    reservation: str = ""
    began: str = ""


_RANK = {
    kind: rank
    for rank, kind in enumerate(
        (
            Kind.EXPECT, Kind.REGISTER, Kind.ADMIT, Kind.TO_OUTPATIENT, Kind.TO_INPATIENT, Kind.MOVE, Kind.LEAVE,
            Kind.RETURN, Kind.PLAN_DEPARTURE, Kind.DISCHARGE,
        )
    )
}  # fmt: skip
"""What comes first of movements of the same instant that were sent in the same second."""


def added(log: Sequence[Said], word: Said) -> tuple[Said, ...]:
    """The log with one word more; the same log if it says nothing new: a replay, with new stamps or without."""
    bare = _unstamped(word)
    for index, known in enumerate(log):
        if _unstamped(known) != bare:
            continue
        if word.action is Action.UPDATE and word.sent > known.sent:
            return (*log[:index], word, *log[index + 1 :])
        if word.action is not Action.UPDATE and word.sent < known.sent:
            return (*log[:index], word, *log[index + 1 :])
        return tuple(log)
    return tuple(sorted((*log, word), key=lambda one: (one.sent, _key(one))))[-WORDS_MAX:]


def joins(word: Said, other: Sequence[Said]) -> bool:
    """Whether the stay that was told of under the other number (`absorbed`) is this one. A number of a preadmission is
    believed only of one who is expected under it: fields that nobody reads are filled with zeros."""
    if not word.absorbed:
        return False
    return word.kind not in (Kind.ADMIT, Kind.REGISTER) or presence(other).phase is Phase.EXPECTED


def _unstamped(word: Said) -> Said:
    return replace(word, sent=word.time)


def _key(word: Said) -> bytes:
    return msgspec.json.encode(word)


@dataclass(slots=True)
class _Fact:
    """One movement, as far as it is known."""

    key: str
    sent: datetime
    word: Said | None = None
    cancelled: bool = False
    evidence: Said | None = None


def presence(log: Iterable[Said]) -> Presence:
    """The present of a stay."""
    words = sorted(log, key=lambda one: (one.sent, _ACTION_RANK[one.action], _key(one)))
    deleted = max((word.sent for word in words if word.kind is Kind.DELETE), default=None)
    words = [word for word in words if deleted is None or word.sent > deleted]
    facts = _facts(words)
    chain = [fact for fact in facts if fact.word is not None and not fact.cancelled]
    present = Presence()
    if _never_began(facts, chain):
        chain = [fact for fact in chain if _word(fact).kind is Kind.EXPECT]
    else:
        chain += _stayed(facts)
        present = present if chain else _evident(facts)
    for fact in sorted(
        chain, key=lambda fact: (_word(fact).time, fact.sent, _RANK.get(_word(fact).kind, 0), fact.key)
    ):  # fmt: skip
        present = _walk(present, fact)
    return _spoken_of(present, words)


_ACTION_RANK = {Action.INSERT: 0, Action.UPDATE: 1, Action.CANCEL: 2}


def _word(fact: _Fact) -> Said:
    if fact.word is None:
        raise ValueError("a movement of which only the cancellation is known")
    return fact.word


def _facts(words: Sequence[Said]) -> list[_Fact]:
    facts: dict[str, _Fact] = {}
    names: dict[str, str] = {}
    for word in words:
        if word.kind is Kind.INFORM:
            continue
        key = _name_of(word, facts, names)
        fact = facts.setdefault(key, _Fact(key, word.sent))
        if word.action is Action.CANCEL:
            fact.cancelled = True
            fact.evidence = word
        elif fact.word is None:
            fact.word = word
        else:
            fact.word = _merged(fact.word, word)
    return list(facts.values())


def _name_of(word: Said, facts: dict[str, _Fact], names: dict[str, str]) -> str:
    """The movement that a word is about: by any of its identifiers; without, by what it is and when."""
    if word.movements:
        known = next((names[one] for one in word.movements if one in names), word.movements[0])
        names.update(dict.fromkeys(word.movements, known))
        return known
    if word.action is Action.CANCEL:
        undone = (Kind.ADMIT, Kind.REGISTER) if word.kind is Kind.ADMIT else (word.kind,)
        last = max(
            (
                fact
                for fact in facts.values()
                if fact.word is not None and not fact.cancelled and fact.word.kind in undone
            ),
            key=lambda fact: (_word(fact).time, fact.key),
            default=None,
        )
        return last.key if last is not None else f"cancelled {word.kind} {word.time.isoformat()}"
    return f"{word.kind} {word.time.isoformat()}"


_BEGINNINGS = frozenset({Kind.ADMIT, Kind.REGISTER, Kind.TO_INPATIENT})


def _never_began(facts: Sequence[_Fact], chain: Sequence[_Fact]) -> bool:
    """Whether an admission was taken back, and none is left: movements that nobody took back bring nobody in."""
    undone = any(fact.evidence is not None and fact.evidence.kind in _BEGINNINGS for fact in facts)
    return undone and not any(_word(fact).kind in _BEGINNINGS for fact in chain)


def _stayed(facts: Iterable[_Fact]) -> list[_Fact]:
    """Of departures taken back, where the patient is then: in another bed, if the own one was given away (HL7
    §3.3.13). A cancellation that only repeats the place of what it takes back says nothing of it."""
    stayed: list[_Fact] = []
    for fact in facts:
        told = fact.evidence
        if told is None or told.kind is not Kind.DISCHARGE or told.place is None:
            continue
        if fact.word is None or fact.word.place != told.place:
            stayed.append(_Fact(fact.key, fact.sent, replace(told, kind=Kind.MOVE, action=Action.INSERT)))
    return stayed


def _merged(former: Said, later: Said) -> Said:
    """A movement told in several messages (PAM.FR §5.3.1), or corrected: what the later one leaves out stays."""
    return replace(
        later,
        place=_where(former.place, later.place),
        patient_class=later.patient_class or former.patient_class,
        gender=former.gender if later.gender is Gender.UNDETERMINED else later.gender,
        arrival=later.arrival or former.arrival,
        returns=later.returns or former.returns,
        newborn=later.newborn or former.newborn,
        reservation=later.reservation or former.reservation,
    )


def _walk(present: Presence, fact: _Fact) -> Presence:
    word = _word(fact)
    gender = present.gender if word.gender is Gender.UNDETERMINED else word.gender
    present = replace(present, gender=gender, reservation=word.reservation or present.reservation)
    place = _where(present.place, word.place)
    match word.kind:
        case Kind.EXPECT:
            if present.phase in (Phase.PRESENT, Phase.OUTPATIENT) or word.patient_class in BEDLESS_CLASSES - {"P"}:
                return present
            return replace(
                present, phase=Phase.EXPECTED, place=place, arrival=word.arrival or word.time, began=fact.key
            )
        case Kind.ADMIT | Kind.REGISTER | Kind.TO_INPATIENT | Kind.TO_OUTPATIENT:
            bedless = word.kind in (Kind.REGISTER, Kind.TO_OUTPATIENT) or word.patient_class in BEDLESS_CLASSES
            begins = Presence(gender=gender, place=place, reservation=present.reservation)
            return replace(
                begins,
                phase=Phase.OUTPATIENT if bedless else Phase.PRESENT,
                since=word.time,
                newborn=word.newborn or (present.newborn and present.phase is not Phase.GONE),
                began=fact.key,
            )
        case Kind.MOVE | Kind.LEAVE | Kind.RETURN:
            return _moved(present, fact, place)
        case Kind.DISCHARGE:
            return replace(present, phase=Phase.GONE, on_leave=False, returns=None)
        case _:
            return present


def _moved(present: Presence, fact: _Fact, place: Place | None) -> Presence:
    word = _word(fact)
    if present.phase is Phase.GONE:
        return present  # a movement dated after the departure: the departure is the later word on where the patient is
    bedless = word.patient_class in BEDLESS_CLASSES
    if present.phase is Phase.OUTPATIENT and (bedless or not word.patient_class or word.kind is not Kind.MOVE):
        return replace(present, place=place)
    if present.phase is not Phase.PRESENT:
        # The admission was never told: the feed began later, or says a change of class by PV1-2 alone. Whoever moves in
        # the house is in it.
        if place is None or bedless:
            return present
        present = replace(
            present, phase=Phase.PRESENT, since=word.time, began=fact.key, newborn=word.newborn, arrival=None
        )
    on_leave = word.kind is Kind.LEAVE
    if on_leave:
        return replace(present, place=present.place or place, on_leave=True, returns=word.returns)
    return replace(present, place=place, on_leave=False, returns=None)


def _where(former: Place | None, told: Place | None) -> Place | None:
    """The place told; a message that only repeats the unit leaves the bed as it was."""
    if told is None:
        return former
    if former is not None and told.unit == former.unit and not told.bed and not told.room:
        return former if told.facility in ("", former.facility) or not former.facility else told
    return told


def _evident(facts: Iterable[_Fact]) -> Presence:
    """Of a stay of which only cancellations are known: one whose move or leave was taken back is there."""
    stays = (Kind.MOVE, Kind.LEAVE, Kind.RETURN)
    seen = [
        fact
        for fact in facts
        if fact.word is None and fact.evidence is not None and fact.evidence.kind in stays
    ]  # fmt: skip
    last = max(seen, key=lambda fact: (fact.sent, fact.key), default=None)
    if last is None or last.evidence is None or last.evidence.place is None:
        return Presence()
    word = last.evidence
    if word.patient_class in BEDLESS_CLASSES:
        return Presence()
    return Presence(
        phase=Phase.PRESENT, place=word.place, gender=word.gender, since=word.time, newborn=word.newborn, began=last.key
    )


def _spoken_of(present: Presence, words: Sequence[Said]) -> Presence:
    """The planned departure and the gender, of the last words on them."""
    departure: datetime | None = None
    gender = present.gender
    for word in words:
        if word.departure_told and word.action is not Action.CANCEL:
            departure = word.departure
        elif word.action is Action.CANCEL and word.kind is Kind.PLAN_DEPARTURE:
            departure = None
        if word.kind is Kind.INFORM and word.gender is not Gender.UNDETERMINED:
            gender = word.gender
    return replace(present, departure=departure, gender=gender)


def is_over(present: Presence, log: Sequence[Said], now: datetime, kept: timedelta) -> bool:
    """Whether a stay can be forgotten: nobody is there or expected, and nothing was said of it for so long."""
    if present.phase in (Phase.PRESENT, Phase.EXPECTED, Phase.OUTPATIENT):
        kept *= 4  # an outpatient whom nobody ever discharges; a long stay is told of more often than that
        if present.phase is Phase.PRESENT:
            return False
    return all(max(word.time, word.sent) < now - kept for word in log)
