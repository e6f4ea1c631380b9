"""Whatever a caller writes into a request, it becomes a command or is refused by name: nothing else comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from aval.kernel.identity import CallerKind
from aval.kernel.reasons import Refusal
from aval.node.commands import Caller
from aval.node.model import Mandate
from aval.node.translate import census, house, inward, reinstating
from aval.node.translate.words import Names
from aval.v1 import census_pb2, reservation_pb2
from tests.node.shell.fakes import HERE, HOUSE, HUB, MARIE

NAMES = Names(HOUSE)
HUB_CALLER = Caller(str(HUB), CallerKind.HUB_REPLICA, str(HERE))
STAFF = Caller(str(MARIE), CallerKind.STAFF, str(HERE), Mandate(caller=str(MARIE)))
DEPTH_MAX = 4

WORDS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            f"establishments/{HOUSE}",
            f"establishments/{HOUSE}/units/smr",
            f"establishments/{HOUSE}/units/smr/beds/12",
            f"establishments/{HOUSE}/reservations/7a0f6a2e-0000-4000-8000-000000000001",
            f"establishments/{HOUSE}/units/smr/conflicts/7a0f6a2e-0000-4000-8000-000000000001",
            "requests/7a0f6a2e-0000-4000-8000-000000000001",
            "7a0f6a2e-0000-4000-8000-000000000001",
            "smr",
            "Europe/Paris",
            "../../etc/passwd",
            "2026-12-24",
            "establishments/2A0000014/units/x",
        ]
    ),
)
INT64 = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-2, 200), st.just(1_795_000_000))
INT32 = st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(-2, 200))
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: WORDS,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=10),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_INT32: INT32,
    FieldDescriptor.TYPE_INT64: INT64,
    FieldDescriptor.TYPE_FIXED64: st.integers(0, 2**64 - 1),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
    FieldDescriptor.TYPE_ENUM: st.integers(-1, 30),
}


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 0) -> Message:
    """Any message of a type, each field set or not."""
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if draw(st.integers(0, 3)) == 0 or (field.message_type is not None and depth >= DEPTH_MAX):
            continue
        one = messages(field.message_type, depth + 1) if field.message_type else SCALARS[field.type]
        if field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(one, max_size=2)))
        elif field.message_type:
            getattr(message, field.name).CopyFrom(draw(one))
        else:
            setattr(message, field.name, draw(one))
    return message


def of_hub(request: Any) -> object:
    inward.check_age(request.header)
    return reinstating.hub_command(request, HUB_CALLER, NAMES)


HUB_REQUESTS = [
    kind
    for kind in reservation_pb2.DESCRIPTOR.message_types_by_name.values()
    if kind.name.endswith("Request") and "header" in kind.fields_by_name
]
STAFF_REQUESTS = [
    kind
    for kind in reservation_pb2.DESCRIPTOR.message_types_by_name.values()
    if kind.name.endswith("Request") and "command_id" in kind.fields_by_name
]
CENSUS: dict[str, Callable[[Any], object]] = {
    "DeclareUnitRequest": lambda request: census.declare_unit(request, STAFF, NAMES),
    "ConfirmUnitRequest": lambda request: census.confirm_unit(request, STAFF, NAMES),
    "DeclareCountsRequest": lambda request: census.declare_counts(request, STAFF, NAMES, frozenset()),
    "CorrectFiguresRequest": lambda request: census.correct_figures(request, STAFF, NAMES),
    "SetUnitPolicyRequest": lambda request: census.set_policy(request, STAFF, NAMES),
    "SetVisibilityRequest": lambda request: census.set_visibility(request, STAFF, NAMES),
    "UpdateEstablishmentRequest": lambda request: census.update_establishment(request, STAFF, NAMES),
    "UpdateBedRequest": lambda request: census.update_bed(request, STAFF, NAMES),
    "VerifyUnitRequest": lambda request: reinstating.verify_unit(request, STAFF, NAMES),
    "SettleMovementRequest": lambda request: census.settle_movement(request, STAFF, NAMES),
    "AnswerArrivalDoubtRequest": lambda request: census.answer_doubt(request, STAFF, NAMES),
    "SettleConflictRequest": lambda request: census.settle_conflict(request, STAFF, NAMES),
    "MoveClaimRequest": lambda request: census.move_claim(request, STAFF, NAMES),
    "ReportAliveRequest": lambda request: census.report_alive(request, STAFF),
    "Movement": lambda message: census.apply_movement(message, STAFF, NAMES, frozenset()),
}
READS = [
    *((kind, of_hub) for kind in HUB_REQUESTS),
    *((kind, lambda request: inward.staff_reservation_command(request, STAFF, NAMES)) for kind in STAFF_REQUESTS),
    *((census_pb2.DESCRIPTOR.message_types_by_name[name], read) for name, read in CENSUS.items()),
]


def test_every_write_of_the_contract_is_read_here() -> None:
    writes = {
        kind.name
        for kind in census_pb2.DESCRIPTOR.message_types_by_name.values()
        if kind.name.endswith("Request") and "command_id" in kind.fields_by_name
    }
    assert writes <= CENSUS.keys()
    assert (len(HUB_REQUESTS), len(STAFF_REQUESTS)) == (8, 11)


def said(read: Callable[[Any], object], message: Message) -> object:
    """The command, or the refusal; any other exception is a failure."""
    try:
        return read(message)
    except Refusal as refusal:
        return refusal.reason, sorted(refusal.metadata.items())


@pytest.mark.parametrize(("kind", "read"), READS, ids=[kind.name for kind, _ in READS])
@given(data=st.data())
@settings(max_examples=40)
def test_a_request_becomes_a_command_or_is_refused_by_name(
    kind: Descriptor, read: Callable[[Any], object], data: st.DataObject
) -> None:
    message = data.draw(messages(kind))
    assert said(read, message) == said(read, message), "the same request is the same command, or the same refusal"


@given(data=st.data())
@settings(max_examples=100)
def test_a_movement_that_is_kept_can_be_shown_as_it_was_told(data: st.DataObject) -> None:
    message = data.draw(messages(census_pb2.Movement.DESCRIPTOR))
    assert isinstance(message, census_pb2.Movement)
    try:
        read = census.movement(message, NAMES)
    except Refusal:
        return
    shown = house.movement(read, no_stays(), NAMES)
    assert shown.WhichOneof("change") == message.WhichOneof("change")
    again = census.movement(shown, NAMES) if shown.WhichOneof("change") != "leave_return" else read
    assert again == read


def no_stays() -> Any:
    """What is published of an empty house."""
    from aval.node.ports import Stored
    from aval.node.published import Published

    return Published(Stored(1, {}, (), {}, {}))
