"""Our validator names what the ROR's profiles ask for and an instance lacks; a library's models hold its structure."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class

from aval.adapters.fhir import resources
from aval.adapters.fhir.profile import ELEMENTS, PROBLEMS_MAX, Severity, problems_of
from aval.adapters.fhir.saner import measure_report
from aval.kernel.disciplines import Discipline
from aval.v1 import availability_pb2, terms_pb2
from tests.adapters.fhir.good import GOOD
from tests.adapters.fhir.units import FINESS, HOUSE, NOW, establishment, unit

Json = dict[str, Any]
RULES = [(kind, rule) for kind, rules in ELEMENTS.items() for rule in dict.fromkeys(rules)]


def chosen(one: Any, name: str, choice: str) -> bool:
    """Whether an element of a good instance is the one that a rule names; not found as profile.py finds it."""
    if name == "extension":
        return str(one["url"]).endswith(f"/{choice}") or one["url"] == choice
    if name == "identifier":
        return bool(one["type"]["coding"][0]["code"] == choice)
    coding = one if name == "tag" else one["coding"][0]
    return f"{choice}-" in coding["system"]


def without(element: Json, path: list[str]) -> bool:
    """Takes away what a path names; whether it was there."""
    name, _, choice = path[0].rstrip("]").partition("[")
    value = element.get(name)
    if value is None:
        return False
    if len(path) > 1:
        below = [
            one for one in (value if isinstance(value, list) else [value]) if not choice or chosen(one, name, choice)
        ]
        return sum(without(one, path[1:]) for one in below) > 0
    if not choice:
        del element[name]
        return True
    kept = [one for one in value if not chosen(one, name, choice)]
    element[name] = kept
    return len(kept) < len(value)


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_instance_has_no_problem(kind: str) -> None:
    assert problems_of(GOOD[kind]()) == []


@pytest.mark.parametrize(("kind", "rule"), RULES, ids=[f"{kind}.{rule}" for kind, rule in RULES])
def test_each_element_taken_away_in_turn_is_named(kind: str, rule: str) -> None:
    instance = GOOD[kind]()
    path = rule.removesuffix("!")
    assert without(instance, path.split(".")), f"the good {kind} has no {path}"
    found = problems_of(instance)
    severity = Severity.ERROR if rule.endswith("!") else Severity.INFORMATION
    last = path.split(".")[-1]
    named = [one for one in found if one.path.endswith(f".{last}") and one.severity is severity]
    assert named, [str(one) for one in found]
    for segment in path.split("."):
        assert segment in named[0].path


@pytest.mark.parametrize("code", ["07", "08", "99", ""])
def test_a_status_that_is_not_exchanged_is_an_error(code: str) -> None:
    instance = GOOD["Location"]()
    status = next(
        part for one in instance["extension"] for part in one.get("extension", []) if part["url"] == "capacityStatus"
    )
    status["valueCodeableConcept"]["coding"][0]["code"] = code
    errors = [str(one) for one in problems_of(instance) if one.severity is Severity.ERROR]
    assert errors
    assert "capacityStatus" in errors[0]


def test_an_indicator_said_twice_is_an_error() -> None:
    instance = GOOD["Location"]()
    instance["extension"].append(deepcopy(instance["extension"][-1]))
    assert any(one.what == "fhir-indicator-twice" for one in problems_of(instance))


@pytest.mark.parametrize("thing", [{}, {"resourceType": 7}, {"resourceType": "Patient"}, {"resourceType": "Bundle"}])
def test_what_is_no_instance_at_all_is_told_and_not_stumbled_over(thing: Json) -> None:
    assert bool(problems_of(thing)) is (thing.get("resourceType") != "Bundle")


def test_a_large_bundle_of_bad_instances_is_bounded() -> None:
    bundle = {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Location"}}] * 500}
    assert len(problems_of(bundle)) == PROBLEMS_MAX


# --- what we emit ----------------------------------------------------------------------------------------------------


def emitted() -> list[Json]:
    """Each kind of resource that we emit, for each discipline, shown exactly, as yes or no, stale, and never heard."""
    house = establishment()
    made = [resources.organization(house, NOW), resources.legal_entity(house.legal_entity, NOW)]
    for number in terms_pb2.Discipline.values():
        one = unit(discipline=number)
        made += [resources.healthcare_service(one), resources.location(one, house, NOW, "54395")]
    masked = unit()
    masked.shown = availability_pb2.SHOWN_YES_OR_NO
    aged = unit()
    aged.ages.min_years = 60
    for one in (masked, unit(age=None), unit(freshness=availability_pb2.FRESHNESS_STALE), aged):
        made += [resources.healthcare_service(one), resources.location(one, None, NOW)]
    made.append(measure_report(house, [unit(), masked], NOW))
    made.append(resources.outcome("not-found", "rien", "Location"))
    made.append(resources.bundle("https://a.example/fhir", made[:4], 4, {"self": "https://a.example/fhir/Location"}))
    made.append(resources.capability_statement("https://a.example/fhir", "1", {"Location": {"_id": "token"}}, NOW))
    return made


@pytest.mark.parametrize("resource", emitted(), ids=lambda one: f"{one['resourceType']}-{one.get('id', '')}")
def test_what_we_emit_has_the_structure_of_fhir(resource: Json) -> None:
    text = json.dumps(resource)
    model = get_fhir_model_class(resource["resourceType"]).model_validate_json(text)
    assert json.loads(model.model_dump_json())["resourceType"] == resource["resourceType"]


@pytest.mark.parametrize("discipline", Discipline)
def test_what_we_emit_lacks_nothing_that_the_profiles_demand(discipline: Discipline) -> None:
    one = unit(discipline=terms_pb2.Discipline.Value(f"DISCIPLINE_{discipline.name}"))
    for resource in (
        resources.organization(establishment(), NOW),
        resources.healthcare_service(one),
        resources.location(one, establishment(), NOW),
    ):
        errors = [str(problem) for problem in problems_of(resource) if problem.severity is Severity.ERROR]
        assert errors == [], resource["resourceType"]


def test_what_is_not_shown_exactly_is_masked_and_never_a_number() -> None:
    masked = unit()
    masked.shown = availability_pb2.SHOWN_YES_OR_NO
    text = json.dumps(resources.location(masked, establishment(), NOW))
    assert "nbCapacity" not in text
    assert "masked" in text
    assert "YES_OR_NO" in text


def test_published_instances_lack_what_came_later(shared_dir: Path) -> None:
    """The published examples are older than the profile: what they lack of it is named, and nothing else."""
    folder = shared_dir / "samples/fhir_ror"
    lacking = {}
    for name in (
        "Location-ror-location-exemple-1",
        "HealthcareService-1234564",
        "Organization-ror-organisation-exemple-eg",
    ):
        found = problems_of(json.loads((folder / f"{name}.json").read_text()))
        lacking[name.partition("-")[0]] = [one.path for one in found if one.severity is Severity.ERROR]
    assert lacking == {
        "Location": [],
        "HealthcareService": ["HealthcareService.characteristic[TRE_R213]"],
        "Organization": [],
    }


# --- SANER -----------------------------------------------------------------------------------------------------------


def populations(report: Json) -> dict[str, int | None]:
    return {one["code"]["coding"][0]["code"]: one.get("count") for one in report["group"][0]["population"]}


def test_a_measure_report_sums_what_is_known() -> None:
    second = unit(f"{HOUSE}/units/R1", discipline=terms_pb2.DISCIPLINE_INTENSIVE_CARE, free={})
    places = unit(f"{HOUSE}/units/H1", discipline=terms_pb2.DISCIPLINE_HAD)
    assert populations(measure_report(establishment(), [unit(), second, places], NOW)) == {
        "numTotBeds": 40,
        "numTotBedsOcc": 30,
        "numTotBedsAvail": 2,
        "numICUBeds": 20,
        "numICUBedsOcc": 15,
        "numICUBedsAvail": 0,
    }


@pytest.mark.parametrize("spoilt", ["masked", "stale", "undeclared", "none"])
def test_a_sum_that_lacks_a_part_is_unknown_and_never_zero(spoilt: str) -> None:
    other = unit(f"{HOUSE}/units/U2")
    if spoilt == "masked":
        other.shown = availability_pb2.SHOWN_YES_OR_NO
    elif spoilt == "stale":
        other.freshness = availability_pb2.FRESHNESS_STALE
    else:
        del other.declared[:]
    report = measure_report(establishment(), [] if spoilt == "none" else [unit(), other], NOW)
    assert set(populations(report).values()) == {None}
    assert '"count"' not in json.dumps(report)
    assert report["group"][0]["population"][0]["_count"]["extension"][0]["valueCode"] in ("masked", "unknown")


def test_a_house_without_a_name_is_reported_by_its_number() -> None:
    """FHIR knows no empty text."""
    assert measure_report(establishment(display_name=""), [unit()], NOW)["subject"]["display"] == FINESS


def test_a_report_is_dated_when_it_was_read() -> None:
    assert measure_report(establishment(), [], NOW + timedelta(0))["date"] == "2026-11-24T09:30:00Z"
