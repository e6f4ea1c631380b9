"""A dry run over messages in files: what each would do, what is unmapped, what is refused and why. Nothing is sent.

What it says holds no identity: events, codes of places, and places of faults.
"""

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo

from aval.adapters.hl7v2.events import Action, Kind
from aval.adapters.hl7v2.faults import Fault
from aval.adapters.hl7v2.mapping import Mapping
from aval.adapters.hl7v2.meaning import Customs, Place, Said, is_acknowledgement, understand
from aval.adapters.hl7v2.reading import Habits, batch_fault, messages_of, parse
from aval.adapters.hl7v2.settings import Settings
from aval.adapters.hl7v2.stays import Phase, added, joins, presence

FILE_BYTES_MAX = 64 << 20
"""Longest file that is read whole: a day of a large hospital has 15 MB."""


class Outcome(StrEnum):
    """What a message would do."""

    TOLD = "told"
    """The node would be told where the patient is."""
    UNMAPPED = "unmapped"
    """The same, in a unit that the mapping does not name: it would wait for a person."""
    IGNORED = "ignored"
    """The patient is in a unit that the house says is not followed."""
    NEWBORN = "newborn"
    """A child born here, in a unit where such lie beside their mothers."""
    NO_BED = "no-bed"
    """The stay takes no bed: an outpatient, a cancellation, a departure."""
    UNCHANGED = "unchanged"
    """A movement that leaves the stay where it was."""
    UNHEARD_OF = "unheard-of"
    """A cancellation that changes nothing, of a movement that no message has told before it under that ZBE-1."""
    ALREADY = "already"
    NO_EFFECT = "no-effect"
    REFUSED = "refused"
    NO_MESSAGE = "no-message"
    """A file in which nothing begins with MSH."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One message, or what it does to one of its patients (`patient`, from 1). `phase`, `place`, `unit`, `bed`: where
    the stay is after it, in the sender's and our codes.

    `unit` is empty where none is mapped; `fault` refuses it; `passed_over` were unreadable in one that is taken.
    """

    file: str
    number: int
    event: str
    outcome: Outcome
    phase: Phase = Phase.NONE
    place: Place | None = None
    unit: str = ""
    bed: str = ""
    fault: Fault | None = None
    passed_over: tuple[Fault, ...] = ()
    patient: int = 1


@dataclass(slots=True)
class Findings:
    """What all the messages together show."""

    checked: list[Checked] = field(default_factory=list)
    unmapped_units: Counter[str] = field(default_factory=Counter)
    unmapped_beds: Counter[str] = field(default_factory=Counter)
    cut_off: list[tuple[str, Fault]] = field(default_factory=list)
    """Files with a batch that was cut off, and what shows it."""
    habits: Habits = field(default_factory=Habits)

    @property
    def messages(self) -> int:
        """How many messages were read."""
        return sum(one.outcome is not Outcome.NO_MESSAGE and one.patient == 1 for one in self.checked)

    @property
    def outcomes(self) -> Counter[str]:
        """How many messages, or patients of a message, of each outcome."""
        return Counter(one.outcome.value for one in self.checked)


def practice(settings: Settings | None = None) -> Customs:
    """Customs for a dry run, those of an interface if its settings are given: any state of processing, and a key that
    nobody keeps."""
    key = secrets.token_bytes(32)
    customs = Customs(key, ZoneInfo("Europe/Paris")) if settings is None else settings.customs(key)
    return replace(customs, processing=frozenset({"P", "D", "T"}))


def files_of(paths: Iterable[Path]) -> Iterator[Path]:
    """The files named, and those in and below the folders named, in the order of their names; no hidden ones."""
    for path in paths:
        if path.is_dir():
            below = (one for one in path.rglob("*") if not any(part[0] == "." for part in one.relative_to(path).parts))
            yield from sorted(one for one in below if one.is_file())
        else:
            yield path


def frames_of(content: bytes) -> list[bytes]:
    """What a file holds: MLLP frames one after the other, or messages as they are."""
    if b"\x0b" not in content:
        return [content]
    return [part.partition(b"\x1c")[0] for part in content.split(b"\x0b")[1:]]


def check(paths: Iterable[Path], mapping: Mapping | None, customs: Customs) -> Findings:
    """Reads the files as if they came over the wire, in their order. Raises OSError."""
    findings = Findings()
    stays = _Stays()
    codes = mapping or Mapping()
    for path in files_of(paths):
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX)
        number = 0
        for frame in frames_of(content):
            try:
                texts = messages_of(frame, findings.habits)
            except Fault as wrong:
                findings.checked.append(Checked(path.name, number + 1, "", Outcome.REFUSED, fault=wrong))
                continue
            if (cut := batch_fault(frame, len(texts))) is not None:
                findings.cut_off.append((path.name, cut))
            for text in texts:
                number += 1
                findings.checked += _checked(path.name, number, text, codes, customs, stays)
        if not number and (not findings.checked or findings.checked[-1].file != path.name):
            findings.checked.append(Checked(path.name, 0, "", Outcome.NO_MESSAGE))
    for one in findings.checked:
        if one.outcome is Outcome.UNMAPPED and one.place is not None:
            findings.unmapped_units[named(one.place, codes)] += 1
        elif one.place is not None and codes.bed_of(one.place)[1]:
            findings.unmapped_beds[f"{named(one.place, codes)}^{one.place.room}^{one.place.bed}"] += 1
    return findings


def named(place: Place, codes: Mapping) -> str:
    """A unit's code as it is to be mapped: with its facility where the file tells codes apart by facilities."""
    return f"{place.unit} @ {place.facility}" if place.facility and codes.facilities else place.unit


def _checked(file: str, number: int, text: str, codes: Mapping, customs: Customs, stays: "_Stays") -> list[Checked]:
    event = ""
    try:
        message = parse(text)
        event = message.get("MSH", 9, 2) or message.get("EVN", 1)
        if is_acknowledgement(message):
            return [Checked(file, number, event, Outcome.NO_EFFECT)]
        heard = understand(message, customs)
    except Fault as wrong:
        return [Checked(file, number, event[:8], Outcome.REFUSED, fault=wrong)]
    if not heard.said:
        return [Checked(file, number, heard.event, Outcome.NO_EFFECT)]
    return [
        replace(_folded(word, codes, stays), file=file, number=number, event=heard.event, patient=patient,
                passed_over=heard.passed_over)
        for patient, word in enumerate(heard.said, 1)
    ]  # fmt: skip


class _Stays:
    """What was said of each stay, under the number that it has now."""

    def __init__(self) -> None:
        self.logs: dict[str, tuple[Said, ...]] = {}
        self._now: dict[str, str] = {}

    def number(self, visit: str) -> str:
        """The number that a visit has now."""
        while visit in self._now:
            visit = self._now[visit]
        return visit

    def join(self, word: Said) -> bool:
        """Makes the stay of a former number this one, if the word says so and it is not yet."""
        visit, former = self.number(word.visit), self.number(word.absorbed)
        if not word.absorbed or former == visit or not joins(word, self.logs.get(former, ())):
            return False
        log = self.logs.get(visit, ())
        for other in self.logs.pop(former, ()):
            log = added(log, other)
        self.logs[visit], self._now[former] = log, visit
        return True


def _folded(word: Said, codes: Mapping, stays: _Stays) -> Checked:
    """What one word does to its stay."""
    visit = stays.number(word.visit)
    former = stays.logs.get(visit, ())
    joined = stays.join(word)
    log = stays.logs.get(visit, ())
    if word.kind is not Kind.MERGE:
        log = stays.logs[visit] = added(log, word)
    present = presence(log)
    standing, before = codes.standing(present), codes.standing(presence(former))
    outcome = Outcome.TOLD
    if log == former and not joined:
        outcome = Outcome.ALREADY
    elif standing == before and _is_unheard_of(word, former):
        outcome = Outcome.UNHEARD_OF
    elif present.place is not None and codes.ignores(present.place):
        outcome = Outcome.IGNORED
    elif present.newborn and present.phase is Phase.PRESENT and standing.phase is not Phase.PRESENT:
        outcome = Outcome.NEWBORN
    elif standing.phase not in (Phase.PRESENT, Phase.EXPECTED):
        outcome = Outcome.NO_BED
    elif standing == before:
        outcome = Outcome.UNCHANGED
    elif present.place is not None and codes.unmapped(present.place):
        outcome = Outcome.UNMAPPED
    unit = "" if present.place is None or codes.unmapped(present.place) else standing.unit
    return Checked("", 0, "", outcome, present.phase, present.place, unit, standing.bed)


def _is_unheard_of(word: Said, former: Sequence[Said]) -> bool:
    """Whether a word takes back a movement that nothing before it has told: the message is early, or its sender gives
    each cancellation a number of its own, by which nothing can be taken back."""
    told = {one for other in former if other.action is not Action.CANCEL for one in other.movements}
    return word.action is Action.CANCEL and bool(word.movements) and not told & {*word.movements}
