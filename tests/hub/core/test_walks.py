"""Random walks of one request over houses and a network that loses, repeats, delays and reorders everything.

After each step: DESIGN §8's second invariant. Then faults and inputs stop, everything is delivered, and hub and houses
agree, nothing is stuck, nothing leaks, and no message of the whole walk changes anything when it comes again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aval.hub import brokerage
from aval.hub.model import Confirm, Detail, Note, RequestFile
from aval.kernel.lifecycle import (
    NoteVerdict,
    OutsideReason,
    Question,
    ReleaseReason,
    RequestState,
    ReservationInput,
    ReservationState,
)
from aval.kernel.need import Mode
from tests.hub.core.lossy import TAGS, Territory, target
from tests.hub.core.worlds import HOUSES, MANDATE, NOW

R, S = RequestState, ReservationState

HOUSES_SAY = (
    ReservationInput.ACCEPT, ReservationInput.ACCEPT, ReservationInput.REOFFER, ReservationInput.WAITLIST,
    ReservationInput.DECLINE, ReservationInput.WITHDRAW, ReservationInput.ADMIT, ReservationInput.CANCEL_ADMISSION,
    ReservationInput.CANCEL_ADMISSION, ReservationInput.LAPSE,
)  # fmt: skip


def people(world: Territory, kind: int, choice: int) -> None:
    """Somebody asks something, possible or not; what ends a request is rare, or nothing else would be met."""
    file, now = world.file, world.now
    held = [ask for ask in file.asks if ask.state is S.HELD] or list(file.asks)
    known = held[choice % len(held)].known
    tag = known.offer.tag if known and known.offer else TAGS[0]
    held_name, name = held[choice % len(held)].reservation, file.asks[choice % len(file.asks)].reservation
    note = Note("n", NoteVerdict.YES, "cadre", None, NOW)
    world.again += 1
    new = target(choice % 3, mode=Mode.HOLD if choice % 2 else Mode.ASK, again=world.again)
    acts: list[tuple[int, Callable[[RequestFile], RequestFile]]] = [
        (12, lambda file: brokerage.confirm(file, held_name, tag, MANDATE, now)),
        (1, lambda file: brokerage.confirm(file, held_name, TAGS[choice % 2], MANDATE, now)),
        (4, lambda file: brokerage.take_back(file, MANDATE, now)),
        (5, lambda file: brokerage.release(file, ReleaseReason.OTHER, MANDATE, now)),
        (2, lambda file: brokerage.release_ask(file, name, ReleaseReason.OTHER, MANDATE, now)),
        (1, lambda file: brokerage.renew(file, held_name, None, MANDATE, now)),
        (2, lambda file: brokerage.reschedule(file, now + timedelta(hours=1), MANDATE, now)),
        (1, lambda file: brokerage.supply_details(file, name, (Detail(Question.WEIGHT, amount=70),), MANDATE, now)),
        (1, lambda file: brokerage.note_answer(file, name, note, MANDATE, now)),
        (10, lambda file: brokerage.ask(file, (new,), MANDATE, now)),
        (1, lambda file: brokerage.cancel(file, ReleaseReason.PATIENT_DIED, MANDATE, now)),
        (1, lambda file: brokerage.place_outside(file, OutsideReason.HOME, MANDATE, now)),
    ]
    likely = [act for weight, act in acts for _ in range(weight)]
    world.try_(likely[kind % len(likely)])


def step(world: Territory, kind: int, choice: int) -> None:
    """One thing happens: mostly messages, sometimes houses, people, time."""
    names = [ask.reservation for ask in world.file.asks]
    match kind:
        case 0 | 1 | 2:
            world.send(choice)
        case 3 | 4:
            world.arrive(-1 - choice)
        case 5 | 6:
            world.answer(-1 - choice)
        case 7 | 8:
            world.hear(-1 - choice)
        case 9 | 10 | 11:
            world.houses.staff(names[choice % len(names)], HOUSES_SAY[choice // 4 % len(HOUSES_SAY)], choice)
        case 12 | 13:
            people(world, choice, choice // 3)
        case 14:
            world.wait(timedelta(seconds=61))
        case _:
            world.wait(timedelta(days=8) if choice == 41 else timedelta(minutes=11))


def check_at_any_time(world: Territory) -> None:
    """At most one reservation has a confirm intention without a release behind it; a final request keeps nothing."""
    file = world.file
    intended = [
        ask.reservation
        for ask in file.asks
        if ask.is_live and file.has_pending(ask.reservation, Confirm) and not file.release_behind(ask.reservation)
    ]
    assert len(intended) <= 1, file
    if file.request.state.is_final:
        for ask in file.asks:
            refused_now = ask.release_refusal is not None
            over = not ask.is_live or ask.state is S.ADMITTED
            assert over or file.release_behind(ask.reservation) or refused_now, file
    for ask in file.asks:
        numbers = [row.number for row in file.pending(ask.reservation)]
        assert numbers == sorted(set(numbers)), file


def check_when_quiet(world: Territory) -> None:
    """Agreement, no leak, nothing stuck."""
    file, houses = world.file, world.houses
    assert file.rows == ()
    request = file.request
    for ask in file.asks:
        there = houses.known.get(ask.reservation)
        if there is not None:
            assert ask.known is not None
            assert (ask.known.state, ask.known.revision) == (there.state, there.revision)
        else:
            assert ask.refused_reason, ask
    promised = {name for name, one in houses.known.items() if one.state in (S.CONFIRMED, S.ADMITTED)}
    admitted = {name for name in promised if houses.state(name) is S.ADMITTED}
    live = {name for name, one in houses.known.items() if one.state.is_live}
    assert request.state not in (R.CONFIRMING, R.RELEASING)
    assert request.double_admission == (len(admitted) > 1)
    if request.state.is_final:
        assert live == admitted
    elif request.state is R.ADMITTED:
        assert request.subject in admitted
        assert promised == admitted
        assert live == admitted
    elif request.state is R.CONFIRMED:
        assert promised == live == {request.subject}
    else:
        assert promised == set()


def check_replay(world: Territory) -> None:
    """Every message of the walk again, in another order, changes nothing at either side."""
    file, known = world.file, dict(world.houses.known)
    for choice in reversed(range(len(world.commands))):
        world.arrive(choice)
    for choice in reversed(range(len(world.answers))):
        world.answer(choice)
    for choice in reversed(range(len(world.houses.said))):
        world.hear(choice)
    assert world.houses.known == known
    assert world.file == file


def walk(steps: list[tuple[int, int]]) -> None:
    ask_next = (f"establishments/{HOUSES[2]}/units/V",) if len(steps) % 2 else ()
    world = Territory(target(0, mode=Mode.HOLD), target(1), ask_next=ask_next)
    for kind, choice in steps:
        step(world, kind, choice)
        check_at_any_time(world)
    world.drain()
    check_at_any_time(world)
    check_when_quiet(world)
    check_replay(world)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 41)), max_size=40))
def test_a_request_is_never_stuck_and_never_leaks(steps: list[tuple[int, int]]) -> None:
    walk(steps)


@pytest.mark.parametrize("seed", range(4))
def test_long_walks(seed: int) -> None:
    """What shrinks badly but goes far: the walk's number within the seed says how to repeat it."""
    for number in range(60):
        chance = random.Random(f"{seed}/{number}")
        walk([(chance.randrange(16), chance.randrange(42)) for _ in range(chance.randrange(20, 160))])
