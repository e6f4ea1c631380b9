"""What a simulation has met of the two life cycles: each (state, input) with what came of it, and what is left to meet.

What was *done* is read from what was stored: a commit bears the records of the acts in it, so the state before each is
known exactly, however many of them shared the commit. What was *refused* is read from the answer, which names the state
found. Demanded are all pairs of both tables, all reactions, and the refusal of everything else that a person can say;
what cannot happen is in `OUT_OF_REACH`, with the reason, and nowhere else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from tests.simulation.lifecycles import REACTIONS, REQUEST, RESERVATION

Pair = tuple[str, str, str]
"""("reservation" | "request" | "reaction", state, input)."""

STAFF: Mapping[str, str] = {
    "AcceptReservation": "accept", "WaitlistReservation": "waitlist", "DeclineReservation": "decline",
    "ReofferReservation": "reoffer", "WithdrawReservation": "withdraw", "AdmitReservation": "admit",
    "CancelReservationAdmission": "cancel_admission",
}  # fmt: skip
"""Method of the node → input of the reservation's table."""

REGULATOR: Mapping[str, str] = {
    "AskEstablishments": "ask", "UpdateNeed": "edit", "ConfirmRequest": "confirm", "TakeBackConfirm": "take_back",
    "RescheduleRequest": "reschedule", "ReleaseConfirmed": "release", "ReleaseAsk": "release_ask",
    "RenewHold": "renew", "SupplyDetails": "supply_details", "NoteAnswer": "note_answer",
    "PlaceOutside": "place_outside", "CancelRequest": "cancel",
}  # fmt: skip
"""Method of the hub → input of the request's table."""

CARRIED = ("confirm", "renew", "reschedule", "release")
"""Inputs of a reservation that only the hub's outbox brings."""

_TIME = "time takes nothing in this state; each commit is checked for it"
_ASIDE = "the hub sends it only after a word of the node from which no reservation comes back to this state"
_RACE = "only within the flight of one command: met in long runs, shown when met, not awaited"

OUT_OF_REACH: Mapping[Pair, str] = {
    **{("reservation", state, "time"): _TIME for state in ("CONFIRMED", "ADMITTED", "DECLINED", "RELEASED", "EXPIRED")},
    **{
        ("reservation", state, given): _ASIDE
        for state in ("ASKED", "WAITLISTED", "DECLINED")
        for given in ("confirm", "renew", "reschedule")
    },
    ("reservation", "HELD", "reschedule"): _ASIDE,
    ("reservation", "EXPIRED", "reschedule"): _ASIDE,
    **{
        ("reservation", state, given): _RACE
        for state, given in (
            ("CONFIRMED", "confirm"), ("CONFIRMED", "renew"), ("ADMITTED", "confirm"), ("ADMITTED", "renew"),
            ("ADMITTED", "reschedule"), ("ADMITTED", "release"), ("RELEASED", "confirm"), ("RELEASED", "renew"),
            ("RELEASED", "reschedule"), ("RELEASED", "release"), ("EXPIRED", "confirm"), ("EXPIRED", "renew"),
            ("EXPIRED", "release"), ("DECLINED", "release"),
        )
    },
    **{("request", state, "time"): _TIME for state in REQUEST if state != "OPEN"},
}  # fmt: skip
"""Pairs that no run must meet, each with the reason."""

INPUTS: Mapping[str, tuple[str, ...]] = {
    "reservation": (*STAFF.values(), *CARRIED, "time"),
    "request": (*REGULATOR.values(), "time"),
}
"""Whatever can be said to each."""

BY_STATE = ("ALREADY_", "NOT_IN_THIS_STATE", "CONFIRM_IN_PROGRESS")
"""How the reasons begin that name a state."""

TABLES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "reservation": RESERVATION, "request": REQUEST, "reaction": REACTIONS,
}  # fmt: skip


def demanded() -> Iterator[Pair]:
    """All pairs that must be met."""
    for kind, given in INPUTS.items():
        for state in TABLES[kind]:
            yield from ((kind, state, one) for one in given if (kind, state, one) not in OUT_OF_REACH)
    yield from (("reaction", state, one) for state, line in REACTIONS.items() for one in line)


DEMANDED = tuple(demanded())


class Coverage:
    """Counts by (kind, state, input, next); next is "refused" where it was."""

    def __init__(self) -> None:
        self.met: Counter[tuple[str, str, str, str]] = Counter()
        self._said: dict[str, str] = {}

    def update(self, other: Coverage) -> None:
        """Sums up."""
        self.met.update(other.met)

    def has(self, pair: Pair) -> bool:
        """Whether a pair was met: one of a table with what the table says, any other at all."""
        kind, state, given = pair
        after = TABLES[kind].get(state, {}).get(given)
        if after is not None:
            return self.met[kind, state, given, after] > 0
        return any(self.met[kind, state, given, one] for one in (state, "refused"))

    def missing(self) -> list[Pair]:
        """What is still to be met."""
        return [pair for pair in DEMANDED if not self.has(pair)]

    # What is told it

    def said(self, act: str, method: str) -> None:
        """Somebody says something; `method`: of an RPC, or the verb of a command.

        A hub that was put back may give a number again, to another command: whichever is decided, nothing follows here.
        """
        given = STAFF.get(method) or REGULATOR.get(method) or (method if method in CARRIED else "")
        if self._said.setdefault(act, given) != given:
            self._said[act] = ""

    def refused(self, kind: str, act: str, reason: str, metadata: Mapping[str, str]) -> None:
        """It was refused by the state found, which the refusal names."""
        given, state = self._said.get(act, ""), metadata.get("state", "")
        if given and state in TABLES[kind] and reason.startswith(BY_STATE):
            self.met[kind, state, given, "refused"] += 1

    def reservation(self, before: str | None, after: str | None, acts: Iterable[tuple[str, bool]]) -> str | None:
        """A commit took a reservation from one state to another, with these acts (id, refused) in it, in order.

        Gives the state to which the acts alone lead.
        """
        state = before
        if state is None or after is None:
            return None
        if "time" in RESERVATION[state] and after == "EXPIRED":
            self.met["reservation", state, "time", "EXPIRED"] += 1
            state = after
        for act, refused in acts:
            given = self._said.get(act, "")
            if given and not refused:
                following = RESERVATION[state].get(given, state)
                self.met["reservation", state, given, following] += 1
                state = following
        return state

    def request(self, was: tuple[str, str], now: tuple[str, str], acts: Iterable[str]) -> None:
        """A commit took a request from one (state, subject) to another, with these acts (not refused) in it."""
        state, subject = was
        for act in acts:
            given = self._said.get(act, "")
            if given:
                following = REQUEST[state].get(given, state)
                self.met["request", state, given, following] += 1
                state, subject = following, (subject if following == state else "")
        after, other = now
        if state == after and not (state == "ADMITTED" and subject != other):
            return
        if (state, after) == ("OPEN", "EXPIRED"):
            self.met["request", state, "time", after] += 1
        for given, following in REACTIONS.get(state, {}).items():
            if following == after:
                self.met["reaction", state, given, after] += 1

    # What is told to people

    def lines(self) -> Iterator[str]:
        """Both tables as matrices, what is missing, and what is out of reach."""
        for kind, given in (*INPUTS.items(), ("reaction", tuple(sorted({g for r in REACTIONS.values() for g in r})))):
            table = TABLES[kind]
            yield f"{kind} (state × input): times met, `-` refused that often, `.` out of reach, `0` never met"
            yield "  " + " " * 17 + " ".join(f"{one[:10]:>10}" for one in given)
            for state in table:
                yield f"  {state:17}" + " ".join(f"{self._cell(kind, state, one):>10}" for one in given)
        missing = self.missing()
        yield f"pairs met: {len(DEMANDED) - len(missing)} of {len(DEMANDED)}; {len(OUT_OF_REACH)} are out of reach"
        yield from (f"  never met: {kind} {state}, {given}" for kind, state, given in missing)

    def _cell(self, kind: str, state: str, given: str) -> str:
        after = TABLES[kind].get(state, {}).get(given)
        if after is not None:
            return str(self.met[kind, state, given, after])
        if kind == "reaction":
            return ""
        unmoved = sum(self.met[kind, state, given, one] for one in (state, "refused"))
        if not unmoved and (kind, state, given) in OUT_OF_REACH:
            return "."
        return f"-{unmoved}" if unmoved else "0"
