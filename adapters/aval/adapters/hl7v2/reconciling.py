"""A complete census of the hospital compared with the node's, difference by difference.

The census is a file of messages, one or more for each patient who is in the hospital now (an export of A01, or A02; a
batch is well), or what the hospital's system answers to a query (`querying`). Who is in it and not at the node, or
elsewhere, or at the node and not in it, is listed. Nothing changes before a person has said so; then each difference
becomes a message to the running adapter, like any other: so it is stored, told and remembered in one way only. The
stays are named by their hashes, for the node knows no number.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from aval.adapters.hl7v2.checking import FILE_BYTES_MAX, files_of, frames_of
from aval.adapters.hl7v2.faults import Severity, fault
from aval.adapters.hl7v2.mapping import Mapping, Standing
from aval.adapters.hl7v2.meaning import HASHED, Customs, Place, Said, understand
from aval.adapters.hl7v2.reading import batch_fault, escaped, messages_of, parse
from aval.adapters.hl7v2.stays import Phase, added, presence
from aval.v1 import census_pb2


class Difference(StrEnum):
    """How the two differ on one stay."""

    MISSING = "missing"
    """In the hospital's census, not at the node."""
    ELSEWHERE = "elsewhere"
    GONE = "gone"
    """At the node, not in the hospital's census."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. `unit`, `bed`: by the hospital; `node_unit`, `node_bed`: at the node."""

    kind: Difference
    stay: str
    place: Place | None = None
    unit: str = ""
    bed: str = ""
    node_unit: str = ""
    node_bed: str = ""


def said_in(paths: Iterable[Path], customs: Customs) -> Iterator[Said]:
    """What the files say. Raises OSError, `Fault`: a census is whole, or none."""
    for path in files_of(paths):
        if path.stat().st_size > FILE_BYTES_MAX:
            raise fault("MSH", 0, Severity.ERROR, "207", f"{path.name} is longer than {FILE_BYTES_MAX} bytes")
        for frame in frames_of(path.read_bytes()):
            texts = messages_of(frame)
            if (wrong := batch_fault(frame, len(texts))) is not None:
                raise wrong
            for text in texts:
                yield from understand(parse(text), customs).said


def census_of(said: Iterable[Said], mapping: Mapping) -> dict[str, tuple[Place | None, Standing]]:
    """Who is in the hospital by what is said, and where."""
    logs: dict[str, tuple[Said, ...]] = {}
    for word in said:
        logs[word.visit] = added(logs.get(word.visit, ()), word)
    found: dict[str, tuple[Place | None, Standing]] = {}
    for stay, log in logs.items():
        present = presence(log)
        standing = mapping.standing(present)
        if standing.phase is Phase.PRESENT:
            found[stay] = (present.place, standing)
    return found


def compare(
    hospital: dict[str, tuple[Place | None, Standing]], node: Iterable[census_pb2.Stay], source: str
) -> list[Finding]:
    """The differences, in the order of the stays. Stays that another source told the node are not ours to judge."""
    here = {stay.stay_key: stay for stay in node if not stay.expected and stay.source_id in ("", source)}
    findings: list[Finding] = []
    for key in sorted(set(hospital) | {key for key, stay in here.items() if stay.source_id == source}):
        stay = here.get(key)
        if key not in hospital:
            if stay is not None:
                findings.append(Finding(Difference.GONE, key, None, "", "", _last(stay.unit), _last(stay.bed)))
            continue
        place, standing = hospital[key]
        if stay is None:
            findings.append(Finding(Difference.MISSING, key, place, standing.unit, standing.bed))
        elif _last(stay.unit) != standing.unit or (standing.bed and _last(stay.bed) != standing.bed):
            findings.append(
                Finding(
                    Difference.ELSEWHERE, key, place, standing.unit, standing.bed, _last(stay.unit), _last(stay.bed)
                )
            )
    return findings


def _last(name: str) -> str:
    return name.rpartition("/")[2]


_EVENTS = {Difference.MISSING: "A01", Difference.ELSEWHERE: "A02", Difference.GONE: "A03"}


def correction(finding: Finding, now: datetime, number: int) -> bytes:
    """The message that takes a difference away."""
    event = _EVENTS[finding.kind]
    # To the tenth of a millisecond, the finest that HL7 has: of two words of one second the later one must be so.
    stamp = f"{now:%Y%m%d%H%M%S}.{now.microsecond // 100:04d}{now:%z}"
    place = finding.place or Place()
    unit, room, bed, facility = (escaped(code) for code in (place.unit, place.room, place.bed, place.facility))
    where = "^".join((unit, room, bed, facility)) if finding.kind is not Difference.GONE else ""
    control = f"AVAL-RECONCILE-{stamp}-{number}"
    visit = f"{finding.stay}^^^{HASHED}^VN"
    segments = (
        # The facility stands in each field in which the adapter may be told to look for it.
        f"MSH|^~\\&|AVAL|{facility}|AVAL|AVAL|{stamp}||ADT^{event}|{control}|P|2.5|||||FRA|UNICODE UTF-8",
        f"EVN||{stamp}||||{stamp}",
        "PID|1||0^^^AVAL",
        f"PV1||I|{where}|{'|' * 14}|{visit}",
        f"ZBE|{control}^AVAL|{stamp}||INSERT|N||^^^^^{facility}||",
    )
    return ("\r".join(segments) + "\r").encode()
