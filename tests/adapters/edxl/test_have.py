"""EDXL-HAVE 1.0, in and out: against the schema where it is, and against what cannot be trusted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import process_time
from typing import Any

import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st

from aval.adapters.counts.rows import LineProblem, UnitCounts
from aval.adapters.edxl.have import BED_TYPES, KNOWN_BED_TYPES, have
from aval.adapters.edxl.reading import Mapping, load_mapping, read_have
from aval.adapters.edxl.writing import Hospital, write_have
from aval.adapters.markup import BYTES_MAX, DEPTH_MAX, ELEMENTS_MAX, MarkupFault, parse
from aval.kernel.declared import DeclaredFault
from aval.kernel.disciplines import DISCIPLINES, Discipline
from aval.kernel.statuses import Gender
from aval.v1 import availability_pb2, terms_pb2

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
TOLD = "2026-11-24T08:30:00+01:00"
HAVE = 'xmlns:have="urn:oasis:names:tc:emergency:EDXL:HAVE:1.0" xmlns:xnl="urn:oasis:names:tc:ciq:xnl:3"'


def document(
    beds: str, name: str = "Clinique", time: str = f"<have:LastUpdateTime>{TOLD}</have:LastUpdateTime>"
) -> str:
    organisation = f"<xnl:OrganisationName><xnl:NameElement>{name}</xnl:NameElement></xnl:OrganisationName>"
    return (
        f"<have:Hospital><have:Organization><have:OrganizationInformation>{organisation}"
        f"</have:OrganizationInformation></have:Organization>{beds}{time}</have:Hospital>"
    )


def status(*hospitals: str) -> bytes:
    return f"<have:HospitalStatus {HAVE}>{''.join(hospitals)}</have:HospitalStatus>".encode()


def beds(*capacities: str, bed_type: str = "Burn") -> str:
    inside = "".join(f"<have:Capacity>{one}</have:Capacity>" for one in capacities)
    return (
        "<have:HospitalBedCapacityStatus><have:BedCapacity>"
        f"<have:BedType>{bed_type}</have:BedType>{inside}</have:BedCapacity></have:HospitalBedCapacityStatus>"
    )


def count(number: str) -> str:
    return f"<have:AvailableCount>{number}</have:AvailableCount>"


BURN = Mapping(units={"Burn": "U1", "MedicalSurgical": "U2", "RehabLongTermCare/smr-geriatrie": "U3"})


def problems(content: bytes, mapping: Mapping = BURN) -> list[str]:
    rows, found = read_have(content, mapping, NOW)
    assert rows == []
    return [one.what for one in found]


# --- in --------------------------------------------------------------------------------------------------------------


def test_a_count_is_read_with_its_time() -> None:
    rows, found = read_have(status(document(beds(count("3")))), BURN, NOW)
    assert found == []
    assert rows == [UnitCounts(1, "U1", Gender.ANY, None, None, 3, datetime(2026, 11, 24, 7, 30, tzinfo=UTC))]


DE = 'xmlns:de="urn:oasis:names:tc:emergency:EDXL:DE:1.0"'


@pytest.mark.parametrize(
    ("status_word", "type_word", "what"),
    [
        ("Actual", "Report", None),
        ("Actual", "Update", None),
        ("Test", "Report", "have-not-actual"),
        ("Exercise", "Report", "have-not-actual"),
        ("System", "Report", "have-not-actual"),
        ("", "Report", "have-not-actual"),
        ("Actual", "Cancel", "have-not-actual"),
    ],
)
def test_the_figures_of_a_test_or_an_exercise_are_not_told(status_word: str, type_word: str, what: str | None) -> None:
    """EDXL-DE 1.0, distributionStatus: whoever is not of the exercise passes it over."""
    inside = status(document(beds(count("3")))).decode()
    content = (
        f"<de:EDXLDistribution {DE}><de:distributionStatus>{status_word}</de:distributionStatus>"
        f"<de:distributionType>{type_word}</de:distributionType>{inside}</de:EDXLDistribution>"
    )
    rows, found = read_have(content.encode(), BURN, NOW)
    assert ([one.what for one in found], len(rows)) == (([what], 0) if what else ([], 1))


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text.replace("xmlns:have=", "xmlns=").replace("have:", ""),
        lambda text: text.replace("xmlns:have=", "xmlns:h=").replace("have:", "h:"),
        lambda text: text.replace(">3<", "><!-- trois -->\n 3 <!-- lits --><").replace(">Burn<", ">\n  Burn\n<"),
        lambda text: text.replace(">3<", "><![CDATA[3]]><"),
        lambda text: (
            f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{text}</s:Body></s:Envelope>'
        ),
    ],
    ids=["no prefix", "another prefix", "comments and spaces", "CDATA", "SOAP"],
)
def test_the_ways_of_writing_one_document_are_one(written: Callable[[str], str]) -> None:
    rows, found = read_have(written(status(document(beds(count("3")))).decode()).encode(), BURN, NOW)
    assert (found, [(row.unit, row.free) for row in rows]) == ([], [("U1", 3)])


def test_a_sub_category_is_the_unit_that_the_mapping_says() -> None:
    content = beds(count("2"), bed_type="RehabLongTermCare").replace(
        "</have:BedType>", "</have:BedType><have:SubCategoryBedType>smr-geriatrie</have:SubCategoryBedType>"
    )
    rows, _ = read_have(status(document(content)), BURN, NOW)
    assert [(row.unit, row.free) for row in rows] == [("U3", 2)]


def test_what_is_absent_is_unknown_and_never_zero() -> None:
    assert problems(status(document(""))) == ["have-no-figures"]
    assert problems(status(document(beds()))) == ["have-no-figures"]
    said = "<have:CapacityStatus>{}</have:CapacityStatus>"
    assert problems(status(document(beds(said.format("Vacant/Available"))))) == ["have-no-figures"]
    assert problems(status(document(beds(count(""))))) == ["have-no-figures"]
    for word in ("NotAvailable", "Not Available", "notavailable"):
        rows, found = read_have(status(document(beds(said.format(word)))), BURN, NOW)
        assert (found, [row.free for row in rows]) == ([], [0])


@pytest.mark.parametrize("word", ["Normal", "Compromised", "Evacuating", "Closed"])
def test_a_house_that_takes_nobody_in_gives_no_bed_away(word: str) -> None:
    facility = f"<have:FacilityStatus>{word}</have:FacilityStatus>"
    content = f"<have:HospitalFacilityStatus>{facility}</have:HospitalFacilityStatus>{beds(count('3'))}"
    _, found = read_have(status(document(content)), BURN, NOW)
    assert [one.what for one in found] == (["have-shut"] if word in ("Evacuating", "Closed") else [])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (status(), "have-not"),
        (b"<have xmlns='urn:x'/>", "have-not"),
        (b'<HAVE xmlns="urn:oasis:names:tc:emergency:edxl:have:2.0"/>', "have-2"),
        (status(document(beds(count("1")), "A"), document(beds(count("1")), "B")), "have-which"),
        (status(document(beds(count("x")))), "not-a-number"),
        (status(document(beds(count("-1")))), "negative"),
        (status(document(beds(count("9" * 400)))), "absurd"),
        (status(document(beds(count("٣")))), "not-a-number"),
        (status(document(beds(count("1"), bed_type="Nursery"))), "have-unmapped"),
        (status(document(beds("<have:CapacityStatus>Full</have:CapacityStatus>"))), "have-status"),
        (
            status(document(beds("<have:CapacityStatus>NotAvailable</have:CapacityStatus>" + count("2")))),
            "have-contradiction",
        ),
        (status(document(beds(count("1")), time="")), "have-no-time"),
        (
            status(document(beds(count("1")), time="<have:LastUpdateTime>2026-11-24T08:00:00</have:LastUpdateTime>")),
            "have-no-zone",
        ),
        (
            status(document(beds(count("1")), time="<have:LastUpdateTime>hier</have:LastUpdateTime>")),
            "have-no-instant",
        ),
        (
            status(document(beds(count("1")), time="<have:LastUpdateTime>2026-11-21T08:00:00Z</have:LastUpdateTime>")),
            "too-old",
        ),
        (
            status(document(beds(count("1")), time="<have:LastUpdateTime>2026-11-24T10:00:00Z</have:LastUpdateTime>")),
            "in-the-future",
        ),
        (b"bonjour", "xml-not"),
        (b"<a><b></a>", "xml-tags"),
        (b"", "xml-cut"),
        (b"<a>", "xml-cut"),
        (b"<a/><b/>", "xml-after"),
        (b"<a b=1/>", "xml-token"),
        (b"<x:a/>", "xml-prefix"),
        (b'<a b="1" b="2"/>', "xml"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "xml-encoding"),
    ],
)
def test_each_fault_has_its_name(content: bytes, what: str) -> None:
    assert problems(content) == [what]


def test_all_faults_of_a_document_are_told_at_once_with_their_lines() -> None:
    content = status("\n", document(beds("\n" + count("x"), "\n" + count("1"), "\n" + count("-2"), "\n" + count("4"))))
    rows, found = read_have(content, BURN, NOW)
    assert [(one.line, one.column, one.what) for one in found] == [
        (3, "Burn/AvailableCount", "not-a-number"),
        (5, "Burn/AvailableCount", "negative"),
        (5, "Burn", "twice"),
    ]
    assert [row.free for row in rows] == [1]


def test_the_same_unit_twice_on_one_line_is_seen() -> None:
    """Documents without line ends are common."""
    rows, found = read_have(status(document(beds(count("1"), count("4")))), BURN, NOW)
    assert ([row.free for row in rows], [one.what for one in found]) == ([1], ["twice"])


def test_one_hospital_of_several_is_chosen_by_name() -> None:
    content = status(document(beds(count("1")), "A"), document(beds(count("2")), "B"))
    mapping = load_mapping(None)
    assert problems(content, mapping) == ["have-which"]
    for name, free in (("A", 1), ("B", 2)):
        chosen = Mapping(hospital=type(mapping.hospital)(name), units={"Burn": "U1"})
        rows, found = read_have(content, chosen, NOW)
        assert (found, [row.free for row in rows]) == ([], [free])
    assert problems(content, Mapping(hospital=type(mapping.hospital)("C"))) == ["have-hospital"]


@pytest.mark.parametrize("text", ["[units]\nNursery = 'U1'", "[unit]\n", "source = 3", "[units"])
def test_a_mapping_that_cannot_be_meant_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "have.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DeclaredFault, match=r"have\.toml"):
        load_mapping(path)


# --- bombs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b'<!DOCTYPE a [<!ENTITY x "boom">]><a>&x;</a>', "xml-doctype"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "xml-doctype"),
        (b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x">%x;]><a/>', "xml-doctype"),
        (b"<a>" * (DEPTH_MAX + 1), "xml-depth"),
        (b"<a>" + b"<b/>" * ELEMENTS_MAX + b"</a>", "xml-elements"),
        (b" " * (BYTES_MAX + 1), "too-large"),
        (b"<a>&x;</a>", "xml-entity"),
    ],
    ids=["entity", "external", "parameter entity", "depth", "elements", "size", "undeclared entity"],
)
def test_xml_cannot_be_a_bomb(content: bytes, what: str) -> None:
    with pytest.raises(MarkupFault) as raised:
        parse(content)
    assert raised.value.what == what


def test_text_between_many_elements_takes_no_longer_than_beside_them() -> None:
    """Added up piece by piece it took the square: a document within all bounds took a quarter of a minute."""

    def seconds(content: bytes) -> float:
        began = process_time()
        parse(content)
        return process_time() - began

    elements, text = 100_000, b"x" * 30
    beside = b"<a>" + text * elements + b"<b/>" * elements + b"</a>"
    between = b"<a>" + (b"<b/>" + text) * elements + b"</a>"
    # The quickest of three: what else runs on a processor makes any of them slower.
    assert min(seconds(between) for _ in range(3)) < 6 * min(seconds(beside) for _ in range(3))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_tree_or_a_fault(content: bytes) -> None:
    rows, found = read_have(content, BURN, NOW)
    assert rows == []
    assert found


# --- out -------------------------------------------------------------------------------------------------------------


def unit(
    discipline: Discipline = Discipline.SMR_GERIATRIC,
    *,
    available: int = 2,
    tomorrow: int = 3,
    installed: int = 20,
    freshness: availability_pb2.Freshness.ValueType = availability_pb2.FRESHNESS_FRESH,
    shown: availability_pb2.Shown.ValueType = availability_pb2.SHOWN_EXACT,
    age: timedelta | None = timedelta(minutes=4),
) -> availability_pb2.Unit:
    made = availability_pb2.Unit(
        name="establishments/540000023/units/U1",
        display_name="SMR A & B <1>\x01",
        discipline=terms_pb2.Discipline.Value(f"DISCIPLINE_{discipline.name}"),
        shown=shown,
        freshness=freshness,
    )
    if age is not None:
        made.age.FromTimedelta(age)
    horizons = [availability_pb2.HORIZON_NOW, availability_pb2.HORIZON_ONE_DAY]
    for name, now, then in (("AVAILABLE", available, tomorrow), ("INSTALLED", installed, installed)):
        kind = availability_pb2.CapacityStatus.Value(f"CAPACITY_STATUS_{name}")
        made.declared.add(status=kind, horizons=horizons)
        for horizon, figure in zip(horizons, (now, then), strict=True):
            if figure:
                made.counts.add(status=kind, horizon=horizon, count=figure)
    return made


HOUSE = availability_pb2.Establishment(
    name="establishments/540000023", display_name="CH de Toul", latitude=48.67, longitude=5.89
)


def written(*units: availability_pb2.Unit) -> tuple[bytes, Any]:
    content, left_out = write_have([Hospital(HOUSE, units)], NOW)
    assert left_out == []
    found = next(one for one in parse(content).within() if one.tag == have("Hospital"))
    return content, found


def figures(found: Any) -> dict[str, str]:
    capacity = found.first(have("HospitalBedCapacityStatus"), have("BedCapacity"), have("Capacity"))
    return {} if capacity is None else {one.tag.rpartition("}")[2]: one.text for one in capacity.children}


def test_sure_units_of_a_discipline_are_summed() -> None:
    _, found = written(unit(available=2, tomorrow=3), unit(available=1, tomorrow=0))
    assert figures(found) == {
        "CapacityStatus": "Vacant/Available",
        "AvailableCount": "3",
        "BaselineCount": "40",
        "AdditionalCapacityCount24Hr": "0",
    }
    assert found.first(have("LastUpdateTime")).text == "2026-11-24T07:56:00+00:00"


def test_a_stale_unit_is_named_and_never_counted() -> None:
    stale = unit(available=9, freshness=availability_pb2.FRESHNESS_STALE, age=timedelta(hours=30))
    content, found = written(unit(available=0, tomorrow=0), stale)
    assert "CapacityStatus" not in figures(found), "none is said only where all is known"
    assert figures(found)["AvailableCount"] == "0"
    assert "30 h 00 min" in content.decode()
    _, alone = written(stale)
    assert figures(alone) == {}


def test_a_unit_that_shows_yes_or_no_gives_a_status_without_a_count() -> None:
    shy = unit(available=1, tomorrow=1, installed=1, shown=availability_pb2.SHOWN_YES_OR_NO)
    _, found = written(unit(), shy)
    assert figures(found) == {"CapacityStatus": "Vacant/Available"}


def test_without_any_age_a_house_is_left_out_and_named() -> None:
    content, left_out = write_have([Hospital(HOUSE, [unit(age=None)])], NOW)
    assert left_out == ["CH de Toul"]
    assert parse(content).children == []


def test_care_at_home_and_day_care_are_no_beds() -> None:
    _, found = written(unit(Discipline.HAD), unit(Discipline.DAY_CARE))
    assert found.first(have("HospitalBedCapacityStatus")) is None
    assert set(Discipline) - BED_TYPES.keys() == {Discipline.HAD, Discipline.DAY_CARE}
    assert all(DISCIPLINES[one].is_bed for one in BED_TYPES)
    assert set(BED_TYPES.values()) <= KNOWN_BED_TYPES


def test_what_is_written_is_read_again() -> None:
    content, _ = write_have([Hospital(HOUSE, [unit(available=5)])], NOW)
    rows, found = read_have(content, BURN, NOW)
    assert found == []
    assert [(row.unit, row.free, row.told_at) for row in rows] == [("U3", 5, NOW - timedelta(minutes=4))]


# --- against the schema and the samples, where they are --------------------------------------------------------------

_STUBS = {
    "xPIL.xsd": (
        '<xsd:schema xmlns:xsd="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:oasis:names:tc:ciq:xpil:3">'
        '<xsd:complexType name="OrganisationDetailsType"><xsd:sequence>'
        '<xsd:any processContents="lax" minOccurs="0" maxOccurs="unbounded"/></xsd:sequence></xsd:complexType>'
        "</xsd:schema>"
    ),
    "geo-oasis.xsd": (
        '<xsd:schema xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
        'targetNamespace="urn:oasis:names:tc:emergency:EDXL:HAVE:1.0:geo-oasis">'
        '<xsd:complexType name="WhereType"><xsd:sequence>'
        '<xsd:any processContents="lax" minOccurs="0" maxOccurs="unbounded"/></xsd:sequence></xsd:complexType>'
        "</xsd:schema>"
    ),
}
"""The schema imports two others that are not had: these stand in their place and let anything pass."""


@pytest.fixture
def schema(shared_dir: Path, tmp_path: Path) -> xmlschema.XMLSchema:
    source = shared_dir / "samples" / "edxl_have" / "edxl-have-1.0.xsd"
    (tmp_path / "have.xsd").write_bytes(source.read_bytes())
    for name, text in _STUBS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return xmlschema.XMLSchema(tmp_path / "have.xsd")


def test_what_is_written_is_valid_against_the_schema_of_have(schema: xmlschema.XMLSchema) -> None:
    every = [unit(discipline) for discipline in Discipline]
    stale = unit(freshness=availability_pb2.FRESHNESS_STALE)
    shy = unit(Discipline.USLD, shown=availability_pb2.SHOWN_YES_OR_NO)
    content, _ = write_have([Hospital(HOUSE, [*every, stale, shy]), Hospital(HOUSE, [unit(Discipline.HAD)])], NOW)
    assert [str(error) for error in schema.iter_errors(content.decode())] == []
    broken = content.replace(b"<have:BedType>", b"<have:BedType>Not")
    assert not schema.is_valid(broken.decode()), "the stand-ins let through what is the schema's own"


def test_the_samples_are_read(shared_dir: Path) -> None:
    now = datetime(2010, 11, 11, 20, 30, tzinfo=UTC)
    for name in ("EDXL-HAVE1_de-wrapped.xml", "HAVE-EdxlDeRequest.xml"):
        content = (shared_dir / "samples" / "edxl_have" / name).read_bytes()
        assert problems(content) == ["have-not-actual"], "both are of a test"
        content = content.replace(b"distributionStatus>Test<", b"distributionStatus>Actual<")
        first = Mapping(hospital=type(BURN.hospital)("Hospital 1"), units={"Burn": "U1"})
        rows, found = read_have(content, first, now)
        assert (found, [(row.unit, row.free) for row in rows]) == ([], [("U1", 100)])
        second = Mapping(hospital=type(BURN.hospital)("Hospital 2"), units={"Burn": "U1"})
        assert [one.what for one in read_have(content, second, now)[1]] == ["have-no-figures"], "unknown, not zero"
        assert isinstance(read_have(content, BURN, now)[1][0], LineProblem)
