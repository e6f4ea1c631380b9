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
        "ask": "OPEN", "edit": "OPEN", "confirm": "CONFIRMING", "time": "EXPIRED", **_ENDS,
        "a reservation ADMITTED": "ADMITTED", "a reservation CONFIRMED": "CONFIRMED",
    },
    "CONFIRMING": {
        "take_back": "OPEN", **_ENDS, "a reservation ADMITTED": "ADMITTED", "its node's CONFIRMED": "CONFIRMED",
        "no confirm left": "OPEN",
    },
    "CONFIRMED": {
        "reschedule": "CONFIRMED", "release": "RELEASING", **_ENDS, "a reservation ADMITTED": "ADMITTED",
        "promise lost": "OPEN",
    },
    "RELEASING": {**_ENDS, "a reservation ADMITTED": "ADMITTED", "its node's final word": "OPEN"},
    "ADMITTED": {"promise lost": "OPEN", "admission cancelled": "CONFIRMED"},
    "CANCELLED": {},
    "CLOSED_ELSEWHERE": {},
    "EXPIRED": {},
}  # fmt: skip
"""State → what people ask or nodes say → next state."""


@cache
def reservation_reachable(before: str, after: str) -> bool:
    """Whether a reservation may get from one state to the other."""
    return before == after or after in _closure(RESERVATION, before)


@cache
def request_reachable(before: str, after: str) -> bool:
    """Whether a request may get from one state to the other."""
    return before == after or after in _closure(REQUEST, before)


def _closure(table: Mapping[str, Mapping[str, str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for state in table[waiting.pop()].values():
            if state not in seen:
                seen.add(state)
                waiting.append(state)
    return seen
