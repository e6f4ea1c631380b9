"""Bytes → messages: characters by MSH-18, line endings as they come, batches opened, segments parsed.

The parser is `hl7` (python-hl7): of the two kept libraries it read all 107 published and derived messages of the
project's samples at 20 times the speed of hl7apy (0.65 against 0.03 thousand messages a second, one core shared with
16 processes), which besides refuses the three batches and makes objects of a version's grammar that the messages
themselves do not keep. It makes lists of lists and knows no event: what a message means is `meaning`'s, and ours.
It is given the fields that we read and no other, which makes it three times as fast and keeps names, next of kin,
insurers and diagnoses out of what we hold.

A message is text here for the time of its reading only; nothing of this module is stored or logged.
"""

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import hl7

from aval.adapters.hl7v2.faults import Fault, Severity, fault

FIELDS_READ: dict[str, tuple[int, ...]] = {
    "DSC": (1,),
    "EVN": (1, 2, 3, 6),
    "MRG": (5,),
    "MSA": (1, 2),
    "MSH": (),
    "PID": (8, 18),
    "PV1": (2, 3, 4, 5, 19, 44, 45, 50),
    "PV2": (8, 9, 12, 47),
    "QAK": (1, 2),
    "ZBE": (),
    "ZFM": (1,),
    "ZFV": (7,),
}
"""What the census needs of a message, and a query of its answer: fields of segments; of those with none, all. The rest
is not even parsed."""

_PLACES = {name: {field: place for place, field in enumerate(read, 1)} for name, read in FIELDS_READ.items() if read}
"""Where each of those fields stands in what the parser is given, which holds nothing else."""

HEADER_FIELDS = 16
"""Of MSH: to the acknowledgements asked for."""

SEGMENTS_MAX = 500
"""Segments of one message that we read: each stands once. What others a sender adds is its own affair."""

MARKS = "^~\\&"
"""MSH-2 as all write it, and what stands in for marks that a sender has no use for."""

BATCH_MESSAGES_MAX = 10_000
"""Messages of one batch or file: a day of the largest hospital is half of that."""

FIELD_LENGTH_MAX = 20_000
"""Characters of one segment that we read: the longest of the samples has 700. Longer is not parsed, for no parser is
meant for it."""

_CHARSETS = {
    "": "ascii",
    "ASCII": "ascii",
    "8859/1": "iso8859-1",
    "8859/15": "iso8859-15",
    "8859/2": "iso8859-2",
    "ISO8859-1": "iso8859-1",
    "ISO-8859-1": "iso8859-1",
    "ISO 8859/1": "iso8859-1",
    "ISO8859-15": "iso8859-15",
    "ISO-8859-15": "iso8859-15",
    "ISO 8859/15": "iso8859-15",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
}
"""MSH-18 (HL7 table 0211; PAM.FR §6.1 names 8859/15 and UNICODE UTF-8), with the spellings met. UTF-16 and UTF-32 are
not MLLP's: their bytes may hold its marks."""


_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"M\0S\0H\0", b"\0M\0S\0H")
"""How a message in UTF-16 begins, with its mark or without."""


@dataclass(slots=True)
class Habits:
    """How senders write, counted: what an interface engineer wants to know of a feed."""

    endings: Counter[str] = field(default_factory=Counter)
    """By kind of line ending: `cr`, `lf`, `crlf`, `mixed`."""
    charsets: Counter[str] = field(default_factory=Counter)
    """By what was done: a charset's name, `wrong` where bytes were not of the one declared, `unknown`."""


class Message:
    """One parsed message: fields by name, as plain text without escapes, empty where absent."""

    def __init__(self, parsed: Iterable[hl7.Segment], marks: str) -> None:
        """`marks`: MSH-1 and MSH-2 as they stand."""
        self._whole = tuple(parsed)
        self._header = marks
        self._escape = marks[3]
        self._escaped = re.compile(f"{re.escape(marks[3])}([A-Z])[^{re.escape(marks[3])}]*{re.escape(marks[3])}")
        self._marks = {"F": marks[0], "S": marks[1], "R": marks[2], "E": marks[3], "T": marks[4:5]}
        self._segments: dict[str, list[hl7.Segment]] = {}
        for segment in self._whole:
            self._segments.setdefault(str(segment[0]), []).append(segment)

    def has(self, segment: str) -> bool:
        """Whether a segment of that name is there."""
        return segment in self._segments

    def count(self, segment: str) -> int:
        """How many segments of that name are there."""
        return len(self._segments.get(segment, ()))

    def patients(self) -> list["Message"]:
        """The message once for each PID, with what stands above the first and what follows its own up to the next.

        HL7's grammar has no movements (ZBE): the n-th is of the n-th patient wherever it stands, one alone is of all.
        """
        movements = self._segments.get("ZBE", [])
        above: list[hl7.Segment] = []
        groups: list[list[hl7.Segment]] = []
        for segment in self._whole:
            name = str(segment[0])
            if name == "PID":
                groups.append([*above])
            if name != "ZBE":
                (groups[-1] if groups else above).append(segment)
        for number, group in enumerate(groups):
            group.extend(movements if len(movements) == 1 else movements[number : number + 1])
        return [Message(group, self._header) for group in groups]

    def with_each(self, name: str) -> list["Message"]:
        """The message once for each segment of that name, and with no other of that name."""
        others = [segment for segment in self._whole if str(segment[0]) != name]
        return [Message([*others, one], self._header) for one in self._segments.get(name, ())]

    def get(self, segment: str, number: int, component: int = 1, part: int = 1) -> str:
        """First repetition of a field; `part` is the subcomponent. HL7's null (two quotes) is given as it stands."""
        return next(self.each(segment, number, component, part), "")

    def each(self, segment: str, number: int, component: int = 1, part: int = 1) -> Iterator[str]:
        """All repetitions of a field of the first segment of that name."""
        segments = self._segments.get(segment)
        place = _PLACES[segment].get(number, 0) if segment in _PLACES else number
        if not segments or not 0 < place < len(segments[0]):
            return
        for repetition in _repetitions(segments[0][place]):
            yield self._plain(_piece(_piece(repetition, component), part))

    def _plain(self, value: object) -> str:
        text = str(value).strip()
        if self._escape in text:
            text = self._escaped.sub(self._meant, text).strip()  # the parser's own way logs what it cannot read
        return text if text.isprintable() else _CONTROLS.sub("", text)

    def _meant(self, found: re.Match[str]) -> str:
        """What an escape stands for (HL7 v2.5 §2.7): a mark, or bytes in hexadecimal; highlights stand for nothing."""
        if found[1] != "X":
            return self._marks.get(found[1], "")
        try:
            return _guessed(bytes.fromhex(found[0][2:-1]))
        except ValueError:
            return ""


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters that are part of no code, and that a terminal would obey."""


def _repetitions(value: object) -> list[object]:
    return list(value) if isinstance(value, hl7.Field) else [value]


def _piece(value: object, number: int) -> object:
    """A component of a repetition, or a subcomponent of a component: one that has no parts is its own first."""
    if isinstance(value, hl7.Repetition | hl7.Component | hl7.Field):
        return value[number - 1] if number <= len(value) else ""
    return value if number == 1 else ""


def messages_of(body: bytes, habits: Habits | None = None) -> list[str]:
    """The messages of a frame or file, as text with carriage returns between segments; none if there is no MSH.

    A line that begins like no segment is the rest of the one before: somebody typed a line break into a field, and what
    stands after it in that segment is meant all the same.

    Raises `Fault` for characters that no MLLP sender may use, and for too many messages.
    """
    if body.startswith(_UTF_16):
        raise fault("MSH", 18, Severity.REJECT, "103", "UTF-16 and UTF-32 cannot go over MLLP")
    if b"MSH" not in body.upper():
        return []
    habits = habits if habits is not None else Habits()
    text = _decoded(body, habits)
    found: list[list[list[str]]] = []
    separator = ""
    for line in _lines(text, habits):
        name = line[:3].upper()
        if name == "MSH":
            found.append([[name + line[3:]]])
            separator = line[3:4]
            if len(found) > BATCH_MESSAGES_MAX:
                raise fault("BHS", 0, Severity.ERROR, "207", f"more than {BATCH_MESSAGES_MAX} messages in one batch")
        elif name in ("FHS", "BHS", "BTS", "FTS") or not found:
            continue
        elif name.isalnum() and line[3:4] in (separator, ""):
            found[-1].append([name + line[3:]])
        else:
            found[-1][-1].append(line)
    return ["\r".join(" ".join(pieces) for pieces in message) for message in found]


_BATCH = re.compile(rb"^(FHS|BHS|BTS|FTS)(?:\W(\d*))?", re.MULTILINE)


def batch_fault(frame: bytes, messages: int) -> Fault | None:
    """What shows that a batch was cut off: it ends without its trailers, or holds another number of messages than they
    say (HL7 v2.5 §2.10.3)."""
    marks = [(mark[1], mark[2]) for mark in _BATCH.finditer(frame.replace(b"\r", b"\n"))]
    names = Counter(name for name, _ in marks)
    if names[b"BHS"] > names[b"BTS"] or names[b"FHS"] > names[b"FTS"]:
        return fault("BTS", 0, Severity.ERROR, "100", "a batch without its end")
    counts = [int(count) for name, count in marks if name == b"BTS" and count]
    if len(counts) == names[b"BTS"] > 0 and sum(counts) != messages:
        return fault("BTS", 1, Severity.ERROR, "100", "a batch with another number of messages than it says")
    return None


def encoded(text: str) -> bytes:
    """A message of a batch as bytes of its own, in the characters that its header declares."""
    charset = _CHARSETS.get(_declared_charset(text.encode("ascii", "replace")), "iso8859-15")
    return text.encode("utf-8" if charset == "ascii" else charset, "replace")


_ESCAPES = str.maketrans({mark: f"\\{letter}\\" for mark, letter in zip("|^~\\&", "FSRET", strict=True)})


def escaped(text: str) -> str:
    """A text as it stands in a field of ours, whose marks are `MARKS`."""
    return text.translate(_ESCAPES)


def parse(text: str) -> Message:
    """Parses one message. Raises `Fault` where it is none."""
    first, *lines = text.split("\r")
    header = _with_all_marks(first)
    kept = [_read_of(line, header[3:4] or "|") for line in (header, *lines) if line[:3] in FIELDS_READ]
    if len(kept) > SEGMENTS_MAX:
        raise fault("MSH", 0, Severity.REJECT, "207", f"more than {SEGMENTS_MAX} segments")
    if not header.startswith("MSH") or len(header) < 9 or not _separators_usable(header):
        raise fault("MSH", 1, Severity.REJECT, "100", "no header with separators")
    if any(len(line) > FIELD_LENGTH_MAX for line in kept):
        raise fault("MSH", 0, Severity.REJECT, "207", "a segment is too long")
    try:
        return Message(hl7.parse("\r".join(kept)), header[3:8])
    except (hl7.HL7Exception, AssertionError, ValueError, IndexError, KeyError, RecursionError) as error:
        raise fault("MSH", 2, Severity.REJECT, "100", f"unreadable: {type(error).__name__}") from error


def _read_of(line: str, separator: str) -> str:
    """A segment with the fields that we read, and no others between."""
    wanted = FIELDS_READ[line[:3]]
    if not wanted:
        return separator.join(line.split(separator, HEADER_FIELDS)[:HEADER_FIELDS])
    fields = line.split(separator, wanted[-1] + 1)
    return separator.join((line[:3], *(fields[number] if number < len(fields) else "" for number in wanted)))


def _with_all_marks(header: str) -> str:
    """A header with four marks in MSH-2: who neither escapes nor divides components may leave the last ones out (HL7
    v2.3 §2.7)."""
    given = header[4:9].partition(header[3:4] or "|")[0]
    return f"{header[:4]}{given}{MARKS[len(given) :]}{header[4 + len(given) :]}" if len(given) in (2, 3) else header


def _separators_usable(header: str) -> bool:
    """Whether MSH-1 and MSH-2 are five marks, each another (and HL7 2.7's sixth, for what was cut off)."""
    marks = header[3] + header[4:10].partition(header[3])[0]
    distinct = len(set(marks)) == len(marks)
    return 5 <= len(marks) <= 6 and distinct and not any(mark.isalnum() or mark.isspace() for mark in marks)


def _decoded(body: bytes, habits: Habits) -> str:
    declared = _declared_charset(body)
    if any(word in declared for word in ("UTF-16", "UTF-32", "UNICODE UTF-16", "UNICODE UTF-32")):
        raise fault("MSH", 18, Severity.REJECT, "103", "UTF-16 and UTF-32 cannot go over MLLP")
    charset = _CHARSETS.get(declared)
    if body.startswith(b"\xef\xbb\xbf"):
        body, charset = body[3:], "utf-8"
    if charset is None:
        habits.charsets["unknown"] += 1
        return body.decode("iso8859-15")
    try:
        text = body.decode(charset)
    except UnicodeDecodeError:
        # Accents stand in names, which we drop: one read wrong takes nothing from the meaning.
        habits.charsets["wrong"] += 1
        return body.decode("iso8859-15") if charset == "utf-8" else _guessed(body)
    habits.charsets[charset] += 1
    return text


def _guessed(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body.decode("iso8859-15")


def _declared_charset(body: bytes) -> str:
    """MSH-18 of the first message, read as bytes, for the charset must be known before there is text."""
    begin = body.find(b"MSH")
    if begin < 0 or len(body) < begin + 9:
        return ""
    end = min((at for at in (body.find(mark, begin) for mark in (b"\r", b"\n")) if at >= 0), default=len(body))
    fields = body[begin : min(end, begin + FIELD_LENGTH_MAX)].split(body[begin + 3 : begin + 4])
    if len(fields) < 18:
        return ""
    return fields[17].split(body[begin + 5 : begin + 6])[0].decode("ascii", "replace").strip().upper()


def _lines(text: str, habits: Habits) -> list[str]:
    pairs = text.count("\r\n")
    returns, feeds = text.count("\r") - pairs, text.count("\n") - pairs
    kinds = [name for name, count in (("crlf", pairs), ("cr", returns), ("lf", feeds)) if count]
    # Files end with CRLF after segments that end with CR: the ending between segments is what counts.
    if kinds == ["crlf", "cr"] and pairs <= 1:
        kinds = ["cr"]
    habits.endings[kinds[0] if len(kinds) == 1 else "mixed" if kinds else "none"] += 1
    return [line for line in map(str.strip, text.replace("\n", "\r").split("\r")) if line]
