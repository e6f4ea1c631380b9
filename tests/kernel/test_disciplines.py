"""The vocabulary against its two other homes: the wire's enums, and the ROR's published lists."""

import csv
from enum import Enum
from pathlib import Path
from typing import Protocol

import pytest

from aval.kernel import disciplines, lifecycle, need, statuses
from aval.kernel.disciplines import DISCIPLINES, Discipline, Field, discipline_of
from aval.v1 import availability_pb2, census_pb2, request_pb2, reservation_pb2, terms_pb2


class _WireEnum(Protocol):
    def keys(self) -> list[str]: ...


PAIRS: list[tuple[_WireEnum, str, type[Enum]]] = [
    (terms_pb2.Discipline, "DISCIPLINE", disciplines.Discipline),
    (terms_pb2.Gender, "GENDER", statuses.Gender),
    (terms_pb2.Feature, "FEATURE", need.Feature),
    (terms_pb2.Urgency, "URGENCY", need.Urgency),
    (terms_pb2.Mode, "MODE", need.Mode),
    (availability_pb2.CapacityStatus, "CAPACITY_STATUS", statuses.Status),
    (availability_pb2.Horizon, "HORIZON", statuses.Horizon),
    (availability_pb2.Counting, "COUNTING", statuses.Counting),
    (availability_pb2.Shown, "SHOWN", statuses.Shown),
    (availability_pb2.Freshness, "FRESHNESS", statuses.Freshness),
    (availability_pb2.SourceKind, "SOURCE_KIND", statuses.SourceKind),
    (availability_pb2.ClosureKind, "CLOSURE_KIND", statuses.ClosureKind),
    (availability_pb2.ClosureReason, "CLOSURE_REASON", statuses.ClosureReason),
    (availability_pb2.Conflict.Cause, "CAUSE", statuses.ConflictCause),
    (availability_pb2.PolicySummary.Answering, "ANSWERING", statuses.Answering),
    (census_pb2.RoomRule, "ROOM_RULE", statuses.RoomRule),
    (census_pb2.SupplementaryKind, "SUPPLEMENTARY_KIND", statuses.SupplementaryKind),
    (reservation_pb2.Reservation.State, "STATE", lifecycle.ReservationState),
    (reservation_pb2.DeclineReason, "DECLINE_REASON", lifecycle.DeclineReason),
    (reservation_pb2.ReleaseReason, "RELEASE_REASON", lifecycle.ReleaseReason),
    (reservation_pb2.WithdrawReason, "WITHDRAW_REASON", lifecycle.WithdrawReason),
    (reservation_pb2.WaitlistReason, "WAITLIST_REASON", lifecycle.WaitlistReason),
    (reservation_pb2.AdmissionStep, "ADMISSION_STEP", lifecycle.Step),
    (reservation_pb2.Question, "QUESTION", lifecycle.Question),
    (reservation_pb2.Note.Verdict, "VERDICT", lifecycle.NoteVerdict),
    (reservation_pb2.Note.Fate, "FATE", lifecycle.NoteFate),
    (request_pb2.Request.State, "STATE", lifecycle.RequestState),
    (request_pb2.OutsideReason, "OUTSIDE_REASON", lifecycle.OutsideReason),
]


@pytest.mark.parametrize(("wire", "prefix", "kernel"), PAIRS, ids=[pair[2].__name__ for pair in PAIRS])
def test_the_wire_and_the_kernel_have_the_same_words(wire: _WireEnum, prefix: str, kernel: type[Enum]) -> None:
    """Name for name; the wire has its UNSPECIFIED besides, and nothing else."""
    assert set(wire.keys()) == {f"{prefix}_{member.name}" for member in kernel} | {f"{prefix}_UNSPECIFIED"}


def test_every_discipline_has_its_line() -> None:
    """One line each; a slug and a label of its own; no label says « SSR »; only day care is no bed."""
    assert set(DISCIPLINES) == set(Discipline)
    assert len({row.label for row in DISCIPLINES.values()}) == len(DISCIPLINES)
    assert not [row for row in DISCIPLINES.values() if "SSR" in row.label]
    assert [d for d, row in DISCIPLINES.items() if not row.is_bed] == [Discipline.DAY_CARE]


def test_the_fields_are_designs() -> None:
    """DESIGN §2's table: which disciplines belong to which field, and that USLD and HAD have no R227 code."""
    smr = {d for d, row in DISCIPLINES.items() if row.field is Field.SMR}
    assert smr == {d for d in Discipline if d.value.startswith("smr-")}
    assert {d for d, row in DISCIPLINES.items() if row.field.r227 is None} == {Discipline.USLD, Discipline.HAD}
    assert DISCIPLINES[Discipline.EHPAD_AFTER_HOSPITAL].field is Field.MEDICO_SOCIAL
    assert DISCIPLINES[Discipline.PSYCHIATRY].field is Field.PSY


@pytest.mark.parametrize("word", ["SSR geriatrie", "ssr_geriatrie", " SMR-Geriatrie ", "smr-geriatrie"])
def test_the_former_name_is_read_and_never_printed(word: str) -> None:
    """« SSR » is understood as a search word."""
    assert discipline_of(word) is Discipline.SMR_GERIATRIC


def test_an_unknown_word_is_answered_by_those_near() -> None:
    """The error names what begins alike, so that one can choose."""
    with pytest.raises(ValueError, match="smr-geriatrie") as error:
        discipline_of("smr-inconnu")
    assert "had" not in str(error.value)
    with pytest.raises(ValueError, match="had"):
        discipline_of("dentiste")


def test_codes_are_the_rors(shared_dir: Path) -> None:
    """Each code that we emit is an active one of the list that we name; R330 07 to 09 are never ours."""
    with (shared_dir / "data" / "ror_capacity_codes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    active = {(row["code_system"].split("-")[0], row["code"]) for row in rows if row["status"] == "active"}
    ours: list[tuple[str, str]] = [("TRE_R330", status.value) for status in statuses.Status]
    ours += [("TRE_R331", horizon.value) for horizon in statuses.Horizon]
    ours += [("TRE_R332", gender.value) for gender in statuses.Gender]
    ours += [("TRE_R333", kind.value) for kind in statuses.ClosureKind]
    ours += [("TRE_R334", kind.value) for kind in statuses.SupplementaryKind]
    ours += [("TRE_R335", kind.r335) for kind in statuses.SourceKind]
    ours += [("TRE_R227", field.r227) for field in Field if field.r227]
    assert not [code for code in ours if code not in active]
    assert not {"07", "08", "09"} & {status.value for status in statuses.Status}
