"""Messages as the French extension of IHE PAM 2.11 describes them, written for these tests of invented patients.

Each message bears the names of a canary: a name that stands nowhere else, so that a test can look for it on disk, in
logs, metrics and on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from aval.adapters.hl7v2.meaning import Customs

PARIS = ZoneInfo("Europe/Paris")
KEY = bytes(range(32))
CUSTOMS = Customs(KEY, PARIS)

CANARY_NAME = "ZZQUETZAL"
CANARY_FIRST_NAME = "Éloïse-Béatrix"
CANARY_NUMBER = "287069900012345"
CANARY_STREET = "17 rue des Hirondelles-Imaginaires"
CANARIES = (CANARY_NAME, CANARY_FIRST_NAME, CANARY_NUMBER, CANARY_STREET, "QUETZAL-NAISSANCE", "19870614")

STRUCTURES = {
    "A01": "ADT_A01", "A02": "ADT_A02", "A03": "ADT_A03", "A04": "ADT_A01", "A05": "ADT_A05", "A06": "ADT_A06",
    "A07": "ADT_A06", "A08": "ADT_A01", "A11": "ADT_A09", "A12": "ADT_A12", "A13": "ADT_A01", "A14": "ADT_A05",
    "A15": "ADT_A15", "A16": "ADT_A16", "A17": "ADT_A17", "A21": "ADT_A21", "A22": "ADT_A21", "A25": "ADT_A21",
    "A26": "ADT_A21", "A27": "ADT_A21", "A28": "ADT_A05", "A31": "ADT_A05", "A38": "ADT_A38", "A40": "ADT_A39",
    "A42": "ADT_A39", "A44": "ADT_A43", "A45": "ADT_A45", "A47": "ADT_A30",
    "A50": "ADT_A50", "A52": "ADT_A52", "A53": "ADT_A52",
    "A54": "ADT_A54", "A55": "ADT_A52", "Z99": "ADT_A01",
}  # fmt: skip
"""Message structures (HL7 v2.5, chapter 3)."""

CANCELLING = {
    "A11": "A01", "A12": "A02", "A13": "A03", "A38": "A05", "A27": "A14", "A26": "A15", "A25": "A16", "A52": "A21",
    "A53": "A22", "A55": "A54",
}  # fmt: skip
"""PAM.FR §5.3.2: the event that takes back, and the one that it takes back."""


def stamp(instant: datetime) -> str:
    """An instant as HL7 writes it, by the clock on the wall in Paris, with its offset."""
    return instant.astimezone(PARIS).strftime("%Y%m%d%H%M%S%z")


@dataclass(frozen=True)
class Adt:
    """One message. `movement` empty: without the segment ZBE. `when`: of the event; `sent`: of the message. `beside`:
    another patient of the same message, as a message of its own."""

    event: str
    visit: str
    when: datetime
    movement: str = ""
    unit: str = "1050"
    room: str = ""
    bed: str = ""
    sent: datetime | None = None
    control: str = ""
    patient_class: str = "I"
    gender: str = "F"
    action: str = ""
    original: str = ""
    historic: bool = False
    nature: str = "HMS"
    departure: datetime | None = None
    arrival: datetime | None = None
    returns: datetime | None = None
    admission_type: str = "R"
    absorbed: str = ""
    version: str = "2.5^FRA^2.11"
    charset: str = "UNICODE UTF-8"
    reference: str = ""
    prior: str = ""
    patient: str = ""
    beside: Adt | None = None

    def text(self) -> str:
        """The message, with carriage returns between segments."""
        sent = self.sent or self.when
        control = self.control or f"{self.visit}-{self.event}-{self.movement}-{int(sent.timestamp())}"
        number = self.patient or f"IPP{self.visit}"
        action = self.action or (
            "CANCEL" if self.event in CANCELLING else "UPDATE" if self.event == "Z99" else "INSERT"
        )
        original = self.original or (CANCELLING.get(self.event, "") if action == "CANCEL" else "")
        structure = STRUCTURES.get(self.event, "ADT_A01")
        kind = f"ADT^{self.event}^{structure}"
        header = f"MSH|^~\\&|GAM|CHU|AVAL|AVAL|{stamp(sent)}||{kind}|{control}|P|{self.version}|||||FRA|{self.charset}"
        identifiers = (
            f"{number}^^^CHU&1.2.250.1.71&ISO^PI~{CANARY_NUMBER}^^^ASIP-SANTE-INS-NIR&1.2.250.1.213.1.4.8&ISO^INS"
        )
        birth = f"QUETZAL-NAISSANCE^{CANARY_FIRST_NAME}^^^Mme^^L"
        names = f"{CANARY_NAME}^{CANARY_FIRST_NAME}^{CANARY_FIRST_NAME}^^Mme^^D~{birth}"
        address = f"{CANARY_STREET}^^NANCY^^54000^FRA^H"
        account = f"NDA{self.visit}^^^CHU^AN"
        segments = [
            header,
            f"EVN||{stamp(sent)}|{_maybe(self.arrival)}|||{stamp(self.when)}",
            f"PID|1||{identifiers}||{names}||19870614|{self.gender}|||{address}|||||S||{account}||||||N||||||N||VALI",
        ]
        if self.absorbed:
            segments.append(f"MRG|{number}||||{self.absorbed}^^^CHU^VN")
        segments.append(self._visit())
        segments.append(
            "PV2|" + "|".join(["", "", "", "", "", "", "", _maybe(self.arrival), _maybe(self.departure), "", "",
                               self.reference, *[""] * 34, _maybe(self.returns)])
        )  # fmt: skip
        if self.movement:
            segments.append(
                f"ZBE|{self.movement}^GAM^1.2.250.1.99^ISO|{stamp(self.when)}||{action}|{'Y' if self.historic else 'N'}"
                f"|{original}|^^^^^CHU^UF^^^{self.unit}||{self.nature}"
            )
        segments.append("ZFM|8")
        other = "" if self.beside is None else "PID|" + self.beside.text().partition("\rPID|")[2]
        return "\r".join(segments) + "\r" + other

    def _visit(self) -> str:
        place = f"{self.unit}^{self.room}^{self.bed}".rstrip("^")
        fields = [""] * 45
        fields[1], fields[2], fields[3], fields[5] = self.patient_class, place, self.admission_type, self.prior
        fields[6] = f"10101^{CANARY_NAME}^DOCTEUR"
        fields[18] = f"{self.visit}^^^CHU^VN"
        return "PV1|" + "|".join(fields)

    def frame(self) -> bytes:
        """The message as bytes."""
        return self.text().encode()

    def again(self, **changes: Any) -> Adt:
        """Another message of the same stay."""
        return replace(self, **changes)


def of_several(*messages: Adt) -> str:
    """One message of several patients: the header of the first, then the segments of each from its PID on."""
    first, *others = messages
    return first.again(beside=None).text() + "".join("PID|" + other.text().partition("\rPID|")[2] for other in others)


def without(text: str, name: str, keep: int = 0) -> str:
    """A message without its segments of that name, save the first `keep`."""
    kept: list[str] = []
    for segment in text.rstrip("\r").split("\r"):
        if segment[:3] != name or sum(one[:3] == name for one in kept) < keep:
            kept.append(segment)
    return "\r".join(kept) + "\r"


def _maybe(instant: datetime | None) -> str:
    return stamp(instant) if instant is not None else ""


def at(hour: int, minute: int = 0, day: int = 23) -> datetime:
    """A time of a day in November 2026."""
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)
