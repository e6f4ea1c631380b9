"""What messages say, and what is wrong with those that say it badly; no identity comes through."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from aval.adapters.hl7v2.faults import Fault, Severity
from aval.adapters.hl7v2.mapping import mapping_of
from aval.adapters.hl7v2.meaning import NULL, Place, understand
from aval.adapters.hl7v2.reading import parse
from aval.adapters.hl7v2.stays import Phase, presence
from aval.kernel.statuses import Gender
from tests.adapters.hl7v2.messages import CANARIES, CUSTOMS, KEY, Adt, at

MESSAGE = Adt("A01", "V1", at(8), "M1", room="101", bed="1", departure=at(15, day=25))


def test_a_message_says_a_place_a_gender_and_times_and_no_identity() -> None:
    (said,) = understand(parse(MESSAGE.text()), CUSTOMS).said
    assert said.place == Place("1050", "101", "1")
    assert said.gender is Gender.FEMALE
    assert (said.time, said.departure) == (at(8), at(15, day=25))
    stored = msgspec.json.encode(said).decode()
    for canary in (*CANARIES, "V1", "NDAV1", "IPPV1", "M1"):
        assert canary not in stored.replace("v-", "").replace(said.visit, "").replace(said.movements[0], ""), canary


def test_the_same_visit_has_the_same_hash_and_another_house_another() -> None:
    first, again = (understand(parse(MESSAGE.again(event=event).text()), CUSTOMS).said[0] for event in ("A01", "A03"))
    assert first.visit == again.visit
    elsewhere = replace(CUSTOMS, key=KEY[::-1])
    assert understand(parse(MESSAGE.text()), elsewhere).said[0].visit != first.visit
    authority = MESSAGE.text().replace("V1^^^CHU^VN", "V1^^^CLINIQUE^VN")
    assert understand(parse(authority), CUSTOMS).said[0].visit != first.visit


@pytest.mark.parametrize(
    ("old", "new", "place", "severity"),
    [
        ("ADT^A01^ADT_A01", "ORU^R01", "MSH-9", Severity.REJECT),
        ("ADT^A01^ADT_A01", "ADT", "MSH-9.2", Severity.ERROR),
        ("|P|2.5^FRA", "|T|2.5^FRA", "MSH-11", Severity.REJECT),
        ("|P|2.5^FRA", "|P|3.0^FRA", "MSH-12", Severity.REJECT),
        ("V1^^^CHU^VN", "", "PV1-19", Severity.ERROR),
        ("PV1||I|1050^101^1", "PV1||I|", "PV1-3", Severity.ERROR),
        ("||INSERT|N", "||MOVE|N", "ZBE-4", Severity.ERROR),
        ("|20261123090000+0100||INSERT", "|23 novembre||INSERT", "ZBE-2", Severity.ERROR),
        ("|20261123090000+0100||INSERT", "|20261323090000||INSERT", "ZBE-2", Severity.ERROR),
        ("ZBE|", "ZZZ|", "ZBE", Severity.ERROR),
    ],
)
def test_each_fault_names_its_field(old: str, new: str, place: str, severity: Severity) -> None:
    text = MESSAGE.text()
    assert old in text
    text = text.replace(old, new)
    if place == "PV1-19":
        text = text.replace("NDAV1^^^CHU^AN", "")
    with pytest.raises(Fault) as raised:
        understand(parse(text), CUSTOMS)
    assert (raised.value.place, raised.value.severity) == (place, severity)
    assert not any(canary in str(raised.value) for canary in CANARIES)


@pytest.mark.parametrize(
    ("action", "original", "place"),
    [
        ("INSERT", "A02", "ZBE-4"),
        ("UPDATE", "A12", "ZBE-6"),
        ("UPDATE", "A23", "ZBE-6"),
        ("UPDATE", "A42", "ZBE-6"),
    ],
)
def test_a_correction_corrects_and_says_what(action: str, original: str, place: str) -> None:
    with pytest.raises(Fault) as raised:
        understand(parse(MESSAGE.again(event="Z99", action=action, original=original).text()), CUSTOMS)
    assert raised.value.place == place


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("202611230900", datetime(2026, 11, 23, 8, tzinfo=UTC)),
        ("20260723090000", datetime(2026, 7, 23, 7, tzinfo=UTC)),
        ("20261123090000.1234-0500", datetime(2026, 11, 23, 14, 0, 0, 123_400, tzinfo=UTC)),
        ("20261123", datetime(2026, 11, 23, 8, tzinfo=UTC)),  # the hour is that of EVN-6, on the same day
        ("20261122", datetime(2026, 11, 21, 23, tzinfo=UTC)),
    ],
)
def test_times_are_the_houses_own_unless_they_say_otherwise(written: str, instant: datetime) -> None:
    text = MESSAGE.text().replace("|20261123090000+0100||INSERT", f"|{written}||INSERT")
    assert understand(parse(text), CUSTOMS).said[0].time == instant


def test_a_departure_told_by_its_day_is_at_noon() -> None:
    text = MESSAGE.text().replace("20261125160000+0100", "20261125")
    assert understand(parse(text), CUSTOMS).said[0].departure == datetime(2026, 11, 25, 11, tzinfo=UTC)


def test_a_reservation_is_taken_only_from_the_declared_field_and_only_if_it_looks_like_one() -> None:
    declared = replace(CUSTOMS, reservation=("PV2", 12))
    for text, found in (("K7-3F9", "K7-3F9"), ("QUETZAL Béatrix", ""), ("", "")):
        message = parse(MESSAGE.again(reference=text).text())
        assert understand(message, declared).said[0].reservation == found
        assert understand(message, CUSTOMS).said[0].reservation == ""


@pytest.mark.parametrize(
    ("place", "field", "found"),
    [
        ("", ("ZBE", 7, 10), Place("1050")),
        ("^101^1^1120", ("PV1", 3, 4), Place("1120", "101", "1", "1120")),
        ("^101^1", ("PV1", 3, 4), Place("1050", "101", "1")),
    ],
)
def test_wards_stand_in_for_a_missing_unit_only_where_the_site_says_so(
    place: str, field: tuple[str, int, int], found: Place
) -> None:
    text = MESSAGE.text().replace("PV1||I|1050^101^1", f"PV1||I|{place}")
    declared = replace(CUSTOMS, ward_fields=(field, ("ZBE", 7, 10)))
    assert understand(parse(text), declared).said[0].place == found
    with pytest.raises(Fault):
        understand(parse(text), CUSTOMS)


def test_a_site_says_which_classes_of_its_own_take_no_bed() -> None:
    """HL7 table 0004 is the user's; a class that nobody declared is in a bed."""
    message = parse(MESSAGE.again(patient_class="hdj").text())
    declared = replace(CUSTOMS, outpatient_classes=frozenset({"HDJ"}))
    assert presence(understand(message, declared).said).phase is Phase.OUTPATIENT
    assert presence(understand(message, CUSTOMS).said).phase is Phase.PRESENT


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"unit": [{"codes": ["1"], "unit": "U 1"}]}, "identifier.*U 1"),
        ({"unit": [{"codes": ["1", "1"], "unit": "U1"}]}, "code"),
        ({"unit": [{"codes": ["1"], "unit": "U1", "colour": "red"}]}, "colour"),
        ({"unit": [{"codes": ["1"], "unit": "U1", "beds": {"1^2": "a b"}}]}, "beds.1"),
        ({"ignored": ["1"], "unit": [{"codes": ["1"], "unit": "U1"}]}, "ignored"),
        ({"unit": [{"facility": "B", "codes": ["1"], "unit": unit} for unit in ("U1", "U2")]}, "code"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(table: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        mapping_of(table)


def test_what_a_mapping_says_of_a_facility_goes_before_what_it_says_of_any() -> None:
    codes = mapping_of(
        {
            "ignored": ["9*"],
            "unit": [
                {"codes": ["1050", "2*"], "unit": "U1"},
                {"facility": "B", "codes": ["10*", "9001"], "unit": "U2", "beds": {"^1": "B1"}},
                {"facility": "C", "codes": ["1050"], "unit": "U3"},
            ],
        }
    )
    found = {
        facility: row.unit for facility in ("", "A", "B", "C") if (row := codes.row(Place("1050", facility=facility)))
    }
    assert found == {"": "U1", "A": "U1", "B": "U2", "C": "U3"}
    assert codes.bed_of(Place("1050", "", "1", "B")) == ("B1", False)
    assert codes.bed_of(Place("1050", "", "1")) == ("", False)
    assert [codes.ignores(Place("9001", facility=facility)) for facility in ("", "A", "B")] == [True, True, False]
    assert codes.unmapped(Place("1060", facility="C"))
    assert codes.row(Place("2000", facility="C")) is not None
    assert codes.codes == ("1050", "2*", "10*", "9001")


def test_a_facility_known_by_its_universal_identifier_alone_is_one() -> None:
    """PV1-3.4 is HD (HL7 §2.A.53): a name, or an identifier and its kind."""
    for written, facility in (("CHU&540000023&M", "CHU"), ("&540000023&M", "540000023"), ('""', "")):
        text = MESSAGE.text().replace("1050^101^1", f"1050^101^1^{written}")
        place = understand(parse(text), CUSTOMS).said[0].place
        assert place is not None
        assert place.facility == facility


def test_a_mapping_gives_units_and_beds() -> None:
    codes = mapping_of(
        {
            "unknown_beds": ["ZGEN"],
            "ignored": ["9*"],
            "unit": [
                {"codes": ["10*"], "unit": "U1", "bed": "{room}{bed}", "beds": {"101^P": "101A"}},
                {"codes": ["1050"], "unit": "U2"},
            ],
        }
    )
    row = codes.row(Place("1051"))
    assert row is not None
    assert row.unit == "U1"
    exact = codes.row(Place("1050"))
    assert exact is not None
    assert exact.unit == "U2"
    assert codes.bed_of(Place("1051", "101", "P")) == ("101A", False)
    assert codes.bed_of(Place("1051", "102", "2")) == ("1022", False)
    assert codes.bed_of(Place("1051", "ZGEN", "ZGEN")) == ("", False)
    assert codes.bed_of(Place("1050", "101", "P")) == ("", False)
    assert codes.bed_of(Place("1051", "", "2")) == ("", True)  # the rule asks for a room
    assert codes.bed_of(Place("1051", "102", NULL)) == ("", False)
    assert codes.ignores(Place("9001"))
    assert codes.unmapped(Place("2000"))
    assert not codes.unmapped(Place("9001"))
