"""What is wrong with a message, as HL7 says it: the field, a code of table 0357, and whether it is an error or refused.

A fault names the place and the rule. It never quotes the content, which may be a patient's.
"""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """The acknowledgement that a fault asks for (HL7 table 0008)."""

    ERROR = "AE"
    """The message is one of ours, and something in it is wrong: sending it again corrected may help."""
    REJECT = "AR"
    """The message is none for us: its type, version or state of processing."""


@dataclass(eq=False)
class Fault(Exception):
    """Where and what. `number` 0: the whole segment. `code`: HL7 table 0357. `sequence`: which of the segments of that
    name, from 1, in a message of several patients."""

    segment: str
    number: int
    component: int
    code: str
    severity: Severity
    problem: str
    sequence: int = 1

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}"

    @property
    def place(self) -> str:
        """`PV1-19`, `PV1-3.1`, `PV1[2]-3` (that of the second patient), `ZBE`."""
        segment = self.segment + (f"[{self.sequence}]" if self.sequence > 1 else "")
        if not self.number:
            return segment
        return f"{segment}-{self.number}" + (f".{self.component}" if self.component > 1 else "")


CODES = {
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "200": "Unsupported message type",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "205": "Duplicate key identifier",
    "207": "Application internal error",
}
"""HL7 table 0357, what we use of it."""


def fault(segment: str, number: int, severity: Severity, code: str, problem: str, component: int = 1) -> Fault:
    """A fault, short to write."""
    return Fault(segment, number, component, code, severity, problem)


def missing(segment: str, number: int, why: str, component: int = 1) -> Fault:
    """A field without which the message cannot be understood."""
    return Fault(segment, number, component, "101", Severity.ERROR, why)
