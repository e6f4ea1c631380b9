"""Refusals on the wire: each reason goes out with its status and comes back; what we do not know is still something."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from aval.adapters.wire.errors import STATUS_DETAILS_KEY, refusal_of, status_code, status_of, trailing_metadata
from aval.adapters.wire.options import METADATA_BYTES_MAX
from aval.kernel.reasons import FINAL_CODES, REASONS, Reason, Refusal

REASON = st.sampled_from(list(Reason))


def failed(code: grpc.StatusCode, *details: bytes) -> grpc.aio.AioRpcError:
    """A failed call as gRPC gives it, with these status details."""
    metadata = grpc.aio.Metadata(*((STATUS_DETAILS_KEY, one) for one in details))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, "words of the peer")


def status_with(*infos: ErrorInfo) -> bytes:
    """A status that bears these details."""
    status = Status(code=9, message="words")
    for info in infos:
        status.details.add().Pack(info)
    encoded: bytes = status.SerializeToString()
    return encoded


@given(REASON, st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=5))
def test_each_reason_comes_back_as_it_went(reason: Reason, metadata: dict[str, str]) -> None:
    sent = Refusal(reason, metadata, StringValue(value="state"))
    ((key, details),) = trailing_metadata(sent)
    assert key == STATUS_DETAILS_KEY
    back = refusal_of(failed(status_code(reason), details))
    assert (back.reason, back.reason_text, back.metadata) == (reason, reason.value, metadata)
    assert back.code == reason.row.code
    assert back.final == (not reason.row.retryable)
    state = StringValue()
    assert isinstance(back.subject, AnyMessage)
    assert back.subject.Unpack(state)
    assert state.value == "state"


def test_each_reason_has_a_status_of_grpc() -> None:
    for reason, row in REASONS.items():
        assert status_code(reason).name == row.code
        assert status_of(Refusal(reason)).message == row.text
    assert set(REASONS) == set(Reason)


@pytest.mark.parametrize("letter", ["x", "é", "漢", "\U0001f3e5"])
def test_a_refusal_always_fits_in_metadata(letter: str) -> None:
    metadata = {f"{number}{letter * 100}": letter * 10_000 for number in range(40)}
    ((_, details),) = trailing_metadata(Refusal(Reason.FIELD_INVALID, metadata, StringValue(value="y" * 1900)))
    assert len(details) * 4 / 3 < METADATA_BYTES_MAX
    back = refusal_of(failed(grpc.StatusCode.INVALID_ARGUMENT, details))
    assert back.reason is Reason.FIELD_INVALID
    assert back.metadata
    assert set("".join(back.metadata.values())) == {letter}, "cut between two letters, not within one"


@pytest.mark.parametrize("code", list(grpc.StatusCode), ids=lambda code: code.name)
def test_a_reason_that_we_do_not_know_is_kept_as_text_and_final_by_its_code(code: grpc.StatusCode) -> None:
    back = refusal_of(
        failed(code, status_with(ErrorInfo(reason="BED_TOO_SHORT", domain="aval", metadata={"cm": "180"})))
    )
    assert back.reason is Reason.INTERNAL
    assert back.reason_text == "BED_TOO_SHORT"
    assert back.metadata == {"cm": "180"}
    assert back.final == (code.name in FINAL_CODES)


@pytest.mark.parametrize(
    ("code", "reason", "final"),
    [
        (grpc.StatusCode.UNAVAILABLE, Reason.NODE_UNREACHABLE, False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.NODE_UNREACHABLE, False),
        (grpc.StatusCode.CANCELLED, Reason.NODE_UNREACHABLE, False),
        (grpc.StatusCode.UNIMPLEMENTED, Reason.INTERNAL, True),
        (grpc.StatusCode.UNKNOWN, Reason.INTERNAL, False),
    ],
)
@pytest.mark.parametrize(
    "details",
    [(), (b"\xff\xff not a status",), (status_with(ErrorInfo(reason="NO_BED", domain="another.org")),)],
    ids=["none", "spoilt", "another domain"],
)
def test_a_status_without_our_details_is_judged_by_its_code(
    code: grpc.StatusCode, reason: Reason, final: bool, details: tuple[bytes, ...]
) -> None:
    back = refusal_of(failed(code, *details))
    assert (back.reason, back.reason_text, back.final) == (reason, "", final)
