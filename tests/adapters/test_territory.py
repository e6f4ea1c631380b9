"""A territory file: what the demonstration's holds, and what the checker finds when somebody's hand slips."""

from __future__ import annotations

import csv
import gzip
import re
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aval.adapters.territory import (
    Establishment,
    Severity,
    TerritoryFault,
    TerritoryFile,
    assumed,
    check,
    house_plan,
    load,
    read,
    read_file,
)
from aval.adapters.territory.model import Capacities, EntityOrigin, Rates, great_circle_km
from aval.adapters.territory.plan import open_hours
from aval.kernel.disciplines import DISCIPLINES, Discipline
from aval.kernel.finess import FinessEJ, FinessET, check_digit
from aval.kernel.need import Feature
from aval.kernel.statuses import Audience, Counting, RoomRule
from tests.typography import faults

GE_10 = Path(str(files("aval.adapters.demo").joinpath("ge-10.toml")))
TEXT = GE_10.read_text(encoding="utf-8")
FILE = load(GE_10)
FINESS = [e.finess for e in FILE.establishments]
WITH_UNITS = [finess for finess in FINESS if FILE.assumptions.houses[finess].units]

ACTIVITIES = {
    "medicine": "beds_med",
    "surgery": "beds_chir",
    "obstetrics": "beds_obs",
    "mco": "beds_mco",
    "critical_care": "beds_critical_care",
    "smr": "beds_smr",
    "usld": "beds_usld",
    "had": "places_had",
    "psy": "beds_psy",
    "ehpad": "ehpad_places",
}


# ------------------------------------------------------------------------------------------------- the file itself


def test_the_committed_file_has_no_problem_at_all() -> None:
    assert read_file(GE_10).problems == ()


def test_it_holds_the_whole_ght_and_partners() -> None:
    assert Counter(e.membership for e in FILE.establishments) == {Audience.GHT: 32, Audience.PARTNER: 14}
    assert FILE.territory == "ge-10.aval.internal"
    assert FILE.simulated
    assert "DREES – SAE 2023" in FILE.credit
    assert sum(e.legal_entity_from is EntityOrigin.HOSPITAL_ROW for e in FILE.establishments) == 12


def test_the_partners_hold_most_of_the_downstream_beds() -> None:
    downstream = {
        audience: (
            sum(e.installed.smr for e in FILE.establishments if e.membership is audience and e.installed),
            sum(e.installed.ehpad for e in FILE.establishments if e.membership is audience and e.installed),
        )
        for audience in (Audience.GHT, Audience.PARTNER)
    }
    assert downstream[Audience.PARTNER][0] > downstream[Audience.GHT][0]
    assert sum(downstream[Audience.PARTNER]) > sum(downstream[Audience.GHT])


def test_its_figures_are_the_sources(shared_dir: Path) -> None:
    with (shared_dir / "data" / "ght_sud_lorraine.csv").open(encoding="utf-8") as stream:
        rows = {row["finess_et"]: row for row in csv.DictReader(stream)}
    for establishment in FILE.establishments:
        row = rows[establishment.finess]
        installed = establishment.installed or Capacities()
        for name, column in ACTIVITIES.items():
            assert getattr(installed, name) == int(row[column] or 0), (establishment.name, name)
        for name in ("mco", "smr", "usld"):
            said = row[f"occ_{name}"]
            assert establishment.occupancy.of(name) == (float(said) if said else None)
        assert (establishment.latitude, establishment.longitude) == (float(row["lat"]), float(row["lon"]))
        if row["finess_ej"]:
            assert establishment.legal_entity == row["finess_ej"]
    for membership, audience in (("GHT_GE10", 20), ("GHT_managed_EHPAD", 12)):
        ours = [finess for finess, row in rows.items() if row["membership"] == membership]
        assert len(ours) == audience
        assert set(ours) <= set(FINESS)
    stated = FILE.totals["ght"]
    of_ght = [row for row in rows.values() if row["membership"].startswith("GHT")]
    for name, column in ACTIVITIES.items():
        assert getattr(stated, name) == sum(int(row[column] or 0) for row in of_ght), name


def test_entities_taken_from_a_hospital_are_a_hospitals() -> None:
    hospitals = {e.legal_entity for e in FILE.establishments if e.legal_entity_from is EntityOrigin.SOURCE}
    taken = {e.legal_entity for e in FILE.establishments if e.legal_entity_from is EntityOrigin.HOSPITAL_ROW}
    assert taken <= hospitals


def test_geriatric_smr_is_found_in_several_sites_of_both_kinds() -> None:
    houses = [
        finess
        for finess in FINESS
        if any(unit.discipline is Discipline.SMR_GERIATRIC for unit in house_plan(FILE, finess).units)
    ]
    memberships = Counter(FILE.establishment(finess).membership for finess in houses)
    assert memberships[Audience.GHT] >= 4
    assert memberships[Audience.PARTNER] >= 3


def test_what_is_assumed_is_said() -> None:
    words = "\n".join(assumed(FILE))
    for subject in ("mention SMR", "chambres", "âge", "téléphones", "hébergés", "route", "fuseau", "source"):
        assert subject in words
    assert not faults(words)
    alone = FILE.without(*(one for one in FINESS if one != "540019254"))
    assert "1 établissement en 1 unité," in plain("\n".join(assumed(alone)))


def test_distances_agree_with_the_sources(shared_dir: Path) -> None:
    compared = 0
    with gzip.open(shared_dir / "data" / "ght_sud_lorraine_distances.csv.gz", "rt") as stream:
        for row in csv.DictReader(stream):
            if row["from_finess"] in FINESS and row["to_finess"] in FINESS:
                found = FILE.distance(row["from_finess"], row["to_finess"])
                assert found.km == pytest.approx(float(row["km_great_circle"]), abs=0.05)
                assert found.minutes == pytest.approx(found.km * 1.3)
                compared += 1
    assert compared >= len(FINESS) * (len(FINESS) - 1) // 2


def test_distances_are_symmetric_and_zero_at_home() -> None:
    distances = FILE.distances()
    assert len(distances) == len(FINESS) ** 2
    assert distances[FinessET(FINESS[0]), FinessET(FINESS[0])].km == 0
    assert distances[FinessET(FINESS[0]), FinessET(FINESS[9])] == distances[FinessET(FINESS[9]), FinessET(FINESS[0])]
    assert great_circle_km(48.8566, 2.3522, 43.2965, 5.3698) == pytest.approx(660.5, abs=1.0)  # Paris to Marseille


@pytest.mark.parametrize("finess", FINESS)
def test_any_one_establishment_may_be_left_out(finess: str) -> None:
    rest = FILE.without(finess)
    assert len(rest.establishments) == len(FINESS) - 1
    assert finess not in rest.assumptions.houses
    assert all("[totals]" in p.where and p.severity is Severity.WARNING for p in check(rest))


@pytest.mark.parametrize("finess", [FINESS[0], FINESS[-1]])
def test_a_block_removed_by_hand_leaves_a_file_that_loads(finess: str, tmp_path: Path) -> None:
    path = tmp_path / "less.toml"
    path.write_text(TEXT.replace(block_of(TEXT, finess), ""), encoding="utf-8")
    assert len(load(path).establishments) == len(FINESS) - 1


# ------------------------------------------------------------------------------------------------------- the plans


@pytest.mark.parametrize("finess", FINESS)
def test_a_plan_has_each_bed_once_and_as_many_as_are_installed(finess: str) -> None:
    plan = house_plan(FILE, finess)
    installed = FILE.establishment(finess).installed
    assert sum(unit.capacity for unit in plan.units) == (installed.total if installed else 0)
    for unit in plan.units:
        beds = [bed.code for room in unit.rooms for bed in room.beds]
        assert len(beds) == len(set(beds)) == (unit.capacity if unit.counting is Counting.BEDS else 0)
        assert all(re.fullmatch(r"[A-Za-z0-9-]{1,32}", bed) for bed in beds)
        assert 0 <= unit.occupancy <= 1
        assert unit.stay_days > 0
        assert unit.capacity <= 36 or unit.counting is Counting.PLACES
        for room in unit.rooms:
            single = room.rule is RoomRule.SINGLE
            assert single == (len(room.beds) == 1)
            assert all((Feature.SINGLE_ROOM in bed.features) == single for bed in room.beds)
        if not DISCIPLINES[unit.discipline].is_bed:
            assert unit.counting is Counting.PLACES


def test_a_share_of_beds_has_a_feature_and_not_all_the_same_beds() -> None:
    unit = next(u for u in house_plan(FILE, "540022837").units if u.discipline is Discipline.SMR_GERIATRIC)
    beds = [bed for room in unit.rooms for bed in room.beds]
    counts = Counter(feature for bed in beds for feature in bed.features)
    assert counts[Feature.OXYGEN] == pytest.approx(0.5 * len(beds), abs=1)
    assert counts[Feature.WHEELCHAIR] == pytest.approx(0.8 * len(beds), abs=1)
    assert len({bed.features for bed in beds}) >= 4


def test_hours() -> None:
    hours = open_hours("mon-fri 08:30-24:00")
    assert hours.days == {0, 1, 2, 3, 4}
    assert hours.opens.minute == 30
    assert hours.closes is None
    for wrong in ("mon-fri", "fri-mon 08:00-10:00", "mon 10:00-08:00", "lun 08:00-10:00", "mon 25:00-26:00"):
        with pytest.raises(ValueError, match=r"."):
            open_hours(wrong)


def test_rooms_written_by_a_person_are_taken_as_they_are() -> None:
    line = unit_lines(TEXT, "540008364")[0]
    rooms = (
        'rooms = [{ code = "A", rule = "single", beds = ["A"], features = ["bariatrique"] },'
        ' { code = "B", beds = ["B1", "B2"] }]'
    )
    reading = read(TEXT.replace(line, line.replace("beds = 36", f"beds = 36, {rooms}")))
    assert [p.what for p in reading.problems] == ["36 lits annoncés, 3 dans les chambres"]
    assert reading.file is not None
    unit = house_plan(reading.file, "540008364").units[0]
    assert [(room.code, room.rule, len(room.beds)) for room in unit.rooms] == [
        ("A", RoomRule.SINGLE, 1),
        ("B", RoomRule.ONE_GENDER, 2),
    ]
    assert Feature.BARIATRIC in unit.rooms[0].beds[0].features


# ------------------------------------------------------------------------------------------------- seeded faults


def block_of(text: str, finess: str) -> str:
    """The text of an establishment, header to the blank line."""
    start = text.index(f'[[establishments]]\nfiness = "{finess}"')
    return text[start : text.index("\n\n", start) + 2]


def house_of(text: str, finess: str) -> str:
    start = text.index(f"[assumptions.houses.{finess}]")
    end = text.find("\n\n", start)
    return text[start : end if end > 0 else len(text)]


def unit_lines(text: str, finess: str) -> list[str]:
    return [line for line in house_of(text, finess).splitlines() if line.startswith("  { code")]


def replaced(pattern: str, by: str | Callable[[re.Match[str]], str]) -> Callable[[str], str]:
    def fault(block: str) -> str:
        changed, count = re.subn(pattern, by, block, count=1)
        assert count == 1, (pattern, block)
        return changed

    return fault


def said(lines: str) -> Callable[[str], str]:
    """Those lines in a unit, in place of what it said of them."""

    def fault(unit: str) -> str:
        for name in re.findall(r"(\w+) = ", lines):
            unit = re.sub(rf', {name} = (?:"[^"]*"|\d+)', "", unit)
        return unit.replace(" }", f", {lines} }}", 1)

    return fault


def other_digit(match: re.Match[str]) -> str:
    digits = match[2]
    return match[1] + digits[:8] + str((int(digits[8]) + 3) % 10) + '"'


# What slips in an establishment's facts, and words that its problem holds.
FACT_FAULTS: dict[str, tuple[Callable[[str], str], str]] = {
    "wrong check digit": (replaced(r'(finess = ")(\d{9})"', other_digit), "sa clé est fausse"),
    "a digit lost": (replaced(r'(finess = ")\d', r"\1"), "8 caractères au lieu de 9"),
    "a number, not a text": (replaced(r'finess = "(\d{9})"', r"finess = \1"), "écrit comme un nombre"),
    "coordinates swapped": (
        replaced(r"latitude = (\S+)\nlongitude = (\S+)", r"latitude = \2\nlongitude = \1"),
        "hors de France",
    ),
    "far away": (replaced(r"longitude = \S+", "longitude = 13.4"), "hors de France"),
    "no name": (replaced(r'name = "[^"]*"', 'name = " "'), "sans nom"),
    "unknown membership": (replaced(r'membership = "\w+"', 'membership = "associate"'), "`membership` ne peut être"),
    "an unknown word": (replaced(r"latitude", 'wards = "none"\nlatitude'), "`wards` n’est pas un mot"),
    "a line lost": (replaced(r"longitude = \S+\n", ""), "il manque `longitude`"),
    "not a telephone": (replaced(r"latitude", 'phone = "ask Jean"\nlatitude'), "n’est pas un téléphone"),
    "over-full": (
        lambda block: re.sub(r"occupancy = .*\n", "", block) + "occupancy = { smr = 1.2415 }\n\n",
        "au-delà de 100",
    ),
    "negative beds": (
        lambda block: re.sub(r"(installed|no_beds) = .*\n", "", block).rstrip("\n") + "\ninstalled = { smr = -4 }\n\n",
        "smr = -4",
    ),
}

UNIT_FAULTS: dict[str, tuple[Callable[[str], str], str]] = {
    "unknown discipline": (replaced(r'discipline = "[^"]*"', 'discipline = "smr-lunaire"'), "« smr-lunaire » inconnue"),
    "neither beds nor places": (replaced(r", (beds|places) = \d+", ""), "des lits ou des places"),
    "day care as beds": (
        replaced(r'discipline = "[^"]*", (beds|places) = ', 'discipline = "accueil-de-jour", beds = '),
        "jamais un lit",
    ),
    "too many": (replaced(r"(beds|places) = \d+", r"\1 = 4000"), "capacité 4000"),
    "bad code": (replaced(r'code = "[^"]*"', 'code = "Unité 1"'), "n’est pas un code"),
    "bad age": (said("age_min = 90, age_max = 20"), "âges de 90 à 20"),
    "bad share": (said("female_share = 1.5"), "`female_share`"),
    "unknown feature": (said("features = { piscine = 1.0 }"), "équipement `piscine"),
    "bad hours": (said('answer_hours = "toujours"'), "heures «"),
    "bad gender": (said('gender = "F"'), "genre « F »"),
    "bad answering": (said('answering = "robot"'), "réponse « robot »"),
}


def plain(words: str) -> str:
    """Without the no-break spaces of French typography."""
    return words.replace("\u00a0", " ").replace("\u202f", " ")


def found(text: str, words: str, line: int | None = None) -> bool:
    return any(words in plain(p.what) and (line is None or p.line == line) for p in read(text).problems)


@settings(max_examples=40)
@given(fault=st.sampled_from(sorted(FACT_FAULTS)), finess=st.sampled_from(FINESS))
def test_a_fault_in_the_facts_is_found_at_its_line(fault: str, finess: str) -> None:
    change, words = FACT_FAULTS[fault]
    block = block_of(TEXT, finess)
    text = TEXT.replace(block, change(block))
    line = TEXT[: TEXT.index(block)].count("\n") + 1
    assert found(text, words, line), (fault, finess, read(text).problems)


@settings(max_examples=40)
@given(fault=st.sampled_from(sorted(UNIT_FAULTS)), data=st.data())
def test_a_fault_in_a_unit_is_found_at_its_line(fault: str, data: st.DataObject) -> None:
    change, words = UNIT_FAULTS[fault]
    finess = data.draw(st.sampled_from(WITH_UNITS))
    house = house_of(TEXT, finess)
    unit = data.draw(st.sampled_from(unit_lines(TEXT, finess)))
    if fault == "day care as beds":
        unit = unit_lines(TEXT, finess)[0]
    text = TEXT.replace(house, house.replace(unit, change(unit)))
    line = TEXT[: TEXT.index(house) + house.index(unit)].count("\n") + 1
    assert found(text, words, line), (fault, finess, unit)


@settings(max_examples=15)
@given(
    chosen=st.lists(st.tuples(st.sampled_from(sorted(FACT_FAULTS)), st.sampled_from(FINESS)), min_size=2, max_size=6)
)
def test_all_faults_are_told_at_once(chosen: list[tuple[str, str]]) -> None:
    one_each = {finess: fault for fault, finess in chosen}
    text = TEXT
    for finess, fault in one_each.items():
        block = block_of(TEXT, finess)
        text = text.replace(block, FACT_FAULTS[fault][0](block))
    whats = [plain(problem.what) for problem in read(text).problems]
    for fault in one_each.values():
        assert any(FACT_FAULTS[fault][1] in what for what in whats), fault


def test_the_same_establishment_twice_is_found() -> None:
    block = block_of(TEXT, FINESS[3])
    text = TEXT.replace(block, block + block)
    whats = [plain(p.what) for p in read(text).problems]
    assert "ce FINESS est déjà celui d’un autre établissement du fichier" in whats
    assert "ce nom est déjà celui d’un autre établissement" in whats


def test_one_unit_claimed_by_two_sites_of_an_entity_is_found() -> None:
    line = unit_lines(TEXT, "540008364")[0]
    assert found(TEXT.replace(line, line.replace('"U201"', '"U101"')), "l’unité U101 est déjà celle de 540000023")


def test_one_code_twice_in_a_house_is_found() -> None:
    line = unit_lines(TEXT, "540000023")[1]
    text = TEXT.replace(
        line, line.replace('"U102"', '"U101"').replace("Court séjour gériatrique", "Médecine polyvalente")
    )
    assert found(text, "ce code est déjà celui d’une autre unité")
    assert found(text, "est déjà le nom d’une autre unité")


def test_one_bed_written_twice_is_found() -> None:
    line = unit_lines(TEXT, "540008364")[0]
    rooms = (
        'rooms = [{ code = "A", beds = ["1", "1"] }, { code = "A", beds = ["3"] },'
        ' { code = "C", rule = "single", beds = [] }]'
    )
    text = TEXT.replace(line, line.replace("beds = 36", f"beds = 3, {rooms}"))
    assert found(text, "le lit 1 est écrit deux fois")
    assert found(text, "la chambre A est écrite deux fois")
    assert found(text, "la chambre C, individuelle, a 0 lits")


def test_a_line_that_contradicts_what_the_unit_inherits_is_found() -> None:
    """A ward of adults (16 years at least, as its activity says) with a highest age of 1."""
    line = unit_lines(TEXT, "540000023")[0]
    assert found(TEXT.replace(line, line.replace(" }", ", age_max = 1 }")), "âges de 16 à 1")


def test_units_that_do_not_add_up_are_found() -> None:
    line = unit_lines(TEXT, "540000023")[-1]
    text = TEXT.replace(line, line.replace("beds = 20", "beds = 21"))
    assert found(text, "smr : 20 lits ou places installés, 21 dans les unités")


def test_critical_care_is_a_part_of_mco() -> None:
    block = block_of(TEXT, "540000023")
    assert found(TEXT.replace(block, block.replace("critical_care = 5", "critical_care = 99")), "99 lits critiques")
    assert found(TEXT.replace(block, block.replace("mco = 83", "mco = 88")), "font 83, mco dit 88")


def test_zero_beds_is_a_warning_unless_declared() -> None:
    block = block_of(TEXT, "540022811")
    declared = read(TEXT)
    silent = read(TEXT.replace(block, re.sub(r"no_beds = .*\n", "", block)))
    assert declared.problems == ()
    assert [(p.severity, p.what) for p in silent.problems] == [(Severity.WARNING, "aucun lit installé")]
    assert silent.is_sound


def test_entities_and_telephones_are_checked() -> None:
    assert found(TEXT.replace('"540000049" = "CH Saint-Charles de Toul"\n', ""), "n’est pas dans [legal_entities]")
    assert found(TEXT.replace('phone = "+33 3 53 01 00 01"\n', ""), "sans téléphone")
    block = block_of(TEXT, "540000023")
    assert found(TEXT.replace(block, block.replace('legal_entity = "540000049"\n', "")), "sans entité juridique")
    same = block.replace('legal_entity = "540000049"', 'legal_entity = "540000023"')
    text = TEXT.replace(block, same).replace("[legal_entities]", '[legal_entities]\n"540000023" = "x"')
    assert found(text, "le même numéro pour l’établissement")


def test_totals_are_always_checked() -> None:
    reading = read(re.sub(r"(all = \{[^}]*smr = )\d+", r"\g<1>884", TEXT))
    assert [(p.severity, plain(p.what)) for p in reading.problems] == [
        (Severity.WARNING, "smr de « all » : 884 annoncés, 883 trouvés")
    ]


def test_an_unsound_file_is_not_loaded_and_says_all(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        TEXT.replace("latitude = 48.67571", "latitude = 5.0").replace("ge-10.aval", "GE 10"), encoding="utf-8"
    )
    with pytest.raises(TerritoryFault) as fault:
        load(path)
    assert len(fault.value.problems) == 2
    assert "Relevez-les à nouveau" in str(fault.value)


def test_what_is_no_toml_or_no_text_is_said_with_its_line(tmp_path: Path) -> None:
    assert [p.line for p in read('a = 1\nb = "\n').problems] == [2]
    assert read("x = " + "[" * 5_000).file is None
    path = tmp_path / "latin.toml"
    path.write_bytes('title = "é"'.encode("latin-1"))
    assert "UTF-8" in read_file(path).problems[0].what


@settings(max_examples=40)
@given(
    start=st.integers(0, len(TEXT) - 1), length=st.integers(1, 400), filling=st.sampled_from(["", "[", '"', "= 1\n"])
)
def test_a_torn_file_never_raises(start: int, length: int, filling: str) -> None:
    reading = read(TEXT[:start] + filling + TEXT[start + length :])
    assert all(problem.what and problem.remedy for problem in reading.problems)


# ------------------------------------------------------------------------------------------ the traps of real data


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        yield from csv.DictReader(stream)


def file_of(establishments: list[Establishment]) -> TerritoryFile:
    return TerritoryFile(
        format=1,
        territory="essai.aval.internal",
        title="essai",
        legal_entities={e.legal_entity: "" for e in establishments if e.legal_entity},
        establishments=tuple(establishments),
    )


def test_the_directory_of_ehpad_has_one_with_swapped_coordinates(shared_dir: Path) -> None:
    rows = [row for row in rows_of(shared_dir / "data" / "france_ehpad_cnsa.csv.gz") if row["lat"]]
    rows = [row for row in rows if row["dept"] in ("93", "2A", "2B", "974") or row["finess_et"].startswith("01")]
    establishments = [
        Establishment(
            finess=row["finess_et"],
            name=f"{row['name']} {row['finess_et']}",
            membership=Audience.PARTNER,
            latitude=float(row["lat"]),
            longitude=float(row["lon"]),
            legal_entity_from=EntityOrigin.ABSENT,
            installed=Capacities(ehpad=int(row["capacity"] or 0)),
        )
        for row in rows
    ]
    assert any(e.finess.startswith("2") for e in establishments)
    errors = [p for p in check(file_of(establishments)) if p.severity is Severity.ERROR]
    assert len(errors) == 1
    assert errors[0].where.startswith("930024120")
    assert "échangées" in errors[0].remedy


def test_the_hospitals_of_france_bring_zeros_corsica_and_overfull_sites(shared_dir: Path) -> None:
    rows = [row for row in rows_of(shared_dir / "data" / "france_hospital_sites_sae2023.csv.gz") if row["lat"]]
    rows = [row for row in rows if row["dept"] in ("01", "06", "2A", "2B", "54")]
    establishments = [
        Establishment(
            finess=row["finess_et"],
            name=f"{row['name']} {row['finess_et']}",
            membership=Audience.GHT,
            latitude=float(row["lat"]),
            longitude=float(row["lon"]),
            legal_entity=row["finess_ej"],
            installed=Capacities(smr=int(row["beds_smr"] or 0)),
            occupancy=Rates(smr=float(row["occ_smr"]) if row["occ_smr"] else None),
        )
        for row in rows
    ]
    problems = check(file_of(establishments))
    assert [p for p in problems if p.severity is Severity.ERROR] == []
    twice = [row["finess_et"] for row in rows if row["finess_et"] == row["finess_ej"]]
    assert [p.where[:9] for p in problems if "le même numéro" in p.what] == twice
    whats = Counter(plain(p.what).partition(" de ")[0] for p in problems)
    assert whats["aucun lit installé"] == sum(not int(row["beds_smr"] or 0) for row in rows)
    assert whats["occupation smr"] == sum(float(row["occ_smr"] or 0) > 1 for row in rows)
    assert whats["occupation smr"] > 0


@given(serial=st.integers(0, 999_999), department=st.integers(1, 9))
def test_a_leading_zero_lost_is_named(serial: int, department: int) -> None:
    body = f"0{department}{serial:06d}"
    finess = body + check_digit(body)
    good = Establishment(
        finess=finess,
        name="x",
        membership=Audience.GHT,
        latitude=46.2,
        longitude=5.2,
        legal_entity_from=EntityOrigin.ABSENT,
    )
    assert check(file_of([good])) == []
    assert good.et == finess
    lost = Establishment(**{f: getattr(good, f) for f in good.__struct_fields__} | {"finess": finess[1:]})
    (problem,) = check(file_of([lost]))
    assert "zéro initial" in problem.what
    assert finess in problem.remedy


def test_an_entity_is_of_its_own_type() -> None:
    assert isinstance(FILE.establishment("540000023").ej, FinessEJ)
    assert FILE.establishment("540009479").ej is None
