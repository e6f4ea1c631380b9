"""The courier: the row is the only road; whatever the line does, a request comes to rest and nothing is done twice."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from msgspec.structs import replace

from aval.hub import brokerage
from aval.hub.files import Act
from aval.hub.model import AskTarget, Description, Mandate, Refused, RequestFile, SnapshotPart
from aval.kernel.disciplines import Discipline
from aval.kernel.lifecycle import AskState, ReleaseReason, RequestState, ReservationState
from aval.kernel.need import Mode, Need, Urgency
from aval.kernel.statuses import Gender
from tests.hub.shell.fakes import (
    LUNEVILLE,
    OTHER_PARTNER,
    PARTNER,
    TOUL,
    FakeHub,
    Faults,
    fake_hub,
)

ANSWERED_SECONDS = 600.0
"""Of the fake clock: a command that is not answered by then over a bad line, with back-offs of 15 s, is lost."""


def mandate(hub: FakeHub) -> Mandate:
    return Mandate("spiffe://t/establishment/540000023/operator/lea", "lea", "Léa", "operator", TOUL, hub.clock.now())


async def create(hub: FakeHub, *houses: str) -> str:
    """A request that asks these houses: the first may hold at once."""
    request_id, now = str(uuid4()), hub.clock.now()
    need = Need(Discipline.SMR_GERIATRIC, Gender.FEMALE, now, now + timedelta(days=2))
    targets = tuple(
        AskTarget(str(uuid4()), f"establishments/{house}/units/SMR1", Mode.HOLD if first == 0 else Mode.ASK)
        for first, house in enumerate(houses)
    )
    files = hub.running.hub.files
    await files.create(
        Act("lea", request_id, b"c"),
        lambda reference: brokerage.create(
            f"requests/{request_id}", reference, need, Urgency.PLANNED, now, mandate(hub), now, targets=targets
        ),
        lambda _: b"answer",
        ["K7-3F9", "AA-222", "BB-333", "CC-444"],
    )
    return f"requests/{request_id}"


async def read(hub: FakeHub, name: str) -> RequestFile:
    file = await hub.running.hub.files.read(name)
    assert file is not None
    return file


async def confirm(hub: FakeHub, name: str, reservation: str) -> None:
    file = await read(hub, name)
    ask = file.ask(reservation)
    assert ask is not None
    assert ask.known is not None
    assert ask.known.offer is not None
    tag, now = ask.known.offer.tag, hub.clock.now()
    await hub.running.hub.files.change(name, lambda file: brokerage.confirm(file, reservation, tag, mandate(hub), now))


async def until_state(hub: FakeHub, name: str, state: RequestState) -> RequestFile:
    async def reached() -> bool:
        return (await read(hub, name)).request.state is state

    await hub.clock.run_until(reached, ANSWERED_SECONDS, f"the request is {state}")
    return await read(hub, name)


async def until_answered(hub: FakeHub, name: str) -> RequestFile:
    async def answered() -> bool:
        file = await read(hub, name)
        return not file.rows and all(file.delivery(ask) is AskState.ANSWERED for ask in file.asks)

    await hub.clock.run_until(answered, ANSWERED_SECONDS, "every ask is answered")
    return await read(hub, name)


async def until_quiet(hub: FakeHub, name: str) -> RequestFile:
    async def quiet() -> bool:
        return not (await read(hub, name)).rows

    await hub.clock.run_until(quiet, ANSWERED_SECONDS, "no command is on its way")
    return await read(hub, name)


async def test_three_are_asked_one_is_confirmed_the_others_are_released() -> None:
    hub = await fake_hub()
    hub.start()
    name = await create(hub, LUNEVILLE, PARTNER, OTHER_PARTNER)
    file = await until_answered(hub, name)
    await confirm(hub, name, file.asks[0].reservation)
    await until_state(hub, name, RequestState.CONFIRMED)
    file = await until_quiet(hub, name)
    assert [ask.state for ask in file.asks] == [
        ReservationState.CONFIRMED,
        ReservationState.RELEASED,
        ReservationState.RELEASED,
    ]
    await hub.stop()


async def test_without_its_row_a_command_never_leaves_and_the_request_stalls_in_sight() -> None:
    """The row is the only road: nothing is sent beside it, nothing is remembered that could send it."""
    hub = await fake_hub()
    name = await create(hub, LUNEVILLE)
    before = await read(hub, name)
    await hub.store.run(lambda transaction: transaction.save(replace(before, rows=()), before))
    hub.start()
    await hub.clock.advance(600)
    assert hub.nodes[LUNEVILLE].received == []
    file = await read(hub, name)
    assert file.delivery(file.asks[0]) is AskState.QUEUED
    assert not file.pending(file.asks[0].reservation)
    await hub.stop()


@pytest.mark.parametrize("seed", range(12))
async def test_over_a_bad_line_a_request_comes_to_rest_and_nothing_is_decided_twice(seed: int) -> None:
    faults = Faults(cut=0.15, lose=0.15, repeat=0.3, delay_seconds_max=3.0)
    hub = await fake_hub(seed=seed, faults=faults)
    hub.start()
    name = await create(hub, LUNEVILLE, PARTNER, OTHER_PARTNER)
    file = await until_answered(hub, name)
    await confirm(hub, name, file.asks[0].reservation)
    await until_state(hub, name, RequestState.CONFIRMED)
    file = await until_quiet(hub, name)
    for ask in file.asks:
        node = hub.nodes[ask.establishment]
        assert node.held[ask.reservation].state is ask.state
    assert hub.nodes[LUNEVILLE].held[file.asks[0].reservation].state is ReservationState.CONFIRMED
    assert all(
        hub.nodes[house].held[ask.reservation].state is ReservationState.RELEASED
        for ask in file.asks[1:]
        for house in [ask.establishment]
    )
    for node in hub.nodes.values():
        assert all(count == 1 for count in node.decided.values())
    await hub.stop()


@pytest.mark.parametrize("seed", range(8))
async def test_a_hub_that_dies_at_any_moment_goes_on_where_it_was(seed: int) -> None:
    hub = await fake_hub(seed=seed, faults=Faults(delay_seconds_max=2.0))
    hub.start()
    name = await create(hub, LUNEVILLE, PARTNER)
    for _ in range(seed + 1):
        await hub.clock.advance(0.4)
        await hub.stop()
        hub = await fake_hub(seed=seed, like=hub)
        hub.start()
    file = await until_answered(hub, name)
    await confirm(hub, name, file.asks[0].reservation)
    await hub.stop()
    hub = await fake_hub(seed=seed, like=hub)
    hub.start()
    await until_state(hub, name, RequestState.CONFIRMED)
    await until_quiet(hub, name)
    for node in hub.nodes.values():
        assert all(count == 1 for count in node.decided.values())
    await hub.stop()


async def test_one_command_of_a_reservation_is_on_its_way_at_a_time() -> None:
    hub = await fake_hub()
    hub.nodes[LUNEVILLE].deaf = True
    hub.start()
    name = await create(hub, LUNEVILLE)
    await hub.clock.advance(1)
    file = await read(hub, name)
    now = hub.clock.now()
    await hub.running.hub.files.change(
        name, lambda file: brokerage.cancel(file, ReleaseReason.PATIENT_REFUSED, mandate(hub), now)
    )
    await hub.clock.advance(5)
    assert [one.row.number for one in hub.nodes[LUNEVILLE].received] == [1]
    file = await read(hub, name)
    assert [row.number for row in file.rows] == [1, 2]
    # It is shown as sent, since it takes long, and as long as its node says nothing it is not more than that.
    assert file.delivery(file.asks[0]) is AskState.SENT
    await hub.stop()


async def test_at_most_64_commands_are_unanswered() -> None:
    hub = await fake_hub()
    node = hub.nodes[LUNEVILLE]
    node.deaf = True
    for _ in range(80):
        await create_with_own_reference(hub)
    hub.start()
    await hub.clock.advance(5)
    assert len({one.row.id for one in node.received}) == 64
    await hub.stop()


async def test_a_line_that_is_cut_by_many_answers_at_once_carries_them_all_in_the_end() -> None:
    """Thirty commands wait for a house on whose line three answers fit before it is cut."""
    hub = await fake_hub(faults=Faults(fit=3))
    for _ in range(30):
        await create_with_own_reference(hub)
    hub.start()

    async def all_answered() -> bool:
        return not await hub.store.run(lambda transaction: transaction.outbox(LUNEVILLE, 1))

    await hub.clock.run_until(all_answered, ANSWERED_SECONDS, "no command is on its way")
    assert len(hub.nodes[LUNEVILLE].held) == 30
    await hub.stop()


async def test_an_unanswered_stream_is_cut_and_its_commands_are_sent_again() -> None:
    hub = await fake_hub()
    node = hub.nodes[LUNEVILLE]
    node.deaf = True
    hub.start()
    name = await create(hub, LUNEVILLE)
    await hub.clock.advance(30)
    node.deaf = False
    await until_answered(hub, name)
    assert len(node.received) >= 2
    assert len({(one.row.id, one.row.number, one.row.body, one.row.mandate) for one in node.received}) == 1
    await hub.stop()


async def create_with_own_reference(hub: FakeHub) -> None:
    request_id, now = str(uuid4()), hub.clock.now()
    need = Need(Discipline.SMR_GERIATRIC, Gender.FEMALE, now, now + timedelta(days=2))
    target = AskTarget(str(uuid4()), f"establishments/{LUNEVILLE}/units/SMR1", Mode.ASK)
    file = brokerage.create(
        f"requests/{request_id}", request_id, need, Urgency.PLANNED, now, mandate(hub), now, targets=(target,)
    )
    await hub.store.run(lambda transaction: transaction.save(file, None))


async def test_a_refusal_that_a_later_try_may_cure_leaves_the_row_which_waits() -> None:
    hub = await fake_hub()
    node = hub.nodes[LUNEVILLE]
    node.answer_with = Refused("STORAGE_UNAVAILABLE", retryable=True)
    hub.start()
    name = await create(hub, LUNEVILLE)
    await hub.clock.advance(60)
    tries = len(node.received)
    assert 3 <= tries <= 30
    row = (await read(hub, name)).rows[0]
    assert row.last_reason == "STORAGE_UNAVAILABLE"
    assert row.attempts == tries
    assert len({(one.row.id, one.row.number, one.row.body) for one in node.received}) == 1
    node.answer_with = None
    await until_answered(hub, name)
    assert hub.meters.refusals["STORAGE_UNAVAILABLE"] >= tries
    await hub.stop()


async def test_an_answer_that_is_not_to_be_taken_leaves_the_row_which_waits() -> None:
    """It is of a history of which no snapshot has come: nothing is decided by it, and nobody is asked in a loop."""
    hub = await fake_hub()
    hub.start()
    name = await create(hub, LUNEVILLE)
    file = await until_answered(hub, name)
    node = hub.nodes[LUNEVILLE]
    node.incarnation, before = node.incarnation + 1, len(node.received)
    await confirm(hub, name, file.asks[0].reservation)
    await hub.clock.advance(60)
    assert 3 <= len(node.received) - before <= 30
    assert (await read(hub, name)).rows[0].last_reason == "NODE_RESTORED"
    await hub.stop()


async def test_a_refusal_that_no_try_cures_is_an_answer() -> None:
    hub = await fake_hub()
    hub.nodes[LUNEVILLE].answer_with = Refused("A_REASON_OF_NEXT_YEAR", retryable=False)
    hub.start()
    name = await create(hub, LUNEVILLE)
    file = await until_quiet(hub, name)
    assert file.delivery(file.asks[0]) is AskState.REFUSED
    assert file.asks[0].refused_reason == "A_REASON_OF_NEXT_YEAR"
    await hub.stop()


async def test_a_command_is_told_its_age_and_the_hubs_cursor() -> None:
    hub = await fake_hub(faults=Faults(down=True))
    hub.start()
    name = await create(hub, LUNEVILLE)
    hub.clock.set_wall(3600)
    await hub.clock.advance(60)
    hub.faults[LUNEVILLE].down = False
    await until_answered(hub, name)
    command = hub.nodes[LUNEVILLE].received[0]
    assert timedelta(seconds=3600) <= command.age <= timedelta(seconds=3720)
    await hub.clock.advance(1)
    second = await create(hub, LUNEVILLE)
    await until_answered(hub, second)
    cursor = hub.nodes[LUNEVILLE].received[-1].cursor
    assert cursor is not None
    assert cursor.revision >= 2
    await hub.stop()


@pytest.mark.parametrize("seconds", [-3600, 3600])
async def test_a_wall_clock_that_is_moved_by_an_hour_delays_and_spoils_nothing(seconds: int) -> None:
    hub = await fake_hub(faults=Faults(down=True))
    hub.start()
    name = await create(hub, LUNEVILLE)
    await hub.clock.advance(5)
    hub.clock.set_wall(seconds)
    hub.faults[LUNEVILLE].down = False
    file = await until_answered(hub, name)
    assert hub.nodes[LUNEVILLE].received[0].age >= timedelta(0)
    await confirm(hub, name, file.asks[0].reservation)
    hub.clock.set_wall(-seconds)
    await until_state(hub, name, RequestState.CONFIRMED)
    await hub.stop()


async def test_after_seven_days_a_command_is_given_up_by_name() -> None:
    hub = await fake_hub(faults=Faults(down=True))
    hub.start()
    name = await create(hub, LUNEVILLE)
    hub.clock.set_wall(timedelta(days=7).total_seconds())
    await hub.clock.advance(60)
    file = await read(hub, name)
    assert file.rows == ()
    assert file.asks[0].refused_reason == "COMMAND_TOO_OLD"
    await hub.stop()


async def test_a_word_of_the_watch_moves_a_request_whose_answer_is_lost() -> None:
    hub = await fake_hub()
    hub.nodes[LUNEVILLE].silent = True
    hub.start()
    name = await create(hub, LUNEVILLE)

    async def held() -> bool:
        return (await read(hub, name)).asks[0].state is ReservationState.HELD

    await hub.clock.run_until(held, 60, "the watch tells the hold")
    await hub.stop()


async def test_a_reservation_that_a_whole_snapshot_leaves_out_is_asked_after() -> None:
    """It ended more than a day ago, unheard: nobody will ever tell by himself."""
    hub = await fake_hub()
    hub.start()
    name = await create(hub, LUNEVILLE)
    reservation = (await until_answered(hub, name)).asks[0].reservation
    node = hub.nodes[LUNEVILLE]
    node.revision += 1
    node.held[reservation] = replace(node.held[reservation], state=ReservationState.EXPIRED, revision=node.revision)
    snapshot = SnapshotPart(node.cursor, Description("Maison"), (node.unit(),))
    await hub.running.hub.pictures.hear(LUNEVILLE, snapshot)

    async def told() -> bool:
        return (await read(hub, name)).asks[0].state is ReservationState.EXPIRED

    await hub.clock.run_until(told, 60, "the node has said how it stands")
    await hub.stop()
