"""Refusals on the wire: the one mapping between the kernel's `Refusal` and a gRPC status, in both directions.

A refusal becomes its reason's status with `google.rpc.Status` details (`ErrorInfo{reason, domain="aval", metadata}`,
then the state found if there is one, as a message). What is not a refusal becomes INTERNAL and says nothing of itself:
the request id finds its log line.
"""

from collections.abc import Mapping

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from aval.kernel.reasons import DOMAIN, FINAL_CODES, Reason, Refusal

STATUS_DETAILS_KEY = "grpc-status-details-bin"
"""Where gRPC carries `google.rpc.Status`."""

METADATA_ENTRIES_MAX = 8
"""Entries of ErrorInfo's metadata: an error is for a program to branch on, not a report."""

METADATA_TEXT_BYTES_MAX = 200
"""Bytes of each key and of each value; with the bounds beside it, in base64, a status stays under
METADATA_BYTES_MAX."""

SUBJECT_BYTES_MAX = 2000
"""A state found that is longer than this is left out: the caller can read it by its name."""

TRANSPORT_CODES = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"})
"""Statuses that gRPC itself makes when a peer does not answer."""

_CODES: Mapping[str, grpc.StatusCode] = {code.name: code for code in grpc.StatusCode}
_NUMBERS: Mapping[str, int] = {code.name: code.value[0] for code in grpc.StatusCode}


class RemoteRefusal(Refusal):
    """What a peer answered instead of an answer, read from a failed call.

    `reason` is the peer's if we know it; for a failure of the transport NODE_UNREACHABLE, else INTERNAL. `reason_text`
    is the peer's own word, empty if it gave none; `code` the status's name. `final` says whether the same call may be
    sent again.
    """

    def __init__(
        self, reason: Reason, reason_text: str, code: str, metadata: Mapping[str, str], subject: Any | None
    ) -> None:
        super().__init__(reason, metadata, subject)
        self.reason_text = reason_text
        self.code = code

    @property
    def final(self) -> bool:
        """No retry cures it: by its row if the reason is known, else by its code (CONTRACT 22)."""
        if self.reason_text == self.reason.value:
            return not self.reason.row.retryable
        return self.code in FINAL_CODES


def status_code(reason: Reason) -> grpc.StatusCode:
    """The gRPC status of a reason, by the kernel's table."""
    return _CODES[reason.row.code]


def status_of(refusal: Refusal) -> Status:
    """The `google.rpc.Status` of a refusal: code, the table's text, ErrorInfo, and the state found if it is small."""
    entries = list(refusal.metadata.items())[:METADATA_ENTRIES_MAX]
    info = ErrorInfo(
        reason=refusal.reason.value,
        domain=DOMAIN,
        metadata={_cut(key): _cut(value) for key, value in entries},
    )
    status = Status(code=_NUMBERS[refusal.reason.row.code], message=refusal.reason.row.text)
    status.details.add().Pack(info)
    if isinstance(refusal.subject, Message) and refusal.subject.ByteSize() <= SUBJECT_BYTES_MAX:
        status.details.add().Pack(refusal.subject)
    return status


def _cut(text: str) -> str:
    return text.encode()[:METADATA_TEXT_BYTES_MAX].decode(errors="ignore")


def trailing_metadata(refusal: Refusal) -> tuple[tuple[str, bytes], ...]:
    """What goes with the status of a refusal."""
    return ((STATUS_DETAILS_KEY, status_of(refusal).SerializeToString()),)


def refusal_of(error: grpc.aio.AioRpcError) -> RemoteRefusal:
    """The refusal that a failed call brought back. It never raises: whatever the peer sent gives something to act
    on."""
    code = error.code().name
    status = Status()
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
            except DecodeError:
                status.Clear()
    text, metadata, subject = "", dict[str, str](), None
    for detail in status.details:
        info = ErrorInfo()
        if not detail.Is(ErrorInfo.DESCRIPTOR):
            subject = detail
        elif detail.Unpack(info) and info.domain == DOMAIN:
            text, metadata = info.reason, dict(info.metadata)
    if text in Reason.__members__:
        return RemoteRefusal(Reason[text], text, code, metadata, subject)
    unknown = Reason.NODE_UNREACHABLE if not text and code in TRANSPORT_CODES else Reason.INTERNAL
    return RemoteRefusal(unknown, text, code, metadata, subject)
