"""People who look for what has not happened yet: acts chosen to meet the pairs of the tables that a run still lacks.

Chance alone meets the common pairs a thousand times and the rare ones never. So every other act of a run is drawn from
what its coverage lacks and what the territory allows just now. Some reactions of the hub exist only within the flight
of a message: for these, two people act at once, and the wire decides who was first.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.simulation.books import Fact, when
from tests.simulation.checker import T as TERRITORY
from tests.simulation.coverage import REGULATOR, STAFF, Pair
from tests.simulation.people import HOUSES, Deed, People, create, on_file, on_reservation

PAIRS_TRIED_MAX = 60
"""Pairs looked at for one act: nearly all; most are not possible just now."""

LEAP_HOURS_MAX = 40.0
"""A demand that lapses within so long is worth waiting for: a weekend in which nobody does anything."""

_OF_STAFF = {given: method for method, given in STAFF.items()}
_OF_REGULATOR = {given: method for method, given in REGULATOR.items()}

LOOK_SECONDS, LOOKS_MAX = 0.002, 150
"""How often somebody looks whether the hub has taken what was just said, and how many times."""

LIVE = ("HELD", "CONFIRMED", "ASKED", "WAITLISTED", "ADMITTED")

Found = tuple[str, Fact]
"""(house, reservation as its node stored it)."""


def directed(people: People, chance: random.Random) -> Deed | None:
    """An act towards something not yet met, if one is possible."""
    missing = people.checker.coverage.missing()
    chance.shuffle(missing)
    missing.sort(key=people.tried.__getitem__)
    for pair in missing[:PAIRS_TRIED_MAX]:
        deed = _towards(people, chance, pair)
        if deed is not None:
            people.tried[pair] += 1
            return deed
    return None


def leap_seconds(people: People) -> float | None:
    """How long to wait for a demand to lapse unanswered, if that has not been met and one will soon."""
    states = [s for s in ("ASKED", "WAITLISTED") if not people.checker.coverage.has(("reservation", s, "time"))]
    now = people.now()
    ends = [
        (when(fact["valid_until"]) - now).total_seconds()
        for house in HOUSES
        for fact in people.checker.house(house).of("reservation").values()
        if fact["state"] in states
    ]
    soon = [end for end in ends if 0 < end < LEAP_HOURS_MAX * 3600]
    return min(soon) + 120.0 if soon else None


def _towards(people: People, chance: random.Random, pair: Pair) -> Deed | None:
    kind, state, given = pair
    if kind == "reaction":
        return _reaction(people, chance, state, given)
    if given == "time":
        return None
    if kind == "request":
        return _request(people, chance, state, _OF_REGULATOR[given])
    if given in _OF_STAFF:
        found = _found(people, state)
        if not found:
            return _prepared(people, chance, state)
        return on_reservation(people, chance, _OF_STAFF[given], *chance.choice(found))
    return _carried(people, chance, state, given)


def _found(people: People, *states: str) -> list[Found]:
    """Reservations in these states."""
    return [
        (house, fact)
        for house in HOUSES
        for fact in people.checker.house(house).of("reservation").values()
        if fact["state"] in states
    ]


def _prepared(people: People, chance: random.Random, state: str) -> Deed | None:
    """An act that brings a reservation into that state, where none is."""
    source, method = {
        "WAITLISTED": (("ASKED",), "WaitlistReservation"),
        "HELD": (("ASKED", "WAITLISTED"), "AcceptReservation"),
        "ADMITTED": (("CONFIRMED", "HELD"), "AdmitReservation"),
        "CONFIRMED": (("ADMITTED",), "CancelReservationAdmission"),
    }.get(state, ((), ""))
    found = _found(people, *source)
    if found:
        return on_reservation(people, chance, method, *chance.choice(found))
    return create(people, chance)


def _files(people: People, state: str, known: str = "") -> list[Fact]:
    """Requests in that state; `known`: with a reservation that the hub knows in that state."""
    return [
        file
        for file in people.checker.files.values()
        if file["request"].get("state", "OPEN") == state
        and (not known or any((ask.get("known") or {}).get("state") == known for ask in file["asks"]))
    ]


def _request(people: People, chance: random.Random, state: str, method: str) -> Deed | None:
    """That method on a request in that state; one that lasts for moments only is made first."""
    files = _files(people, state)
    chance.shuffle(files)
    for file in files:
        deed = on_file(people, chance, method, file)
        if deed is not None:
            return deed
    if state == "CONFIRMING":
        # With another ask beside: some of what can be said then is about that one.
        files = sorted(_files(people, "OPEN", "HELD"), key=lambda file: -len(list(_asks(people, file, *LIVE))))[:2]
        return _meanwhile(people, chance, chance.choice(files), "ConfirmRequest", method, state) if files else None
    if state == "RELEASING":
        files = _files(people, "CONFIRMED")
        return _meanwhile(people, chance, chance.choice(files), "ReleaseConfirmed", method, state) if files else None
    return create(people, chance) if state == "OPEN" else None


def _carried(people: People, chance: random.Random, state: str, given: str) -> Deed | None:
    """A command of the hub to a reservation in that state."""
    wanted = {"confirm": "OPEN", "renew": "OPEN", "reschedule": "CONFIRMED", "release": "OPEN"}[given]
    method = {"confirm": "ConfirmRequest", "renew": "RenewHold", "reschedule": "RescheduleRequest"}.get(given)
    if given == "release":
        wanted = "CONFIRMED" if state == "CONFIRMED" else "OPEN"
        method = "ReleaseConfirmed" if state == "CONFIRMED" else "ReleaseAsk"
    files = _files(people, wanted, state)
    return on_file(people, chance, str(method), chance.choice(files)) if files else None


async def _meanwhile(people: People, chance: random.Random, file: Fact, method: str, other: str, state: str) -> None:
    """The first, and the other as soon as the hub has taken it: its node has hardly heard of it yet."""
    await _at_once(people, on_file(people, chance, method, file))
    name, clock = file["request"]["name"], people.process.clock
    for _ in range(LOOKS_MAX):
        await clock.sleep_until(clock.monotonic() + LOOK_SECONDS)
        if name not in people.checker.files or people.checker.files[name]["request"].get("state") == state:
            break
    # A hub that was put back meanwhile may have forgotten it: its people speak of what they saw.
    await _at_once(people, on_file(people, chance, other, people.checker.files.get(name, file)))


async def _at_once(people: People, *deeds: Deed | None) -> None:
    """All of it in the same instant, by as many people."""
    for deed in deeds:
        if deed is not None:
            people.process.spawn(deed)


def _asks(people: People, file: Fact, *states: str) -> Iterator[Found]:
    """The reservations of a request that their nodes have in these states."""
    for ask in file["asks"]:
        _, house, _, one = ask["reservation"].split("/")
        fact = people.checker.house(house).of("reservation").get(f"{TERRITORY}/{one}")
        if fact is not None and fact["state"] in states:
            yield house, fact


_ADMIT, _CANCEL, _WITHDRAW = "AdmitReservation", "CancelReservationAdmission", "WithdrawReservation"


def _reaction(people: People, chance: random.Random, state: str, given: str) -> Deed | None:
    """What makes the hub find its file so."""
    if state in ("CONFIRMING", "RELEASING"):
        return _in_flight(people, chance, state, given)
    if (state, given) == ("ADMITTED", "admitted"):
        return _double_admission(people, chance)
    files = [(file, list(_asks(people, file, *LIVE))) for file in _files(people, state)]
    files = [(file, asks) for file, asks in files if asks]
    if not files:
        return None
    house, fact = chance.choice(chance.choice(files)[1])
    methods = {
        ("OPEN", "admitted"): (_ADMIT,),
        ("OPEN", "confirmed"): (_ADMIT, _CANCEL),
        ("CONFIRMED", "admitted"): (_ADMIT,),
        ("CONFIRMED", "promise_lost"): (_WITHDRAW,),
        ("ADMITTED", "promise_lost"): (_CANCEL, _WITHDRAW),
        ("ADMITTED", "admission_cancelled"): (_CANCEL,),
    }[state, given]
    return _at_once(people, *(on_reservation(people, chance, method, house, fact) for method in methods))


def _in_flight(people: People, chance: random.Random, state: str, given: str) -> Deed | None:
    """The regulator confirms, or releases, while the house acts."""
    files = _files(people, "OPEN", "HELD") if state == "CONFIRMING" else _files(people, "CONFIRMED")
    files = [file for file in files if any(_asks(people, file, "HELD", "CONFIRMED"))]
    if not files:
        return None
    file = chance.choice(files)
    house, fact = chance.choice(list(_asks(people, file, "HELD", "CONFIRMED")))
    method = "ConfirmRequest" if state == "CONFIRMING" else "ReleaseConfirmed"
    beside = {"admitted": _ADMIT, "confirm_failed": "ReofferReservation"}.get(given)
    return _at_once(
        people,
        on_file(people, chance, method, file),
        on_reservation(people, chance, beside, house, fact) if beside else None,
    )


def _double_admission(people: People, chance: random.Random) -> Deed | None:
    """The same patient is admitted in two houses; later the one that the request names cancels."""
    live = ("HELD", "ASKED", "WAITLISTED")
    files = [file for file in _files(people, "OPEN") if len(list(_asks(people, file, *live))) > 1]
    if not files:
        return None
    file = chance.choice(files)

    async def admit_twice() -> None:
        await _at_once(people, *(on_reservation(people, chance, _ADMIT, *one) for one in _asks(people, file, *live)))
        await people.process.clock.sleep_until(people.process.monotonic() + 30.0)
        now = people.checker.files.get(file["request"]["name"], file)
        admitted = [
            one for one in _asks(people, now, "ADMITTED") if now["request"].get("subject", "").endswith(one[1]["id"])
        ]
        await _at_once(people, *(on_reservation(people, chance, _CANCEL, *one) for one in admitted))

    return admit_twice()
