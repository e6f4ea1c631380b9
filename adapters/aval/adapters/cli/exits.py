"""How a command ends: the table of exit codes, and the failure that says what, why, and what to do next.

Codes are part of the interface: scripts branch on them (`aval help exit-codes` prints the table).
"""

from collections.abc import Mapping
from enum import IntEnum

from aval.kernel.reasons import Reason, Refusal


class Exit(IntEnum):
    """Exit codes of `aval`."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_AUTHENTICATED = 4
    NOT_ALLOWED = 5
    UNREACHABLE = 6
    CONFLICT = 7
    PARTIAL = 8
    TIMED_OUT = 9
    PROBLEM_FOUND = 10
    INTERRUPTED = 130


BY_CODE: Mapping[str, Exit] = {
    "NOT_FOUND": Exit.NOT_FOUND,
    "UNAUTHENTICATED": Exit.NOT_AUTHENTICATED,
    "PERMISSION_DENIED": Exit.NOT_ALLOWED,
    "UNAVAILABLE": Exit.UNREACHABLE,
    "DEADLINE_EXCEEDED": Exit.UNREACHABLE,
    "FAILED_PRECONDITION": Exit.CONFLICT,
    "ABORTED": Exit.CONFLICT,
    "ALREADY_EXISTS": Exit.CONFLICT,
    "INVALID_ARGUMENT": Exit.USAGE,
}
"""The exit code of a refusal, by its gRPC status; any other status is FAILED."""


class Failure(Exception):
    """A command cannot be done: three lines on the standard error, and an exit code.

    `what` happened; `why`, with the reason's name in brackets if there is one; `following`, the command to try.
    """

    def __init__(
        self, what: str, why: str = "", following: str = "", *, reason: str = "", code: Exit = Exit.FAILED
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.following = following
        self.reason = reason
        self.code = code


def exit_of(refusal: Refusal) -> Exit:
    """The exit code of a refusal: by the status that came with it, else by its row of the table."""
    code = getattr(refusal, "code", refusal.reason.row.code)
    if refusal.reason is Reason.STORAGE_UNAVAILABLE:
        return Exit.FAILED
    return BY_CODE.get(code, Exit.FAILED)
