"""Bytes to messages: charsets by MSH-18, endings as they come, batches, and what is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.adapters.hl7v2.acknowledging import accepted, header_of, refused
from aval.adapters.hl7v2.faults import Fault, Severity
from aval.adapters.hl7v2.framing import HEAD_BYTES, Deframer, Overlong, framed
from aval.adapters.hl7v2.meaning import understand
from aval.adapters.hl7v2.reading import Habits, encoded, messages_of, parse
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


@pytest.mark.parametrize("ending", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("broken", ["\r", "\n", "\r\n", "\n\n"])
def test_a_line_break_within_a_field_takes_nothing_from_what_follows_it(ending: str, broken: str) -> None:
    note = f"|R|^une note{broken}de deux{broken}PV1 et trois lignes{broken}|"
    segments = MESSAGE.text().rstrip("\r").split("\r")
    body = ending.join(segment.replace("|R||", note) for segment in segments)
    assert broken in body
    (text,) = messages_of(body.encode())
    assert understand(parse(text), CUSTOMS) == understand(parse(MESSAGE.text()), CUSTOMS)


@pytest.mark.parametrize(
    "habit", [lambda name: name.lower(), lambda name: f"  {name}", lambda name: f"\t{name.title()}"]
)
def test_names_of_segments_may_be_in_small_letters_and_indented(habit: Callable[[str], str]) -> None:
    written = "\r".join(habit(line[:3]) + line[3:] for line in MESSAGE.text().rstrip("\r").split("\r"))
    (text,) = messages_of(written.encode())
    assert understand(parse(text), CUSTOMS) == understand(parse(MESSAGE.text()), CUSTOMS)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_what_is_in_utf_16_is_refused_by_name(encoding: str) -> None:
    """It is no empty file, and no frame without a message."""
    with pytest.raises(Fault) as raised:
        messages_of(MESSAGE.text().encode(encoding))
    assert (raised.value.place, raised.value.severity) == ("MSH-18", Severity.REJECT)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("P\\XC9\\DIATRIE", "PÉDIATRIE"),
        ("P\\XC389\\DIATRIE", "PÉDIATRIE"),
        ("1\\F\\0\\S\\5\\T\\0", "1|0^5&0"),
        ("\\H\\1050\\N\\", "1050"),
        ("10\\Xzz\\50", "1050"),
        ("10\\X0\\50", "1050"),
        ("10\\X1B5B324A\\50", "10[2J50"),
        ("1050\x00\x07", "1050"),
    ],
)
def test_escapes_stand_for_what_they_mean_and_no_code_holds_what_a_terminal_obeys(written: str, read: str) -> None:
    (text,) = messages_of(MESSAGE.text().replace("|1050^101^1|", f"|{written}^101^1|").encode())
    assert parse(text).get("PV1", 3) == read


def test_a_batch_is_opened() -> None:
    other = MESSAGE.again(event="A03", movement="M2")
    batch = f"FHS|^~\\&|GAM\rBHS|^~\\&|GAM\r{MESSAGE.text()}{other.text()}BTS|2\rFTS|1\r"
    assert [understand(parse(text), CUSTOMS).event for text in messages_of(batch.encode())] == ["A01", "A03"]


@pytest.mark.parametrize("declared", ["8859/1", "8859/15", "UNICODE UTF-8", "", "ASCII", "KLINGON"])
def test_a_message_of_a_batch_goes_on_in_its_own_characters(declared: str) -> None:
    message = MESSAGE.again(charset=declared, unit="Néonatologie")
    batch = f"BHS|^~\\&|GAM\r{message.text()}{message.again(event='A03').text()}BTS|2\r"
    for text in messages_of(batch.encode("iso8859-15")):
        (again,) = messages_of(encoded(text))
        assert again == text


def test_the_separators_are_the_messages_own() -> None:
    text = MESSAGE.text().translate(str.maketrans("|^~&", "#$*%"))
    assert understand(parse(text), CUSTOMS) == understand(parse(MESSAGE.text()), CUSTOMS)


@pytest.mark.parametrize("marks", ["^~", "^~\\", "^~\\&#"])
def test_marks_that_are_of_no_use_may_be_left_out_and_one_more_may_stand(marks: str) -> None:
    """HL7 v2.3 §2.7; v2.7 has a fifth, for what was cut off."""
    text = MESSAGE.text().replace("MSH|^~\\&|", f"MSH|{marks}|")
    plain = MESSAGE.text().replace("&1.2.250.1.71&", "").replace("&1.2.250.1.213.1.4.8&", "")
    for written in (text, plain.replace("MSH|^~\\&|", f"MSH|{marks}|")):
        assert understand(parse(written), CUSTOMS) == understand(parse(MESSAGE.text()), CUSTOMS)


def test_what_else_a_sender_adds_is_its_own_affair() -> None:
    text = MESSAGE.text() + "".join(f"OBX|{n}|TX|||note\r" for n in range(2_000))
    assert understand(parse(text), CUSTOMS) == understand(parse(MESSAGE.text()), CUSTOMS)
    with pytest.raises(Fault) as raised:
        parse(MESSAGE.text() + "PV1|2\r" * 2_000)
    assert raised.value.severity is Severity.REJECT


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


@pytest.mark.parametrize("chunk", [1, 7, 100_000])
def test_of_a_frame_that_is_too_long_only_the_beginning_is_kept(chunk: int) -> None:
    deframer = Deframer(bytes_max=10_000)
    long, exact = b"MSH" + bytes(9_998), b"MSH" + bytes(9_997)
    stream = framed(long) + framed(exact) + framed(b"next")
    frames = [frame for n in range(0, len(stream), chunk) for frame in deframer.feed(stream[n : n + chunk])]
    assert frames == [long[:HEAD_BYTES], exact, b"next"]
    assert [isinstance(frame, Overlong) for frame in frames] == [True, False, False]


def test_a_frame_without_end_is_not_kept_for_ever() -> None:
    deframer = Deframer(bytes_max=10_000)
    assert deframer.feed(b"\x0b" + bytes(1 << 20)) == []
    assert deframer.inside
    assert deframer.held <= 10_000


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


def answer_to(text: str) -> str:
    """The answer that a desk would give, as far as reading goes."""
    message = parse(text)
    try:
        heard = understand(message, CUSTOMS)
    except Fault as wrong:
        return refused(header_of(message), [wrong], at(9)).decode()
    return accepted(header_of(message), at(9), heard.passed_over).decode()


PLACELESS = MESSAGE.again(unit="", room="", bed="", movement="", control="ABC-0123456789-01234")


@pytest.mark.parametrize(
    ("version", "kind", "error"),
    [
        ("2.2", "ACK^A01", "ERR|PV1^1^3^101&Required field missing&HL70357"),
        ("2.3", "ACK^A01", "ERR|PV1^1^3^101&Required field missing&HL70357"),
        ("2.3.1", "ACK^A01^ACK", "ERR|PV1^1^3^101&Required field missing&HL70357"),
        ("2.4", "ACK^A01^ACK", "ERR|PV1^1^3^101&Required field missing&HL70357"),
        ("2.5", "ACK^A01^ACK", "ERR||PV1^1^3^1^1|101^Required field missing^HL70357|E||||PV1-3: no unit"),
        ("2.5.1", "ACK^A01^ACK", "ERR||PV1^1^3^1^1|101^Required field missing^HL70357|E||||PV1-3: no unit"),
        ("2.10", "ACK^A01^ACK", "ERR||PV1^1^3^1^1|101^Required field missing^HL70357|E||||PV1-3: no unit"),
    ],
)
def test_an_answer_is_of_the_version_of_its_message(version: str, kind: str, error: str) -> None:
    """HL7 v2.3 §2.24, v2.4 §2.16.5 (ERR-1 alone), v2.5 §2.15.5 (ERR-2, ERR-3, ERR-4, ERR-8)."""
    header, acknowledged, *errors = answer_to(PLACELESS.again(version=version).text()).rstrip("\r").split("\r")
    fields = header.split("|")
    assert (fields[8], fields[11]) == (kind, version)
    assert fields[9] == PLACELESS.control  # of twenty characters at most, as all versions allow
    assert acknowledged.startswith(f"MSA|AE|{PLACELESS.control}")
    assert ("no unit" in acknowledged) is errors[0].startswith("ERR|PV1")
    assert len(errors) == 1
    assert errors[0].startswith(error)


def test_an_answer_goes_back_to_whom_it_came_from_whole() -> None:
    """HL7 v2.5 §2.15.9.3 (HD: a namespace, an OID, or both); PAM.FR §6.1 (MSH-12 names the extension)."""
    text = MESSAGE.text().replace("|GAM|CHU|AVAL|AVAL|", "|GAM^1.2.250.1.99^ISO|^1.2.250.1.71^ISO|AVAL|AVAL|")
    fields = answer_to(text).split("\r")[0].split("|")
    assert fields[4:6] == ["GAM^1.2.250.1.99^ISO", "^1.2.250.1.71^ISO"]
    assert fields[11] == "2.5^FRA^2.11"


@pytest.mark.parametrize(
    ("accept", "application", "good", "bad"),
    [
        ("", "", "AA", "AE"),
        ("AL", "NE", "CA", "CE"),
        ("AL", "", "CA", "CE"),
        ("NE", "AL", "AA", "AE"),
        ("AL", "AL", "AA", "AE"),
        ("AL", "ER", "CA", "AE"),
        ("ER", "NE", "AA", "CE"),
        ("SU", "NE", "CA", "AE"),
        ("NE", "NE", "AA", "AE"),
        ("0", "0", "AA", "AE"),
    ],
)
def test_the_accept_acknowledgement_alone_is_given_to_who_asks_for_it(
    accept: str, application: str, good: str, bad: str
) -> None:
    """HL7 v2.5 §2.9.3 and table 0155."""
    for message, code in ((MESSAGE, good), (PLACELESS, bad)):
        asking = message.text().replace("|||||FRA|", f"|||{accept}|{application}|FRA|", 1)
        assert f"\rMSA|{code}|" in answer_to(asking)


def test_what_was_passed_over_is_a_warning_and_one_that_old_versions_do_not_know() -> None:
    """HL7 v2.5 table 0516: W, the transaction succeeded."""
    text = MESSAGE.again(departure=at(15, day=25)).text().replace("20261125160000+0100", "00000000")
    answer = answer_to(text)
    assert "MSA|AA|" in answer
    assert "ERR||PV2^1^9^1^1|102^Data type error^HL70357|W|" in answer
    assert "ERR" not in answer_to(text.replace("|2.5^FRA^2.11|", "|2.4^FRA^2.4|"))
