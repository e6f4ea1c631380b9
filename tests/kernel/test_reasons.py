"""The one table of refusals: complete, with real gRPC codes, and true to CONTRACT 22."""

import re
from pathlib import Path

import grpc
import pytest

from aval.kernel.lifecycle import ReservationState
from aval.kernel.reasons import FINAL_CODES, REASONS, Reason, Refusal, field_invalid

PROTO = Path(__file__).resolve().parents[2] / "proto" / "aval" / "v1"


def test_every_reason_has_its_line() -> None:
    """And no line is for nobody."""
    assert set(REASONS) == set(Reason)
    assert all(reason.row is REASONS[reason] for reason in Reason)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_line_is_sound(reason: Reason) -> None:
    """A gRPC code by its name, a sentence for people; its name is the wire's; retryable only where its code lets it."""
    row = reason.row
    assert row.code in grpc.StatusCode.__members__
    assert row.code != "OK"
    assert row.text
    assert not row.text.endswith(".")
    assert reason.value == reason.name
    assert re.fullmatch(r"[A-Z][A-Z0-9_]{2,62}", reason.value)
    if row.code in FINAL_CODES:
        assert not row.retryable, "a stranger would hold it for final"


def test_every_state_can_be_named() -> None:
    """ALREADY_<STATE> exists for each state of a reservation."""
    for state in ReservationState:
        assert Reason[f"ALREADY_{state.value}"].row.code == "FAILED_PRECONDITION"


def test_the_contract_names_no_reason_that_the_table_lacks() -> None:
    """Each word of capitals after « Refused » in the .proto files is a reason: a stranger finds what it means."""
    named: set[str] = set()
    for file in PROTO.glob("*.proto"):
        prose = " ".join(line.strip().removeprefix("//").strip() for line in file.read_text().splitlines())
        for sentence in re.findall(r"[Rr]efused ([^.]*)", prose):
            named |= set(re.findall(r"\b[A-Z][A-Z]+(?:_[A-Z0-9]+)+\b", sentence))
    named -= {word for word in named if word.startswith("CAUSE_")}  # values of the wire's own enums
    assert len(named) > 30
    assert not named - {reason.value for reason in Reason}


def test_a_refusal_says_what_it_is() -> None:
    """Its reason, its metadata, and the field where one is wrong."""
    refusal = field_invalid("need.gender", "say female, male or any")
    assert refusal.reason is Reason.FIELD_INVALID
    assert refusal.metadata == {"field": "need.gender", "problem": "say female, male or any"}
    assert "FIELD_INVALID" in str(refusal)
    assert Refusal(Reason.NO_BED).metadata == {}
