"""HL7 v2 messages with faults, drawn by who knows the format; and the way of a frame through the adapter, without disk.

A refused input must say nothing: what was understood is folded into stays, what was refused changes none.
"""

from __future__ import annotations

import re
from datetime import timedelta
from random import Random

from aval.adapters.hl7v2 import acknowledging, faults, framing, mapping, meaning, reading, stays, telling
from aval.adapters.hl7v2.events import EVENTS
from tests.adapters.hl7v2.days import MAPPING
from tests.adapters.hl7v2.messages import CUSTOMS, Adt, at, of_several
from tests.fuzz.campaign import Parser

EVENT_CODES = sorted(EVENTS)
SEVERAL = ("A17", "A42", "A45", "A50")
"""Events whose messages may be of several patients."""
GARBAGE = (
    "", '""', "^", "~", "&", "\\", "\\F\\", "\\X41\\", "\\Xzz\\", "\\.br\\", "~~~~", "^^^^^^^^", "0", "-1", "9" * 40,
    "é" * 30,
    "\u0000", "1050~1120", "1050&x^101&y^1", "99999999999999", "20261301", "20261123256099", "20261123+9999", "ZGEN",
    "A" * 5000, "^".join("abc"), "I&J", "\\E\\\\S\\", "\ud7ff", "''; DROP TABLE visit", "%s%n", "𐍈",
)  # fmt: skip

_codes = mapping.mapping_of(MAPPING)
_teller = telling.Teller("establishments/540000023", "gam")


def structured(random: Random) -> bytes:
    """One frame with one to three faults."""
    event = random.choice(EVENT_CODES)
    message = Adt(
        event,
        f"V{random.randrange(40)}",
        at(5) + timedelta(minutes=random.randrange(900)),
        random.choice(("", f"M{random.randrange(60)}")),
        unit=random.choice(("1050", "1120", "2200", "9999", "")),
        room=random.choice(("101", "")),
        bed=random.choice(("1", "2", "ZGEN", "")),
        patient_class=random.choice("IIIIOERN"),
        original=random.choice(("", "A01", "A02", "A03")) if event == "Z99" else "",
        version=random.choice(("2.5^FRA^2.11", "2.5", "2.3", "2.5.1")),
        departure=random.choice((None, at(12, day=25))),
        absorbed=f"V{random.randrange(40)}" if event in ("A40", *SEVERAL) else "",
        charset=random.choice(("UNICODE UTF-8", "8859/1", "8859/15", "")),
    )
    patients = [message.again(visit=f"V{random.randrange(40)}") for _ in range(random.choice((0, 1, 1, 2)))]
    whole = of_several(message, *patients if event in SEVERAL else ())
    segments = whole.rstrip("\r").split("\r")
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        _spoil(random, segments)
    text = random.choice(("\r", "\r", "\r", "\n", "\r\n")).join(segments) + "\r"
    if random.random() < 0.05:
        text = f"FHS|^~\\&\rBHS|^~\\&\r{text}{text}BTS|2\rFTS|1\r"
    return framing.framed(text.encode(random.choice(("utf-8", "utf-8", "iso8859-15")), "replace"))


def _spoil(random: Random, segments: list[str]) -> None:
    """One fault."""
    at_segment = random.randrange(len(segments))
    fields = segments[at_segment].split("|")
    draw = random.random()
    if draw < 0.6:
        at_field = random.randrange(len(fields))
        fields[at_field] = random.choice(GARBAGE)
        segments[at_segment] = "|".join(fields)
    elif draw < 0.7 and at_segment:
        del segments[at_segment]
    elif draw < 0.8:
        segments.insert(random.randrange(1, len(segments) + 1), segments[at_segment])
    elif draw < 0.9:
        segments.insert(random.randrange(1, len(segments) + 1), random.choice(("ZZZ|1|2", "PV1", "OBX|1|TX||x", "|")))
    else:
        segments[at_segment] = segments[at_segment] + "|" * random.randrange(200)


_logs: dict[str, tuple[meaning.Said, ...]] = {}
LOGS_MAX = 200
"""Stays kept between inputs: enough that words meet, few enough that a run does not slow down."""


def feed(content: bytes) -> bool:
    """A frame's way: cut, read, understood, folded, told, answered."""
    understood = False
    frames = framing.Deframer().feed(content)
    for frame in frames or [content]:
        try:
            texts = reading.messages_of(frame)
        except faults.Fault as fault:
            acknowledging.refused(acknowledging.Header(), (fault,), at(12))
            continue
        for text in texts[:20]:
            understood |= _one(text)
    return understood


def _one(text: str) -> bool:
    header = acknowledging.Header()
    before = len(_logs)
    try:
        message = reading.parse(text)
        header = acknowledging.header_of(message)
        if meaning.is_acknowledgement(message):
            return False
        heard = meaning.understand(message, CUSTOMS)
    except faults.Fault as fault:
        answer = acknowledging.refused(header, (fault,), at(12))
        assert re.search(rb"\rMSA\|[AC][ER]\|", answer)
        assert len(_logs) == before
        return False
    for word in heard.said:
        if len(_logs) > LOGS_MAX:
            _logs.clear()
        log = _logs[word.visit] = stays.added(_logs.get(word.visit, ()), word)[-30:]
        desired = _codes.standing(stays.presence(log))
        steps, _ = _teller.tell(word.visit, (), desired, word.time, 1)
        again, nothing = _teller.tell(word.visit, steps, desired, word.time, 9)
        assert (again, nothing) == (steps, [])
    assert re.search(rb"\rMSA\|[AC]A\|", acknowledging.accepted(header, at(12), heard.passed_over))
    return bool(heard.said)


PARSER = Parser("hl7v2", structured, feed, (framing, reading, meaning, stays, acknowledging, mapping, telling))
