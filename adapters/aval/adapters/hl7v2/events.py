"""The one table of ADT events: what each does to the census, and the section of the standard that says so.

Sections: "PAM.FR" is the French extension 2.11.1 of IHE PAM (October 2024), "ITI" the IHE IT Infrastructure Technical
Framework volume 2 (ITI-30 §3.30, ITI-31 §3.31), "HL7" the HL7 v2.5 standard, chapter 3. An event that is not here, and
each that is here with `Kind.NOTHING`, is acknowledged and counted as without effect (PAM.FR §5.3.2, remark 1: an event
that a receiver does not know is passed over).

What an event does, it does by its *action* (ZBE-4) where there is one: A06 with CANCEL takes back an A07, and the other
way round (PAM.FR §2.2, remark 2; §5.3.5). Only Z99 corrects (PAM.FR §5.3.2, remark 2).
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What happened to the patient, for the beds."""

    EXPECT = "expect"
    """To come: no bed is taken yet."""
    ADMIT = "admit"
    """In a bed, if the class of the patient takes one."""
    REGISTER = "register"
    """An outpatient or an emergency: here, in no bed."""
    MOVE = "move"
    """Elsewhere in the house, or under another responsibility."""
    TO_INPATIENT = "to-inpatient"
    """An outpatient takes a bed."""
    TO_OUTPATIENT = "to-outpatient"
    """The bed is free; the patient stays as an outpatient."""
    LEAVE = "leave"
    """Away, and to come back: the stay goes on."""
    RETURN = "return"
    """Back."""
    DISCHARGE = "discharge"
    """Gone: the bed is free."""
    PLAN_DEPARTURE = "plan-departure"
    """To leave at a time that is told."""
    ASIDE = "aside"
    """A movement that changes no bed: a doctor, a transfer that is only planned."""
    INFORM = "inform"
    """No movement: a gender, a planned departure."""
    DELETE = "delete"
    """The visit never was, whatever was said of it."""
    MERGE = "merge"
    """Two visit numbers were one visit."""
    NOTHING = "nothing"
    """Of no effect on beds."""


class Action(StrEnum):
    """What is done with a movement (ZBE-4)."""

    INSERT = "INSERT"
    UPDATE = "UPDATE"
    CANCEL = "CANCEL"


@dataclass(frozen=True, slots=True)
class Event:
    """One row: `kind` of the movement that it inserts or, with `action` CANCEL, takes back."""

    kind: Kind
    section: str
    action: Action = Action.INSERT


def _cancels(kind: Kind, section: str) -> Event:
    return Event(kind, section, Action.CANCEL)


EVENTS: dict[str, Event] = {
    "A01": Event(Kind.ADMIT, "PAM.FR §5.3.2; HL7 §3.3.1"),
    "A02": Event(Kind.MOVE, "PAM.FR §2.2 remark 1, §5.1.4; HL7 §3.3.2"),
    "A03": Event(Kind.DISCHARGE, "PAM.FR §5.3.2; HL7 §3.3.3"),
    "A04": Event(Kind.REGISTER, "PAM.FR §5.3.2 (class O or E); HL7 §3.3.4"),
    "A05": Event(Kind.EXPECT, "PAM.FR §5.3.2; HL7 §3.3.5"),
    "A06": Event(Kind.TO_INPATIENT, "PAM.FR §5.3.5; HL7 §3.3.6"),
    "A07": Event(Kind.TO_OUTPATIENT, "PAM.FR §5.3.5; HL7 §3.3.7"),
    "A08": Event(Kind.INFORM, "excluded by PAM.FR §2.2; HL7 §3.3.8"),
    "A11": _cancels(Kind.ADMIT, "PAM.FR §5.3.2, §5.4.1; HL7 §3.3.11"),
    "A12": _cancels(Kind.MOVE, "PAM.FR §5.3.7; HL7 §3.3.12"),
    "A13": _cancels(Kind.DISCHARGE, "PAM.FR §5.3.7; HL7 §3.3.13"),
    "A14": Event(Kind.EXPECT, "PAM.FR §5.3.2 (admission to come); HL7 §3.3.14"),
    "A15": Event(Kind.ASIDE, "PAM.FR §5.3.2 (transfer to come); HL7 §3.3.15"),
    "A16": Event(Kind.PLAN_DEPARTURE, "PAM.FR §5.3.6; HL7 §3.3.16"),
    "A17": Event(Kind.MOVE, "HL7 §3.3.17 (no event of PAM.FR)"),
    "A21": Event(Kind.LEAVE, "PAM.FR §5.3.2, §6.11.11; HL7 §3.3.21"),
    "A22": Event(Kind.RETURN, "PAM.FR §5.3.2; HL7 §3.3.22"),
    "A23": Event(Kind.DELETE, "HL7 §3.3.23 (a visit is deleted)"),
    "A25": _cancels(Kind.PLAN_DEPARTURE, "PAM.FR §5.3.2; HL7 §3.3.25"),
    "A26": _cancels(Kind.ASIDE, "PAM.FR §5.3.2; HL7 §3.3.26"),
    "A27": _cancels(Kind.EXPECT, "PAM.FR §5.3.2; HL7 §3.3.27"),
    "A28": Event(Kind.NOTHING, "PAM.FR §2.1 (an identity); HL7 §3.3.28"),
    "A31": Event(Kind.NOTHING, "PAM.FR §2.1 (an identity); HL7 §3.3.31"),
    "A38": _cancels(Kind.EXPECT, "PAM.FR §5.3.2; HL7 §3.3.38"),
    "A40": Event(Kind.NOTHING, "PAM.FR §2.1, §2.2: identities are merged, visits keep their numbers; HL7 §3.3.40"),
    "A42": Event(Kind.MERGE, "HL7 §3.3.42 (visit numbers)"),
    "A44": Event(Kind.NOTHING, "PAM.FR §2.2: an account goes to another patient; HL7 §3.3.44"),
    "A45": Event(Kind.MERGE, "HL7 §3.3.45 (a visit goes to another account, and may get a new number)"),
    "A47": Event(Kind.NOTHING, "PAM.FR §2.1 (an identifier); HL7 §3.3.47"),
    "A50": Event(Kind.MERGE, "HL7 §3.3.50 (a visit gets another number)"),
    "A52": _cancels(Kind.LEAVE, "PAM.FR §5.3.2, §5.3.7; HL7 §3.3.52"),
    "A53": _cancels(Kind.RETURN, "PAM.FR §5.3.2, §5.3.7; HL7 §3.3.53"),
    "A54": Event(Kind.ASIDE, "PAM.FR §5.3.2 (another doctor); HL7 §3.3.54"),
    "A55": _cancels(Kind.ASIDE, "PAM.FR §5.3.2; HL7 §3.3.55"),
    "Z99": Event(Kind.NOTHING, "PAM.FR §5.3.2 remark 2: corrects the movement of ZBE-1, of the kind of ZBE-6"),
}
"""Trigger event → what it does. `Z99` takes its kind from ZBE-6."""

CORRECTION = "Z99"

MOVED = "A45"
"""A visit goes to another account: only where it names a former number of the visit (MRG-5) is that one said."""

SWAP = "A17"
"""Two patients change places: a movement of each, in one message (HL7 §3.3.17)."""

ACTIONS = {
    "INSERT": Action.INSERT,
    "UPDATE": Action.UPDATE,
    "CANCEL": Action.CANCEL,
    "DELETE": Action.CANCEL,
}
"""ZBE-4 (PAM.FR §6.13.4). DELETE is what German feeds write for CANCEL; their REFERENCE inserts nothing, and is not
here."""

OUTPATIENT = "O"
"""PV1-2."""

BEDLESS_CLASSES = frozenset({"E", "N", "O", "R", "V", "P", "C"})
"""PV1-2 (PAM.FR §6.10.1, HL7 table 0004) of those who are in no bed: emergency, not applicable, outpatient, recurring
sessions, virtual; preadmitted and commercial account elsewhere. Any other, and none at all, is in a bed."""

NEWBORN = "N"
"""PV1-4 (PAM.FR §6.10.3) and ZFM-1 (§6.17.1) of a child born here."""
