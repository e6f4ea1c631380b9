"""The answer to a message: MSH, MSA, and for each fault an ERR segment that names the field, in the form of the
message's own version (HL7 v2.5 §2.15.5; before 2.5 one ERR of another form, HL7 v2.4 §2.16.5).

There is one answer to each message, once all is done. A sender that asks in MSH-15 and MSH-16 for the accept
acknowledgement alone (enhanced mode, HL7 v2.5 §2.9.3) gets it, CA, CE or CR; any other gets AA, AE or AR, even one that
asks for none at all: over MLLP senders wait for an answer before they send again.

Only what the sender itself wrote in MSH goes back to it, cleaned of separators; never a word of the patient.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from aval.adapters.hl7v2.faults import CODES, Fault, Severity
from aval.adapters.hl7v2.reading import Message

CONTROL_ID_LENGTH_MAX = 199
"""Characters of MSH-10 that we give back: HL7 2.7 allows 199, earlier versions 20."""

OWN_CONTROL_ID_LENGTH = 20
"""Of our own MSH-10, in any version: the end of the sender's, where its numbers count."""

FAULTS_MAX = 10
"""Faults named in one answer."""

_WITHOUT_SEVERITY = re.compile(r"2\.[1-4](?!\d)", re.ASCII)
"""Versions (MSH-12) whose ERR says where and what, and no more."""

_WITHOUT_STRUCTURE = re.compile(r"2\.[1-3](?![.\d])", re.ASCII)
"""Versions whose MSH-9 has no third component."""


@dataclass(frozen=True, slots=True)
class Header:
    """What an answer needs of the message it answers. `accept`, `application`: the acknowledgements asked for."""

    sender: str = ""
    sender_place: str = ""
    receiver: str = ""
    receiver_place: str = ""
    event: str = ""
    control: str = ""
    processing: str = "P"
    version: str = "2.5"
    accept: str = ""
    application: str = ""


def header_of(message: Message) -> Header:
    """The header of a message."""
    return Header(
        sender=_whole(message, 3),
        sender_place=_whole(message, 4),
        receiver=_whole(message, 5),
        receiver_place=_whole(message, 6),
        event=message.get("MSH", 9, 2),
        control=message.get("MSH", 10),
        processing=message.get("MSH", 11),
        version=_whole(message, 12),
        accept=message.get("MSH", 15),
        application=message.get("MSH", 16),
    )


def _whole(message: Message, number: int) -> str:
    """A field of names and identifiers (HD, VID) as it stands: a sender may know itself by its OID alone."""
    return "^".join(message.get("MSH", number, component) for component in (1, 2, 3))


def accepted(header: Header, now: datetime, passed_over: Sequence[Fault] = ()) -> bytes:
    """AA: what the message says is committed at the node, or it says nothing of beds. What was passed over in it is
    named as a warning, where the version has such."""
    named = () if _WITHOUT_SEVERITY.match(header.version) else passed_over
    return _answer(header, "AA", named, now)


def refused(header: Header, faults: Sequence[Fault], now: datetime) -> bytes:
    """AE, or AR if one of the faults asks for it."""
    reject = any(one.severity is Severity.REJECT for one in faults)
    return _answer(header, Severity.REJECT if reject else Severity.ERROR, faults, now)


def _answer(header: Header, code: str, faults: Sequence[Fault], now: datetime) -> bytes:
    stamp = now.strftime("%Y%m%d%H%M%S%z")
    event = f"ACK^{_clean(header.event)}" if header.event else "ACK"
    if header.event and not _WITHOUT_STRUCTURE.match(header.version):
        event += "^ACK"
    control = _clean(header.control, CONTROL_ID_LENGTH_MAX)
    segments = [
        "|".join(
            (
                "MSH",
                "^~\\&",
                _cleaned(header.receiver),
                _cleaned(header.receiver_place),
                _cleaned(header.sender),
                _cleaned(header.sender_place),
                stamp,
                "",
                event,
                f"AVAL{control}"[-OWN_CONTROL_ID_LENGTH:],
                _clean(header.processing) or "P",
                _cleaned(header.version) or "2.5",
            )
        ),
        f"MSA|{_asked(header, code)}|{control}",
    ]
    if faults and _WITHOUT_SEVERITY.match(header.version):
        segments[-1] += f"|{_clean(str(faults[0]), 80)}"
        segments.append("ERR|" + "~".join(_place(one) for one in faults[:FAULTS_MAX]))
    else:
        segments += [_error(one, "W" if code == "AA" else "E") for one in faults[:FAULTS_MAX]]
    return ("\r".join(segments) + "\r").encode("ascii", "replace")


def _asked(header: Header, code: str) -> str:
    """The code in the mode that the sender asks for (HL7 tables 0008 and 0155)."""
    asking = ("AL", "SU" if code == "AA" else "ER")
    return f"C{code[1]}" if header.accept in asking and header.application not in asking else code


def _place(one: Fault) -> str:
    """A fault as ERR-1 before HL7 2.5; its words stand in MSA-3."""
    return f"{one.segment}^{one.sequence}^{one.number or ''}^{one.code}&{CODES[one.code]}&HL70357"


def _error(one: Fault, severity: str) -> str:
    """A fault as an ERR segment of HL7 2.5 (`severity`: table 0516)."""
    location = f"{one.segment}^{one.sequence}" + (f"^{one.number}^1^{one.component}" if one.number else "")
    return f"ERR||{location}|{one.code}^{CODES[one.code]}^HL70357|{severity}||||{_clean(str(one), 250)}"


def _cleaned(text: str) -> str:
    return "^".join(_clean(component) for component in text.split("^")).rstrip("^")


def _clean(text: str, length_max: int = 80) -> str:
    """Without HL7's separators and anything that is no printable ASCII."""
    return "".join(letter for letter in text if " " <= letter <= "~" and letter not in "|^~\\&")[:length_max]
