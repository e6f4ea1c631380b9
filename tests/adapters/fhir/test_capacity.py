"""Records of capacity: what is declared and no more, absent is not zero, status 07 never."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.adapters.fhir.capacity import (
    Capacity,
    Indicator,
    RecordUnreadable,
    capacities_of,
    capacity_of,
    extension_of,
    path_of,
)
from aval.adapters.fhir.codes import Nature
from aval.adapters.fhir.reading import location_of
from aval.kernel.statuses import ClosureKind, Gender, Horizon, Status, SupplementaryKind
from aval.v1 import availability_pb2
from tests.adapters.fhir.units import NOW, UNIT, unit

A = availability_pb2


def counts(of: A.Unit) -> dict[str, int]:
    return {one.indicator.key: one.count for one in capacities_of(of, NOW)}


INDICATORS = st.builds(
    Indicator,
    st.sampled_from(Status),
    st.sampled_from(Horizon),
    st.none() | st.sampled_from(Gender),
    st.none() | st.sampled_from(ClosureKind),
    st.none() | st.sampled_from(SupplementaryKind),
    st.sampled_from(["", "01", "02"]),
    st.sampled_from(["01", "02", "03"]),
)


@given(INDICATORS, st.sampled_from(Nature), st.integers(0, 99_999), st.sampled_from(["01", "02", "03", "04"]))
def test_a_record_is_read_back_as_it_was_written(indicator: Indicator, nature: Nature, count: int, source: str) -> None:
    capacity = Capacity(indicator, nature, count, NOW, source)
    assert capacity_of(extension_of(capacity)) == capacity
    assert Indicator.of_key(indicator.key) == indicator


def test_each_declared_figure_is_a_record_and_what_is_declared_and_absent_is_zero() -> None:
    found = counts(unit(horizons=(A.HORIZON_NOW,)))
    assert found == {
        "01/01/-/-/-/-/01": 20,
        "02/01/01/-/-/-/01": 1,
        "02/01/02/-/-/-/01": 0,
        "02/01/03/-/-/-/01": 1,
        "03/01/-/-/-/-/01": 15,
        "04/01/-/-/-/-/01": 1,
        "05/01/-/01/-/-/01": 0,
        "05/01/-/02/-/-/01": 0,
        "05/01/-/03/-/-/01": 2,
        "06/01/-/-/-/-/01": 0,
    }


def test_what_is_not_declared_has_no_record_at_all() -> None:
    made = unit(horizons=(A.HORIZON_NOW,))
    del made.declared[:]
    made.declared.add(status=A.CAPACITY_STATUS_OCCUPIED, horizons=[A.HORIZON_NOW])
    assert counts(made) == {"03/01/-/-/-/-/01": 15}


@pytest.mark.parametrize("shown", [A.SHOWN_YES_OR_NO, A.SHOWN_NOTHING, A.SHOWN_UNSPECIFIED])
def test_figures_not_shown_exactly_make_no_record(shown: A.Shown.ValueType) -> None:
    made = unit()
    made.shown = shown
    assert capacities_of(made, NOW) == []


def test_a_source_never_heard_makes_no_record() -> None:
    assert capacities_of(unit(age=None), NOW) == []


def test_a_record_bears_the_date_of_its_sources_last_proof_of_life_and_its_kind() -> None:
    record = capacities_of(unit(age=timedelta(minutes=6)), NOW)[0]
    assert record.update_time == NOW - timedelta(minutes=6)
    assert (record.source, record.nature) == ("02", Nature.BED)
    assert capacities_of(unit(counting=A.COUNTING_PLACES), NOW)[0].nature is Nature.PLACE


def test_the_word_that_stands_is_the_first_source_that_is_not_stale() -> None:
    made = unit(age=timedelta(hours=3))
    typed = made.sources.add(id="equipe", kind=A.SOURCE_KIND_PERSON)
    typed.age.FromTimedelta(timedelta(hours=1))
    typed.stale_min.FromTimedelta(timedelta(hours=24))
    record = capacities_of(made, NOW)[0]
    assert (record.source, record.update_time) == ("01", NOW - timedelta(hours=1))


def test_closed_beds_are_told_by_kind_as_far_as_closures_are_known() -> None:
    made = unit(horizons=(A.HORIZON_NOW, A.HORIZON_SEVEN_DAYS))
    works = made.closures.add(id="1", beds=[f"{UNIT}/beds/1"], kind=A.CLOSURE_KIND_REOPENABLE)
    works.interval.start.FromDatetime(NOW - timedelta(days=1))
    works.interval.end.FromDatetime(NOW + timedelta(days=1))
    found = counts(made)
    assert (found["05/01/-/01/-/-/01"], found["05/01/-/02/-/-/01"], found["05/01/-/03/-/-/01"]) == (1, 0, 1)
    assert (found["05/05/-/01/-/-/01"], found["05/05/-/03/-/-/01"]) == (0, 2)


@given(st.sampled_from(A.CapacityStatus.values()), st.integers(-5, 2_000))
def test_status_07_is_never_said(status: A.CapacityStatus.ValueType, count: int) -> None:
    made = unit(figures={status: count} if status else {})
    text = json.dumps([extension_of(one) for one in capacities_of(made, NOW)])
    assert "Opérationnel" not in text
    codes = re.findall(r'TRE-R330-TypeStatutCapacite", "code": "(\d\d)"', text)
    assert codes
    assert set(codes) <= {"01", "02", "03", "04", "05", "06"}


def test_the_path_of_an_indicator_is_the_guides() -> None:
    indicator = Indicator(Status.AVAILABLE, Horizon.NOW, Gender.ANY)
    assert path_of(indicator) == (
        "Location.extension.where(url='https://interop.esante.gouv.fr/ig/fhir/ror/StructureDefinition/"
        "ror-location-supported-capacity').where(extension.where(url = 'capacityStatus' and "
        "valueCodeableConcept.coding.code = '02') and extension.where(url = 'temporalityCapacity' and "
        "valueCodeableConcept.coding.code = '01') and extension.where(url = 'genderCapacityAvailable' and "
        "valueCodeableConcept.coding.code = '03') and extension.where(url = 'temporaryAssignement' and "
        "valueCodeableConcept.coding.code = '01'))"
    )


@pytest.mark.parametrize(
    ("url", "value", "named"),
    [
        ("capacityStatus", {"valueCodeableConcept": {"coding": [{"code": "07"}]}}, "capacityStatus"),
        ("nbCapacity", {"valueInteger": -1}, "nbCapacity"),
        ("nbCapacity", {"valueInteger": True}, "nbCapacity"),
        ("nbCapacity", {"valueInt": "6"}, "nbCapacity"),
        ("nbCapacity", {"valueInteger": 10**9}, "nbCapacity"),
        ("capacityUpdateDate", {"valueDateTime": "2026-11-24"}, "capacityUpdateDate"),
        ("capacityUpdateDate", {"valueDateTime": "0001-01-01T00:00:00+23:59"}, "capacityUpdateDate"),
        ("capacitySourceType", {"valueCodeableConcept": {"coding": [{"code": "99"}]}}, "capacitySourceType"),
        ("temporaryAssignement", {"valueCodeableConcept": {}}, "temporaryAssignement"),
    ],
)
def test_what_cannot_be_taken_is_named(url: str, value: dict[str, object], named: str) -> None:
    made = extension_of(capacities_of(unit(), NOW)[0])
    made["extension"] = [one for one in made["extension"] if one["url"] != url] + [{"url": url, **value}]
    with pytest.raises(RecordUnreadable) as raised:
        capacity_of(made)
    assert raised.value.element == named


def test_the_published_example_is_read(shared_dir: Path) -> None:
    sample = json.loads((shared_dir / "samples/fhir_ror/Location-ror-location-exemple-1.json").read_text())
    read = location_of(sample)
    assert read.problems == ()
    assert {one.indicator.key: one.count for one in read.capacities} == {
        "01/01/-/-/-/-/01": 15,
        "06/01/-/-/03/02/01": 0,
        "02/01/02/-/-/-/01": 0,
        "02/01/01/-/-/-/01": 0,
        "02/01/03/-/-/-/01": 3,
    }
