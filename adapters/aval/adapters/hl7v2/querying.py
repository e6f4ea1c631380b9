"""Who is in the hospital, asked of its own system: IHE ITI-22, Patient Demographics and Visit Query (ITI TF-2 §3.22).

One query (`QBP^ZV1^QBP_Q21`) for each code of a unit in the mapping, by PV1-3.1, answered by `RSP^ZV2^RSP_ZV2` with a
PID and a PV1 for each patient, page by page: an answer that ends with DSC is continued by the same query with that DSC
(HL7 v2.5 §5.6.3). What is asked and not answered whole is no census: then there is none.

Of an answer each patient is read as the admission that a file of the census would hold, by the one reading there is.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime

from aval.adapters.hl7v2.faults import Severity, fault
from aval.adapters.hl7v2.meaning import Customs, Said, understand
from aval.adapters.hl7v2.reading import escaped, messages_of, parse
from aval.adapters.hl7v2.sending import Sender

PAGE_PATIENTS = 100
"""Patients of one answer that are asked for (RCP-2): some 200 kB."""

PAGES_MAX = 100
"""Answers to the query of one unit: the largest ward has one page."""

UNIT_SECONDS = 120.0
"""For all pages of one unit."""

QUERY = "IHE PDQ Query"
"""QPD-1, where the supplier has no other name for it."""

_KEPT = ("PID", "PV1", "PV2")
"""Segments of a patient that say something of a stay."""


@dataclass(frozen=True, slots=True)
class Supplier:
    """Whom to ask: the Patient Demographics Supplier's address, its names in MSH-5 and MSH-6, and its one of the query
    (QPD-1)."""

    host: str
    port: int
    application: str
    facility: str = ""
    query: str = QUERY


async def ask(line: Sender, supplier: Supplier, units: Iterable[str], customs: Customs, now: datetime) -> list[Said]:
    """What is said of all who are in these units. Raises `Fault` for an answer that is none, `Unanswered`, OSError,
    TimeoutError."""
    said: list[Said] = []
    for number, unit in enumerate(units):
        async with asyncio.timeout(UNIT_SECONDS):
            async for text, patient in _patients(line, supplier, unit, number, now, customs):
                departure = parse(_event(text, "A03", patient))
                if departure.get("PV1", 45) and all(word.time <= now for word in understand(departure, customs).said):
                    continue  # was here, and is not any more
                admission = understand(parse(_event(text, "A01", patient)), customs)
                said += (word for word in admission.said if word.time <= now)
    return said


async def _patients(
    line: Sender, supplier: Supplier, unit: str, number: int, now: datetime, customs: Customs
) -> AsyncIterator[tuple[str, list[str]]]:
    """Each patient of one unit: the answer, and the segments of it that are of this patient."""
    tag = f"AVAL{now:%Y%m%d%H%M%S}{number:04d}"
    pointer = ""
    seen = {pointer}
    for page in range(PAGES_MAX):
        control = f"{tag}P{page:03d}"[-20:]
        answer = await line.send(_query(supplier, unit, tag, control, pointer, now, customs))
        text, pointer = _answered(answer, tag, control)
        for patient in _groups(text):
            yield text, patient
        if not pointer:
            return
        if pointer in seen:
            raise fault("DSC", 1, Severity.ERROR, "103", "the same page is to come again")
        seen.add(pointer)
    raise fault("DSC", 1, Severity.ERROR, "207", f"more than {PAGES_MAX} pages of one unit")


def _query(
    supplier: Supplier, unit: str, tag: str, control: str, pointer: str, now: datetime, customs: Customs
) -> bytes:
    processing = "P" if "P" in customs.processing else min(customs.processing)
    to = f"{escaped(supplier.application)}|{escaped(supplier.facility)}"
    kind = f"QBP^ZV1^QBP_Q21|{control}|{processing}|2.5||||||UNICODE UTF-8"
    segments = [
        f"MSH|^~\\&|AVAL|AVAL|{to}|{now:%Y%m%d%H%M%S%z}||{kind}",
        f"QPD|{escaped(supplier.query)}|{tag}|@PV1.3.1^{escaped(unit)}",
        f"RCP|I|{PAGE_PATIENTS}^RD",
    ]
    if pointer:
        segments.append(f"DSC|{escaped(pointer)}|I")
    return ("\r".join(segments) + "\r").encode()


def _answered(answer: bytes, tag: str, control: str) -> tuple[str, str]:
    """One answer's text, and where the next goes on, if one is to come. Raises `Fault` where it is not the answer."""
    texts = messages_of(answer)
    if len(texts) != 1:
        raise fault("MSH", 0, Severity.ERROR, "100", "not one message")
    text = texts[0]
    message = parse(text)
    if message.get("MSH", 9) != "RSP":
        raise fault("MSH", 9, Severity.ERROR, "200", "not the answer to a query")
    if message.get("MSA", 1) not in ("AA", "CA"):
        raise fault("MSA", 1, Severity.ERROR, "207", "the system refuses the query")
    if message.get("MSA", 2) != control:
        raise fault("MSA", 2, Severity.ERROR, "103", "the answer to another message")
    if message.get("QAK", 1) != tag:
        raise fault("QAK", 1, Severity.ERROR, "103", "the answer to another query")
    if message.get("QAK", 2) not in ("OK", "NF"):
        raise fault("QAK", 2, Severity.ERROR, "207", "the system could not answer")
    return text, message.get("DSC", 1)


def _groups(text: str) -> list[list[str]]:
    """The segments of each patient that we read: a group begins with its PID (ITI TF-2 §3.22.4.2.2)."""
    groups: list[list[str]] = []
    for segment in text.split("\r"):
        name = segment[:3]
        if name == "PID":
            groups.append([])
        if groups and name in _KEPT:
            groups[-1].append(segment)
    return groups


def _event(answer: str, event: str, patient: list[str]) -> str:
    """A patient of an answer as an event, in the answer's own separators and time; of the basic standard, for an answer
    has no movements."""
    header = answer.partition("\r")[0]
    separator, component = header[3], header[4]
    fields = header.split(separator, 12)[:12]
    fields += [""] * (12 - len(fields))
    fields[8] = f"ADT{component}{event}"
    fields[11] = "2.5"
    return "\r".join((separator.join(fields), *patient))
