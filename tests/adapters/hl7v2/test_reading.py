"""Bytes to messages: charsets by MSH-18, endings as they come, batches, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.adapters.hl7v2.acknowledging import accepted, header_of, refused
from aval.adapters.hl7v2.faults import Fault, Severity
from aval.adapters.hl7v2.framing import Deframer, FrameTooLong, framed
from aval.adapters.hl7v2.meaning import understand
from aval.adapters.hl7v2.reading import Habits, messages_of, parse
from tests.adapters.hl7v2.messages import CANARIES, CANARY_FIRST_NAME, CUSTOMS, Adt, at

MESSAGE = Adt("A01", "V1", at(8), "M1", room="101", bed="1")


@pytest.mark.parametrize(
    ("declared", "encoding", "counted"),
    [
        ("UNICODE UTF-8", "utf-8", "utf-8"),
        ("8859/1", "iso8859-1", "iso8859-1"),
        ("8859/15", "iso8859-15", "iso8859-15"),
        ("8859/1~UNICODE UTF-8", "iso8859-1", "iso8859-1"),
        ("", "iso8859-1", "wrong"),
        ("ASCII", "utf-8", "wrong"),
        ("UNICODE UTF-8", "iso8859-1", "wrong"),
        ("WINDOWS 1252", "iso8859-1", "unknown"),
    ],
)
def test_characters_are_those_of_msh_18_or_the_nearest_that_can_be(declared: str, encoding: str, counted: str) -> None:
    habits = Habits()
    body = MESSAGE.again(charset=declared, unit="Néonatologie").text().encode(encoding)
    (text,) = messages_of(body, habits)
    assert parse(text).get("PV1", 3) == "Néonatologie"
    assert habits.charsets == {counted: 1}


def test_names_are_not_even_parsed() -> None:
    (text,) = messages_of(MESSAGE.frame())
    message = parse(text)
    held = "".join(part for n in range(40) for c in range(1, 9) for part in message.each("PID", n, c))
    assert "NDAV1" in held
    assert not any(canary in held for canary in (*CANARIES, "IPPV1"))


def test_utf_16_is_refused_by_name() -> None:
    with pytest.raises(Fault) as raised:
        messages_of(MESSAGE.again(charset="UNICODE UTF-16").frame())
    assert raised.value.place == "MSH-18"


@pytest.mark.parametrize(
    ("ending", "last", "counted"),
    [("\r", "\r", "cr"), ("\n", "\n", "lf"), ("\r\n", "\r\n", "crlf"), ("\r", "\r\n", "cr"), ("\r", "", "cr")],
)
def test_line_endings_are_taken_as_they_come_and_counted(ending: str, last: str, counted: str) -> None:
    habits = Habits()
    body = (ending.join(MESSAGE.text().rstrip("\r").split("\r")) + last).encode()
    (text,) = messages_of(body, habits)
    assert understand(parse(text), CUSTOMS) == understand(parse(MESSAGE.text()), CUSTOMS)
    assert habits.endings == {counted: 1}


def test_a_batch_is_opened() -> None:
    other = MESSAGE.again(event="A03", movement="M2")
    batch = f"FHS|^~\\&|GAM\rBHS|^~\\&|GAM\r{MESSAGE.text()}{other.text()}BTS|2\rFTS|1\r"
    assert [understand(parse(text), CUSTOMS).event for text in messages_of(batch.encode())] == ["A01", "A03"]


def test_the_separators_are_the_messages_own() -> None:
    text = MESSAGE.text().translate(str.maketrans("|^~&", "#$*%"))
    assert understand(parse(text), CUSTOMS) == understand(parse(MESSAGE.text()), CUSTOMS)


@pytest.mark.parametrize(
    "text", ["MSH", "MSH|^~\\~&|A", "MSH|^\\~\\&|A", "MSH|", "MSH||||||", "MSH|^^^^|x", "MSHaaaaaaaa", "QQQ|^~\\&|A"]
)
def test_what_has_no_header_is_refused(text: str) -> None:
    with pytest.raises(Fault) as raised:
        parse(text)
    assert raised.value.severity is Severity.REJECT


@given(st.lists(st.binary(max_size=60).map(lambda b: b.translate(None, b"\x0b\x1c")), max_size=6), st.integers(1, 9))
def test_frames_come_whole_however_their_bytes_arrive(bodies: list[bytes], chunk: int) -> None:
    stream = b"".join(b"\r\n" + framed(body) for body in bodies)
    deframer = Deframer()
    found = [frame for n in range(0, len(stream), chunk) for frame in deframer.feed(stream[n : n + chunk])]
    assert found == bodies
    assert not deframer.inside
    assert not deframer.skipped


def test_what_stands_outside_a_frame_is_skipped_and_counted() -> None:
    deframer = Deframer()
    assert deframer.feed(b"GET / HTTP/1.1\r\n\x0bcut off\x0bwhole\x1c\rtail") == [b"whole"]
    assert deframer.skipped == len(b"GET / HTTP/1.1") + len(b"cut off") + len(b"tail")


def test_a_frame_without_end_is_not_kept_for_ever() -> None:
    deframer = Deframer(bytes_max=100)
    with pytest.raises(FrameTooLong):
        deframer.feed(b"\x0b" + bytes(101))


def test_the_answer_names_the_field_and_quotes_nothing() -> None:
    message = parse(MESSAGE.again(control="C|1", visit="").text())
    header = header_of(message)
    with pytest.raises(Fault) as raised:
        understand(parse(MESSAGE.text().replace("PV1||I|1050", "PV1||I|")), CUSTOMS)
    answer = refused(header, [raised.value], at(9)).decode()
    assert "MSA|AE|" in answer
    assert "ERR||PV1^1^3^1^1|101^Required field missing^HL70357|E" in answer
    assert answer.startswith("MSH|^~\\&|AVAL|AVAL|GAM|CHU|")
    assert b"MSA|AA|" in accepted(header, at(9))
    assert CANARY_FIRST_NAME not in answer
