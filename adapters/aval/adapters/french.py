"""How figures, instants and states are said to people: in French first, in English where it is asked for.

One module, so that a page, a command and a report say the same thing the same way. French typography is kept here:
U+00A0 between an hour and its `h`, between a number and its unit and before a colon, U+202F before `;`, `!`, `?` and
inside « ». Durations are `timedelta`, instants aware `datetime`; they are shown in the zone of the establishments.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from aval.kernel.disciplines import DISCIPLINES, Discipline

NO_BREAK = "\u00a0"
NARROW = "\u202f"

UNKNOWN = "—"
"""An absent figure: never zero."""


class Language(StrEnum):
    """The languages that are spoken."""

    FRENCH = "fr"
    ENGLISH = "en"


def language_of(environment: Mapping[str, str] = os.environ) -> Language:
    """The language that an environment asks for, by the order of POSIX; French unless it is English."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := environment.get(name, ""):
            return Language.ENGLISH if value.lower().startswith("en") else Language.FRENCH
    return Language.FRENCH


_DAYS = {
    Language.FRENCH: ("lun.", "mar.", "mer.", "jeu.", "ven.", "sam.", "dim."),
    Language.ENGLISH: ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
}
_MONTHS = {
    Language.FRENCH: (
        "janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc.",
    ),
    Language.ENGLISH: ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
}  # fmt: skip

_STATES: dict[str, tuple[str, str]] = {
    # of a reservation and of a request, by the names of the contract
    "ASKED": ("demandé", "asked"),
    "WAITLISTED": ("en liste d’attente", "on the waiting list"),
    "HELD": ("retenu", "held"),
    "CONFIRMED": ("réservé", "reserved"),
    "ADMITTED": ("admis", "admitted"),
    "DECLINED": ("refusé", "declined"),
    "RELEASED": ("retiré", "released"),
    "EXPIRED": ("expiré", "expired"),
    "OPEN": ("en recherche", "looking"),
    "CONFIRMING": ("confirmation envoyée", "confirming"),
    "RELEASING": ("libération envoyée", "releasing"),
    "CANCELLED": ("annulé", "cancelled"),
    "CLOSED_ELSEWHERE": ("placé ailleurs", "placed elsewhere"),
    "QUEUED": ("envoyé", "queued"),
    "SENT": ("remis au réseau", "sent"),
    "REFUSED": ("refusé par le système", "refused"),
    # of a figure and of a link
    "FRESH": ("à jour", "fresh"),
    "AGEING": ("à jour, mais vieillit", "ageing"),
    "STALE": ("à confirmer", "unconfirmed"),
    "UNREACHABLE": ("hors liaison", "offline"),
    "CONNECTED": ("relié", "connected"),
    "UNHEARD": ("jamais entendu", "never heard"),
    # of a place, and of counts of places
    "AVAILABLE": ("disponible", "available"),
    "INSTALLED": ("installés", "installed"),
    "OCCUPIED": ("occupés", "occupied"),
    "RESERVED": ("réservés", "reserved"),
    "SUPPLEMENTARY": ("supplémentaires", "supplementary"),
    "NOW": ("maintenant", "now"),
    "ONE_HOUR": (f"dans 1{NO_BREAK}h", "in 1 h"),
    "ONE_DAY": (f"dans 24{NO_BREAK}h", "in 24 h"),
    "TWO_DAYS": (f"dans 48{NO_BREAK}h", "in 48 h"),
    "SEVEN_DAYS": (f"dans 7{NO_BREAK}j", "in 7 d"),
    "LAST": ("dernières places", "last places"),
    "FULL": ("complet", "full"),
    "CLOSED": ("fermé", "closed"),
    # gender, urgency, mode
    "FEMALE": ("femme", "female"),
    "MALE": ("homme", "male"),
    "ANY": ("indifférent", "any"),
    "UNDETERMINED": ("non précisé", "not said"),
    "TODAY": ("aujourd’hui", "today"),
    "WITHIN_48_HOURS": (f"sous 48{NO_BREAK}h", "within 48 h"),
    "PLANNED": ("programmé", "planned"),
    "HOLD": ("retenue immédiate", "immediate hold"),
    "ASK": ("sur réponse", "on answer"),
    # sources
    "PERSON": ("saisie", "typed"),
    "BED_MANAGEMENT": ("gestion des lits", "bed management"),
    "ADMINISTRATIVE": ("SIH", "hospital system"),
    "PATIENT_RECORD": ("dossier patient", "patient record"),
    "FILE": ("fichier", "file"),
    # membership
    "GHT": ("GHT", "GHT"),
    "PARTNER": ("partenaire", "partner"),
    # why a unit is excluded
    "CLOSED_TO_TERRITORY": ("fermée aux demandes du territoire", "closed to the territory"),
    "AGE": ("n’admet pas cet âge", "does not admit that age"),
    "TOO_FAR": ("trop loin", "too far"),
    "GENDER": ("pas de place pour ce sexe", "no place for that gender"),
    "FEATURE": ("équipement absent", "feature missing"),
    "ADMISSION_HOURS": ("n’admet pas dans ce créneau", "no admission hour then"),
    "CONFLICT": ("conflit à régler", "conflict to settle"),
    "NOT_REPORTED": ("non renseigné", "not reported"),
    # why a unit stands where it does
    "SURE": ("chiffre sûr", "sure figure"),
    "ANSWER": ("réponse à temps", "answered in time"),
    "UNMET_WISHES": ("souhaits non couverts", "unmet wishes"),
    "DISTANCE": ("trajet", "distance"),
    "FAIRNESS": (f"demandes reçues en 24{NO_BREAK}h", "requests received in 24 h"),
    "NAME": ("nom", "name"),
    # reasons of an end
    "NO_PLACE_ON_THAT_DATE": ("plus de place à cette date", "no place on that date"),
    "OUTSIDE_OUR_CASE_MIX": ("profil hors de nos compétences", "outside our case mix"),
    "MISSING_EQUIPMENT": ("plateau technique absent", "missing equipment"),
    "CANNOT_ISOLATE": ("isolement impossible", "cannot isolate"),
    "CARE_LOAD_TOO_HIGH": ("charge en soins trop lourde actuellement", "care load too high now"),
    "ROOM_GENDER_MISMATCH": ("chambre incompatible (sexe)", "room sex mismatch"),
    "NOT_ENOUGH_INFORMATION": ("informations insuffisantes", "not enough information"),
    "PLACED_AT_ANOTHER_MEMBER": ("pourvu ailleurs", "filled elsewhere"),
    "PLACED_OUTSIDE": ("placé hors du réseau", "placed outside"),
    "REQUEST_CANCELLED": ("demande annulée", "request cancelled"),
    "REQUEST_EXPIRED": ("demande expirée", "request expired"),
    "TAKEN_BACK": ("confirmation reprise", "confirmation taken back"),
    "OFFER_NOT_SUITABLE": ("proposition non adaptée", "offer not suitable"),
    "PATIENT_NOT_READY": ("patient pas prêt", "patient not ready"),
    "PATIENT_REFUSED": ("refus du patient", "patient refused"),
    "PATIENT_DIED": ("décès", "patient died"),
    "BED_CLOSED": ("lit fermé", "bed closed"),
    "BED_TAKEN_BY_EMERGENCY": ("lit pris par une urgence", "bed taken by an emergency"),
    "DEPARTURE_SLIPPED": ("sortie retardée", "departure slipped"),
    "STAFF_MISSING": ("effectif insuffisant", "staff missing"),
    "NO_SHOW": ("non venu", "no-show"),
    "ENTERED_BY_MISTAKE": ("erreur de saisie", "entered by mistake"),
    "NO_BED_YET": ("pas encore de lit", "no bed yet"),
    "COMMISSION_PENDING": ("commission d’admission en attente", "admission board pending"),
    "FILE_INCOMPLETE": ("dossier incomplet", "file incomplete"),
    "OTHER": ("autre", "other"),
    # what is noted of a telephone answer, and what a house may ask
    "YES": ("oui", "yes"),
    "NO": ("non", "no"),
    "WAIT": ("à patienter", "wait"),
    "PROPOSED": ("attend la maison", "waits for the house"),
    "APPLIED": ("appliqué", "applied"),
    "REJECTED": ("écarté par la maison", "rejected by the house"),
    "WEIGHT": ("poids", "weight"),
    "RESISTANT_BACTERIA": ("portage de bactéries résistantes", "resistant bacteria"),
    "AUTONOMY": ("autonomie (GIR)", "autonomy (GIR)"),
    "DISCHARGE_PLAN": ("projet de sortie", "discharge plan"),
    "COSTLY_TREATMENT": ("traitement coûteux", "costly treatment"),
    "WANDERING": ("déambulation ou agitation", "wandering or agitation"),
}


PARIS = ZoneInfo("Europe/Paris")
"""The zone of establishments that do not say theirs."""


@dataclass(frozen=True, slots=True)
class Speech:
    """A language and a time zone, and what is said in them."""

    language: Language = Language.FRENCH
    zone: ZoneInfo = PARIS

    @property
    def french(self) -> bool:
        """Whether it is French that is spoken."""
        return self.language is Language.FRENCH

    def state(self, name: str) -> str:
        """The word for a name of the contract (`HELD`, `STALE`, `FEMALE`…); the name itself if unknown."""
        pair = _STATES.get(name)
        if pair is None:
            return name.lower().replace("_", " ")
        return pair[0] if self.french else pair[1]

    def discipline(self, discipline: Discipline) -> str:
        """The label of a discipline: French in both languages, since it names a French list."""
        return DISCIPLINES[discipline].label

    def number(self, value: float, decimals: int = 0) -> str:
        """A number: `1 234,5` with U+202F and a comma, or `1,234.5`."""
        text = f"{value:,.{decimals}f}"
        return text.replace(",", NARROW).replace(".", ",") if self.french else text

    def count(self, value: int, one: str, several: str) -> str:
        """`3 lits`; in French 0 and 1 take the singular."""
        singular = abs(value) < 2 if self.french else value == 1
        return f"{self.number(value)}{NO_BREAK}{one if singular else several}"

    def duration(self, length: timedelta) -> str:
        """`12 s`, `4 min`, `2 h 10`, `3 j 4 h`, rounded down."""
        seconds = max(int(length.total_seconds()), 0)
        minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
        if minutes < 1:
            return f"{seconds}{NO_BREAK}s"
        if hours < 1:
            return f"{minutes}{NO_BREAK}min"
        if days < 2:
            rest = minutes % 60
            return f"{hours}{NO_BREAK}h" + (f"{NO_BREAK}{rest:02d}" if rest else "")
        rest = hours % 24
        day = "j" if self.french else "d"
        return f"{days}{NO_BREAK}{day}" + (f"{NO_BREAK}{rest}{NO_BREAK}h" if rest else "")

    def milliseconds(self, seconds: float) -> str:
        """A measured time: `3,2 ms`."""
        return f"{self.number(seconds * 1000, 1)}{NO_BREAK}ms"

    def hour(self, instant: datetime) -> str:
        """`14 h 32`, or `2:32 pm`."""
        local = instant.astimezone(self.zone)
        if self.french:
            return f"{local.hour}{NO_BREAK}h{NO_BREAK}{local.minute:02d}"
        return f"{local.hour % 12 or 12}:{local.minute:02d}{NO_BREAK}{'am' if local.hour < 12 else 'pm'}"

    def date(self, instant: datetime, *, year: bool = True) -> str:
        """`lun. 23 nov. 2026`, or `Mon 23 Nov 2026`."""
        local = instant.astimezone(self.zone)
        day, month = _DAYS[self.language][local.weekday()], _MONTHS[self.language][local.month - 1]
        number = "1er" if self.french and local.day == 1 else str(local.day)
        return NO_BREAK.join([day, number, month, *([str(local.year)] if year else [])])

    def moment(self, instant: datetime, now: datetime) -> str:
        """An instant near `now`: the hour alone today, else `hier 16 h 20`, `demain 9 h 00`, `sam. 21 nov. 16 h 20`."""
        local = instant.astimezone(self.zone)
        days = (local.date() - now.astimezone(self.zone).date()).days
        if days == 0:
            return self.hour(instant)
        near = {-1: ("hier", "yesterday"), 1: ("demain", "tomorrow")}.get(days)
        day = near[0 if self.french else 1] if near else self.date(instant, year=abs(days) > 300)
        return f"{day} {self.hour(instant)}"

    def age(self, age: timedelta | None, now: datetime) -> str:
        """How old a figure is: `à l’instant`, `il y a 4 min`, `il y a 2 h 10`, then `hier 16 h 20` (UX 2.8)."""
        if age is None:
            return "jamais" if self.french else "never"
        if age < timedelta(minutes=1):
            return "à l’instant" if self.french else "just now"
        then = now - age
        if then.astimezone(self.zone).date() == now.astimezone(self.zone).date() or age < timedelta(hours=6):
            return f"il y a {self.duration(age)}" if self.french else f"{self.duration(age)} ago"
        return self.moment(then, now)

    def certificate_end(self, instant: datetime, now: datetime) -> str:
        """`20 déc. 2026 (dans 27 j)`."""
        days = (instant - now).days
        left = f"dans {days}{NO_BREAK}j" if self.french else f"in {days} d"
        if instant <= now:
            left = "expiré" if self.french else "expired"
        return f"{self.date(instant)} ({left})"


_SPACED = (
    (re.compile(r" (?=[;!?»])"), NARROW),
    (re.compile(r"(?<=«) "), NARROW),
    (re.compile(r" (?=:(?:\s|$))"), NO_BREAK),
    (re.compile(r"(?<=×) "), NO_BREAK),
    (re.compile(r"(?<=\d) (?=(?:h|min|s|ms|j|km|%|Mo)(?![a-zà-ÿ]))"), NO_BREAK),
)


def typeset(text: str) -> str:
    """A French sentence written with plain spaces, with the no-break spaces that its typography asks for."""
    for pattern, space in _SPACED:
        text = pattern.sub(space, text)
    return text


def parse_duration(text: str) -> timedelta:
    """`90s`, `30m`, `2h`, `14d`, or seconds. Raises ValueError."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "j": 86_400}
    cleaned = text.strip().lower().removesuffix("in") if text.strip().lower().endswith("min") else text.strip().lower()
    number, unit = (cleaned[:-1], cleaned[-1]) if cleaned[-1:] in units else (cleaned, "s")
    seconds = float(number) * units[unit]
    if not 0 < seconds <= 400 * 86_400:
        raise ValueError(text)
    return timedelta(seconds=seconds)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""What an absent timestamp of the wire reads as."""
