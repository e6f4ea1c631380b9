"""The life cycles of DESIGN §6 and §7, written down a second time, for the checker alone.

They are not the kernel's tables: a slip there must not hide itself here. `MOVES` say what may follow what in one step;
between two commits several steps may lie, so a checker asks `reachable`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

FINAL = frozenset({"DECLINED", "RELEASED", "EXPIRED"})
"""Reservations over for good."""

CLAIMING = frozenset({"HELD", "CONFIRMED"})
"""Reservations that take a bed."""

ADVANCE = ("ASKED", "WAITLISTED", "HELD", "CONFIRMED", "ADMITTED")
"""Live states, each farther than the one before: a reinstatement never sets back."""

STARTS = frozenset({"ASKED", "HELD", "DECLINED", "RELEASED"})
"""What a creation may make: RELEASED where a release came first."""

_WAITING = {
    "accept": "HELD", "waitlist": "WAITLISTED", "decline": "DECLINED", "release": "RELEASED", "admit": "ADMITTED",
    "time": "EXPIRED",
}  # fmt: skip

RESERVATION: Mapping[str, Mapping[str, str]] = {
    "ASKED": _WAITING,
    "WAITLISTED": _WAITING,
    "HELD": {
        "confirm": "CONFIRMED", "reoffer": "HELD", "renew": "HELD", "withdraw": "RELEASED", "release": "RELEASED",
        "admit": "ADMITTED", "time": "EXPIRED",
    },
    "CONFIRMED": {"admit": "ADMITTED", "reschedule": "CONFIRMED", "release": "RELEASED", "withdraw": "RELEASED"},
    "ADMITTED": {"cancel_admission": "CONFIRMED"},
    "DECLINED": {},
    "RELEASED": {},
    "EXPIRED": {},
}  # fmt: skip
"""State → input → next state."""

REQUEST_FINAL = frozenset({"CANCELLED", "CLOSED_ELSEWHERE", "EXPIRED"})
"""Requests over for good."""

_ENDS = {"place_outside": "CLOSED_ELSEWHERE", "cancel": "CANCELLED"}

REQUEST: Mapping[str, Mapping[str, str]] = {
    "OPEN": {
        "ask": "OPEN", "edit": "OPEN", "confirm": "CONFIRMING", "release_ask": "OPEN", "renew": "OPEN",
        "supply_details": "OPEN", "note_answer": "OPEN", "time": "EXPIRED", **_ENDS,
    },
    "CONFIRMING": {"take_back": "OPEN", "release_ask": "CONFIRMING", "note_answer": "CONFIRMING", **_ENDS},
    "CONFIRMED": {"reschedule": "CONFIRMED", "release": "RELEASING", "supply_details": "CONFIRMED", **_ENDS},
    "RELEASING": {**_ENDS},
    "ADMITTED": {},
    "CANCELLED": {},
    "CLOSED_ELSEWHERE": {},
    "EXPIRED": {},
}  # fmt: skip
"""State → what people ask, or time brings → next state."""

REACTIONS: Mapping[str, Mapping[str, str]] = {
    "OPEN": {"admitted": "ADMITTED", "confirmed": "CONFIRMED"},
    "CONFIRMING": {"admitted": "ADMITTED", "confirmed": "CONFIRMED", "confirm_failed": "OPEN"},
    "CONFIRMED": {"admitted": "ADMITTED", "promise_lost": "OPEN"},
    "RELEASING": {"admitted": "ADMITTED", "released": "OPEN"},
    "ADMITTED": {"admitted": "ADMITTED", "promise_lost": "OPEN", "admission_cancelled": "CONFIRMED"},
}
"""State → what the hub finds in its file → next state. ADMITTED twice: it is about the other of two from now on."""


@cache
def reservation_reachable(before: str, after: str) -> bool:
    """Whether a reservation may get from one state to the other."""
    return before == after or after in _closure(RESERVATION, before)


@cache
def request_reachable(before: str, after: str) -> bool:
    """Whether a request may get from one state to the other."""
    both = {state: {**line, **REACTIONS.get(state, {})} for state, line in REQUEST.items()}
    return before == after or after in _closure(both, before)


def _closure(table: Mapping[str, Mapping[str, str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for state in table[waiting.pop()].values():
            if state not in seen:
                seen.add(state)
                waiting.append(state)
    return seen
