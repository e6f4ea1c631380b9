"""The ROR's form read as a file: what it says of a house's units, and by name all that cannot be told."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aval.adapters.counts.rows import LineProblem, UnitCounts
from aval.adapters.counts.sentences import problem_said
from aval.adapters.counts.telling import resolve
from aval.adapters.fhir import resources
from aval.adapters.fhir.counting import Mapping, load_mapping, read_fhir
from aval.adapters.french import Language
from aval.kernel.declared import DeclaredFault
from aval.kernel.statuses import Gender
from aval.v1 import availability_pb2
from tests.adapters.fhir.units import HOUSE, NOW, establishment, unit

A = availability_pb2
Json = dict[str, Any]


def location(code: str = "U107", age: timedelta = timedelta(minutes=6), **figures: int) -> Json:
    """What our own endpoint serves of a unit."""
    counts = {A.CapacityStatus.Value(f"CAPACITY_STATUS_{name.upper()}"): count for name, count in figures.items()}
    made = unit(f"{HOUSE}/units/{code}", counting=A.COUNTING_PLACES, age=age, figures=counts, horizons=(A.HORIZON_NOW,))
    return resources.location(made, establishment(), NOW)


def file_of(*held: Json, **more: object) -> bytes:
    return json.dumps({"resourceType": "Bundle", "entry": [{"resource": one} for one in held], **more}).encode()


def read(content: bytes, mapping: Mapping | None = None) -> tuple[list[UnitCounts], list[LineProblem]]:
    rows, problems = read_fhir(content, mapping or Mapping(), NOW)
    for problem in problems:
        for language in Language:
            assert problem_said(problem, language)
    return rows, problems


def only_problem(content: bytes, mapping: Mapping | None = None) -> str:
    rows, (problem,) = read(content, mapping)
    assert rows == []
    return problem.what


def test_what_our_endpoint_says_is_read_back() -> None:
    told_at = NOW - timedelta(minutes=6)
    rows, problems = read(
        file_of(location(installed=20, occupied=15, closed=2), location("U108", installed=3, occupied=0))
    )
    assert problems == []
    assert rows == [
        UnitCounts(1, "U107", Gender.ANY, 18, 15, None, told_at, "540000023"),
        UnitCounts(2, "U108", Gender.ANY, 3, 0, None, told_at, "540000023"),
    ]


def test_what_is_told_of_a_house_is_that_houses_unless_somebody_says_that_it_is_ours() -> None:
    content = file_of(location(occupied=1))
    assert [one.house for one in read(content)[0]] == ["540000023"]
    for said in (Mapping(establishment="540000023"), Mapping(units={"1540000023/U107": "LITS-B"})):
        assert [one.house for one in read(content, said)[0]] == [""]
    units = {"U107": A.Unit(name="establishments/540000080/units/U107")}
    assert [one.what for one in resolve(read(content)[0], "540000080", units, "")[1]] == ["other-house"]


def test_a_number_of_the_rors_own_names_a_region_and_no_house() -> None:
    made = location(occupied=1)
    made["identifier"][0]["value"] = "24/1073"
    assert [(one.unit, one.house) for one in read(file_of(made))[0]] == [("1073", "")]
    assert [one.unit for one in read(file_of(made), Mapping(units={"1073": "U107"}))[0]] == ["U107"]
    made["identifier"][0]["value"] = "312345687900034/U107"
    assert [one.house for one in read(file_of(made))[0]] == ["312345687900034"], "a SIRET is somebody’s"


def test_a_resource_on_each_line_is_a_file_too() -> None:
    lines = [json.dumps(one) for one in (location(occupied=1), {"resourceType": "Organization"}, location("U108"))]
    for end in ("\n", "\r\n", "\r\n\r\n"):
        rows, problems = read((end.join([*lines, ""])).encode("utf-8-sig"))
        assert ([row.unit for row in rows], [one.what for one in problems]) == (["U107", "U108"], [])
    _, (problem,) = read("\n".join([*lines, "{oops"]).encode())
    said = "ligne 4 : n’est plus du JSON à partir de l’octet 1".replace(" :", "\u00a0:")
    assert problem_said(problem, place_word="location") == said


def test_every_bad_record_of_a_place_is_named_and_of_a_history_only_what_is_there() -> None:
    made = location(installed=20, occupied=15)
    for extension in made["extension"][-3:-1]:
        next(part for part in extension["extension"] if part["url"] == "nbCapacity")["valueInteger"] = "3"
    content = json.loads(file_of(made, location("U108", occupied=1)))
    content["entry"].insert(0, {"request": {"method": "DELETE", "url": "Location/1"}})
    rows, problems = read(json.dumps(content).encode())
    assert [row.unit for row in rows] == ["U108"]
    assert [(one.line, one.what) for one in problems] == [(1, "fhir-no-integer")] * 2
    said = problem_said(problems[0], place_word="location").replace("\u202f", " ").replace("\u00a0", " ")
    assert said.startswith("Location n° 1, colonne « ror-location-supported-capacity(")
    assert said.endswith(").nbCapacity » : absent, ou pas un entier (valueInteger)")


def of_status(made: Json, status: str) -> Json:
    """The record of a status of now."""
    return next(
        one
        for one in made["extension"]
        if f'"{status}"' in json.dumps([part for part in one.get("extension", ()) if part["url"] == "capacityStatus"])
    )


def part_of(record: Json, url: str) -> Json:
    return next(part for part in record["extension"] if part["url"] == url)


def coded(code: str, url: str) -> Json:
    return {"url": url, "valueCodeableConcept": {"coding": [{"code": code}]}}


def divided(url: str, *parts: tuple[str, int], keep: bool = False, status: str = "03") -> Json:
    """A Location whose status is said by parts, each with a code; beside the whole, or instead of it."""
    made = location(installed=40, closed=2, occupied=15)
    whole = of_status(made, status)
    for code, count in parts:
        one = deepcopy(whole)
        one["extension"] = [part for part in one["extension"] if part["url"] not in (url, "capacityClosingType")]
        one["extension"].append(coded(code, url))
        part_of(one, "nbCapacity")["valueInteger"] = count
        made["extension"].append(one)
    if not keep:
        made["extension"].remove(whole)
    return made


GENDER = "genderCapacityAvailable"


def test_a_status_said_by_gender_is_their_sum_and_beside_the_whole_a_part_of_it() -> None:
    for keep, occupied in ((False, 17), (True, 15)):
        rows, problems = read(file_of(divided(GENDER, ("01", 9), ("02", 8), keep=keep)))
        assert (problems, [row.occupied for row in rows]) == ([], [occupied])


def test_records_of_which_none_is_the_whole_are_refused() -> None:
    """R337 01 is no assignment, 02 and 03 are: which of them make the beds of the place, nobody says."""
    assert only_problem(file_of(divided("temporaryAssignement", ("02", 5), ("03", 4), keep=True))) == "fhir-several"
    assert only_problem(file_of(divided("crisisType", ("01", 5), keep=True))) == "fhir-several"
    made = divided(GENDER, ("01", 9), ("02", 8))
    other = deepcopy(made["extension"][-1])
    part_of(other, GENDER)["url"] = "capacityClosingType"
    made["extension"].append(other)
    assert only_problem(file_of(made)) == "fhir-several"


def test_of_several_codings_the_one_of_the_list_counts() -> None:
    made = location(installed=20, closed=2, occupied=15)
    codings = part_of(of_status(made, "03"), "capacityStatus")["valueCodeableConcept"]["coding"]
    codings.insert(0, {"system": "http://chu.example/statuts", "code": "OCC"})
    assert [row.occupied for row in read(file_of(made))[0]] == [15]


def test_a_place_that_is_closed_for_now_or_no_longer_used_is_not_told() -> None:
    """R4, location-status: suspended is temporarily closed, whatever its records still say."""
    for status in ("inactive", "suspended", "fermé"):
        assert only_problem(file_of({**location(occupied=1), "status": status})) == "fhir-inactive"
    assert len(read(file_of({**location(occupied=1), "status": "active"}))[0]) == 1


def test_what_is_not_in_utf_8_or_a_bare_list_is_named() -> None:
    text = json.dumps({**location(occupied=1), "description": "Médecine"}, ensure_ascii=False)
    assert only_problem(text.encode("utf-16")) == "fhir-encoding"
    assert only_problem(text.encode("iso8859-15")) == "fhir-encoding"
    assert only_problem(f"[{text}]".encode()) == "fhir-list"


def test_one_location_alone_is_a_file_too_and_is_mapped() -> None:
    content = json.dumps(location(occupied=1)).encode()
    rows, _ = read(content, Mapping(units={"U107": "LITS-A"}))
    assert rows[0].unit == "LITS-A"
    rows, _ = read(content, Mapping(units={"1540000023/U107": "LITS-B"}))
    assert rows[0].unit == "LITS-B"


def test_without_closed_places_the_nodes_own_open_ones_stand() -> None:
    made = location(installed=20, occupied=15)
    made["extension"] = [one for one in made["extension"] if "Fermé" not in json.dumps(one, ensure_ascii=False)]
    rows, _ = read(file_of(made))
    assert (rows[0].open, rows[0].occupied) == (None, 15)


def test_a_location_that_does_not_say_occupied_is_unknown_and_not_empty() -> None:
    made = location(installed=20)
    made["extension"] = [one for one in made["extension"] if "Occupé" not in json.dumps(one, ensure_ascii=False)]
    assert only_problem(file_of(made)) == "fhir-no-figures"
    made["extension"] = []
    assert only_problem(file_of(made)) == "fhir-no-figures"


def test_a_record_outside_the_lists_is_a_problem_of_its_location() -> None:
    made = location(occupied=3)
    text = json.dumps(made).replace(
        '"TRE-R330-TypeStatutCapacite", "code": "04"', '"TRE-R330-TypeStatutCapacite", "code": "07"'
    )
    text = text.replace('R330-TypeStatutCapacite", "code": "04"', 'R330-TypeStatutCapacite", "code": "07"')
    assert only_problem(file_of(json.loads(text))) == "fhir-code"


@pytest.mark.parametrize(("age", "what"), [(timedelta(hours=25), "too-old"), (timedelta(minutes=-30), "in-the-future")])
def test_figures_of_another_day_are_not_told_as_todays(age: timedelta, what: str) -> None:
    assert only_problem(file_of(location(age=age, occupied=3))) == what


def test_another_house_an_unnamed_place_and_twins_are_problems() -> None:
    assert only_problem(file_of(location(occupied=1)), Mapping(establishment="540000080")) == "other-house"
    nameless = location(occupied=1)
    del nameless["identifier"]
    nameless["id"] = ""
    assert only_problem(file_of(nameless)) == "unit-absent"
    rows, (problem,) = read(file_of(location(occupied=1), location(occupied=2)))
    assert (len(rows), problem.what, problem.line) == (1, "twice", 2)


def test_a_page_of_several_is_not_the_whole() -> None:
    _, problems = read(file_of(location(occupied=1), link=[{"relation": "next", "url": "https://a.example"}]))
    assert [one.what for one in problems] == ["fhir-page"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<Bundle/>",
        b"[]",
        b"{}",
        b'{"resourceType": "Patient"}',
        b'{"resourceType": "Bundle"}',
        b'{"resourceType": "Bundle", "entry": {}}',
        b'{"resourceType": "Bundle", "entry": [1]}',
        b'{"resourceType": "MeasureReport"}',
        b"[" * 200_000,
        b'{"resourceType": "Location", "id": "\\ud800"}',
        b'\xff\xfe{"resourceType": "Location"}',
    ],
)
def test_what_is_no_file_of_places_is_said(content: bytes) -> None:
    rows, problems = read(content)
    assert rows == []
    assert problems


def test_a_published_location_is_older_than_today(shared_dir: Path) -> None:
    sample = shared_dir / "samples/fhir_ror/Location-ror-location-exemple-1.json"
    assert only_problem(sample.read_bytes()) == "fhir-no-figures"


def test_a_mapping_is_read_whole_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "ror.toml"
    path.write_text('source = "ror"\nestablishment = "540000023"\n[units]\n"HEB1" = "U1"\n')
    assert load_mapping(path) == Mapping("ror", "540000023", {"HEB1": "U1"})
    assert load_mapping(None) == Mapping()
    path.write_text("beds = 3")
    with pytest.raises(DeclaredFault):
        load_mapping(path)
