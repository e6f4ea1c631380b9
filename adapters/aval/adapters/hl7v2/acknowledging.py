"""The answer to a message: MSH, MSA, and for each fault an ERR segment that names the field (HL7 v2.5 §2.15).

Only what the sender itself wrote in MSH goes back to it, cleaned of separators; never a word of the patient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from aval.adapters.hl7v2.faults import CODES, Fault, Severity
from aval.adapters.hl7v2.reading import Message

CONTROL_ID_LENGTH_MAX = 199
"""Characters of MSH-10 that we give back: HL7 2.7 allows 199, earlier versions 20."""

FAULTS_MAX = 10
"""ERR segments of one answer."""


@dataclass(frozen=True, slots=True)
class Header:
    """What an answer needs of the message it answers."""

    sender: str = ""
    sender_place: str = ""
    receiver: str = ""
    receiver_place: str = ""
    event: str = ""
    control: str = ""
    processing: str = "P"
    version: str = "2.5"


def header_of(message: Message) -> Header:
    """The header of a message."""
    return Header(
        sender=message.get("MSH", 3),
        sender_place=message.get("MSH", 4),
        receiver=message.get("MSH", 5),
        receiver_place=message.get("MSH", 6),
        event=message.get("MSH", 9, 2),
        control=message.get("MSH", 10),
        processing=message.get("MSH", 11),
        version=message.get("MSH", 12),
    )


def accepted(header: Header, now: datetime) -> bytes:
    """AA: what the message says is committed at the node, or it says nothing of beds."""
    return _answer(header, "AA", (), now)


def refused(header: Header, faults: Sequence[Fault], now: datetime) -> bytes:
    """AE, or AR if one of the faults asks for it."""
    reject = any(one.severity is Severity.REJECT for one in faults)
    return _answer(header, Severity.REJECT if reject else Severity.ERROR, faults[:FAULTS_MAX], now)


def _answer(header: Header, code: str, faults: Sequence[Fault], now: datetime) -> bytes:
    stamp = now.strftime("%Y%m%d%H%M%S%z")
    event = f"ACK^{_clean(header.event)}^ACK" if header.event else "ACK"
    control = _clean(header.control, CONTROL_ID_LENGTH_MAX)
    segments = [
        "|".join(
            (
                "MSH",
                "^~\\&",
                _clean(header.receiver),
                _clean(header.receiver_place),
                _clean(header.sender),
                _clean(header.sender_place),
                stamp,
                "",
                event,
                f"AVAL{control}"[:CONTROL_ID_LENGTH_MAX],
                _clean(header.processing) or "P",
                _clean(header.version) or "2.5",
            )
        ),
        f"MSA|{code}|{control}",
    ]
    for one in faults:
        location = f"{one.segment}^1^{one.number}^1^{one.component}" if one.number else f"{one.segment}^1"
        segments.append(f"ERR||{location}|{one.code}^{CODES[one.code]}^HL70357|E||||{_clean(str(one), 250)}")
    return ("\r".join(segments) + "\r").encode("ascii", "replace")


def _clean(text: str, length_max: int = 80) -> str:
    """Without HL7's separators and anything that is no printable ASCII."""
    return "".join(letter for letter in text if " " <= letter <= "~" and letter not in "|^~\\&")[:length_max]
