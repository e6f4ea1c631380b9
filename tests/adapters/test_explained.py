"""Why a unit is ranked or left out, for people: every reason known, no name of the contract, no English in French."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aval.adapters.explained import exclusion_said, rank_said
from aval.adapters.french import Language, Speech
from aval.v1 import request_pb2
from tests.typography import faults

NOW = datetime(2026, 11, 24, 13, 0, tzinfo=UTC)
FRENCH, ENGLISH = Speech(), Speech(Language.ENGLISH)

COMPARED: dict[str, tuple[dict[str, str], str, str]] = {
    "UNREACHABLE": ({}, "hors liaison", "offline"),
    "CLOSED_TO_TERRITORY": ({}, "fermée aux demandes du territoire", "closed to the territory"),
    "CLOSED": (
        {"closed_until": "2026-11-25T08:00:00+00:00"},
        "fermé (jusqu’à demain 9 h 00)",
        "closed (until tomorrow 9:00 am)",
    ),
    "AGE": (
        {"age_years": "84", "min_years": "0", "max_years": "17"},
        "n’admet pas cet âge (84 ans, admet de 0 à 17 ans)",
        "does not admit that age (84, admits from 0 to 17 years)",
    ),
    "TOO_FAR": (
        {"minutes": "35", "limit_minutes": "30"},
        "trop loin (35 min, 30 min au plus)",
        "too far (35 min, 30 min at most)",
    ),
    "GENDER": ({"gender": "female"}, "pas de place pour ce sexe (femme)", "no place for that gender (female)"),
    "FEATURE": ({"feature": "o2,dialyse"}, "équipement absent (o2, dialyse)", "feature missing (o2, dialyse)"),
    "ADMISSION_HOURS": (
        {"next_admission_time": "2026-11-26T08:00:00+00:00"},
        "n’admet pas dans ce créneau (prochaine admission jeu. 26 nov. 9 h 00)",
        "no admission hour then (next admission Thu 26 Nov 9:00 am)",
    ),
    "CONFLICT": ({"conflicts": "1"}, "conflit à régler (1 conflit)", "conflict to settle (1 conflict)"),
    "FULL": (
        {"full_from": "2026-11-24T15:00:00+00:00"},
        "complet (à partir de 16 h 00)",
        "full (from 4:00 pm)",
    ),
    "NOT_REPORTED": ({}, "non renseigné", "not reported"),
}


def plain(text: str) -> str:
    return text.replace("\u00a0", " ").replace("\u202f", " ")


def excluded(name: str, compared: dict[str, str]) -> request_pb2.ExcludedUnit:
    reason = request_pb2.ExclusionReason.Value(f"EXCLUSION_REASON_{name}")
    return request_pb2.ExcludedUnit(reason=reason, metadata=compared)


def test_every_reason_of_the_contract_is_in_the_table() -> None:
    assert {f"EXCLUSION_REASON_{name}" for name in COMPARED} == set(request_pb2.ExclusionReason.keys()[1:])


@pytest.mark.parametrize("name", list(COMPARED))
def test_an_exclusion_is_a_phrase(name: str) -> None:
    compared, french, english = COMPARED[name]
    said = exclusion_said(excluded(name, compared), FRENCH, NOW)
    assert plain(said) == french
    assert not faults(said)
    assert plain(exclusion_said(excluded(name, compared), ENGLISH, NOW)) == english


def test_a_distance_as_the_crow_flies_has_its_comma() -> None:
    far = excluded("TOO_FAR", {"distance_km": "41.3", "limit_km": "30.0"})
    assert plain(exclusion_said(far, FRENCH, NOW)) == "trop loin (41,3 km, 30,0 km au plus)"


def test_the_last_figure_of_a_house_that_is_away_has_its_age() -> None:
    away = excluded("UNREACHABLE", {})
    away.age.FromTimedelta(timedelta(minutes=4))
    assert plain(exclusion_said(away, FRENCH, NOW)) == "hors liaison (dernier chiffre il y a 4 min)"


def test_a_value_of_a_newer_version_is_shown_by_its_name() -> None:
    assert exclusion_said(excluded("FULL", {"novelty": "7"}), FRENCH, NOW) == "complet (novelty = 7)"


def test_a_rank_is_said_criterion_by_criterion() -> None:
    criterion = request_pb2.RankReason.Criterion
    one = request_pb2.RankedUnit(
        reasons=[
            request_pb2.RankReason(criterion=criterion.CRITERION_SURE, value="fresh"),
            request_pb2.RankReason(criterion=criterion.CRITERION_ANSWER, value="yes"),
            request_pb2.RankReason(criterion=criterion.CRITERION_UNMET_WISHES, value="0"),
            request_pb2.RankReason(criterion=criterion.CRITERION_DISTANCE, value="12.4 km"),
            request_pb2.RankReason(criterion=criterion.CRITERION_FAIRNESS, value="3"),
            request_pb2.RankReason(criterion=criterion.CRITERION_NAME, value="establishments/540000023/units/U1"),
        ]
    )
    said = rank_said(one, FRENCH, NOW)
    assert plain(said) == (
        "chiffre sûr : à jour, réponse à temps : oui, souhaits non couverts : 0, trajet : 12,4 km,"
        " demandes reçues en 24 h : 3, à égalité, par nom"
    )
    assert not faults(said)
    assert "sure figure: fresh" in plain(rank_said(one, ENGLISH, NOW))


def test_a_unit_where_nobody_answers_in_time_says_from_when() -> None:
    late = request_pb2.RankReason(criterion=request_pb2.RankReason.CRITERION_ANSWER, value="2026-11-26T08:00:00+00:00")
    one = request_pb2.RankedUnit(reasons=[late])
    assert plain(rank_said(one, FRENCH, NOW)) == "réponse à temps : pas avant jeu. 26 nov. 9 h 00"
    assert plain(rank_said(one, ENGLISH, NOW)) == "answered in time: not before Thu 26 Nov 9:00 am"
